//! Which names a command looks for in a generation: a file of another name it can neither have found nor missed.
//!
//! The kernel stops each of the command's processes at every system call that takes a path (seccomp(2),
//! `SECCOMP_RET_TRACE`), and this one reads the path before it goes on (ptrace(2)). All parts of it are kept, and not where
//! it begins: so it does not matter what a process has for its root or working directory. Two things are looked for by the
//! kernel itself, and added: what links lead to, be it those that the command makes, and what runs a program. What sockets
//! are connected to (unix(7)) is left out: nobody listens in a generation.
//!
//! It is known or it is not: nothing that the kernel refuses here is a reason for not making an initrd.

use std::collections::BTreeSet;
use std::ffi::{c_void, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, IoSliceMut, Read, Write};
use std::mem::size_of;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::uio::{process_vm_readv, RemoteIoVec};
use nix::unistd::{fork, ForkResult};
use rustix::fs::{openat, openat2, Mode, OFlags, ResolveFlags, CWD};
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{wait, Pid, WaitOptions, WaitStatus};

use super::patterns::Listings;
use super::seen::CACHE;
use super::{exit_status, not_run};

/// No path that the kernel takes is longer, with its NUL (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// In it are the first line of a script (execve(2)) and the interpreter's path of a program (elf(5)).
const MAX_HEAD: u64 = 4096;
/// Of a process's maps (proc(5)), which the linker is in from the beginning, no more is read, in bytes.
const MAX_MAPS: u64 = 256 << 10;
/// So often a file is opened that cannot be opened just now.
const MAX_TRIES: usize = 100;
/// So many scripts may be run by another one, and more (execve(2)).
const MAX_SCRIPTS: usize = 8;
/// These are other file systems while a command is in a generation, or its own folders.
const NOT_THE_GENERATION: [&str; 6] = ["/proc", "/dev", "/run", "/sys", "/tmp", "/var/tmp"];

/// The names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names(pub(in crate::server) BTreeSet<OsString>);

impl Names {
    /// Whether something was looked for that has this name.
    #[must_use]
    pub fn have(&self, name: &OsStr) -> bool {
        self.0.contains(name)
    }

    /// Those of a path.
    fn add(&mut self, path: &Path) {
        for part in path.components() {
            if let Component::Normal(name) = part {
                if !self.0.contains(name) {
                    self.0.insert(name.to_owned());
                }
            }
        }
    }

    /// Adds what the links of the generation that is `/` lead to, of those that were looked for.
    ///
    /// # Errors
    /// Those of the file system, where it is not known.
    pub(super) fn follow_links(&mut self) -> io::Result<()> {
        let mut links = links()?;
        loop {
            let (found, others): (Vec<_>, Vec<_>) = links.into_iter().partition(|(name, _)| self.have(name));
            if found.is_empty() {
                return Ok(());
            }
            found.iter().for_each(|(_, target)| self.add(target));
            links = others;
        }
    }

    /// Adds what the kernel looks for where a process executes this file. `None` if that is not known.
    fn execute(&mut self, pid: Pid, path: &Path) -> Option<()> {
        let mut path = path.to_owned();
        for _ in 0..MAX_SCRIPTS {
            let Some(head) = head(pid, &path)? else { return Some(()) };
            let Some(next) = run_by(&head)? else { return Some(()) };
            self.add(&next);
            path = next;
        }
        Some(())
    }
}

/// The beginning of a file, as a process finds it, where it can execute that; `None` if it is not known.
fn head(pid: Pid, path: &Path) -> Option<Option<Vec<u8>>> {
    use rustix::io::Errno;
    for _ in 0..MAX_TRIES {
        match try_head(pid, path).map_err(|error| Errno::from_io_error(&error)) {
            Ok(head) => return Some(Some(head)),
            // It is not there for that process either.
            Err(Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::LOOP | Errno::NAMETOOLONG)) => {
                return Some(None)
            }
            // openat2(2): something is renamed or mounted just now, be it elsewhere.
            Err(Some(Errno::AGAIN)) => {}
            Err(_) => return None,
        }
    }
    None
}

