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

/// Prints a line, or more. A reader who went away is no error of ours.
pub fn print(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Prints a list for programs.
///
/// # Errors
/// Those of serde_json, for keys that are no text.
pub fn print_json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text);
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
