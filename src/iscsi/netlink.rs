//! Messages of NETLINK_ISCSI, byte by byte (Linux: `include/scsi/iscsi_if.h`).
//!
//! ```text
//! nlmsghdr, 16 bytes:  length u32 | type u16 | flags u16 | seq u32 | pid u32
//! iscsi_uevent, 56:    type u32 | iferror u32 | transport handle u64 | u, 24 bytes | r, 16 bytes
//! then data:           a parameter's text, or the header and data of a PDU
//! ```
//! All numbers are in the machine's own byte order. The kernel answers with the same `type`, or with
//! 103 (IF_ERROR); what it tells by itself has a type of 101 and above.

use thiserror::Error;

use super::params::Param;
use super::pdu::{padding, Pdu, PduError, HEADER};
use crate::bytes::Reader;

/// The length of `nlmsghdr` in bytes.
const NLMSG: usize = 16;
/// The length of `iscsi_uevent` in bytes.
const UEVENT: usize = 56;
/// The longest message that is taken, in bytes; the longest the kernel sends has a PDU of 8 KiB.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// How many messages one datagram may have.
const MAX_MESSAGES: usize = 64;

const IF_ERROR: u32 = 103;

/// A connection in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The session's number.
    pub sid: u32,
    /// The connection's number in it.
    pub cid: u32,
}

/// How to stop a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// For good: outstanding commands fail.
    Terminate,
    /// To log in again: outstanding commands wait.
    Recover,
}

/// What the kernel is asked.
#[derive(Clone, Debug)]
pub enum Request<'a> {
    /// 11; cmds_max 0 means 128, queue_depth 0 means 32.
    CreateSession {
        /// The first CmdSN.
        initial_cmd_sn: u32,
        /// How many commands may be outstanding.
        cmds_max: u16,
        /// How many of them on one LUN.
        queue_depth: u16,
    },
    /// 12.
    DestroySession {
        /// The session.
        sid: u32,
    },
    /// 13; the number of the connection in the session is `cid`.
    CreateConnection(Connection),
    /// 14.
    DestroyConnection(Connection),
    /// 15: the kernel takes its own reference to the socket `fd`.
    Bind {
        /// Which connection.
        connection: Connection,
        /// A connected TCP socket of this process.
        fd: u32,
    },
    /// 16.
    SetParam {
        /// Which connection.
        connection: Connection,
        /// Which parameter.
        param: Param,
        /// Its text, without the NUL.
        value: &'a [u8],
    },
    /// 17.
    Start(Connection),
    /// 18.
    Stop {
        /// Which connection.
        connection: Connection,
        /// How.
        how: Stop,
    },
    /// 19: sends a PDU; the kernel sets CmdSN and the task tag.
    SendPdu {
        /// Which connection.
        connection: Connection,
        /// The PDU.
        pdu: &'a Pdu,
    },
    /// 27: lets go of the session's disks.
    UnbindSession {
        /// The session.
        sid: u32,
    },
}

