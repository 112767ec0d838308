//! One administrator at a time: flock(2) on a file in the state folder.
//!
//! A command on files that this program runs inherits the lock: where this program is killed, the command goes on, and
//! nobody else begins before that has ended.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{flock, FlockOperation};
use rustix::io::{fcntl_setfd, Errno, FdFlags};
use serde::{Deserialize, Serialize};

use super::error::{Doing, EngineError};
use crate::server::clock::Time;
use crate::server::paths::within;

/// The lock, until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who has the lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pid: u32,
    user: String,
    command: String,
    since: String,
    /// Processes that a holder left behind, which has ended.
    #[serde(skip)]
    left: Option<Vec<String>>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, user, command, since, left } = self;
        match left {
            None => write!(f, "{user} runs `{command}` since {since} (process {pid}): wait for its end"),
            Some(left) => write!(
                f,
                "`{command}` of {user} (process {pid}, {since}) was killed, but what it had started still runs: {}: wait for its \
                 end, or end it",
                if left.is_empty() { "a process that is not seen from here".to_owned() } else { left.join(", ") }
            ),
        }
    }
}

impl Lock {
    /// Takes it, or says who has it.
    ///
    /// # Errors
    /// [`EngineError::Busy`]; [`EngineError::Io`]
    pub fn take(root: &Path, path: &Path, command: &str) -> Result<Self, EngineError> {
        let at = within(root, path);
        let mut options = fs::OpenOptions::new();
        // Whoever may read it could hold it (flock(2)), and keep the administrator out.
        options.mode(0o600);
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&at).doing("open the lock", path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                // Whoever has taken it just now has not yet said so.
                std::thread::sleep(Duration::from_millis(100));
                return Err(EngineError::Busy(Holder::read(file, &at)));
            }
            Err(errno) => return Err(errno).doing("lock", path),
        }
        let holder = Holder {
            pid: std::process::id(),
            user: user(),
            command: command.to_owned(),
            since: Time::now().to_string(),
            left: None,
        };
        let text = serde_json::to_string(&holder).map_err(std::io::Error::from).doing("write", path)?;
        // Only for a message to others: no harm is done where it is lost.
        file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).doing("write", path)?;
        Ok(Self { file })
    }

    /// As [`Lock::take`], but waits until whoever has it has ended, for so long at most.
    ///
    /// # Errors
    /// [`EngineError::Busy`]; [`EngineError::Io`]
    pub fn wait(root: &Path, path: &Path, command: &str, limit: Duration) -> Result<Self, EngineError> {
        let started = Instant::now();
        loop {
            match Self::take(root, path, command) {
                // That has taken a moment already.
                Err(EngineError::Busy(_)) if started.elapsed() < limit => {}
                other => return other,
            }
        }
    }

    /// Whether a process that is started now has the lock, too.
    pub(super) fn inherit(&self, yes: bool) -> Result<(), Errno> {
        fcntl_setfd(&self.file, if yes { FdFlags::empty() } else { FdFlags::CLOEXEC })
    }
}

impl Holder {
    fn read(mut file: File, at: &Path) -> Self {
        let mut text = String::new();
        let read = file.rewind().and_then(|()| (&file).take(1 << 16).read_to_string(&mut text));
        // This process is none of those that have it.
        drop(file);
        let known = read.ok().and_then(|_| serde_json::from_str::<Self>(&text).ok());
        let Some(mut holder) = known else {
            let [user, command, since] = ["someone", "sidus", "just now"].map(str::to_owned);
            return Self { pid: 0, user, command, since, left: None };
        };
        if !has_open(&PathBuf::from(format!("/proc/{}", holder.pid)), at) {
            holder.left = Some(holders(at));
        }
        holder
    }
}

/// The processes that have the file open, as far as this one may see them.
fn holders(at: &Path) -> Vec<String> {
    let described = |process: PathBuf| -> Option<String> {
        let pid: u32 = process.file_name()?.to_str()?.parse().ok()?;
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        Some(format!("process {pid} ({})", name.trim()))
    };
    entries(Path::new("/proc")).filter(|process| has_open(process, at)).filter_map(described).collect()
}

/// Whether `/proc/PID` has the file open (proc_pid_fd(5)).
fn has_open(process: &Path, at: &Path) -> bool {
    let at = fs::canonicalize(at).unwrap_or_else(|_| at.to_owned());
    entries(&process.join("fd")).any(|fd| fs::read_link(fd).is_ok_and(|to| to == at))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Who calls, through sudo(8) too.
fn user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    named.unwrap_or_else(|| match rustix::process::getuid() {
        uid if uid.is_root() => "root".to_owned(),
        uid => format!("user {}", uid.as_raw()),
    })
}
