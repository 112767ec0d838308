//! Which files a command opens in a generation, and which folders it lists: what it made can have no other file's content in
//! it, and it knows what no other folder has.
//!
//! The kernel tells it (fanotify(7)) of the mount that is the command's root, whatever a file there is opened for: to be read,
//! mapped or executed. It tells only root, and not root of a user namespace. What a command only looks at (stat(2)), or
//! looks for and does not find, is not told, nor what it opens by a mount of its own: [`super::names`] has it.
//!
//! It is known or it is not: nothing that goes wrong here is a reason for not making an initrd.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread::{Builder, JoinHandle};

use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::event::{poll, PollFd, PollFlags};
use rustix::fs::{fstat, FileType, CWD};
use rustix::pipe::{pipe_with, PipeFlags};
use rustix::process::{getpid, getrlimit, Resource};

use super::seen::TOP;

/// One reading of what the kernel tells opens so many files at most, and some are open already. It loses without a word what
/// it has no room for.
const FILES: u64 = 256;
/// So often it is read after the command has ended: what it has left running may open files for ever.
const LAST_READINGS: u32 = 10_000;

/// What was opened.
#[derive(Debug, Default)]
pub(super) struct Opens {
    /// What is no folder.
    pub(super) files: BTreeSet<PathBuf>,
    /// The folders that were not only opened, but listed, and by which processes.
    pub(super) folders: BTreeMap<PathBuf, BTreeSet<i32>>,
}

/// A list that is kept while the command runs.
pub(super) struct Opened {
    /// Closed, it ends the other thread.
    ends: OwnedFd,
    watcher: JoinHandle<io::Result<Opens>>,
}

impl Opened {
    /// Begins a list of what is opened in the mount that is `/`; `None` where the kernel does not tell it.
    pub(super) fn begin() -> Option<Self> {
        if getrlimit(Resource::Nofile).current.is_some_and(|limit| limit < FILES) {
            return None;
        }
        let flags = InitFlags::FAN_CLASS_NOTIF
            | InitFlags::FAN_CLOEXEC
            | InitFlags::FAN_NONBLOCK
            | InitFlags::FAN_UNLIMITED_QUEUE;
        // It opens each file once more, for whoever reads: a pipe nobody writes to would be waited for.
        let event = EventFFlags::O_RDONLY | EventFFlags::O_LARGEFILE | EventFFlags::O_CLOEXEC | EventFFlags::O_NONBLOCK;
        let told = Fanotify::init(flags, event).ok()?;
        let mark = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_MOUNT;
        told.mark(mark, MaskFlags::FAN_OPEN | MaskFlags::FAN_ACCESS | MaskFlags::FAN_ONDIR, CWD, Some("/")).ok()?;
        // That this is told is seen by this process doing it.
        fs::read_dir("/").ok()?.next();
        let (end, ends) = pipe_with(PipeFlags::CLOEXEC).ok()?;
        let watcher = Builder::new().spawn(move || watch(&told, &end)).ok()?;
        Some(Self { ends, watcher })
    }

    /// Ends the list; `None` where it is not whole.
    pub(super) fn end(self) -> Option<Opens> {
        drop(self.ends);
        self.watcher.join().ok()?.ok()
    }
}

/// Takes note of all that others open until `end` is closed at its other end, and before.
fn watch(told: &Fanotify, end: &OwnedFd) -> io::Result<Opens> {
    let own = getpid().as_raw_nonzero().get();
    let mut opened = Opens::default();
    let mut lists_are_told = false;
    let mut ended = false;
    let mut left = LAST_READINGS;
    loop {
        if ended {
            left = left.checked_sub(1).ok_or_else(|| io::Error::other("it does not end"))?;
        }
        match told.read_events() {
            Ok(events) => {
                for event in events {
                    // Without one, the kernel has lost something.
                    let file = event.fd().ok_or_else(|| io::Error::other("the kernel has not told all"))?;
                    let is_folder = FileType::from_raw_mode(fstat(file)?.st_mode).is_dir();
                    let matters = if is_folder { MaskFlags::FAN_ACCESS } else { MaskFlags::FAN_OPEN };
                    if !event.mask().contains(matters) {
                        continue;
                    }
                    if event.pid() == own {
                        lists_are_told |= is_folder;
                        continue;
                    }
                    let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
                    let path = match path.strip_prefix("/") {
                        Ok(inside) if inside == Path::new("") => PathBuf::from(TOP),
                        Ok(inside) => inside.to_owned(),
                        Err(_) => path,
                    };
                    if is_folder {
                        opened.folders.entry(path).or_default().insert(event.pid());
                    } else {
                        opened.files.insert(path);
                    }
                }
            }
            Err(Errno::EAGAIN) if ended && lists_are_told => return Ok(opened),
            Err(Errno::EAGAIN) if ended => {
                return Err(io::Error::other("the kernel does not tell which folders are listed"))
            }
            Err(Errno::EAGAIN) => {
                let mut waits =
                    [PollFd::from_borrowed_fd(told.as_fd(), PollFlags::IN), PollFd::new(end, PollFlags::IN)];
                match poll(&mut waits, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
                ended = waits.get(1).is_some_and(|end| !end.revents().is_empty());
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
