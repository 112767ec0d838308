//! The project's tests, all of them, with one count at the end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::server::Server;
use crate::{faults, image, readme};

/// Tests that boot machines run this many at a time: the machines share two cores with the server.
const AT_ONCE: &str = "--test-threads=2";

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
    }

    fn one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into() }
    }
}

/// Runs the tests whose names contain one of `names`; without names, all, and format, lints and shell files before. Where
/// all pass, what the scenarios of faults found goes into the README, if `readme` asks for that.
pub fn run(paths: &Paths, mirror: Option<&str>, names: &[String], readme: bool) -> Result<Count> {
    let mut count = Count::default();
    faults::forget(paths)?;
    if names.is_empty() {
        count.add(checks(paths)?);
    }
    count.add(cargo_test(paths, "unit tests", &["--workspace"], &[], names)?);
    match booted(paths, mirror) {
        Ok(server) => {
            let with_lab = |title: &str, target: &str, threads: &str| {
                let options = ["--package", "sidus", "--features", "lab", "--test", target];
                cargo_test(paths, title, &options, &[threads], names)
            };
            let boot = with_lab("whole boots", "*boot", AT_ONCE);
            let initramfs = with_lab("update-initramfs", "initramfs", AT_ONCE);
            let faults = with_lab("faults", "faults", AT_ONCE);
            let server_faults = with_lab("faults of the server", "server_faults", "--test-threads=1");
            let timed = with_lab("whole boots against the clock", "timed*", "--test-threads=1");
            server.stop()?;
            count.add(boot?);
            count.add(initramfs?);
            count.add(faults?);
            count.add(server_faults?);
            count.add(timed?);
            if readme && count.failed == 0 {
                readme::fill(paths, &faults::README_MARKS, &faults::table(paths)?)?;
            }
        }
        Err(error) => {
            println!("FAILED: the lab: {error:#}");
            count.add(Count::one(false));
        }
    }
    Ok(count)
}

fn booted(paths: &Paths, mirror: Option<&str>) -> Result<Server> {
    heading("the lab");
    image::build_all(paths, mirror)?;
    let server = Server::at(paths);
    server.start()?;
    Ok(server)
}

/// What looks at the source only.
fn checks(paths: &Paths) -> Result<Count> {
    let mut count = Count::default();
    let shell_files = shell_files(paths)?;
    let mut shellcheck = vec!["shellcheck"];
    shellcheck.extend(shell_files.iter().map(String::as_str));
    let clippy =
        ["cargo", "clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"];
    for (name, command) in [
        ("format", ["cargo", "fmt", "--all", "--check"].as_slice()),
        ("lints", clippy.as_slice()),
        ("shell files", shellcheck.as_slice()),
    ] {
        heading(name);
        let [program, arguments @ ..] = command else {
            continue;
        };
        let passed = Command::new(program)
            .args(arguments)
            .current_dir(paths.project())
            .status()
            .with_context(|| format!("cannot run {program}"))?
            .success();
        println!("{name}: {}", if passed { "ok" } else { "FAILED" });
        count.add(Count::one(passed));
    }
    Ok(count)
}

/// The project's files that begin with a shell's name.
fn shell_files(paths: &Paths) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(paths.project())
        .output()
        .context("cannot run git")?;
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_shell = |name: &&str| {
        let first = std::fs::read(paths.project().join(name)).unwrap_or_default();
        ["#!/bin/sh", "#!/bin/bash", "#!/usr/bin/env bash"].iter().any(|start| first.starts_with(start.as_bytes()))
    };
    Ok(names.split('\0').filter(|name| !name.is_empty()).filter(is_shell).map(str::to_owned).collect())
}

/// Runs `cargo test`, shows what it prints, and sums what libtest counts. A run that ends without a count failed.
fn cargo_test(paths: &Paths, title: &str, options: &[&str], to_tests: &[&str], names: &[String]) -> Result<Count> {
    heading(title);
    let mut child = Command::new("cargo")
        .args(["test", "--no-fail-fast"])
        .args(options)
        .arg("--")
        .args(to_tests)
        .args(names)
        .current_dir(paths.project())
        // An error says where it comes from in words.
        .env("RUST_BACKTRACE", "0")
        .envs(names.iter().any(|name| name == "faults").then_some(("SIDUS_LAB_FAULTS", "all")))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let mut count = Count::default();
    let output = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("cannot read cargo's output")?;
        println!("{line}");
        if let Some(counted) = parse(&line) {
            count.add(counted);
        }
    }
    let success = child.wait()?.success();
    if !success && count.failed == 0 {
        println!("FAILED: {title}: cargo test ended without a failed test");
        count.add(Count::one(false));
    }
    Ok(count)
}

/// `test result: ok. 3 passed; 0 failed; …`
fn parse(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(what)).and_then(|number| number.trim().parse().ok())
    };
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

fn heading(text: &str) {
    println!("\n== {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_is_counted() {
        for (line, passed, failed) in [
            ("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s", 3, 0),
            (
                "test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
                12,
                1,
            ),
        ] {
            assert_eq!(parse(line), Some(Count { passed, failed }), "{line}");
        }
        assert_eq!(parse("test boot::plain ... ok"), None);
    }
}
