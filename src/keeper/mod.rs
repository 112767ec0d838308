//! The keeper: stays behind from the initramfs, and logs the session in again after each fault. The disk's commands wait
//! meanwhile, for at most `sidus.iscsi.recovery=`.
//!
//! It protects the root that it must not need: once it runs it opens nothing but the kernel's own files and `/run`, by
//! folders that it opened before the switch, and all of its memory is locked.

mod another;
mod error;
mod guard;
mod pace;
pub mod report;
mod start;
pub(crate) mod sysfs;
mod task;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub use self::another::{start_another, AnotherError};
pub use self::error::KeeperError;
pub use self::start::{stay_behind, stop, StartError};
pub use self::task::Task;
use rustix::mm::{mlockall, MlockAllFlags};
use rustix::process::{configure_io_flusher_behavior, geteuid, pidfd_open, setsid, Pid, PidfdFlags};
use rustix::rand::GetRandomFlags;

use self::error::AttemptError;
use self::pace::{login, pause, Said};
use self::report::{uptime_ms, KeeperReport, State};
use self::sysfs::{Sysfs, SysfsError};
use crate::file_error::FileError;
use crate::folder::Folder;
use crate::iscsi::deadline::{Deadline, Seconds};
use crate::iscsi::kernel::{Heard, Kernel};
use crate::iscsi::name::Portal;
use crate::iscsi::netlink::Event;
use crate::iscsi::pdu::{Body, Pdu, Stage, DEFAULT_MAX_DATA};
use crate::iscsi::random::random;
use crate::iscsi::session::{log_in_again, Plan, SessionError};
use crate::iscsi::status::Retry;
use crate::kmsg::{Level, Log};

/// How often it looks whether iscsid has done its work.
const LOOK: Duration = Duration::from_millis(500);
/// After so long a session that is logged in is iscsid's work, though it was never seen to be out.
const TRUST: Duration = Duration::from_secs(10);

/// A session and all that it takes to log it in again.
#[derive(Debug)]
pub struct Keeper {
    kernel: Kernel,
    sysfs: Sysfs,
    /// `/proc`
    proc: Folder,
    /// `/run`
    run: Folder,
    log: Log,
    plan: Plan,
    report: KeeperReport,
    /// The disk, where it is reserved.
    disk: Option<File>,
}

/// A fault that is not over.
struct Fault {
    since: Instant,
    tries: u32,
    said: Said,
    /// How many logins were not over in time.
    late: u32,
    /// Where the target sent the last attempt.
    detour: Option<Portal>,
    /// Since when the target says what a person has to change.
    refused: Option<Instant>,
}

impl Default for Fault {
    fn default() -> Self {
        Self { since: Instant::now(), tries: 0, late: 0, said: Said::default(), detour: None, refused: None }
    }
}

impl Fault {
    /// For how long the target has been saying what a person has to change; `None` where `error` is none of that.
    fn refused(&mut self, error: &AttemptError) -> Option<Duration> {
        match error {
            AttemptError::Session { source, .. } if source.retry() != Retry::Later => {
                Some(self.refused.get_or_insert_with(Instant::now).elapsed())
            }
            _ => {
                self.refused = None;
                None
            }
        }
    }
}

/// Is the keeper, until the session is ended.
#[must_use]
pub fn keep_here(root: &Path, task: &Task) -> ExitCode {
    let keeper = Keeper::new(root, task).and_then(|mut keeper| keeper.settle().map(|()| keeper));
    let failure = keeper.as_ref().err().map(ToString::to_string);
    if start::answer(failure.as_deref()).is_err() {
        return ExitCode::FAILURE;
    }
    match keeper.map(|mut keeper| keeper.keep()) {
        Ok(KeeperError::Ended { .. }) => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::FAILURE,
    }
}

impl Keeper {
    /// A keeper: reads all that has a path now and may have none later.
    ///
    /// # Errors
    /// [`KeeperError`]
    pub fn new(root: &Path, task: &Task) -> Result<Self, KeeperError> {
        let Task { session: sid, reserved } = *task;
        let folder = |name: &str| {
            let path = root.join(name);
            Folder::open(&path).map_err(FileError::when("open", path))
        };
        let sysfs = Sysfs::new(folder("sys")?, sid);
        let (proc, run) = (folder("proc")?, folder("run")?);
        let report = KeeperReport {
            pid: std::process::id(),
            session: sid,
            state: State::Up,
            since_ms: 0,
            recoveries: 0,
            blocked_ms: 0,
            last_error: String::new(),
        };
        let plan = Plan { reserved, ..sysfs.plan()? };
        let disk = reserved.map(|reserved| guard::open_disk(root, sid, reserved.lun)).transpose()?;
        Ok(Self { kernel: Kernel::open(root)?, sysfs, proc, run, log: Log::open(root), plan, report, disk })
    }

