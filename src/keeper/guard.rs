//! The keeper's part in keeping other nodes off the LUN, beside the errand of each login.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::report::State;
use super::{Keeper, KeeperError};
use crate::file_error::FileError;
use crate::guard::{hold, GuardError, Moment, Was};
use crate::iscsi::disks::units;
use crate::iscsi::session;
use crate::kmsg::Level;
use crate::scsi::sg::send;

/// How long the target may take to answer one command.
const COMMAND: Duration = Duration::from_secs(10);

/// The session's disk, as long as its path is known.
pub(super) fn open_disk(root: &Path, sid: u32, lun: u64) -> Result<File, KeeperError> {
    let name = units(root, sid)?.into_iter().find_map(|unit| unit.disk.filter(|_| unit.lun == lun)).unwrap_or_default();
    let path = root.join("dev").join(name);
    Ok(File::open(&path).map_err(FileError::when("open", path))?)
}

impl Keeper {
    /// Makes sure of the reservation after a login that was iscsid's: by the disk, for the connection is not the keeper's.
    pub(super) fn hold_by_disk(&mut self) -> Result<(), KeeperError> {
        let (Some(reserved), Some(disk)) = (self.plan.reserved, &self.disk) else { return Ok(()) };
        match hold(reserved.key, Moment::Recovery, &mut |command| Ok(send(disk, command, COMMAND)?)) {
            Ok(was) => self.tell_whose_it_was(was),
            Err(why) if why.is_loss() => return Err(self.give_up(why)),
            Err(why) => self.log.say(Level::Error, &format!("the LUN may not be reserved for this node: {why}")),
        }
        Ok(())
    }

    /// What a person has to know of how it stood with the reservation.
    pub(super) fn tell_whose_it_was(&self, was: Was) {
        if was == Was::Free {
            let words = "the target had forgotten whose the LUN is: reserved again, nobody was there meanwhile";
            self.log.say(Level::Warning, words);
        }
    }

    /// Ends the session for good: another node may have written to the LUN, or may do so now.
    pub(super) fn give_up(&mut self, why: GuardError) -> KeeperError {
        self.report.last_error = why.to_string();
        self.enter(State::Lost);
        let words = format!(
            "LUN LOST: {why}; session {} ends, nothing more is written, and what was not synced is lost: reboot",
            self.report.session
        );
        self.log.say(Level::Error, &words);
        // Whatever comes of it: the connection is closed already, or the target takes nothing on it.
        let ended = session::end(&mut self.kernel, self.sysfs.connection());
        ended.map_or_else(KeeperError::Kernel, |()| KeeperError::Lost(why))
    }
}
