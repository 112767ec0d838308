//! Whether the tree changes on its server under a running node. overlayfs answers ESTALE for what was replaced
//! there, for good: a node then fails in ways that nobody understands, unless it is said why.
//!
//! Nothing tells a client of NFS that a file was replaced. But what replaces one, as dpkg does, changes the folder that it
//! is in; so the folders that count are asked for their change times: those of programs, of dpkg's own records, and of
//! all that is mapped by a process. And each mapped file is looked up through the union, where it may be stale already.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use miniserde::{json, Deserialize, Serialize};
use rustix::fs::{open, statx, AtFlags, Mode, OFlags, StatxFlags, CWD};
use rustix::io::Errno;

use crate::bytes::shown;
use crate::folder::Folder;
use crate::keeper::report::uptime_ms;
use crate::plan::RO;

/// Folders of every Debian tree that change when a package does.
const ALWAYS: [&str; 8] =
    ["etc", "usr/bin", "usr/sbin", "usr/lib", "usr/lib/systemd", "usr/libexec", "usr/share", "var/lib/dpkg"];
/// So many mapped files are looked at, at most.
const MOST_FILES: usize = 2048;
/// So many folders are asked for, at most: each is a request to the server.
const MOST_FOLDERS: usize = 32;
/// So many names are told.
const MOST_NAMES: usize = 6;

/// The report, in `/run/sidus`.
const FILE: &str = "tree.json";
/// What is said at login, in `/run/motd.d`: pam_motd(8).
const MOTD: &str = "sidus-tree";

/// What changed, as `/run/sidus/tree.json` has it: no names where nothing did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// When it was seen, in milliseconds since the kernel started.
    pub seen_ms: u64,
    /// Folders and files, relative to the tree.
    pub names: Vec<String>,
}

