//! The session below the root, at its end.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{open, Mode, OFlags};
use rustix::io::Errno;

use super::prepare::SESSION;
use super::processes::kill_keepers;
use crate::folder::Folder;
use crate::guard::GuardError;
use crate::iscsi::deadline::Deadline;
use crate::iscsi::kernel::Kernel;
use crate::iscsi::netlink::Connection;
use crate::iscsi::session::{end as end_session, log_out, SessionError};
use crate::keeper::sysfs::{Sysfs, SysfsError};
use crate::kmsg::{Level, Log};
use crate::lun::give_back;

/// How long a file system that nobody sees any more may take to let go of its disk.
const RELEASE: Duration = Duration::from_secs(2);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long the target may take to write its cache and to answer the logout.
const GOODBYE: Duration = Duration::from_secs(5);

/// How the session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Logged in.
    Up,
    /// Its connection is lost.
    Out,
    /// The kernel has it no more.
    Gone,
}

/// The session that the root was on, and all that it takes to end it: nothing else has to be reachable by a path later.
#[derive(Debug)]
pub struct Session {
    /// `/proc`
    proc: Folder,
    sysfs: Sysfs,
    kernel: Kernel,
    /// The disk or partition, as in `/dev/sda`.
    volume: String,
}

impl Session {
    /// The one that the boot noted; says what is wrong where it cannot be had.
    pub fn open(root: &Path, log: &Log) -> Option<Self> {
        let session = Self::try_open(root);
        if let Err(error) = &session {
            log.say(Level::Error, &format!("shutdown: nothing is known of the root's session: {error}"));
        }
        session.ok()
    }

    fn try_open(root: &Path) -> Result<Self, String> {
        let said = |path: &'static str| move |error: io::Error| format!("/{path}: {error}");
        let note = fs::read_to_string(root.join(SESSION)).map_err(said(SESSION))?;
        let (sid, volume) = parse(&note).ok_or_else(|| said(SESSION)(io::ErrorKind::InvalidData.into()))?;
        let folder = |name| Folder::open(&root.join(name)).map_err(said(name));
        let kernel = Kernel::open(root).map_err(|error| error.to_string())?;
        Ok(Self { proc: folder("proc")?, sysfs: Sysfs::new(folder("sys")?, sid), kernel, volume: volume.to_owned() })
    }

    /// How it stands.
    pub fn state(&self) -> State {
        match self.sysfs.is_logged_in() {
            Ok(true) => State::Up,
            Err(SysfsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => State::Gone,
            Ok(false) | Err(_) => State::Out,
        }
    }

    /// Destroys it, so that whatever waits for its disk gets an error at last; whether the kernel did.
    pub fn fail(&mut self, log: &Log) -> bool {
        self.finish(log, |kernel, connection| Ok(end_session(kernel, connection)?))
    }

    fn log_out(&mut self, log: &Log) -> bool {
        self.finish(log, |kernel, connection| log_out(kernel, connection, Deadline::after(GOODBYE)))
    }

    /// The keeper has to go before: it would log in again.
    fn finish(&mut self, log: &Log, how: fn(&mut Kernel, Connection) -> Result<(), SessionError>) -> bool {
        kill_keepers(&self.proc);
        // What happened to the session since it was opened may be more than the socket holds.
        let result = self.kernel.drain().map_err(SessionError::from);
        let result = result.and_then(|()| how(&mut self.kernel, self.sysfs.connection()));
        if let Err(error) = &result {
            log.say(Level::Error, &format!("shutdown: {self}: {error}"));
        }
        result.is_ok()
    }

    /// The disk, where no file system has it (any more): open(2), O_EXCL.
    fn released(&self, root: &Path) -> Option<File> {
        let path = root.join(self.volume.trim_start_matches('/'));
        let deadline = Deadline::after(RELEASE);
        loop {
            match open(&path, OFlags::RDONLY | OFlags::EXCL | OFlags::CLOEXEC, Mode::empty()).map(File::from) {
                Err(Errno::BUSY) if deadline.remaining().is_some() => sleep(LOOK),
                result => return result.ok(),
            }
        }
    }
}

/// Ends the session, in order where nothing has its disk mounted, and says in which state that is left; whether all is in
/// order. A session that is lost must not be there when the kernel goes down: it would wait for it.
pub fn end(root: &Path, unmounted: bool, log: &Log) -> bool {
    let Some(mut session) = Session::open(root, log) else { return false };
    let state = session.state();
    let disk = (state == State::Up && unmounted).then(|| session.released(root)).flatten();
    let clean = disk.is_some();
    let out = match state {
        State::Out => session.fail(log),
        State::Up => disk.is_some_and(|disk| {
            // Another node may have the LUN now. This one finds it its own where that fails.
            match give_back(&disk) {
                Ok(()) | Err(GuardError::Unsupported) => {}
                Err(error) => {
                    log.say(Level::Warning, &format!("shutdown: {session} stays reserved for this node: {error}"))
                }
            }
            drop(disk);
            session.log_out(log)
        }),
        State::Gone => false,
    };
    let (level, words) = match (clean, out) {
        (true, true) => (Level::Info, "clean, and the session is logged out"),
        (true, false) => (Level::Warning, "clean, but the target may not know that the node has left"),
        (false, _) => (Level::Error, "not clean: the next boot replays its journal"),
    };
    log.say(level, &format!("shutdown: {session} is {words}"));
    clean && out
}

/// The session's number and the disk.
fn parse(note: &str) -> Option<(u32, &str)> {
    let (session, volume) = note.trim_end().split_once('\n')?;
    Some((session.rsplit_once("/session")?.1.parse().ok()?, volume))
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.volume)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_has_a_session_and_a_disk() {
        for (note, expected) in [
            ("/sys/devices/platform/host2/session1\n/dev/sda2\n", Some((1, "/dev/sda2"))),
            ("/sys/devices/platform/host2/session1\n", None),
            ("/sys/devices/platform/host2\n/dev/sda\n", None),
            ("", None),
        ] {
            assert_eq!(parse(note), expected, "{note:?}");
        }
    }
}
