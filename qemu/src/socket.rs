//! Connections to a machine's unix sockets. A machine that is stopped takes no more of them once a few wait, and nothing
//! that is written: neither may hold anybody up for ever.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{connect as connect_socket, socket_with, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connects; that, and later each write, may take `limit` (socket(7), SO_SNDTIMEO).
pub(crate) fn connect(path: &Path, limit: Duration) -> Result<UnixStream> {
    let connect = || -> Result<_, Errno> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
        connect_socket(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    };
    match connect() {
        Ok(socket) => Ok(UnixStream::from(socket)),
        Err(Errno::AGAIN) => {
            Err(anyhow::anyhow!("{} took no connection within {limit:?}: the machine hangs", path.display()))
        }
        Err(errno) => Err(errno).with_context(|| format!("cannot connect to {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Write};

    use super::*;

    #[test]
    fn a_machine_that_hangs_holds_nobody_up() {
        let path = std::env::temp_dir().join(format!("sidus-lab-socket-{}", std::process::id()));
        let machine = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&machine, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&machine, 0).unwrap();
        let limit = Duration::from_millis(100);
        let mut first = connect(&path, limit).unwrap();
        let second = connect(&path, limit).unwrap_err().to_string();
        let full = loop {
            if let Err(error) = first.write_all(&[0; 4096]) {
                break error.kind();
            }
        };
        std::fs::remove_file(&path).unwrap();
        assert_eq!(second, format!("{} took no connection within 100ms: the machine hangs", path.display()));
        assert_eq!(full, ErrorKind::WouldBlock);
    }
}
