//! `rootaufs status`: the report for a person, with what is true now.

use std::fmt::Write;
use std::io;
use std::path::Path;

use rustix::fs::StatVfs;

use crate::generation::Newer;
use crate::keeper::report::Kept;
use crate::lower::Changed;
use crate::network::lease::Known;
use crate::plan::RW;
use crate::report::{Outcome, Report};
use crate::switch::come_up::Trial;

/// How full the writable layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that are used.
    pub used: u64,
    /// Bytes that there are.
    pub size: u64,
}

impl Usage {
    /// Looks at the file system of the writable layer; `None` where there is none.
    #[must_use]
    pub fn of_layer() -> Option<Self> {
        rustix::fs::statvfs(RW).ok().map(|facts: StatVfs| Self {
            used: facts.f_blocks.saturating_sub(facts.f_bfree).saturating_mul(facts.f_frsize),
            size: facts.f_blocks.saturating_mul(facts.f_frsize),
        })
    }
}

/// What is true now, beside what was done at boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Now {
    /// How full the layer is.
    pub usage: Option<Usage>,
    /// The keeper of the iSCSI session.
    pub kept: Option<Kept>,
    /// The DHCP leases.
    pub leases: Vec<Known>,
    /// What changed in the tree on its server.
    pub changed: Option<Changed>,
    /// Which generation of the tree is out.
    pub newer: Option<Newer>,
    /// Whether the node is tried on its generation.
    pub trial: Option<Trial>,
}

impl Now {
    /// Looks at the machine whose root is `root`, and which came up as the `report` says.
    ///
    /// # Errors
    /// Those of the files below `/run/sidus`.
    pub fn look(root: &Path, report: &Report) -> io::Result<Self> {
        Ok(Self {
            usage: Usage::of_layer(),
            kept: Kept::look(root)?,
            leases: Known::look(root)?,
            changed: Changed::look(root)?,
            newer: Newer::look(root, report)?,
            trial: Trial::of(root),
        })
    }
}

