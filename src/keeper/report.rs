//! What the keeper tells: `/run/sidus/keeper.json`.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use miniserde::{json, Deserialize, Serialize};

use crate::folder::Folder;

/// The folder, below `/run`.
const FOLDER: &str = "sidus";
/// The file in it.
const FILE: &str = "keeper.json";
/// The keeper's own name, as ps(1) shows it. systemd spares at shutdown what root runs under a name with this first
/// letter (<https://systemd.io/ROOT_STORAGE_DAEMONS>).
pub const NAME: &str = "@rootaufs";

/// How it stands with the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It is logged in.
    #[serde(rename = "up")]
    Up,
    /// The connection is lost; the disk waits.
    #[serde(rename = "blocked")]
    Blocked,
    /// The connection is lost, and iscsid runs: it has to log in again.
    #[serde(rename = "iscsid")]
    Iscsid,
    /// The connection is lost for longer than `sidus.iscsi.recovery=`: the kernel fails what the disk is asked.
    #[serde(rename = "failed")]
    Failed,
    /// Another node has or had the LUN: the session was ended, and the keeper with it.
    #[serde(rename = "lost")]
    Lost,
}

/// The keeper's report. Times are in milliseconds since the kernel started (proc_uptime(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperReport {
    /// The keeper's process.
    pub pid: u32,
    /// The kernel's number of the session.
    pub session: u32,
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since_ms: u64,
    /// How often the session was lost and came back.
    pub recoveries: u32,
    /// How long the disk was blocked the last time.
    pub blocked_ms: u64,
    /// What failed last; empty where nothing did.
    pub last_error: String,
}

