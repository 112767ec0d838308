//! Watches the session while the node goes down: where it is lost for good, the disk is given up, so that what waits for
//! it goes on.

use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::process::{chdir, chroot};
use rustix::system::RebootCommand;

use super::prepare::FOLDER;
use super::session::{Session, State};
use super::{bounded, reboot_by};
use crate::iscsi::deadline::Deadline;
use crate::keeper::stand_alone;
use crate::kmsg::{Level, Log};

/// How often it looks.
const LOOK: Duration = Duration::from_millis(500);
/// How long the keeper may still try. Until the kernel misses the answer to a ping, ten seconds may have gone by.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the rest of the shutdown may take then, before the machine goes down at once.
const REST: Duration = Duration::from_secs(13);

/// A watch that has all that it needs.
#[derive(Debug)]
pub struct Watch {
    log: Log,
    session: Session,
}

impl Watch {
    /// Begins a watch; says what is wrong where there can be none.
    #[must_use]
    pub fn begin(root: &Path) -> Option<Self> {
        let log = Log::open(root);
        if let Err(error) = stand_alone() {
            log.say(Level::Warning, &format!("shutdown: the watch may hang: {error}"));
        }
        let session = Session::open(root, &log)?;
        Some(Self { log, session })
    }

    /// Watches from a folder that is no part of the root, which systemd would warn of.
    pub fn keep_apart(self, root: &Path, command: RebootCommand) {
        let folder = root.join(FOLDER);
        if let Err(errno) = chroot(folder).and_then(|()| chdir("/")) {
            self.log.say(Level::Warning, &format!("shutdown: the watch keeps the root busy: {errno}"));
        }
        self.keep(command);
    }

    /// Watches until the session is gone.
    pub fn keep(self, command: RebootCommand) {
        let Self { log, mut session } = self;
        let mut out = Duration::ZERO;
        while out < PATIENCE {
            out = match session.state() {
                State::Gone => return,
                State::Up => Duration::ZERO,
                State::Out => out.saturating_add(LOOK),
            };
            sleep(LOOK);
        }
        log.say(Level::Error, &format!("shutdown: {session} is given up: what was not synced is lost"));
        let (rest, its) = (Deadline::after(REST), log.clone());
        bounded("give the disk up", REST, &log, Box::new(move || session.fail(&its)));
        sleep(rest.remaining().unwrap_or_default());
        log.say(Level::Error, "shutdown: it takes too long without the disk: it ends here");
        reboot_by(command, &log);
    }
}
