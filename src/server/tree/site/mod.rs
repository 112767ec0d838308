//! `sidus tree site`: the files of the site folder go into a tree, each at its own path there, with the mode and the owner
//! that they have in the site folder. Texts may have [`variables`].
//!
//! A file or a link of the tree is replaced, whoever made it, but no folder; what the site folder does not have is left as
//! it is.

mod facts;
mod variables;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::TreeError;
use crate::server::cli::Common;
use crate::server::config::values::TreeName;
use crate::server::config::Config;
use crate::server::engine::{is_done, show, Action, Commit, Content, EngineError, MakeFolder, Write};
use crate::server::{self, begin, engine_in_tree, output};
use facts::{Entry, Kind, There};
use variables::Variables;

/// What is wrong with the site's files.
#[derive(Debug, Error)]
pub enum SiteError {
    /// In a file.
    #[error("{}:{line}: {message}", file.display())]
    At {
        /// Which.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What.
        message: String,
    },
    /// A socket, a device.
    #[error("{}: it is no file, folder or link, and cannot go into a tree", file.display())]
    Kind {
        /// Which.
        file: PathBuf,
    },
}

/// What is done for one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    action: Action,
    /// It takes the place of a link of the tree, or a link takes that of a file.
    replaces: Option<Action>,
}

/// A text longer than this is copied as it is, in bytes.
const MAX_TEXT: usize = 1 << 20;

/// What has to be run in the tree where one of these was changed.
const CALLS: [(&str, &str); 4] = [
    ("/etc/locale.gen", "locale-gen"),
    ("/etc/timezone", "dpkg-reconfigure --frontend=noninteractive tzdata"),
    ("/etc/ld.so.conf", "ldconfig"),
    ("/etc/modprobe.d", "depmod --all"),
];

fn decide(site: &Path, tree: &Path, entries: &[Entry], variables: &Variables) -> Result<Vec<Step>, SiteError> {
    let mut steps = Vec::new();
    for entry in entries {
        let from = site.join(&entry.inside);
        let path = entry.place.clone();
        let action = match &entry.kind {
            Kind::Folder => {
                Action::Folder(MakeFolder { path, mode: entry.mode, owner: Some(entry.owner), exact: false })
            }
            Kind::Link(target) => Action::Link { path, target: target.clone() },
            Kind::File(bytes) => {
                let text = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
                let content = match text {
                    Some(text) => Content::Text(variables.expand(text).map_err(|(line, message)| SiteError::At {
                        file: from,
                        line,
                        message,
                    })?),
                    None => Content::CopyOf(from),
                };
                // What not everyone may read is not shown to whoever looks over one's shoulder.
                let secret = entry.mode & 0o004 == 0;
                let write = Write::new(path, content);
                Action::Write(Write { mode: entry.mode, owner: Some(entry.owner), secret, ..write })
            }
            Kind::Other => return Err(SiteError::Kind { file: from }),
        };
        // A folder may have anything in it.
        let is_replaced =
            matches!((&entry.kind, entry.there), (Kind::File(_), There::Link) | (Kind::Link(_), There::File));
        let replaces = is_replaced.then(|| Action::remove_inside(tree, &entry.place));
        steps.push(Step { action, replaces });
    }
    Ok(steps)
}

/// What the steps would change, and what has to be called then.
fn preview(root: &Path, tree: &Path, steps: &[Step]) -> Result<(String, Vec<&'static str>), EngineError> {
    let mut text = String::new();
    let mut calls = BTreeSet::new();
    for step in steps {
        match &step.replaces {
            // What it leads to may be the server's own: it is not compared.
            Some(remove) => {
                let what = if matches!(step.action, Action::Link { .. }) { "a file" } else { "a link" };
                text.push_str(&format!("{remove}, {what}\n{}\n", step.action));
            }
            None if is_done(root, &step.action)? => continue,
            None => text.push_str(&show::describe(root, &step.action)),
        }
        let changed =
            step.action.path().and_then(|path| path.strip_prefix(tree).ok()).map(|path| Path::new("/").join(path));
        calls
            .extend(CALLS.iter().filter(|(path, _)| changed.as_ref().is_some_and(|changed| changed.starts_with(path))));
    }
    Ok((text, calls.into_iter().map(|(_, call)| call).collect()))
}

/// What the site folder has, as paths in a tree.
///
/// # Errors
/// [`TreeError`]
pub fn paths(root: &Path, config: &Config) -> Result<BTreeSet<PathBuf>, TreeError> {
    let site = config.settings.folders.site.path();
    let found = facts::list(root, site).map_err(TreeError::at(site.display()))?;
    Ok(found.into_iter().map(|inside| Path::new("/").join(inside)).collect())
}

pub(super) fn run(common: &Common, name: &TreeName) -> Result<(), server::Error> {
    let root = &common.root;
    let (mut engine, config) = begin(common)?;
    let tree = super::existing(root, &config, name)?;
    let _nobody_else = engine_in_tree(common, &config.settings.folders, name)?;
    let site = config.settings.folders.site.path();
    let entries = facts::read(root, site, &tree).map_err(TreeError::at(site.display()))?;
    let steps = decide(site, &tree, &entries, &Variables::of(&config, name)).map_err(TreeError::from)?;
    let (text, calls) = preview(root, &tree, &steps)?;
    if text.is_empty() {
        output::print("nothing to do\n");
        return Ok(());
    }
    output::print(&text);
    if !common.dry_run {
        engine.transact(Vec::new(), |stage| {
            stage.perform(&steps.iter().filter_map(|step| step.replaces.clone()).collect::<Vec<_>>())?;
            let actions = steps.into_iter().map(|step| step.action).collect();
            Ok::<_, server::Error>(Commit { actions, after: Vec::new() })
        })?;
    }
    for call in calls {
        output::note(&format!("then: sidus tree run {name} -- {call}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "../site_tests.rs"]
mod tests;
