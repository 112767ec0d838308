//! `sidus`, the program for the server: see sidus(8). It drives the services that are there (dnsmasq, nfsd, LIO …), and
//! replaces none.
//!
//! **A command** is decided by a pure function and carried out by the [`engine`]. It reads the [`config`], reads the facts
//! of the machine (each read goes through `root`), and makes of both a list of [`engine::Action`]s; that function opens no
//! file, and a table of configurations, facts and actions tests it. The actions go to [`engine::Engine::carry_out`], which
//! looks first whether one of them is done already or a person's file is in its way, and then does what is not done:
//! so each command may be run again, does nothing the second time, and with `--dry-run` tells what it would do.
//!
//! **A crash.** There are three phases. What takes long (a copy of a tree, packages) is *prepared* where nobody looks, in
//! [`engine::Engine::transact`]; then it is *committed* by a few short actions, renames in the end; then the services are
//! told ([`engine::After`]). The [`engine::Journal`] in the state folder says before each phase what is about to happen:
//! the actions that take the preparation back, those of the commit, whom to tell. Whatever ends this program, the next
//! start reads it, and undoes what was being prepared, or does all of the commit again, or tells again whom it could not.
//! An error is the same without the next start, and so is Ctrl-C. What is committed half and cannot be finished keeps
//! other commands out, with what is in the way; what could not be told does not. A command that does something else each
//! time it is given (a new disk for a node, the generation before this one) begins by [`begin_once`]: given again after a
//! crash, it is finished, and not done twice.
//!
//! **What is whose.** A file for another program, in a folder that persons use too, has a mark in its first line
//! ([`engine::Action::write_marked`]); without it, it is a person's, and an error. `sidus.toml` and the nodes' files are
//! persons', written once. Everything else is in folders of `sidus` alone, and only there are folders removed.
//!
//! **One at a time.** The [`engine::Lock`] is held by what this program starts on files as well. Commands that a person
//! gives in a working tree may take hours: they hold a lock of that tree alone, with a journal beside it
//! ([`engine_in_tree`]). Whoever needs the tree as it is holds both, the server's first.
//!
//! **To add a command**: its arguments in [`cli`], a module with `facts`, `decide` and `run`, a line in [`run`], its part
//! of sidus(8), and a scenario in `tests/sidus_crash.rs`, which kills it at each of its writes and commands.

pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod generation;
pub mod inherited;
pub mod init;
pub mod node;
pub mod output;
pub mod paths;
pub mod services;
pub mod status;
pub mod target;
pub mod tree;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use cli::{Arguments, Common, Verb};
use config::values::TreeName;
use config::{Config, ConfigError, Folders};
use engine::{Engine, EngineError, Setting};

