//! `cargo test`, for what looks at the source or runs on this machine, and for what boots nodes.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use anyhow::{anyhow, bail, Context, Result};
use serde_json::Value;

use super::outcome::{Count, Ran, Reader};
use super::turns::{Booted, Turn, LANES};
use super::{heading, or_failed};
use crate::paths::Paths;
use crate::server::PROGRAM;

/// What each run of cargo selects from: with other features, it would compile all of it once more.
const ALL: [&str; 3] = ["--workspace", "--features", "sidus/server,sidus/root,sidus/lab"];

/// A file that is run.
pub(super) struct Booting {
    pub(super) booted: &'static Booted,
    /// The tests whose names have one of these in them, or all.
    pub(super) words: Vec<String>,
}

/// `cargo test`, as often as it takes.
pub(super) struct Cargo<'a> {
    pub(super) paths: &'a Paths,
    /// Whether the whole suite of faults is asked for, which takes long, not its core.
    pub(super) faults: bool,
}

impl Cargo<'_> {
    /// Compiles all tests. What the lab is built of goes first: it is waited for longer. What does not compile is told when it is
    /// to be run.
    pub(super) fn compile_beside_the_lab(&self) -> Result<()> {
        heading("the tests' programs");
        let mut all = Command::new("nice");
        all.args(["-n", "10", "cargo", "test", "--quiet", "--no-run", "--tests"]).args(ALL);
        all.current_dir(self.paths.project()).status().context("cannot run nice")?;
        Ok(())
    }

    /// Runs the tests whose names contain one of `words`.
    pub(super) fn test(&self, title: &str, options: &[&str], words: &[String]) -> Result<Ran> {
        heading(title);
        self.run(title, "", options, &[], words)
    }

    /// Runs a file, whole, while others run.
    pub(super) fn test_beside(&self, title: &str, file: &str) -> Result<Ran> {
        heading(&format!("{title}: {file}"));
        self.run(file, &format!("{file}: "), &["--test", file], &[], &[])
    }

    /// Runs files that need the lab, each in its turn. `beside` is taken, and run beside those of [`Turn::Server`].
    pub(super) fn boot_all(
        &self,
        files: Vec<Booting>,
        beside: &mut Option<impl FnOnce() -> Ran + Send>,
    ) -> Result<Ran> {
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
            let in_lane = |lane| files.iter().filter(move |file| file.booted.turn == turn && file.booted.lane == lane);
            let beside = if turn == Turn::Server { beside.take() } else { None };
            let lanes = std::thread::scope(|scope| {
                let lanes = (0..LANES).map(|lane| scope.spawn(move || self.boot_each(in_lane(lane))));
                let all: Vec<_> = lanes.chain(beside.map(|beside| scope.spawn(beside))).collect();
                all.into_iter().map(ScopedJoinHandle::join).collect::<Vec<_>>()
            });
            for lane in lanes {
                ran.add(or_failed("a lane", lane.map_err(|_| anyhow!("its thread ended"))));
            }
        }
        Ok(ran)
    }

    fn boot_each<'b>(&self, files: impl Iterator<Item = &'b Booting>) -> Ran {
        let mut ran = Ran::default();
        for Booting { booted, words } in files {
            let (file, started) = (booted.file, Instant::now());
            heading(&format!("{}: {file}", booted.title));
            // Beside the whole suite of faults there is next to no work.
            let at_once = ["--test-threads", if self.faults && file == "faults" { "3" } else { booted.at_once }];
            ran.add(or_failed(file, self.run(file, &format!("{file}: "), &["--test", file], &at_once, words)));
            println!("{file}: took {:.0} s", started.elapsed().as_secs_f64());
        }
        ran
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
            .env(PROGRAM, std::env::current_exe().context("this program's own name")?)
            .envs(self.faults.then_some(("SIDUS_LAB_FAULTS", "all")))
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let output = child.stdout.take().context("cargo has no output")?;
        let mut reader = Reader::default();
        for line in BufReader::new(output).lines() {
            let line = line.context("cannot read cargo's output")?;
            println!("{prefix}{line}");
            reader.line(title, line);
        }
        let mut ran = reader.end();
        if words.is_empty() {
            // A whole file is asked for by its own name.
            ran.seen.extend(options.last().map(|file| (*file).to_owned()));
        }
        let success = child.wait()?.success();
        if !success && ran.count.failed == 0 {
            println!("FAILED: {title}: cargo test ended without a failed test");
            ran.count.add(Count::one(false));
        }
        Ok(ran)
    }

    /// Whether a file of tests that need the lab has one whose name contains one of `words`; it has, where there are none.
    pub(super) fn has(&self, file: &str, words: &[String]) -> Result<bool> {
        Ok(words.is_empty() || !self.tests(file, words)?.is_empty())
    }

    /// The tests in a file whose names contain one of `words`.
    pub(super) fn tests(&self, file: &str, words: &[String]) -> Result<Vec<String>> {
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
        let list = String::from_utf8_lossy(&output.stdout);
        Ok(list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
    }

    /// The program that a file of tests is compiled to.
    pub(super) fn program(&self, file: &str) -> Result<PathBuf> {
        let output = Command::new("cargo")
            .args(["test", "--quiet", "--no-run", "--message-format=json"])
            .args(ALL)
            .args(["--test", file])
            .current_dir(self.paths.project())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo")?;
        let is_it = |message: &Value| message.pointer("/target/name").is_some_and(|name| name == file);
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .filter(is_it)
            .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
            .with_context(|| format!("cargo does not say where the program of tests/{file}.rs is"))
    }
}
