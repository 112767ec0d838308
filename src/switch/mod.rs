//! `rootaufs switch`: moves a running node to another generation of its tree, without firmware, PXE and kernel start.
//!
//! The story, in three acts:
//!
//! 1. **Look.** [Facts](facts) of the node, and of the generation on the server; [`decide`](plan::decide) makes a plan of
//!    them, or refuses with what a person can do.
//! 2. **Make ready.** A private tmpfs on [`NEXT`] is the stage: the new tree, and the layer beside it, are mounted there.
//!    With a layer in memory the whole union is made; with one on a LUN, which the running union still writes to, a union
//!    that only reads is tried in its place. The init of what comes is run once (`--version`). Whatever fails up to here
//!    leaves the node as it was. Then systemd is asked for a soft reboot (systemd-soft-reboot.service(8)).
//! 3. **[Finish](finish).** When all services have stopped, sidus-switch.service runs the copy of this program on the
//!    stage: the union that ends is made read-only, and only then the same layer is stacked on the new tree; the new union
//!    is moved onto [`NEXT`], which systemd enters. Where that fails, all of it is undone, the stage is no root that
//!    systemd would enter, and so it starts the old one again. Where what was entered does not [come up](come_up), the
//!    node moves back.

pub mod come_up;
pub mod command;
pub mod facts;
pub mod finish;
pub mod plan;
pub mod step;

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use miniserde::json;
use rustix::fs::{flock, FlockOperation};
use thiserror::Error;

use self::come_up::Trial;
use self::command::{run, CommandError};
use self::facts::{FactsError, Local, Tree};
use self::plan::{decide, Decision, Next, Refusal};
use self::step::Machine;
use crate::apply::{Failure, StepError};
use crate::file_error::FileError;
use crate::generation::{Generations, LookError, Place};
use crate::iscsi::deadline::{within, Deadline};
use crate::kmsg::{Level, Log};
use crate::mount::{self, MountError};
use crate::report::{micros, steps, FailureReport};

/// Where systemd looks for the root that a soft reboot shall enter.
pub const NEXT: &str = "/run/nextroot";
/// The program that finishes the switch: sidus-switch.service runs it.
pub const PROGRAM: &str = "/run/nextroot/rootaufs";
/// The program that runs.
const THIS: &str = "/proc/self/exe";
/// What it has to know.
const NOTE: &str = "/run/nextroot/next.json";
/// How the report begins to say what failed.
const FAILED: &str = "switch to ";
/// Held while a switch is made ready.
const LOCK: &str = "run/sidus/switch.lock";
/// How long systemd may take to take a request.
const SYSTEMD: Duration = Duration::from_secs(60);

