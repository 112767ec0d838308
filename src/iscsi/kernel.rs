//! The socket to the kernel's iSCSI: one request at a time, each with its answer, and the events
//! that come in between.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{poll, PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::netlink::{SocketAddrNetlink, ISCSI};
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{bind, recv, sendto, socket_with, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use thiserror::Error;

use super::deadline::{Deadline, Seconds};
use super::netlink::{decode, Event, NetlinkError, Reply, Request, MAX_MESSAGE};
use crate::bytes::shown;

/// The group in which the kernel tells what happens.
const GROUP: u32 = 1;
/// How many events wait until somebody asks for them; with more the oldest goes.
const MAX_PENDING: usize = 128;
/// Where the transport's handle stands, below the root of the file system.
const HANDLE: &str = "sys/class/iscsi_transport/tcp/handle";

/// Why the kernel could not be asked, or said no.
#[derive(Debug, Error)]
pub enum KernelError {
    /// iscsi_tcp is not there.
    #[error("{}: {source}: the kernel has no iSCSI over TCP; the modules iscsi_tcp and crc32c are needed, and root", path.display())]
    NoTransport {
        /// The file that was read.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The handle is no number.
    #[error("{}: {got:?}; a decimal number was expected", path.display())]
    Handle {
        /// The file that was read.
        path: PathBuf,
        /// What it says.
        got: String,
    },
    /// The socket failed.
    #[error("NETLINK_ISCSI: {doing}: {source}")]
    Socket {
        /// At what.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("the kernel could not {what}: {source}")]
    Refused {
        /// Which request.
        what: &'static str,
        /// Its errno.
        source: io::Error,
    },
    /// No answer, or an event that never came.
    #[error("waited {} in vain for the kernel to {what}", Seconds(*after))]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// The limit.
        after: Duration,
    },
    /// A message that is none.
    #[error("NETLINK_ISCSI: {0}")]
    Message(#[from] NetlinkError),
}

impl KernelError {
    /// The kernel's errno, if it refused a request.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// The kernel's iSCSI over TCP. Needs CAP_SYS_ADMIN and the initial network namespace.
#[derive(Debug)]
pub struct Kernel {
    socket: OwnedFd,
    handle: u64,
    pending: VecDeque<Event>,
    buffer: Vec<u8>,
}

impl Kernel {
    /// Opens the socket and reads the transport's handle below `root`, which is `/` on a node.
    ///
    /// # Errors
    /// [`KernelError::NoTransport`] without the modules, [`KernelError::Socket`].
    pub fn open(root: &Path) -> Result<Self, KernelError> {
        let handle = read_handle(root)?;
        let failed = |doing| move |errno: Errno| KernelError::Socket { doing, source: errno.into() };
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(ISCSI))
            .map_err(failed("socket"))?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUP)).map_err(failed("bind"))?;
        Ok(Self { socket, handle, pending: VecDeque::new(), buffer: vec![0; MAX_MESSAGE] })
    }

    /// Asks, and gives the answer. BIND, START and SEND_PDU have a result of their own: it is
    /// looked at as well.
    ///
    /// # Errors
    /// [`KernelError::Refused`] with the kernel's errno, [`KernelError::Timeout`].
    pub fn call(&mut self, request: &Request<'_>, deadline: Deadline) -> Result<Reply, KernelError> {
        let (event, what) = (request.event(), request.name());
        let mut message = request.encode(self.handle)?;
        let sent = sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0));
        // It may have been SET_PARAM PASSWORD.
        message.fill(0);
        sent.map_err(|errno| KernelError::Socket { doing: "send", source: errno.into() })?;
        let refused = |errno: u32| KernelError::Refused {
            what,
            source: io::Error::from_raw_os_error(i32::try_from(errno).unwrap_or(0)),
        };
        loop {
            for received in self.receive(what, deadline)? {
                match received {
                    Event::Reply(reply) if reply.event == event => {
                        return match (event, reply.retcode()) {
                            (15 | 17 | 19, Some(errno)) => Err(refused(errno)),
                            _ => Ok(reply),
                        };
                    }
                    Event::Failed { event: failed, errno } if failed == event => {
                        return Err(refused(errno));
                    }
                    other => self.keep(other),
                }
            }
        }
    }

    /// Waits for an event that `pick` takes; what it does not take is kept for later.
    ///
    /// # Errors
    /// [`KernelError::Timeout`], which names `what`.
    pub fn wait<T>(
        &mut self,
        what: &'static str,
        deadline: Deadline,
        pick: impl Fn(&Event) -> Option<T>,
    ) -> Result<T, KernelError> {
        loop {
            if let Some((place, found)) =
                self.pending.iter().enumerate().find_map(|(place, event)| Some((place, pick(event)?)))
            {
                self.pending.remove(place);
                return Ok(found);
            }
            for event in self.receive(what, deadline)? {
                self.keep(event);
            }
        }
    }

    /// Sleeps until the kernel tells something, or there is something to read from `other`; without a limit.
    ///
    /// # Errors
    /// [`KernelError::Socket`], [`KernelError::Message`].
    pub fn listen(&mut self, other: Option<BorrowedFd<'_>>) -> Result<Heard, KernelError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(Heard::Event(event));
            }
            match recv_ready(&self.socket, other).map_err(receiving)? {
                Ready::Other => return Ok(Heard::Other),
                Ready::Again => {}
                Ready::Kernel => match self.receive_once(RecvFlags::DONTWAIT) {
                    Ok(events) => events.into_iter().for_each(|event| self.keep(event)),
                    Err(Received::Again) => {}
                    Err(Received::Lost) => return Ok(Heard::Lost),
                    Err(Received::Failed(error)) => return Err(error),
                },
            }
        }
    }

    /// Forgets all events, also those that still wait in the socket: before a new login.
    ///
    /// # Errors
    /// [`KernelError::Socket`].
    pub fn drain(&mut self) -> Result<(), KernelError> {
        self.pending.clear();
        // Bounded: other processes' events must not hold up a login for ever.
        for _ in 0..MAX_PENDING {
            match recv(&self.socket, &mut self.buffer, RecvFlags::DONTWAIT) {
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(KernelError::Socket { doing: "receive", source: errno.into() }),
            }
        }
        Ok(())
    }

    fn keep(&mut self, event: Event) {
        if matches!(event, Event::Other { .. } | Event::Reply(_) | Event::Failed { .. }) {
            return;
        }
        if self.pending.len() >= MAX_PENDING {
            self.pending.pop_front();
        }
        self.pending.push_back(event);
    }

    /// The next datagram.
    fn receive(&mut self, what: &'static str, deadline: Deadline) -> Result<Vec<Event>, KernelError> {
        loop {
            let Some(left) = deadline.remaining() else {
                return Err(KernelError::Timeout { what, after: deadline.limit() });
            };
            set_socket_timeout(&self.socket, Timeout::Recv, Some(left)).map_err(receiving)?;
            match self.receive_once(RecvFlags::empty()) {
                Ok(events) => return Ok(events),
                Err(Received::Again) => {}
                Err(Received::Lost) => return Err(receiving(Errno::NOBUFS)),
                Err(Received::Failed(error)) => return Err(error),
            }
        }
    }

    fn receive_once(&mut self, flags: RecvFlags) -> Result<Vec<Event>, Received> {
        // TRUNC: tells the real length of a datagram that does not fit.
        match recv(&self.socket, &mut self.buffer, flags | RecvFlags::TRUNC) {
            Ok((_, got)) => {
                let datagram = self.buffer.get(..got).ok_or(NetlinkError::TooLong { got });
                datagram.and_then(decode).map_err(|error| Received::Failed(error.into()))
            }
            Err(Errno::AGAIN | Errno::INTR) => Err(Received::Again),
            Err(Errno::NOBUFS) => Err(Received::Lost),
            Err(errno) => Err(Received::Failed(receiving(errno))),
        }
    }
}

