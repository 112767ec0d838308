//! What can go wrong while something is done: what, where, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::journal::Phase;
use super::lock::Holder;

/// Why something was not done.
#[derive(Debug, Error)]
pub enum EngineError {
    /// What a person made is in the way.
    #[error("{}: {why}; it is left as it is: {remedy}", path.display())]
    Foreign {
        /// Where.
        path: PathBuf,
        /// What it is.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// The file system refused.
    #[error("cannot {doing}: {source}{}", hint(source))]
    Io {
        /// What was being done, to what.
        doing: String,
        /// Why not.
        source: io::Error,
    },
    /// A command failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// Another one is at work.
    #[error("{0}")]
    Busy(Holder),
    /// What is under way makes no sense.
    #[error("{}: {why}; move it away, then look with `sidus check` what is half done", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It failed in the middle, and stays there.
    #[error("{command} is half done; `sidus recover` finishes it, when this is mended: {source}")]
    HalfDone {
        /// What was done.
        command: String,
        /// Why it went no further.
        source: Box<EngineError>,
    },
    /// Something that ended in the middle cannot be brought to an end.
    #[error("an earlier {command} ended in the middle. `sidus recover` has to see it {}, when this is mended; to leave everything \
             as it is instead, remove {}: {source}", phase.verb(), journal.display())]
    Unrecovered {
        /// What was done then.
        command: String,
        /// How far it had come.
        phase: Phase,
        /// Where that stands.
        journal: PathBuf,
        /// Why not.
        source: Box<EngineError>,
    },
    /// Everything is in place, but a service does not know.
    #[error("everything is written, but not all was told; `sidus recover` tries it again: {source}")]
    NotTold {
        /// The first of what failed.
        source: Box<EngineError>,
    },
    /// It failed, and could not be undone.
    #[error("{failure}\nand that is not undone; `sidus recover` undoes it, when this is mended: {source}")]
    NotUndone {
        /// Why it failed.
        failure: String,
        /// Why it was not undone.
        source: Box<EngineError>,
    },
    /// Someone pressed Ctrl-C, or the machine shuts down.
    #[error("interrupted")]
    Interrupted,
}

/// How a command failed.
#[derive(Debug, Error)]
pub enum CommandError {
    /// There is no such program.
    #[error("{command}: there is no program {program}{}", package.as_ref().map(|package| format!(": apt-get install {package}")).unwrap_or_default())]
    NoProgram {
        /// The command.
        command: String,
        /// The program.
        program: String,
        /// What has it.
        package: Option<String>,
    },
    /// It was not started, or was lost.
    #[error("{command}: {source}")]
    Io {
        /// The command.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// It says that it failed.
    #[error("{command}: {status}{}", indented(last))]
    Status {
        /// The command.
        command: String,
        /// Its exit status, or the signal that ended it.
        status: String,
        /// Its exit status, unless a signal ended it.
        code: Option<i32>,
        /// The last lines that it wrote.
        last: String,
    },
    /// It was ended, since a question is not to take so long.
    #[error("{command}: no answer within {seconds} s; run it by hand to see what it waits for")]
    TooLong {
        /// The command.
        command: String,
        /// So many seconds.
        seconds: u64,
    },
    /// It was ended, as someone wished.
    #[error("{command}: interrupted")]
    Interrupted {
        /// The command.
        command: String,
    },
}

/// The commonest reason of all.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied if !rustix::process::geteuid().is_root() => " (you are not root)",
        _ => "",
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("\n  {line}")).collect()
}

impl EngineError {
    /// Whether it ended because someone wished it.
    #[must_use]
    pub const fn is_interruption(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Command(CommandError::Interrupted { .. }))
    }

    pub(super) fn foreign(path: &Path, why: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Foreign { path: path.to_owned(), why: why.into(), remedy: remedy.into() }
    }
}

/// Adds what was being done.
pub(super) trait Doing<T> {
    /// `doing` follows "cannot".
    fn doing(self, doing: &str, path: &Path) -> Result<T, EngineError>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &str, path: &Path) -> Result<T, EngineError> {
        self.map_err(|source| EngineError::Io { doing: format!("{doing} {}", path.display()), source: source.into() })
    }
}
