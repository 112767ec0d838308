//! The project's tests, all of them, with one count at the end.

mod cargo;
mod outcome;
mod root;
mod turns;

use std::process::Command;
use std::time::Instant;

use anyhow::{anyhow, Context, Result};

use self::cargo::{Booting, Cargo};
pub use self::outcome::Count;
use self::outcome::{Failed, Ran};
use self::turns::BOOTED;
use crate::paths::Paths;
use crate::server::Server;
use crate::{faults, image, readme};

/// The tests that mount, all of which need root.
const MOUNTING: &str = "union";

/// The tests that kill commands everywhere: they take long, and need no server.
const KILLING: &str = "sidus_crash";

/// A command that looks at the source, and its name.
type Check = (&'static str, &'static [&'static str]);

const FORMAT: Check = ("format", &["cargo", "fmt", "--all", "--check"]);

/// What compiles, each in a folder of its own: cargo lets one at a time into a folder.
const COMPILING: [Check; 2] = [
    (
        "lints",
        &[
            "cargo",
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--target-dir",
            "target/lints",
            "--",
            "-D",
            "warnings",
        ],
    ),
    // The hunts themselves are for cargo-fuzz; that they can be begun is seen here.
    (
        "fuzz targets",
        &[
            "cargo",
            "build",
            "--quiet",
            "--locked",
            "--manifest-path",
            "tests/fuzz/Cargo.toml",
            "--target-dir",
            "target/fuzz",
        ],
    ),
];

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

/// Runs the tests in the files that `names` are, and those whose names contain one of them; without names, all, and
/// what looks at the source. Where all pass, what the scenarios of faults found goes into the README, if
/// `readme` asks for that. What cannot be run has failed, and keeps no other from being run.
pub fn run(paths: &Paths, mirror: Option<&str>, names: &[String], readme: bool) -> Count {
    let started = Instant::now();
    let wanted = faults::forget(paths).and_then(|()| Wanted::new(paths, names));
    let ran = wanted.and_then(|wanted| {
        std::thread::scope(|scope| {
            // Where all is to be run, the lab is needed: it is built and its server boots while other tests run. What of it
            // fails is told when it is asked for.
            let lab = wanted.is_all().then(|| scope.spawn(|| booted(paths, mirror)));
            run_wanted(paths, &wanted, readme, || match lab {
                Some(lab) => lab.join().map_err(|_| anyhow!("the thread that builds it ended"))?,
                None => booted(paths, mirror),
            })
        })
    });
    let ran = or_failed("the tests", ran);
    if !ran.failed.is_empty() {
        heading("failed");
        ran.failed.iter().for_each(Failed::show);
    }
    let took = started.elapsed().as_secs();
    println!("\nIt took {} min {} s.", took / 60, took % 60);
    ran.count
}

/// What ran, or one failure where it could not be.
fn or_failed(what: &str, ran: Result<Ran>) -> Ran {
    ran.unwrap_or_else(|error| {
        println!("FAILED: {what}: {error:#}");
        Ran { count: Count::one(false), ..Ran::default() }
    })
}

fn run_wanted(paths: &Paths, wanted: &Wanted, readme: bool, lab: impl FnOnce() -> Result<Server>) -> Result<Ran> {
    let names = &wanted.names;
    let cargo = Cargo { paths, faults: wanted.is_whole("faults") };
    let mut ran = Ran::default();
    if wanted.is_all() {
        ran.add(or_failed("what looks at the source", quick_checks(paths)));
        if let Err(error) = cargo.compile_beside_the_lab() {
            ran.add(or_failed("the tests' programs", Err(error)));
        }
    }
    // What goes into the README is told of nodes that had the machine for themselves.
    let without_server = wanted.is_all().then_some(|| {
        let mut ran = compiling_checks(paths);
        ran.add(or_failed(KILLING, cargo.test_beside("killed at each call", KILLING)));
        ran
    });
    let (mut beside, after) = if readme { (None, without_server) } else { (without_server, None) };
    let is_root = rustix::process::geteuid().is_root();
    let has_own_time = |file: &str| {
        file == MOUNTING
            || !is_root && root::FILES.contains(&file)
            || wanted.is_all() && file == KILLING
            || BOOTED.iter().any(|booted| booted.file == file)
    };
    let here = wanted.files.iter().filter(|file| !has_own_time(file));
    let (whole, others): (Vec<_>, Vec<_>) = here.partition(|file| wanted.is_whole(file));
    let others: Vec<_> = others.into_iter().flat_map(|file| ["--test", file]).collect();
    let mut test = |title: &str, options: &[&str], words: &[String]| {
        ran.add(or_failed(title, cargo.test(title, options, words)));
    };
    test("unit tests", &[&["--lib", "--bins"], others.as_slice()].concat(), names);
    for file in whole {
        test(file, &["--test", file], &[]);
    }
    let root = if is_root {
        test("mount namespaces", &["--test", MOUNTING], &wanted.of(MOUNTING));
        Vec::new()
    } else {
        root::programs(&cargo, wanted).unwrap_or_else(|error| {
            ran.add(or_failed("what needs root", Err(error)));
            Vec::new()
        })
    };
    let mut booting = Vec::new();
    for booted in &BOOTED {
        let words = wanted.of(booted.file);
        match cargo.has(booted.file, &words) {
            Ok(true) => booting.push(Booting { booted, words }),
            Ok(false) => {}
            Err(error) => ran.add(or_failed(booted.file, Err(error))),
        }
    }
    if !booting.is_empty() || !root.is_empty() {
        match lab() {
            Ok(server) => {
                if !root.is_empty() {
                    ran.add(or_failed("what needs root", root::run_on(&server, &root)));
                }
                if !booting.is_empty() {
                    ran.add(or_failed("what boots nodes", cargo.boot_all(booting, &mut beside)));
                }
                let stopped = server.stop().map(|()| Ran::default());
                ran.add(or_failed("the lab's server", stopped));
                if readme && ran.count.failed == 0 {
                    readme::fill(paths, &faults::README_MARKS, &faults::table(paths)?)?;
                }
            }
            Err(error) => ran.add(or_failed("the lab", Err(error))),
        }
    }
    // Where nothing was run that they could be beside.
    if let Some(without_server) = beside.or(after) {
        ran.add(without_server());
    }
    for name in names {
        if !ran.seen.iter().any(|test| test.contains(name.as_str())) {
            println!("FAILED: no test was run that {name:?} means");
            ran.count.add(Count::one(false));
        }
    }
    Ok(ran)
}

fn booted(paths: &Paths, mirror: Option<&str>) -> Result<Server> {
    heading("the lab");
    image::build_all(paths, mirror)?;
    let server = Server::at(paths);
    server.start()?;
    Ok(server)
}

/// What takes no time: the source's format, and its shell files.
fn quick_checks(paths: &Paths) -> Result<Ran> {
    let shell_files = shell_files(paths)?;
    let shellcheck: Vec<_> = std::iter::once("shellcheck").chain(shell_files.iter().map(String::as_str)).collect();
    let mut ran = check(paths, FORMAT);
    ran.add(check(paths, ("shell files", &shellcheck)));
    Ok(ran)
}

/// What compiles the source once more.
fn compiling_checks(paths: &Paths) -> Ran {
    COMPILING.into_iter().fold(Ran::default(), |mut ran, one| {
        ran.add(check(paths, one));
        ran
    })
}

/// Runs it, and shows in one piece what it says: other tests may run beside.
fn check(paths: &Paths, (name, command): (&str, &[&str])) -> Ran {
    // Others go first, which have limits.
    let output = Command::new("nice").args(["-n", "10"]).args(command).current_dir(paths.project()).output();
    let output = output.with_context(|| format!("cannot run nice for {}", command.join(" ")));
    let (passed, said) = match output {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&said).into_owned())
        }
        Err(error) => (false, format!("{error:#}")),
    };
    println!("\n== {name}\n{said}{name}: {}", if passed { "ok" } else { "FAILED" });
    let failed = (!passed).then(|| Failed::whole(name, &said)).into_iter().collect();
    Ran { count: Count::one(passed), failed, ..Ran::default() }
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
}
