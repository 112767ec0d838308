//! The project's tests, all of them, with one count at the end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::ScopedJoinHandle;

use anyhow::{bail, Context, Result};

use crate::paths::Paths;
use crate::programs::SERVER_FEATURE;
use crate::server::Server;
use crate::{faults, image, readme};

/// Tests that boot machines run this many at a time: the machines share two cores with the server.
const AT_ONCE: &str = "--test-threads=2";

/// Those that wait more than they work.
const MORE_AT_ONCE: &str = "--test-threads=3";

/// Those that measure time, or do something to the server.
const ALONE: &str = "--test-threads=1";

/// The tests that need root.
const MOUNTING: &str = "union";

/// The hunts themselves are for cargo-fuzz; that they can be begun is seen here.
const FUZZ_TARGETS: [&str; 8] = [
    "cargo",
    "build",
    "--quiet",
    "--locked",
    "--manifest-path",
    "tests/fuzz/Cargo.toml",
    "--target-dir",
    "target/fuzz",
];

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

/// What is asked for.
#[derive(Debug, Default)]
struct Wanted {
    /// A test is meant by a name that its own name contains, and by that of its file; without names, all are.
    names: Vec<String>,
    /// The files of tests, `tests/<file>.rs`.
    files: Vec<String>,
}

impl Wanted {
    fn new(paths: &Paths, names: &[String]) -> Result<Self> {
        let mut files = Vec::new();
        let folder = paths.project().join("tests");
        for entry in std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
            files.extend(entry?.file_name().to_str().and_then(|name| name.strip_suffix(".rs")).map(str::to_owned));
        }
        files.sort();
        Ok(Self { names: names.to_owned(), files })
    }

    fn is_all(&self) -> bool {
        self.names.is_empty()
    }

    fn is_whole(&self, file: &str) -> bool {
        self.names.iter().any(|name| name == file)
    }

    /// What to run of the files that match `target`: which, and by which parts of names.
    fn of(&self, target: &str) -> Vec<(String, Vec<String>)> {
        if self.is_all() {
            return vec![(target.to_owned(), Vec::new())];
        }
        let words = |file: &str| if self.is_whole(file) { Vec::new() } else { self.names.clone() };
        self.files.iter().filter(|file| matches(target, file)).map(|file| (file.clone(), words(file))).collect()
    }
}

/// Whether `target`, a name or `*` and its end, is that file.
fn matches(target: &str, file: &str) -> bool {
    target.strip_prefix('*').map_or(file == target, |end| file.ends_with(end))
}

/// What needs the lab: a title, the files of tests, and how many tests at a time.
const BOOTED: [(&str, &str, &str); 6] = [
    ("whole boots", "*boot", AT_ONCE),
    ("update-initramfs", "initramfs", AT_ONCE),
    ("faults", "faults", MORE_AT_ONCE),
    ("faults of the server", "server_faults", ALONE),
    ("whole boots against the clock", "timed", ALONE),
    ("shutdowns against the clock", "timed_shutdown", ALONE),
];

/// Runs the tests in the files that `names` are, and those whose names contain one of them; without names, all, and
/// format, lints and shell files before. Where all pass, what the scenarios of faults found goes into the README, if
/// `readme` asks for that.
pub fn run(paths: &Paths, mirror: Option<&str>, names: &[String], readme: bool) -> Result<Count> {
    faults::forget(paths)?;
    let wanted = Wanted::new(paths, names)?;
    std::thread::scope(|scope| {
        // Where all is to be run, the lab is needed: its trees are downloaded while the source is checked. What cannot be
        // built is told when it is asked for.
        let lab = wanted.is_all().then(|| scope.spawn(|| image::build_all(paths, mirror)));
        run_wanted(paths, mirror, &wanted, readme, || drop(lab.map(ScopedJoinHandle::join)))
    })
}

