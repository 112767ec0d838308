//! Where something of a tree is for this machine. Links in a tree are meant for one whose root the tree is: `/var/run` that
//! leads to `/run` leads to the tree's, and never to the server's own.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{openat2, Mode, OFlags, ResolveFlags, CWD};
use rustix::io::Errno;

use crate::server::paths::within;

/// The path, as the machine whose root is `root` has it, of what has the path `inside` in the tree. Links above it are
/// followed, itself is not looked at. Folders that are missing will be where they would be made.
///
/// # Errors
/// Those of the file system.
pub fn place(root: &Path, tree: &Path, inside: &Path) -> io::Result<PathBuf> {
    let folder = |fd: Option<&OwnedFd>, path: &Path, resolve| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match fd {
            Some(fd) => openat2(fd, path, flags, Mode::empty(), resolve),
            None => openat2(CWD, path, flags, Mode::empty(), resolve),
        }
    };
    let top = folder(None, &within(root, tree), ResolveFlags::empty())?;
    let inside = inside.strip_prefix("/").unwrap_or(inside);
    let (mut above, mut rest) = (inside.parent(), inside.file_name().map(PathBuf::from).unwrap_or_default());
    while let Some(known) = above.filter(|known| !known.as_os_str().is_empty()) {
        match folder(Some(&top), known, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS) {
            Ok(found) => {
                return Ok(tree
                    .join(path_of(&found)?.strip_prefix(path_of(&top)?).map_err(io::Error::other)?)
                    .join(rest))
            }
            Err(Errno::NOENT) => {
                rest = Path::new(known.file_name().unwrap_or_default()).join(rest);
                above = known.parent();
            }
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(tree.join(rest))
}

fn path_of(fd: &OwnedFd) -> io::Result<PathBuf> {
    fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out_of_a_tree() {
        let root = std::env::temp_dir().join(format!("sidus-place-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let tree = root.join("srv/t");
        for folder in ["run", "var", "usr/lib", "etc"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        for (target, link) in
            [("/run", "var/run"), ("usr/lib", "lib"), ("../../../..", "etc/up"), ("nowhere", "etc/gone")]
        {
            symlink(target, tree.join(link)).unwrap();
        }
        for (inside, place_is) in [
            ("/var/run/x", "/srv/t/run/x"),
            ("lib/firmware/a/b", "/srv/t/usr/lib/firmware/a/b"),
            ("/etc/up/etc/x", "/srv/t/etc/x"),
            ("/etc/x", "/srv/t/etc/x"),
            ("/etc/up", "/srv/t/etc/up"),
            ("/new/a/b", "/srv/t/new/a/b"),
            ("x", "/srv/t/x"),
        ] {
            assert_eq!(place(&root, Path::new("/srv/t"), Path::new(inside)).unwrap(), Path::new(place_is), "{inside}");
        }
        assert!(place(&root, Path::new("/srv/none"), Path::new("/x")).is_err());
        fs::remove_dir_all(&root).unwrap();
    }
}