    /// Makes this process one that survives what happens to its root, and says that it is at work.
    ///
    /// # Errors
    /// [`KeeperError::Process`], [`KeeperError::File`]
    pub fn settle(&mut self) -> Result<(), KeeperError> {
        // It has one already where it leads a group, as below a shell with job control.
        let _ = setsid();
        stand_alone()?;
        self.proc.tell("self/oom_score_adj", "-1000").map_err(FileError::when("write", "/proc/self/oom_score_adj"))?;
        self.enter(State::Up);
        Ok(())
    }

    /// Keeps the session, until it is ended.
    pub fn keep(&mut self) -> KeeperError {
        loop {
            if let Err(error) = self.wait_for_fault().and_then(|why| self.mend(&why)) {
                self.log.say(Level::Error, &format!("the keeper stops: {error}"));
                return error;
            }
        }
    }

    /// Sleeps until the connection fails; says why it did.
    fn wait_for_fault(&mut self) -> Result<String, KeeperError> {
        let connection = self.sysfs.connection();
        let mut iscsid = self.iscsid();
        if iscsid.is_none() && !self.sysfs.is_logged_in()? {
            return Ok("the connection broke before there was a keeper".to_owned());
        }
        loop {
            match self.kernel.listen(iscsid.as_ref().map(AsFd::as_fd))? {
                Heard::Event(Event::ConnectionError { connection: failed, error }) if failed == connection => {
                    return Ok(SessionError::Broken { error }.to_string());
                }
                Heard::Event(Event::SessionDestroyed { sid }) if sid == connection.sid => {
                    return Err(KeeperError::Ended { sid });
                }
                Heard::Event(Event::Pdu { connection: of, bytes }) if of == connection => {
                    if wants_new_login(&bytes) {
                        return Ok("the target asked for a new login".to_owned());
                    }
                    // An answer that the keeper did not ask for: iscsid has the session now, and may leave it again.
                    iscsid = self.iscsid();
                    if iscsid.is_some() && ends_login(&bytes) {
                        self.hold_by_disk()?;
                    }
                }
                Heard::Event(_) => {}
                Heard::Other => {
                    iscsid = self.iscsid();
                    if iscsid.is_none() && !self.sysfs.is_logged_in()? {
                        return Ok("iscsid ended without a connection".to_owned());
                    }
                }
                // What was lost may have been the one that counts.
                Heard::Lost if self.sysfs.is_logged_in()? => {}
                Heard::Lost => return Ok("the connection broke".to_owned()),
            }
        }
    }

    /// Logs in again and again, until the session is back.
    fn mend(&mut self, why: &str) -> Result<(), KeeperError> {
        let mut fault = Fault::default();
        // The boot, or a person, may have changed it since.
        self.plan.timeouts.recovery = self.sysfs.recovery()?;
        self.log.say(
            Level::Warning,
            &format!(
                "session {} with {} at {} is lost: {why}; its disk waits, for at most {} s",
                self.report.session,
                self.plan.target,
                self.plan.portal,
                self.plan.timeouts.recovery.as_secs()
            ),
        );
        why.clone_into(&mut self.report.last_error);
        self.enter(State::Blocked);
        loop {
            if self.iscsid().is_some() {
                if self.leave_it_to_iscsid()? {
                    self.hold_by_disk()?;
                    break;
                }
                continue;
            }
            let attempt = Instant::now();
            fault.tries = fault.tries.saturating_add(1);
            let limit = login(fault.late);
            let error = match self.log_in(&mut fault, limit) {
                Ok(()) => break,
                Err(AttemptError::Session { source: SessionError::Guard(why), .. }) if why.is_loss() => {
                    return Err(self.give_up(why));
                }
                Err(error) => error,
            };
            if !self.is_there()? {
                return Err(KeeperError::Ended { sid: self.report.session });
            }
            if attempt.elapsed() >= limit {
                fault.late = fault.late.saturating_add(1);
            }
            self.tell(&mut fault, &error.to_string());
            sleep(pause(fault.since.elapsed(), fault.refused(&error), attempt.elapsed()));
        }
        let blocked = fault.since.elapsed();
        self.report.recoveries = self.report.recoveries.saturating_add(1);
        self.report.blocked_ms = u64::try_from(blocked.as_millis()).unwrap_or(u64::MAX);
        self.enter(State::Up);
        let words = format!("session {} is logged in again after {}", self.report.session, Seconds(blocked));
        self.log.say(Level::Warning, &format!("{words}, tries: {}", fault.tries));
        Ok(())
    }