impl Request<'_> {
    /// The event number, which is the message's type.
    pub const fn event(&self) -> u16 {
        match self {
            Self::CreateSession { .. } => 11,
            Self::DestroySession { .. } => 12,
            Self::CreateConnection(_) => 13,
            Self::DestroyConnection(_) => 14,
            Self::Bind { .. } => 15,
            Self::SetParam { .. } => 16,
            Self::Start(_) => 17,
            Self::Stop { .. } => 18,
            Self::SendPdu { .. } => 19,
            Self::UnbindSession { .. } => 27,
        }
    }

    /// What is asked, for an error; no secret in it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::CreateSession { .. } => "create the session",
            Self::DestroySession { .. } => "destroy the session",
            Self::CreateConnection(_) => "create the connection (it needs the module crc32c)",
            Self::DestroyConnection(_) => "destroy the connection",
            Self::Bind { .. } => "bind the socket",
            Self::SetParam { param, .. } => param.name(),
            Self::Start(_) => "start the connection",
            Self::Stop { .. } => "stop the connection",
            Self::SendPdu { .. } => "send a PDU",
            Self::UnbindSession { .. } => "unbind the session",
        }
    }

    /// The whole message, for the transport with this handle.
    ///
    /// # Errors
    /// [`NetlinkError::TooLong`] or [`NetlinkError::Pdu`].
    pub fn encode(&self, handle: u64) -> Result<Vec<u8>, NetlinkError> {
        let mut union = Vec::with_capacity(24);
        let mut data = Vec::new();
        let mut put = |numbers: &[u32]| {
            for number in numbers {
                union.extend(number.to_ne_bytes());
            }
        };
        match self {
            Self::CreateSession { initial_cmd_sn, cmds_max, queue_depth } => {
                put(&[*initial_cmd_sn]);
                union.extend(cmds_max.to_ne_bytes());
                union.extend(queue_depth.to_ne_bytes());
            }
            Self::DestroySession { sid } | Self::UnbindSession { sid } => put(&[*sid]),
            Self::CreateConnection(c) | Self::DestroyConnection(c) | Self::Start(c) => put(&[c.sid, c.cid]),
            Self::Bind { connection: c, fd } => {
                put(&[c.sid, c.cid]);
                union.extend(u64::from(*fd).to_ne_bytes());
                // is_leading: sessions have one connection here.
                union.extend(1_u32.to_ne_bytes());
            }
            Self::SetParam { connection: c, param, value } => {
                data.extend_from_slice(value);
                data.push(0);
                put(&[c.sid, c.cid, param.number(), length(&data)?]);
            }
            Self::Stop { connection: c, how } => {
                let flag = match how {
                    Stop::Terminate => 1,
                    Stop::Recover => 3,
                };
                // The connection's handle is of no use to the kernel any more: 0.
                put(&[c.sid, c.cid, 0, 0, flag]);
            }
            Self::SendPdu { connection: c, pdu } => {
                // Header and padded data, back to back.
                data = pdu.encode()?;
                let header = u32::try_from(HEADER).unwrap_or(0);
                put(&[c.sid, c.cid, header, length(&data)?.saturating_sub(header)]);
            }
        }
        let total = NLMSG.saturating_add(UEVENT).saturating_add(data.len());
        if total > MAX_MESSAGE {
            return Err(NetlinkError::TooLong { got: total });
        }
        let event = self.event();
        let mut bytes = Vec::with_capacity(total);
        bytes.extend(length_of(total)?.to_ne_bytes());
        bytes.extend(event.to_ne_bytes());
        bytes.extend([0; 10]); // flags, seq, pid: the kernel looks at none of them
        bytes.extend(u32::from(event).to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(handle.to_ne_bytes());
        union.resize(24, 0);
        bytes.append(&mut union);
        bytes.extend([0; 16]);
        bytes.append(&mut data);
        Ok(bytes)
    }
}

fn length(data: &[u8]) -> Result<u32, NetlinkError> {
    length_of(data.len())
}

fn length_of(got: usize) -> Result<u32, NetlinkError> {
    u32::try_from(got).map_err(|_| NetlinkError::TooLong { got })
}

/// What the kernel says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The answer to a request with this event number.
    Reply(Reply),
    /// 103: the request failed with this errno (positive).
    Failed {
        /// The event number of the request.
        event: u16,
        /// E.g. 107, ENOTCONN.
        errno: u32,
    },
    /// 101: a PDU of the login or logout arrived; all of its bytes, header first.
    Pdu {
        /// Where.
        connection: Connection,
        /// Header and data.
        bytes: Vec<u8>,
    },
    /// 102: the connection failed: 1020 TCP closed, 1019 could not transmit, 1022 ping timed out.
    ConnectionError {
        /// Which.
        connection: Connection,
        /// Linux: `enum iscsi_err`.
        error: u32,
    },
    /// 104: the session is gone.
    SessionDestroyed {
        /// Which.
        sid: u32,
    },
    /// 105: the session's disks are gone.
    SessionUnbound {
        /// Which.
        sid: u32,
    },
    /// 106: a session came to be.
    SessionCreated {
        /// Which.
        sid: u32,
    },
    /// Anything else: of no concern here.
    Other {
        /// Its type.
        event: u32,
    },
}