fn try_head(pid: Pid, path: &Path) -> io::Result<Vec<u8>> {
    let process = |what: &str| PathBuf::from(format!("/proc/{}/{what}", pid.as_raw_nonzero()));
    // Nobody may write to a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = if path.is_absolute() {
        let root = openat(CWD, process("root"), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?
    } else {
        openat(CWD, process("cwd").join(path), flags, Mode::empty())?
    };
    let mut head = Vec::new();
    let file = File::from(file);
    if file.metadata()?.is_file() {
        file.take(MAX_HEAD).read_to_end(&mut head)?;
    }
    Ok(head)
}

/// What runs a file with this beginning, if something does: of a script its interpreter, of a program what links it. `None` if
/// it is not known.
fn run_by(head: &[u8]) -> Option<Option<PathBuf>> {
    let path = |text: &[u8]| PathBuf::from(OsStr::from_bytes(text));
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| matches!(byte, b'\n' | 0)).next().unwrap_or_default();
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
        return Some(words.next().map(path));
    }
    // Of 64 bits, least byte first: others make calls by the rules of another architecture.
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Some(None);
    }
    let number = |at: usize, length: usize| {
        let bytes = head.get(at..at.checked_add(length)?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte))).ok()
    };
    // elf(5): e_phoff, e_phentsize, e_phnum; of each, p_type, p_offset, p_filesz.
    let (first, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    for index in 0..count {
        let header = first.checked_add(index.checked_mul(size)?)?;
        if number(header, 4)? == PT_INTERP {
            let (at, length) = (number(header.checked_add(8)?, 8)?, number(header.checked_add(0x20)?, 8)?);
            let text = head.get(at..at.checked_add(length)?)?;
            return Some(text.split(|byte| *byte == 0).next().map(path));
        }
    }
    Some(None)
}

/// A program header with the path of what links the program (elf(5)).
const PT_INTERP: usize = 3;

/// The symbolic links of the generation that is `/`: their names, and where they lead.
fn links() -> io::Result<Vec<(OsString, PathBuf)>> {
    let mut links = Vec::new();
    let mut folders = vec![PathBuf::from("/")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_symlink() {
                links.push((entry.file_name(), fs::read_link(entry.path())?));
            } else if kind.is_dir() && !NOT_THE_GENERATION.iter().any(|other| entry.path() == Path::new(other)) {
                folders.push(entry.path());
            }
        }
    }
    Ok(links)
}

/// A command that was begun, and has done nothing yet.
#[derive(Debug)]
pub(super) struct Held {
    pid: Pid,
    go: File,
}

/// How a command has ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status, as shells have it.
    pub(super) status: u8,
    /// What it and all that it started have looked for, where it was asked for and is known.
    pub(super) names: Option<Names>,
    /// It may have seen the generation by other mounts than `/`.
    pub(super) by_other_mounts: bool,
    /// What is known of folders that were listed.
    pub(super) listings: Listings,
    /// The linker's cache was opened by something else than that.
    pub(super) cache_is_read: bool,
}

/// Begins it. This process has to have one thread, or it is an error.
pub(super) fn hold(command: &mut Command) -> io::Result<Held> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("there is another thread already"));
    }
    let (told, go) = pipe_with(PipeFlags::CLOEXEC)?;
    let filter = filter();
    // SAFETY: this process has one thread, as was just seen: no other one may hold a lock, and the new process may do all that
    // this one may.
    #[allow(unsafe_code)]
    let forked = unsafe { fork() }?;
    match forked {
        ForkResult::Parent { child } => {
            let pid = Pid::from_raw(child.as_raw()).ok_or_else(|| io::Error::other("fork(2) gave no process"))?;
            Ok(Held { pid, go: File::from(go) })
        }
        ForkResult::Child => {
            drop(go);
            let status = carry_out(command, told, &filter);
            // SAFETY: it ends this process, whose memory is a copy that nobody else looks at.
            #[allow(unsafe_code)]
            unsafe {
                libc::_exit(status.into())
            }
        }
    }
}

/// Becomes the command, when told to; the status where it cannot.
fn carry_out(command: &mut Command, told: OwnedFd, filter: &[libc::sock_filter]) -> u8 {
    let mut word = [0];
    if let Err(error) = File::from(told).read_exact(&mut word) {
        return not_run(command.get_program(), &error);
    }
    // Where there is no filter, nothing is stopped, and no name is known.
    let _ = word == [TRACED] && install(filter);
    let error = command.exec();
    not_run(command.get_program(), &error)
}

