//! Programs of systemd that are called: each may take so long and no longer.

use std::io::{self, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::Duration;

use thiserror::Error;

use crate::iscsi::deadline::Deadline;

/// How often it is looked whether one has ended.
const LOOK: Duration = Duration::from_millis(10);
/// No more of what one says is read, in bytes: as much fits into a pipe.
const LONGEST: u64 = 64 << 10;
/// No more of what one complains of is told, in bytes.
const TOLD: u64 = 4096;

/// Why a program did not do what it was called for.
#[derive(Debug, Error)]
pub enum CommandError {
    /// It cannot be run.
    #[error("{program}: {source}")]
    Run {
        /// The command.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It did not end.
    #[error("{program} has not ended after {} s", limit.as_secs())]
    Slow {
        /// The command.
        program: String,
        /// What it had.
        limit: Duration,
    },
    /// It failed.
    #[error("{program} failed ({status}){said}")]
    Failed {
        /// The command.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
}

/// Runs a program, and returns the first of what it writes.
///
/// # Errors
/// [`CommandError`]
pub fn run(program: &str, arguments: &[&str], limit: Duration) -> Result<String, CommandError> {
    let words = || [&[program], arguments].concat().join(" ");
    let failed = |source| CommandError::Run { program: words(), source };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let deadline = Deadline::after(limit);
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if deadline.remaining().is_some() => sleep(LOOK),
            None => {
                // One that hangs in the kernel does not end by it; nobody waits for that.
                child.kill().map_err(failed)?;
                return Err(CommandError::Slow { program: words(), limit });
            }
        }
    };
    if status.success() {
        return first_of(child.stdout, LONGEST).map_err(failed);
    }
    let text = first_of(child.stderr, TOLD).map_err(failed)?;
    let said = if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) };
    Err(CommandError::Failed { program: words(), status, said })
}

fn first_of(output: Option<impl Read>, limit: u64) -> io::Result<String> {
    let mut text = Vec::new();
    output.map_or(Ok(0), |output| output.take(limit).read_to_end(&mut text))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_came_to_is_told() {
        let second = Duration::from_secs(10);
        assert_eq!(run("echo", &["systemd", "257"], second).unwrap(), "systemd 257\n");
        let table: [(&[&str], Duration, &str); 3] = [
            (&["sh", "-c", "echo no >&2; exit 3"], second, "sh -c echo no >&2; exit 3 failed (exit status: 3): no"),
            (&["sleep", "60"], Duration::from_millis(50), "sleep 60 has not ended after 0 s"),
            (&["/nonexistent"], second, "/nonexistent: No such file or directory (os error 2)"),
        ];
        for (words, limit, expected) in table {
            let (program, arguments) = words.split_first().unwrap();
            assert_eq!(run(program, arguments, limit).unwrap_err().to_string(), expected);
        }
    }
}
