//! Mounts, folders and files in the namespaces of a command in a tree: each error says what could not be done.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::{statvfs, StatVfsMountFlags, CWD};
use rustix::io::Errno;
use rustix::mount::{
    mount, mount_bind, mount_remount, move_mount, open_tree, MountFlags, MoveMountFlags, OpenTreeFlags,
};

use super::{refused, EnterError};
use crate::mountinfo;

/// A mount of what has this path now, which is nowhere yet: [`attach`] puts it somewhere.
pub(super) fn take(path: impl AsRef<Path>) -> Result<OwnedFd, EnterError> {
    let path = path.as_ref();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).map_err(refused(format!("take {} into the tree", path.display())))
}

/// As [`take`]. What is mounted below it comes along only in a user namespace, which shows nothing that a mount of those who
/// made it hides (mount_namespaces(7)).
pub(super) fn take_bare(path: impl AsRef<Path>) -> Result<OwnedFd, EnterError> {
    let path = path.as_ref();
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match open_tree(CWD, path, flags) {
        Err(Errno::INVAL) => open_tree(CWD, path, flags | OpenTreeFlags::AT_RECURSIVE),
        taken => taken,
    }
    .map_err(refused(format!("take {} into the tree", path.display())))
}

/// Puts what was taken there.
pub(super) fn attach(detached: &OwnedFd, at: &str) -> Result<(), EnterError> {
    move_mount(detached, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(refused(format!("mount the server's {at} in the tree")))
}

/// Mounts a file over another one, so that neither can be written to there.
pub(super) fn bind_read_only(from: &Path, to: &Path) -> Result<(), EnterError> {
    mount_bind(from, to).map_err(refused(format!("cover {}", to.display())))?;
    make_read_only(to)
}

/// Mounts a new file system.
pub(super) fn file_system(
    kind: &str,
    at: &str,
    flags: MountFlags,
    data: Option<&std::ffi::CStr>,
) -> Result<(), EnterError> {
    mount(kind, at, kind, flags, data).map_err(refused(format!("mount {kind} on {at}")))
}

/// Makes what is mounted there read-only, for whoever has it here.
pub(super) fn make_read_only(at: impl AsRef<Path>) -> Result<(), EnterError> {
    let at = at.as_ref();
    // The other flags have to be said again: they may be locked (mount_namespaces(7)).
    let has = statvfs(at).map_err(refused(format!("look at {}", at.display())))?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| flag);
    let flags = kept.fold(MountFlags::BIND | MountFlags::RDONLY, |all, flag| all | flag);
    mount_remount(at, flags, "").map_err(refused(format!("make {} read-only", at.display())))
}

/// The same, with all that is mounted below.
pub(super) fn make_all_read_only(at: &str) -> Result<(), EnterError> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let text = fs::read_to_string(MOUNTS).map_err(refused(format!("read {MOUNTS}")))?;
    let garbled = |error: mountinfo::MountInfoError| io::Error::new(io::ErrorKind::InvalidData, error.to_string());
    let mounts = mountinfo::parse(&text).map_err(garbled).map_err(refused(format!("read {MOUNTS}")))?;
    // What is below debugfs, say, is out of reach for those who are root in a user namespace alone.
    let is_in_reach = |at: &Path| !matches!(statvfs(at), Err(Errno::ACCESS));
    let all = mounts.iter().map(|mount| mount.at.as_path()).filter(|mount| mount.starts_with(at));
    all.filter(|mount| is_in_reach(mount)).try_for_each(make_read_only)
}

/// Makes a folder, with that mode whatever the umask.
pub(super) fn folder(path: &str, mode: u32) -> Result<(), EnterError> {
    let make = || {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    make().map_err(refused(format!("make folder {path}")))
}

/// Writes a file, with that mode whatever the umask.
pub(super) fn write(path: impl AsRef<Path>, content: &[u8], mode: u32) -> Result<(), EnterError> {
    let path = path.as_ref();
    let put = || {
        fs::write(path, content)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    };
    put().map_err(refused(format!("write {}", path.display())))
}
