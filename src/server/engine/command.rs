//! Runs a command of another program: a clean environment, no shell, what it writes kept or shown, and ended when this
//! program is to end.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::{memfd_create, MemfdFlags};
use rustix::io::{ioctl_fionbio, Errno};
use rustix::process::{kill_process_group, pidfd_open, Pid, PidfdFlags, Signal};

use super::error::CommandError;
use super::lock::Lock;
use super::run::{Argument, Output, Run, Scope};
use crate::server::output::Progress;
use crate::server::paths::within;

/// What each command gets. Nothing else of this program's environment reaches it.
const ENVIRONMENT: [(&str, &str); 3] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("LC_ALL", "C.UTF-8"),
    ("HOME", "/root"),
];
/// But for the way to the network, and what the terminal can.
const PASSED_ON: [&str; 5] = ["http_proxy", "https_proxy", "no_proxy", "ftp_proxy", "TERM"];
/// How many lines of its output an error has.
const LAST_LINES: usize = 15;
/// How many bytes of a line.
const LONGEST_LINE: usize = 500;
/// How often a pipe is read before it is looked whether the command has ended, or is to end: enough for all that a pipe can
/// hold (pipe(7)) when the command has ended.
const READS_AT_ONCE: usize = 64;
/// How long a command that is asked to end may take to do so.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a command may take that answers a question: what it asks in turn (a disk, a service) may be dead.
const ANSWER: Duration = Duration::from_secs(60);

/// What a command is run with.
#[derive(Debug, Clone, Copy)]
pub struct Around<'a> {
    /// What stands for the machine.
    pub root: &'a Path,
    /// What a command on files inherits.
    pub lock: Option<&'a Lock>,
    /// Set when this program is to end; without it, the command is not to be ended.
    pub interrupted: Option<&'a AtomicBool>,
    /// How long it may take; one that does something may take as long as that takes.
    pub limit: Option<Duration>,
}

impl<'a> Around<'a> {
    /// For a command on the machine whose root is `root` that answers a question, and changes nothing.
    #[must_use]
    pub const fn question(root: &'a Path) -> Self {
        Self { root, lock: None, interrupted: None, limit: Some(ANSWER) }
    }
}

