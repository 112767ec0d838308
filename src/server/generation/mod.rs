//! Generations: what nodes mount, and nobody changes. See sidus(8), PUBLISHING.
//!
//! A generation of tree T is `GENERATIONS/T/NAME`, its kernel and initrd are in `TFTP/sidus/T/NAME`, and what is known of
//! it is in `GENERATIONS/T/.NAME.json` and `.NAME.seen`. `GENERATIONS/T/current` leads to the one that nodes boot. All of
//! these come into being by a rename, after all that is in them; and a node reads one file, its PXE entry, that names one
//! generation for kernel, initrd and root, and is replaced by one rename.

pub mod clone;
pub mod compare;
pub mod diff;
pub mod entries;
pub mod facts;
pub mod initrd;
pub mod kernel;
pub mod linker;
pub mod list;
pub mod name;
pub mod payload;
pub mod prune;
pub mod publish;
pub mod rollback;
pub mod share;
pub mod users;

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::values::TreeName;
use super::config::Folders;
pub use name::GenerationName;

/// What a generation is made of. Others than a folder may come: one image file, which is served as quickly as it is
/// copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// A folder that NFS serves as it is.
    #[default]
    Folder,
}

/// What is known of a generation beside its name: in a file next to it. When it was published is when that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is made of.
    pub form: Form,
    /// The kernel that it is booted with.
    pub kernel: String,
    /// What all of it takes on the disk, in bytes.
    pub size: u64,
    /// What of that it does not share with the generation before it.
    pub own: u64,
}

/// Why there is no such generation.
#[derive(Debug, Error)]
pub enum GenerationError {
    /// The machine's files cannot be read.
    #[error("cannot look at {}: {source}", path.display())]
    Look {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not there.
    #[error("there is no tree {tree} in {}{}", folder.display(), known(trees))]
    NoTree {
        /// What was asked for.
        tree: TreeName,
        /// Where it was looked for.
        folder: PathBuf,
        /// What there is.
        trees: Vec<String>,
    },
    /// A name that is taken.
    #[error("{}: there is such a tree already: choose another name, or move it away", tree.display())]
    TreeExists {
        /// Where.
        tree: PathBuf,
    },
    /// It has never been published, or not often enough.
    #[error("tree {tree} has no generation {wanted}; it has {}", list(found))]
    NoGeneration {
        /// The tree.
        tree: TreeName,
        /// What was asked for.
        wanted: String,
        /// What there is.
        found: Vec<GenerationName>,
    },
    /// This machine's /proc or /dev, say, would become a part of the generation.
    #[error("something is mounted on {}, in the tree: umount it first", at.display())]
    Mounted {
        /// Where.
        at: PathBuf,
    },
    /// The programs for nodes are not installed.
    #[error("{}: no such file; nodes need it: install the programs and hooks of sidus on this server, as its README says", path.display())]
    NoPayload {
        /// What is missing.
        path: PathBuf,
    },
    /// What is written or read there would be elsewhere.
    #[error("{} is a link, but has to be a folder: it may lead out of the tree; mend the tree", path.display())]
    Link {
        /// Which.
        path: PathBuf,
    },
    /// Nothing can be booted.
    #[error("{}: there is no kernel with its modules (vmlinuz-VERSION, and /usr/lib/modules/VERSION); install one in the tree: sidus tree install {tree} linux-image-amd64", boot.display())]
    NoKernel {
        /// Where.
        boot: PathBuf,
        /// The tree.
        tree: TreeName,
    },
    /// Nothing makes an initrd.
    #[error("{}: no such file: install initramfs-tools in the tree", path.display())]
    NoInitramfsTools {
        /// What is missing.
        path: PathBuf,
    },
    /// What is to be served to everyone could be a link to this server's own files.
    #[error("{}: the tree's mkinitramfs was content, but has made no regular file of that name: look at it and its hooks", path.display())]
    NoInitrd {
        /// Where it was to be.
        path: PathBuf,
    },
    /// A file that this program wrote is no longer what it was.
    #[error("{}: {why}; it is of sidus, and says what that generation is: restore it, or remove the generation by hand", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

fn known(trees: &[String]) -> String {
    if trees.is_empty() {
        return "; `sidus tree create` makes one".to_owned();
    }
    format!("; there is {}", trees.join(", "))
}

fn list(names: &[GenerationName]) -> String {
    if names.is_empty() {
        return "none: sidus publish makes one".to_owned();
    }
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Makes an error of what the file system says of `path`.
pub(super) fn looking(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> GenerationError {
    move |source| GenerationError::Look { path: path.as_ref().to_owned(), source }
}

/// Where the generations of one tree are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The folders of the generations, and what is known of them.
    pub generations: PathBuf,
    /// The folders of their kernels and initrds.
    pub boot: PathBuf,
    /// As the TFTP server has it.
    pub boot_served: String,
}

impl Places {
    /// Those of `tree`.
    #[must_use]
    pub fn of(folders: &Folders, tree: &TreeName) -> Self {
        let boot_served = format!("sidus/{tree}");
        Self {
            generations: folders.generations.join(tree.as_str()),
            boot: folders.tftp.join(&boot_served),
            boot_served,
        }
    }

    /// What nodes mount.
    #[must_use]
    pub fn folder(&self, name: GenerationName) -> PathBuf {
        self.generations.join(name.to_string())
    }

    /// Where its kernel and initrd are.
    #[must_use]
    pub fn boot(&self, name: GenerationName) -> PathBuf {
        self.boot.join(name.to_string())
    }

    /// Where its [`Record`] is.
    #[must_use]
    pub fn record(&self, name: GenerationName) -> PathBuf {
        self.generations.join(format!(".{name}.json"))
    }

    /// What of it was seen while its initrd was made; there is none where the kernel did not tell.
    #[must_use]
    pub fn seen(&self, name: GenerationName) -> PathBuf {
        self.generations.join(format!(".{name}.seen"))
    }

    /// The link to the one that nodes boot.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.generations.join("current")
    }

    /// Where the next one is prepared.
    #[must_use]
    pub fn prepared(&self) -> PathBuf {
        self.generations.join(".new")
    }

    /// As [`Places::prepared`], for kernel and initrd.
    #[must_use]
    pub fn boot_prepared(&self) -> PathBuf {
        self.boot.join(".new")
    }

    /// Where the initrd is made.
    #[must_use]
    pub fn scratch(&self) -> PathBuf {
        self.generations.join(".initrd")
    }
}
