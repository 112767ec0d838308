//! What a command has seen of a generation: what is otherwise there since then, and was not seen, cannot change what the
//! command makes. A file's size or time, and a folder's, may be seen without opening it: that is not known.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{openat, Mode, OFlags, CWD};

use super::names::Names;
use super::{refused, EnterError};

/// The name of the list, in the scratch folder.
pub const SEEN: &str = "seen";
/// Where the dynamic linker (ld.so(8)) is told where libraries are.
pub const CACHE: &str = "etc/ld.so.cache";
/// The generation's own folder, in the list.
pub(super) const TOP: &str = ".";

/// The folder for the list. It is not in the command's reach, and so has to be opened before the generation is entered.
pub(super) fn folder(scratch: &Path) -> Result<OwnedFd, EnterError> {
    openat(CWD, scratch, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(refused(format!("open {}", scratch.display())))
}

/// What a command has opened of a generation, and what it has looked for there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The files that it opened and the folders that it listed, by their paths there.
    pub opened: BTreeSet<PathBuf>,
    /// What it looked for, where that is known.
    pub names: Option<Names>,
    /// How paths begin that it looked for by a pattern, in folders that are not among those.
    pub beginnings: BTreeSet<PathBuf>,
    /// Nothing but the dynamic linker has opened its cache: what it says of other names was not read.
    pub cache_is_linkers: bool,
}

/// What an item of the list is.
const OPENED_ITEM: u8 = b'o';
const NAME_ITEM: u8 = b'n';
const BEGINNING_ITEM: u8 = b'b';
const LINKERS_ITEM: u8 = b'l';

impl Seen {
    /// Writes the list into the folder.
    ///
    /// # Errors
    /// That of writing, where no list is left.
    pub(super) fn write(&self, folder: &OwnedFd) -> Result<(), EnterError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let write = || -> io::Result<()> {
            let mut file = File::from(openat(folder, SEEN, flags, Mode::from_raw_mode(0o644))?);
            file.write_all(&self.text())
        };
        write().map_err(refused("write the list of what was seen"))
    }

    /// The list: one item after the other, each with its kind before it and a NUL after it.
    fn text(&self) -> Vec<u8> {
        let opened = self.opened.iter().map(|path| (OPENED_ITEM, path.as_os_str()));
        let names = self.names.iter().flat_map(|names| &names.0).map(|name| (NAME_ITEM, name.as_os_str()));
        let beginnings = self.beginnings.iter().map(|path| (BEGINNING_ITEM, path.as_os_str()));
        let cache = self.cache_is_linkers.then_some((LINKERS_ITEM, OsStr::new(CACHE)));
        let item = |(kind, text): (u8, &OsStr)| [&[kind], text.as_bytes(), &[0]].concat();
        opened.chain(names).chain(beginnings).chain(cache).flat_map(item).collect()
    }

    /// The list again; `None` where it says nothing, or what this program does not know.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (mut opened, mut names, mut beginnings) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut cache_is_linkers = false;
        for item in text.split(|byte| *byte == 0).filter(|item| !item.is_empty()) {
            let (kind, text) = item.split_first()?;
            let text = OsStr::from_bytes(text);
            match *kind {
                OPENED_ITEM => _ = opened.insert(PathBuf::from(text)),
                NAME_ITEM => _ = names.insert(text.to_owned()),
                BEGINNING_ITEM => _ = beginnings.insert(PathBuf::from(text)),
                LINKERS_ITEM if text == CACHE => cache_is_linkers = true,
                _ => return None,
            }
        }
        // A program is opened in any case, and looked for.
        let names = Some(Names(names)).filter(|names| !names.0.is_empty());
        (!opened.is_empty()).then_some(Self { opened, names, beginnings, cache_is_linkers })
    }

    /// Whether another content of this file may have been seen.
    #[must_use]
    pub fn has_read(&self, path: &Path) -> bool {
        self.opened.contains(path)
    }

    /// Whether it may have been seen that there is something at this path, or is not, or what it is.
    #[must_use]
    pub fn has_noticed(&self, path: &Path) -> bool {
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new(TOP));
        let by_name = |names: &Names| path.file_name().is_none_or(|name| names.have(name));
        let by_pattern =
            |beginning: &PathBuf| path.as_os_str().as_bytes().starts_with(beginning.as_os_str().as_bytes());
        self.opened.contains(path)
            || self.opened.contains(folder)
            || self.beginnings.iter().any(by_pattern)
            || self.names.as_ref().is_none_or(by_name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(opened: &[&str], names: Option<&[&str]>, beginnings: &[&str]) -> Seen {
        let paths = |all: &[&str]| all.iter().map(PathBuf::from).collect();
        Seen {
            opened: paths(opened),
            names: names.map(|names| Names(names.iter().map(Into::into).collect())),
            beginnings: paths(beginnings),
            cache_is_linkers: !beginnings.is_empty(),
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        for seen in [
            seen(&["etc/motd", "usr/bin/a b\n", "usr/bin/ä"], None, &[]),
            seen(&["etc/motd"], Some(&["motd", "ä", "a b\n"]), &["etc/ld.so.conf", "lib"]),
        ] {
            assert_eq!(Seen::parse(&seen.text()), Some(seen));
        }
        for text in [&b""[..], b"\0", b"nname\0", b"usr/bin/sh\0", b"oetc/motd\0x\0", b"oetc/motd\0letc/motd\0"] {
            assert_eq!(Seen::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_nobody_looked_for_was_not_noticed() {
        let known = seen(&["etc/motd", "etc/hooks"], Some(&["etc", "issue"]), &["etc/ld.so", "lib"]);
        for (path, expected) in [
            ("etc/motd", true),
            ("etc/issue", true),
            ("usr/issue", true),
            ("usr/etc", true),
            ("etc/hooks/new", true),
            ("new", false),
            ("lib", true),
            ("lib64", true),
            ("library", true),
            ("usr/lib64", false),
            ("etc/new", false),
            ("etc/lib64", false),
            ("etc/ld.so.new", true),
            ("etc/ld.s", false),
            ("etc/hooks/new/below", false),
        ] {
            assert_eq!(known.has_noticed(Path::new(path)), expected, "{path}");
        }
        assert!(seen(&["etc/motd"], None, &[]).has_noticed(Path::new("etc/new")), "no name is known");
        let listed = seen(&["etc", "."], Some(&["etc"]), &[]);
        assert!(["new", "etc/new"].iter().all(|path| listed.has_noticed(Path::new(path))));
    }
}
