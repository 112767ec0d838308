//! What was done at boot, for people and programs: `/run/sidus/report.json`, and a line at login.

use std::fs;
use std::io;
use std::path::Path;

use miniserde::{json, Deserialize, Serialize};

use crate::apply::{Applied, Done, Failure};
use crate::lun::LunReport;
use crate::plan::{Plan, Step, UnionPlan, Upper, RO, RW};

/// Where the report is, below `/`.
pub const REPORT: &str = "run/sidus/report.json";

/// Where pam_motd(8) finds what to say at login.
const MOTD: &str = "run/motd.d/sidus";

/// The report. Durations are in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The version of `rootaufs`.
    pub version: String,
    /// How the boot went on.
    pub result: Outcome,
    /// `aufs=`: `tmpfs`, `iscsi` or `off`.
    pub mode: String,
    /// The union file system, where there is a union.
    pub union: Option<String>,
    /// The side that is only read.
    pub lower: Option<Side>,
    /// The tree that the node ran on before, where it moved to this one without a boot.
    pub moved_from: Option<String>,
    /// The side that is written.
    pub upper: Option<Side>,
    /// The LUN that the upper side is on.
    pub iscsi: Option<LunReport>,
    /// Whether what is written here survives a reboot.
    pub persistent: bool,
    /// What was done, in order; after a failure, what had been done and was undone.
    pub steps: Vec<StepReport>,
    /// From the start of the program to the end of the last step.
    pub total_us: u64,
    /// What failed, even where the boot went on with something else.
    pub failure: Option<FailureReport>,
}

/// How the boot went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// With a union.
    #[serde(rename = "union")]
    Union,
    /// With the plain root, as asked for.
    #[serde(rename = "plain")]
    Plain,
    /// With what `sidus.on_failure=` says.
    #[serde(rename = "failed")]
    Failed,
}

/// One side of a union.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// What is mounted.
    pub source: String,
    /// The type of its file system.
    pub fs: String,
    /// Where it is reachable.
    pub at: String,
}

/// A step that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// In words.
    pub step: String,
    /// How long it took.
    pub us: u64,
}

/// A failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureReport {
    /// What failed.
    pub what: String,
    /// Why.
    pub why: String,
    /// What a person can do about it.
    pub remedy: String,
    /// What could not be undone; empty when the machine was as before.
    pub left: Vec<String>,
    /// What followed.
    pub then: String,
}

impl Report {
    /// The report of a boot of which nothing is known yet.
    #[must_use]
    pub fn new(mode: &str) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            result: Outcome::Failed,
            mode: mode.to_owned(),
            union: None,
            lower: None,
            moved_from: None,
            upper: None,
            iscsi: None,
            persistent: false,
            steps: Vec::new(),
            total_us: 0,
            failure: None,
        }
    }

    /// Notes what a plan came to.
    pub fn set_done(&mut self, plan: &Plan, applied: Applied) {
        self.steps = steps(&applied.done);
        self.iscsi = applied.lun;
        match plan {
            Plan::Plain => self.result = Outcome::Plain,
            Plan::Union(union) => {
                self.result = Outcome::Union;
                self.union = Some(union.kind.name().to_owned());
                self.lower =
                    Some(Side { source: union.lower.source.clone(), fs: union.lower.fs.clone(), at: RO.to_owned() });
                self.upper = Some(upper(union, self.iscsi.as_ref()));
                self.persistent = union.upper.is_persistent();
            }
        }
    }

    /// Writes the report, and what is said at login, below `root`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, root: &Path) -> io::Result<()> {
        replace(&root.join(REPORT), &(json::to_string(self) + "\n"))?;
        match self.login_message() {
            Some(message) => replace(&root.join(MOTD), &message),
            // What was said before is true no more.
            None => match fs::remove_file(root.join(MOTD)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            },
        }
    }

    /// Reads the report that was written below `root`.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::InvalidData`] where it is no report.
    pub fn read(root: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(root.join(REPORT))?;
        json::from_str(&text).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a report of rootaufs"))
    }

    /// What a person must know who logs in.
    fn login_message(&self) -> Option<String> {
        let failed = self
            .failure
            .as_ref()
            .map(|failure| format!("WARNING: this node did not boot as asked: {}: {}\n", failure.what, failure.why));
        let forgets = (self.result == Outcome::Union && !self.persistent).then(|| {
            "This node runs from memory: what is written here, but for network mounts, is gone after a reboot\n\
             (\"rootaufs status\" says more).\n"
                .to_owned()
        });
        match (failed, forgets) {
            (None, None) => None,
            (failed, forgets) => Some(failed.unwrap_or_default() + &forgets.unwrap_or_default()),
        }
    }
}

impl FailureReport {
    /// A step of the plan that failed.
    #[must_use]
    pub fn of_step(failure: &Failure) -> Self {
        Self {
            what: failure.step.clone(),
            why: failure.error.to_string(),
            remedy: failure.error.remedy().to_owned(),
            left: failure.left.clone(),
            then: String::new(),
        }
    }
}

/// Steps with their durations.
#[must_use]
pub fn steps(done: &[Done]) -> Vec<StepReport> {
    done.iter().map(|done| StepReport { step: done.step.clone(), us: micros(done.took) }).collect()
}

/// A duration in microseconds.
#[must_use]
pub fn micros(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn upper(union: &UnionPlan, lun: Option<&LunReport>) -> Side {
    let (source, fs) = match (&union.upper, lun) {
        (Upper::Lun(_), Some(lun)) => (lun.volume.clone(), lun.fs.clone()),
        _ => ("sidus".to_owned(), "tmpfs".to_owned()),
    };
    let at = union.steps.iter().find_map(|step| match step {
        Step::Stack(stack) => Some(stack.layer.upper.display().to_string()),
        _ => None,
    });
    Side { source, fs, at: at.unwrap_or_else(|| RW.to_owned()) }
}

/// Writes a file so that a reader sees all of it or the one before; its folder is made where it is not there.
///
/// # Errors
/// Those of the file system.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(&new, text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written_and_login_says_what_matters() {
        let root = std::env::temp_dir().join(format!("sidus-report-{}", std::process::id()));
        let mut report = Report::new("tmpfs");
        report.result = Outcome::Union;
        report.steps.push(StepReport { step: "move /root to /ro".to_owned(), us: 12 });
        report.write(&root).unwrap();
        assert_eq!(Report::read(&root).unwrap(), report);
        let motd = fs::read_to_string(root.join(MOTD)).unwrap();
        assert!(motd.contains("is gone after a reboot"), "{motd}");
        report.persistent = true;
        report.write(&root).unwrap();
        report.write(&root).unwrap();
        assert!(!root.join(MOTD).exists());
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn login_says_nothing_of_a_plain_root() {
        let report = Report { result: Outcome::Plain, ..Report::new("off") };
        assert_eq!(report.login_message(), None);
    }
}
