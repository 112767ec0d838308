//! A node's disk: a sparse file, with an ext4 that bears the label by which nodes know it.

use std::io;
use std::path::{Path, PathBuf};

use crate::server::config::values::{NodeName, Size};
use crate::server::config::Folders;
use crate::server::engine::{Action, Content, MakeFolder, Run, Write};
use crate::server::paths::look;

/// The file system's label.
pub const LABEL: &str = "ISCSI";

/// What there is of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The disk.
    pub disk: bool,
    /// The one before.
    pub old: bool,
}

impl Found {
    /// Looks.
    ///
    /// # Errors
    /// Those of the file system, with the path.
    pub fn look(root: &Path, folders: &Folders, name: &NodeName) -> io::Result<Self> {
        let is_there = |path: PathBuf| {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            look(root, &path).map_err(named).map(|found| found.is_some())
        };
        Ok(Self { disk: is_there(image(folders, name))?, old: is_there(old(folders, name))? })
    }
}

/// Where it is.
#[must_use]
pub fn image(folders: &Folders, name: &NodeName) -> PathBuf {
    folders.luns.join(format!("{name}.img"))
}

/// Where the one before is.
#[must_use]
pub fn old(folders: &Folders, name: &NodeName) -> PathBuf {
    folders.luns.join(format!("{name}.img.old"))
}

/// Where it is made: nobody looks there.
#[must_use]
pub fn new(folders: &Folders, name: &NodeName) -> PathBuf {
    folders.luns.join(format!(".{name}.img.new"))
}

/// Makes a new one. The file is begun anew each time, so that a file system is made in nothing that was there before.
#[must_use]
pub fn make(folders: &Folders, name: &NodeName, size: Size) -> Vec<Action> {
    let path = new(folders, name);
    let grow = Run::new("truncate").args(&["--no-create", "--size", &size.bytes().to_string()]).path(&path);
    let format = Run::new("mkfs.ext4")
        // What takes long is done by the node, while it uses it.
        .args(&["-q", "-L", LABEL, "-E", "lazy_itable_init=1,lazy_journal_init=1"])
        .path(&path)
        .from_package("e2fsprogs");
    vec![Action::Write(Write::secret(path, Content::Bytes(Vec::new()))), Action::Run(grow), Action::Run(format)]
}

/// Takes that back.
#[must_use]
pub fn unmake(folders: &Folders, name: &NodeName) -> Action {
    Action::remove_inside(folders.luns.path(), new(folders, name))
}

/// Where the disks are: nobody but root looks into them.
#[must_use]
pub fn folder(folders: &Folders) -> MakeFolder {
    MakeFolder { path: folders.luns.path().to_owned(), mode: 0o700, owner: None, exact: false }
}
