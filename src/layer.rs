//! The layer's directories. A volume may bring them along from an earlier boot, and whoever could write to the volume
//! meanwhile may have put something else in their place: what is not as it was made here is an error.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{chown, DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use thiserror::Error;

use crate::folder::Folder;
use crate::kmsg::{Level, Log};
use crate::plan::LayerDirs;

/// The mode of all that is no part of the merged view: nobody but root may enter.
const PRIVATE: u32 = 0o700;

/// A link, whose end is not known, or a file.
const NO_DIRECTORY: &str = "it is no directory";
/// Somebody else could have changed what is in it.
const NOT_OURS: &str = "it does not belong to root";
/// The same.
const OPEN: &str = "others may enter it: its mode is not 0700";
/// overlayfs' mark of a directory that hides what the lower side has there.
const OPAQUE: &str = "trusted.overlay.opaque";
/// Another release's layer, which an empty one beside it would hide.
const OTHER_VERSION: &str = "it has a layer of another version; v1 is the only one that is known here";

/// Why there is no layer.
#[derive(Debug, Error)]
#[error("the layer's {}: {why}", path.display())]
pub struct LayerError {
    path: PathBuf,
    /// The file system's answer; [`io::ErrorKind::Other`] for what was not made here.
    why: io::Error,
}

impl LayerError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.why.raw_os_error() {
            Some(_) => "check the volume for free space and errors, and the export for no_root_squash",
            None => {
                "mend it on the iSCSI server, boot the release of rootaufs that made it, or rename the folder sidus of the \
                 volume there: then a new layer is begun"
            }
        }
    }
}

/// Makes a layer's directories, or takes those that are there. The merged root takes its owner and mode from the upper
/// one: a mere 0700 there would lock every user out of the node. All lies below a directory that only root may enter,
/// since a file that is changed behind the union's back is undefined behaviour, and the work directory is nobody's
/// business. `places` are what will be mounted on: an upper one that is new has them.
///
/// # Errors
/// [`LayerError`]
pub fn make(layer: &LayerDirs, like: &Path, places: &[&str], log: &Log) -> Result<(), LayerError> {
    let mut at = layer.private.clone();
    make_at(&mut at, layer, like, places, log).map_err(|why| LayerError { path: at, why })
}

/// The same; an error is of what `at` is then.
fn make_at(at: &mut PathBuf, layer: &LayerDirs, like: &Path, places: &[&str], log: &Log) -> io::Result<()> {
    let owner = rustix::process::geteuid().as_raw();
    let LayerDirs { private, upper, work } = layer;
    keep_private(at, owner)?;
    let inside = upper.strip_prefix(private).unwrap_or(upper);
    if let Some(version) = inside.iter().next() {
        refuse_other_versions(at, version)?;
    }
    for part in inside.parent().into_iter().flatten() {
        at.push(part);
        keep_private(at, owner)?;
    }
    at.clone_from(work);
    keep_private(at, owner)?;
    at.clone_from(upper);
    match fs::symlink_metadata(&*at) {
        Ok(there) if there.is_dir() => Ok(()),
        Ok(_) => Err(io::Error::other(NO_DIRECTORY)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            at.set_extension("new");
            make_upper(at, upper, like, places, log)
        }
        Err(error) => Err(error),
    }
}

/// Makes a directory that is root's alone, or sees that it is.
fn keep_private(path: &Path, owner: u32) -> io::Result<()> {
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        result => return result,
    }
    let there = fs::symlink_metadata(path)?;
    Err(io::Error::other(match (there.is_dir(), there.uid() == owner, there.mode() & 0o777 == PRIVATE) {
        (true, true, true) => return Ok(()),
        (false, ..) => NO_DIRECTORY,
        (true, false, _) => NOT_OURS,
        (true, true, false) => OPEN,
    }))
}

/// Looks for `v2` beside `v1`: what an administrator expects on this node is in there.
fn refuse_other_versions(private: &Path, ours: &OsStr) -> io::Result<()> {
    for name in Folder::open(private)?.names()? {
        if matches!(name.as_bytes(), [b'v', b'0'..=b'9', ..]) && *name != *ours {
            return Err(io::Error::other(OTHER_VERSION));
        }
    }
    Ok(())
}

