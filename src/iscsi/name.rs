//! The names of iSCSI: of initiators and targets, of portals, of a target's addresses.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use thiserror::Error;

use crate::bytes::shown;

/// The longest iSCSI name in bytes (RFC 7143 section 4.2.7.2).
pub const MAX_NAME: usize = 223;
/// The port that IANA assigned to iSCSI targets (RFC 7143 section 15).
pub const DEFAULT_PORT: u16 = 3260;
/// The longest host name in bytes (RFC 1035 section 2.3.4).
const MAX_HOST: usize = 255;

/// Why a text is no name of iSCSI.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Longer than [`MAX_NAME`].
    #[error("iSCSI name of {got} bytes; at most {MAX_NAME} are allowed (RFC 7143 4.2.7)")]
    TooLong {
        /// Its length in bytes.
        got: usize,
    },
    /// A character that RFC 3722 forbids.
    #[error("{name:?}: {got:?} is not allowed in an iSCSI name; letters, digits, '-', '.' and ':' are (RFC 3722)")]
    Character {
        /// The name.
        name: String,
        /// The first such character.
        got: char,
    },
    /// None of the three kinds of name.
    #[error("{name:?}: an iSCSI name begins with \"iqn.\", \"eui.\" or \"naa.\"")]
    Kind {
        /// The name.
        name: String,
    },
    /// `iqn.` without a year and month.
    #[error("{name:?}: after \"iqn.\" a year and a month are expected, as in \"iqn.2026-01.\"")]
    Date {
        /// The name.
        name: String,
    },
    /// `iqn.` without a naming authority.
    #[error("{name:?}: after the date a reversed domain name is expected, as in \"iqn.2026-01.org.example\"")]
    Authority {
        /// The name.
        name: String,
    },
    /// `eui.` or `naa.` with wrong digits.
    #[error("{name:?}: {expected} are expected after {:?}", &name.get(..4).unwrap_or(""))]
    Digits {
        /// The name.
        name: String,
        /// How many digits are expected.
        expected: &'static str,
    },
}

/// Why a text is no portal and no target address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PortalError {
    /// Nothing there.
    #[error("empty; an IP address is expected, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260")]
    Empty,
    /// A host name, where nothing resolves one.
    #[error("{got:?} is a host name; an IP address is expected (a node resolves no names this early)")]
    HostName {
        /// What was given.
        got: String,
    },
    /// Looks like an address and is none.
    #[error("{got:?} is no IP address")]
    Address {
        /// What was given.
        got: String,
    },
    /// `[` without `]`, or text between `]` and `:`.
    #[error("{got:?}: an IPv6 address with a port is written [address]:port")]
    Brackets {
        /// What was given.
        got: String,
    },
    /// An IPv6 address with a zone, as in `fe80::1%eth0`.
    #[error("{got:?}: an address with a zone (%) cannot be a portal; use a global or unique local one")]
    Zone {
        /// What was given.
        got: String,
    },
    /// Not a TCP port.
    #[error("{got:?} is no port; 1 to 65535 is expected")]
    Port {
        /// What was given.
        got: String,
    },
    /// Not a portal group tag.
    #[error("{got:?} is no portal group tag; 0 to 65535 is expected after the comma")]
    Group {
        /// What was given.
        got: String,
    },
}

/// The iSCSI name of a target (RFC 7143 section 4.2.7).
///
/// ```text
/// name      = "iqn." year "-" month "." authority [ ":" anything ]
///           | "eui." 16 hexadecimal digits
///           | "naa." 16 or 32 hexadecimal digits
/// authority = a domain name, reversed
/// ```
/// At most 223 bytes; letters, digits, `-`, `.`, `:` and what lies beyond ASCII (RFC 3722).
/// Kept as it was given: RFC 3722 would fold upper case, but targets such as tgt compare bytes.
///
/// Good: `iqn.2026-01.org.example:10.13.20.101`, `eui.02004567a425678d`. Bad: `disk1`, `iqn.2026-13.org.example`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iqn(String);

impl Iqn {
    /// The name as it goes over the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Iqn {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME {
            return Err(NameError::TooLong { got: text.len() });
        }
        let name = || shown(text.as_bytes());
        if let Some(got) = text.chars().find(|c| !is_name_character(*c)) {
            return Err(NameError::Character { name: name(), got });
        }
        match text.split_once('.') {
            Some(("iqn", rest)) => check_iqn(rest, name)?,
            Some(("eui", digits)) if !is_hex(digits, &[16]) => {
                return Err(NameError::Digits { name: name(), expected: "16 hexadecimal digits" });
            }
            Some(("naa", digits)) if !is_hex(digits, &[16, 32]) => {
                return Err(NameError::Digits { name: name(), expected: "16 or 32 hexadecimal digits" });
            }
            Some(("eui" | "naa", _)) => {}
            _ => return Err(NameError::Kind { name: name() }),
        }
        Ok(Self(text.to_owned()))
    }
}

fn is_name_character(c: char) -> bool {
    // Beyond ASCII RFC 3722 has tables; what matters here is that nothing can break a line or a key.
    c.is_ascii_alphanumeric()
        || matches!(c, '-' | '.' | ':')
        || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
}

