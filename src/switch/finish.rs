//! The end of a switch: what sidus-switch.service does when all services have stopped, right before systemd enters what
//! is on [`NEXT`], or the old root again where that is no root.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use miniserde::json;
use rustix::process::{chdir, chroot};

use super::come_up::Trial;
use super::command::run;
use super::facts::INIT;
use super::plan::{self, Next};
use super::step::{self, Machine};
use super::{ask_again, come_up, told, FAILED, NEXT, NOTE};
use crate::folder::Folder;
use crate::generation::{self, Place};
use crate::kmsg::{Level, Log};
use crate::mount;
use crate::report::{micros, steps, FailureReport, Report};
use crate::shutdown::kill_others;

/// How long systemd may take to forget what has failed.
const RESET: Duration = Duration::from_secs(15);

/// Finishes the switch of the machine whose root is `root`; whether the next root is the new one. Whatever happens is in
/// the log and in the report.
#[must_use]
pub fn finish(root: &Path) -> bool {
    let start = Instant::now();
    let log = Log::open(root);
    let next: Result<Next, _> = fs::read_to_string(NOTE)
        .and_then(|text| json::from_str(&text).map_err(|_| io::Error::other("not what rootaufs switch leaves there")));
    let next = match next {
        Ok(next) => next,
        Err(error) => {
            log.say(Level::Error, &format!("switch: {NOTE}: {error}: the node goes on with its generation"));
            return false;
        }
    };
    // systemd keeps in mind what has failed, units that the new root does not have too, and would be degraded by it.
    if let Err(error) = run("systemctl", &["reset-failed"], RESET) {
        log.say(Level::Warning, &format!("switch: what has failed on the old root counts on the new one: {error}"));
    }
    match step::apply(&plan::finish(&next), Machine::this(root), &log) {
        Ok(applied) => {
            let mut report = next.report;
            report.steps.extend(steps(&applied.done));
            report.total_us = report.total_us.saturating_add(micros(start.elapsed()));
            told(&log, report.write(root).and_then(|()| generation::forget(root)));
            log.say(Level::Info, &format!("switch: systemd enters {}", next.to));
            come_up::forget(root);
            if next.within > 0 {
                let trial = Trial { from: next.from, to: next.to, within: next.within };
                if let Err(error) = come_up::stay_behind(root, &trial) {
                    let words = format!("switch: nobody sees whether {} comes up: {error}", trial.to);
                    log.say(Level::Warning, &words);
                }
            }
            true
        }
        Err(failed) => {
            let what = format!("{FAILED}{}: {}", next.to, failed.step);
            let failure = FailureReport {
                what,
                remedy: "reboot the node: it comes up with the generation of its PXE entry".to_owned(),
                then: "the generation that the node ran on".to_owned(),
                ..FailureReport::of_step(&failed)
            };
            log.say(Level::Error, &format!("FAILED: {}: {}", failure.what, failure.why));
            log.say(Level::Error, &format!("now: {}", failure.then));
            if let Err(error) = mount::detach(Path::new(NEXT)) {
                log.say(Level::Error, &format!("cannot undo: {error}"));
            }
            if let Ok(place) = Place::read(root) {
                ask_again(&place);
            }
            let report = Report::read(root).map(|report| Report { failure: Some(failure), ..report });
            told(&log, report.and_then(|report| report.write(root)));
            false
        }
    }
}

/// Ends who still uses the root: systemd itself does so a moment later, and spares as well whoever has a name that begins
/// with `@`.
pub(super) fn end_writers(root: &Path) {
    if let Ok(proc) = Folder::open(&root.join("proc")) {
        kill_others(&proc);
    }
}

/// Becomes the init that is in the tree on `root`, which only says its version.
///
/// # Errors
/// Those of chroot(2) and execve(2).
pub fn try_init(root: &Path) -> io::Result<Infallible> {
    chroot(root)?;
    chdir("/")?;
    Err(Command::new(Path::new("/").join(INIT)).arg("--version").env_clear().exec())
}
