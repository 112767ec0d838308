//! How machines share the processors of the one that they run on (sched(7)).

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{anyhow, Context, Result};
use rustix::process::getpriority_process;

/// So long a thread of a machine goes on while others wait, in nanoseconds. Linux obeys it since 6.12; before, a few
/// milliseconds are for all.
const SLICE: u64 = 8_000_000;

/// Has what the command becomes, and all of its threads, interrupt nobody when they are woken (SCHED_BATCH), and go on for
/// [`SLICE`]; threads that are not of this class interrupt them as ever. A machine is a thread that computes and one for its
/// devices, and each wakes the other all the time: of four nodes that boot on two processors, each takes half
/// as long again where they interrupt each other, and a fifth more where only the slices are as short as others'.
///
/// Where the kernel refuses that, which is said once, they only take longer.
pub(crate) fn in_long_slices(command: &mut Command) -> Result<()> {
    static REFUSED: OnceLock<bool> = OnceLock::new();
    let attributes = attributes()?;
    let is_refused = *REFUSED.get_or_init(|| {
        // By a thread that then ends.
        let tried = std::thread::spawn(move || set(&attributes)).join();
        let error = tried.map_err(|_| anyhow!("its thread ended")).and_then(|tried| Ok(tried?)).err();
        if let Some(error) = &error {
            eprintln!("  machines that run beside each other will take longer: sched_setattr(2): {error:#}");
        }
        error.is_some()
    });
    if !is_refused {
        // SAFETY: between fork(2) and execve(2) nothing is done but one system call, which reads memory that was made before.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || set(&attributes));
        }
    }
    Ok(())
}

/// The nice value stays.
fn attributes() -> Result<libc::sched_attr> {
    Ok(libc::sched_attr {
        size: u32::try_from(size_of::<libc::sched_attr>())?,
        sched_policy: u32::try_from(libc::SCHED_BATCH)?,
        sched_flags: 0,
        sched_nice: getpriority_process(None).context("cannot read this process's nice value")?,
        sched_priority: 0,
        sched_runtime: SLICE,
        sched_deadline: 0,
        sched_period: 0,
    })
}

/// sched_setattr(2), of the calling thread.
fn set(attributes: &libc::sched_attr) -> io::Result<()> {
    // SAFETY: the kernel reads as many bytes at the pointer as `size` says, which `attributes` has, and writes no memory of
    // this process.
    #[allow(unsafe_code)]
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, std::ptr::from_ref(attributes), 0) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_and_what_it_starts_are_of_the_batch_class_and_as_nice_as_before() {
        // This thread's; it ends with the test.
        rustix::process::setpriority_process(None, 5).unwrap();
        let shows = "chrt -p $$; nice; sh -c 'chrt -p $$; nice'";
        let mut plain = Command::new("sh");
        let mut batch = Command::new("sh");
        in_long_slices(&mut batch).unwrap();
        let said =
            |command: &mut Command| String::from_utf8(command.args(["-c", shows]).output().unwrap().stdout).unwrap();
        let (plain, batch) = (said(&mut plain), said(&mut batch));
        assert_eq!(batch.matches("policy: SCHED_BATCH").count(), 2, "{batch}");
        let nice = |text: &str| text.lines().filter(|line| line.parse::<i32>().is_ok()).collect::<String>();
        assert_eq!((nice(&plain), nice(&batch)), ("55".to_owned(), "55".to_owned()));
    }
}
