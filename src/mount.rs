//! The kernel's mount interface. A new mount is built detached and attached last (fsopen(2), fsconfig(2), fsmount(2),
//! move_mount(2); Linux 5.2), so that one that fails leaves nothing behind, and what the kernel says of it becomes part
//! of the error. What differs between kernels is known here and nowhere else.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, ResolveFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{
    fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, fspick, mount,
    mount_bind, mount_change, mount_remount, move_mount, open_tree, unmount, FsMountFlags, FsOpenFlags, FsPickFlags,
    MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
};
use thiserror::Error;

use crate::options::TmpfsLimits;
use crate::plan::{Stack, UnionKind};
use crate::view;

/// A call that the kernel refused.
#[derive(Debug, Error)]
#[error("{call} {}: {errno}{said}", on.display())]
pub struct MountError {
    /// What was asked for, as `mount overlay on`.
    pub call: &'static str,
    /// Where, or which option.
    pub on: PathBuf,
    /// The answer.
    pub errno: Errno,
    /// What the kernel said beside it; empty where it said nothing.
    pub said: KernelSaid,
}

impl MountError {
    fn new(call: &'static str, on: &Path) -> impl FnOnce(Errno) -> Self {
        let on = on.to_owned();
        move |errno| Self { call, on, errno, said: KernelSaid(String::new()) }
    }
}

/// The kernel's own messages about a mount: Linux 6.5 and newer hand those of overlayfs to the caller, older ones write
/// them to dmesg.
#[derive(Debug, PartialEq, Eq)]
pub struct KernelSaid(String);

impl fmt::Display for KernelSaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, " (the kernel says: {})", self.0)
        }
    }
}

/// A file system that is being configured: fsopen(2).
struct FsContext {
    fd: OwnedFd,
    fs: &'static str,
}

impl FsContext {
    fn open(fs: &'static str) -> Result<Self, MountError> {
        let fd = fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).map_err(MountError::new("open file system", Path::new(fs)))?;
        Ok(Self { fd, fs })
    }

    /// Sets one option; the kernel takes at most 255 bytes of value.
    fn set(self, key: &'static str, value: &Path) -> Result<Self, MountError> {
        match fsconfig_set_string(&self.fd, key, value) {
            Ok(()) => Ok(self),
            Err(errno) => Err(self.error("set option", Path::new(key), errno)),
        }
    }

    fn set_str(self, key: &'static str, value: &str) -> Result<Self, MountError> {
        self.set(key, Path::new(value))
    }

    /// Sets an option that has no value.
    fn set_flag(self, key: &'static str) -> Result<Self, MountError> {
        match fsconfig_set_flag(&self.fd, key) {
            Ok(()) => Ok(self),
            Err(errno) => Err(self.error("set option", Path::new(key), errno)),
        }
    }

    /// Makes the superblock, mounts it detached, and attaches it.
    fn attach(self, attributes: MountAttrFlags, at: &Path) -> Result<(), MountError> {
        self.detached(attributes, at).and_then(|detached| attach(&detached, at))
    }

    /// Makes the superblock and mounts it detached; an error names what `at` is.
    fn detached(self, attributes: MountAttrFlags, at: &Path) -> Result<OwnedFd, MountError> {
        fsconfig_create(&self.fd)
            .and_then(|()| fsmount(&self.fd, FsMountFlags::FSMOUNT_CLOEXEC, attributes))
            .map_err(|errno| self.error("mount file system on", at, errno))
    }

    fn error(&self, call: &'static str, on: &Path, errno: Errno) -> MountError {
        let said = KernelSaid(messages(&self.fd));
        let on = PathBuf::from(format!("{} ({})", on.display(), self.fs));
        MountError { call, on, errno, said }
    }
}

/// What the kernel has to say of a file system context: a message a read, each with its level (`e`, `w`, `i`) ahead.
fn messages(context: impl AsFd) -> String {
    let mut said = String::new();
    let mut buffer = [0_u8; 512];
    // At most as many as the kernel keeps (fs/fs_context.c: 8).
    for _ in 0..8 {
        let Ok(length) = rustix::io::read(&context, &mut buffer) else { break };
        let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).trim().to_owned();
        let text = text.get(2..).unwrap_or_default();
        if !said.is_empty() {
            said.push_str("; ");
        }
        said.push_str(text);
    }
    said
}

fn attach(detached: &OwnedFd, at: &Path) -> Result<(), MountError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    place(at).and_then(|place| move_mount(detached, c"", place, c"", flags)).map_err(MountError::new("attach to", at))
}

/// Where something is to be mounted, with no link on the way there: one in a tree or a layer would lead into the
/// initramfs.
fn place(at: &Path) -> Result<OwnedFd, Errno> {
    view::open(CWD, at, OFlags::PATH, ResolveFlags::NO_SYMLINKS)
}

