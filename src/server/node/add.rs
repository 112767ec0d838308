//! `sidus node add`

use std::net::Ipv4Addr;

use clap::Args;

use super::disk::{Disk, Found};
use super::facts::Facts;
use super::{commit, look, say, Account, NodeError};
use crate::server::cli::Common;
use crate::server::config::values::{Cmdline, Mac, NodeName, Size, TreeName};
use crate::server::config::{Config, Node, NodeFile, NODES};
use crate::server::engine::{Action, Commit};
use crate::server::generation::entries::tree_of;
use crate::server::target::told;
use crate::server::{begin, output, Error};

/// The node.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// The hardware address of its network card, as in 52:54:00:0d:14:15
    pub mac: Mac,
    /// Its address
    #[arg(long)]
    pub ip: Ipv4Addr,
    /// Its name
    #[arg(long)]
    pub name: NodeName,
    /// The size of its disk, as in 20G [default: no disk: what is written is gone at its next boot]
    #[arg(long, value_name = "SIZE")]
    pub persistent: Option<Size>,
    /// The tree that it boots [default: that of [node] in sidus.toml]
    #[arg(long)]
    pub tree: Option<TreeName>,
    /// Words for its kernel's command line [default: those of [node] in sidus.toml]
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub cmdline: Option<Cmdline>,
    /// Use the disk that an earlier node of this name has left
    #[arg(long, requires = "persistent")]
    pub existing_disk: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Decided {
    /// The configuration with the node.
    pub(super) config: Config,
    /// Whether it is new.
    pub(super) is_new: bool,
    /// The size of the disk that is to be made.
    pub(super) make: Option<Size>,
}

/// Where the disk of the node is, or would be made.
pub(super) fn place(config: &Config, options: &Options) -> Disk {
    let group = match config.node(&options.name) {
        // New ones may be made elsewhere meanwhile.
        Some(known) => known.file.volume_group.as_ref(),
        None => config.settings.disks.volume_group.as_ref(),
    };
    Disk::of(&config.settings.folders, &options.name, group.filter(|_| options.persistent.is_some()))
}

pub(super) fn decide(config: &Config, found: Found, options: &Options) -> Result<Decided, Error> {
    let known = config.node(&options.name);
    let group = known.map_or(&config.settings.disks.volume_group, |known| &known.file.volume_group);
    let file = NodeFile {
        mac: options.mac,
        ip: options.ip,
        tree: options.tree.clone(),
        persistent: options.persistent,
        volume_group: options.persistent.and_then(|_| group.clone()),
        cmdline: options.cmdline.clone(),
    };
    let name = options.name.clone();
    let path = place(config, options).path();
    if let Some((key, has)) = known.and_then(|known| difference(&known.file, &file)) {
        return Err(NodeError::Differs { name, key, has }.into());
    }
    let is_new = known.is_none();
    if is_new && file.persistent.is_some() {
        match (found.disk, options.existing_disk) {
            (true, false) => return Err(NodeError::DiskIsThere { name, path }.into()),
            (false, true) => return Err(NodeError::NoDisk { path }.into()),
            _ => {}
        }
    }
    let make = file.persistent.filter(|_| !found.disk);
    Ok(Decided { config: config.with(Node { name, file })?, is_new, make })
}

/// What a node has that is other than it is to be added.
fn difference(has: &NodeFile, asked: &NodeFile) -> Option<(&'static str, String)> {
    fn show<T: std::fmt::Display>(value: Option<&T>) -> String {
        value.map_or_else(|| "none".to_owned(), ToString::to_string)
    }
    [
        ("mac", has.mac != asked.mac, has.mac.to_string()),
        ("ip", has.ip != asked.ip, has.ip.to_string()),
        ("tree", has.tree != asked.tree, show(has.tree.as_ref())),
        ("persistent", has.persistent != asked.persistent, show(has.persistent.as_ref())),
        ("cmdline", has.cmdline != asked.cmdline, show(has.cmdline.as_ref())),
    ]
    .into_iter()
    .find_map(|(key, differs, has)| differs.then_some((key, has)))
}

pub(super) fn run(common: &Common, options: &Options) -> Result<(), Error> {
    let (mut engine, config) = begin(common)?;
    let disk = place(&config, options);
    // Where it gets none, whether one is there does not matter.
    let found = if options.persistent.is_some() { disk.look(&common.root)? } else { Found::default() };
    let decided = decide(&config, found, options)?;
    let mut facts = look(common, &decided.config)?;
    let mut commit = || -> Result<Commit, Error> { all(&decided, &mut facts, &disk, options) };
    let changed = match decided.make {
        None => engine.carry_out(commit()?)?,
        Some(size) => engine.transact(vec![disk.unmake()], |stage| -> Result<_, Error> {
            stage.perform(&disk.make(size))?;
            commit()
        })?,
    };
    if let Some(note) = note(&decided.config, &facts, &options.name) {
        output::note(&note);
    }
    say(&engine, changed, &format!("node {} can boot", options.name));
    Ok(())
}

/// What puts it in place: its file, its account, its disk, and what follows from them.
pub(super) fn all(decided: &Decided, facts: &mut Facts, disk: &Disk, options: &Options) -> Result<Commit, Error> {
    let name = &options.name;
    let mut actions = vec![Action::folder(NODES)];
    let Some(node) = decided.config.node(name) else { return Ok(Commit::default()) };
    if decided.is_new {
        let text = toml::to_string(&node.file).map_err(NodeError::Account)?;
        actions.push(Action::write_new(Node::path(name), text));
    }
    let mut last = Vec::new();
    if options.persistent.is_some() {
        last.extend(account(name, &decided.config, facts)?);
    }
    let has_other_account = !decided.is_new && !last.is_empty();
    if decided.make.is_some() {
        last.push(disk.put());
    }
    let rest = commit::commit(&decided.config, facts)?;
    // The folders for them come before.
    actions.extend(rest.actions);
    actions.extend(last);
    let mut after = rest.after;
    if has_other_account {
        // The names in it are the same, so that what is served looks as it is to be: but it has the secrets of before.
        let service = decided.config.settings.services.target;
        for told_of in after.iter_mut().filter(|after| after.runs == told(service, &[], false)) {
            told_of.runs = told(service, &[node.file.ip], false);
        }
    }
    Ok(Commit { actions, after })
}

/// The account of a node that has none yet: made, and written.
pub(super) fn account(name: &NodeName, config: &Config, facts: &mut Facts) -> Result<Option<Action>, NodeError> {
    if facts.accounts.contains_key(name) {
        return Ok(None);
    }
    let account = Account::random(name).map_err(NodeError::Random)?;
    let action = account.write(&config.settings.folders, name).map_err(NodeError::Account)?;
    facts.accounts.insert(name.clone(), account);
    Ok(Some(action))
}

/// What a person has to know.
fn note(config: &Config, facts: &Facts, name: &NodeName) -> Option<String> {
    let node = config.node(name)?;
    match tree_of(config, node) {
        None => Some(format!(
            "node {name} has no tree: it boots what pxelinux.cfg/default says. --tree says one, or tree in {}",
            Node::path(name).display()
        )),
        Some(tree) if facts.generations.published.get(tree).is_none_or(|known| known.current.is_none()) => {
            Some(format!("tree {tree} is not published yet: sidus publish {tree} writes the node's PXE entry"))
        }
        Some(_) => None,
    }
}
