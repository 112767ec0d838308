//! `sidus tree clone`: another working tree, that begins as a copy of one.

use std::path::{Path, PathBuf};

use clap::Args;

use super::facts::Facts;
use super::publish::check_mounts;
use super::{looking, GenerationError};
use crate::server::cli::Common;
use crate::server::config::values::TreeName;
use crate::server::config::Folders;
use crate::server::engine::copy::{can_reflink, copy_tree, How};
use crate::server::engine::{Action, Commit, Content, Write};
use crate::server::paths::{look, read_text};
use crate::server::{begin, engine_in_tree, output, Error};

/// No record is longer, in bytes.
const MAX_RECORD: u64 = 1 << 20;

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// The tree that is copied
    pub from: TreeName,
    /// The new one
    pub to: TreeName,
}

/// Does it.
///
/// # Errors
/// [`Error`]
pub fn run(common: &Common, options: &Options) -> Result<(), Error> {
    let (mut engine, config) = begin(common)?;
    let folders = &config.settings.folders;
    let root = engine.root().to_owned();
    let facts = Facts::read(&root, &config)?;
    let from = facts.working_tree(folders, &options.from)?;
    if facts.working.contains(&options.to) {
        return Ok(check_origin(&root, folders, options)?);
    }
    let _nobody_else = engine_in_tree(common, folders, &options.from)?;
    check_mounts(&root, &from)?;
    let trees = folders.trees.path();
    let how = if can_reflink(&root, trees).map_err(looking(trees))? { How::Reflink } else { How::Bytes };
    let records = records(&root, folders, options)?;
    let new = folders.trees.join(format!(".{}.new", options.to));
    let undo = vec![Action::remove_inside(trees, &new)];
    engine.transact(undo.clone(), |stage| {
        // A copy that ended in the middle is none to go on from.
        stage.perform(&undo)?;
        stage.perform(&[Action::Run(copy_tree(&from, &new, &how).does(format!("copies {}", from.display())))])?;
        let rename = Action::Rename { from: new.clone(), to: folders.trees.join(options.to.as_str()) };
        Ok::<_, Error>(Commit { actions: records.into_iter().chain([rename]).collect(), after: Vec::new() })
    })?;
    if !engine.is_dry_run() {
        output::print(&format!("{} is a copy of {}\n", options.to, options.from));
    }
    Ok(())
}

/// Where it stands of which tree one is a copy.
fn origin(folders: &Folders, tree: &TreeName) -> PathBuf {
    folders.state.join("trees").join(format!("{tree}.origin"))
}

/// What is to be remembered: what the first tree was made of holds for the other, too.
fn records(root: &Path, folders: &Folders, options: &Options) -> Result<Vec<Action>, GenerationError> {
    let folder = folders.state.join("trees");
    let [from, to] = [&options.from, &options.to].map(|tree| folder.join(format!("{tree}.json")));
    let text = format!("{}\n", options.from);
    let mut actions =
        vec![Action::folder(&folder), Action::Write(Write::new(origin(folders, &options.to), Content::Text(text)))];
    actions.push(match look(root, &from).map_err(looking(&from))? {
        Some(_) => Action::Write(Write::new(to, Content::CopyOf(from))),
        None => Action::remove_inside(&folder, to),
    });
    Ok(actions)
}

/// Done already, or another tree's name.
fn check_origin(root: &Path, folders: &Folders, options: &Options) -> Result<(), GenerationError> {
    let path = origin(folders, &options.to);
    let of = read_text(root, &path, MAX_RECORD).map_err(looking(&path))?;
    if of.is_some_and(|of| of.trim() == options.from.as_str()) {
        eprintln!("sidus: {} is a copy of {} already", options.to, options.from);
        return Ok(());
    }
    Err(GenerationError::TreeExists { tree: folders.trees.join(options.to.as_str()) })
}