/// Mounts a new tmpfs; its root directory is 0755.
///
/// # Errors
/// [`MountError`]
pub fn mount_tmpfs(limits: &TmpfsLimits, at: &Path) -> Result<(), MountError> {
    let mut context = FsContext::open("tmpfs")?.set_str("source", "sidus")?.set_str("mode", "0755")?;
    if let Some(size) = limits.size {
        context = context.set_str("size", &size.to_string())?;
    }
    if let Some(inodes) = limits.inodes {
        context = context.set_str("nr_inodes", &inodes.to_string())?;
    }
    context.attach(MountAttrFlags::empty(), at)
}

/// Mounts a volume for writing, without times of access: each would be a write over the network.
///
/// # Errors
/// [`MountError`]
pub fn mount_volume(fs: &'static str, device: &Path, at: &Path) -> Result<(), MountError> {
    FsContext::open(fs)?.set("source", device)?.attach(MountAttrFlags::MOUNT_ATTR_NOATIME, at)
}

/// Mounts a union.
///
/// # Errors
/// [`MountError`]
pub fn mount_union(stack: &Stack) -> Result<(), MountError> {
    match stack.kind {
        UnionKind::Overlay => mount_overlay(stack),
        UnionKind::Aufs => mount_aufs(stack),
    }
}

/// overlayfs, see the kernel's `Documentation/filesystems/overlayfs.rst`.
fn mount_overlay(stack: &Stack) -> Result<(), MountError> {
    // A layer in memory never sees another lower side, so it may keep references to it: renamed directories, inode
    // numbers. One that survives a change of the lower side must hold nothing of it: with `index` the mount fails with
    // ESTALE, with `redirect_dir` or `metacopy` old entries silently take new content.
    let references = if stack.persistent { "off" } else { "on" };
    FsContext::open("overlay")?
        .set_str("source", "overlay")?
        .set("lowerdir", &stack.lower)?
        .set("upperdir", &stack.layer.upper)?
        .set("workdir", &stack.layer.work)?
        .set_str("index", "off")?
        .set_str("metacopy", "off")?
        .set_str("redirect_dir", references)?
        .set_str("xino", references)?
        .attach(MountAttrFlags::empty(), &stack.at)
}

/// aufs, see aufs(5). It has no options for fsconfig(2) in every version in use, so this is mount(2).
///
/// It uses the mounts of its branches and of its table of inode numbers for as long as it lives. With mounts of its own, which
/// are attached nowhere, all others can be unmounted before it, as systemd does at a shutdown; overlayfs makes such by itself.
fn mount_aufs(stack: &Stack) -> Result<(), MountError> {
    let (upper, lower) = (clone_of(&stack.layer.upper)?, clone_of(&stack.lower)?);
    // Not on the layer: the table is no use after a reboot, and aufs takes none on XFS or btrfs.
    let table = FsContext::open("tmpfs")?.set_str("source", "aufs")?.set_str("mode", "0700")?;
    let table = table.detached(MountAttrFlags::empty(), Path::new("nowhere"))?;
    let options = aufs_options([&upper, &lower, &table].map(AsRawFd::as_raw_fd));
    let bytes = std::ffi::CString::new(options).unwrap_or_default();
    place(&stack.at)
        .and_then(|_| mount("aufs", &stack.at, "aufs", MountFlags::empty(), Some(bytes.as_c_str())))
        .map_err(MountError::new("mount aufs on", &stack.at))
}

fn aufs_options([upper, lower, table]: [RawFd; 3]) -> String {
    let fd = "/proc/self/fd";
    // `ro`, not `rr`: an NFS lower side may change on the server, and `rr` promises that it never does.
    format!("br={fd}/{upper}=rw:{fd}/{lower}=ro,xino={fd}/{table}/xino,udba=reval,dirperm1")
}

/// A mount of the directory `at` alone, attached nowhere.
fn clone_of(at: &Path) -> Result<OwnedFd, MountError> {
    open_tree(CWD, at, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)
        .map_err(MountError::new("clone the mount of", at))
}

