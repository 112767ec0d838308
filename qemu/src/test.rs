//! The project's tests, all of them, with one count at the end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use anyhow::{anyhow, bail, Context, Result};

use crate::paths::Paths;
use crate::server::Server;
use crate::{faults, image, readme};

/// So many of the first and of the last lines that a failed test said are shown once more at the end.
const SAID: (usize, usize) = (12, 28);

/// What each run of cargo selects from: with other features, it would compile all of it once more.
const ALL: [&str; 3] = ["--workspace", "--features", "sidus/server,sidus/root,sidus/lab"];

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

    /// What to run of a file: the tests whose names have one of these in them, or all where there are none.
    fn of(&self, file: &str) -> Vec<String> {
        if self.is_whole(file) {
            Vec::new()
        } else {
            self.names.clone()
        }
    }
}

/// A file of tests that need the lab, and how they are run: its machines share two processors.
struct Booted {
    title: &'static str,
    /// `tests/<file>.rs`.
    file: &'static str,
    /// So many of its tests at a time.
    at_once: &'static str,
    turn: Turn,
    /// Which of the turn's lanes.
    lane: u8,
}

/// When the files are run: one turn after the other, and in each turn two lanes side by side, of one file after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// What needs no iSCSI target, or has all of them for itself.
    First,
    /// What shares the targets.
    Second,
    /// What measures time, or does something to the server that every node feels: a file at a time.
    Alone,
}

impl Turn {
    const ALL: [Self; 3] = [Self::First, Self::Second, Self::Alone];
}

const BOOTED: [Booted; 12] = [
    Booted { title: "whole boots", file: "boot", at_once: "2", turn: Turn::First, lane: 0 },
    Booted { title: "disks of nodes", file: "sidus_disk_boot", at_once: "1", turn: Turn::First, lane: 1 },
    Booted { title: "generations", file: "sidus_boot", at_once: "2", turn: Turn::First, lane: 1 },
    Booted { title: "initramfs", file: "initramfs", at_once: "2", turn: Turn::First, lane: 1 },
    Booted { title: "whole boots", file: "iscsi_boot", at_once: "2", turn: Turn::Second, lane: 0 },
    Booted { title: "whole boots", file: "switch_boot", at_once: "2", turn: Turn::Second, lane: 0 },
    Booted { title: "network managers", file: "network_boot", at_once: "2", turn: Turn::Second, lane: 0 },
    Booted { title: "faults", file: "faults", at_once: "2", turn: Turn::Second, lane: 1 },
    Booted { title: "whole boots", file: "guard_boot", at_once: "2", turn: Turn::Second, lane: 1 },
    Booted { title: "faults of the server", file: "server_faults", at_once: "1", turn: Turn::Alone, lane: 0 },
    Booted { title: "whole boots against the clock", file: "timed", at_once: "2", turn: Turn::Alone, lane: 0 },
    Booted { title: "shutdowns against the clock", file: "timed_shutdown", at_once: "2", turn: Turn::Alone, lane: 0 },
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
    let cargo = Cargo { paths, faults: wanted.is_whole("faults") };
    let mut ran = Ran::default();
    if wanted.is_all() {
        ran.count.add(checks(paths)?);
    }
    let in_lab = |file: &str| BOOTED.iter().any(|booted| booted.file == file);
    let here = wanted.files.iter().filter(|file| *file != MOUNTING && !in_lab(file));
    let (whole, others): (Vec<_>, Vec<_>) = here.partition(|file| wanted.is_whole(file));
    let others: Vec<_> = others.into_iter().flat_map(|file| ["--test", file]).collect();
    ran.add(cargo.test("unit tests", &[&["--lib", "--bins"], others.as_slice()].concat(), names)?);
    for file in whole {
        ran.add(cargo.test(file, &["--test", file], &[])?);
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        ran.add(cargo.test("mount namespaces", &["--test", MOUNTING], &wanted.of(MOUNTING))?);
    }
    let mut booting = Vec::new();
    for booted in &BOOTED {
        let words = wanted.of(booted.file);
        if words.is_empty() || cargo.has(booted.file, &words)? {
            booting.push(Booting { booted, words });
        }
    }
    if !booting.is_empty() {
        built();
        match booted(paths, mirror) {
            Ok(server) => {
                let found = cargo.boot_all(booting);
                server.stop()?;
                ran.add(found?);
                if readme && ran.count.failed == 0 {
                    readme::fill(paths, &faults::README_MARKS, &faults::table(paths)?)?;
                }
            }
            Err(error) => {
                println!("FAILED: the lab: {error:#}");
                ran.count.add(Count::one(false));
            }
        }
    }
    if !is_root && (wanted.is_all() || wanted.is_whole(MOUNTING)) {
        println!("NOT RUN: the tests in mount namespaces (tests/{MOUNTING}.rs), which need root");
    }
    for name in names {
        if !ran.seen.iter().any(|test| test.contains(name.as_str())) {
            println!("FAILED: no test was run that {name:?} means");
            ran.count.add(Count::one(false));
        }
    }
    if !ran.failed.is_empty() {
        heading("failed");
        ran.failed.iter().for_each(Failed::show);
    }
    Ok(ran.count)
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

/// A file that is run.
struct Booting {
    booted: &'static Booted,
    /// The tests whose names have one of these in them, or all.
    words: Vec<String>,
}

/// What ran.
#[derive(Debug, Default)]
struct Ran {
    count: Count,
    /// The names of the tests.
    seen: Vec<String>,
    failed: Vec<Failed>,
}

/// A test that failed.
#[derive(Debug)]
struct Failed {
    /// What was run: its file, most often.
    title: String,
    name: String,
    /// What libtest shows of it, line by line.
    said: Vec<String>,
}

impl Failed {
    /// The name, and of what was said the beginning and the end.
    fn show(&self) {
        println!("{}: {}", self.title, self.name);
        let (first, last) = SAID;
        let cut = first..self.said.len().saturating_sub(last).max(first);
        for (at, line) in self.said.iter().enumerate() {
            if !cut.contains(&at) {
                println!("    {line}");
            } else if at == cut.start {
                println!("    … {} lines, which stand above", cut.len());
            }
        }
    }
}

impl Ran {
    fn add(&mut self, other: Self) {
        self.count.add(other.count);
        self.seen.extend(other.seen);
        self.failed.extend(other.failed);
    }
}

/// `cargo test`, as often as it takes.
struct Cargo<'a> {
    paths: &'a Paths,
    /// Whether the whole suite of faults is asked for, which takes long, not its core.
    faults: bool,
}

