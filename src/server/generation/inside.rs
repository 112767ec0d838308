//! What this program is started as in namespaces of its own: it mounts what a command in a generation needs, enters it,
//! and becomes that command. The generation is read-only meanwhile, whatever the command does; what it writes goes to
//! folders beside it. All the mounts end with the command.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use rustix::fs::{statvfs, StatVfsMountFlags};
use rustix::mount::{mount, mount_bind, mount_remount, MountFlags};

use super::GenerationError;
use crate::server::engine::Run;

/// Where the command finds the folder for its results.
pub const RESULTS: &str = "/run/results";
/// What programs expect to have.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// What is run where.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The generation
    #[arg(long)]
    pub folder: PathBuf,
    /// What may be written to: `tmp` in it is /tmp and /var/tmp for the command, `results` is [`RESULTS`]
    #[arg(long)]
    pub scratch: PathBuf,
    /// The command
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// The command that runs `command` in the generation in `folder`.
///
/// # Errors
/// Where this program's own file is not known.
pub fn command(folder: &Path, scratch: &Path, command: &[&str]) -> Result<Run, GenerationError> {
    let own = std::env::current_exe()
        .map_err(|source| GenerationError::Inside { doing: "find this program's own file".to_owned(), source })?;
    let run = Run::new("unshare")
        .args(&["--mount", "--pid", "--fork", "--kill-child=KILL", "--"])
        .arg(own.display().to_string())
        .arg("in-generation")
        .path_after("--folder=", folder)
        .path_after("--scratch=", scratch)
        .arg("--")
        .args(command);
    Ok(run.from_package("util-linux"))
}

/// Becomes the command.
///
/// # Errors
/// [`GenerationError::Inside`]
pub fn run(options: &Options) -> Result<(), GenerationError> {
    enter(&options.folder, &options.scratch)?;
    let (program, arguments) = options.command.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let source = Command::new(program).args(arguments).current_dir("/").env("TMPDIR", "/var/tmp").exec();
    Err(GenerationError::Inside { doing: format!("run {program} in {}", options.folder.display()), source })
}

fn enter(root: &Path, scratch: &Path) -> Result<(), GenerationError> {
    let at = |path: &str| place(root, path);
    bind(root, root)?;
    make_read_only(root)?;
    tmpfs("proc", &at("proc")?)?;
    tmpfs("tmpfs", &at("dev")?)?;
    tmpfs("tmpfs", &at("run")?)?;
    for device in DEVICES {
        let (from, to) = (Path::new("/dev").join(device), at("dev")?.join(device));
        doing("make", &to, fs::write(&to, ""))?;
        bind(&from, &to)?;
    }
    let results = at("run")?.join("results");
    doing("make", &results, fs::create_dir(&results))?;
    bind(&scratch.join("results"), &results)?;
    for temporary in ["tmp", "var/tmp"] {
        bind(&scratch.join("tmp"), &at(temporary)?)?;
    }
    doing("enter", root, rustix::process::chroot(root).map_err(io::Error::from))
}

/// A folder of the generation. A link there would lead to this server's own files.
fn place(root: &Path, path: &str) -> Result<PathBuf, GenerationError> {
    let mut at = root.to_owned();
    for part in path.split('/') {
        at.push(part);
        let found = doing("look at", &at, fs::symlink_metadata(&at))?;
        if !found.is_dir() {
            return Err(GenerationError::Link { path: at });
        }
    }
    Ok(at)
}

fn doing<T>(what: &str, path: &Path, result: io::Result<T>) -> Result<T, GenerationError> {
    result.map_err(|source| GenerationError::Inside { doing: format!("{what} {}", path.display()), source })
}

fn bind(from: &Path, to: &Path) -> Result<(), GenerationError> {
    doing(&format!("bind {} to", from.display()), to, mount_bind(from, to).map_err(io::Error::from))
}

fn tmpfs(fs: &str, at: &Path) -> Result<(), GenerationError> {
    let flags =
        MountFlags::NOSUID | if fs == "proc" { MountFlags::NODEV | MountFlags::NOEXEC } else { MountFlags::empty() };
    doing(&format!("mount {fs} on"), at, mount(fs, at, fs, flags, None).map_err(io::Error::from))
}

fn make_read_only(at: &Path) -> Result<(), GenerationError> {
    // In a user's own namespace those that are there have to stay.
    let has = doing("look at", at, statvfs(at).map_err(io::Error::from))?.f_flag;
    let kept = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
    ];
    let kept = kept.into_iter().filter(|(flag, _)| has.contains(*flag)).map(|(_, flag)| flag);
    let flags = kept.fold(MountFlags::BIND | MountFlags::RDONLY, |all, flag| all | flag);
    doing("make read-only", at, mount_remount(at, flags, "").map_err(io::Error::from))
}