/// What a command is told that is looked at.
const TRACED: u8 = b't';

impl Held {
    /// Lets it go on, and waits for its end; and for those of all whose parents have left them to this process.
    pub(super) fn goes_on(mut self, traced: bool) -> io::Result<Ended> {
        let traced = traced && seize(self.pid);
        self.go.write_all(&[if traced { TRACED } else { b' ' }])?;
        let names = Some(Names::default()).filter(|_| traced);
        let mut watched = Watched { names, by_other_mounts: false, ..Watched::default() };
        // Threads, too.
        let all = WaitOptions::from_bits_retain(u32::try_from(libc::__WALL).unwrap_or(0x4000_0000));
        loop {
            let (pid, status) = match wait(all) {
                Ok(Some(found)) => found,
                Ok(None) | Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            if status.stopped() {
                watched.stopped(pid, status);
            } else if pid == self.pid {
                let Watched { names, by_other_mounts, listings, cache_is_read } = watched;
                return Ok(Ended {
                    status: exit_status(status),
                    names: names.filter(|names| !names.0.is_empty()),
                    by_other_mounts,
                    listings,
                    cache_is_read,
                });
            }
        }
    }
}

/// What is known so far.
#[derive(Default)]
struct Watched {
    names: Option<Names>,
    by_other_mounts: bool,
    listings: Listings,
    cache_is_read: bool,
}

impl Watched {
    /// Lets a process go on that the kernel has stopped, after a look at what it is about to do.
    fn stopped(&mut self, pid: Pid, status: WaitStatus) {
        let signal = status.stopping_signal().unwrap_or_default();
        // ptrace(2): above the signal is what has happened. The process may be gone.
        let _ = match status.as_raw() >> 16 {
            // A signal comes, and is to have its effect.
            0 => go_on(pid, signal),
            PTRACE_EVENT_SECCOMP => {
                self.look(pid);
                go_on(pid, 0)
            }
            // It has had its effect: the process stays as it is until it is told to continue.
            PTRACE_EVENT_STOP if STOPS.contains(&signal) => stay(pid),
            _ => go_on(pid, 0),
        };
    }

    /// Takes note of what a process looks for.
    fn look(&mut self, pid: Pid) {
        let paths = match call(pid) {
            // A process that was killed meanwhile looks for nothing.
            Err(Errno::ESRCH) => return,
            Err(_) => Err(UNKNOWN),
            Ok(call) if call.data == u32::from(MOUNTS) => Err(MOUNTS),
            Ok(call) => call.paths(pid).map(|paths| (call, paths)).ok_or(UNKNOWN),
        };
        match (paths, &mut self.names) {
            (Err(why), names) => {
                self.by_other_mounts |= why == MOUNTS;
                *names = None;
            }
            (Ok((call, paths)), Some(names)) => {
                paths.iter().for_each(|path| names.add(path));
                if call.opens() {
                    paths.iter().for_each(|path| self.listings.open(pid, path));
                    self.cache_is_read |= paths.iter().any(|path| call.reads_cache(pid, path));
                }
                if call.executes() {
                    self.listings.execute(pid);
                    if paths.iter().any(|path| names.execute(pid, path).is_none()) {
                        self.names = None;
                    }
                }
            }
            (Ok(_), None) => {}
        }
    }
}

impl Call {
    /// Whether it executes what it is about.
    fn executes(&self) -> bool {
        self.data & u32::from(EXECUTES) != 0
    }

    /// Whether it opens what it is about.
    fn opens(&self) -> bool {
        self.data & u32::from(OPENS) != 0
    }

    /// Whether something else than the dynamic linker opens its cache, if this opens that path.
    fn reads_cache(&self, pid: Pid, path: &Path) -> bool {
        let is_named_so = path.file_name() == Path::new(CACHE).file_name();
        is_named_so && !is_linker(pid, self.instruction) && (path.is_absolute() || self.finds_cache(pid, path))
    }

