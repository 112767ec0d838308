//! Open files that this program was started with, and that nobody meant for it or its commands: a shell's, an editor's.
//!
//! A command that inherited them would hold them, and its own would get numbers beyond them: `mmdebstrap` has apt run
//! `cat >&N` by sh(1), where dash takes one digit.

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{fcntl_setfd, Errno, FdFlags};

/// Standard input, output and error.
const STANDARD: RawFd = 2;

/// Has all but standard input, output and error end with this program. For its very beginning: what it has opened itself
/// and means for a command would be lost to that as well.
///
/// # Errors
/// `/proc/self/fd` cannot be read (proc(5)).
pub fn keep_from_commands() -> io::Result<()> {
    for entry in fs::read_dir("/proc/self/fd")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse().ok()).filter(|number| *number > STANDARD) else {
            continue;
        };
        // SAFETY: the kernel lists a descriptor while it is open, and nothing else of this program runs yet that could
        // close it before the call returns.
        #[allow(unsafe_code)]
        let inherited = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_setfd(inherited, FdFlags::CLOEXEC) {
            Ok(()) | Err(Errno::BADF) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}
