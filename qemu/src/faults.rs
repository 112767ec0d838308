//! What the scenarios of faults found, as a table: each of them notes its rows, whatever process it runs in.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::readme;

/// Where the README has the table.
pub(crate) const README_MARKS: [&str; 2] = ["<!-- faults: begin -->\n", "<!-- faults: end -->\n"];

/// Notes one fault: what was done, what is expected of the node, and what was found; prints it as well.
pub fn note(fault: &str, expected: &str, found: &str) -> Result<()> {
    println!("fault: {fault}: {found}");
    let path = path(&Paths::open()?);
    let row = format!("| {fault} | {expected} | {found} |\n");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(row.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// Forgets what earlier runs noted.
pub(crate) fn forget(paths: &Paths) -> Result<()> {
    let path = path(paths);
    match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", path.display())),
    }
}

/// The table of what was noted since.
pub(crate) fn table(paths: &Paths) -> Result<String> {
    let path = path(paths);
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows: Vec<&str> = text.lines().collect();
    rows.sort_unstable();
    rows.dedup();
    let (date, machine) = (readme::today()?, readme::machine() + ", QEMU without KVM");
    Ok(format!("{date}, {machine}:\n\n| fault | expected | found |\n|---|---|---|\n{}\n", rows.join("\n")))
}

fn path(paths: &Paths) -> PathBuf {
    paths.log().join("faults.rows")
}
