//! What runs first in the namespaces of a command that is not to leave anything behind: see [`super::contain`], which
//! starts it as their process 1.
//!
//! It mounts what a tree needs while someone works in it, enters it, runs the command, and ends when that has ended. With
//! it end its namespaces: the kernel kills every process that the command has left, and undoes every mount. So nothing has
//! to be restored, whatever ends it, and nothing of this is ever seen by the server's other processes.
//!
//! In the tree are then: `/proc` of its own processes; a `/dev` with the devices that do no harm, and the server's
//! terminals; an empty `/run`, with `/run/shm`.
//!
//! **In a working tree** also `/sys`, read-only. Over three of its files others are mounted: `policy-rc.d`, which forbids
//! services to start (invoke-rc.d(8), exit status 101), `start-stop-daemon`, which does nothing, and `resolv.conf`, the
//! server's. A mount needs a file to be on: [`super::contain::placeholders`].
//!
//! **In a generation**, where an initrd is made, all is read-only but folders beside it. What is made there goes to each
//! node: so it sees nothing of this server, neither its hardware in `/sys` nor its `resolv.conf`. What it opens there is
//! written down, and what it looks for: [`seen`].

mod mounts;
pub mod names;
mod opened;
mod patterns;
pub mod seen;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{symlink, DirBuilderExt};
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use clap::Args;
use rustix::mount::{mount_bind, MountFlags};
use rustix::process::{chroot, getpid, wait, Pid, WaitOptions, WaitStatus};
use rustix::system::sethostname;
use thiserror::Error;

use super::TreeError;
use crate::server::output;
use mounts::{attach, bind_read_only, file_system, folder, make_all_read_only, make_read_only, take, take_bare, write};
use opened::Opened;
use seen::Seen;

/// Where the files are that are mounted over those of the tree.
const OURS: &str = "/run/sidus";
/// Where a command in a generation finds the folder for its results.
pub const RESULTS: &str = "/run/results";
/// For everyone, and without harm.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];
/// The names that proc(5) gives to open files.
const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("pts/ptmx", "ptmx"),
    ("/run/shm", "shm"),
];
/// Until Debian 12 it is in `/sbin`, which is a link to the other one where `/usr` is merged.
const STARTERS: [&str; 2] = ["/usr/sbin/start-stop-daemon", "/sbin/start-stop-daemon"];

/// What is to be run.
#[derive(Debug, Args)]
pub struct Options {
    /// The tree that is entered
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// The tree is read-only, and this folder beside it is what may be written to: `tmp` in it is /tmp and /var/tmp,
    /// `results` is /run/results; what of the tree the command has seen is written to `seen` in it
    #[arg(long, value_name = "DIR", requires = "tree")]
    scratch: Option<PathBuf>,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Why the command was not run.
#[derive(Debug, Error)]
pub enum EnterError {
    /// A person called it.
    #[error("sidus inside: for `sidus tree` alone, in namespaces of its own")]
    NotFirst,
    /// Something of the tree is not as it has to be.
    #[error("{0} of the tree is no folder: a Debian tree has one")]
    NoFolder(&'static str),
    /// The kernel refused.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What.
        doing: String,
        /// Why not.
        source: io::Error,
    },
}

fn refused<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> EnterError {
    let doing = doing.into();
    move |source| EnterError::Io { doing, source: source.into() }
}

/// Does it.
///
/// # Errors
/// [`TreeError::Ended`] has the command's exit status, unless that is 0.
pub fn run(options: &Options) -> Result<(), TreeError> {
    // The mounts would be the server's.
    if !getpid().is_init() {
        return Err(EnterError::NotFirst.into());
    }
    let mut list = None;
    match (&options.tree, &options.scratch) {
        (Some(tree), None) => work_in(tree)?,
        (Some(tree), Some(scratch)) => {
            let folder = seen::folder(scratch)?;
            look_into(tree, scratch)?;
            list = Some(folder);
        }
        (None, _) => mount_proc()?,
    }
    let Some((program, arguments)) = options.command.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments);
    match (&options.tree, &options.scratch) {
        (Some(_), None) => _ = command.env("APT_CONFIG", format!("{OURS}/apt.conf")),
        // /tmp may be too small for an initrd while it is made: where that is a matter, programs take this one.
        (_, Some(_)) => {
            command.env("TMPDIR", "/var/tmp");
            // What each node gets does not depend on who makes it.
            for (name, _) in std::env::vars_os().filter(|(name, _)| is_language(name)) {
                command.env_remove(name);
            }
        }
        (None, None) => {}
    }
    if let Some(folder) = list {
        return look_at(&mut command, folder);
    }
    ended(match command.spawn() {
        Ok(child) => wait_for(Pid::from_child(&child)).map_err(refused("wait for the command"))?,
        Err(error) => not_run(command.get_program(), &error),
    })
}

