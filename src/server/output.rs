//! What people read while something is done, and programs when it is done.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often a line says that something is still at work, where no terminal shows it.
const REMIND: Duration = Duration::from_secs(30);
/// How wide a line of progress is.
const WIDTH: usize = 78;

/// Something long: a line of the terminal that changes, or a line now and then.
#[derive(Debug)]
pub struct Progress {
    what: String,
    started: Instant,
    shown: Instant,
    terminal: bool,
}

impl Progress {
    /// Begins; `what` tells what is done.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let progress = Self {
            what: what.to_owned(),
            started: Instant::now(),
            shown: Instant::now(),
            terminal: io::stderr().is_terminal(),
        };
        if !progress.terminal {
            eprintln!("  {what} …");
        }
        progress
    }

    /// Shows how long it has taken, and where it is.
    pub fn show(&mut self, at: &str) {
        let interval = if self.terminal { Duration::from_millis(200) } else { REMIND };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        if self.terminal {
            let line: String = format!("  {}: {seconds} s  {at}", self.what).chars().take(WIDTH).collect();
            eprint!("\r\x1b[K{line}");
        } else {
            eprintln!("  {}: {seconds} s so far", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        let start = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{start}  {}: {seconds:.1} s", self.what);
    }
}

/// Prints a line, or more, as [`plain`] text.
pub fn print(text: &str) {
    put(&plain(text));
}

/// Says what an administrator should know, as [`plain`] text.
pub fn note(text: &str) {
    eprintln!("note: {}", plain(text));
}

/// A reader who went away is no error of ours.
fn put(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Without control characters but those of lines: a terminal would obey them, and names of a tree's files may have any.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Prints a list for programs.
///
/// # Errors
/// Those of serde_json, for keys that are no text.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    // Within its texts, JSON has escapes of its own.
    put(&text);
    Ok(())
}

/// Lines whose cells begin below each other.
#[must_use]
pub fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_no_name() {
        for (text, shown) in [
            ("~ /etc/x\n+ é\ty\n", "~ /etc/x\n+ é\ty\n"),
            ("a\x1b]0;title\x07\r\u{9b}2J\x7f\n", "a\\u{1b}]0;title\\u{7}\\r\\u{9b}2J\\u{7f}\n"),
        ] {
            assert_eq!(plain(text), shown);
        }
    }
}
