//! Another keeper, where the one of the boot has ended: started by a person, from the tree.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::fs::{memfd_create, open, MemfdFlags, Mode, OFlags};
use rustix::process::Pid;
use thiserror::Error;

use super::start::{start, StartError};
use super::task::Task;
use crate::view;

/// The keeper's program in the tree.
const PROGRAM: &str = "usr/lib/sidus/rootaufs-initramfs";
/// It is no longer, in bytes.
const LONGEST: u64 = 4 << 20;

/// Why no other keeper was started.
#[derive(Debug, Error)]
pub enum AnotherError {
    /// The program.
    #[error("cannot take the keeper from {}: {source}; install rootaufs into the tree again", path.display())]
    Program {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be taken.
        source: io::Error,
    },
    /// The process.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Starts it, and returns its process when it is at work. It runs from a copy in memory: what lies on the root would keep
/// that from being unmounted at the end.
///
/// # Errors
/// [`AnotherError`]
pub fn start_another(tree: &Path, task: &Task) -> Result<Pid, AnotherError> {
    let copy = copy_of(tree).map_err(|source| AnotherError::Program { path: tree.join(PROGRAM), source })?;
    Ok(start(&path_of(&copy), task)?)
}

fn copy_of(tree: &Path) -> io::Result<File> {
    let program = view::read(tree, Path::new(PROGRAM), LONGEST)?;
    let mut copy = File::from(memfd_create("rootaufs", MemfdFlags::CLOEXEC)?);
    copy.write_all(&program)?;
    // Nothing is executed that someone could still write to (execve(2), ETXTBSY).
    Ok(open(path_of(&copy), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?.into())
}

fn path_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}
