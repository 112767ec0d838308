//! What `sidus publish` costs beside a bare rsync(1), which makes the same copy of a real Debian tree on the same disk:
//! `cargo test --release --features server --test sidus_cost -- --ignored --nocapture`.
//! Needs root, rsync(1), the programs that `./qemu/lab build` makes, and a tree as an archive: the lab's, or `SIDUS_TREE`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // A test may fail by a panic.

mod machine;
mod published;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use machine::Machine;
use published::{current, GENERATIONS, TREE};

/// How often each is measured; of these the one in the middle counts.
const ROUNDS: usize = 5;
/// What a publication may take, in times of the bare copy, where nothing that the initrd is made of has changed.
const AIM: f64 = 1.5;

fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_owned()
}

fn runs(command: &mut Command) -> Duration {
    let started = Instant::now();
    let output = command.output().unwrap();
    let took = started.elapsed();
    assert!(output.status.success(), "{command:?}: {}", machine::said(&output));
    took
}

/// A server with that tree, and with what its nodes get in truth.
fn server(tree: &Path, programs: &Path) -> Machine {
    let machine = Machine::new("cost");
    published::server(&machine);
    let at = |path: &str| machine.root().join(path);
    for name in ["rootaufs", "rootaufs-initramfs", "rootaufs-shutdown"] {
        fs::copy(programs.join(name), at("usr/lib/sidus").join(name)).unwrap();
    }
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("initramfs-hooks");
    runs(Command::new("cp").arg("-rT").arg(hooks).arg(at("usr/share/sidus")));
    fs::remove_dir_all(at(TREE)).unwrap();
    fs::create_dir(at(TREE)).unwrap();
    runs(Command::new("tar").args(["--numeric-owner", "--xattrs", "-xf"]).arg(tree).arg("-C").arg(at(TREE)));
    machine
}

/// As a server has it, whose disk has nothing else to do.
fn settle() {
    rustix::fs::sync();
}

#[test]
#[ignore = "it measures, for minutes, and nothing else is to run meanwhile"]
fn a_publication_costs_hardly_more_than_a_copy() {
    let lab = target().join("lab/images/trixie.tar");
    let tree = std::env::var_os("SIDUS_TREE").map_or(lab, PathBuf::from);
    let programs = target().join("x86_64-unknown-linux-musl/release");
    assert!(rustix::process::geteuid().is_root(), "a tree has many owners: root alone can unpack it");
    assert!(tree.exists(), "{}: no such archive; `./qemu/lab demo` makes it, or SIDUS_TREE names one", tree.display());
    assert!(programs.join("rootaufs").exists(), "{}: `./qemu/lab build` makes the programs", programs.display());
    let machine = server(&tree, &programs);
    let at = |path: &str| machine.root().join(path);
    let publish = || {
        let mut sidus = Command::new(env!("CARGO_BIN_EXE_sidus"));
        runs(sidus.arg("--root").arg(machine.root()).args(["publish", "hpc"]))
    };
    println!("the first publication: {:.2} s", publish().as_secs_f64());
    let mut ratios = Vec::new();
    for (what, changed) in
        [("documentation, the initrd stays", "usr/share/doc/changed"), ("/etc, a new initrd", "etc/motd")]
    {
        let (mut copies, mut publications) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            fs::write(at(TREE).join(changed), format!("{round}\n")).unwrap();
            let before = current(&machine);
            let bare = at(GENERATIONS).join(".bare");
            let mut copy = Command::new("rsync");
            copy.args(["-aHAX", "--delete"]).arg(format!("--link-dest={}", at(GENERATIONS).join(&before).display()));
            copy.arg(format!("{}/", at(TREE).display())).arg(format!("{}/", bare.display()));
            settle();
            copies.push(runs(&mut copy));
            fs::remove_dir_all(&bare).unwrap();
            settle();
            publications.push(publish());
            assert_ne!(current(&machine), before);
        }
        let middle = |all: &mut Vec<Duration>| {
            all.sort();
            all[ROUNDS / 2].as_secs_f64()
        };
        let (copy, publication) = (middle(&mut copies), middle(&mut publications));
        println!(
            "a change in {what}: publish {publication:.2} s, rsync -aHAX --delete --link-dest {copy:.2} s: {:.2} times",
            publication / copy
        );
        ratios.push(publication / copy);
    }
    assert!(ratios[0] <= AIM, "{ratios:?}");
}
