//! Starts a keeper, `rootaufs-initramfs` as a process of its own, which stays; and ends it where the boot does not come to
//! its end.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use nix::spawn::{posix_spawn, PosixSpawnAttr, PosixSpawnFileActions};
use rustix::fs::{open, Mode, OFlags};
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{kill_process, waitpid, Pid, Signal, WaitOptions};
use rustix::stdio::{raw_stderr, raw_stdin, raw_stdout};
use thiserror::Error;

use super::report::{KeeperReport, NAME};
use super::task::Task;
use crate::iscsi::deadline::{within, Deadline};

/// What runs: at boot, the program that is to stay.
const SELF: &str = "/proc/self/exe";
/// How long it may take to begin.
const LIMIT: Duration = Duration::from_secs(30);
/// What it says when it is at work; anything else is what went wrong.
const READY: &str = "ready\n";
/// No error that it says is longer.
const LONGEST: u64 = 4096;

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

/// Stays behind: starts this program once more, as a keeper, and returns its process when it is at work.
///
/// # Errors
/// [`StartError`]
pub fn stay_behind(task: &Task) -> Result<Pid, StartError> {
    start(Path::new(SELF), task)
}

/// As [`stay_behind`], for the program at this path.
///
/// # Errors
/// [`StartError`]
pub(super) fn start(program: &Path, task: &Task) -> Result<Pid, StartError> {
    let (pid, output) = spawn(program, task)?;
    let read = move || {
        let mut said = String::new();
        output.take(LONGEST).read_to_string(&mut said).map(|_| said)
    };
    match within(Deadline::after(LIMIT), read)? {
        Some(Ok(said)) if said == READY => Ok(pid),
        Some(Ok(said)) => Err(StartError::Refused(said.trim_end().to_owned())),
        Some(Err(error)) => Err(error.into()),
        None => {
            kill_process(pid, Signal::KILL).map_err(io::Error::from)?;
            Err(StartError::Timeout)
        }
    }
}

/// Ends a keeper that this process started, on the machine whose root is `root`, and its report with it.
///
/// # Errors
/// Those of the process and of the file.
pub fn stop(root: &Path, keeper: Pid) -> io::Result<()> {
    kill_process(keeper, Signal::KILL)?;
    // One that waits inside the kernel ends when that lets it.
    let ended = within(Deadline::after(LIMIT), move || waitpid(Some(keeper), WaitOptions::empty()))?;
    ended.ok_or_else(|| io::Error::from(io::ErrorKind::TimedOut))??;
    match KeeperReport::remove(root) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The process, and what it says.
fn spawn(program: &Path, task: &Task) -> io::Result<(Pid, File)> {
    let arguments = std::iter::once(NAME.to_owned()).chain(task.arguments()).map(CString::new);
    let arguments: Vec<CString> = arguments.collect::<Result<_, _>>()?;
    let (output, given) = pipe_with(PipeFlags::CLOEXEC)?;
    let nothing = open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let mut files = PosixSpawnFileActions::init()?;
    for (from, to) in [(&nothing, raw_stdin()), (&given, raw_stdout()), (&nothing, raw_stderr())] {
        files.add_dup2(from.as_raw_fd(), to)?;
    }
    let no_environment: [&CStr; 0] = [];
    let pid = posix_spawn(program, &files, &PosixSpawnAttr::init()?, &arguments, &no_environment)?;
    let pid = Pid::from_raw(pid.as_raw()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((pid, output.into()))
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
