//! The command line of `sidus`, see sidus(8).

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::generation::{publish, rollback};
use super::node::NodeVerb;
use super::target::update::TargetVerb;
use super::{check, init, tree};

/// What the program is asked to do.
#[derive(Debug, Parser)]
#[command(
    name = "sidus",
    version,
    about = "Serves diskless Debian nodes: trees, their generations, nodes, and the services that boot them",
    after_help = "See sidus(8), and sidus.toml(5) for the configuration."
)]
pub struct Arguments {
    /// What holds for each command.
    #[command(flatten)]
    pub common: Common,
    /// Which.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What holds for each command.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Print each file and command that would be written and run, and do nothing
    #[arg(long, short = 'n', global = true)]
    pub dry_run: bool,
    /// The machine is what is below DIR: its files, and none of the services that run here
    #[arg(long, global = true, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write the configuration from what is found here, and what the services need; again after a change of it
    ///
    /// Without /etc/sidus/sidus.toml it writes that, from this machine's addresses and installed services; with it, it
    /// obeys it. A file that a person wrote is never changed.
    Init(init::Options),
    /// Add, list, remove and reset nodes
    Node {
        /// What.
        #[command(subcommand)]
        verb: NodeVerb,
    },
    /// The targets that serve the nodes' disks
    Target {
        /// What.
        #[command(subcommand)]
        verb: TargetVerb,
    },
    /// Show which nodes are up, on which generation, and on what they write
    Status {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Look for what is not as it is to be on this server, and say the remedy
    Check(check::Options),
    /// Read the configuration, check it, and print it with its defaults
    Config {
        /// For programs
        #[arg(long)]
        json: bool,
    },
    /// Make a generation of a tree, that nodes boot from then on
    ///
    /// The tree is copied; what is as in the generation before is shared with it. Kernel and initrd go to the TFTP folder,
    /// and the PXE entries name this generation alone. Nodes that run stay on theirs until they boot.
    Publish(publish::Options),
    /// Have nodes boot an older generation, or another one that there is
    Rollback(rollback::Options),
    /// Working trees: make them, run commands in them, install packages, bring the site's files into them
    Tree {
        /// Which command
        #[command(subcommand)]
        verb: tree::Verb,
    },
    /// What runs first in the namespaces of a command in a tree, or in a generation
    #[command(hide = true)]
    Inside(tree::inside::Options),
    /// Finish or undo what a command left in the middle; each command that changes something begins with that
    Recover,
}
