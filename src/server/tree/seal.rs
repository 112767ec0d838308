//! `sidus tree seal`: takes out of a tree what no node is to have, since it would be the same on each of them, or is of no
//! use there. It can be done again at any time, and in a tree that is worked in as well as in a copy of one.
//!
//! What the site folder has is the administrator's word, and stays: one host key for a whole cluster, say.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::place::place;
use super::{site, TreeError};
use crate::server::cli::Common;
use crate::server::config::values::TreeName;
use crate::server::config::Config;
use crate::server::engine::action::marked;
use crate::server::engine::action::MARK;
use crate::server::engine::{Action, Commit, Content, Write};
use crate::server::paths::{look, read_text, within};
use crate::server::{self, begin, engine_in_tree};

/// What goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    /// A file.
    File,
    /// A file, if it is empty: [`super::contain::placeholders`].
    EmptyFile,
    /// The files whose paths begin so.
    FilesFrom,
    /// The files in a folder, and in those below: their owners are needed.
    FilesIn,
    /// All that is in a folder.
    AllIn,
}

/// With the reason.
const RULES: [(Goes, &str); 25] = [
    // Who a machine is: with the same, nodes take each other for themselves, in DHCP, in the journal, as iSCSI and NVMe
    // initiators, and whoever may read the tree can pass for any node.
    (Goes::FilesFrom, "/etc/ssh/ssh_host_"),
    (Goes::File, "/var/lib/dbus/machine-id"),
    (Goes::File, "/etc/nvme/hostid"),
    (Goes::File, "/etc/nvme/hostnqn"),
    (Goes::File, "/var/lib/NetworkManager/secret_key"),
    // "Erase /etc/hostname to set the hostname through DHCP", says the article.
    (Goes::File, "/etc/hostname"),
    // The names of network cards that some other machine has.
    (Goes::File, "/etc/udev/rules.d/70-persistent-net.rules"),
    (Goes::File, "/etc/udev/rules.d/75-persistent-net-generator.rules"),
    (Goes::FilesIn, "/var/lib/dhcp"),
    // What is to be unguessable must not be the same on two machines.
    (Goes::File, "/var/lib/systemd/random-seed"),
    (Goes::File, "/var/lib/systemd/credential.secret"),
    (Goes::File, "/var/lib/urandom/random-seed"),
    // What someone typed who worked in the tree.
    (Goes::File, "/root/.bash_history"),
    (Goes::File, "/root/.lesshst"),
    (Goes::File, "/root/.python_history"),
    (Goes::File, "/root/.viminfo"),
    // What apt gets again when it is needed.
    (Goes::FilesIn, "/var/cache/apt"),
    (Goes::FilesIn, "/var/lib/apt/lists"),
    // What happened in the tree, not on the node.
    (Goes::FilesIn, "/var/log"),
    (Goes::AllIn, "/var/log/journal"),
    // What is left of processes that have ended.
    (Goes::AllIn, "/run"),
    (Goes::AllIn, "/tmp"),
    (Goes::AllIn, "/var/tmp"),
    (Goes::EmptyFile, "/usr/sbin/policy-rc.d"),
    (Goes::EmptyFile, "/etc/resolv.conf"),
];

const MACHINE_ID: &str = "/etc/machine-id";
const RESOLV: &str = "/etc/resolv.conf";
const INITIATOR: &str = "/etc/iscsi/initiatorname.iscsi";
/// What open-iscsi's package has there: a name is made when it is first needed.
const NO_INITIATOR: &str = "GenerateName=yes\n";
const SSH: &str = "/usr/lib/systemd/system/ssh.service";
const SSH_DROP_IN: &str = "/etc/systemd/system/ssh.service.d/10-sidus.conf";
/// Debian's unit fails without keys: they are made first. The order of lines is that of the commands.
const MAKE_KEYS: &str = "# The tree has no host keys: each node makes its own.\n[Service]\nExecStartPre=\n\
    ExecStartPre=/usr/bin/ssh-keygen -A\nExecStartPre=/usr/sbin/sshd -t\n";
