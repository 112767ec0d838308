//! `sidus node remove`

use clap::Args;

use super::disk::{Disk, Found};
use super::{commit, look, say, NodeError};
use crate::server::cli::Common;
use crate::server::config::values::NodeName;
use crate::server::config::{Config, Node, NODES};
use crate::server::engine::{Action, After, Commit};
use crate::server::target::{told, update};
use crate::server::{begin, Error};

/// Which, and what becomes of its disk.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// The node's name
    pub name: NodeName,
    /// Leave its disk where it is; `sidus node add --existing-disk` uses it again
    #[arg(long, conflicts_with = "discard_disk")]
    pub keep_disk: bool,
    /// Remove its disk, and the one before it
    #[arg(long)]
    pub discard_disk: bool,
    /// Though it is logged in to its disk: it loses what it has not yet written
    #[arg(long)]
    pub force: bool,
}

/// What becomes of the disk.
pub(super) fn decide(config: &Config, node: &Node, found: Found, options: &Options) -> Result<Vec<Action>, NodeError> {
    let disk = Disk::of_node(&config.settings.folders, node);
    let mut actions = vec![Action::remove_inside(NODES, Node::path(&node.name))];
    if (found.disk || found.old) && !options.keep_disk && !options.discard_disk {
        return Err(NodeError::WhichDisk { name: node.name.clone(), path: disk.path() });
    }
    if options.discard_disk {
        disk.check_aside(found)?;
        actions.extend(disk.discard());
    }
    Ok(actions)
}

pub(super) fn run(common: &Common, options: &Options) -> Result<(), Error> {
    let (mut engine, config) = begin(common)?;
    let Some(node) = config.node(&options.name) else {
        // It may have been removed by the command that this one found in the middle.
        eprintln!("sidus: there is no node {}: nothing to do", options.name);
        return Ok(());
    };
    let disk = Disk::of_node(&config.settings.folders, node);
    let found = disk.look(&common.root)?;
    let mut actions = decide(&config, node, found, options)?;
    let service = config.settings.services.target;
    let is_served = node.file.persistent.is_some();
    if is_served && !options.force {
        update::check_unused(common, service, node.file.ip)?;
    }
    let mut without = config.clone();
    without.nodes.retain(|other| other.name != node.name);
    let rest = commit::commit(&without, &look(common, &without)?)?;
    actions.extend(rest.actions);
    let mut after = rest.after;
    let ips = [node.file.ip];
    if is_served && options.force {
        for told_of in &mut after {
            if told_of.runs == told(service, &[], false) {
                told_of.runs = told(service, &ips, true);
            }
        }
    }
    if let Some(last) = disk.afterwards().filter(|_| options.discard_disk) {
        let told_first = told(service, if options.force { &ips } else { &[] }, options.force);
        after.retain(|other| other.runs != told_first);
        after.push(After { runs: told_first.into_iter().chain([last]).collect(), on: Vec::new() });
    }
    let changed = engine.carry_out(Commit { actions, after })?;
    say(&engine, changed, &format!("node {} is removed", node.name));
    Ok(())
}