/// The status as lines of text.
#[must_use]
pub fn describe(report: &Report, now: &Now) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // A label, a path: what a stranger wrote must not move the cursor of a terminal. Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<11} {}", value.replace(char::is_control, "?"));
    };
    line(
        "root",
        match (report.result, report.persistent) {
            (Outcome::Union, true) => "a union; what is written here survives a reboot",
            (Outcome::Union, false) => "a union; what is written here is GONE AFTER A REBOOT",
            (Outcome::Plain, _) => "the plain root: no union was asked for (aufs=off, or no aufs=)",
            (Outcome::Failed, _) => "the plain root: the union FAILED at boot",
        },
    );
    if let Some(union) = &report.union {
        line("union", &format!("{union}, aufs={}", report.mode));
    }
    if let Some(lower) = &report.lower {
        line("lower", &format!("{} ({}) on {}, read-only", lower.source, lower.fs, lower.at));
    }
    if let Some(newer) = &now.newer {
        line("generation", &newer.words());
    }
    if let Some(from) = &report.moved_from {
        line("moved from", from);
    }
    if let Some(Trial { from, to, within }) = &now.trial {
        line(
            "trial",
            &format!("of {to}: where it is not up {within} s after it was entered, the node goes back to {from}"),
        );
    }
    if let Some(changed) = &now.changed {
        line("tree", &format!("CHANGED ON THE SERVER: {}; what was replaced is stale here: reboot", changed.some()));
    }
    if let Some(upper) = &report.upper {
        line("upper", &format!("{} ({}) on {}", upper.source, upper.fs, upper.at));
        if let Some(lun) = &report.iscsi {
            line("target", &format!("{} at {}, as {}", lun.target, lun.portal, lun.initiator));
            line("proved", &format!("{} by CHAP", lun.authenticated));
            line("session", &format!("{}, LUN {}, {}", lun.session, lun.lun, lun.disk));
            line("keeper", &now.kept.as_ref().map_or_else(|| "none was started".to_owned(), ToString::to_string));
            let guard = match lun.guard.as_str() {
                "off" => "NONE: a second node that mounts the LUN destroys what is on it",
                "mmp" => "the file system's own multiple mount protection",
                reservation => &format!("persistent reservation {reservation}"),
            };
            line("guard", guard);
            line("volume", &format!("LABEL={} UUID={}", lun.label, lun.uuid));
        }
        if let Some(Usage { used, size }) = now.usage {
            let percent = used.saturating_mul(100).checked_div(size).unwrap_or(0);
            line("used", &format!("{} of {} ({percent} %)", mebibytes(used), mebibytes(size)));
        }
    }
    now.leases.iter().for_each(|lease| line("lease", &lease.to_string()));
    if let Some(failure) = &report.failure {
        line("failed", &failure.what);
        line("why", &failure.why);
        line("remedy", &failure.remedy);
        line("then", &failure.then);
    }
    let when = if report.moved_from.is_some() { "to move here" } else { "at boot" };
    line("took", &format!("{}.{:03} ms {when}", report.total_us / 1000, report.total_us % 1000));
    for step in &report.steps {
        line("", &format!("{:>7} us  {}", step.us, step.step));
    }
    text
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lun::LunReport;
    use crate::report::{FailureReport, Side, StepReport};

    #[test]
    fn a_person_reads_what_the_root_is() {
        let side = |source: &str, fs: &str, at: &str| {
            Some(Side { source: source.to_owned(), fs: fs.to_owned(), at: at.to_owned() })
        };
        let report = Report {
            result: Outcome::Union,
            union: Some("overlay".to_owned()),
            lower: side("10.13.20.13:/srv/nfsroot/sidus", "nfs", "/ro"),
            upper: side("sidus", "tmpfs", "/rw/sidus/v1/upper"),
            steps: vec![StepReport { step: "move /root to /ro".to_owned(), us: 12 }],
            total_us: 7012,
            ..Report::new("tmpfs")
        };
        let usage = Usage { used: 3 << 20, size: 300 << 20 };
        assert_eq!(
            describe(&report, &Now { usage: Some(usage), ..Now::default() }),
            "root        a union; what is written here is GONE AFTER A REBOOT\n\
             union       overlay, aufs=tmpfs\n\
             lower       10.13.20.13:/srv/nfsroot/sidus (nfs) on /ro, read-only\n\
             upper       sidus (tmpfs) on /rw/sidus/v1/upper\n\
             used        3 MiB of 300 MiB (1 %)\n\
             took        7.012 ms at boot\n\
             \u{20}                12 us  move /root to /ro\n"
        );
    }

    #[test]
    fn a_person_reads_that_the_node_may_go_back() {
        let trial = Trial { from: "20261129-1".to_owned(), to: "20261129-2".to_owned(), within: 300 };
        let text = describe(&Report::new("tmpfs"), &Now { trial: Some(trial), ..Now::default() });
        let line = "trial       of 20261129-2: where it is not up 300 s after it was entered, the node goes back to 20261129-1";
        assert!(text.lines().any(|has| has == line), "{text}");
    }

    #[test]
    fn what_a_stranger_wrote_moves_no_cursor() {
        let lun = LunReport { label: "a\u{1b}[2J\nroot".to_owned(), ..LunReport::default() };
        let upper = Some(Side { source: "/dev/sda".to_owned(), fs: "ext4".to_owned(), at: "/rw".to_owned() });
        let report = Report { upper, iscsi: Some(lun), ..Report::new("iscsi") };
        let text = describe(&report, &Now::default());
        assert!(text.contains("volume      LABEL=a?[2J?root UUID=\n"), "{text}");
    }

    #[test]
    fn a_person_reads_what_failed() {
        let failure = FailureReport {
            what: "choose the union".to_owned(),
            why: "this kernel has no aufs".to_owned(),
            remedy: "boot another".to_owned(),
            left: Vec::new(),
            then: "the plain root".to_owned(),
        };
        let text = describe(&Report { failure: Some(failure), ..Report::new("tmpfs") }, &Now::default());
        assert!(text.starts_with("root        the plain root: the union FAILED at boot\n"), "{text}");
        assert!(text.contains("why         this kernel has no aufs\n"), "{text}");
    }
}
