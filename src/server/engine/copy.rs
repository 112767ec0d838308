//! Copies of whole trees: by the quickest way that leaves both independent of each other.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{ioctl_ficlone, openat, Mode, OFlags, CWD};
use rustix::io::Errno;

use super::run::Run;
use crate::server::paths::within;

/// How a tree is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    /// Each file shares its blocks with the original until one of both is written to: btrfs, xfs, bcachefs.
    Reflink,
    /// What is the same in this third tree, which nobody ever changes, is a link to the file there.
    LinkTo(PathBuf),
    /// Byte by byte.
    Bytes,
}

/// The command that makes `to` a copy of `from`, or makes it one again: owners, modes, times, links, ACLs, extended
/// attributes and all.
#[must_use]
pub fn copy_tree(from: &Path, to: &Path, how: &How) -> Run {
    // Without the window, what is written twice in one second, and as long as before, would be taken for the same.
    let options = ["-aHAX", "--numeric-ids", "--modify-window=-1", "--delete"];
    let rsync = || Run::new("rsync").args(&options).from_package("rsync");
    // What is in it, not itself.
    let copy = |run: Run| run.path_between("", from, "/").path_between("", to, "/");
    match how {
        How::Reflink => Run::new("cp").args(&["-a", "--reflink=always", "-T"]).path(from).path(to),
        How::LinkTo(third) => copy(rsync().path_after("--link-dest=", third)),
        How::Bytes => copy(rsync()),
    }
}

/// Whether files in this folder can share their blocks (ioctl_ficlone(2)). Leaves no trace.
///
/// # Errors
/// Those of the file system; that it cannot is none.
pub fn can_reflink(root: &Path, folder: &Path) -> io::Result<bool> {
    let at = within(root, folder);
    let file = || -> io::Result<File> {
        Ok(openat(CWD, &at, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))?.into())
    };
    let (mut one, other) = match (file(), file()) {
        (Ok(one), Ok(other)) => (one, other),
        // A file system without nameless files has no shared blocks either.
        (Err(error), _) | (_, Err(error)) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
            return Ok(false)
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    one.write_all(&[0; 4096])?;
    match ioctl_ficlone(&other, &one) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::XDEV | Errno::NOTTY | Errno::NOSYS) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_copy_what_is_in_a_tree() {
        let (from, to) = (Path::new("/srv/a"), Path::new("/srv/b"));
        for (how, command) in [
            (How::Reflink, "cp -a --reflink=always -T /srv/a /srv/b"),
            (
                How::LinkTo("/srv/old".into()),
                "rsync -aHAX --numeric-ids --modify-window=-1 --delete --link-dest=/srv/old /srv/a/ /srv/b/",
            ),
            (How::Bytes, "rsync -aHAX --numeric-ids --modify-window=-1 --delete /srv/a/ /srv/b/"),
        ] {
            assert_eq!(copy_tree(from, to, &how).to_string(), command);
        }
    }

    #[test]
    fn a_folder_can_be_asked() {
        let folder = std::env::temp_dir();
        can_reflink(Path::new("/"), &folder).unwrap();
        assert!(can_reflink(Path::new("/"), Path::new("/no/such/folder")).is_err());
    }
}
