//! `sidus tree …`: working trees, which an administrator changes, and which no node mounts.
//!
//! [`create`] makes one; [`work`] runs commands in one, by way of [`contain`] and [`inside`]; [`site`] brings the site's
//! files into it; [`seal`] takes out what no node is to have. Paths in a tree are found as if the tree were `/`:
//! [`place`].

pub mod contain;
pub mod create;
pub mod inside;
pub mod place;
pub mod seal;
pub mod site;
mod sources;
mod work;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Subcommand;
use thiserror::Error;

use super::cli::Common;
use super::config::values::{TreeName, ValueError};
use super::config::Config;
use super::generation::{clone, diff, list, prune};
use super::paths;
use work::Work;

/// What is done with trees.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a tree: a Debian with the packages that nodes are to have
    Create(create::Options),
    /// Run a command in a tree; its exit status is that of this one
    ///
    /// No service is started in the tree, and when the command has ended, nothing that it started runs on.
    Run {
        /// The tree
        name: TreeName,
        /// The command
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// A shell in a tree
    Shell {
        /// The tree
        name: TreeName,
    },
    /// Install packages in a tree
    Install {
        /// The tree
        name: TreeName,
        /// Packages, as apt-get(8) takes them
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<Package>,
    },
    /// Upgrade the packages of a tree
    Upgrade {
        /// The tree
        name: TreeName,
    },
    /// Remove packages from a tree, with their configuration
    Purge {
        /// The tree
        name: TreeName,
        /// Packages, as apt-get(8) takes them
        #[arg(required = true, value_name = "PACKAGE")]
        packages: Vec<Package>,
    },
    /// Show how the site's files differ from those of a tree, and bring them into it
    Site {
        /// The tree
        name: TreeName,
    },
    /// Take out of a tree what no node is to have: host keys, machine-id, logs, caches
    Seal {
        /// The tree
        name: TreeName,
    },
    /// The trees, their generations, and who boots and runs on which
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Remove generations of a tree that nobody needs
    ///
    /// Never the one that nodes boot, nor one that a PXE entry names, nor one that a node may still run on.
    Prune(prune::Options),
    /// Make another working tree, that begins as a copy of one
    Clone(clone::Options),
    /// What two trees or generations do not share: packages, then files
    Diff(diff::Options),
}

/// A package for apt-get: a name, with `=VERSION`, `/SUITE`, `:ARCH`, or a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package(String);

impl Package {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Package {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.=/:~_*?^".contains(&byte);
        if !text.is_empty() && !text.starts_with('-') && text.bytes().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(ValueError { got: text.to_owned(), expected: "a package; a name is, as in slurmd or slurmd=22.05.8-4" })
    }
}

/// What went wrong with a tree.
#[derive(Debug, Error)]
pub enum TreeError {
    /// It is not there.
    #[error("{}: there is no such tree; {}", tree.display(), others(known))]
    Missing {
        /// Where it would be.
        tree: PathBuf,
        /// Which there are.
        known: Vec<String>,
    },
    /// It cannot be made.
    #[error(transparent)]
    Create(#[from] create::CreateError),
    /// It cannot be entered.
    #[error(transparent)]
    Enter(#[from] inside::EnterError),
    /// The site's files are wrong.
    #[error(transparent)]
    Site(#[from] site::SiteError),
    /// Something cannot be looked at.
    #[error("{what}: {source}")]
    Look {
        /// What.
        what: String,
        /// Why not.
        source: io::Error,
    },
    /// The command in the tree has ended so, and has said why.
    #[error("exit status {status}")]
    Ended {
        /// Its exit status.
        status: u8,
    },
}

impl TreeError {
    /// Makes an error of what the file system says of `what`.
    pub fn at(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Look { what: what.to_string(), source }
    }

    /// The program's exit status: 125 for a tree that cannot be entered, as chroot(1) has it.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Ended { status } => *status,
            Self::Enter(_) => 125,
            _ => 1,
        }
    }
}

fn others(known: &[String]) -> String {
    if known.is_empty() {
        return "`sidus tree create` makes one".to_owned();
    }
    format!("there are: {}", known.join(", "))
}

/// Where a tree is, which must be there.
///
/// # Errors
/// [`TreeError::Missing`], [`TreeError::Look`]
pub fn existing(root: &Path, config: &Config, name: &TreeName) -> Result<PathBuf, TreeError> {
    let folder = &config.settings.folders.trees;
    let tree = folder.join(name.as_str());
    if contain::is_tree(root, &tree).map_err(TreeError::at(tree.display()))? {
        return Ok(tree);
    }
    let mut known = paths::names(root, folder.path()).map_err(TreeError::at(folder))?;
    known.retain(|name| name.parse::<TreeName>().is_ok());
    Err(TreeError::Missing { tree, known })
}

/// Does it.
///
/// # Errors
/// [`super::Error`]
pub fn run(common: &Common, verb: &Verb) -> Result<(), super::Error> {
    let work = |name: &TreeName, work: Work| work::run(common, name, &work);
    match verb {
        Verb::Create(options) => create::run(common, options),
        Verb::Run { name, command } => work(name, Work::Command(command.clone())),
        Verb::Shell { name } => work(name, Work::Shell),
        Verb::Install { name, packages } => work(name, Work::Install(packages.clone())),
        Verb::Upgrade { name } => work(name, Work::Upgrade),
        Verb::Purge { name, packages } => work(name, Work::Purge(packages.clone())),
        Verb::Site { name } => site::run(common, name),
        Verb::Seal { name } => seal::run(common, name),
        Verb::List { json } => list::run(common, *json),
        Verb::Prune(options) => prune::run(common, options),
        Verb::Clone(options) => clone::run(common, options),
        Verb::Diff(options) => diff::run(common, options),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
