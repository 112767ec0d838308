//! What commands decide to do. Each action can be done again: where it is done already, nothing is.
//!
//! Paths are absolute, as the machine has them; the engine puts its root before them.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::run::Run;
use super::volume::Renaming;

/// In the first line of what this program writes and a person might take for their own.
pub const MARK: &str = "Written by sidus";

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Makes a folder and those above it.
    Folder(MakeFolder),
    /// Writes a file, so that a reader sees all of it or the one before.
    Write(Write),
    /// Makes a symbolic link, or has it lead elsewhere, so that a reader sees one or the other.
    Link {
        /// The link.
        path: PathBuf,
        /// What it leads to, as the link says it.
        target: PathBuf,
    },
    /// Removes a file, or a folder with all that is in it. For others it is gone at once.
    Remove {
        /// Which.
        path: PathBuf,
        /// Why it may be removed.
        proof: Proof,
    },
    /// Renames, where nothing has the new name. Before the journal says that a folder is to be renamed, its file system is
    /// synced: after a power loss, what has the new name is whole.
    Rename {
        /// What it is called.
        from: PathBuf,
        /// What it will be called.
        to: PathBuf,
    },
    /// Puts a file in the place of another one, of which a reader sees one or the other.
    Replace {
        /// What it is called; when it is called so no more, this is done.
        from: PathBuf,
        /// What it will be called.
        to: PathBuf,
        /// What the one before will be called, in place of what is called so; else it is gone.
        keep: Option<PathBuf>,
    },
    /// Gives a logical volume another name.
    Volume(Renaming),
    /// Runs a command, which can be run again.
    Run(Run),
}

/// A folder that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MakeFolder {
    /// Where.
    pub path: PathBuf,
    /// Its mode.
    pub mode: u32,
    /// User and group; else this program's own.
    pub owner: Option<(u32, u32)>,
    /// Whether one that is there gets mode and owner as well; else it is left as it is.
    pub exact: bool,
}

/// A file that is to be.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Where.
    pub path: PathBuf,
    /// What is in it.
    pub content: Content,
    /// Its mode.
    pub mode: u32,
    /// User and group; else this program's own.
    pub owner: Option<(u32, u32)>,
    /// What may be overwritten.
    pub over: Over,
    /// Its contents are shown to nobody.
    pub secret: bool,
}

impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content: &dyn fmt::Debug = if self.secret { &"(secret)" } else { &self.content };
        f.debug_struct("Write").field("path", &self.path).field("content", content).finish_non_exhaustive()
    }
}

/// What is in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Content {
    /// This text.
    Text(String),
    /// These bytes.
    Bytes(Vec<u8>),
    /// What is in another file.
    CopyOf(PathBuf),
}

/// What a file may take the place of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Over {
    /// A file whose first line has [`MARK`]: what a person wrote stays.
    Marked,
    /// Nothing: a file that is there stays, and is an error unless it is the same.
    Nothing,
    /// Any file: it is in a folder that is this program's alone.
    Anything,
}

/// Why something may be removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Proof {
    /// Its first line has [`MARK`].
    Marked,
    /// It is in this folder, which is this program's alone, or where a person told this program to remove it.
    Inside(PathBuf),
}

/// A text for [`Over::Marked`]: `comment` is what begins a comment there.
#[must_use]
pub fn marked(comment: &str, text: &str) -> String {
    format!("{comment} {MARK}, which will write it again: what is changed here is lost. See sidus(8).\n{text}")
}

impl Action {
    /// A folder for everyone to read.
    #[must_use]
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Self::Folder(MakeFolder { path: path.into(), mode: 0o755, owner: None, exact: false })
    }

    /// A folder for root alone.
    #[must_use]
    pub fn private_folder(path: impl Into<PathBuf>) -> Self {
        Self::Folder(MakeFolder { path: path.into(), mode: 0o700, owner: None, exact: true })
    }

    /// A file for another program, with [`MARK`] in its first line.
    #[must_use]
    pub fn write_marked(path: impl Into<PathBuf>, comment: &str, text: &str) -> Self {
        Self::Write(Write { over: Over::Marked, ..Write::new(path, Content::Text(marked(comment, text))) })
    }

    /// A file that a person may change from then on.
    #[must_use]
    pub fn write_new(path: impl Into<PathBuf>, text: String) -> Self {
        Self::Write(Write { over: Over::Nothing, ..Write::new(path, Content::Text(text)) })
    }

    /// Removes what is in a folder of this program's own.
    #[must_use]
    pub fn remove_inside(folder: impl Into<PathBuf>, path: impl Into<PathBuf>) -> Self {
        Self::Remove { path: path.into(), proof: Proof::Inside(folder.into()) }
    }

    /// What will be other than before, if anything.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Folder(folder) => Some(&folder.path),
            Self::Write(write) => Some(&write.path),
            Self::Link { path, .. }
            | Self::Remove { path, .. }
            | Self::Rename { to: path, .. }
            | Self::Replace { to: path, .. } => Some(path),
            Self::Volume(renaming) => Some(renaming.path()),
            Self::Run(_) => None,
        }
    }
}

impl Write {
    /// A file for everyone to read, in a folder that is this program's alone.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, content: Content) -> Self {
        Self { path: path.into(), content, mode: 0o644, owner: None, over: Over::Anything, secret: false }
    }

    /// A file for root alone, in a folder that is this program's alone.
    #[must_use]
    pub fn secret(path: impl Into<PathBuf>, content: Content) -> Self {
        Self { mode: 0o600, secret: true, ..Self::new(path, content) }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => write!(f, "make folder {} ({:04o})", folder.path.display(), folder.mode),
            Self::Write(write) => match &write.content {
                Content::CopyOf(from) => write!(f, "copy {} to {}", from.display(), write.path.display()),
                _ => write!(f, "write {} ({:04o})", write.path.display(), write.mode),
            },
            Self::Link { path, target } => write!(f, "link {} to {}", path.display(), target.display()),
            Self::Remove { path, .. } => write!(f, "remove {}", path.display()),
            Self::Rename { from, to } => write!(f, "rename {} to {}", from.display(), to.display()),
            Self::Replace { from, to, keep } => {
                write!(f, "put {} in place of {}", from.display(), to.display())?;
                match keep {
                    Some(keep) => write!(f, ", which becomes {}", keep.display()),
                    None => f.write_str(", which is gone"),
                }
            }
            Self::Volume(renaming) => write!(f, "{renaming}"),
            Self::Run(run) => write!(f, "run {run}"),
        }
    }
}