fn run_wanted(
    paths: &Paths,
    mirror: Option<&str>,
    wanted: &Wanted,
    readme: bool,
    built: impl FnOnce(),
) -> Result<Count> {
    let names = &wanted.names;
    let mut count = Count::default();
    let mut cargo = Cargo { paths, seen: Vec::new(), faults: wanted.is_whole("faults") };
    if wanted.is_all() {
        count.add(checks(paths)?);
    }
    count.add(cargo.test("unit tests", &["--workspace", "--features", SERVER_FEATURE], &[], names)?);
    let in_lab = |file: &str| BOOTED.iter().any(|(_, target, _)| matches(target, file));
    for file in wanted.files.iter().filter(|file| wanted.is_whole(file) && *file != MOUNTING && !in_lab(file)) {
        count.add(cargo.test(file, &["--package", "sidus", "--features", SERVER_FEATURE, "--test", file], &[], &[])?);
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        for (file, words) in wanted.of(MOUNTING) {
            let options = ["--package", "sidus", "--features", "root", "--test", &file];
            count.add(cargo.test("mount namespaces", &options, &[], &words)?);
        }
    }
    let mut booting = Vec::new();
    for (title, target, threads) in BOOTED {
        for (file, words) in wanted.of(target) {
            if words.is_empty() || cargo.has(&file, &words)? {
                booting.push((title, threads, file, words));
            }
        }
    }
    if !booting.is_empty() {
        built();
        match booted(paths, mirror) {
            Ok(server) => {
                let run = booting.into_iter().map(|(title, threads, file, words)| {
                    cargo.test(title, &["--package", "sidus", "--features", "lab", "--test", &file], &[threads], &words)
                });
                let counts: Vec<_> = run.collect();
                server.stop()?;
                for counted in counts {
                    count.add(counted?);
                }
                if readme && count.failed == 0 {
                    readme::fill(paths, &faults::README_MARKS, &faults::table(paths)?)?;
                }
            }
            Err(error) => {
                println!("FAILED: the lab: {error:#}");
                count.add(Count::one(false));
            }
        }
    }
    if !is_root && (wanted.is_all() || wanted.is_whole(MOUNTING)) {
        println!("NOT RUN: the tests in mount namespaces (tests/{MOUNTING}.rs), which need root");
    }
    for name in names {
        if !cargo.seen.iter().any(|test| test.contains(name.as_str())) {
            println!("FAILED: no test was run that {name:?} means");
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
        ("fuzz targets", &FUZZ_TARGETS),
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

/// `cargo test`, as often as it takes.
struct Cargo<'a> {
    paths: &'a Paths,
    /// The names of the tests that ran.
    seen: Vec<String>,
    /// Whether the whole suite of faults is asked for, which takes long, not its core.
    faults: bool,
}

impl Cargo<'_> {
    /// Runs the tests whose names contain one of `words`, shows what is printed, and sums what libtest counts. A run that
    /// ends without a count failed.
    fn test(&mut self, title: &str, options: &[&str], to_tests: &[&str], words: &[String]) -> Result<Count> {
        heading(title);
        let mut child = Command::new("cargo")
            .args(["test", "--no-fail-fast"])
            .args(options)
            .arg("--")
            .args(to_tests)
            .args(words)
            .current_dir(self.paths.project())
            // An error says where it comes from in words.
            .env("RUST_BACKTRACE", "0")
            .envs(self.faults.then_some(("SIDUS_LAB_FAULTS", "all")))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let mut count = Count::default();
        if words.is_empty() {
            // A whole file is asked for by its own name.
            self.seen.extend(options.last().map(|file| (*file).to_owned()));
        }
        let output = child.stdout.take().context("cargo has no output")?;
        for line in BufReader::new(output).lines() {
            let line = line.context("cannot read cargo's output")?;
            println!("{line}");
            if let Some(counted) = parse(&line) {
                count.add(counted);
            }
            self.seen.extend(test_of(&line).map(str::to_owned));
        }
        let success = child.wait()?.success();
        if !success && count.failed == 0 {
            println!("FAILED: {title}: cargo test ended without a failed test");
            count.add(Count::one(false));
        }
        Ok(count)
    }

    /// Whether a file of tests that need the lab has one whose name contains one of `words`.
    fn has(&self, file: &str, words: &[String]) -> Result<bool> {
        let output = Command::new("cargo")
            .args(["test", "--quiet", "--package", "sidus", "--features", "lab", "--test", file, "--", "--list"])
            .args(words)
            .current_dir(self.paths.project())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        if !output.status.success() {
            bail!("tests/{file}.rs cannot be compiled");
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().any(|line| line.ends_with(": test")))
    }
}

/// `test result: ok. 3 passed; 0 failed; …`
fn parse(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(what)).and_then(|number| number.trim().parse().ok())
    };
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

/// `test boot::plain ... ok`
fn test_of(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.split_once(" ... ").map(|(name, _)| name)
}

fn heading(text: &str) {
    println!("\n== {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_file_or_what_is_in_names() {
        let runs = |names: &[&str], target: &str| {
            let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
            let wanted = Wanted { names: owned(names), files: owned(&["boot", "faults", "iscsi_boot"]) };
            let run = |(file, words): (String, Vec<String>)| [vec![file], words].concat().join(" ");
            wanted.of(target).into_iter().map(run).collect::<Vec<_>>()
        };
        for (names, target, expected) in [
            (&[][..], "*boot", vec!["*boot"]),
            (&["chap"], "*boot", vec!["boot chap", "iscsi_boot chap"]),
            (&["boot"], "*boot", vec!["boot", "iscsi_boot boot"]),
            (&["iscsi_boot", "chap"], "*boot", vec!["boot iscsi_boot chap", "iscsi_boot"]),
            (&["chap"], "faults", vec!["faults chap"]),
        ] {
            assert_eq!(runs(names, target), expected, "{names:?}, {target}");
        }
    }

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
        assert_eq!(test_of("test boot::plain ... ok"), Some("boot::plain"));
        assert_eq!(test_of("test result: ok. 3 passed; 0 failed"), None);
    }
}
