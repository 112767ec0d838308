//! Starts a keeper: this program again, as a process of its own.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use thiserror::Error;

use super::report::NAME;
use super::task::Task;
use crate::iscsi::deadline::{within, Deadline};

/// How long it may take to begin.
const LIMIT: Duration = Duration::from_secs(30);
/// What it says when it is at work; anything else is what went wrong.
const READY: &str = "ready\n";

/// Why no keeper was started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The process.
    #[error("cannot start the keeper: {0}")]
    Process(#[from] io::Error),
    /// What it said itself.
    #[error("the keeper cannot work: {0}")]
    Refused(String),
    /// It said nothing.
    #[error("the keeper is not at work after {} s", LIMIT.as_secs())]
    Timeout,
}

/// Starts a keeper, and returns its process when it is at work.
///
/// # Errors
/// [`StartError`]
pub fn start(task: &Task) -> Result<u32, StartError> {
    let mut child = Command::new("/proc/self/exe")
        .arg0(NAME)
        .args(task.arguments())
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut output = child.stdout.take();
    let read = move || {
        let mut said = String::new();
        output.as_mut().map_or(Ok(0), |output| output.read_to_string(&mut said)).map(|_| said)
    };
    match within(Deadline::after(LIMIT), read)? {
        Some(Ok(said)) if said == READY => Ok(child.id()),
        Some(Ok(said)) => Err(StartError::Refused(said.trim_end().to_owned())),
        Some(Err(error)) => Err(error.into()),
        None => {
            child.kill()?;
            Err(StartError::Timeout)
        }
    }
}

/// What the keeper does with its output: says how it went, then lets go of it.
///
/// # Errors
/// Those of the pipe, and of opening `/dev/null`.
pub fn answer(failure: Option<&str>) -> io::Result<()> {
    io::stdout().write_all(failure.unwrap_or(READY).as_bytes())?;
    io::stdout().flush()?;
    // stdin is /dev/null: the path may lead to it no more.
    Ok(rustix::stdio::dup2_stdout(io::stdin())?)
}
