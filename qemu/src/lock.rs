//! Locks between processes: flock(2) on a file, let go when the holder ends, however it ends.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::fs::{flock, FlockOperation};

/// A lock that is held as long as this value lives.
#[derive(Debug)]
pub(crate) struct Lock(#[allow(dead_code)] File);

/// Takes the lock if it is free.
pub(crate) fn try_lock(path: &Path) -> Result<Option<Lock>> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Takes the first of `paths` that becomes free, and says which.
pub(crate) fn lock_one_of(paths: &[impl AsRef<Path>], what: &str, limit: Duration) -> Result<(usize, Lock)> {
    let started = Instant::now();
    loop {
        for (at, path) in paths.iter().enumerate() {
            if let Some(lock) = try_lock(path.as_ref())? {
                return Ok((at, lock));
            }
        }
        if started.elapsed() > limit {
            bail!("{what}: still in use by another process after {} s", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