/// Makes the upper directory like the lower one, as `new`. It gets its name last: one that a power cut left half made
/// would else be taken for whole at the next boot.
fn make_upper(new: &Path, upper: &Path, like: &Path, places: &[&str], log: &Log) -> io::Result<()> {
    let mount_points = || places.iter().map(|place| new.join(place));
    match fs::symlink_metadata(new) {
        Ok(there) if there.is_dir() => {
            mount_points().try_for_each(|left| remove(&left))?;
            remove(new)?;
        }
        Ok(_) => return Err(io::Error::other(NO_DIRECTORY)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    DirBuilder::new().mode(PRIVATE).create(new)?;
    let model = fs::metadata(like)?;
    chown(new, Some(model.uid()), Some(model.gid()))?;
    fs::set_permissions(new, Permissions::from_mode(model.mode() & 0o7777))?;
    copy_attributes(like, new, log)?;
    mount_points().try_for_each(|at| make_mount_point(&at))?;
    fs::rename(new, upper)
}

/// Removes an empty directory, where it is.
fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A mount point of the merged view. Through the union, the lower side would be asked for it, by NFS; the mark spares
/// that later as well. What the lower side has there will be out of sight in any case.
fn make_mount_point(at: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(at)?;
    match rustix::fs::setxattr(at, OPAQUE, b"y", XattrFlags::empty()) {
        // aufs' layers need no mark, and where there is none it only costs the requests.
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Copies the extended attributes (access lists, labels) of a directory, as far as the other file system takes them.
fn copy_attributes(from: &Path, to: &Path, log: &Log) -> io::Result<()> {
    let mut names = vec![0_u8; 64 << 10];
    let length = match rustix::fs::listxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(name);
        // trusted.* is the union's own, and a server's file system may have some.
        let copied = ["system.posix_acl_", "security.", "user."].iter().any(|start| name.starts_with(start));
        if !copied {
            continue;
        }
        let mut value = vec![0_u8; 64 << 10];
        let length = rustix::fs::getxattr(from, &*name, &mut value)?;
        match rustix::fs::setxattr(to, &*name, value.get(..length).unwrap_or_default(), XattrFlags::empty()) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => {
                log.say(
                    Level::Warning,
                    &format!("{} cannot hold attribute {name} of {}", to.display(), from.display()),
                );
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A volume, and a tree for the layer to be like.
    struct Volume(PathBuf);

    impl Volume {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("sidus-layer-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("tree")).unwrap();
            fs::set_permissions(root.join("tree"), Permissions::from_mode(0o751)).unwrap();
            Self(root)
        }

        fn layer(&self) -> LayerDirs {
            let at = |path: &str| self.0.join(path);
            LayerDirs { private: at("sidus"), upper: at("sidus/v1/upper"), work: at("sidus/v1/work") }
        }

        fn make(&self) -> Result<(), String> {
            let log = Log::open(Path::new("/nonexistent"));
            let text = |error: LayerError| error.to_string().replace(&self.0.display().to_string(), "/rw");
            make(&self.layer(), &self.0.join("tree"), &["ro", "rw"], &log).map_err(text)
        }

        fn mode(&self, path: &str) -> u32 {
            fs::symlink_metadata(self.0.join(path)).unwrap().mode() & 0o7777
        }
    }

    impl Drop for Volume {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_layer_is_made_once_and_taken_again() {
        let volume = Volume::new("made");
        for _ in 0..2 {
            volume.make().unwrap();
            assert_eq!(volume.mode("sidus/v1/upper"), 0o751);
            for path in ["sidus", "sidus/v1", "sidus/v1/work"] {
                assert_eq!(volume.mode(path), 0o700, "{path}");
            }
            for path in ["sidus/v1/upper/ro", "sidus/v1/upper/rw"] {
                assert_eq!(volume.mode(path), 0o755, "{path}");
            }
        }
        // What the node did to its root is the node's.
        fs::set_permissions(volume.0.join("sidus/v1/upper"), Permissions::from_mode(0o755)).unwrap();
        volume.make().unwrap();
        assert_eq!(volume.mode("sidus/v1/upper"), 0o755);
    }

    #[test]
    fn one_that_a_power_cut_left_half_made_is_made_anew() {
        let volume = Volume::new("half");
        for path in ["sidus", "sidus/v1", "sidus/v1/upper.new", "sidus/v1/upper.new/rw"] {
            DirBuilder::new().mode(0o700).create(volume.0.join(path)).unwrap();
        }
        volume.make().unwrap();
        assert_eq!(volume.mode("sidus/v1/upper"), 0o751);
        assert!(!volume.0.join("sidus/v1/upper.new").exists());
    }

    #[test]
    fn what_somebody_put_in_the_place_of_a_layer_is_an_error_each() {
        let link = |path: &Path| symlink("/", path).unwrap();
        let file = |path: &Path| fs::write(path, "").unwrap();
        let open = |path: &Path| {
            fs::create_dir(path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        };
        let folder = |path: &Path| DirBuilder::new().mode(0o700).create(path).unwrap();
        let table: &[(&str, &dyn Fn(&Path), &str)] = &[
            ("sidus", &link, "the layer\'s /rw/sidus: it is no directory"),
            ("sidus", &file, "the layer\'s /rw/sidus: it is no directory"),
            ("sidus", &open, "the layer\'s /rw/sidus: others may enter it: its mode is not 0700"),
            ("sidus/v1", &link, "the layer\'s /rw/sidus/v1: it is no directory"),
            ("sidus/v1", &open, "the layer\'s /rw/sidus/v1: others may enter it: its mode is not 0700"),
            ("sidus/v1/work", &link, "the layer\'s /rw/sidus/v1/work: it is no directory"),
            ("sidus/v1/work", &open, "the layer\'s /rw/sidus/v1/work: others may enter it: its mode is not 0700"),
            ("sidus/v1/upper", &link, "the layer\'s /rw/sidus/v1/upper: it is no directory"),
            ("sidus/v1/upper", &file, "the layer\'s /rw/sidus/v1/upper: it is no directory"),
            ("sidus/v1/upper.new", &link, "the layer's /rw/sidus/v1/upper.new: it is no directory"),
            (
                "sidus/v2",
                &folder,
                "the layer's /rw/sidus: it has a layer of another version; v1 is the only one that is known here",
            ),
        ];
        for (path, put, expected) in table {
            let volume = Volume::new("other");
            let at = volume.0.join(path);
            for parent in ["sidus", "sidus/v1"].map(|parent| volume.0.join(parent)) {
                if at != parent && at.starts_with(&parent) {
                    folder(&parent);
                }
            }
            put(&at);
            assert_eq!(volume.make(), Err((*expected).to_owned()), "{path}");
        }
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let volume = Volume::new("owner");
        let path = volume.0.join("mine");
        let me = rustix::process::geteuid().as_raw();
        keep_private(&path, me).unwrap();
        let error = keep_private(&path, me + 1).unwrap_err().to_string();
        assert_eq!(error, NOT_OURS);
    }
}
