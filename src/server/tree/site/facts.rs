//! What the site folder has, and what is at the same places of the tree.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::place::place as find;
use super::MAX_TEXT;
use crate::server::paths::{look, within};

/// Something in the site folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path in the site folder, and in the tree.
    pub(super) inside: PathBuf,
    /// Where that is.
    pub(super) place: PathBuf,
    pub(super) mode: u32,
    pub(super) owner: (u32, u32),
    pub(super) kind: Kind,
    pub(super) there: There,
}

/// What it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    Link(PathBuf),
    /// With its bytes, unless there are too many.
    File(Option<Vec<u8>>),
    Other,
}

/// What the tree has there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum There {
    Link,
    File,
    /// Nothing, a folder, or something else.
    Other,
}

/// Reads all of it; folders come before what is in them. Nothing where there is no site folder.
pub(super) fn read(root: &Path, site: &Path, tree: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for inside in list(root, site)? {
        let path = site.join(&inside);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", inside.display()));
        let Some(found) = look(root, &path).map_err(named)? else { continue };
        let at = within(root, &path);
        let kind = if found.is_dir() {
            Kind::Folder
        } else if found.is_symlink() {
            Kind::Link(fs::read_link(at).map_err(named)?)
        } else if found.is_file() {
            let is_text = usize::try_from(found.len()).is_ok_and(|length| length <= MAX_TEXT);
            Kind::File(is_text.then(|| fs::read(at)).transpose().map_err(named)?)
        } else {
            Kind::Other
        };
        let mut place = find(root, tree, &inside).map_err(named)?;
        let mut there = look(root, &place).map_err(named)?;
        if kind == Kind::Folder && there.as_ref().is_some_and(fs::Metadata::is_symlink) {
            // A link to a folder of the tree: what is in the folder goes there, as far as the tree sees it.
            place = find(root, tree, &inside.join("x")).map_err(named)?.parent().unwrap_or(tree).to_owned();
            there = look(root, &place).map_err(named)?;
        }
        let there = match there {
            Some(found) if found.is_symlink() => There::Link,
            Some(found) if found.is_file() => There::File,
            _ => There::Other,
        };
        let (mode, owner) = (found.mode() & 0o7777, (found.uid(), found.gid()));
        entries.push(Entry { inside, place, mode, owner, kind, there });
    }
    Ok(entries)
}

/// The paths of what is in the site folder, sorted; without what editors and git leave there.
pub(super) fn list(root: &Path, site: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for name in crate::server::paths::names(root, &site.join(&folder))? {
            let inside = folder.join(&name);
            if name == ".git" || name.ends_with('~') || name.starts_with('.') && name.ends_with(".swp") {
                continue;
            }
            if look(root, &site.join(&inside))?.is_some_and(|found| found.is_dir()) {
                folders.push(inside.clone());
            }
            found.push(inside);
        }
    }
    found.sort();
    Ok(found)
}
