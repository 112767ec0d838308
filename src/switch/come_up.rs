//! Whether the root that a switch has entered comes up, and the way back where it does not.
//!
//! Of the new root, that needs no more than `systemctl` and `sidus-switch.service`. Right before systemd enters it,
//! [`stay_behind`] starts the copy of this program on the stage as a process that belongs to no service. It waits until
//! the new root is [entered](enter), and [watches](watch) it from then on.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use miniserde::{json, Deserialize, Serialize};

use super::command::run;
use super::{told, turn_to, Request, SwitchError, FAILED, THIS};
use crate::generation::Place;
use crate::iscsi::deadline::Deadline;
use crate::keeper::report::NAME;
use crate::kmsg::{Level, Log};
use crate::report::{replace, FailureReport, Report};

/// How long a generation may take to come up, in seconds, where nothing else is asked for: systemd gives a unit 90 s
/// (systemd-system.conf(5)), and what waits for that one as much again.
pub const WITHIN: u32 = 300;
/// The commands of this program that [`enter`] and [`watch`] are.
const ENTER_COMMAND: &str = "switch-enter";
const WATCH_COMMAND: &str = "switch-watch";
/// How long systemd may take to enter the new root: what does not end by itself has 90 s.
const ENTER: Duration = Duration::from_secs(180);
/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_secs(1);
/// How often systemd is asked, which costs the node more.
const LOOK: Duration = Duration::from_secs(15);
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Where a process belongs to no service: cgroups(7).
const NO_SERVICE: &str = "sys/fs/cgroup/cgroup.procs";
/// How long it is tried to get back.
const GO_BACK: Duration = Duration::from_secs(900);
/// What is left of the journal of what did not come up, in `/run/sidus`.
const JOURNAL: &str = "run/sidus/switch-failed.log";
/// On which generation the node is tried, and where it comes from.
const TRIAL: &str = "run/sidus/trial.json";
/// So many units are named.
const NAMED: usize = 5;

/// A generation that a node is tried on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The one that it comes from, and returns to.
    pub from: String,
    /// The one that it shall run on.
    pub to: String,
    /// How long that may take to come up, in seconds.
    pub within: u32,
}

/// Starts this program once more, to watch the next root come up.
///
/// # Errors
/// Those of the process, and of cgroups.
pub fn stay_behind(root: &Path, trial: &Trial) -> io::Result<()> {
    let mut child = trial.command(ENTER_COMMAND);
    // systemd spares whoever has a name that begins with `@`,
    let child = child.arg0(NAME).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // but not what a service leaves behind.
    let pid = child.spawn()?.id();
    fs::write(root.join(NO_SERVICE), pid.to_string())
}

/// Waits until systemd has entered the new root, and becomes who [watches](watch) it. That one has no such name: it ends
/// with all the others when the node goes down. Where systemd does not enter it, that is said, and there is nothing to
/// watch.
///
/// # Errors
/// That of execve(2).
pub fn enter(root: &Path, trial: &Trial) -> io::Result<()> {
    show_name();
    let deadline = Deadline::after(ENTER);
    let log = Log::open(root);
    while deadline.remaining().is_some() {
        if Place::read(root).is_ok_and(|place| place.running == trial.to) {
            let error = trial.command(WATCH_COMMAND).arg0(NAME.trim_start_matches('@')).exec();
            log.say(Level::Warning, &format!("switch: nobody sees whether {} comes up: {error}", trial.to));
            return Err(error);
        }
        sleep(GLANCE);
    }
    let words = format!(
        "switch: systemd has not entered {} after {} s: reboot the node (systemctl reboot)",
        trial.to,
        ENTER.as_secs()
    );
    log.say(Level::Error, &words);
    Ok(())
}

/// Watches the new root come up; where it does not, the node moves back.
pub fn watch(root: &Path, trial: &Trial) {
    show_name();
    let log = Log::open(root);
    let deadline = Deadline::after(Duration::from_secs(trial.within.into()));
    if let Err(error) = replace(&root.join(TRIAL), &json::to_string(trial)) {
        log.say(Level::Warning, &format!("cannot write /{TRIAL}: {error}"));
    }
    let why = loop {
        sleep(deadline.remaining().map_or(LOOK, |left| left.min(LOOK)));
        let state = state();
        match (Seen::of(&state), deadline.remaining()) {
            (Seen::Up, _) => {
                log.say(Level::Info, &format!("switch: {} is up, systemd says {state}", trial.to));
                forget(root);
                return;
            }
            // Somebody wants something else.
            (Seen::Leaves, _) => return,
            (Seen::Failed, _) => break format!("systemd says {state}"),
            (Seen::Comes, None) => break format!("after {} s systemd says {state}", trial.within),
            (Seen::Comes, Some(_)) => {}
        }
    };
    go_back(root, trial, &format!("{why}{}", units()), &log);
}

/// Ends what [`Trial::of`] reads: the node is on trial no more, or on another one.
pub fn forget(root: &Path) {
    // That there is none is right, too.
    let _ = fs::remove_file(root.join(TRIAL));
}

/// What was started as [`THIS`] has the name of that, which tells nobody anything.
fn show_name() {
    // Without it, it works as well.
    let _ = rustix::thread::set_name(c"rootaufs");
}

impl Trial {
    /// The one that goes on, on the machine whose root is `root`, if any does.
    #[must_use]
    pub fn of(root: &Path) -> Option<Self> {
        json::from_str(&fs::read_to_string(root.join(TRIAL)).ok()?).ok()
    }

