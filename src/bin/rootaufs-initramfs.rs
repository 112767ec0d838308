//! `rootaufs` as the initramfs has it: what makes the union, and what then keeps the session. See rootaufs(8).
//!
//! A program of its own, since each node fetches it at each boot: what can wait for the root is in `rootaufs` alone.

use std::path::Path;
use std::process::ExitCode;

use rustix::process::getpid;
use rustix::system::RebootCommand;
use sidus::boot::{boot, Machine, Next, REBOOT_DELAY};
use sidus::early::{parse, Verb, USAGE};
use sidus::keeper::keep_here;
use sidus::shutdown::{end, Watch};

/// Tells the init-bottom script to call `panic` without the kernel's `panic=`.
const WANTS_SHELL: u8 = 3;

fn main() -> ExitCode {
    let root = Path::new("/");
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match parse(&arguments) {
        Some(Verb::Init { rootmnt }) => match boot(&Machine { root: root.to_owned(), rootmnt }) {
            Next::Boot => ExitCode::SUCCESS,
            Next::Panic => ExitCode::FAILURE,
            Next::Shell => ExitCode::from(WANTS_SHELL),
            Next::Reboot => {
                std::thread::sleep(REBOOT_DELAY);
                // It returns only where the kernel refuses.
                rustix::system::reboot(RebootCommand::Restart).map_or_else(
                    |refused| complain(&format!("rootaufs: the kernel refuses to reboot: {refused}"), 1),
                    |()| ExitCode::FAILURE,
                )
            }
        },
        Some(Verb::Keep(what)) => keep_here(root, &what),
        Some(Verb::Watch(how)) => Watch::begin(root).map_or(ExitCode::FAILURE, |watch| {
            watch.keep_apart(root, how);
            ExitCode::SUCCESS
        }),
        Some(Verb::End(how)) if getpid().is_init() => end(root, how),
        // As process 1 it must not end, whatever it is asked: systemd-shutdown(8) does the same.
        None if getpid().is_init() => end(root, RebootCommand::Restart),
        Some(Verb::End(_)) | None => complain(USAGE, 2),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}
