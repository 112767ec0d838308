//! Commands that leave nothing running and nothing mounted, however they end.
//!
//! `setpriv --pdeathsig KILL unshare --pid … --kill-child=KILL sidus inside …`: when this program dies, so does unshare(1),
//! with it the first process of the process namespace, and with that all in it; then the mounts go, with their namespace.
//! Nothing is left that a journal would have to know of.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::server::engine::{Action, Content, Over, Run, Write};
use crate::server::paths::{look, within};

/// For a command that may ask nothing (debconf(7)): package scripts take the defaults.
pub const QUIET: (&str, &str) = ("DEBIAN_FRONTEND", "noninteractive");

/// For packages of kernels, whose hook makes no initrd then (initramfs-tools' in `/etc/kernel/postinst.d`): no node boots a
/// working tree, and each generation gets one of its own.
pub const NO_INITRD: (&str, &str) = ("INITRD", "No");

/// This program, as another process starts it.
///
/// # Errors
/// That of the file system.
pub fn sidus() -> io::Result<String> {
    let path = std::env::current_exe()?;
    path.into_os_string().into_string().map_err(|path| io::Error::other(format!("{path:?} is not UTF-8")))
}

/// Where a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where<'a> {
    /// On this machine's files.
    Here,
    /// In a working tree, which it may change.
    Tree(&'a Path),
    /// In a generation, which it may not. It writes to folders in `scratch`, beside that: `tmp`, and `results`, which is
    /// [`super::inside::RESULTS`] for it.
    Generation {
        /// The generation.
        folder: &'a Path,
        /// The other folder.
        scratch: &'a Path,
    },
}

/// A command there.
#[must_use]
pub fn contained<T: AsRef<str>>(sidus: &str, place: Where<'_>, command: &[T]) -> Run {
    let run = Run::new("setpriv")
        .args(&["--pdeathsig", "KILL", "--", "unshare", "--mount", "--ipc", "--uts", "--pid", "--fork"])
        .args(&["--kill-child=KILL", "--", sidus, "inside"])
        .from_package("util-linux");
    match place {
        Where::Here => run,
        Where::Tree(tree) => run.path_after("--tree=", tree),
        Where::Generation { folder, scratch } => run.path_after("--tree=", folder).path_after("--scratch=", scratch),
    }
    .arg("--")
    .args(command)
}

/// Files that have to be there for others to be mounted on, and are not: they are made before a command, and removed
/// after it. The journal that takes them back is on the disk before they are made, and until they are gone: so what is
/// there is the tree's own, be it empty. `sidus tree seal` removes empty ones all the same.
///
/// # Errors
/// Those of the file system.
pub fn placeholders(root: &Path, tree: &Path) -> io::Result<Vec<PathBuf>> {
    let mut missing = Vec::new();
    for (folder, name) in [("usr/sbin", "policy-rc.d"), ("etc", "resolv.conf")] {
        let path = tree.join(folder).join(name);
        if has_folder(root, tree, folder)? && look(root, &path)?.is_none() {
            missing.push(path);
        }
    }
    Ok(missing)
}

/// Whether it is a folder of the tree's own: no link on the way there.
fn has_folder(root: &Path, tree: &Path, folder: &str) -> io::Result<bool> {
    let mut path = tree.to_owned();
    for part in Path::new(folder) {
        path.push(part);
        if !look(root, &path)?.is_some_and(|found| found.is_dir()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Makes these.
#[must_use]
pub fn make(placeholders: &[PathBuf]) -> Vec<Action> {
    let empty = |path: &PathBuf| Write { over: Over::Nothing, ..Write::new(path, Content::Text(String::new())) };
    placeholders.iter().map(|path| Action::Write(empty(path))).collect()
}

/// Removes them.
#[must_use]
pub fn unmake(tree: &Path, placeholders: &[PathBuf]) -> Vec<Action> {
    placeholders.iter().map(|path| Action::remove_inside(tree, path)).collect()
}

/// Whether there is a tree, as a folder.
///
/// # Errors
/// Those of the file system.
pub fn is_tree(root: &Path, tree: &Path) -> io::Result<bool> {
    match fs::metadata(within(root, tree)) {
        Ok(found) => Ok(found.is_dir()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_missing_is_made_and_removed() {
        let root = std::env::temp_dir().join(format!("sidus-contain-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let tree = Path::new("/t");
        let found = || -> Vec<String> {
            placeholders(&root, tree).unwrap().iter().map(|path| path.display().to_string()).collect()
        };
        fs::create_dir_all(root.join("t/usr")).unwrap();
        assert_eq!(found(), [""; 0], "without their folders they cannot be mounted on");
        fs::create_dir_all(root.join("t/usr/sbin")).unwrap();
        fs::create_dir_all(root.join("t/etc")).unwrap();
        assert_eq!(found(), ["/t/usr/sbin/policy-rc.d", "/t/etc/resolv.conf"]);
        fs::write(root.join("t/usr/sbin/policy-rc.d"), "").unwrap();
        assert_eq!(found(), ["/t/etc/resolv.conf"]);
        symlink("/nowhere", root.join("t/etc/resolv.conf")).unwrap();
        assert_eq!(found(), [""; 0]);
        fs::remove_dir_all(&root).unwrap();
    }
}