    /// Whether a relative path leads to it. What is made has one, too.
    fn finds_cache(&self, pid: Pid, path: &Path) -> bool {
        let from = match self.arguments.first().and_then(|fd| i32::try_from(*fd).ok()) {
            Some(fd) if self.data & 1 == 0 && fd != libc::AT_FDCWD => format!("fd/{fd}"),
            _ => "cwd".to_owned(),
        };
        let found = fs::metadata(Path::new(&format!("/proc/{}/{from}", pid.as_raw_nonzero())).join(path));
        let cache = fs::metadata(Path::new("/").join(CACHE));
        match (found, cache) {
            (Ok(found), Ok(cache)) => (found.dev(), found.ino()) == (cache.dev(), cache.ino()),
            (Err(error), _) | (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// The paths that it is about. `None` if they are not known.
    fn paths(&self, pid: Pid) -> Option<Vec<PathBuf>> {
        if self.data & u32::from(UNKNOWN) != 0 {
            return None;
        }
        let mut paths = Vec::new();
        for (at, argument) in self.arguments.into_iter().enumerate() {
            if self.data >> at & 1 == 1 && argument != 0 {
                match string(pid, argument) {
                    Ok(path) => paths.push(PathBuf::from(OsString::from_vec(path))),
                    Err(Errno::ESRCH) => {}
                    Err(_) => return None,
                }
            }
        }
        Some(paths)
    }
}

/// Whether what a process has at an address is of the dynamic linker (ld.so(8)).
fn is_linker(pid: Pid, address: u64) -> bool {
    let mut maps = String::new();
    let file = File::open(format!("/proc/{}/maps", pid.as_raw_nonzero()));
    let read = file.and_then(|file| file.take(MAX_MAPS).read_to_string(&mut maps));
    read.is_ok() && maps.lines().any(|line| is_linker_at(line, address))
}

/// Whether a line of `/proc/PID/maps` (proc(5)) is of the linker, and has this address.
fn is_linker_at(line: &str, address: u64) -> bool {
    let Some((range, rest)) = line.split_once(' ') else { return false };
    let number = |text| u64::from_str_radix(text, 16).ok();
    let range = range.split_once('-').and_then(|(first, end)| Some(number(first)?..number(end)?));
    let is_there = range.is_some_and(|range| range.contains(&address));
    is_there && rest.rsplit_once('/').is_some_and(|(_, file)| file.starts_with("ld-linux-"))
}

/// What a process has at an address, up to a NUL.
fn string(pid: Pid, address: u64) -> nix::Result<Vec<u8>> {
    const PAGE: usize = 4096;
    let mut address = usize::try_from(address).map_err(|_| Errno::EFAULT)?;
    let mut text = Vec::new();
    while text.len() < MAX_PATH {
        // The next page may not be there.
        let length = PAGE - address % PAGE;
        let mut part = [0; PAGE];
        let part = part.get_mut(..length).unwrap_or_default();
        let from = RemoteIoVec { base: address, len: length };
        let read = process_vm_readv(
            nix::unistd::Pid::from_raw(pid.as_raw_nonzero().get()),
            &mut [IoSliceMut::new(part)],
            &[from],
        )?;
        let part = part.get(..read).unwrap_or_default();
        match part.iter().position(|byte| *byte == 0) {
            Some(end) => {
                text.extend(part.iter().take(end));
                return Ok(text);
            }
            None if part.is_empty() => return Err(Errno::EFAULT),
            None => text.extend(part),
        }
        address = address.checked_add(read).ok_or(Errno::EFAULT)?;
    }
    // ENAMETOOLONG for whoever asks.
    Ok(Vec::new())
}

/// `struct ptrace_syscall_info` (ptrace(2)) of a system call that seccomp(2) has stopped.
#[derive(Debug, Default)]
#[repr(C)]
struct Call {
    kind: u8,
    reserved: [u8; 3],
    architecture: u32,
    instruction: u64,
    stack: u64,
    number: u64,
    arguments: [u64; 6],
    /// What the filter says of it.
    data: u32,
    more_reserved: u32,
}

#[cfg(target_env = "musl")]
type Request = libc::c_int;
#[cfg(not(target_env = "musl"))]
type Request = libc::c_uint;

/// What the C libraries do not all name (linux/ptrace.h).
const PTRACE_LISTEN: Request = 0x4208;
const PTRACE_GET_SYSCALL_INFO: Request = 0x420e;
const PTRACE_EVENT_SECCOMP: i32 = 7;
const PTRACE_EVENT_STOP: i32 = 128;

/// What stops a process (signal(7)).
const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// Becomes the one that is told what a process and all that it starts look for. It is killed when this one ends: nobody would
/// let it go on.
fn seize(pid: Pid) -> bool {
    // PTRACE_O_TRACEFORK, …TRACEVFORK, …TRACECLONE, …TRACEEXEC, …TRACESECCOMP, …EXITKILL
    const OPTIONS: usize = 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 20;
    // SAFETY: it changes no memory of this process.
    #[allow(unsafe_code)]
    let done = unsafe { ptrace(libc::PTRACE_SEIZE, pid, 0, ptr::without_provenance_mut(OPTIONS)) };
    ARCHITECTURE != 0 && done.is_ok()
}

/// Lets a stopped process go on, with a signal that it then gets, or 0.
fn go_on(pid: Pid, signal: i32) -> nix::Result<()> {
    let signal = ptr::without_provenance_mut(usize::try_from(signal).unwrap_or_default());
    // SAFETY: it changes no memory of this process.
    #[allow(unsafe_code)]
    unsafe {
        ptrace(libc::PTRACE_CONT, pid, 0, signal)
    }
}

/// Leaves a process stopped.
fn stay(pid: Pid) -> nix::Result<()> {
    // SAFETY: it changes no memory of this process.
    #[allow(unsafe_code)]
    unsafe {
        ptrace(PTRACE_LISTEN, pid, 0, ptr::null_mut())
    }
}

/// The system call that a process is stopped at.
fn call(pid: Pid) -> nix::Result<Call> {
    let mut call = Call::default();
    // SAFETY: it writes at most as many bytes as it is told to where `call` is, which has so many, of integers alone.
    #[allow(unsafe_code)]
    unsafe {
        ptrace(PTRACE_GET_SYSCALL_INFO, pid, size_of::<Call>(), ptr::from_mut(&mut call).cast())?;
    }
    Ok(call)
}

/// ptrace(2). What the kernel writes to `data` is the caller's business.
#[allow(unsafe_code)]
unsafe fn ptrace(request: Request, pid: Pid, address: usize, data: *mut c_void) -> nix::Result<()> {
    // SAFETY: as the caller says.
    let done = unsafe { libc::ptrace(request, pid.as_raw_nonzero().get(), address, data) };
    Errno::result(done).map(drop)
}

/// Has the kernel stop this process, and what it starts, at each system call that takes a path; whether it will.
fn install(filter: &[libc::sock_filter]) -> bool {
    const SECCOMP_SET_MODE_FILTER: usize = 1;
    let Ok(len) = u16::try_from(filter.len()) else { return false };
    let program = libc::sock_fprog { len, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads `len` instructions, which are there, and keeps a copy.
    #[allow(unsafe_code)]
    let installed = unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0_usize, &raw const program) };
    installed == 0
}

/// A call about which nothing is known.
const UNKNOWN: u16 = 1 << 15;
/// A call after which the generation may be seen by other mounts than `/`.
const MOUNTS: u16 = 1 << 14;
/// A call that executes what it is about.
const EXECUTES: u16 = 1 << 13;
/// A call that opens what it is about, maybe to read it.
const OPENS: u16 = 1 << 12;
/// The last of the calls that are known: Linux 6.17. What comes later may take a path.
const LAST: u32 = 469;

/// `AUDIT_ARCH_…` (linux/audit.h) of this program; calls by the rules of another one are unknown.
const ARCHITECTURE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else if cfg!(target_arch = "aarch64") {
    0xc000_00b7
} else {
    0
};

/// Calls that take paths (syscalls(2)), and which of their arguments are such: a bit for each. Those above 423 have one number
/// everywhere. What a link leads to is one.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
const PATHS: &[(libc::c_long, u16)] = &[
    (libc::SYS_acct, 0b1),
    (libc::SYS_chdir, 0b1),
    (libc::SYS_chroot, 0b1),
    (libc::SYS_execve, EXECUTES | 0b1),
    (libc::SYS_execveat, UNKNOWN),
    (libc::SYS_faccessat, 0b10),
    (libc::SYS_fanotify_mark, 0b1_0000),
    (libc::SYS_fchmodat, 0b10),
    (libc::SYS_fchownat, 0b10),
    (libc::SYS_getxattr, 0b1),
    (libc::SYS_inotify_add_watch, 0b10),
    (libc::SYS_lgetxattr, 0b1),
    (libc::SYS_linkat, 0b1010),
    (libc::SYS_listxattr, 0b1),
    (libc::SYS_llistxattr, 0b1),
    (libc::SYS_lremovexattr, 0b1),
    (libc::SYS_lsetxattr, 0b1),
    (libc::SYS_mkdirat, 0b10),
    (libc::SYS_mknodat, 0b10),
    (libc::SYS_mount, MOUNTS),
    (libc::SYS_name_to_handle_at, 0b10),
    (libc::SYS_newfstatat, 0b10),
    (libc::SYS_openat, OPENS | 0b10),
    (libc::SYS_pivot_root, MOUNTS),
    (libc::SYS_quotactl, 0b10),
    (libc::SYS_readlinkat, 0b10),
    (libc::SYS_removexattr, 0b1),
    (libc::SYS_renameat, 0b1010),
    (libc::SYS_renameat2, 0b1010),
    (libc::SYS_setns, MOUNTS),
    (libc::SYS_setxattr, 0b1),
    (libc::SYS_statfs, 0b1),
    (libc::SYS_statx, 0b10),
    (libc::SYS_swapoff, 0b1),
    (libc::SYS_swapon, 0b1),
    (libc::SYS_symlinkat, 0b101),
    (libc::SYS_truncate, 0b1),
    (libc::SYS_umount2, 0b1),
    (libc::SYS_unlinkat, 0b10),
    (libc::SYS_unshare, MOUNTS),
    (libc::SYS_utimensat, 0b10),
    (428, MOUNTS),       // open_tree
    (429, MOUNTS),       // move_mount
    (431, MOUNTS),       // fsconfig
    (432, MOUNTS),       // fsmount
    (433, 0b10),         // fspick
    (437, OPENS | 0b10), // openat2
    (439, 0b10),         // faccessat2
    (442, 0b10),         // mount_setattr
    (452, 0b10),         // fchmodat2
    (463, 0b10),         // setxattrat
    (464, 0b10),         // getxattrat
    (465, 0b10),         // listxattrat
    (466, 0b10),         // removexattrat
    (467, MOUNTS),       // open_tree_attr
    (468, 0b10),         // file_getattr
    (469, 0b10),         // file_setattr
];

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const PATHS: &[(libc::c_long, u16)] = &[];

/// Those that are there for programs from before 2006.
#[cfg(target_arch = "x86_64")]
const OLD_PATHS: &[(libc::c_long, u16)] = &[
    (libc::SYS_access, 0b1),
    (libc::SYS_chmod, 0b1),
    (libc::SYS_chown, 0b1),
    (libc::SYS_creat, 0b1),
    (libc::SYS_futimesat, 0b10),
    (libc::SYS_lchown, 0b1),
    (libc::SYS_link, 0b11),
    (libc::SYS_lstat, 0b1),
    (libc::SYS_mkdir, 0b1),
    (libc::SYS_mknod, 0b1),
    (libc::SYS_open, OPENS | 0b1),
    (libc::SYS_readlink, 0b1),
    (libc::SYS_rename, 0b11),
    (libc::SYS_rmdir, 0b1),
    (libc::SYS_stat, 0b1),
    (libc::SYS_symlink, 0b11),
    (libc::SYS_unlink, 0b1),
    (libc::SYS_uselib, 0b1),
    (libc::SYS_utime, 0b1),
    (libc::SYS_utimes, 0b1),
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_PATHS: &[(libc::c_long, u16)] = &[];

/// A program of the kernel's for each system call (seccomp(2)).
fn filter() -> Vec<libc::sock_filter> {
    /// BPF_LD | BPF_W | BPF_ABS
    const LOAD: u16 = 0x20;
    /// BPF_JMP | BPF_JEQ | BPF_K
    const IF_EQUAL: u16 = 0x15;
    /// BPF_JMP | BPF_JGT | BPF_K
    const IF_ABOVE: u16 = 0x25;
    /// BPF_RET | BPF_K
    const RETURN: u16 = 0x06;
    /// Where struct seccomp_data has the call's number, and the architecture.
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    let is = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let stop = |paths: u16| is(RETURN, libc::SECCOMP_RET_TRACE | u32::from(paths), 0, 0);
    let mut program = vec![
        is(LOAD, ARCH, 0, 0),
        is(IF_EQUAL, ARCHITECTURE, 1, 0),
        stop(UNKNOWN),
        is(LOAD, NUMBER, 0, 0),
        is(IF_ABOVE, LAST, 0, 1),
        stop(UNKNOWN),
    ];
    for (number, paths) in PATHS.iter().chain(OLD_PATHS) {
        if let Ok(number) = u32::try_from(*number) {
            program.extend([is(IF_EQUAL, number, 0, 1), stop(*paths)]);
        }
    }
    // io_uring_setup(2): what opens files by a ring makes no calls. It has to do without on many a machine.
    let errno = u32::try_from(libc::ENOSYS).unwrap_or_default();
    program.extend([is(IF_EQUAL, 425, 0, 1), is(RETURN, libc::SECCOMP_RET_ERRNO | errno, 0, 0)]);
    program.push(is(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_path_is_a_name() {
        let mut names = Names::default();
        names.add(Path::new("/usr//lib/../x/./y/"));
        names.add(Path::new(""));
        for (name, expected) in
            [("usr", true), ("lib", true), ("x", true), ("y", true), ("..", false), ("/", false), ("li", false)]
        {
            assert_eq!(names.have(OsStr::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn the_beginning_of_a_file_says_what_runs_it() {
        for (head, expected) in [
            ("#!/bin/sh\n", Some("/bin/sh")),
            ("#! /usr/bin/env -S perl\nrest", Some("/usr/bin/env")),
            ("#!\tsh\r\n", Some("sh\r")),
            ("#!/bin/a\0b\n", Some("/bin/a")),
            ("#!/bin/sh", Some("/bin/sh")),
            ("#!\n/bin/sh", None),
            ("#!", None),
            ("", None),
            ("/bin/sh", None),
            ("\x7fELF\x01\x01", None),
        ] {
            assert_eq!(run_by(head.as_bytes()), Some(expected.map(PathBuf::from)), "{head:?}");
        }
    }

    /// An ELF header with one program header of this type, whose text is at `at`.
    fn elf(kind: u8, at: u8) -> Vec<u8> {
        let mut elf = vec![0; 0x40 + 0x38];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (elf[0x20], elf[0x36], elf[0x38], elf[0x40]) = (0x40, 0x38, 1, kind);
        (elf[0x48], elf[0x60]) = (at, 8);
        elf.extend(b"/lib/ld\0rest");
        elf
    }

    #[test]
    fn a_programs_header_says_what_links_it() {
        for (elf, expected) in [
            (elf(3, 0x78), Some(Some("/lib/ld"))),
            (elf(1, 0x78), Some(None)),
            // Beyond what was read.
            (elf(3, 0x80), None),
            (elf(3, 0x78)[..0x50].to_vec(), None),
            (elf(3, 0x78)[..0x30].to_vec(), None),
        ] {
            assert_eq!(run_by(&elf), expected.map(|path| path.map(PathBuf::from)), "{elf:?}");
        }
    }

    #[test]
    fn the_linker_is_told_from_what_it_links() {
        const LINKER: &str =
            "7f00-7f10 r-xp 00001000 fe:00 1234                    /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
        for (line, address, expected) in [
            (LINKER, 0x7f00, true),
            (LINKER, 0x7f0f, true),
            (LINKER, 0x7f10, false),
            (LINKER, 0x7eff, false),
            ("7f00-7f10 r-xp 00001000 fe:00 1234   /usr/lib/x86_64-linux-gnu/libc.so.6", 0x7f01, false),
            ("7f00-7f10 r-xp 00001000 fe:00 1234   /usr/lib/ld-linux-x/x", 0x7f01, false),
            ("7f00-7f10 r-xp 00000000 00:00 0", 0x7f01, false),
            ("7f00 r-xp", 0x7f00, false),
            ("", 0, false),
        ] {
            assert_eq!(is_linker_at(line, address), expected, "{line} {address:x}");
        }
    }

    #[test]
    fn no_call_has_two_rules() {
        let mut numbers: Vec<_> = PATHS.iter().chain(OLD_PATHS).map(|(number, _)| *number).collect();
        numbers.sort_unstable();
        let all = numbers.len();
        numbers.dedup();
        assert!(
            all > 50 && numbers.len() == all && numbers.iter().all(|number| u32::try_from(*number).unwrap() <= LAST)
        );
    }
}