impl Cargo<'_> {
    /// Runs the tests whose names contain one of `words`.
    fn test(&self, title: &str, options: &[&str], words: &[String]) -> Result<Ran> {
        heading(title);
        self.run(title, "", options, &[], words)
    }

    /// Runs files that need the lab, each in its turn.
    fn boot_all(&self, files: Vec<Booting>) -> Result<Ran> {
        heading("the programs that boot nodes");
        let mut all = Command::new("cargo");
        all.args(["test", "--quiet", "--no-run"]).args(ALL);
        for file in &files {
            all.args(["--test", file.booted.file]);
        }
        let status = all.current_dir(self.paths.project()).status().context("cannot run cargo")?;
        if !status.success() {
            bail!("the tests that boot nodes cannot be compiled");
        }
        let mut ran = Ran::default();
        for turn in Turn::ALL {
            let has_turn = files.iter().filter(|file| file.booted.turn == turn);
            let (one, other): (Vec<_>, Vec<_>) = has_turn.partition(|file| file.booted.lane == 0);
            let (one, other) = std::thread::scope(|scope| {
                let other = scope.spawn(|| self.boot_each(&other));
                (self.boot_each(&one), other.join())
            });
            ran.add(one?);
            ran.add(other.map_err(|_| anyhow!("the thread of the second lane ended"))??);
        }
        Ok(ran)
    }

    fn boot_each(&self, files: &[&Booting]) -> Result<Ran> {
        let mut ran = Ran::default();
        for Booting { booted, words } in files {
            let (file, started) = (booted.file, Instant::now());
            heading(&format!("{}: {file}", booted.title));
            // Beside the whole suite of faults there is next to no work.
            let at_once = ["--test-threads", if self.faults && file == "faults" { "3" } else { booted.at_once }];
            ran.add(self.run(file, &format!("{file}: "), &["--test", file], &at_once, words)?);
            println!("{file}: took {:.0} s", started.elapsed().as_secs_f64());
        }
        Ok(ran)
    }

    /// Shows what is printed, each line after `prefix`, and sums what libtest counts. A run that ends without a count failed.
    fn run(&self, title: &str, prefix: &str, options: &[&str], to_tests: &[&str], words: &[String]) -> Result<Ran> {
        let mut child = Command::new("cargo")
            .args(["test", "--no-fail-fast"])
            .args(ALL)
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
        let mut ran = Ran::default();
        if words.is_empty() {
            // A whole file is asked for by its own name.
            ran.seen.extend(options.last().map(|file| (*file).to_owned()));
        }
        let output = child.stdout.take().context("cargo has no output")?;
        let mut saying: Option<String> = None;
        for line in BufReader::new(output).lines() {
            let line = line.context("cannot read cargo's output")?;
            println!("{prefix}{line}");
            if let Some(counted) = parse(&line) {
                ran.count.add(counted);
            }
            if let Some((name, passed)) = test_of(&line) {
                ran.seen.push(name.to_owned());
                if !passed {
                    ran.failed.push(Failed { title: title.to_owned(), name: name.to_owned(), said: Vec::new() });
                }
            }
            if let Some(name) = speaker_of(&line) {
                saying = Some(name.to_owned());
            } else if line == "failures:" {
                saying = None;
            } else if let Some(failed) = ran.failed.iter_mut().rfind(|failed| Some(&failed.name) == saying.as_ref()) {
                failed.said.push(line);
            }
        }
        let success = child.wait()?.success();
        if !success && ran.count.failed == 0 {
            println!("FAILED: {title}: cargo test ended without a failed test");
            ran.count.add(Count::one(false));
        }
        Ok(ran)
    }

    /// Whether a file of tests that need the lab has one whose name contains one of `words`.
    fn has(&self, file: &str, words: &[String]) -> Result<bool> {
        let output = Command::new("cargo")
            .args(["test", "--quiet"])
            .args(ALL)
            .args(["--test", file, "--", "--list"])
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

/// `test boot::plain ... ok`: the test, and whether it passed.
fn test_of(line: &str) -> Option<(&str, bool)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name, outcome != "FAILED"))
}