fn is_hex(digits: &str, lengths: &[usize]) -> bool {
    lengths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

fn check_iqn(rest: &str, name: impl Fn() -> String) -> Result<(), NameError> {
    let Some((date, rest)) = rest.split_once('.') else {
        return Err(NameError::Date { name: name() });
    };
    let month = match date.split_once('-') {
        Some((year, month))
            if year.len() == 4 && month.len() == 2 && date.bytes().all(|b| b == b'-' || b.is_ascii_digit()) =>
        {
            month.parse::<u8>().ok()
        }
        _ => None,
    };
    if !month.is_some_and(|m| (1..=12).contains(&m)) {
        return Err(NameError::Date { name: name() });
    }
    let authority = rest.split(':').next().unwrap_or("");
    if authority.is_empty() || authority.split('.').any(str::is_empty) {
        return Err(NameError::Authority { name: name() });
    }
    Ok(())
}

impl fmt::Display for Iqn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The iSCSI name of an initiator: the same grammar as [`Iqn`], a type of its own so that the two
/// never change places.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InitiatorName(Iqn);

impl InitiatorName {
    /// The name as it goes over the wire.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for InitiatorName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for InitiatorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where targets listen: an IP address and a TCP port.
///
/// ```text
/// portal = ipv4 [ ":" port ] | "[" ipv6 "]" [ ":" port ] | ipv6
/// ```
/// The port is 3260 where none is given. Good: `10.13.20.14`, `[fd00::14]:3261`, `fd00::14`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Portal {
    /// The address.
    pub ip: IpAddr,
    /// The TCP port.
    pub port: u16,
}

impl Portal {
    /// For the calls of the standard library.
    pub const fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.port)
    }
}

impl FromStr for Portal {
    type Err = PortalError;

    fn from_str(text: &str) -> Result<Self, PortalError> {
        match split_host_port(text)? {
            (Host::Ip(ip), port) => Ok(Self { ip, port }),
            (Host::Name(got), _) => Err(PortalError::HostName { got }),
        }
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.socket_addr().fmt(f)
    }
}

/// The host of a [`TargetAddress`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A domain name: allowed by the RFC, of no use to a node that resolves none.
    Name(String),
}

/// One address of a target, as `TargetAddress` tells it (RFC 7143 section 13.8).
///
/// ```text
/// address = host [ ":" port ] [ "," group ]
/// host    = ipv4 | "[" ipv6 "]" | domain name
/// ```
/// Good: `10.13.20.14:3260,1`, `[fd00::14],2`, `san.example`. A login's redirection has no group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TargetAddress {
    /// The host.
    pub host: Host,
    /// The TCP port.
    pub port: u16,
    /// The portal group tag.
    pub group: Option<u16>,
}

impl TargetAddress {
    /// The portal at this address.
    ///
    /// # Errors
    /// [`PortalError::HostName`] if the target named itself by a domain name.
    pub fn portal(&self) -> Result<Portal, PortalError> {
        match &self.host {
            Host::Ip(ip) => Ok(Portal { ip: *ip, port: self.port }),
            Host::Name(got) => Err(PortalError::HostName { got: got.clone() }),
        }
    }
}

impl FromStr for TargetAddress {
    type Err = PortalError;

    fn from_str(text: &str) -> Result<Self, PortalError> {
        let (address, group) = match text.rsplit_once(',') {
            Some((address, group)) => {
                let tag = number(group).ok_or_else(|| PortalError::Group { got: shown(group.as_bytes()) })?;
                (address, Some(tag))
            }
            None => (text, None),
        };
        let (host, port) = split_host_port(address)?;
        Ok(Self { host, port, group })
    }
}

impl fmt::Display for TargetAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).fmt(f)?,
            Host::Name(name) => write!(f, "{name}:{}", self.port)?,
        }
        match self.group {
            Some(group) => write!(f, ",{group}"),
            None => Ok(()),
        }
    }
}

/// `str::parse` would take a sign.
fn number(text: &str) -> Option<u16> {
    (text.len() <= 5 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn split_host_port(text: &str) -> Result<(Host, u16), PortalError> {
    let got = || shown(text.as_bytes());
    if text.is_empty() {
        return Err(PortalError::Empty);
    }
    if text.contains('%') {
        return Err(PortalError::Zone { got: got() });
    }
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or_else(|| PortalError::Brackets { got: got() })?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port),
            None if rest.is_empty() => None,
            None => return Err(PortalError::Brackets { got: got() }),
        };
        let ip = host.parse::<Ipv6Addr>().map_err(|_| PortalError::Address { got: got() })?;
        (Host::Ip(ip.into()), port)
    } else if text.bytes().filter(|b| *b == b':').count() > 1 {
        let ip = text.parse::<Ipv6Addr>().map_err(|_| PortalError::Address { got: got() })?;
        (Host::Ip(ip.into()), None)
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        (host_v4_or_name(host)?, port)
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(digits) => number(digits)
            .filter(|port| *port != 0)
            .ok_or_else(|| PortalError::Port { got: shown(digits.as_bytes()) })?,
    };
    Ok((host, port))
}

fn host_v4_or_name(host: &str) -> Result<Host, PortalError> {
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let got = || shown(host.as_bytes());
    let is_name = host.len() <= MAX_HOST
        && host.split('.').all(|label| !label.is_empty() && label.len() <= 63 && !label.starts_with('-'))
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        && host.bytes().any(|b| b.is_ascii_alphabetic());
    if is_name {
        Ok(Host::Name(host.to_owned()))
    } else {
        Err(PortalError::Address { got: got() })
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;
