//! `rootaufs` as the initramfs has it: what makes the union, and stays behind as the keeper of the iSCSI session. See
//! rootaufs(8).
//!
//! A program of its own, since each node fetches it at each boot: what can wait for the root is in the tree alone.

use std::path::Path;
use std::process::ExitCode;

use rustix::system::RebootCommand;
use sidus::boot::{boot, Machine, Next, REBOOT_DELAY};
use sidus::early::{parse, Verb, USAGE};
use sidus::keeper::keep_here;

/// Tells the init-bottom script to call `panic` without the kernel's `panic=`.
const WANTS_SHELL: u8 = 3;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let root = Path::new("/").to_owned();
    let rootmnt = match parse(&arguments) {
        Some(Verb::Init(rootmnt)) => rootmnt,
        Some(Verb::Keep(task)) => return keep_here(&root, &task),
        None => return complain(USAGE, 2),
    };
    match boot(&Machine { root, rootmnt }) {
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
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    eprintln!("{text}");
    ExitCode::from(code)
}
