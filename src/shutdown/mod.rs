//! The end of a node whose layer is on a LUN: the root is unmounted, the session logged out, and only then is the power
//! cut.
//!
//! A root cannot be unmounted by a program that runs from it. So [`prepare`] puts a copy of `rootaufs-shutdown`, which
//! is in the tree, below `/run` while the node boots; at the end systemd-shutdown(8) makes that folder its root, the old
//! one is `/oldroot`, and process 1 becomes that copy, which calls [`end`].
//!
//! Where the target is dead, whatever writes hangs, systemd with it: from the request for a shutdown on, a process of its
//! own does [`Watch`] the session.

mod mounts;
mod prepare;
mod processes;
mod session;
mod watch;

use std::ffi::OsStr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::system::{reboot, RebootCommand};

pub use self::prepare::{forget, prepare, program, PrepareError, FOLDER, IN_TREE, PROGRAM};
pub use self::processes::kill_others;
pub use self::watch::Watch;

use crate::iscsi::deadline::{start, within, Deadline, Seconds};
use crate::kmsg::{Level, Log};

/// Where systemd-shutdown(8) puts the root that ends.
const OLD_ROOT: &str = "/oldroot";
/// How long it may take to unmount it: a target that is slow has much to write. One that is dead is up to [`Watch`].
const UNMOUNT: Duration = Duration::from_secs(20);
/// How long it may take to end the session: the logout, and what the kernel needs where that failed.
const LOG_OUT: Duration = Duration::from_secs(12);

/// What systemd-shutdown(8) asks for, by its first argument.
#[must_use]
pub fn command(verb: &OsStr) -> Option<RebootCommand> {
    Some(match verb.to_str()? {
        "poweroff" => RebootCommand::PowerOff,
        "reboot" => RebootCommand::Restart,
        "halt" => RebootCommand::Halt,
        "kexec" => RebootCommand::Kexec,
        _ => return None,
    })
}

/// Ends the machine, as process 1. Where the kernel refuses that, it waits for somebody to switch the machine off: without
/// process 1 it would panic.
pub fn end(root: &Path, command: RebootCommand) -> ! {
    let log = Log::open(root);
    if let Some(watch) = Watch::begin(root) {
        if let Err(error) = start(Box::new(move || watch.keep(command))) {
            log.say(Level::Warning, &format!("shutdown: the disk is not watched: {error}"));
        }
    }
    let (own, its) = (root.to_owned(), log.clone());
    let unmount = move || mounts::unmount_all(&own, Path::new(OLD_ROOT), &its);
    let started = Instant::now();
    let unmounted = bounded("unmount the root", UNMOUNT, &log, Box::new(unmount));
    log.say(Level::Info, &format!("shutdown: the root took {}", Seconds(started.elapsed())));
    let (own, its) = (root.to_owned(), log.clone());
    bounded("log out", LOG_OUT, &log, Box::new(move || session::end(&own, unmounted, &its)));
    reboot_by(command, &log);
    loop {
        thread::park();
    }
}

/// Does what can hang, and says so where it does; whether it was done.
fn bounded(what: &str, limit: Duration, log: &Log, work: Box<dyn FnOnce() -> bool + Send>) -> bool {
    let why = match within(Deadline::after(limit), work) {
        Ok(Some(done)) => return done,
        Ok(None) => format!("not done after {} s", limit.as_secs()),
        Err(error) => error.to_string(),
    };
    log.say(Level::Error, &format!("shutdown: cannot {what}: {why}"));
    false
}

/// Returns only where the kernel refuses all.
fn reboot_by(command: RebootCommand, log: &Log) {
    // As systemd-shutdown(8) does where no kernel is loaded for a kexec.
    for command in [command, RebootCommand::Restart] {
        if let Err(errno) = reboot(command) {
            log.say(Level::Error, &format!("shutdown: the kernel refuses to go down: {errno}"));
        }
    }
}
