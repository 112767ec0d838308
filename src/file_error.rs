//! A file or directory with which something could not be done: the part of each module's errors that is the same.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What could not be done.
#[derive(Debug, Error)]
#[error("cannot {doing} {}: {source}", path.display())]
pub struct FileError {
    /// As in `make directory`.
    pub doing: &'static str,
    /// Which.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

impl FileError {
    /// For [`Result::map_err`].
    pub fn when(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self { doing, path, source }
    }
}