/// Whether it says which language a person reads (locale(7)).
fn is_language(variable: &OsStr) -> bool {
    variable == "LANG" || variable == "LANGUAGE" || variable.as_encoded_bytes().starts_with(b"LC_")
}

fn ended(status: u8) -> Result<(), TreeError> {
    match status {
        0 => Ok(()),
        status => Err(TreeError::Ended { status }),
    }
}

/// The status of a command that could not be run, as shells and chroot(1) have it.
fn not_run(program: &OsStr, error: &io::Error) -> u8 {
    eprintln!("sidus: {}: {error}", program.to_string_lossy());
    if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    }
}

/// Runs a command in a generation, and writes into the folder what it has seen there.
fn look_at(command: &mut Command, folder: OwnedFd) -> Result<(), TreeError> {
    // Before there is another thread.
    let held = names::hold(command).map_err(refused("begin the command"))?;
    let opened = Opened::begin();
    let end = held.goes_on(opened.is_some()).map_err(refused("wait for the command"))?;
    ended(end.status)?;
    // What follows is not the command's any more.
    let opened = opened.and_then(Opened::end).filter(|_| !end.by_other_mounts);
    let Some(mut opened) = opened else { return Ok(()) };
    let names = end.names.and_then(|mut names| names.follow_links().is_ok().then_some(names));
    let beginnings = end.listings.narrow(&mut opened);
    let opened = opened.files.into_iter().chain(opened.folders.into_keys()).collect();
    Ok(Seen { opened, names, beginnings, cache_is_linkers: !end.cache_is_read }.write(&folder)?)
}