/// A mount option: its key, and its value where it has one.
pub type MountOption = (&'static str, Option<String>);

/// Mounts a tree of a server read-only, and nowhere: it is there as long as the descriptor is.
///
/// # Errors
/// [`MountError`]
pub fn open_tree_of(fs: &'static str, source: &str, options: &[MountOption]) -> Result<OwnedFd, MountError> {
    let mut context = FsContext::open(fs)?.set_str("source", source)?.set_flag("ro")?;
    for (key, value) in options {
        context = match value {
            Some(value) => context.set_str(key, value)?,
            None => context.set_flag(key)?,
        };
    }
    context.detached(MountAttrFlags::MOUNT_ATTR_RDONLY, Path::new(source))
}

/// Attaches what was mounted nowhere.
///
/// # Errors
/// [`MountError`]
pub fn attach_to(detached: &OwnedFd, at: &Path) -> Result<(), MountError> {
    attach(detached, at)
}

/// Mounts a layer over a tree so that neither can be written: what comes of them is seen, and nothing is changed.
///
/// # Errors
/// [`MountError`]
pub fn mount_union_read_only(upper: &Path, lower: &Path, at: &Path) -> Result<(), MountError> {
    FsContext::open("overlay")?
        .set_str("source", "overlay")?
        .set_str("lowerdir", &format!("{}:{}", upper.display(), lower.display()))?
        .set_str("index", "off")?
        .set_str("metacopy", "off")?
        .set_str("redirect_dir", "nofollow")?
        .set_str("xino", "off")?
        .attach(MountAttrFlags::MOUNT_ATTR_RDONLY, at)
}

/// Keeps what is mounted at or below a place from being seen elsewhere, and the other way round. What is mounted below
/// a place that shares its mounts cannot be moved.
///
/// # Errors
/// [`MountError`]
pub fn make_private(at: &Path) -> Result<(), MountError> {
    mount_change(at, MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(MountError::new("make private", at))
}

/// Mounts what is at one place at another one as well, without what is mounted below it.
///
/// # Errors
/// [`MountError`]
pub fn bind(from: &Path, to: &Path) -> Result<(), MountError> {
    place(to).and_then(|_| mount_bind(from, to)).map_err(MountError::new("mount on", to))
}

/// Moves a mount, with all that is mounted below it. pivot_root(2) is no way: it refuses the initramfs.
///
/// # Errors
/// [`MountError`]
pub fn move_to(from: &Path, to: &Path) -> Result<(), MountError> {
    place(to)
        .and_then(|place| move_mount(CWD, from, place, c"", MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH))
        .map_err(MountError::new("move mount to", to))
}

/// Unmounts what is mounted at a place.
///
/// # Errors
/// [`MountError`]
pub fn unmount_from(at: &Path) -> Result<(), MountError> {
    unmount(at, UnmountFlags::empty()).map_err(MountError::new("unmount", at))
}

/// Unmounts what is mounted at a place, with all that is mounted below it, once nobody uses it any more.
///
/// # Errors
/// [`MountError`]
pub fn detach(at: &Path) -> Result<(), MountError> {
    unmount(at, UnmountFlags::DETACH).map_err(MountError::new("unmount", at))
}

/// Mounts a folder on itself, so that programs in it can be executed, whatever holds for the rest of its file system.
///
/// # Errors
/// [`MountError`]
pub fn bind_executable(at: &Path) -> Result<(), MountError> {
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    mount_bind(at, at).and_then(|()| mount_remount(at, flags, c"")).map_err(MountError::new("mount on itself", at))
}

/// Lets a mount refuse writes, or take them.
///
/// # Errors
/// [`MountError`]
pub fn set_mount_read_only(at: &Path, read_only: bool) -> Result<(), MountError> {
    let call = "change mount flags of";
    // A bind remount sets all flags anew: keep those that the mount has.
    let now = rustix::fs::statvfs(at).map_err(MountError::new(call, at))?.f_flag;
    let mut flags = MountFlags::BIND;
    for (has, keep) in [
        (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (rustix::fs::StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (rustix::fs::StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (rustix::fs::StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ] {
        flags.set(keep, now.contains(has));
    }
    flags.set(MountFlags::RDONLY, read_only);
    mount_remount(at, flags, c"").map_err(MountError::new(call, at))
}

/// Lets a superblock refuse writes through whichever mount, or take them.
///
/// # Errors
/// [`MountError`]
pub fn set_superblock_read_only(at: &Path, read_only: bool) -> Result<(), MountError> {
    let call = "change the superblock of";
    // Not mount(2): without the options that it was mounted with, NFS takes a remount for a change of them.
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_NO_AUTOMOUNT;
    let context = fspick(CWD, at, flags).map_err(MountError::new(call, at))?;
    fsconfig_set_flag(&context, if read_only { "ro" } else { "rw" })
        .and_then(|()| fsconfig_reconfigure(&context))
        .map_err(|errno| MountError { said: KernelSaid(messages(&context)), ..MountError::new(call, at)(errno) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aufs_gets_mounts_of_its_own_for_the_branches_and_for_its_table() {
        assert_eq!(
            aufs_options([3, 4, 5]),
            "br=/proc/self/fd/3=rw:/proc/self/fd/4=ro,xino=/proc/self/fd/5/xino,udba=reval,dirperm1"
        );
    }

    #[test]
    fn what_the_kernel_says_stands_in_the_error() {
        let said = KernelSaid("overlay: Unknown parameter 'x'".to_owned());
        let error = MountError {
            call: "mount file system on",
            on: PathBuf::from("/aufs (overlay)"),
            errno: Errno::INVAL,
            said,
        };
        assert_eq!(
            error.to_string(),
            "mount file system on /aufs (overlay): Invalid argument (os error 22) \
             (the kernel says: overlay: Unknown parameter 'x')"
        );
    }
}
