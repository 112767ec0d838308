//! What two trees do not share: by a walk through both that reads no file that cannot differ.

use std::collections::HashSet;
use std::fs::{self, DirEntry, Metadata};
use std::io::{self, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirEntryExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;
use serde::Serialize;

use crate::server::paths::has_same_bytes;

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Only the second tree has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it as a regular file that is not empty, and what is in it is all that differs.
    #[serde(rename = "changed")]
    Content,
    /// Both have it, and it differs otherwise.
    Changed,
}

/// A path that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Relative to the trees. Of a folder that only one of them has, all that is in it is named as well.
    pub path: PathBuf,
    /// How it differs.
    pub how: How,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// By path.
    pub changes: Vec<Change>,
    /// What the second tree takes on the disk, in bytes; what has several names once.
    pub size: u64,
    /// What of that is in files that are not those of the first.
    pub own: u64,
}

/// Compares two trees, which are this process's paths; without `old`, all of `new` is added. Files are the same if type,
/// mode, owner, extended attributes and content are; the content is if size and time of the last change are, as for
/// rsync(1), or when it is read. Times of folders do not matter, and which names are of one file.
///
/// # Errors
/// Those of the file system, with the path.
pub fn compare(old: Option<&Path>, new: &Path) -> io::Result<Difference> {
    let mut walk = Walk { difference: Difference::default(), seen: HashSet::new() };
    walk.folder(old, Some(new), Path::new(""))?;
    walk.difference.changes.sort();
    Ok(walk.difference)
}

struct Walk {
    difference: Difference,
    /// The files that were counted and have other names.
    seen: HashSet<(u64, u64)>,
}

impl Walk {
    fn folder(&mut self, old: Option<&Path>, new: Option<&Path>, relative: &Path) -> io::Result<()> {
        let device =
            old.map(|folder| fs::metadata(folder).map_err(named(folder))).transpose()?.map(|found| found.dev());
        let mut before = old.map_or_else(|| Ok(Vec::new()), entries)?.into_iter().peekable();
        let mut after = new.map_or_else(|| Ok(Vec::new()), entries)?.into_iter().peekable();
        loop {
            let order = match (before.peek(), after.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(old), Some(new)) => old.file_name().cmp(&new.file_name()),
            };
            let old = if order.is_le() { before.next() } else { None };
            let new = if order.is_ge() { after.next() } else { None };
            let Some(name) = old.as_ref().or(new.as_ref()).map(DirEntry::file_name) else { return Ok(()) };
            if let (Some(old), Some(new)) = (&old, &new) {
                if self.is_shared(old, new, device)? {
                    continue;
                }
            }
            self.entry(old.as_ref(), new.as_ref(), &relative.join(name))?;
        }
    }

    /// Whether both are names of one file, which is counted then. Most are: since readdir(3) gives the inodes' numbers, one of
    /// the two need not be looked at, which is half of the time that all of this takes.
    fn is_shared(&mut self, old: &DirEntry, new: &DirEntry, device: Option<u64>) -> io::Result<bool> {
        if old.ino() != new.ino() {
            return Ok(false);
        }
        let found = new.metadata().map_err(|error| named(&new.path())(error))?;
        if found.is_dir() || Some(found.dev()) != device {
            return Ok(false);
        }
        self.count(Some(&found), &found);
        Ok(true)
    }

    fn entry(&mut self, old: Option<&DirEntry>, new: Option<&DirEntry>, path: &Path) -> io::Result<()> {
        let (old, new) = (old.map(looked_at).transpose()?, new.map(looked_at).transpose()?);
        if let Some((_, found)) = &new {
            self.count(old.as_ref().map(|(_, found)| found), found);
        }
        let how = match (&old, &new) {
            (Some(old), Some(new)) => difference(old, new)?,
            (Some(_), None) => Some(How::Removed),
            (None, _) => Some(How::Added),
        };
        self.difference.changes.extend(how.map(|how| Change { path: path.to_owned(), how }));
        let folder = |side: Option<(PathBuf, Metadata)>| side.filter(|(_, found)| found.is_dir()).map(|(path, _)| path);
        match (folder(old), folder(new)) {
            (None, None) => Ok(()),
            (old, new) => self.folder(old.as_deref(), new.as_deref(), path),
        }
    }

    fn count(&mut self, old: Option<&Metadata>, new: &Metadata) {
        if new.nlink() > 1 && !new.is_dir() && !self.seen.insert((new.dev(), new.ino())) {
            return;
        }
        // stat(2): a block has 512 bytes, whatever the file system's have.
        let size = new.blocks().saturating_mul(512);
        self.difference.size = self.difference.size.saturating_add(size);
        if old.is_none_or(|old| !is_one(old, new)) {
            self.difference.own = self.difference.own.saturating_add(size);
        }
    }
}