/// A process' exit status, as shells have it.
fn exit_status(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| Some(status.terminating_signal()?.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Waits for one process, and meanwhile for all whose parents have left them to this one. Its exit status, as shells have
/// it.
fn wait_for(command: Pid) -> io::Result<u8> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid == command => return Ok(exit_status(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn mount_proc() -> Result<(), EnterError> {
    file_system("proc", "/proc", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
}

/// What of the server's is in each tree. It is taken before the tree is entered: paths are the tree's from then on, and its
/// links lead nowhere else.
struct Devices {
    harmless: Vec<(&'static str, OwnedFd)>,
    terminals: OwnedFd,
}

impl Devices {
    fn take() -> Result<Self, EnterError> {
        let device = |name: &&'static str| Ok((*name, take(Path::new("/dev").join(name))?));
        Ok(Self {
            harmless: DEVICES.iter().map(device).collect::<Result<_, EnterError>>()?,
            terminals: take("/dev/pts")?,
        })
    }
}

/// Makes a working tree this process' root, with all that a command in it needs.
fn work_in(tree: &Path) -> Result<(), EnterError> {
    let devices = Devices::take()?;
    let sys = take_bare("/sys")?;
    let resolv = fs::read("/etc/resolv.conf").unwrap_or_default();
    enter(tree, &["/proc", "/sys", "/dev", "/run"])?;
    mount_proc()?;
    attach(&sys, "/sys")?;
    make_all_read_only("/sys")?;
    make_dev(&devices)?;
    make_run()?;
    make_ours(&resolv)?;
    cover(Path::new("/usr/sbin/policy-rc.d"), "policy-rc.d")?;
    for starter in STARTERS.into_iter().map(Path::new) {
        // Once, where one path leads to the other.
        let is_ours = fs::read_to_string(starter).is_ok_and(|text| text == STARTER);
        if starter.is_file() && !is_ours {
            cover(starter, "start-stop-daemon")?;
        }
    }
    name_server(&resolv)
}

/// Makes a generation this process' root, which nothing is written to.
fn look_into(tree: &Path, scratch: &Path) -> Result<(), EnterError> {
    let devices = Devices::take()?;
    let (temporary, more) = (take(scratch.join("tmp"))?, take(scratch.join("tmp"))?);
    let results = take(scratch.join("results"))?;
    enter(tree, &["/proc", "/dev", "/run", "/tmp", "/var/tmp"])?;
    make_read_only("/")?;
    mount_proc()?;
    make_dev(&devices)?;
    make_run()?;
    folder(RESULTS, 0o755)?;
    attach(&results, RESULTS)?;
    attach(&temporary, "/tmp")?;
    attach(&more, "/var/tmp")
}

/// The tree has to have these folders.
fn enter(tree: &Path, folders: &[&'static str]) -> Result<(), EnterError> {
    // `/` has to be a mount: some programs look for it in the list.
    mount_bind(tree, tree).and_then(|()| chroot(tree)).map_err(refused(format!("enter {}", tree.display())))?;
    std::env::set_current_dir("/").map_err(refused("enter the tree"))?;
    for folder in folders {
        if !fs::symlink_metadata(folder).is_ok_and(|found| found.is_dir()) {
            return Err(EnterError::NoFolder(folder));
        }
    }
    // Packages write the host's name into their configurations: that of the server is wrong for each node.
    sethostname(b"localhost").map_err(refused("set the host's name"))
}

fn make_dev(devices: &Devices) -> Result<(), EnterError> {
    file_system("tmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"mode=0755,size=1m"))?;
    for (name, device) in &devices.harmless {
        let path = format!("/dev/{name}");
        write(&path, b"", 0o666)?;
        attach(device, &path)?;
    }
    folder("/dev/pts", 0o755)?;
    attach(&devices.terminals, "/dev/pts")?;
    for (target, name) in LINKS {
        symlink(target, format!("/dev/{name}")).map_err(refused(format!("link /dev/{name}")))?;
    }
    Ok(())
}

const POLICY: &str = "#!/bin/sh\n# No service starts in a tree.\nexit 101\n";
const STARTER: &str = "#!/bin/sh\necho \"start-stop-daemon: nothing is started or stopped in a tree\" >&2\nexit 0\n";
/// dpkg(1) replaces its own start-stop-daemon by another one, which cannot be done to what is mounted on.
const MAKE_WAY: &str = "#!/bin/sh\n# apt tells which packages it installs.\nif grep '/dpkg_' >/dev/null; then\n\
    \tumount /usr/sbin/start-stop-daemon /sbin/start-stop-daemon 2>/dev/null\nfi\nexit 0\n";
const APT: &str = "DPkg::Pre-Install-Pkgs { \"/run/sidus/make-way\"; };\n";

fn make_run() -> Result<(), EnterError> {
    file_system("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))?;
    folder("/run/shm", 0o1777)?;
    folder("/run/lock", 0o1777)
}

fn make_ours(resolv: &[u8]) -> Result<(), EnterError> {
    folder(OURS, 0o755)?;
    for (name, text, mode) in [
        ("policy-rc.d", POLICY.as_bytes(), 0o755),
        ("start-stop-daemon", STARTER.as_bytes(), 0o755),
        ("make-way", MAKE_WAY.as_bytes(), 0o755),
        ("apt.conf", APT.as_bytes(), 0o644),
        ("resolv.conf", resolv, 0o644),
    ] {
        write(format!("{OURS}/{name}"), text, mode)?;
    }
    Ok(())
}

/// Names are resolved as on the server; what the tree itself has stays as it is, below.
fn name_server(resolv: &[u8]) -> Result<(), EnterError> {
    const FILE: &str = "/etc/resolv.conf";
    let Ok(found) = fs::symlink_metadata(FILE) else { return Ok(()) };
    if !found.is_symlink() {
        return cover(Path::new(FILE), "resolv.conf");
    }
    let target = fs::read_link(FILE).map_err(refused(format!("read link {FILE}")))?;
    let target = resolved(&Path::new("/etc").join(target));
    if target.starts_with("/run") {
        // The folder is this namespace's own.
        let above = target.parent().unwrap_or(Path::new("/run"));
        fs::DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(refused("make a folder in /run"))?;
        return write(target, resolv, 0o644);
    }
    if target.is_file() {
        return cover(&target, "resolv.conf");
    }
    let target = output::plain(&target.to_string_lossy());
    eprintln!("sidus: {FILE} of the tree leads to {target}, which is no file: no name will be resolved");
    Ok(())
}

/// Without `..`, by the words alone.
fn resolved(path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = whole.pop(),
            Component::CurDir => {}
            other => whole.push(other),
        }
    }
    whole
}

/// Mounts one of our files over one of the tree's, if there is one.
fn cover(path: &Path, ours: &str) -> Result<(), EnterError> {
    if !path.is_file() {
        return Ok(());
    }
    bind_read_only(&Path::new(OURS).join(ours), path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_where_their_words_say() {
        for (link, target) in [
            ("../run/systemd/resolve/stub-resolv.conf", "/run/systemd/resolve/stub-resolv.conf"),
            ("/run/resolvconf/resolv.conf", "/run/resolvconf/resolv.conf"),
            ("../../../run/./x", "/run/x"),
            ("resolv.conf.site", "/etc/resolv.conf.site"),
        ] {
            assert_eq!(resolved(&Path::new("/etc").join(link)), Path::new(target), "{link}");
        }
    }

    #[test]
    fn languages_are_told_from_other_variables() {
        for (name, expected) in [
            ("LANG", true),
            ("LANGUAGE", true),
            ("LC_ALL", true),
            ("LC_CTYPE", true),
            ("LANGS", false),
            ("PATH", false),
        ] {
            assert_eq!(is_language(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn a_person_who_calls_it_mounts_nothing() {
        let options = Options { tree: Some("/".into()), scratch: None, command: vec!["true".to_owned()] };
        assert_eq!(
            run(&options).unwrap_err().to_string(),
            "sidus inside: for `sidus tree` alone, in namespaces of its own"
        );
    }
}