/// No such file is longer.
const MAX_FILE: u64 = 1 << 16;

/// What is in the tree of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Facts {
    /// What goes.
    found: Vec<PathBuf>,
    /// Whether there is a folder /etc, and where the file is.
    machine_id: Option<PathBuf>,
    /// Where a name of an initiator is that is some machine's.
    initiator: Option<PathBuf>,
    /// Where the drop-in is for the SSH server, if there is one.
    ssh: Option<PathBuf>,
    /// Where resolv.conf is, if it may be written.
    resolv: Option<PathBuf>,
}

fn decide(tree: &Path, nameservers: &[Ipv4Addr], facts: &Facts) -> Vec<Action> {
    let remove = |path: &PathBuf| Action::remove_inside(tree, path);
    let mut actions: Vec<_> =
        facts.found.iter().filter(|path| Some(*path) != facts.resolv.as_ref()).map(remove).collect();
    if let Some(path) = &facts.machine_id {
        // Empty, and there: systemd makes one at boot, and does not take that for the first boot of a new machine, when it
        // would enable units anew (machine-id(5)).
        actions.push(Action::Write(Write { mode: 0o444, ..Write::new(path, Content::Text(String::new())) }));
    }
    if let Some(path) = &facts.initiator {
        actions.push(Action::Write(Write { mode: 0o600, ..Write::new(path, Content::Text(NO_INITIATOR.to_owned())) }));
    }
    if let Some(path) = &facts.ssh {
        actions.extend(path.parent().map(Action::folder));
        actions.push(Action::write_marked(path, "#", MAKE_KEYS));
    }
    match &facts.resolv {
        Some(path) if nameservers.is_empty() => actions.push(remove(path)),
        Some(path) => {
            let lines: String = nameservers.iter().map(|server| format!("nameserver {server}\n")).collect();
            actions.push(Action::Write(Write::new(path, Content::Text(marked("#", &lines)))));
        }
        None => {}
    }
    actions
}

impl Facts {
    fn read(root: &Path, tree: &Path, keep: &BTreeSet<PathBuf>) -> io::Result<Self> {
        let at = |inside: &str| place(root, tree, Path::new(inside));
        let is_file = |path: &Path| look(root, path).map(|found| found.is_some_and(|found| found.is_file()));
        let mut found = BTreeSet::new();
        for (goes, inside) in RULES {
            let path = at(inside)?;
            match goes {
                Goes::File => found.extend(is_file(&path)?.then_some(path)),
                Goes::EmptyFile => {
                    let is_empty = look(root, &path)?.is_some_and(|found| found.is_file() && found.len() == 0);
                    found.extend(is_empty.then_some(path));
                }
                Goes::FilesFrom => {
                    let start = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    let begins = |name: &Path| name.to_string_lossy().starts_with(&start);
                    let folder = path.parent().unwrap_or(tree);
                    found.extend(
                        children(root, folder)?
                            .into_iter()
                            .filter(|(name, _)| begins(name))
                            .map(|(name, _)| folder.join(name)),
                    );
                }
                Goes::FilesIn | Goes::AllIn => {
                    // Where the folder is a link: what it leads to, in the tree.
                    let folder = at(&format!("{inside}/x"))?.parent().unwrap_or(tree).to_owned();
                    all_in(root, &folder, goes == Goes::FilesIn, &mut found)?;
                }
            }
        }
        let kept: BTreeSet<_> = keep.iter().map(|inside| place(root, tree, inside)).collect::<io::Result<_>>()?;
        found.retain(|path| !kept.iter().any(|kept| kept.starts_with(path)));
        let unless_kept = |path: PathBuf| (!kept.contains(&path)).then_some(path);
        let etc = at("/etc/x")?.parent().map(|etc| within(root, etc).is_dir());
        let machine_id = if etc == Some(true) { unless_kept(at(MACHINE_ID)?) } else { None };
        let initiator = at(INITIATOR)?;
        let named = is_file(&initiator)?
            && read_text(root, &initiator, MAX_FILE)?
                .is_some_and(|text| text.lines().any(|line| line.starts_with("InitiatorName=")));
        let has_ssh = is_file(&at(SSH)?)?;
        Ok(Self {
            found: found.into_iter().collect(),
            machine_id,
            initiator: named.then_some(initiator).and_then(unless_kept),
            ssh: if has_ssh { unless_kept(at(SSH_DROP_IN)?) } else { None },
            resolv: if etc == Some(true) { resolv(root, at(RESOLV)?)?.and_then(unless_kept) } else { None },
        })
    }