impl Changed {
    /// What the watch of the machine whose root is `root` has seen; `None` where that is nothing.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::InvalidData`].
    pub fn look(root: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(root.join("run/sidus").join(FILE)) {
            Ok(text) => {
                let changed: Self = json::from_str(&text)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not what the watch of the tree writes"))?;
                Ok(Some(changed).filter(|changed| !changed.names.is_empty()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first few names.
    #[must_use]
    pub fn some(&self) -> String {
        // A name is what somebody wrote, and is shown to who logs in.
        let names = self.names.iter().take(MOST_NAMES).map(|name| shown(name.as_bytes()));
        let mut text = names.collect::<Vec<_>>().join(", ");
        if let Some(more) = self.names.len().checked_sub(MOST_NAMES).filter(|more| *more > 0) {
            text.push_str(&format!(" and {more} more"));
        }
        text
    }
}

/// The lower side of the union, with what was seen of it.
#[derive(Debug)]
pub struct Lower {
    root: PathBuf,
    tree: OwnedFd,
    proc: Folder,
    known: BTreeMap<String, Stamp>,
    changed: Changed,
}

impl Lower {
    /// That of the machine whose root is `root`: from now on, what changes is seen.
    ///
    /// # Errors
    /// Those of `/ro` and `/proc`.
    pub fn open(root: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let tree = open(root.join(RO.trim_start_matches('/')), flags, Mode::empty())?;
        let proc = Folder::open(&root.join("proc"))?;
        let mut known = BTreeMap::new();
        changed_folders(&tree, &mut known, &mapped_files(&proc));
        Ok(Self { root: root.to_owned(), tree, proc, known, changed: Changed { seen_ms: 0, names: Vec::new() } })
    }

    /// Looks again; says what a person has to know, where something has changed that was not told yet.
    pub fn look(&mut self) -> Option<String> {
        let files = mapped_files(&self.proc);
        let mut news = changed_folders(&self.tree, &mut self.known, &files);
        news.extend(files.into_iter().filter(|path| is_stale(&self.root, path)));
        news.retain(|name| !self.changed.names.contains(name));
        if news.is_empty() {
            return None;
        }
        let seen_ms = self.proc.read("uptime").map_or(0, |text| uptime_ms(&text));
        let news = Changed { seen_ms, names: news };
        self.changed.seen_ms = seen_ms;
        self.changed.names.extend_from_slice(&news.names);
        Some(words(&news))
    }

    /// Writes what has changed for `rootaufs status`, and for who logs in. `run` is `/run`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, run: &Folder) -> io::Result<()> {
        run.replace("sidus", FILE, &(json::to_string(&self.changed) + "\n"))?;
        if self.changed.names.is_empty() {
            return Ok(());
        }
        run.replace("motd.d", MOTD, &format!("WARNING: {}\n", words(&self.changed)))
    }
}

/// What a person has to know.
fn words(changed: &Changed) -> String {
    format!(
        "the tree changed on the NFS server under this node: {}. What was replaced answers \"Stale file handle\" here, for \
         good, and programs may fail to start. Reboot this node; and on the server publish a new tree beside the old one, \
         instead of changing it",
        changed.some()
    )
}

/// What tells whether a folder changed: the server's change time and the folder itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: u32,
}

/// The folders that are not as they were when they were first looked at.
fn changed_folders(tree: &OwnedFd, known: &mut BTreeMap<String, Stamp>, files: &BTreeSet<String>) -> Vec<String> {
    let mut changed = Vec::new();
    for folder in folders(files) {
        let now = stamp(tree, &folder);
        match (known.get(&folder).copied(), now) {
            (None, Ok(now)) => {
                known.insert(folder, now);
            }
            (Some(before), Ok(now)) if before == now => {}
            (Some(_), Ok(now)) => {
                known.insert(folder.clone(), now);
                changed.push(folder);
            }
            (Some(_), Err(Errno::NOENT | Errno::STALE)) => changed.push(folder),
            // A tree need not have each of them; and a server that does not answer says nothing of its tree.
            (None | Some(_), Err(_)) => {}
        }
    }
    changed
}

fn stamp(tree: &OwnedFd, folder: &str) -> Result<Stamp, Errno> {
    // The server is to be asked, not the cache.
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC;
    let facts = statx(tree, folder, flags, StatxFlags::INO | StatxFlags::CTIME)?;
    Ok(Stamp { inode: facts.stx_ino, seconds: facts.stx_ctime.tv_sec, nanoseconds: facts.stx_ctime.tv_nsec })
}

/// The folders to ask for, given the files that processes have mapped.
fn folders(files: &BTreeSet<String>) -> BTreeSet<String> {
    let mut folders: BTreeSet<String> = ALWAYS.map(str::to_owned).into();
    for file in files {
        if folders.len() >= MOST_FOLDERS {
            break;
        }
        if let Some((folder, _)) = file.rsplit_once('/') {
            folders.insert(folder.to_owned());
        }
    }
    folders
}

/// The files that processes have mapped, relative to the root. What ends meanwhile is left out.
fn mapped_files(proc: &Folder) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    for name in proc.names().unwrap_or_default() {
        if files.len() >= MOST_FILES {
            break;
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            let maps = proc.read_long(&format!("{name}/maps")).unwrap_or_default();
            files.extend(maps.lines().filter_map(mapped).map(str::to_owned));
        }
    }
    files
}

/// The file of a line of proc_pid_maps(5), relative to the root, where it can be of the tree.
fn mapped(line: &str) -> Option<&str> {
    let mut fields = line.splitn(6, ' ');
    let path = fields.nth(5)?.trim_start().strip_prefix('/')?;
    let elsewhere = ["dev/", "memfd:", "proc/", "ro/", "run/", "rw/", "sys/", "SYSV", "tmp/"];
    (!elsewhere.iter().any(|start| path.starts_with(start)) && !path.ends_with(" (deleted)")).then_some(path)
}

/// Whether the union has lost a file.
fn is_stale(root: &Path, path: &str) -> bool {
    matches!(statx(CWD, root.join(path), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE), Err(Errno::STALE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_files_of_the_tree_are_found() {
        let table = [
            (
                "7f1c-7f1d r-xp 00026000 00:1a 1234                       /usr/lib/x86_64-linux-gnu/libc.so.6",
                Some("usr/lib/x86_64-linux-gnu/libc.so.6"),
            ),
            ("7f1c-7f1d r-xp 00026000 00:1a 1234                       /usr/bin/a b", Some("usr/bin/a b")),
            ("7f1c-7f1d rw-p 00000000 00:00 0 ", None),
            ("7f1c-7f1d rw-p 00000000 00:00 0                          [stack]", None),
            ("7f1c-7f1d r--s 00000000 00:1a 7                          /run/x", None),
            ("7f1c-7f1d r-xp 00000000 00:1a 7                          /usr/bin/gone (deleted)", None),
            ("7f1c-7f1d r-xp 00000000 00:01 7                          /memfd:x (deleted)", None),
            ("", None),
        ];
        for (line, path) in table {
            assert_eq!(mapped(line), path, "{line}");
        }
    }

    #[test]
    fn folders_are_those_of_programs_and_bounded() {
        let files: BTreeSet<String> =
            ["usr/lib/x86_64-linux-gnu/libc.so.6", "usr/bin/bash", "init"].map(str::to_owned).into();
        let found = folders(&files);
        assert!(found.contains("usr/lib/x86_64-linux-gnu") && found.contains("var/lib/dpkg"), "{found:?}");
        assert_eq!(found.len(), ALWAYS.len() + 1);
        let many: BTreeSet<String> = (0..1000).map(|number| format!("opt/{number}/x")).collect();
        assert_eq!(folders(&many).len(), MOST_FOLDERS);
    }

    #[test]
    fn a_folder_in_which_a_file_was_replaced_has_changed() {
        let root = std::env::temp_dir().join(format!("sidus-lower-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/bin")).unwrap();
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("usr/bin/tool"), "old").unwrap();
        let tree = open(&root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let mut known = BTreeMap::new();
        let none = BTreeSet::new();
        assert_eq!(changed_folders(&tree, &mut known, &none), Vec::<String>::new());
        assert_eq!(changed_folders(&tree, &mut known, &none), Vec::<String>::new());
        fs::write(root.join("usr/bin/new"), "new").unwrap();
        fs::rename(root.join("usr/bin/new"), root.join("usr/bin/tool")).unwrap();
        assert_eq!(changed_folders(&tree, &mut known, &none), ["usr/bin"]);
        assert_eq!(changed_folders(&tree, &mut known, &none), Vec::<String>::new());
        fs::remove_dir_all(root.join("etc")).unwrap();
        assert_eq!(changed_folders(&tree, &mut known, &none), ["etc"]);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_person_reads_the_first_few() {
        let changed =
            |count: usize| Changed { seen_ms: 0, names: (0..count).map(|number| format!("f{number}")).collect() };
        assert_eq!(changed(2).some(), "f0, f1");
        let hostile = Changed { seen_ms: 0, names: vec!["a\u{1b}[2Jb".to_owned()] };
        assert_eq!(hostile.some(), "a\\u{1b}[2Jb");
        assert_eq!(changed(6).some(), "f0, f1, f2, f3, f4, f5");
        assert_eq!(changed(8).some(), "f0, f1, f2, f3, f4, f5 and 2 more");
    }
}