    /// Says why an attempt failed, where that is news; and that the kernel's patience is over, once.
    fn tell(&mut self, fault: &mut Fault, why: &str) {
        let blocked = fault.since.elapsed();
        if fault.said.is_news(blocked, why) {
            self.log.say(Level::Warning, &format!("disk blocked since {}: {why}", Seconds(blocked)));
        }
        if self.report.last_error != why {
            why.clone_into(&mut self.report.last_error);
            self.write();
        }
        let recovery = self.plan.timeouts.recovery;
        if blocked > recovery && self.report.state != State::Failed {
            let words = format!(
                "session {} is not back after {} s (sidus.iscsi.recovery=; in a boot, sidus.timeout=): the disk FAILS now, and what was written since \
                 the fault is lost; reboot when the target is back",
                self.report.session,
                recovery.as_secs()
            );
            self.log.say(Level::Error, &words);
            self.enter(State::Failed);
        }
    }

    fn log_in(&mut self, fault: &mut Fault, limit: Duration) -> Result<(), AttemptError> {
        let portal = fault.detour.take().unwrap_or(self.plan.portal);
        let plan = Plan { portal, ..self.plan.clone() };
        let challenge = random(GetRandomFlags::empty()).map_err(AttemptError::Random)?.0;
        let (connection, exp_stat_sn) = (self.sysfs.connection(), self.sysfs.exp_stat_sn()?);
        match log_in_again(&mut self.kernel, &plan, challenge, connection, exp_stat_sn, Deadline::after(limit)) {
            Ok(was) => {
                was.into_iter().for_each(|was| self.tell_whose_it_was(was));
                Ok(())
            }
            Err(error) => {
                if let SessionError::Moved { address, .. } = &error {
                    fault.detour = address.portal().ok();
                }
                Err(AttemptError::Session { portal, source: error })
            }
        }
    }

    /// Waits while iscsid runs; says whether it has logged in again.
    fn leave_it_to_iscsid(&mut self) -> Result<bool, KeeperError> {
        self.log.say(Level::Warning, "iscsid runs: it is left to it to log in again");
        self.enter(State::Iscsid);
        let since = Instant::now();
        let mut out = false;
        while self.iscsid().is_some() {
            sleep(LOOK);
            match self.sysfs.is_logged_in()? {
                false => out = true,
                true if out || since.elapsed() > TRUST => return Ok(true),
                true => {}
            }
        }
        self.log.say(Level::Warning, "iscsid has stopped: the keeper logs in again");
        self.enter(State::Blocked);
        Ok(false)
    }

    /// The iscsid that root runs, for [`Kernel::listen`] to wait for its end. Asking its socket would start it, where
    /// systemd listens there.
    fn iscsid(&self) -> Option<OwnedFd> {
        let root = geteuid().as_raw();
        self.proc.names().ok()?.iter().find_map(|name| {
            let pid = Pid::from_raw(name.parse().ok()?)?;
            let is_iscsid = self.proc.read(&format!("{name}/comm")).is_ok_and(|comm| comm == "iscsid\n")
                && self.proc.owner(name).is_ok_and(|owner| owner == root);
            // One that ends meanwhile is none.
            if is_iscsid {
                pidfd_open(pid, PidfdFlags::empty()).ok()
            } else {
                None
            }
        })
    }

    /// Whether the kernel still has the session.
    fn is_there(&self) -> Result<bool, KeeperError> {
        match self.sysfs.is_logged_in() {
            Ok(_) => Ok(true),
            Err(SysfsError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn enter(&mut self, state: State) {
        self.report.state = state;
        self.report.since_ms = self.proc.read("uptime").map_or(0, |text| uptime_ms(&text));
        self.write();
    }

    fn write(&self) {
        if let Err(error) = self.report.write(&self.run) {
            self.log.say(Level::Warning, &format!("cannot write /run/sidus/keeper.json: {error}"));
        }
    }
}

/// Makes this process one that does not wait for the disk that waits for it.
///
/// # Errors
/// [`KeeperError::Process`]
pub fn stand_alone() -> Result<(), KeeperError> {
    let process = |doing| move |errno: rustix::io::Errno| KeeperError::Process { doing, source: errno.into() };
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE).map_err(process("lock the memory"))?;
    // An allocation must not wait for pages to be written to that disk.
    configure_io_flusher_behavior(true).map_err(process("become an IO_FLUSHER"))
}

/// Whether a PDU is the target's wish for a new login (RFC 7143 11.9.1: code 1).
fn wants_new_login(bytes: &[u8]) -> bool {
    matches!(Pdu::from_bytes(bytes, DEFAULT_MAX_DATA), Ok(Pdu { body: Body::Async { event: 1, .. }, .. }))
}

/// Whether a PDU is the answer that ends a login: the session goes on.
fn ends_login(bytes: &[u8]) -> bool {
    let body = Pdu::from_bytes(bytes, DEFAULT_MAX_DATA).map(|pdu| pdu.body);
    matches!(body, Ok(Body::LoginResponse { flags, status_class: 0, .. }) if flags.transit && flags.next == Stage::FullFeature)
}
