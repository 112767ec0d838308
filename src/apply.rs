//! Carries a plan out, step by step. A step that fails undoes all that was done before it, so that whatever follows
//! starts from the state before.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use thiserror::Error;

use crate::file_error::FileError;
use crate::kmsg::{Level, Log};
use crate::layer::{self, LayerError};
use crate::lun::{Lun, LunError, LunReport};
use crate::modules::{self, ModuleError};
use crate::mount::{self, MountError};
use crate::network;
use crate::plan::{Step, UnionPlan};
use crate::report::micros;
use crate::shutdown::{self, PrepareError};
use crate::view;

/// A step that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// The step, in words.
    pub step: String,
    /// How long it took.
    pub took: Duration,
}

/// Why a step failed.
#[derive(Debug, Error)]
pub enum StepError {
    /// The kernel refused a mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// The kernel refused a module.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The layer's directories.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A file or directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// `aufs=iscsi`
    #[error(transparent)]
    Lun(#[from] LunError),
    /// What the shutdown of a node with a LUN will need.
    #[error(transparent)]
    Shutdown(#[from] PrepareError),
}

impl StepError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Mount(MountError { errno: Errno::NODEV, .. }) => {
                "this kernel lacks the file system: boot a kernel that has it, or name another with sidus.union="
            }
            Self::Mount(MountError { errno: Errno::NOMEM | Errno::NOSPC, .. }) => {
                "the node has too little free memory: give it more, or set sidus.tmpfs.size="
            }
            Self::Mount(MountError { errno: Errno::STALE, .. }) => {
                "the tree was replaced on the NFS server while this node booted: boot again"
            }
            Self::Mount(MountError { errno: Errno::BUSY, .. }) => {
                "something of the initramfs still uses the root: look for a script of init-bottom that runs before rootaufs"
            }
            Self::Mount(MountError { errno: Errno::LOOP, .. }) => {
                "a link stands where something has to be mounted: remove it from the tree on the NFS server, or from the \
                 layer on the iSCSI server"
            }
            Self::Mount(_) => "read the kernel's messages (dmesg), and try the plain root with aufs=off",
            Self::Module(_) => "rebuild the initramfs: by sidus publish, or by update-initramfs -u in the tree, and copy it to the TFTP server with its kernel",
            Self::File(FileError { path, .. }) if path.starts_with("/run") => "the node has too little free memory: give it more",
            Self::File(FileError { source, .. }) if source.raw_os_error().is_none() => {
                "mend it in the tree on the NFS server, or in the layer on the iSCSI server"
            }
            Self::File(_) => "check that the NFS server exports the whole tree to this node with no_root_squash",
            Self::Layer(error) => error.remedy(),
            Self::Lun(error) => error.remedy(),
            Self::Shutdown(error) => error.remedy(),
        }
    }
}

/// A step that failed, and what became of those before it.
#[derive(Debug)]
pub struct Failure {
    /// The step, in words.
    pub step: String,
    /// Why.
    pub error: StepError,
    /// What had been done, and is undone now.
    pub done: Vec<Done>,
    /// What could not be undone; empty when the machine is as it was before.
    pub left: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The steps.
    pub done: Vec<Done>,
    /// The LUN, where the layer is on one.
    pub lun: Option<LunReport>,
}

/// Carries a union's steps out, on the machine whose root is `root`. What the network has to deliver may take `timeout`.
///
/// # Errors
/// [`Failure`]: the first step that failed; all before it are undone.
pub fn apply(union: &UnionPlan, root: &Path, timeout: Duration, log: &Log) -> Result<Applied, Box<Failure>> {
    Work::new(root, &union.lower.at, timeout, log).carry_out(&union.steps, Work::step)
}

/// How to undo one thing that was done.
#[derive(Debug)]
pub(crate) enum Undo {
    RemoveDirectory(PathBuf),
    Unmount(PathBuf),
    LogOut,
    StopKeeper,
    ForgetShutdown,
    MoveBack { from: PathBuf, to: PathBuf },
    MountWritable(PathBuf),
    SuperblockWritable(PathBuf),
}

/// Steps that are being carried out, with all that it takes to undo them.
pub(crate) struct Work<'a> {
    root: &'a Path,
    /// The root, which is still there or was moved from there.
    tree: &'a Path,
    lun: Lun,
    undo: Vec<Undo>,
    pub(crate) log: &'a Log,
}

impl<'a> Work<'a> {
    pub(crate) fn new(root: &'a Path, tree: &'a Path, timeout: Duration, log: &'a Log) -> Self {
        Self { root, tree, lun: Lun::new(root, timeout), undo: Vec::new(), log }
    }

    /// From now on, a step that fails undoes this as well.
    pub(crate) fn undo_by(&mut self, undo: Undo) {
        self.undo.push(undo);
    }

    /// Carries steps out, each by `one`, which says what came of it where the step's own words do not.
    pub(crate) fn carry_out<S: fmt::Display>(
        mut self,
        steps: &[S],
        one: impl Fn(&mut Self, &S) -> Result<Option<String>, StepError>,
    ) -> Result<Applied, Box<Failure>> {
        let mut done = Vec::with_capacity(steps.len());
        for step in steps {
            let mut words = step.to_string();
            let start = Instant::now();
            match one(&mut self, step) {
                Ok(None) => {}
                Ok(Some(outcome)) => {
                    words.push_str(": ");
                    words.push_str(&outcome);
                }
                Err(error) => {
                    let left = roll_back(self.undo, self.root, &mut self.lun, self.log);
                    return Err(Box::new(Failure { step: words, error, done, left }));
                }
            }
            let took = start.elapsed();
            self.log.say(Level::Debug, &format!("{words}: {} us", micros(took)));
            done.push(Done { step: words, took });
        }
        Ok(Applied { done, lun: self.lun.report() })
    }

