//! The story of a boot: read the options, read the facts, plan, apply, report.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::apply::{apply, Applied};
use crate::facts::{self, Facts, Wanted};
use crate::kmsg::{Level, Log};
use crate::mount::{set_mount_read_only, set_superblock_read_only};
use crate::mountinfo::Mount;
use crate::options::{BadOptions, BootOptions, Layer, OnFailure, UnionChoice};
use crate::plan::{may_be_aufs, plan, Plan};
use crate::report::{micros, steps, FailureReport, Report};

/// The machine to boot.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `/` of the initramfs.
    pub root: PathBuf,
    /// initramfs-tools' `${rootmnt}`.
    pub rootmnt: PathBuf,
}

/// What the initramfs has to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Go on to the real init.
    Boot,
    /// Call its `panic`, which obeys the kernel's `panic=`.
    Panic,
    /// Give a shell, whatever `panic=` says.
    Shell,
    /// Reboot the machine.
    Reboot,
}

/// How long the messages of a failure stand on the console before a reboot.
pub const REBOOT_DELAY: Duration = Duration::from_secs(10);

/// Makes the union, or does what is asked for when that fails. Whatever happens is in the log and in the report.
#[must_use]
pub fn boot(machine: &Machine) -> Next {
    let start = Instant::now();
    let mut log = Log::open(&machine.root);

    // Somebody tries again by hand what was done: neither the report nor the union is to suffer. What cannot be read is
    // told where it is needed.
    if facts::is_union(&machine.root, &machine.rootmnt).unwrap_or(false) {
        log.say(Level::Error, &format!("{} is a union already: nothing is done", machine.rootmnt.display()));
        return Next::Panic;
    }
    let options = match read_options(&machine.root, &log) {
        Ok(options) => options,
        Err(Unreadable { failure, options }) => {
            log.set_debug(options.debug);
            let report = Report { failure: Some(failure), ..Report::new("unknown") };
            return fail(machine, &log, report, &options, start);
        }
    };
    log.set_debug(options.debug);
    if let Layer::Iscsi(iscsi) = &options.layer {
        iscsi.warning().into_iter().for_each(|warning| log.say(Level::Warning, warning));
    }
    let mut report = Report::new(mode(&options.layer));
    match make_union(machine, &options, &mut report, &log) {
        Ok(plan) => {
            succeed(machine, &log, report, &plan, start);
            Next::Boot
        }
        Err(failure) => {
            say_failed(&log, &failure.what, &failure.why);
            fail(machine, &log, Report { failure: Some(failure), ..report }, &options, start)
        }
    }
}

/// Facts, plan, apply.
fn make_union(machine: &Machine, options: &BootOptions, report: &mut Report, log: &Log) -> Result<Plan, FailureReport> {
    if options.layer == Layer::Off {
        report.set_done(&Plan::Plain, Applied { done: Vec::new(), lun: None });
        return Ok(Plan::Plain);
    }
    let facts = look(machine, Wanted::by(options))?;
    facts.warning().into_iter().for_each(|warning| log.say(Level::Warning, warning));
    let mut plan = decide(options, &facts)?;
    let carry_out = |plan: &Plan| match plan {
        Plan::Union(union) => apply(union, &machine.root, options.timeout, log),
        Plan::Plain => Ok(Applied { done: Vec::new(), lun: None }),
    };
    let mut applied = carry_out(&plan);
    if let Err(failed) = &applied {
        if may_be_aufs(options.union, &facts, failed.done.len()) {
            let wanted = Wanted { union: UnionChoice::Aufs, ..Wanted::by(options) };
            if let Ok(other) = look(machine, wanted).and_then(|facts| decide(options, &facts)) {
                log.say(Level::Warning, &format!("{}; aufs is tried", failed.error));
                plan = other;
                applied = carry_out(&plan);
            }
        }
    }
    let applied = applied.map_err(|failed| {
        report.steps = steps(&failed.done);
        FailureReport::of_step(&failed)
    })?;
    report.set_done(&plan, applied);
    Ok(plan)
}

fn look(machine: &Machine, wanted: Wanted) -> Result<Facts, FailureReport> {
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    Facts::read(&machine.root, &machine.rootmnt, &kernel, wanted)
        .map_err(|error| failure("read the machine's state", &error, "see rootaufs(8), FAILURES"))
}

fn decide(options: &BootOptions, facts: &Facts) -> Result<Plan, FailureReport> {
    plan(options, facts).map_err(|error| {
        let remedy = "boot a kernel that has it, or rebuild the initramfs with its module (sidus publish, or update-initramfs -u)";
        failure("choose the union", &error, remedy)
    })
}

/// A command line that cannot be obeyed, and what of it can be.
struct Unreadable {
    failure: FailureReport,
    options: BootOptions,
}