impl KeeperReport {
    /// Writes it into the folder `/run`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, run: &Folder) -> io::Result<()> {
        run.replace(FOLDER, FILE, &(json::to_string(self) + "\n"))
    }

    /// Removes the one of the machine whose root is `root`: there is no keeper any more, and none is missing.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove(root: &Path) -> io::Result<()> {
        fs::remove_file(root.join("run").join(FOLDER).join(FILE))
    }

    /// Reads the one of the machine whose root is `root`; `None` where there is none.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::InvalidData`].
    pub fn read(root: &Path) -> io::Result<Option<Self>> {
        match fs::read_to_string(root.join("run").join(FOLDER).join(FILE)) {
            Ok(text) => {
                let report = json::from_str(&text);
                report.map(Some).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not the keeper's report"))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the keeper that wrote it still runs on the machine whose root is `root`.
    #[must_use]
    pub fn is_kept(&self, root: &Path) -> bool {
        fs::read(root.join(format!("proc/{}/cmdline", self.pid)))
            .is_ok_and(|line| line.split(|byte| *byte == 0).next() == Some(NAME.as_bytes()))
    }
}

/// What is known of the keeper now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it told last.
    pub report: KeeperReport,
    /// Whether it runs.
    pub alive: bool,
    /// How long what it told is true.
    pub since: Duration,
}

impl Kept {
    /// Looks at the machine whose root is `root`; `None` where there never was a keeper.
    ///
    /// # Errors
    /// Those of [`KeeperReport::read`], and of `/proc/uptime`.
    pub fn look(root: &Path) -> io::Result<Option<Self>> {
        let Some(report) = KeeperReport::read(root)? else { return Ok(None) };
        let now = uptime_ms(&fs::read_to_string(root.join("proc/uptime"))?);
        let since = Duration::from_millis(now.saturating_sub(report.since_ms));
        Ok(Some(Self { alive: report.is_kept(root), since, report }))
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let KeeperReport { pid, state, recoveries, blocked_ms, last_error, .. } = &self.report;
        let since = self.since.as_secs();
        if *state == State::Lost {
            return write!(f, "ended {since} s ago: LUN LOST, nothing more is written: {last_error}; reboot");
        }
        if !self.alive {
            return write!(
                f,
                "GONE (it was process {pid}): the disk is lost at the session's next fault; \"rootaufs keep\" starts another"
            );
        }
        match state {
            State::Up | State::Lost => write!(f, "process {pid}; session up since {since} s")?,
            State::Blocked => return write!(f, "process {pid}; DISK BLOCKED since {since} s: {last_error}"),
            State::Failed => {
                return write!(
                f,
                "process {pid}; DISK FAILED since {since} s, and what was written since then is lost: {last_error}; \
                     reboot when the target is back"
            )
            }
            State::Iscsid => {
                return write!(f, "process {pid}; DISK BLOCKED since {since} s, left to iscsid: {last_error}")
            }
        }
        match recoveries {
            0 => Ok(()),
            times => write!(
                f,
                ", logged in again {times} times, the last time after {}.{} s: {last_error}",
                blocked_ms / 1000,
                blocked_ms % 1000 / 100
            ),
        }
    }
}

/// Milliseconds since the kernel started, from the text of `/proc/uptime`.
#[must_use]
pub fn uptime_ms(text: &str) -> u64 {
    let seconds = text.split_ascii_whitespace().next().unwrap_or_default();
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let hundredths: u64 = part.get(..2).unwrap_or("0").parse().unwrap_or(0);
    whole.parse::<u64>().unwrap_or(0).saturating_mul(1000).saturating_add(hundredths.saturating_mul(10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let root = std::env::temp_dir().join(format!("sidus-keeper-report-{}", std::process::id()));
        fs::create_dir_all(root.join("run")).unwrap();
        assert_eq!(KeeperReport::read(&root).unwrap(), None);
        let report = KeeperReport {
            pid: 77,
            session: 1,
            state: State::Blocked,
            since_ms: 12_340,
            recoveries: 2,
            blocked_ms: 900,
            last_error: "\"quoted\"".to_owned(),
        };
        report.write(&Folder::open(&root.join("run")).unwrap()).unwrap();
        assert_eq!(KeeperReport::read(&root).unwrap().as_ref(), Some(&report));
        assert!(!report.is_kept(&root));
        fs::create_dir_all(root.join("proc/77")).unwrap();
        for (line, kept) in [("@rootaufs\0keep\0", true), ("rootaufs\0keep\0", false), ("", false)] {
            fs::write(root.join("proc/77/cmdline"), line).unwrap();
            assert_eq!(report.is_kept(&root), kept, "{line:?}");
        }
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_person_reads_how_it_stands() {
        let report = KeeperReport {
            pid: 77,
            session: 1,
            state: State::Up,
            since_ms: 0,
            recoveries: 0,
            blocked_ms: 12_340,
            last_error: "the portal is silent".to_owned(),
        };
        let shown = |report: &KeeperReport, alive| {
            Kept { report: report.clone(), alive, since: Duration::from_millis(40_900) }.to_string()
        };
        assert_eq!(shown(&report, true), "process 77; session up since 40 s");
        let again = KeeperReport { recoveries: 2, ..report.clone() };
        assert_eq!(
            shown(&again, true),
            "process 77; session up since 40 s, logged in again 2 times, the last time after 12.3 s: the portal is silent"
        );
        let failed = KeeperReport { state: State::Failed, ..report.clone() };
        assert_eq!(
            shown(&failed, true),
            "process 77; DISK FAILED since 40 s, and what was written since then is lost: the portal is silent; reboot \
             when the target is back"
        );
        let lost = KeeperReport { state: State::Lost, ..report.clone() };
        assert_eq!(
            shown(&lost, false),
            "ended 40 s ago: LUN LOST, nothing more is written: the portal is silent; reboot"
        );
        let blocked = KeeperReport { state: State::Blocked, ..report };
        assert_eq!(shown(&blocked, true), "process 77; DISK BLOCKED since 40 s: the portal is silent");
        assert!(shown(&blocked, false).starts_with("GONE (it was process 77): "), "{}", shown(&blocked, false));
    }

    #[test]
    fn uptimes() {
        for (text, expected) in [("12.34 20.00\n", 12_340), ("7.5 1\n", 7000), ("0.09 0", 90), ("x", 0), ("", 0)] {
            assert_eq!(uptime_ms(text), expected, "{text:?}");
        }
    }
}
