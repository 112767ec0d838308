//! The disks of one session in sysfs: only these, never another disk of the node, whatever its label.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use super::deadline::{within, Deadline, Seconds};
use crate::folder::Folder;

/// Why the disks could not be found.
#[derive(Debug, Error)]
pub enum DisksError {
    /// sysfs could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The kernel is still scanning; the target does not answer its commands.
    #[error("{}: the scan for disks did not end within {}", path.display(), Seconds(*after))]
    ScanTimeout {
        /// The file that was written to.
        path: PathBuf,
        /// The limit.
        after: Duration,
    },
}

/// A logical unit of a session.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit {
    /// Its number.
    pub lun: u64,
    /// The kind of device (SPC-4, peripheral device type); 0 is a disk.
    pub kind: u8,
    /// The kernel's name of the disk, as in `/sys/class/block/<name>`: there once its driver has bound.
    pub disk: Option<String>,
}

/// Lets the kernel look for the session's disks; returns when it has seen them all. The disks
/// themselves may come a little later: each tells it by a uevent.
///
/// # Errors
/// [`DisksError::ScanTimeout`]: the write goes on in a thread of its own, for nothing can stop it.
pub fn scan(root: &Path, host: u32, deadline: Deadline) -> Result<(), DisksError> {
    let path = root.join(format!("sys/class/scsi_host/host{host}/scan"));
    let failed = |source| DisksError::Io { path: path.clone(), source };
    let file = path.clone();
    match within(deadline, move || fs::write(&file, "- - -")).map_err(failed)? {
        Some(result) => result.map_err(failed),
        None => Err(DisksError::ScanTimeout { path, after: deadline.limit() }),
    }
}

/// The session's logical units that are there now, by their number.
///
/// # Errors
/// [`DisksError::Io`]. That a session has none is no error.
pub fn units(root: &Path, sid: u32) -> Result<Vec<Unit>, DisksError> {
    // session<sid>/device/target<h>:<c>:<t>/<h>:<c>:<t>:<lun>/{type,block/<name>}
    let session = root.join(format!("sys/class/iscsi_session/session{sid}/device"));
    let mut units: Vec<Unit> = Vec::new();
    for target in entries(&session, "target")? {
        for name in entries(&session.join(&target), "")? {
            let Some(lun) = name.rsplit(':').next().filter(|_| name.contains(':')) else {
                continue;
            };
            let Ok(lun) = lun.parse() else { continue };
            let unit = session.join(&target).join(&name);
            let path = unit.join("type");
            let kind = match fs::read_to_string(&path) {
                Ok(text) => text.trim().parse().unwrap_or(u8::MAX),
                Err(source) => return Err(DisksError::Io { path, source }),
            };
            let block = unit.join("block");
            // A tape, or a disk that is not there yet.
            let disk = if block.exists() { entries(&block, "")?.into_iter().next() } else { None };
            let unit = Unit { lun: logical_number(lun), kind, disk };
            let place = units.partition_point(|known| *known < unit);
            units.insert(place, unit);
        }
    }
    Ok(units)
}

/// What a person calls a LUN: the kernel shows one above 255 with its addressing method in front (SAM-5 4.7.7.3).
const fn logical_number(lun: u64) -> u64 {
    match lun & 0xffff_ffff_ffff_c000 {
        0x4000 => lun & 0x3fff,
        _ => lun,
    }
}

fn entries(folder: &Path, prefix: &str) -> Result<Vec<String>, DisksError> {
    let failed = |source| DisksError::Io { path: folder.to_owned(), source };
    let mut names = Folder::open(folder).and_then(|folder| folder.names()).map_err(failed)?;
    names.retain(|name| name.starts_with(prefix));
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_session_s_own_disks() {
        let root = std::env::temp_dir().join(format!("sidus-disks-{}", std::process::id()));
        let make = |path: &str| fs::create_dir_all(root.join("sys/class").join(path)).unwrap();
        let unit = |path: &str, kind: &str| {
            make(path);
            fs::write(root.join("sys/class").join(path).join("type"), format!("{kind}\n")).unwrap();
        };
        unit("iscsi_session/session1/device/target2:0:0/2:0:0:10", "0");
        make("iscsi_session/session1/device/target2:0:0/2:0:0:10/block/sdc");
        unit("iscsi_session/session1/device/target2:0:0/2:0:0:1", "0");
        make("iscsi_session/session1/device/target2:0:0/2:0:0:1/block/sdb");
        unit("iscsi_session/session1/device/target2:0:0/2:0:0:0", "12");
        unit("iscsi_session/session1/device/target2:0:0/2:0:0:16640", "0");
        make("iscsi_session/session1/device/target2:0:0/power");
        make("iscsi_session/session1/device/iscsi_session/session1");
        unit("iscsi_session/session2/device/target3:0:0/3:0:0:1", "0");
        make("iscsi_session/session2/device/target3:0:0/3:0:0:1/block/sdd");
        make("iscsi_session/session3/device");
        make("scsi_host/host2");
        let names = |sid| {
            let line = |unit: &Unit| format!("{} {} {}", unit.lun, unit.kind, unit.disk.as_deref().unwrap_or("-"));
            units(&root, sid).map(|units| units.iter().map(line).collect::<Vec<_>>())
        };
        let (one, two, three) = (names(1), names(2), names(3));
        let gone = names(4).map_err(|e| e.to_string());
        let scanned = scan(&root, 2, Deadline::after(Duration::from_secs(9)));
        let written = fs::read_to_string(root.join("sys/class/scsi_host/host2/scan"));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(one.unwrap(), ["0 12 -", "1 0 sdb", "10 0 sdc", "256 0 -"]);
        assert_eq!(two.unwrap(), ["1 0 sdd"]);
        assert_eq!(three.unwrap(), Vec::<String>::new());
        assert!(gone.unwrap_err().ends_with("session4/device: No such file or directory (os error 2)"));
        scanned.unwrap();
        assert_eq!(written.unwrap(), "- - -");
    }
}