/// Why the node stays where it is.
#[derive(Debug, Error)]
pub enum SwitchError {
    /// It cannot be moved.
    #[error("{_0}: {}", _0.remedy())]
    Refused(#[from] Refusal),
    /// The node cannot be read.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The server cannot be read.
    #[error(transparent)]
    Look(#[from] LookError),
    /// Somebody else does the same.
    #[error("another switch of this node is under way: {0} is locked")]
    Busy(PathBuf),
    /// The lock, or the stage.
    #[error(transparent)]
    File(#[from] FileError),
    /// What is left of an earlier one.
    #[error("cannot clear what is left of an earlier switch: {0}")]
    Left(#[from] MountError),
    /// A step.
    #[error("cannot {}: {}{}; the node is as it was{}", _0.step, _0.error, remedy(&_0.error), left(&_0.left))]
    Step(Box<Failure>),
    /// systemd.
    #[error("{0}; the node is as it was")]
    Systemd(CommandError),
}

impl SwitchError {
    /// Whether the node can get there by a reboot, and by nothing less.
    #[must_use]
    pub const fn needs_reboot(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.needs_reboot())
    }
}

/// What a person can do, where that differs from what the message says.
fn remedy(error: &StepError) -> String {
    match error {
        StepError::Layer(error) => format!(" ({})", error.remedy()),
        _ => String::new(),
    }
}

fn left(left: &[String]) -> String {
    if left.is_empty() {
        return String::new();
    }
    format!(", but for what could not be undone: {}", left.join("; "))
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// A generation; else the newest.
    pub generation: Option<String>,
    /// Nothing is done: what would be is said.
    pub dry_run: bool,
    /// How long the generation may take to come up, in seconds, before the node returns; 0 where it never does.
    pub within: u32,
}

/// Moves the machine whose root is `root`; says what comes now.
///
/// # Errors
/// [`SwitchError`]: nothing has changed.
pub fn switch(root: &Path, request: &Request) -> Result<String, SwitchError> {
    turn_to(root, request, None)
}

/// As [`switch`]; the report will have the `failure` that led to it.
fn turn_to(root: &Path, request: &Request, failure: Option<FailureReport>) -> Result<String, SwitchError> {
    let start = Instant::now();
    let log = Log::open(root);
    let _lock = lock(root)?;
    let local = Local::read(root)?;
    local.check()?;
    let place = Place::read(root)?;
    let (folder, name) = match &request.generation {
        Some(name) => (place.open()?, name.clone()),
        None => {
            let Generations { folder, current } = place.look()?;
            (folder, current)
        }
    };
    let tree = Tree::read(&folder, &name, &local.kernel)?;
    let plan = match decide(&local, &place, &tree, request.within)? {
        Decision::Stay => return Ok(format!("this node runs on {name} already: nothing is done\n")),
        Decision::Move(plan) => plan,
    };
    if request.dry_run {
        return Ok(plan.to_string());
    }
    if local.stage == facts::Stage::Left {
        mount::detach(Path::new(NEXT))?;
    }
    let applied = step::apply(&plan.steps, Machine::this(root), &log).map_err(|failed| {
        ask_again(&place);
        SwitchError::Step(failed)
    })?;
    let mut next = plan.next;
    next.report.steps = steps(&applied.done);
    next.report.total_us = micros(start.elapsed());
    next.report.failure = failure.or(next.report.failure);
    if let Some(trial) = Trial::of(root).filter(|trial| trial.to == next.from) {
        // Of what has not proved itself yet, none is a place to return to.
        if trial.from == next.to {
            next.within = 0;
        } else {
            next.from = trial.from;
        }
    }
    let asked = leave_note(&next).map_err(SwitchError::from).and_then(|()| ask_systemd(local.stale_init));
    if let Err(error) = asked {
        // All that was made is on the stage, and goes with it.
        mount::detach(Path::new(NEXT))?;
        ask_again(&place);
        return Err(error);
    }
    log.say(Level::Info, &format!("switch: {} is ready, and systemd restarts the node's services on it", next.to));
    let back = match next.within {
        0 => String::new(),
        within => format!("; where it does not come up within {within} s, the node returns to {}", next.from),
    };
    Ok(format!("{} is ready: all services stop now, and start again on it{back}\n", next.to))
}

impl<'a> Machine<'a> {
    /// The one that this program runs on.
    fn this(root: &'a Path) -> Self {
        Self { root, program: THIS, end_writers: finish::end_writers }
    }
}

fn lock(root: &Path) -> Result<File, SwitchError> {
    let path = root.join(LOCK);
    let file = File::create(&path).map_err(FileError::when("write", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(SwitchError::Busy(path)),
        Err(errno) => Err(FileError::when("lock", &path)(errno.into()).into()),
    }
}

/// Asks the server once more for the tree that the node stays on. `sidus tree prune` knows who runs on what by what each node
/// has asked for, and that was another one.
fn ask_again(place: &Place) {
    let tree = place.tree(&place.running);
    // What went wrong is said already.
    let _ = within(Deadline::after(step::MOUNT), move || tree.open());
}

fn told(log: &Log, written: io::Result<()>) {
    if let Err(error) = written {
        log.say(Level::Warning, &format!("cannot write the report /run/sidus/report.json: {error}"));
    }
}

/// Leaves on the stage what finishes the switch. It runs when the old root is to be written by nobody: not from there.
fn leave_note(next: &Next) -> Result<(), FileError> {
    let program = Path::new(PROGRAM);
    fs::write(NOTE, json::to_string(next)).map_err(FileError::when("write", NOTE))?;
    fs::copy(THIS, program).map_err(FileError::when("write", program))?;
    fs::set_permissions(program, fs::Permissions::from_mode(0o700)).map_err(FileError::when("set the mode of", program))
}

fn ask_systemd(stale_init: bool) -> Result<(), SwitchError> {
    if stale_init {
        // A root cannot be made read-only while a file of it is in use that was removed.
        run("systemctl", &["daemon-reexec"], SYSTEMD).map_err(SwitchError::Systemd)?;
    }
    run("systemctl", &["--no-block", "soft-reboot"], SYSTEMD).map_err(SwitchError::Systemd).map(drop)
}