    /// The same of a tree in another folder.
    fn moved(self, from: &Path, to: &Path) -> Self {
        let moved = |path: PathBuf| path.strip_prefix(from).map(|inside| to.join(inside)).unwrap_or(path);
        Self {
            found: self.found.into_iter().map(moved).collect(),
            machine_id: self.machine_id.map(moved),
            initiator: self.initiator.map(moved),
            ssh: self.ssh.map(moved),
            resolv: self.resolv.map(moved),
        }
    }
}

/// What a person or a package put there stays; what this server's is, or what this program wrote, does not.
fn resolv(root: &Path, path: PathBuf) -> io::Result<Option<PathBuf>> {
    let Some(found) = look(root, &path)? else { return Ok(Some(path)) };
    if !found.is_file() {
        return Ok(None);
    }
    let text = read_text(root, &path, MAX_FILE)?.unwrap_or_default();
    let servers = read_text(root, Path::new(RESOLV), MAX_FILE).ok().flatten();
    let is_ours = text.lines().next().is_none_or(|first| first.contains(MARK));
    Ok((is_ours || servers.as_deref() == Some(&text)).then_some(path))
}

/// What is in a folder, and whether each is a folder itself; nothing where there is no folder.
fn children(root: &Path, folder: &Path) -> io::Result<Vec<(PathBuf, bool)>> {
    if !look(root, folder)?.is_some_and(|found| found.is_dir()) {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(within(root, folder))?;
    entries
        .map(|entry| entry.and_then(|entry| Ok((PathBuf::from(entry.file_name()), entry.file_type()?.is_dir()))))
        .collect()
}

/// All that is in a folder, or all files of it and of those below.
fn all_in(root: &Path, folder: &Path, files: bool, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for (name, is_folder) in children(root, &folder)? {
            if files && is_folder {
                folders.push(folder.join(name));
            } else {
                found.insert(folder.join(name));
            }
        }
    }
    Ok(())
}

/// What seals the tree in this folder, or a copy of one. In the site's files is what stays.
///
/// # Errors
/// [`TreeError::Look`]
pub fn actions(root: &Path, config: &Config, tree: &Path) -> Result<Vec<Action>, TreeError> {
    actions_in_copy(root, config, tree, tree)
}

/// What will seal a copy of the tree that is not made yet.
///
/// # Errors
/// [`TreeError::Look`]
pub fn actions_in_copy(root: &Path, config: &Config, tree: &Path, copy: &Path) -> Result<Vec<Action>, TreeError> {
    let keep = site::paths(root, config)?;
    let facts = Facts::read(root, tree, &keep).map_err(TreeError::at(tree.display()))?;
    Ok(decide(copy, &config.settings.dhcp.nameservers, &facts.moved(tree, copy)))
}

pub(super) fn run(common: &Common, name: &TreeName) -> Result<(), server::Error> {
    let (mut engine, config) = begin(common)?;
    let tree = super::existing(&common.root, &config, name)?;
    let _nobody_else = engine_in_tree(common, &config.settings.folders, name)?;
    let actions = actions(&common.root, &config, &tree)?;
    let changed = engine.carry_out(Commit { actions, after: Vec::new() })?;
    if !changed && !engine.is_dry_run() {
        eprintln!("sidus: {name} is sealed already");
    }
    Ok(())
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