    fn command(&self, word: &str) -> Command {
        let mut command = Command::new(THIS);
        command.args([word, &self.from, &self.to, &self.within.to_string()]);
        command
    }
}

/// What a state of systemd (systemctl(1), is-system-running) means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// All was started that is to be, or has failed.
    Up,
    /// That is under way.
    Comes,
    /// It has given up, and waits for a person.
    Failed,
    /// The node goes down, or moves on.
    Leaves,
}

impl Seen {
    fn of(state: &str) -> Self {
        match state {
            "running" | "degraded" => Self::Up,
            "maintenance" => Self::Failed,
            "stopping" => Self::Leaves,
            // Or no answer.
            _ => Self::Comes,
        }
    }
}

/// In what state systemd is, or why it does not say.
fn state() -> String {
    match run("systemctl", &["show", "--property=SystemState", "--value"], ANSWER) {
        Ok(said) => said.trim().to_owned(),
        Err(error) => format!("nothing: {error}"),
    }
}

/// Which units a person should look at: those that have failed, and those that systemd still waits for.
fn units() -> String {
    let ask = |words: &[&str]| run("systemctl", words, ANSWER).unwrap_or_default();
    let failed = ask(&["list-units", "--failed", "--plain", "--no-legend", "--full"]);
    let jobs = ask(&["list-jobs", "--no-legend", "--full"]);
    named("failed", &failed, |words| words.first().copied())
        + &named("not done", &jobs, |words| match words {
            [_, unit, _, "running"] => Some(unit),
            _ => None,
        })
}

/// `what: UNIT, UNIT`, of a table of systemctl's.
fn named<'t>(what: &str, table: &'t str, unit: impl Fn(&[&'t str]) -> Option<&'t str>) -> String {
    let words = |line: &'t str| line.split_whitespace().collect::<Vec<_>>();
    let units: Vec<_> = table.lines().filter_map(|line| unit(&words(line))).take(NAMED).collect();
    if units.is_empty() {
        return String::new();
    }
    format!("; {what}: {}", units.join(", "))
}

fn go_back(root: &Path, trial: &Trial, why: &str, log: &Log) {
    let Trial { from, to, .. } = trial;
    let failure = FailureReport {
        what: format!("{FAILED}{to}: come up"),
        why: why.to_owned(),
        remedy: format!(
            "run sidus rollback on the server, or a reboot comes up on {to} again; then mend the tree, and publish it; \
             /{JOURNAL} has the last that {to} complained of"
        ),
        left: Vec::new(),
        then: format!("back to {from}"),
    };
    log.say(Level::Error, &format!("FAILED: {}: {}", failure.what, failure.why));
    // With a layer in memory, the journal goes with that.
    let complaints = ["--boot", "--priority=warning", "--lines=100", "--no-pager", "--output=short-monotonic"];
    let journal = run("journalctl", &complaints, ANSWER).unwrap_or_else(|error| format!("{error}\n"));
    if let Err(error) = replace(&root.join(JOURNAL), &journal) {
        log.say(Level::Warning, &format!("cannot write /{JOURNAL}: {error}"));
    }
    log.say(Level::Error, &format!("now: {}", failure.then));
    // The way back is not watched: nobody would know where to go from there.
    let request = Request { generation: Some(from.clone()), dry_run: false, within: 0 };
    let deadline = Deadline::after(GO_BACK);
    let mut told_last = String::new();
    while let Err(error) = turn_to(root, &request, Some(failure.clone())) {
        let is_final = deadline.remaining().is_none() || matches!(error, SwitchError::Refused(_));
        let then = format!("the node stays on {to}, since it cannot go back: {error}");
        if then != told_last {
            log.say(Level::Error, &format!("now: {then}"));
            let failure = Some(FailureReport { then: then.clone(), ..failure.clone() });
            let report = Report::read(root).map(|report| Report { failure, ..report });
            told(log, report.and_then(|report| report.write(root)));
            told_last = then;
        }
        if is_final {
            return;
        }
        sleep(LOOK);
        if Seen::of(&state()) == Seen::Up {
            // A person may have mended it meanwhile, and would not like it to go.
            log.say(Level::Info, &format!("switch: {to} is up after all, and the node stays on it"));
            return forget(root);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_systemd_are_understood() {
        for (state, seen) in [
            ("running", Seen::Up),
            ("degraded", Seen::Up),
            ("initializing", Seen::Comes),
            ("starting", Seen::Comes),
            ("maintenance", Seen::Failed),
            ("stopping", Seen::Leaves),
            ("nothing: systemctl show has not ended after 30 s", Seen::Comes),
            ("", Seen::Comes),
        ] {
            assert_eq!(Seen::of(state), seen, "{state:?}");
        }
    }

    #[test]
    fn units_that_matter_are_named() {
        let failed = "mnt.mount loaded failed failed /mnt\nx.service loaded failed failed X\n";
        assert_eq!(named("failed", failed, |words| words.first().copied()), "; failed: mnt.mount, x.service");
        let many: String = (0..9).map(|number| format!("{number}.mount loaded failed failed /mnt\n")).collect();
        assert_eq!(named("failed", &many, |words| words.first().copied()).matches(".mount").count(), NAMED);
        assert_eq!(named("failed", "\n", |words| words.first().copied()), "");
    }
}
