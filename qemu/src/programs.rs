//! The static programs: each one file that needs no library and no interpreter.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::paths::Paths;
use crate::step;

const TARGET: &str = "x86_64-unknown-linux-musl";

/// What a person calls.
pub const COMMAND: &str = "rootaufs";

/// What the initramfs has of them: it crosses the network at each boot of each node, so nothing is in it that can wait
/// for the root.
pub const EARLY: &str = "rootaufs-initramfs";

/// How a node with a LUN goes down.
pub const LATE: &str = "rootaufs-shutdown";

/// The names of the nodes' programs.
pub const ALL: [&str; 3] = [COMMAND, EARLY, LATE];

/// The server's program.
pub const SERVER: &str = "sidus";

/// What that is built with.
const SERVER_FEATURE: &str = "sidus/server";

/// Builds the nodes' programs and says in which folder they are.
pub fn build(paths: &Paths) -> Result<PathBuf> {
    build_some(paths, "the static programs", &["--bins"], "programs.log")?;
    let folder = folder(paths);
    for name in ALL {
        check(&folder.join(name))?;
    }
    Ok(folder)
}

/// Builds the server's program and says where it is. By a cargo of its own: one build has one set of features, and
/// nothing of this one may get into the nodes'.
pub fn build_server(paths: &Paths) -> Result<PathBuf> {
    build_some(paths, "the server's program", &["--bin", SERVER, "--features", SERVER_FEATURE], "server-program.log")?;
    let program = folder(paths).join(SERVER);
    check(&program)?;
    Ok(program)
}

fn check(program: &Path) -> Result<()> {
    let content = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    check_static(&content).with_context(|| format!("{} would not run in an initramfs", program.display()))
}

fn build_some(paths: &Paths, what: &str, which: &[&str], log: &str) -> Result<()> {
    let target_folder = paths.project().join("target");
    let mut command = Command::new("cargo");
    command
        .current_dir(paths.project())
        .args(["build", "--release", "--locked", "--package", "sidus", "--target", TARGET])
        .args(which)
        .arg("--target-dir")
        .arg(&target_folder);
    if !has_musl_std()? {
        with_debian_packages(paths, &mut command)?;
    }
    step::run(what, &mut command, &paths.log().join(log), Duration::from_secs(1200))
}

/// Where [`build`] puts them.
pub(crate) fn folder(paths: &Paths) -> PathBuf {
    paths.project().join("target").join(TARGET).join("release")
}

/// Whether the compiler came with std for musl, as rustup's targets do.
fn has_musl_std() -> Result<bool> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().context("cannot run rustc")?;
    let sysroot = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// Debian has no std for musl, but its source: cargo builds it along, against Debian's musl.
fn with_debian_packages(paths: &Paths, command: &mut Command) -> Result<()> {
    // std asks for this archive, and Debian's lies beside a shared library of the same name. Nothing unwinds here, so
    // an empty one will do.
    let folder = paths.built("libunwind");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    std::fs::write(folder.join("libunwind.a"), "!<arch>\n")
        .with_context(|| format!("cannot write into {}", folder.display()))?;
    command
        .args(["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "musl-gcc")
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&folder).join("\u{1f}"));
    Ok(())
}

/// What keeps them small.
fn flags(libraries: &Path) -> Vec<String> {
    let mut flags: Vec<String> = [
        "-Clink-self-contained=no",
        // Not position-independent: musl-gcc makes a *dynamic* executable of -static-pie.
        "-Crelocation-model=static",
        // A panic is a bug, and none is known: it ends the program as an illegal instruction, whose place the kernel
        // logs. The words for panics that never come would be a tenth of the file, the tables to unwind a sixth.
        "-Zunstable-options",
        "-Cpanic=immediate-abort",
        "-Cforce-unwind-tables=no",
        // Inlined is what gets smaller by it. A function with one caller does, but for one with much on its stack: what
        // the caller has there is then beyond the reach of a byte's offset.
        "-Cllvm-args=-inline-threshold=0 -inline-max-stacksize=128",
        // A challenge is a kilobyte: speed is nothing here.
        "--cfg=sha2_backend=\"soft\"",
        "--cfg=sha2_backend_soft=\"compact\"",
        "-Clink-arg=-Wl,-z,noseparate-code,--build-id=none",
    ]
    .map(str::to_owned)
    .into();
    // What std refers to and this program never calls, with what it would bring in: a backtrace needs the unwinder,
    // the name of a thread (musl's pthread_setname_np) all of printf.
    for never in ["_Unwind_Backtrace", "_Unwind_GetIP", "pthread_setname_np"] {
        flags.push(format!("-Clink-arg=-Wl,--defsym={never}=abort"));
    }
    flags.push(format!("-Lnative={}", libraries.display()));
    flags
}

/// Refuses an ELF file with an interpreter or dynamic section (elf(5)).
fn check_static(elf: &[u8]) -> Result<()> {
    const PT_DYNAMIC: u32 = 2;
    const PT_INTERP: u32 = 3;
    if elf.get(..6) != Some(b"\x7fELF\x02\x01") {
        bail!("not a 64-bit little-endian ELF file");
    }
    let headers = usize::try_from(u64::from_le_bytes(bytes(elf, 0x20)?))?;
    let size = usize::from(u16::from_le_bytes(bytes(elf, 0x36)?));
    let count = usize::from(u16::from_le_bytes(bytes(elf, 0x38)?));
    for index in 0..count {
        let at = headers.saturating_add(index.saturating_mul(size));
        match u32::from_le_bytes(bytes(elf, at)?) {
            PT_INTERP => bail!("it asks for an interpreter: not statically linked"),
            PT_DYNAMIC => bail!("it has a dynamic section: not statically linked"),
            _ => {}
        }
    }
    Ok(())
}

fn bytes<const N: usize>(elf: &[u8], at: usize) -> Result<[u8; N]> {
    elf.get(at..at.saturating_add(N))
        .and_then(|slice| slice.try_into().ok())
        .with_context(|| format!("the ELF file ends before byte {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF header with one program header of type `kind`.
    fn elf(kind: u32) -> Vec<u8> {
        let mut elf = vec![0; 0x40 + 0x38];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x20] = 0x40;
        elf[0x36] = 0x38;
        elf[0x38] = 1;
        elf[0x40..0x44].copy_from_slice(&kind.to_le_bytes());
        elf
    }

    #[test]
    fn only_static_files_pass() {
        check_static(&elf(1)).unwrap();
        for (kind, reason) in [(2, "dynamic section"), (3, "interpreter")] {
            assert!(check_static(&elf(kind)).unwrap_err().to_string().contains(reason));
        }
        assert!(check_static(b"#!/bin/sh").unwrap_err().to_string().contains("not a 64-bit"));
        assert!(check_static(&elf(1)[..0x41]).unwrap_err().to_string().contains("ends before"));
    }
}
