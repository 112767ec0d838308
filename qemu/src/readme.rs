//! What runs write into the README: figures, with the date and the machine.

use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;

/// The date, as in 2026-11-26.
pub(crate) fn today() -> Result<String> {
    let output = Command::new("date").arg("+%F").output().context("cannot run date")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The machine, in words.
pub(crate) fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.split_once(": ").map(|(_, v)| v));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} with {cores} cores", field("model name").unwrap_or("an unknown processor"))
}

/// Replaces what stands between two marks.
pub(crate) fn fill(paths: &Paths, marks: &[&str; 2], text: &str) -> Result<()> {
    let path = paths.project().join("README.md");
    let readme = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let [begin, end] = marks;
    let place = readme.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = place.with_context(|| format!("{} has no {begin:?} and {end:?}", path.display()))?;
    std::fs::write(&path, format!("{before}{begin}{text}{end}{after}"))
        .with_context(|| format!("cannot write {}", path.display()))
}
