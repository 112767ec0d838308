//! The kernel's own announcements of devices (uevents, netlink(7) NETLINK_KOBJECT_UEVENT). What they say is not even
//! read: each is only the reason to look into sysfs again, which is what can be believed.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{SocketAddrNetlink, KOBJECT_UEVENT};
use rustix::net::sockopt::{set_socket_timeout, Timeout};
use rustix::net::{bind, recv, socket_with, AddressFamily, RecvFlags, SocketFlags, SocketType};

use super::error::LunError;
use crate::iscsi::deadline::Deadline;

/// The group to which the kernel itself speaks; udev's own is 2.
const KERNEL: u32 = 1;

/// A subscription: what happens from its making on is not missed.
#[derive(Debug)]
pub struct Uevents(OwnedFd);

impl Uevents {
    /// Subscribes.
    ///
    /// # Errors
    /// [`LunError::Kernel`]
    pub fn subscribe() -> Result<Self, LunError> {
        let failed = |errno: Errno| LunError::Kernel { doing: "listen to uevents", source: errno.into() };
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(KOBJECT_UEVENT))
            .map_err(failed)?;
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL)).map_err(failed)?;
        Ok(Self(socket))
    }

    /// Looks; while `look` finds nothing, waits for the next event and looks again.
    ///
    /// # Errors
    /// [`LunError::Timeout`], which names `what`; those of `look`.
    pub fn wait<T>(
        &self,
        what: &str,
        deadline: Deadline,
        look: &mut dyn FnMut() -> Result<Option<T>, LunError>,
    ) -> Result<T, LunError> {
        let failed = |errno: Errno| LunError::Kernel { doing: "receive uevents", source: errno.into() };
        loop {
            if let Some(found) = look()? {
                return Ok(found);
            }
            let Some(left) = deadline.remaining() else {
                return Err(LunError::Timeout { what: what.to_owned(), after: deadline.limit().as_secs() });
            };
            set_socket_timeout(&self.0, Timeout::Recv, Some(left)).map_err(failed)?;
            match recv(&self.0, &mut [0_u8; 16], RecvFlags::TRUNC) {
                // NOBUFS: some were lost, so it is time to look.
                Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::NOBUFS) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
    }
}