/// What ended a sleep.
#[derive(Debug)]
pub enum Heard {
    /// The kernel told this.
    Event(Event),
    /// So much was told that some of it is lost.
    Lost,
    /// There is something to read from the other descriptor.
    Other,
}

/// What can be read.
enum Ready {
    Kernel,
    Other,
    Again,
}

fn recv_ready(socket: &OwnedFd, other: Option<BorrowedFd<'_>>) -> Result<Ready, Errno> {
    let mut fds = vec![PollFd::new(socket, PollFlags::IN)];
    fds.extend(other.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(errno) => return Err(errno),
    }
    let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
    // The kernel first: what ends the other side may be a consequence.
    Ok(match (ready.next(), ready.next()) {
        (Some(true), _) => Ready::Kernel,
        (_, Some(true)) => Ready::Other,
        _ => Ready::Again,
    })
}

/// Why nothing was received.
enum Received {
    /// The time is over, or a signal came.
    Again,
    /// More came than the socket holds (netlink(7), ENOBUFS).
    Lost,
    /// It cannot be.
    Failed(KernelError),
}

fn receiving(errno: Errno) -> KernelError {
    KernelError::Socket { doing: "receive", source: errno.into() }
}

fn read_handle(root: &Path) -> Result<u64, KernelError> {
    let path = root.join(HANDLE);
    match std::fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(handle) => Ok(handle),
            Err(_) => Err(KernelError::Handle { path, got: shown(text.as_bytes()) }),
        },
        Err(source) => Err(KernelError::NoTransport { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles() {
        let root = std::env::temp_dir().join(format!("sidus-kernel-{}", std::process::id()));
        let path = root.join(HANDLE);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let missing = read_handle(&root).map_err(|e| e.to_string());
        std::fs::write(&path, "18446744072646336512\n").unwrap();
        let good = read_handle(&root).map_err(|e| e.to_string());
        std::fs::write(&path, "-1\n").unwrap();
        let bad = read_handle(&root).map_err(|e| e.to_string());
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(good, Ok(18_446_744_072_646_336_512));
        let path = path.display();
        assert_eq!(bad, Err(format!("{path}: \"-1\\\\n\"; a decimal number was expected")));
        assert_eq!(
            missing,
            Err(format!(
                "{path}: No such file or directory (os error 2): the kernel has no iSCSI over TCP; the modules iscsi_tcp and crc32c are needed, and root"
            ))
        );
    }
}
