//! What is under way, in a file of the state folder: written before anything is done, removed when all is.
//!
//! After a crash it says how to get out of the middle. While something is being prepared, in places that nobody looks at,
//! the way is back: `undo`. Once the new state is being put in its place, the way is forward: `commit`, all of it again.
//! In the end services are told: `after`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::action::{Action, Content, Write};
use super::error::{Doing, EngineError};
use super::file::{self, Lasts};
use super::run::Run;
use crate::server::paths;

/// No journal is longer, in bytes.
const MAX_JOURNAL: u64 = 256 << 20;
/// The form of it: another one is for another version of this program.
const VERSION: u32 = 1;

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing of it counts yet.
    Prepare,
    /// It is being put in its place.
    Commit,
    /// It is in place; services have to be told.
    After,
}

impl Phase {
    /// What happens to what ended in this phase.
    #[must_use]
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Prepare => "undone",
            Self::Commit | Self::After => "finished",
        }
    }
}

/// What is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    /// Its form.
    pub version: u32,
    /// The command line.
    pub command: String,
    /// The process.
    pub pid: u32,
    /// When it began.
    pub since: String,
    /// How far it has come.
    pub phase: Phase,
    /// What takes it back while it is prepared.
    pub undo: Vec<Action>,
    /// What puts it in its place.
    pub commit: Vec<Action>,
    /// Whom to tell. While something is prepared: whom an earlier command could not.
    pub after: Vec<Vec<Run>>,
}

impl Journal {
    /// For something that begins now.
    #[must_use]
    pub fn new(command: &str, undo: Vec<Action>) -> Self {
        Self {
            version: VERSION,
            command: command.to_owned(),
            pid: std::process::id(),
            since: crate::server::clock::Time::now().to_string(),
            phase: Phase::Prepare,
            undo,
            commit: Vec::new(),
            after: Vec::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(state: &Path) -> PathBuf {
        state.join("journal.json")
    }

    /// What is under way, or was when this program was killed.
    ///
    /// # Errors
    /// [`EngineError::Journal`]
    pub fn read(root: &Path, state: &Path) -> Result<Option<Self>, EngineError> {
        let path = Self::path(state);
        let wrong = |why: String| EngineError::Journal { path: path.clone(), why };
        let bytes = match paths::read(root, &path, MAX_JOURNAL) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let journal: Self = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        if journal.version != VERSION {
            return Err(wrong(format!("it is of another version of sidus, {}", journal.version)));
        }
        Ok(Some(journal))
    }

    /// Writes it, for root alone: commands may have secrets to read.
    ///
    /// # Errors
    /// [`EngineError::Io`]
    pub fn write(&self, root: &Path, state: &Path) -> Result<(), EngineError> {
        let path = Self::path(state);
        let bytes = serde_json::to_vec(self).map_err(std::io::Error::from).doing("write", &path)?;
        file::write(root, &Write::secret(path, Content::Bytes(bytes)), Lasts::AtOnce)
    }

    /// All is done.
    ///
    /// # Errors
    /// [`EngineError::Io`]
    pub fn forget(root: &Path, state: &Path) -> Result<(), EngineError> {
        file::unlink(root, &Self::path(state), Lasts::AtOnce)
    }
}
