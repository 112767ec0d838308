//! `rootaufs watch`: tells a running node's administrator what otherwise shows too late: that the tree changed on its
//! server, that nobody keeps the iSCSI session any more; and that a newer generation of the tree is out.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::mm::{mlockall, MlockAllFlags};

use crate::folder::Folder;
use crate::generation::Watcher;
use crate::keeper::report::{KeeperReport, State};
use crate::kmsg::{Level, Log};
use crate::lower::Lower;
use crate::report::{Outcome, Report};

/// How often it looks: what it finds is told within a minute.
const EVERY: Duration = Duration::from_secs(30);

/// Watches the machine whose root is `root`, for ever; returns at once where there is no union.
///
/// # Errors
/// Those of the reports, and of `/ro`, `/proc` and `/run`.
pub fn watch(root: &Path) -> io::Result<()> {
    if Report::read(root)?.result != Outcome::Union {
        return Ok(());
    }
    // Its own file may be what is replaced on the server.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)?;
    let run = Folder::open(&root.join("run"))?;
    let log = Log::open(root);
    let mut lower = Lower::open(root)?;
    lower.write(&run)?;
    let mut generations = Watcher::new(root);
    let mut without_keeper = None;
    loop {
        sleep(EVERY);
        if let Some(words) = lower.look() {
            log.say(Level::Error, &words);
            lower.write(&run)?;
        }
        if let Some(words) = generations.look(&run)? {
            log.say(Level::Info, &words);
        }
        // One that ended because the LUN is another node's has said so, and no other could do better.
        let gone = KeeperReport::read(root)?
            .filter(|report| report.state != State::Lost && !report.is_kept(root))
            .map(|report| report.pid);
        if let Some(pid) = gone.filter(|_| gone != without_keeper) {
            let words = format!(
                "the keeper of the iSCSI session, process {pid}, is GONE: when the connection breaks, nobody logs in again, \
                 and the disk fails; \"rootaufs keep\" starts another"
            );
            log.say(Level::Error, &words);
        }
        without_keeper = gone;
    }
}
