//! A node's disk: a sparse file, or a volume of a group of this server's, with an ext4 that bears the label by which nodes
//! know it.

use std::io;
use std::path::{Path, PathBuf};

use super::NodeError;
use crate::server::config::values::{NodeName, Size, VolumeGroup};
use crate::server::config::{Folders, Node};
use crate::server::engine::volume::{self, Renaming, Volumes};
use crate::server::engine::{Action, Content, MakeFolder, Run, Write};
use crate::server::paths::look;
use crate::server::Error;

/// The file system's label.
pub const LABEL: &str = "ISCSI";
/// What the names of this program's volumes begin with.
const PREFIX: &str = "sidus-";

/// Where a node's disk is, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disk {
    /// In this folder, which has nothing else.
    File {
        /// The folder.
        folder: PathBuf,
        /// Whose.
        node: NodeName,
    },
    /// In this group, which may have others.
    Volume {
        /// Where the group is.
        group: PathBuf,
        /// Whose.
        node: NodeName,
    },
}

/// What there is of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// The disk.
    pub disk: bool,
    /// The one before.
    pub old: bool,
    /// One that is to be removed as soon as nothing serves it.
    pub aside: bool,
}

impl Disk {
    /// That of a node of this name, in a group or without one.
    #[must_use]
    pub fn of(folders: &Folders, node: &NodeName, group: Option<&VolumeGroup>) -> Self {
        let node = node.clone();
        match group {
            None => Self::File { folder: folders.luns.path().to_owned(), node },
            Some(group) => Self::Volume { group: Path::new("/dev").join(group.as_str()), node },
        }
    }

    /// That of a node.
    #[must_use]
    pub fn of_node(folders: &Folders, node: &Node) -> Self {
        Self::of(folders, &node.name, node.file.volume_group.as_ref())
    }

    /// Whether it is a volume.
    #[must_use]
    pub const fn is_volume(&self) -> bool {
        matches!(self, Self::Volume { .. })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.named("", "")
    }

    /// Where the one before is.
    fn old(&self) -> PathBuf {
        self.named("", ".old")
    }

    /// Where it is made: nobody looks there.
    fn in_making(&self) -> PathBuf {
        self.named(".", ".new")
    }

    /// Where a volume is until nothing serves it any more.
    fn aside(&self) -> PathBuf {
        self.named("", ".gone")
    }

    /// No node's name has a dot in it.
    fn named(&self, before: &str, after: &str) -> PathBuf {
        match self {
            Self::File { folder, node } => folder.join(format!("{before}{node}.img{after}")),
            Self::Volume { group, node } => group.join(format!("{PREFIX}{node}{after}")),
        }
    }

    /// Looks what there is.
    ///
    /// # Errors
    /// Those of the file system, with the path; those of lvs(8).
    pub fn look(&self, root: &Path) -> Result<Found, Error> {
        if self.is_volume() {
            let there = Volumes::beside(root, &self.path())?;
            let has = |path: PathBuf| there.has(&path);
            return Ok(Found { disk: has(self.path()), old: has(self.old()), aside: has(self.aside()) });
        }
        let is_there = |path: &Path| is_there(root, path).map_err(NodeError::Facts);
        Ok(Found { disk: is_there(&self.path())?, old: is_there(&self.old())?, aside: false })
    }

    /// Whether it can be served. A volume that is not active cannot.
    ///
    /// # Errors
    /// Those of the file system, with the path.
    pub fn is_there(&self, root: &Path) -> io::Result<bool> {
        is_there(root, &self.path())
    }

    /// Makes a new one. It is begun anew each time, so that a file system is made in nothing that was there before.
    #[must_use]
    pub fn make(&self, size: Size) -> Vec<Action> {
        let path = self.in_making();
        // What takes long is done by the node, while it uses it; but where the journal will be, a volume may have the
        // journal of a disk that was there before.
        let later = format!("lazy_itable_init=1,lazy_journal_init={}", u8::from(!self.is_volume()));
        let format =
            Run::new("mkfs.ext4").args(&["-q", "-L", LABEL, "-E", &later]).path(&path).from_package("e2fsprogs");
        let mut actions = match self {
            Self::File { folder, .. } => {
                let grow = Run::new("truncate").args(&["--no-create", "--size", &size.bytes().to_string()]).path(&path);
                let empty = Write::secret(path, Content::Bytes(Vec::new()));
                vec![Action::Folder(private(folder)), Action::Write(empty), Action::Run(grow)]
            }
            Self::Volume { .. } => {
                vec![Action::Run(volume::remove(&path)), Action::Run(volume::make(&path, size.bytes()))]
            }
        };
        actions.push(Action::Run(format));
        actions
    }

    /// Takes that back.
    #[must_use]
    pub fn unmake(&self) -> Action {
        match self {
            Self::File { folder, .. } => Action::remove_inside(folder, self.in_making()),
            Self::Volume { .. } => Action::Run(volume::remove(&self.in_making())),
        }
    }

    /// Puts the new one where there is none.
    #[must_use]
    pub fn put(&self) -> Action {
        let (from, to) = (self.in_making(), self.path());
        match self {
            Self::File { .. } => Action::Rename { from, to },
            Self::Volume { .. } => Action::Volume(Renaming::To { from, to }),
        }
    }

    /// Puts the new one in place of the one that is there, if one is. That one becomes the one before, or is given up as
    /// by [`Disk::discard`].
    #[must_use]
    pub fn replace(&self, discard: bool) -> Vec<Action> {
        let (from, to) = (self.in_making(), self.path());
        let mut actions = vec![match self {
            Self::File { .. } => Action::Replace { from, to, keep: (!discard).then(|| self.old()) },
            Self::Volume { .. } => {
                Action::Volume(Renaming::Over { from, to, keep: if discard { self.aside() } else { self.old() } })
            }
        }];
        if discard {
            actions.push(self.remove_old());
        }
        actions
    }

    /// Gives up what there is. What is served goes for good with [`Disk::afterwards`].
    #[must_use]
    pub fn discard(&self) -> Vec<Action> {
        let disk = match self {
            Self::File { folder, .. } => Action::remove_inside(folder, self.path()),
            Self::Volume { .. } => Action::Volume(Renaming::Aside { from: self.path(), to: self.aside() }),
        };
        vec![disk, self.remove_old()]
    }

    fn remove_old(&self) -> Action {
        match self {
            Self::File { folder, .. } => Action::remove_inside(folder, self.old()),
            Self::Volume { .. } => Action::Run(volume::remove(&self.old())),
        }
    }

    /// What is to be run when the target has been told that the disk is given up. A file has no name then, and is gone when
    /// nothing has it open.
    #[must_use]
    pub fn afterwards(&self) -> Option<Run> {
        self.is_volume().then(|| volume::remove(&self.aside()))
    }

    /// That nothing waits for its end, which would be in the way.
    ///
    /// # Errors
    /// [`NodeError::Waiting`]
    pub fn check_aside(&self, found: Found) -> Result<(), NodeError> {
        if found.aside {
            return Err(NodeError::Waiting { path: self.aside() });
        }
        Ok(())
    }
}

fn is_there(root: &Path, path: &Path) -> io::Result<bool> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    look(root, path).map_err(named).map(|found| found.is_some())
}

/// Nobody but root looks into it.
fn private(folder: &Path) -> MakeFolder {
    MakeFolder { path: folder.to_owned(), mode: 0o700, owner: None, exact: false }
}
