//! What can be wrong with the configuration: always with the file, and the line where there is one.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::CONFIG;

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// There is none.
    #[error("{CONFIG}: no such file; `sidus init` writes one")]
    Missing,
    /// It is there and cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Something in it.
    #[error("{}{}: {message}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    At {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: Option<usize>,
        /// What is wrong, and what is accepted.
        message: String,
    },
}

/// Makes an error of what the file system says of `path`.
pub(super) fn unreadable(path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> ConfigError {
    move |source| ConfigError::Read { path: path.as_ref().to_owned(), source }
}

/// Makes an error of what the parser says of `text`.
pub(super) fn at<'a>(file: &'a Path, text: &'a str) -> impl Fn(toml::de::Error) -> ConfigError + 'a {
    move |error| ConfigError::At {
        file: file.to_owned(),
        line: error.span().map(|span| line_at(text, span.start)),
        message: error.message().trim_end().to_owned(),
    }
}

/// Where the value of `section.key` begins in `text`, for errors that are seen when all is read.
pub(super) fn line_of(text: &str, section: Option<&str>, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let value = match section {
        None => table.get_ref().get(key)?,
        Some(section) => match table.get_ref().get(section)?.get_ref() {
            DeValue::Table(inner) => inner.get(key)?,
            _ => return None,
        },
    };
    Some(line_at(text, value.span().start))
}

fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count().saturating_add(1)
}
