//! Paths of the machine that `root` stands for, and what is read of it. All of them are absolute, as that machine has them.

use std::fs;
use std::io::{self, BufRead, ErrorKind, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{openat, Mode, OFlags, CWD};

/// Where `path`, which is absolute, is for this process.
#[must_use]
pub fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The bytes of a regular file; `None` where there is none.
///
/// # Errors
/// Those of the file system; one for what is no regular file, and for one that is longer than `limit` bytes.
pub fn read(root: &Path, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(root, path)? else { return Ok(None) };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        return Ok(Some(bytes));
    }
    Err(io::Error::other(format!("it has more than {limit} bytes")))
}

/// The first bytes of a file, `limit` of them at most; `None` where there is none, or something that is no regular file.
///
/// # Errors
/// Those of the file system.
pub fn read_start(root: &Path, path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(root, path)? else { return Ok(None) };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Whatever it is, it is not waited for.
fn open(root: &Path, path: &Path) -> io::Result<Option<fs::File>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let opened = openat(CWD, within(root, path), flags, Mode::empty());
    opened.map(|fd| Some(fs::File::from(fd))).or_else(|error| none_if_missing(error.into()))
}

/// Whether both have the same bytes, up to their ends.
///
/// # Errors
/// Those of reading.
pub fn has_same_bytes(mut old: impl BufRead, mut new: impl BufRead) -> io::Result<bool> {
    loop {
        let (a, b) = (old.fill_buf()?, new.fill_buf()?);
        let common = a.len().min(b.len());
        if a.get(..common) != b.get(..common) {
            return Ok(false);
        }
        if common == 0 {
            return Ok(a.is_empty() && b.is_empty());
        }
        old.consume(common);
        new.consume(common);
    }
}

/// As [`read`], of a text.
///
/// # Errors
/// Those of [`read`], and one for what is not UTF-8.
pub fn read_text(root: &Path, path: &Path, limit: u64) -> io::Result<Option<String>> {
    let bytes = read(root, path, limit)?;
    bytes.map(String::from_utf8).transpose().map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// The names in a folder, sorted; none where there is no folder.
///
/// # Errors
/// Those of the file system; one for a name that is not UTF-8.
pub fn names(root: &Path, path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(within(root, path)) {
        Ok(entries) => entries,
        Err(error) => return none_if_missing(error).map(Option::unwrap_or_default),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        names.push(name.into_string().map_err(|name| io::Error::other(format!("{name:?} is not UTF-8")))?);
    }
    names.sort();
    Ok(names)
}

/// What is at `path`, a link not followed; `None` where nothing is.
///
/// # Errors
/// Those of the file system.
pub fn look(root: &Path, path: &Path) -> io::Result<Option<fs::Metadata>> {
    fs::symlink_metadata(within(root, path)).map(Some).or_else(none_if_missing)
}

/// A missing file is no error, nor is one below a file that is no folder.
fn none_if_missing<T>(error: io::Error) -> io::Result<Option<T>> {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
        _ => Err(error),
    }
}
