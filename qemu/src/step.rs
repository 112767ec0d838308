//! A long command as one step: it says what it does, how long it takes, and on failure shows the end of its output.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

/// How often a long step says that it is still at work.
const REMIND: Duration = Duration::from_secs(15);

/// Runs `command` with its output in `log`; `what` tells a person what it does.
pub(crate) fn run(what: &str, command: &mut Command, log: &Path, limit: Duration) -> Result<()> {
    eprintln!("  {what} …");
    let output = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .with_context(|| format!("{what}: cannot start {command:?}"))?;
    let started = Instant::now();
    let mut reminded = started;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > limit {
            child.kill().and_then(|()| child.wait())?;
            bail!("{what}: not finished after {} s, stopped\n{}", limit.as_secs(), tail_of(log));
        }
        if reminded.elapsed() > REMIND {
            reminded = Instant::now();
            eprintln!("  {what}: {} s so far", started.elapsed().as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if !status.success() {
        bail!("{what}: {status}; all of its output is in {}\n{}", log.display(), tail_of(log));
    }
    eprintln!("  {what}: done in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn tail_of(log: &Path) -> String {
    match std::fs::read(log) {
        Ok(bytes) => crate::console::tail(&bytes),
        Err(error) => format!("({} cannot be read: {error})", log.display()),
    }
}
