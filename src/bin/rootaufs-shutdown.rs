//! `rootaufs-shutdown`: how a node goes down whose layer is on a LUN. It watches the session meanwhile, and as process 1
//! ends the machine. See rootaufs(8), SHUTDOWN.
//!
//! A program of its own: the initramfs need not bring it, since `rootaufs` takes it from the tree; and it runs from
//! memory, where all of `rootaufs` would be too much.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::getpid;
use rustix::system::RebootCommand;
use sidus::late::{parse, Verb, MISMATCH};
use sidus::shutdown::{end, Watch};

fn main() -> ExitCode {
    let root = Path::new("/");
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    match parse(&arguments) {
        Some(Verb::Watch(how)) => Watch::begin(root).map_or(ExitCode::FAILURE, |watch| {
            watch.keep_apart(root, how);
            ExitCode::SUCCESS
        }),
        Some(Verb::End(how)) if getpid().is_init() => end(root, how),
        // As process 1 it must not end, whatever it is asked: systemd-shutdown(8) does the same.
        None if getpid().is_init() => end(root, RebootCommand::Restart),
        Some(Verb::End(_)) | None => {
            // An older initramfs starts its keeper by this program, and tells on the console what it reads from there.
            let _ = std::io::stdout().write_all(MISMATCH.as_bytes());
            ExitCode::from(2)
        }
    }
}
