//! `sidus node reset`

use std::io::{self, BufRead, IsTerminal};

use clap::Args;

use super::disk::{Disk, Found};
use super::{add, commit, look, node, say, NodeError};
use crate::server::cli::Common;
use crate::server::config::values::NodeName;
use crate::server::engine::{After, Commit};
use crate::server::target::{told, update};
use crate::server::{begin_once, output, Error};

/// Which, and what becomes of its disk.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// The node's name
    pub name: NodeName,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Do not keep the disk that it had
    #[arg(long)]
    pub discard: bool,
    /// Though it is logged in to its disk: it loses what it has not yet written
    #[arg(long)]
    pub force: bool,
}

pub(super) fn run(common: &Common, options: &Options) -> Result<(), Error> {
    // A second one would have the disk that was kept give way to one that was never used.
    let Some((mut engine, config)) = begin_once(common)? else { return Ok(()) };
    let node = node(&config, &options.name)?;
    let (name, service) = (&node.name, config.settings.services.target);
    let size = node.file.persistent.ok_or_else(|| NodeError::NotPersistent { name: name.clone() })?;
    let disk = Disk::of_node(&config.settings.folders, node);
    let found = disk.look(&common.root)?;
    disk.check_aside(found)?;
    if !options.force {
        update::check_unused(common, service, node.file.ip)?;
    }
    if !options.yes && !common.dry_run {
        if let Some(question) = question(name, found, options.discard) {
            ask(&question)?;
        }
    }
    let mut facts = look(common, &config)?;
    let changed = engine.transact(vec![disk.unmake()], |stage| -> Result<_, Error> {
        stage.perform(&disk.make(size))?;
        let last = add::account(name, &config, &mut facts)?;
        let rest = commit::commit(&config, &facts)?;
        let mut actions = rest.actions;
        actions.extend(last);
        actions.extend(disk.replace(options.discard));
        if stage.is_dry_run() {
            // What would be put there is not there yet.
            output::print(&format!("put the new disk in place of {}\n", disk.path().display()));
        }
        let mut after = rest.after;
        // One telling is enough: it makes this target anew, and looks at all others as well.
        after.retain(|other| other.runs != told(service, &[], false));
        let mut runs = told(service, &[node.file.ip], options.force);
        runs.extend(disk.afterwards().filter(|_| options.discard));
        after.push(After { runs, on: vec![disk.path()] });
        Ok(Commit { actions, after })
    })?;
    say(&engine, changed, &format!("node {name} has a new disk"));
    Ok(engine.end()?)
}

/// What whoever resets it has to agree to; nothing where nothing is lost.
pub(super) fn question(name: &NodeName, found: Found, discard: bool) -> Option<String> {
    match (found.disk, found.old, discard) {
        (false, false, _) => None,
        (true, _, true) => Some(format!("Node {name} loses all that is on its disk.")),
        (true, true, false) => Some(format!(
            "Node {name} gets an empty disk; the one that it has is kept, and the one before that is lost."
        )),
        (true, false, false) => Some(format!("Node {name} gets an empty disk; the one that it has is kept.")),
        (false, true, true) => Some(format!("The disk that node {name} had before is lost.")),
        (false, true, false) => None,
    }
}

fn ask(question: &str) -> Result<(), NodeError> {
    if !io::stdin().is_terminal() {
        return Err(NodeError::Ask { question: question.to_owned() });
    }
    eprint!("{question} Go on? [y/N] ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(NodeError::Facts)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(NodeError::No),
    }
}