/// `---- boot::plain stdout ----`: the test whose output follows.
fn speaker_of(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

fn heading(text: &str) {
    println!("\n== {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_file_or_what_is_in_names() {
        let owned = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        for (names, file, expected) in [
            (&[][..], "boot", &[][..]),
            (&["chap"], "iscsi_boot", &["chap"]),
            (&["boot"], "boot", &[]),
            (&["boot"], "iscsi_boot", &["boot"]),
            (&["iscsi_boot", "chap"], "iscsi_boot", &[]),
            (&["iscsi_boot", "chap"], "faults", &["iscsi_boot", "chap"]),
        ] {
            let wanted = Wanted { names: owned(names), files: owned(&["boot", "faults", "iscsi_boot"]) };
            assert_eq!(wanted.of(file), owned(expected), "{names:?}, {file}");
        }
    }

    #[test]
    fn every_file_that_needs_the_lab_has_its_turn() {
        let manifest = include_str!("../../Cargo.toml");
        let targets = manifest.split("[[test]]").skip(1).filter(|target| target.contains("[\"lab\"]"));
        let mut needed: Vec<_> = targets.filter_map(|target| target.split('"').nth(1)).collect();
        let mut run: Vec<_> = BOOTED.iter().map(|booted| booted.file).collect();
        needed.sort_unstable();
        run.sort_unstable();
        assert_eq!(needed, run);
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
        assert_eq!(test_of("test boot::plain ... ok"), Some(("boot::plain", true)));
        assert_eq!(test_of("test boot::plain ... FAILED"), Some(("boot::plain", false)));
        assert_eq!(test_of("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(speaker_of("---- boot::plain stdout ----"), Some("boot::plain"));
        assert_eq!(speaker_of("---- a rule ----"), None);
    }
}