/// An answer. Which numbers count depends on the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request's event number.
    pub event: u16,
    /// `r` at offset 40: a session's number, or, as an i32, bind's, start's and send's own result.
    pub first: u32,
    /// `r` at offset 44: a host's or a connection's number.
    pub second: u32,
}

impl Reply {
    /// The result of BIND, START and SEND_PDU: an errno (positive) where it failed.
    pub const fn retcode(self) -> Option<u32> {
        match self.first {
            0 => None,
            code => Some(code.wrapping_neg()),
        }
    }
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NetlinkError {
    /// Shorter than its own parts.
    #[error("a netlink message of {got} bytes; at least {want} were expected")]
    Short {
        /// Its length.
        got: usize,
        /// The least.
        want: usize,
    },
    /// Longer than anything that is sent or taken.
    #[error("a netlink message of {got} bytes; at most {MAX_MESSAGE} were expected")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// More messages in one datagram than the kernel ever sends.
    #[error("more than {MAX_MESSAGES} netlink messages in one datagram")]
    TooMany,
    /// A PDU that cannot be sent.
    #[error(transparent)]
    Pdu(#[from] PduError),
}

/// Reads all messages of one datagram.
///
/// # Errors
/// [`NetlinkError`].
pub fn decode(datagram: &[u8]) -> Result<Vec<Event>, NetlinkError> {
    if datagram.len() > MAX_MESSAGE {
        return Err(NetlinkError::TooLong { got: datagram.len() });
    }
    let mut events = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let short = |want| NetlinkError::Short { got: rest.len(), want };
        let length = Reader::new(rest).ne32().ok_or_else(|| short(NLMSG))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length < NLMSG.saturating_add(UEVENT) {
            return Err(NetlinkError::Short { got: length, want: NLMSG.saturating_add(UEVENT) });
        }
        let message = rest.get(..length).ok_or_else(|| short(length))?;
        events.push(decode_one(message).ok_or_else(|| short(length))?);
        if events.len() > MAX_MESSAGES {
            return Err(NetlinkError::TooMany);
        }
        // Messages begin at multiples of four; the last one may lack the padding.
        rest = rest.get(length.saturating_add(padding(length))..).unwrap_or_default();
    }
    Ok(events)
}

fn decode_one(message: &[u8]) -> Option<Event> {
    let mut reader = Reader::new(message);
    reader.take(4)?;
    // The type of the request; 0 in what the kernel tells by itself.
    let asked = reader.ne16()?;
    reader.take(10)?;
    let event = reader.ne32()?;
    let iferror = reader.ne32()?;
    reader.take(32)?; // the transport's handle and the request's union
    let (first, second, third) = (reader.ne32()?, reader.ne32()?, reader.ne32()?);
    reader.take(4)?;
    let connection = Connection { sid: first, cid: second };
    Some(match event {
        101 => Event::Pdu { connection, bytes: reader.rest().to_vec() },
        102 => Event::ConnectionError { connection, error: third },
        IF_ERROR => Event::Failed { event: asked, errno: iferror.wrapping_neg() },
        // Here, and only here, the host's number is the first.
        104 => Event::SessionDestroyed { sid: second },
        105 => Event::SessionUnbound { sid: first },
        106 => Event::SessionCreated { sid: first },
        _ if asked != 0 && u32::from(asked) == event => {
            if iferror != 0 {
                // Older kernels keep the type and set only the error.
                return Some(Event::Failed { event: asked, errno: iferror.wrapping_neg() });
            }
            Event::Reply(Reply { event: asked, first, second })
        }
        _ => Event::Other { event },
    })
}

#[cfg(test)]
#[path = "netlink_tests.rs"]
mod tests;
