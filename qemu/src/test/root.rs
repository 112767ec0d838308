//! The tests that need root, for whoever is not: on the lab's server, by the same programs at the same places.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use super::cargo::Cargo;
use super::outcome::{Ran, Reader};
use super::{heading, or_failed, Wanted};
use crate::server::Server;
use crate::shell::quoted;

/// Their files, `tests/<file>.rs`.
pub(super) const FILES: [&str; 3] = ["sidus_initrd", "sidus_space", "union"];

/// What they run, besides themselves.
const RUN: [&str; 3] = ["rootaufs", "rootaufs-initramfs", "sidus"];

/// What of the project's own files they run.
const SCRIPT: &str = "qemu/server-root";

/// The disk that brings them.
const DISK: &str = "tests";
/// How much they may write to it.
const ROOM: &str = "3G";

/// Each takes seconds where nothing is emulated, and kills a program that is traced a hundred times.
const LIMIT: Duration = Duration::from_secs(1800);

/// A file's program, and the tests in it that are asked for.
pub(super) struct Program {
    file: &'static str,
    path: PathBuf,
    tests: Vec<String>,
    /// Asked for by its own name.
    whole: bool,
}

/// The programs with what is asked for; those without any of it are left out.
pub(super) fn programs(cargo: &Cargo, wanted: &Wanted) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for file in FILES {
        let words = wanted.of(file);
        let tests = cargo.tests(file, &words)?;
        if !tests.is_empty() {
            programs.push(Program { file, path: cargo.program(file)?, tests, whole: wanted.is_whole(file) });
        }
    }
    Ok(programs)
}

/// Runs them on the server, one after the other. It keeps the disk that brings them until it ends.
pub(super) fn run_on(server: &Server, programs: &[Program]) -> Result<Ran> {
    let serial = format!("{DISK}-{}", std::process::id());
    let image = disk(server, programs)?;
    server.plug_in(&image, &serial)?;
    let project = quoted(server.paths().project());
    let device = format!("/dev/disk/by-id/virtio-{serial}");
    server.run(&format!(
        "modprobe overlay; for _ in $(seq 100); do [ ! -e {device} ] || break; sleep 0.1; done
         mkdir -p {project} && mount {device} {project} && chown -R 0:0 {project}"
    ))?;
    let mut all = Ran::default();
    for program in programs {
        heading(&format!("by root of the lab's server: {}", program.file));
        all.add(or_failed(program.file, run(server, program)));
    }
    all.add(or_failed("the disk of tests", server.run(&format!("umount {project}")).map(|_| Ran::default())));
    Ok(all)
}

fn run(server: &Server, program: &Program) -> Result<Ran> {
    let command = format!("{} --exact '{}'", quoted(&program.path), program.tests.join("' '"));
    let output = server.administrator().run(&format!("RUST_BACKTRACE=0 {command}"), LIMIT)?;
    let mut reader = Reader::default();
    for line in output.text.lines() {
        println!("{line}");
        reader.line(program.file, line.to_owned());
    }
    let mut ran = reader.end();
    ran.seen.extend(program.whole.then(|| program.file.to_owned()));
    if output.status != 0 && ran.count.failed == 0 {
        bail!("on the server, {} ended with status {}", program.path.display(), output.status);
    }
    Ok(ran)
}

/// Makes the disk: what the programs need, as it lies in the project's folder.
fn disk(server: &Server, programs: &[Program]) -> Result<PathBuf> {
    let paths = server.paths();
    let (staged, image) = (paths.run().join(DISK), paths.run().join(format!("{DISK}.ext4")));
    if staged.exists() {
        fs::remove_dir_all(&staged).with_context(|| format!("cannot empty {}", staged.display()))?;
    }
    // A server may have that of a run that was broken off.
    if image.exists() {
        fs::remove_file(&image).with_context(|| format!("cannot remove {}", image.display()))?;
    }
    let run = RUN.map(|name| paths.project().join("target/debug").join(name));
    let files = programs.iter().map(|program| program.path.clone()).chain(run).chain([paths.project().join(SCRIPT)]);
    for file in files {
        let inside = file.strip_prefix(paths.project()).with_context(|| {
            format!(
                "{} is not below the project's folder, where the server would have it: unset CARGO_TARGET_DIR",
                file.display()
            )
        })?;
        copy(&file, &staged.join(inside))?;
    }
    // CARGO_TARGET_TMPDIR
    let scratch = staged.join("target/tmp");
    fs::create_dir_all(&scratch).with_context(|| format!("cannot make {}", scratch.display()))?;
    let mut mke2fs = Command::new("mke2fs");
    mke2fs.args(["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,root_owner=0:0", "-d"]);
    let made = mke2fs.arg(&staged).arg(&image).arg(ROOM).output().context("cannot run mke2fs")?;
    if !made.status.success() {
        bail!("mke2fs, for the disk of tests: {}", String::from_utf8_lossy(&made.stderr));
    }
    fs::remove_dir_all(&staged).with_context(|| format!("cannot remove {}", staged.display()))?;
    Ok(image)
}

fn copy(file: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().unwrap_or(to);
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::copy(file, to).with_context(|| format!("cannot copy {}", file.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_needs_root_is_known() {
        let manifest = include_str!("../../../Cargo.toml");
        let targets = manifest.split("[[test]]").skip(1);
        let needed: Vec<_> = targets
            .filter(|target| target.contains("[\"root\""))
            .filter_map(|target| target.split('"').nth(1))
            .collect();
        assert_eq!(needed, FILES);
    }
}