fn read_options(root: &Path, log: &Log) -> Result<BootOptions, Unreadable> {
    let remedy = "mend the APPEND line of the node's PXE entry; rootaufs plan --cmdline '…' tries it on any machine";
    let line = fs::read(root.join("proc/cmdline")).map_err(|error| {
        let failure = failure("read /proc/cmdline", &error, "mount /proc");
        say_failed(log, &failure.what, &failure.why);
        Unreadable { failure, options: BootOptions::default() }
    })?;
    match BootOptions::parse(&String::from_utf8_lossy(&line)) {
        Ok(options) => Ok(options),
        // The way out of a broken PXE entry: whatever else is wrong, aufs=off boots the plain root.
        Err(BadOptions { problems, off: true, .. }) => {
            problems
                .iter()
                .for_each(|problem| log.say(Level::Warning, &format!("ignored for the plain root: {problem}")));
            Ok(BootOptions::default())
        }
        Err(BadOptions { problems, options, .. }) => {
            let what = "read the kernel's command line";
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            // Each has a record of its own: one of all of them would be cut.
            problems.iter().for_each(|problem| say_failed(log, what, problem));
            Err(Unreadable { failure: failure(what, &problems.join("; "), remedy), options })
        }
    }
}

fn failure(what: &str, why: &dyn std::fmt::Display, remedy: &str) -> FailureReport {
    FailureReport {
        what: what.to_owned(),
        why: why.to_string(),
        remedy: remedy.to_owned(),
        left: Vec::new(),
        then: String::new(),
    }
}

fn succeed(machine: &Machine, log: &Log, mut report: Report, plan: &Plan, start: Instant) {
    report.total_us = micros(start.elapsed());
    if let Plan::Union(union) = plan {
        let (upper, memory) =
            if report.persistent { ("iscsi", "survives a reboot") } else { ("tmpfs", "is gone after a reboot") };
        log.say(
            Level::Info,
            &format!(
                "/ is {upper} over {} ({}), what is written {memory}; {} us",
                union.lower.source,
                union.kind.name(),
                report.total_us
            ),
        );
    }
    write(machine, log, &report);
}

fn say_failed(log: &Log, what: &str, why: &str) {
    log.say(Level::Error, &format!("FAILED: {what}: {why}"));
}

/// Does what is asked for when something failed, which was said already.
fn fail(machine: &Machine, log: &Log, mut report: Report, options: &BootOptions, start: Instant) -> Next {
    let Some(mut failed) = report.failure.take() else { return Next::Panic };
    log.say(Level::Error, &format!("remedy: {}", failed.remedy));
    let next = if failed.left.is_empty() {
        follow(machine, log, &mut report, &mut failed, options)
    } else {
        Follow { then: "panic: not all could be undone, so the root may be half built".to_owned(), next: Next::Panic }
    };
    log.say(Level::Error, &format!("now: {}", next.then));
    failed.then = next.then;
    report.failure = Some(failed);
    report.total_us = micros(start.elapsed());
    write(machine, log, &report);
    next.next
}

/// What follows a failure, in words and in deed.
struct Follow {
    then: String,
    next: Next,
}

fn follow(
    machine: &Machine,
    log: &Log,
    report: &mut Report,
    failed: &mut FailureReport,
    options: &BootOptions,
) -> Follow {
    let asked = |then: &str, next| Follow { then: then.to_owned(), next };
    match options.on_failure {
        OnFailure::Panic => asked("panic, since nothing else is asked for (sidus.on_failure=panic)", Next::Panic),
        OnFailure::Shell => asked("a shell (sidus.on_failure=shell)", Next::Shell),
        OnFailure::Reboot => asked("a reboot in 10 s (sidus.on_failure=reboot)", Next::Reboot),
        OnFailure::ReadOnly => match make_plain_root_read_only(machine) {
            Ok(()) => asked("the plain root, read-only (sidus.on_failure=ro)", Next::Boot),
            Err(error) => asked(&format!("panic: the plain root cannot be made read-only: {error}"), Next::Panic),
        },
        OnFailure::Tmpfs if report.mode == mode(&Layer::Tmpfs) => {
            asked("panic: sidus.on_failure=tmpfs is no help where tmpfs itself fails", Next::Panic)
        }
        OnFailure::Tmpfs => {
            let options = BootOptions { layer: Layer::Tmpfs, ..*options };
            match make_union(machine, &options, report, log) {
                Ok(_) => {
                    mode(&options.layer).clone_into(&mut report.mode);
                    asked("tmpfs instead; what is written is gone after a reboot (sidus.on_failure=tmpfs)", Next::Boot)
                }
                Err(second) => {
                    failed.left = second.left;
                    asked(&format!("panic: tmpfs fails as well: {}: {}", second.what, second.why), Next::Panic)
                }
            }
        }
    }
}

/// Makes the plain root refuse writes: what `sidus.on_failure=ro` promises, even where the kernel's `rw` was given.
fn make_plain_root_read_only(machine: &Machine) -> Result<(), String> {
    for Mount { at, .. } in facts::to_protect(&machine.root, &machine.rootmnt).map_err(|error| error.to_string())? {
        let made = set_mount_read_only(&at, true).and_then(|()| set_superblock_read_only(&at, true));
        made.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn mode(layer: &Layer) -> &'static str {
    match layer {
        Layer::Off => "off",
        Layer::Tmpfs => "tmpfs",
        Layer::Iscsi(_) => "iscsi",
    }
}

fn write(machine: &Machine, log: &Log, report: &Report) {
    if let Err(error) = report.write(&machine.root) {
        log.say(Level::Warning, &format!("cannot write the report /run/sidus/report.json: {error}"));
    }
}
