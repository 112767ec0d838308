//! Keeps other nodes off the LUN: the reservation by way of the session's own disk, before it is mounted and after it is
//! unmounted. What decides is in [`crate::guard`].

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use super::bounded;
use super::error::LunError;
use crate::guard::{hold, release, GuardError, Key, Moment, Was};
use crate::iscsi::deadline::Deadline;
use crate::scsi::sg::send;

/// How long the target may take to answer one command.
const COMMAND: Duration = Duration::from_secs(10);

/// What is to become of the reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It is to be this node's.
    Hold(Key, Moment),
    /// Another node may have it.
    Release,
}

/// Gives the reservation back, where this login has one: another node may have the LUN. Before the logout, when nothing
/// has the disk mounted; it may take as long as three commands.
///
/// # Errors
/// [`GuardError`]
pub fn give_back(disk: &File) -> Result<(), GuardError> {
    release(&mut |command| Ok(send(disk, command, COMMAND)?))
}

/// Has it so for the LUN that is `/dev/<name>`; `false` where the target has no persistent reservations.
///
/// # Errors
/// [`LunError::Guard`], [`LunError::Timeout`]
pub fn reserve(root: &Path, name: &str, wish: Wish, deadline: Deadline) -> Result<bool, LunError> {
    let (device, rescan) = (root.join("dev").join(name), root.join("sys/class/block").join(name).join("device/rescan"));
    let reserve = move || {
        let disk = File::open(device)?;
        match wish {
            Wish::Release => give_back(&disk)?,
            Wish::Hold(key, moment) => {
                if hold(key, moment, &mut |command| Ok(send(&disk, command, COMMAND)?))? != Was::Free {
                    // To a stranger, as this login was to some targets (tgt), nothing is told of the disk's cache: without
                    // it the kernel would never flush it. Now it is.
                    fs::write(rescan, "1")?;
                }
            }
        }
        Ok(())
    };
    match bounded(deadline, "the reservation of the LUN", reserve)? {
        Ok(()) => Ok(true),
        Err(GuardError::Unsupported) => Ok(false),
        Err(source) => Err(LunError::Guard { device: format!("/dev/{name}"), source }),
    }
}