fn named(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn looked_at(entry: &DirEntry) -> io::Result<(PathBuf, Metadata)> {
    let path = entry.path();
    let found = entry.metadata().map_err(named(&path))?;
    Ok((path, found))
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(named(folder))?;
    entries.sort_by_cached_key(DirEntry::file_name);
    Ok(entries)
}

/// Whether both are names of one file.
fn is_one(old: &Metadata, new: &Metadata) -> bool {
    (old.dev(), old.ino()) == (new.dev(), new.ino())
}

/// How the second of two of one name differs from the first, if it does.
fn difference((old, before): &(PathBuf, Metadata), (new, after): &(PathBuf, Metadata)) -> io::Result<Option<How>> {
    if is_one(before, after) {
        return Ok(None);
    }
    // The mode has the type.
    if (before.mode(), before.uid(), before.gid()) != (after.mode(), after.uid(), after.gid()) {
        return Ok(Some(How::Changed));
    }
    let kind = after.file_type();
    if kind.is_symlink() {
        let same = fs::read_link(old).map_err(named(old))? == fs::read_link(new).map_err(named(new))?;
        return Ok(if same { None } else { Some(How::Changed) });
    }
    if (kind.is_block_device() || kind.is_char_device()) && before.rdev() != after.rdev()
        || attributes(old)? != attributes(new)?
    {
        return Ok(Some(How::Changed));
    }
    if !kind.is_file() || has_same_content((old, before), (new, after))? {
        return Ok(None);
    }
    // Whether a file is empty is seen without opening it.
    Ok(Some(if before.len() == 0 || after.len() == 0 { How::Changed } else { How::Content }))
}

fn has_same_content((old, before): (&Path, &Metadata), (new, after): (&Path, &Metadata)) -> io::Result<bool> {
    if before.len() != after.len() {
        return Ok(false);
    }
    if (before.mtime(), before.mtime_nsec()) == (after.mtime(), after.mtime_nsec()) {
        return Ok(true);
    }
    let open = |path: &Path| fs::File::open(path).map(BufReader::new).map_err(named(path));
    has_same_bytes(open(old)?, open(new)?)
}

/// The extended attributes, ACLs among them.
fn attributes(path: &Path) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    // xattr(7): neither all names nor a value are longer.
    let mut names = vec![0; 64 << 10];
    let length = match llistxattr(path, names.as_mut_slice()) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Ok(length) => length,
        Err(errno) => return Err(named(path)(errno.into())),
    };
    let mut value = vec![0; 64 << 10];
    let mut attributes = Vec::new();
    for name in names.get(..length).unwrap_or_default().split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let length = match lgetxattr(path, std::ffi::OsStr::from_bytes(name), value.as_mut_slice()) {
            Ok(length) => length,
            Err(Errno::NODATA) => continue,
            Err(errno) => return Err(named(path)(errno.into())),
        };
        attributes.push((name.to_owned(), value.get(..length).unwrap_or_default().to_owned()));
    }
    attributes.sort();
    Ok(attributes)
}

/// The changes for people: one a line.
#[must_use]
pub fn describe(changes: &[Change]) -> String {
    let sign = |how| match how {
        How::Added => '+',
        How::Removed => '-',
        How::Content | How::Changed => '~',
    };
    changes.iter().map(|change| format!("{} /{}\n", sign(change.how), change.path.display())).collect()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
