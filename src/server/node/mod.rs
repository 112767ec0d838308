//! `sidus node`: adds nodes, lists them, removes them, and gives them new disks.
//!
//! A node is its file in `nodes.d`; what follows from it (DHCP, PXE, its target, the archive with its account) is written
//! by one function of all nodes, [`commit::commit`]. Its account is made once, and its disk in a file that was not there.

mod account;
mod add;
mod archive;
pub mod commit;
pub mod disk;
pub mod facts;
mod list;
mod remove;
mod reset;

use std::io;
use std::path::PathBuf;

use clap::Subcommand;
use thiserror::Error;

pub use account::{Account, ARCHIVES};

use super::cli::Common;
use super::config::values::NodeName;
use super::config::Config;
use super::engine::Engine;
use facts::Facts;

/// What is done with nodes.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Add a node: its file, DHCP, PXE entry, and with --persistent its disk, target and account
    Add(add::Options),
    /// List the nodes
    List {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Remove a node
    Remove(remove::Options),
    /// Give a node a new, empty disk
    Reset(reset::Options),
}

/// Why it was not done.
#[derive(Debug, Error)]
pub enum NodeError {
    /// What is said of the machine cannot be read.
    #[error("cannot look at this machine: {0}")]
    Facts(io::Error),
    /// No random numbers.
    #[error("the kernel gives no random numbers for an account: {0}")]
    Random(io::Error),
    /// An account cannot be written.
    #[error("the account of the node cannot be written: {0}")]
    Account(toml::ser::Error),
    /// It is there, and other.
    #[error(
        "node {name} is there already, with {key} = {has}: change {} by hand and run sidus init, or choose another name",
        Node::path(name).display()
    )]
    Differs {
        /// Which.
        name: NodeName,
        /// What of it.
        key: &'static str,
        /// What it has.
        has: String,
    },
    /// There is no node of that name.
    #[error("there is no node {name}{}", known(nodes))]
    NoNode {
        /// What was asked for.
        name: NodeName,
        /// What there is.
        nodes: Vec<NodeName>,
    },
    /// A disk without a node.
    #[error(
        "{} is there already, of an earlier node {name}: --existing-disk has the node use it as it is; or move it away",
        path.display()
    )]
    DiskIsThere {
        /// The node.
        name: NodeName,
        /// The disk.
        path: PathBuf,
    },
    /// An option that has no disk to be about.
    #[error("{}: there is no such disk to use; without --existing-disk, it is made", path.display())]
    NoDisk {
        /// The disk.
        path: PathBuf,
    },
    /// It must be said what becomes of what is on it.
    #[error("node {name} has a disk, {}: say --keep-disk or --discard-disk", path.display())]
    WhichDisk {
        /// The node.
        name: NodeName,
        /// The disk.
        path: PathBuf,
    },
    /// Its layer is in memory.
    #[error("node {name} has no disk; persistent = \"20G\" in {} gives it one", Node::path(name).display())]
    NotPersistent {
        /// The node.
        name: NodeName,
    },
    /// What an earlier command gave up is not gone.
    #[error("{}: it is given up, but was still served when it was to be removed; sidus recover removes it", path.display())]
    Waiting {
        /// The disk.
        path: PathBuf,
    },
    /// Nobody was there to be asked.
    #[error("{question} Say --yes: nobody can be asked here")]
    Ask {
        /// What would have been asked.
        question: String,
    },
    /// Whoever was asked said no.
    #[error("nothing was done")]
    No,
    /// The file of the kernel's target is none.
    #[error("{}: {source}; it is what targetcli saves: mend it, or move it away", super::target::lio::SAVED)]
    Saved {
        /// Why not.
        source: serde_json::Error,
    },
    /// What tgtd has to serve cannot be written.
    #[error("cannot write down a target: {source}")]
    Target {
        /// Why not.
        source: std::io::Error,
    },
}

use super::config::Node;

fn known(nodes: &[NodeName]) -> String {
    if nodes.is_empty() {
        return ": there is none; sidus node add makes one".to_owned();
    }
    format!("; there is {}", nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// Does it.
///
/// # Errors
/// [`super::Error`]
pub fn run(common: &Common, verb: &NodeVerb) -> Result<(), super::Error> {
    match verb {
        NodeVerb::Add(options) => add::run(common, options),
        NodeVerb::List { json } => list::run(common, *json),
        NodeVerb::Remove(options) => remove::run(common, options),
        NodeVerb::Reset(options) => reset::run(common, options),
    }
}

fn look(common: &Common, config: &Config) -> Result<Facts, NodeError> {
    Facts::read(&common.root, config).map_err(NodeError::Facts)
}

/// The node of that name.
fn node<'a>(config: &'a Config, name: &NodeName) -> Result<&'a Node, NodeError> {
    let nodes = || config.nodes.iter().map(|node| node.name.clone()).collect();
    config.node(name).ok_or_else(|| NodeError::NoNode { name: name.clone(), nodes: nodes() })
}

fn say(engine: &Engine, changed: bool, what: &str) {
    if !engine.is_dry_run() {
        eprintln!("sidus: {}", if changed { what } else { "nothing to do" });
    }
}

#[cfg(test)]
#[path = "node_tests.rs"]
mod tests;
