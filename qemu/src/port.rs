//! The switch: the server's card and every port's node share one private layer-2 network of unix sockets.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::lock::{lock_one_of, Lock};
use crate::paths::Paths;

/// How many nodes can run at once.
pub const COUNT: usize = 8;

/// A port that this process leased.
#[derive(Debug)]
pub struct Port {
    /// Where QEMU connects to.
    pub socket: PathBuf,
    _lock: Lock,
}

/// The socket of port `number`.
pub(crate) fn socket(paths: &Paths, number: usize) -> PathBuf {
    paths.socket(&format!("port{number}"))
}

/// Leases a free port, until the value is dropped or the process ends.
pub fn lease(paths: &Paths) -> Result<Port> {
    let locks: Vec<PathBuf> = (0..COUNT).map(|number| paths.run().join(format!("port{number}.lock"))).collect();
    let (number, lock) = lock_one_of(&locks, "all ports of the lab's switch", Duration::from_secs(600))?;
    Ok(Port { socket: socket(paths, number), _lock: lock })
}
