//! Keeps other nodes off the LUN: the reservation by way of the session's own disk, before it is mounted and after it is
//! unmounted. What decides is in [`crate::guard`].

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use super::bounded;
use super::error::LunError;
use crate::guard::{self, GuardError, Key, Moment, Was};
use crate::iscsi::deadline::Deadline;
use crate::scsi::sg::send;

/// How long the target may take to answer one command.
const COMMAND: Duration = Duration::from_secs(10);

/// What keeps a second node off where there is no reservation, as the report has it.
pub const BY_FILE_SYSTEM: &str = "mmp";
/// Nothing does, as the report has it.
pub const BY_NOBODY: &str = "off";

/// Reserves the LUN that is `/dev/<name>`, open as `disk`; `false` where the target has no persistent reservations.
///
/// # Errors
/// [`LunError::Guard`], [`LunError::Timeout`]
pub fn reserve(
    root: &Path,
    name: &str,
    disk: File,
    key: Key,
    moment: Moment,
    deadline: Deadline,
) -> Result<bool, LunError> {
    let failed = |source| LunError::Guard { device: format!("/dev/{name}"), source };
    let hold = move || guard::hold(key, moment, &mut |command| Ok(send(&disk, command, COMMAND)?));
    match bounded(deadline, "the reservation of the LUN", hold)? {
        Ok(Was::Free) => Ok(true),
        Ok(Was::Own | Was::Of(_)) => {
            // To a stranger, as this login was to some targets (tgt), nothing is told of the disk's cache: without it the
            // kernel would never flush it. Now it is.
            let path = root.join("sys/class/block").join(name).join("device/rescan");
            let file = path.clone();
            bounded(deadline, "a second look at the disk", move || fs::write(file, "1"))?
                .map_err(|source| LunError::File { doing: "write", path, source })?;
            Ok(true)
        }
        Err(GuardError::Unsupported) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Gives the reservation back, where this login has one; before the logout.
///
/// # Errors
/// [`LunError::Guard`], [`LunError::Timeout`]
pub fn release(name: &str, disk: File, deadline: Deadline) -> Result<(), LunError> {
    let release = move || guard::release(&mut |command| Ok(send(&disk, command, COMMAND)?));
    bounded(deadline, "the end of the reservation", release)?
        .map_err(|source| LunError::Guard { device: format!("/dev/{name}"), source })
}
