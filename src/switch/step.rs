//! One step of a switch: one of the boot's, or one that a boot has not. Each is undone where a later one fails, by the
//! boot's own machinery.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::io::Errno;

use super::command::run;
use super::facts::INIT;
use crate::apply::{Applied, Failure, StepError, Undo, Work};
use crate::file_error::FileError;
use crate::iscsi::deadline::{within, Deadline};
use crate::kmsg::Log;
use crate::mount::{self, MountError};
use crate::nfs;
use crate::plan::Step as Boot;

/// How long the server may take to let a tree be mounted.
pub(super) const MOUNT: Duration = Duration::from_secs(60);
/// How long the next init may take to say its version: all of it may have to come over the network first, from a server that
/// is busy with the next generation.
const INIT_LIMIT: Duration = Duration::from_secs(120);
/// How often it is tried to make the union that ends read-only.
const TRIES: u32 = 20;
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// One step. Its [`fmt::Display`] is what a person reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// One that a boot has as well.
    Boot(Boot),
    /// Keep what is mounted below a place there alone.
    MakePrivate {
        /// The place.
        at: PathBuf,
    },
    /// Mount a tree read-only.
    MountTree {
        /// The tree.
        tree: nfs::Tree,
        /// Where.
        at: PathBuf,
    },
    /// Mount what is at a place at another one as well.
    Bind {
        /// The one,
        from: PathBuf,
        /// and the other.
        to: PathBuf,
    },
    /// Run the init of a tree, so that what it lacks is known.
    TryInit {
        /// The tree.
        root: PathBuf,
    },
    /// Mount a layer over a tree without writing to it, run the init of both, and unmount it.
    TryUnion {
        /// The layer.
        upper: PathBuf,
        /// The tree.
        lower: PathBuf,
        /// Where.
        at: PathBuf,
    },
    /// Let the union that ends refuse writes, and its layer be whole.
    EndUnion {
        /// The root.
        at: PathBuf,
    },
}

impl From<Boot> for Step {
    fn from(step: Boot) -> Self {
        Self::Boot(step)
    }
}

/// What moves.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// Its root.
    pub root: &'a Path,
    /// This program.
    pub program: &'a str,
    /// Ends whoever still writes to the union that ends.
    pub end_writers: fn(&Path),
}

/// Carries steps out.
///
/// # Errors
/// [`Failure`]: the first step that failed; all before it are undone.
pub fn apply(steps: &[Step], machine: Machine, log: &Log) -> Result<Applied, Box<Failure>> {
    let work = Work::new(machine.root, machine.root, MOUNT, log);
    work.carry_out(steps, |work, step| carry_out(work, step, machine))
}

fn carry_out(work: &mut Work, step: &Step, machine: Machine) -> Result<Option<String>, StepError> {
    match step {
        Step::Boot(step) => return work.step(step),
        Step::MakePrivate { at } => mount::make_private(at)?,
        Step::MountTree { tree, at } => {
            let (own, trouble) = (tree.clone(), FileError::when("mount", Path::new(&tree.source)));
            match within(Deadline::after(MOUNT), move || own.open()) {
                Ok(Some(mounted)) => mount::attach_to(&mounted?, at)?,
                Ok(None) => {
                    let words = format!("the server did not answer for {} s", MOUNT.as_secs());
                    return Err(trouble(io::Error::other(words)).into());
                }
                Err(error) => return Err(trouble(error).into()),
            }
            work.undo_by(Undo::Unmount(at.clone()));
        }
        Step::Bind { from, to } => {
            mount::bind(from, to)?;
            work.undo_by(Undo::Unmount(to.clone()));
            mount::make_private(to)?;
        }
        Step::TryInit { root } => return try_init(machine, root).map(Some),
        Step::TryUnion { upper, lower, at } => {
            mount::mount_union_read_only(upper, lower, at)?;
            let tried = try_init(machine, at);
            mount::unmount_from(at)?;
            return tried.map(Some);
        }
        Step::EndUnion { at } => {
            when_free(|| mount::set_mount_read_only(at, true), machine)?;
            work.undo_by(Undo::MountWritable(at.clone()));
            when_free(|| mount::set_superblock_read_only(at, true), machine)?;
            work.undo_by(Undo::SuperblockWritable(at.clone()));
        }
    }
    Ok(None)
}

/// Runs the init that is in a tree; says what it says.
fn try_init(machine: Machine, root: &Path) -> Result<String, StepError> {
    let path = root.join(INIT);
    // This program again, which makes the tree its root and becomes the other one.
    let said = run(machine.program, &["switch-try", &root.display().to_string()], INIT_LIMIT)
        .map_err(|error| FileError::when("run", &path)(io::Error::other(error.to_string())))?;
    Ok(said.lines().next().unwrap_or_default().to_owned())
}

/// Tries again what is refused while somebody uses it.
fn when_free(what: impl Fn() -> Result<(), MountError>, machine: Machine) -> Result<(), MountError> {
    for _ in 0..TRIES {
        match what() {
            Err(MountError { errno: Errno::BUSY, .. }) => {
                (machine.end_writers)(machine.root);
                sleep(PAUSE);
            }
            result => return result,
        }
    }
    what()
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boot(step) => step.fmt(f),
            Self::MakePrivate { at } => write!(f, "keep what is mounted on {} there", at.display()),
            Self::MountTree { tree, at } => write!(f, "mount {tree} on {}, read-only", at.display()),
            Self::Bind { from, to } => write!(f, "mount {} on {} as well", from.display(), to.display()),
            Self::TryInit { root } => write!(f, "try {}", root.join(INIT).display()),
            Self::TryUnion { upper, lower, at } => write!(
                f,
                "try {} over {} on {}, without writing",
                upper.display(),
                lower.display(),
                at.join(INIT).display()
            ),
            Self::EndUnion { at } => write!(f, "make the union on {} read-only: mount and superblock", at.display()),
        }
    }
}
