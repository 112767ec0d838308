//! `sidus tree run`, `shell`, `install`, `upgrade` and `purge`: commands in a tree.

use std::path::Path;

use super::contain::{self, Where};
use super::{Package, TreeError};
use crate::server::cli::Common;
use crate::server::config::values::TreeName;
use crate::server::engine::{Action, CommandError, Commit, EngineError, Run};
use crate::server::{begin, engine_in_tree, Error};

/// What is done in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// A command of the administrator's, who has the terminal.
    Command(Vec<String>),
    /// A shell.
    Shell,
    /// More packages.
    Install(Vec<Package>),
    /// Newer ones.
    Upgrade,
    /// Fewer, their configuration too.
    Purge(Vec<Package>),
}

/// dpkg(1), which asks nothing, as [`APT`]: what it was interrupted in is brought to its end. Before that, apt does nothing.
const DPKG: [&str; 5] = ["dpkg", "--force-confdef", "--force-confold", "--configure", "--pending"];

/// apt-get(8), which asks nothing: a configuration file that was changed in the tree stays as it is.
const APT: [&str; 6] = [
    "apt-get",
    "--yes",
    "--option=Dpkg::Options::=--force-confdef",
    "--option=Dpkg::Options::=--force-confold",
    "--quiet",
    "--option=Dpkg::Use-Pty=0",
];

impl Work {
    /// The commands, one after the other.
    pub(super) fn runs(&self, sidus: &str, name: &TreeName, tree: &Path) -> Vec<Run> {
        let contained = |command: &[&str]| contain::contained(sidus, Where::Tree(tree), command);
        let quiet = |does: String, command: &[&str]| {
            let run = [contain::QUIET, contain::NO_INITRD]
                .into_iter()
                .fold(contained(command), |run, (variable, value)| run.env(variable, value));
            run.does(does)
        };
        let apt = |does: String, words: &[&str], packages: &[Package]| {
            let packages: Vec<_> = packages.iter().map(Package::as_str).collect();
            quiet(does, &[&APT, words, &packages].concat())
        };
        let finish = || quiet(format!("looks what was interrupted in {name}, and finishes it"), &DPKG);
        let update = || apt(format!("reads which packages there are for {name}"), &["update"], &[]);
        match self {
            Self::Command(command) => vec![contain::contained(sidus, Where::Tree(tree), command).on_terminal()],
            Self::Shell => vec![contained(&["/bin/sh", "-c", "exec \"$(command -v bash || echo /bin/sh)\" -l"])
                .env("debian_chroot", name.as_str())
                .on_terminal()],
            Self::Install(packages) => {
                vec![finish(), update(), apt(format!("installs packages in {name}"), &["install", "--"], packages)]
            }
            // New ones where others need them, as a kernel does; none is removed.
            Self::Upgrade => {
                vec![
                    finish(),
                    update(),
                    apt(format!("upgrades packages in {name}"), &["upgrade", "--with-new-pkgs"], &[]),
                ]
            }
            Self::Purge(packages) => {
                vec![finish(), apt(format!("purges packages in {name}"), &["purge", "--"], packages)]
            }
        }
    }

    /// Whether the command's exit status is to be this program's.
    const fn is_passed_on(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Shell)
    }
}

pub(super) fn run(common: &Common, name: &TreeName, work: &Work) -> Result<(), Error> {
    // What others have left in the middle is brought to its end first, and nobody is at it.
    let (all, config) = begin(common)?;
    let folders = &config.settings.folders;
    let tree = super::existing(&common.root, &config, name)?;
    let mut engine = engine_in_tree(common, folders, name)?;
    drop(all);
    let sidus = contain::sidus().map_err(TreeError::at("find this program"))?;
    let placeholders = contain::placeholders(&common.root, &tree).map_err(TreeError::at(tree.display()))?;
    let runs = work.runs(&sidus, name, &tree);
    engine.transact(contain::unmake(&tree, &placeholders), |stage| {
        stage.perform(&contain::make(&placeholders))?;
        for run in runs {
            stage.perform(&[Action::Run(run)]).map_err(|error| match error {
                EngineError::Command(CommandError::Status { code: Some(code), .. }) if work.is_passed_on() => {
                    TreeError::Ended { status: u8::try_from(code).unwrap_or(1) }.into()
                }
                other => Error::from(other),
            })?;
        }
        stage.perform(&contain::unmake(&tree, &placeholders))?;
        Ok::<_, Error>(Commit::default())
    })?;
    Ok(())
}
