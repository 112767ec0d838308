//! What `sidus check` looks at.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{statvfs, StatVfs};

use super::{dhcp, nodes, units};
use crate::server::config::{Config, TftpService};
use crate::server::engine::command::{self, Around};
use crate::server::engine::{is_done, EngineError, Journal, Run};
use crate::server::paths::within;
use crate::server::{node, services, state_of_tree, worked_in};

/// With less than this, in bytes, the next tree or the next node's disk will not fit.
const SCARCE: u64 = 1 << 30;
/// With fewer files that can still be made than this, the next generation will not fit: its folders are all its own.
const FEW: u64 = 10_000;
/// Where disks are, few are enough.
const FEW_DISKS: u64 = 100;
/// No TFTP folder has more files.
const MAX_FILES: usize = 100_000;

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The commands that are under way, or were.
    pub(super) unfinished: Vec<String>,
    /// What serves.
    pub(super) services: services::Facts,
    /// What `sidus init` would do.
    pub(super) drifts: Vec<Drift>,
    /// The services that systemd has to keep running, with their states; none where systemd is another machine's.
    pub(super) units: Vec<(&'static str, String)>,
    /// Who else answers DHCP.
    pub(super) offers: Vec<dhcp::Offer>,
    /// What TFTP cannot serve.
    pub(super) unreadable: Vec<PathBuf>,
    /// What nodes need.
    pub(super) nodes: nodes::Facts,
    /// The folders with hardly any room, and what they have.
    pub(super) full: Vec<(PathBuf, Room)>,
}

/// What is left where a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// So many bytes.
    Bytes(u64),
    /// So many files: each takes one of the inodes, of which there may be no more.
    Files(u64),
}

/// What `sidus init` would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Drift {
    /// This.
    Other(String),
    /// Nothing, since a person's file is in the way.
    Foreign(String),
}

impl Facts {
    pub(super) fn read(root: &Path, config: &Config) -> io::Result<Self> {
        let folders = &config.settings.folders;
        let known = node::facts::Facts::read(root, config)?;
        let mut drifts = Vec::new();
        for action in node::commit::commit(config, &known).map_err(io::Error::other)?.actions {
            match is_done(root, &action) {
                Ok(true) => {}
                Ok(false) => drifts.push(Drift::Other(action.to_string())),
                Err(EngineError::Foreign { .. }) => {
                    drifts.extend(is_done(root, &action).err().map(|error| Drift::Foreign(error.to_string())));
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        let mut states = vec![folders.state.path().to_owned()];
        states.extend(worked_in(root, folders)?.iter().map(|tree| state_of_tree(folders, tree)));
        let mut unfinished = Vec::new();
        for state in states {
            let journal = Journal::read(root, &state).map_err(io::Error::other)?;
            unfinished.extend(journal.map(|journal| format!("`{}` ({})", journal.command, journal.since)));
        }
        let here = root == Path::new("/");
        let units = if here { units(config.settings.services) } else { Vec::new() };
        let mut unreadable = Vec::new();
        if config.settings.services.tftp != TftpService::None {
            for path in [folders.tftp.path()].into_iter().flat_map(Path::ancestors) {
                look_at(root, path, &mut unreadable)?;
            }
            unreadable.reverse();
            look_into(root, folders.tftp.path(), &mut unreadable)?;
        }
        Ok(Self {
            unfinished,
            nodes: nodes::Facts::read(root, config, &known)?,
            services: known.services,
            drifts,
            offers: Vec::new(),
            units: units.into_iter().map(|unit| (unit, state_of(unit))).collect(),
            unreadable,
            full: folders
                .all()
                .into_iter()
                .filter_map(|(key, folder)| full(root, key, folder.path()))
                .flatten()
                .collect(),
        })
    }
}

/// As systemctl(1) names it.
fn state_of(unit: &str) -> String {
    // 3: it is not active; 4: there is no such unit.
    let asked = Run::systemctl(&["is-active", unit]).or_status(3).or_status(4);
    match command::run(Around::question(Path::new("/")), &asked) {
        Ok(said) => String::from_utf8_lossy(&said).trim().to_owned(),
        Err(error) => format!("not known: {error}"),
    }
}

/// The TFTP servers run as users of their own: they need what everyone has.
fn look_at(root: &Path, path: &Path, unreadable: &mut Vec<PathBuf>) -> io::Result<bool> {
    let Ok(found) = fs::metadata(within(root, path)) else {
        // A link to nowhere, or nothing: then it is somebody else's concern.
        return Ok(false);
    };
    let needed = if found.is_dir() { 0o001 } else { 0o004 };
    if found.permissions().mode() & needed == 0 {
        unreadable.push(path.to_owned());
    }
    Ok(found.is_dir())
}

fn look_into(root: &Path, folder: &Path, unreadable: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut folders = vec![folder.to_owned()];
    let mut seen = 0_usize;
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(within(root, &folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            seen = seen.saturating_add(1);
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if path.ends_with(node::ARCHIVES) {
                // The TFTP server's user alone may look into it.
                continue;
            }
            let is_folder = look_at(root, &path, unreadable)?;
            // Links are not followed: they may lead in a circle.
            if is_folder && entry.file_type()?.is_dir() && seen < MAX_FILES {
                folders.push(path);
            }
        }
    }
    Ok(())
}

fn full(root: &Path, key: &str, folder: &Path) -> Option<Vec<(PathBuf, Room)>> {
    let found = statvfs(within(root, folder)).ok()?;
    Some(scarce(key, &found).into_iter().map(|room| (folder.to_owned(), room)).collect())
}

/// What there is too little of.
fn scarce(key: &str, found: &StatVfs) -> Vec<Room> {
    let bytes = found.f_bavail.saturating_mul(found.f_frsize);
    let few = if key == "luns" { FEW_DISKS } else { FEW };
    // Some file systems, as btrfs, know no number of files.
    let has_few = found.f_files > 0 && found.f_favail < few;
    let scarce = [(bytes < SCARCE).then_some(Room::Bytes(bytes)), has_few.then_some(Room::Files(found.f_favail))];
    scarce.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_of_bytes_or_of_files() {
        let room = statvfs("/").unwrap();
        for (key, blocks, files, left, expected) in [
            ("trees", 1 << 20, 1 << 20, 1 << 19, &[][..]),
            ("trees", 1 << 10, 1 << 20, 1 << 19, &[Room::Bytes(4 << 20)]),
            ("trees", 1 << 20, 1 << 20, 9_999, &[Room::Files(9_999)]),
            ("trees", 1 << 10, 1 << 20, 0, &[Room::Bytes(4 << 20), Room::Files(0)]),
            ("trees", 1 << 20, 0, 0, &[]),
            ("luns", 1 << 20, 1 << 20, 9_999, &[]),
            ("luns", 1 << 20, 1 << 20, 99, &[Room::Files(99)]),
        ] {
            let found = StatVfs { f_frsize: 4096, f_bavail: blocks, f_files: files, f_favail: left, ..room };
            assert_eq!(scarce(key, &found), expected, "{key} {blocks} {files} {left}");
        }
    }
}
