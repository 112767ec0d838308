//! The log: `/dev/kmsg`, see the kernel's `Documentation/ABI/testing/dev-kmsg`. One record is one line and one write.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{open, openat, Mode, OFlags};

/// How urgent a record is: the levels of syslog(3) that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something is not as it should be.
    Warning,
    /// What was done.
    Info,
    /// Each step; shown with `sidus.debug`.
    Debug,
}

impl Level {
    /// The number of syslog(3).
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Info => 6,
            Self::Debug => 7,
        }
    }
}

/// The kernel cuts a record at about 1,000 bytes; what is longer is cut here, and says so.
const RECORD: usize = 900;

/// A log on `/dev/kmsg`, and on the console where the kernel does not show it there.
#[derive(Debug, Clone)]
pub struct Log {
    /// `/dev`, which is found by no path after the switch to the real root.
    dev: Option<Arc<OwnedFd>>,
    /// What the kernel shows on the console: read when it matters, which is rare, since each file costs time.
    printk: PathBuf,
    /// Where [`Level::Debug`] is wanted.
    debug: bool,
}

impl Log {
    /// The log of the machine whose root is `root`.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dev = open(root.join("dev"), flags, Mode::empty()).ok().map(Arc::new);
        Self { dev, printk: root.join("proc/sys/kernel/printk"), debug: false }
    }

    /// Turns [`Level::Debug`] on or off.
    pub fn set_debug(&mut self, on: bool) {
        self.debug = on;
    }

    /// Logs one line. What must be read (an error, a warning) goes to the console as well where the kernel, with `quiet`
    /// or `loglevel=`, would keep it from there: said once, wherever.
    pub fn say(&self, level: Level, text: &str) {
        if level == Level::Debug && !self.debug {
            return;
        }
        // With sidus.debug, the steps are wanted on the console: the level that a console shows by default.
        let level = if level == Level::Debug { Level::Info } else { level };
        let line = one_line(text);
        let written = self.write(level, &line);
        if level <= Level::Warning && !(written && self.is_shown(level)) {
            eprintln!("rootaufs: {line}");
        }
    }

    /// Whether the kernel shows a record of this level on the console.
    fn is_shown(&self, level: Level) -> bool {
        // proc_sys_kernel(5): the first number of printk; what is below it is shown.
        let printk = fs::read_to_string(&self.printk).unwrap_or_default();
        let limit = printk.split_ascii_whitespace().next().and_then(|limit| limit.parse().ok()).unwrap_or(0);
        level.number() < limit
    }

    /// Whether the record reached the kernel.
    fn write(&self, level: Level, line: &str) -> bool {
        // Opened for each record: the kernel limits the rate of each open file to ten records in five seconds, and drops
        // the rest without a word to the writer.
        let Some(dev) = &self.dev else { return false };
        let kmsg = openat(&**dev, "kmsg", OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty());
        let Ok(mut kmsg) = kmsg.map(File::from) else { return false };
        kmsg.write_all(format!("<{}>rootaufs: {line}\n", level.number()).as_bytes()).is_ok()
    }
}

/// Text as one line: control characters are shown as `?`, what is too long is cut.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if line.len() > RECORD {
        let end = (0..=RECORD).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push_str(" …");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\nb\u{1b}[2J"), "a?b?[2J");
        let long = one_line(&"é".repeat(1000));
        assert!(long.len() < 1000 && long.ends_with('…'), "{} bytes", long.len());
    }
}
