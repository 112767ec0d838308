//! Changes what the kernel serves: folders, links and values below `/sys/kernel/config/target`. See the kernel's
//! Documentation/filesystems/configfs.rst. None of it is a file: nothing there can be written beside and renamed.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::TargetError;
use crate::server::paths::within;

/// One change.
#[derive(Clone, PartialEq, Eq)]
pub enum Step {
    /// Makes a folder, which the kernel fills.
    Make(PathBuf),
    /// Removes a folder.
    Unmake(PathBuf),
    /// Writes a value.
    Set(PathBuf, String),
    /// Writes a value that is shown to nobody.
    SetSecret(PathBuf, String),
    /// Makes a link.
    Link(PathBuf, PathBuf),
    /// Removes a link.
    Unlink(PathBuf),
    /// Removes a file that the kernel has written elsewhere, and may have written no more.
    Forget(PathBuf),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Make(path) => write!(f, "make {}", path.display()),
            Self::Unmake(path) | Self::Unlink(path) | Self::Forget(path) => write!(f, "remove {}", path.display()),
            Self::Set(path, value) => write!(f, "write {value:?} to {}", path.display()),
            Self::SetSecret(path, _) => write!(f, "write {}", path.display()),
            Self::Link(path, target) => write!(f, "link {} to {}", path.display(), target.display()),
        }
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Does these, until one fails.
///
/// # Errors
/// [`TargetError::Refused`]
pub(super) fn carry_out(root: &Path, steps: &[Step]) -> Result<(), TargetError> {
    for step in steps {
        perform(root, step).map_err(|error| TargetError::Refused {
            service: "the kernel",
            doing: step.to_string(),
            why: error.to_string(),
        })?;
    }
    Ok(())
}

fn perform(root: &Path, step: &Step) -> io::Result<()> {
    let at = |path: &Path| within(root, path);
    match step {
        Step::Make(path) => match fs::create_dir(at(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        },
        Step::Unmake(path) => fs::remove_dir(at(path)),
        // Not truncated: the kernel takes what one write has, and knows no end of a file.
        Step::Set(path, value) | Step::SetSecret(path, value) => {
            use io::Write;
            fs::OpenOptions::new().write(true).open(at(path))?.write_all(value.as_bytes())
        }
        Step::Link(path, target) => symlink(at(target), at(path)),
        Step::Unlink(path) => fs::remove_file(at(path)),
        Step::Forget(path) => match fs::remove_file(at(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
    }
}