    /// Carries one step out.
    pub(crate) fn step(&mut self, step: &Step) -> Result<Option<String>, StepError> {
        let Self { root, tree, lun, undo, log } = self;
        match step {
            Step::LoadModule { file } => modules::load(file, tree)?,
            Step::MakeMountPoints { at } => {
                for place in at {
                    if make_directory(place, 0o755)? {
                        undo.push(Undo::RemoveDirectory(place.clone()));
                    }
                }
            }
            Step::MountTmpfs { at, limits } => {
                mount::mount_tmpfs(limits, at)?;
                undo.push(Undo::Unmount(at.clone()));
            }
            Step::FindTarget { options } => return Ok(Some(lun.find_target(options, log)?)),
            Step::LogIn { options } => {
                let outcome = lun.log_in(options, log)?;
                undo.push(Undo::LogOut);
                return Ok(Some(outcome));
            }
            Step::WaitForDisk { lun: wanted } => return Ok(Some(lun.wait_for_disk(*wanted)?)),
            Step::FindVolume { name } => return Ok(Some(lun.find_volume(name.as_ref())?)),
            Step::Guard { take } => return Ok(Some(lun.guard(*take)?)),
            Step::MountVolume { at, drivers } => {
                lun.mount_volume(at, drivers, tree)?;
                undo.push(Undo::Unmount(at.clone()));
            }
            Step::KeepNetwork => return Ok(Some(keep_network(root, log))),
            Step::PrepareShutdown { tree } => {
                undo.push(Undo::ForgetShutdown);
                let (host, session, volume) = lun.ends()?;
                shutdown::prepare(root, tree, host, session, volume)?;
            }
            Step::StartKeeper => {
                let outcome = lun.start_keeper()?;
                undo.push(Undo::StopKeeper);
                return Ok(Some(outcome));
            }
            Step::LetDiskWait { recovery } => lun.let_disk_wait(*recovery)?,
            Step::MakeLayer { layer, like, places } => layer::make(layer, like, places, log)?,
            Step::Move { from, to } => {
                mount::move_to(from, to)?;
                undo.push(Undo::MoveBack { from: to.clone(), to: from.clone() });
            }
            Step::Stack(stack) => {
                mount::mount_union(stack)?;
                undo.push(Undo::Unmount(stack.at.clone()));
            }
            Step::AdaptFstab { view, unions, kind } => {
                let unions: Vec<&str> = unions.iter().map(String::as_str).collect();
                let adapted = view::adapt_fstab(view, &unions, kind.name());
                adapted.map_err(FileError::when("adapt", &view.join("etc/fstab")))?;
            }
            Step::MakeReadOnly { at, superblock } => {
                let was_writable = !is_read_only(at)?;
                mount::set_mount_read_only(at, true)?;
                if was_writable {
                    undo.push(Undo::MountWritable(at.clone()));
                }
                if !superblock {
                    mount::set_superblock_read_only(at, true)?;
                    undo.push(Undo::SuperblockWritable(at.clone()));
                }
            }
        }
        Ok(None)
    }
}

/// Keeps the network from others. The node has its root without that as well: where it fails, it is told, and the boot
/// goes on.
fn keep_network(root: &Path, log: &Log) -> String {
    network::keep(root).unwrap_or_else(|error| {
        let words = format!("NOT done: {error}; a network manager of the tree may take the node's root away");
        log.say(Level::Warning, &words);
        words
    })
}

/// Undoes all, the last first; says what could not be undone.
fn roll_back(undo: Vec<Undo>, root: &Path, lun: &mut Lun, log: &Log) -> Vec<String> {
    let mut left = Vec::new();
    for action in undo.into_iter().rev() {
        let result = match &action {
            Undo::RemoveDirectory(path) => {
                fs::remove_dir(path).map_err(FileError::when("remove directory", path)).map_err(StepError::from)
            }
            Undo::Unmount(at) => mount::unmount_from(at).map_err(StepError::from),
            Undo::ForgetShutdown => shutdown::forget(root).map_err(StepError::from),
            // A disk that is still mounted must keep its session.
            Undo::StopKeeper | Undo::LogOut if !left.is_empty() => Ok(()),
            Undo::StopKeeper => lun.stop_keeper().map_err(StepError::from),
            Undo::LogOut => lun.log_out(log).map_err(StepError::from),
            Undo::MoveBack { from, to } => mount::move_to(from, to).map_err(StepError::from),
            Undo::MountWritable(at) => mount::set_mount_read_only(at, false).map_err(StepError::from),
            Undo::SuperblockWritable(at) => mount::set_superblock_read_only(at, false).map_err(StepError::from),
        };
        if let Err(error) = result {
            log.say(Level::Error, &format!("cannot undo: {error}"));
            left.push(error.to_string());
        }
    }
    left
}

/// Makes a directory; says whether it was not there before. A link is no directory here: where it leads is not known.
fn make_directory(path: &Path, mode: u32) -> Result<bool, FileError> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = fs::symlink_metadata(path).map_err(FileError::when("look at", path))?;
            if there.is_dir() {
                return Ok(false);
            }
            Err(FileError::when("make directory", path)(io::Error::other("it exists, and is no directory")))
        }
        Err(error) => Err(FileError::when("make directory", path)(error)),
    }
}

fn is_read_only(at: &Path) -> Result<bool, FileError> {
    let facts = rustix::fs::statvfs(at).map_err(|errno| FileError::when("look at", at)(errno.into()))?;
    Ok(facts.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}
