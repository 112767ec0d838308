//! What is written for the nodes: a pure function of the configuration and of what is known of them. Whatever changes
//! either calls it; files for nodes that are no more are removed.

use std::path::PathBuf;

use super::account::{self, Account};
use super::facts::Facts;
use super::NodeError;
use crate::server::config::{Config, TargetService};
use crate::server::engine::{Action, After, Commit, Content, MakeFolder, Proof, Write};
use crate::server::generation::entries;
use crate::server::services;
use crate::server::target::{self, lio, tgt};

/// The drop-ins of the services and the files of the nodes, and whom to tell.
///
/// # Errors
/// [`NodeError::Saved`], [`NodeError::Target`]
pub fn commit(config: &Config, facts: &Facts) -> Result<Commit, NodeError> {
    let folders = &config.settings.folders;
    let mut commit = services::commit(config, &facts.services);
    let targets = facts.targets(config);
    if !targets.is_empty() {
        commit.actions.push(Action::private_folder(account::folder(folders)));
        commit.actions.push(Action::Folder(archives(config, facts)));
    }
    let mut written: Vec<_> = targets.iter().map(|target| Account::path(folders, &target.node)).collect();
    let mut served = Vec::new();
    for target in &targets {
        // The folder keeps it from users of this machine; in.tftpd serves only what all may read.
        let archive = folders.tftp.join(target.account.archive());
        let content = Content::Bytes(target.account.packed());
        commit.actions.push(Action::Write(Write { mode: 0o444, ..Write::secret(&archive, content) }));
        written.push(archive);
        if config.settings.services.target == TargetService::Tgt {
            let path = tgt::path(folders, target);
            let text = tgt::text(target).map_err(|source| NodeError::Target { source })?;
            commit.actions.push(Action::Write(Write::secret(&path, Content::Text(text))));
            served.push(path.clone());
            written.push(path);
        }
    }
    if config.settings.services.target == TargetService::Lio && (facts.saved.is_some() || !targets.is_empty()) {
        let text = lio::saved(facts.saved.as_deref(), &targets).map_err(|source| NodeError::Saved { source })?;
        if facts.saved.as_ref() != Some(&text) {
            commit.actions.extend(std::path::Path::new(lio::SAVED).parent().map(Action::folder));
            commit.actions.push(Action::Write(Write::secret(lio::SAVED, Content::Text(text))));
        }
        served.push(lio::SAVED.into());
    }
    let mut generations = facts.generations.clone();
    // An account that is made just now has not yet been read.
    generations.archives = facts.accounts.iter().map(|(name, account)| (name.clone(), account.archive())).collect();
    let (entries, _) = entries::entries(config, &generations);
    // The first is their folder.
    if entries.len() > 1 {
        commit.actions.extend(entries);
    }
    let gone = facts.secrets.iter().filter(|path| !written.contains(path));
    for path in gone {
        commit.actions.extend(path.parent().map(|folder| Action::remove_inside(folder, path)));
        served.push(path.clone());
    }
    let is_of_a_node = |path: &&PathBuf| config.nodes.iter().any(|node| entries::path_of(folders, node) == **path);
    let gone = facts.entries.iter().filter(|path| !is_of_a_node(path));
    commit.actions.extend(gone.map(|path| Action::Remove { path: path.clone(), proof: Proof::Marked }));
    let runs = target::told(config.settings.services.target, &[], false);
    if !runs.is_empty() && !served.is_empty() {
        commit.after.push(After { runs, on: served });
    }
    Ok(commit)
}

/// Nobody but the TFTP server may look into it.
fn archives(config: &Config, facts: &Facts) -> MakeFolder {
    let path = config.settings.folders.tftp.join(account::ARCHIVES);
    match facts.tftp_user {
        Some(user) => MakeFolder { path, mode: 0o500, owner: Some((user, 0)), exact: true },
        None => MakeFolder { path, mode: 0o700, owner: None, exact: false },
    }
}