/// Why a command failed. Each says what, where, and what to do.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Something was not done.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is nothing to begin with.
    #[error(transparent)]
    Init(#[from] init::InitError),
    /// Something is not as it is to be.
    #[error(transparent)]
    Check(#[from] check::CheckError),
    /// There is no such tree or generation, or none can be made.
    #[error(transparent)]
    Generation(#[from] generation::GenerationError),
    /// Something with a tree.
    #[error(transparent)]
    Tree(#[from] tree::TreeError),
    /// A node.
    #[error(transparent)]
    Node(#[from] node::NodeError),
    /// What nodes do.
    #[error(transparent)]
    Status(#[from] status::StatusError),
    /// A node's target.
    #[error(transparent)]
    Target(#[from] target::TargetError),
    /// Nothing can be printed.
    #[error("cannot print: {0}")]
    Print(io::Error),
}

impl Error {
    /// The program's exit status: 130 for Ctrl-C, as shells have it, and that of a command in a tree.
    #[must_use]
    pub const fn status(&self) -> u8 {
        match self {
            Self::Engine(error) if error.is_interruption() => 130,
            Self::Tree(error) => error.status(),
            _ => 1,
        }
    }

    /// Whether it was told already, by the command whose exit status this one has.
    #[must_use]
    pub const fn is_told(&self) -> bool {
        matches!(self, Self::Tree(tree::TreeError::Ended { .. }))
    }
}

/// Does what is asked.
///
/// # Errors
/// [`Error`]
pub fn run(arguments: Arguments) -> Result<(), Error> {
    let common = &arguments.common;
    match arguments.verb {
        Verb::Init(options) => init::run(common, &options),
        Verb::Node { verb } => node::run(common, &verb),
        Verb::Target { verb: target::update::TargetVerb::Update(options) } => target::update::run(common, &options),
        Verb::Status { json } => status::run(common, json),
        Verb::Check(options) => check::run(common, &options),
        Verb::Config { json } => {
            let config = Config::read(&common.root)?;
            if json {
                return output::print_json(&config).map_err(Error::Print);
            }
            output::print(&config.describe());
            Ok(())
        }
        Verb::Publish(options) => generation::publish::run(common, &options),
        Verb::Rollback(options) => generation::rollback::run(common, &options),
        Verb::Tree { verb } => tree::run(common, &verb),
        Verb::Inside(options) => Ok(tree::inside::run(&options)?),
        Verb::Recover => recover(common),
    }
}

fn recover(common: &Common) -> Result<(), Error> {
    let folders = Config::find(&common.root)?.map_or_else(Folders::default, |config| config.settings.folders);
    let not_told = open(common, folders.state.path())?.not_told();
    for tree in worked_in(&common.root, &folders).map_err(tree::TreeError::at(folders.state.path().display()))? {
        match engine_in_tree(common, &folders, &tree) {
            // Someone is in it: nothing of that ended in the middle.
            Ok(_) | Err(Error::Engine(EngineError::Busy(_))) => {}
            Err(error) => return Err(error),
        }
    }
    not_told.map_or(Ok(()), |error| Err(error.into()))
}

/// The engine for a command that changes something, and the configuration as it is under the lock: another administrator, or
/// what was left in the middle and is brought to its end first, may have added a node or changed it.
///
/// # Errors
/// [`ConfigError`]; [`EngineError`]
pub fn begin(common: &Common) -> Result<(Engine, Config), Error> {
    let folders = Config::read(&common.root)?.settings.folders;
    let engine = engine(common, &folders)?;
    Ok((engine, Config::read(&common.root)?))
}

/// As [`begin`], for a command that does something else each time, as a reset of a disk: whoever gives it again, since it was
/// killed, does not mean a second time. `None` where it was finished just now.
///
/// # Errors
/// Those of [`begin`]; what is finished but for what could not be told
pub fn begin_once(common: &Common) -> Result<Option<(Engine, Config)>, Error> {
    let folders = Config::read(&common.root)?.settings.folders;
    let mut engine = open(common, folders.state.path())?;
    if engine.has_finished_this() {
        if let Some(error) = engine.not_told() {
            return Err(error.into());
        }
        eprintln!("sidus: that is this same command: it is not done a second time; give it once more if it is to be");
        return Ok(None);
    }
    say_not_told(&mut engine);
    engine.once();
    Ok(Some((engine, Config::read(&common.root)?)))
}

/// The engine alone, where there may be no configuration yet.
///
/// # Errors
/// [`EngineError`]
pub fn engine(common: &Common, folders: &Folders) -> Result<Engine, Error> {
    let mut engine = open(common, folders.state.path())?;
    say_not_told(&mut engine);
    Ok(engine)
}

/// It keeps nobody from anything else.
fn say_not_told(engine: &mut Engine) {
    if let Some(error) = engine.not_told() {
        eprintln!("sidus: of an earlier command: {error}");
    }
}

/// The engine for what is done in one working tree: with a lock of that tree, and a journal. Others wait for nothing else.
/// A command that does not work in the tree, but needs nobody else to, keeps it until its end.
///
/// # Errors
/// [`EngineError`]
pub fn engine_in_tree(common: &Common, folders: &Folders, tree: &TreeName) -> Result<Engine, Error> {
    open(common, &state_of_tree(folders, tree))
}

/// As the state folder is for all else.
#[must_use]
pub fn state_of_tree(folders: &Folders, tree: &TreeName) -> PathBuf {
    folders.state.join("work").join(tree.as_str())
}

/// The trees that someone has ever worked in.
///
/// # Errors
/// Those of the file system.
pub fn worked_in(root: &Path, folders: &Folders) -> io::Result<Vec<TreeName>> {
    let names = paths::names(root, &folders.state.join("work"))?;
    Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
}

fn open(common: &Common, state: &Path) -> Result<Engine, Error> {
    // A dry run is of the command that would be given without that word.
    let is_meant = |word: &String| !(common.dry_run && ["-n", "--dry-run"].contains(&word.as_str()));
    let words: Vec<_> = std::env::args().skip(1).filter(is_meant).collect();
    Ok(Engine::open(Setting {
        root: common.root.clone(),
        state: state.to_owned(),
        command: ["sidus".to_owned()].into_iter().chain(words).collect::<Vec<_>>().join(" "),
        dry_run: common.dry_run,
    })?)
}

#[cfg(test)]
#[path = "manual_tests.rs"]
mod manual_tests;