/// Runs it to its end and returns what it wrote to its standard output, unless that went to the terminal.
///
/// # Errors
/// [`CommandError`]
pub fn run(around: Around<'_>, run: &Run) -> Result<Vec<u8>, CommandError> {
    let name = run.to_string();
    let lost = |source: io::Error| CommandError::Io { command: name.clone(), source };
    let mut command = Command::new(&run.program);
    command.args(run.arguments.iter().map(|argument| resolved(around.root, argument)));
    command.env_clear().envs(ENVIRONMENT).current_dir("/");
    command.envs(PASSED_ON.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(run.environment.iter().map(|(name, value)| (name, value)));
    let terminal = run.output == Output::Terminal;
    if !terminal {
        // A group of its own: Ctrl-C comes to this program alone, which then ends all of it, or lets it come to its end.
        command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    match &run.input {
        Some(input) => _ = command.stdin(file_of(input).map_err(lost)?),
        None if !terminal => _ = command.stdin(Stdio::null()),
        None => {}
    }
    let lock = around.lock.filter(|_| run.scope == Scope::Files);
    let inherit = |yes| lock.map_or(Ok(()), |lock| lock.inherit(yes)).map_err(|errno| lost(errno.into()));
    inherit(true)?;
    let started = command.spawn();
    inherit(false)?;
    let child = started.map_err(|error| match error.kind() {
        ErrorKind::NotFound => CommandError::NoProgram {
            command: name.clone(),
            program: run.program.clone(),
            package: run.package.clone(),
        },
        _ => lost(error),
    })?;
    let progress = match (&run.does, run.output) {
        (Some(what), Output::Progress) => Some(Progress::new(what)),
        _ => None,
    };
    let mut running =
        Running { child, progress, out: Vec::new(), lines: [Lines::default(), Lines::default()], asked: None };
    let status = if terminal { running.child.wait() } else { running.follow(around) }.map_err(lost)?;
    match running.asked {
        None => {}
        Some((_, Reason::Interrupted)) => return Err(CommandError::Interrupted { command: name }),
        Some((_, Reason::TooLong(limit))) => {
            return Err(CommandError::TooLong { command: name, seconds: limit.as_secs() })
        }
    }
    let good = |code| code == 0 || run.also_good.contains(&code);
    if status.code().is_some_and(good) {
        return Ok(running.out);
    }
    let [out, err] = running.lines;
    let last = if err.is_empty() { out } else { err };
    Err(CommandError::Status { command: name, status: described(status), code: status.code(), last: last.text() })
}

fn resolved(root: &Path, argument: &Argument) -> OsString {
    match argument {
        Argument::Text(text) => text.into(),
        Argument::Path(prefix, path, suffix) => {
            let mut text = OsString::from(prefix);
            text.push(within(root, path));
            text.push(suffix);
            text
        }
    }
}

/// Not a pipe, which this program would have to fill while it reads, nor a file that others see.
fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

struct Running {
    child: Child,
    progress: Option<Progress>,
    out: Vec<u8>,
    lines: [Lines; 2],
    /// When it was asked to end, and why.
    asked: Option<(Instant, Reason)>,
}

/// Why a command is asked to end.
#[derive(Debug, Clone, Copy)]
enum Reason {
    Interrupted,
    TooLong(Duration),
}

impl Running {
    /// Reads until the command has ended. What it left running may keep the pipes open; that is not waited for.
    fn follow(&mut self, around: Around<'_>) -> io::Result<ExitStatus> {
        let started = Instant::now();
        let mut pipes = [self.child.stdout.take().map(OwnedFd::from), self.child.stderr.take().map(OwnedFd::from)]
            .map(|fd| fd.map(File::from));
        for pipe in pipes.iter().flatten() {
            ioctl_fionbio(pipe, true)?;
        }
        let ended = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        loop {
            let mut fds = vec![PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN)];
            fds.extend(pipes.iter().flatten().map(|pipe| PollFd::from_borrowed_fd(pipe.as_fd(), PollFlags::IN)));
            match poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 500_000_000 })) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            let has_ended = fds.first().is_some_and(|fd| !fd.revents().is_empty());
            let [out, err] = &mut pipes;
            let [out_lines, err_lines] = &mut self.lines;
            drain(out, out_lines, Some(&mut self.out))?;
            drain(err, err_lines, None)?;
            if has_ended {
                return self.child.wait();
            }
            if let Some(progress) = &mut self.progress {
                let latest = self.lines.iter().filter_map(|lines| lines.latest.as_ref()).max_by_key(|(when, _)| *when);
                progress.show(latest.map_or("", |(_, line)| line.as_str()));
            }
            if around.interrupted.is_some_and(|flag| flag.load(Ordering::Relaxed)) {
                self.end(Reason::Interrupted)?;
            } else if let Some(limit) = around.limit.filter(|limit| started.elapsed() > *limit) {
                self.end(Reason::TooLong(limit))?;
            }
        }
    }

    /// Asks all of it to end; when that takes too long, it is not asked.
    fn end(&mut self, why: Reason) -> io::Result<()> {
        let signal = match self.asked {
            None => Signal::TERM,
            Some((asked, _)) if asked.elapsed() > PATIENCE => Signal::KILL,
            Some(_) => return Ok(()),
        };
        self.asked.get_or_insert_with(|| (Instant::now(), why));
        match kill_process_group(Pid::from_child(&self.child), signal) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Reads what is there, but no more than a pipe can hold: who writes faster than this program reads would else have it read
/// on for ever. A pipe that is at its end is dropped.
fn drain(pipe: &mut Option<File>, lines: &mut Lines, mut all: Option<&mut Vec<u8>>) -> io::Result<()> {
    let mut chunk = [0; 16384];
    for _ in 0..READS_AT_ONCE {
        let Some(file) = pipe else { break };
        match file.read(&mut chunk) {
            Ok(0) => *pipe = None,
            Ok(count) => {
                let read = chunk.get(..count).unwrap_or_default();
                lines.add(read);
                if let Some(all) = &mut all {
                    all.extend_from_slice(read);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The last lines of an output.
#[derive(Default)]
struct Lines {
    kept: VecDeque<String>,
    begun: Vec<u8>,
    latest: Option<(Instant, String)>,
}

impl Lines {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                // Progress of others goes back to the beginning of the line.
                b'\n' | b'\r' => self.finish(),
                _ if self.begun.len() < LONGEST_LINE => self.begun.push(*byte),
                _ => {}
            }
        }
    }

    fn finish(&mut self) {
        let line: String = String::from_utf8_lossy(&self.begun).chars().filter(|c| !c.is_control()).collect();
        self.begun.clear();
        if line.trim().is_empty() {
            return;
        }
        if self.kept.len() == LAST_LINES {
            self.kept.pop_front();
        }
        self.latest = Some((Instant::now(), line.clone()));
        self.kept.push_back(line);
    }

    fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.begun.is_empty()
    }

    fn text(mut self) -> String {
        self.finish();
        Vec::from(self.kept).join("\n")
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
