//! `sidus`: serves diskless nodes. See sidus(8); [`sidus::server`] tells how it works.

use std::process::ExitCode;

use clap::Parser;
use sidus::server::cli::Arguments;
use sidus::server::{inherited, output, run};

fn main() -> ExitCode {
    // Modes are said for each file; the caller's habits are not to matter.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if let Err(error) = inherited::keep_from_commands() {
        eprintln!("sidus: cannot read /proc/self/fd: {error}; mount /proc");
        return ExitCode::FAILURE;
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_told() {
                eprintln!("sidus: {}", output::plain(&error.to_string()));
            }
            ExitCode::from(error.status())
        }
    }
}
