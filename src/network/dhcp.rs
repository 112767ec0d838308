//! The two messages of DHCP that renewing a lease takes (RFC 2131 4.3.2, 4.4.5; options: RFC 2132), and for `sidus check`
//! those that find servers (4.3.1, 4.3.5).
//!
//! ```text
//! op u8 | htype u8 | hlen u8 | hops u8 | xid u32 | secs u16 | flags u16
//! ciaddr | yiaddr | siaddr | giaddr | chaddr, 16 bytes | sname, 64 | file, 128
//! magic cookie u32 | options: code u8, length u8, value; 0 pads, 255 ends
//! ```

use std::net::Ipv4Addr;

use crate::bytes::{shown, Reader};

/// What BOOTP servers may expect at least, in bytes (RFC 1542 2.1).
const SHORTEST: usize = 300;
/// The length of sname and file, in bytes.
const NAMES: usize = 192;
/// What the options begin with.
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Ethernet, as hardware type.
const ETHERNET: u8 = 1;

/// The hardware address of an Ethernet interface.
pub type Hardware = [u8; 6];

/// When to do what, in seconds since the lease was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// To ask the server that gave it (T1).
    pub renew: u32,
    /// To ask every server (T2).
    pub rebind: u32,
    /// It is over.
    pub end: u32,
}

impl Times {
    /// Those of a lease for `end` seconds: the defaults of RFC 2131 4.4.5, and what the server says where it makes sense.
    #[must_use]
    pub fn new(end: u32, renew: Option<u32>, rebind: Option<u32>) -> Self {
        let rebind = rebind.filter(|rebind| *rebind < end).unwrap_or(end.saturating_sub(end / 8));
        let renew = renew.filter(|renew| *renew > 0 && *renew < rebind).unwrap_or(rebind.min(end / 2));
        Self { renew, rebind, end }
    }

    /// Whether it never ends.
    #[must_use]
    pub fn is_for_ever(&self) -> bool {
        self.end == u32::MAX
    }
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The lease goes on.
    Ack {
        /// The address that it is for.
        address: Ipv4Addr,
        /// Who says so.
        server: Ipv4Addr,
        /// For how long.
        times: Times,
    },
    /// The address is not this node's.
    Nak {
        /// Why, in the server's words.
        why: String,
    },
}

/// The wish to go on with `address`: DHCPREQUEST in the states RENEWING and REBINDING, which differ in where it is sent.
#[must_use]
pub fn request(xid: [u8; 4], hardware: Hardware, address: Ipv4Addr) -> Vec<u8> {
    // Message type 3; wanted: lease time, server, T1, T2.
    message(xid, [0; 2], hardware, address, &[53, 1, 3, 55, 4, 51, 54, 58, 59, 255])
}

/// Whether anybody has an address, as a machine asks that boots by PXE: DHCPDISCOVER, to be answered to all, for who asks
/// has no address.
#[cfg(feature = "server")]
#[must_use]
pub fn discover(xid: [u8; 4], hardware: Hardware) -> Vec<u8> {
    // Message type 1; wanted: mask, router, server, boot file. Then what firmware says of itself (RFC 4578): a BIOS.
    let options = [&[53, 1, 1, 55, 4, 1, 3, 54, 67, 93, 2, 0, 0, 60, 9][..], b"PXEClient", &[255]].concat();
    message(xid, [0x80, 0], hardware, Ipv4Addr::UNSPECIFIED, &options)
}

/// What there is to know beside the address, which the asker has (DHCPINFORM). A server answers that at once: it does not
/// look first whether anybody has the address that it would offer.
#[cfg(feature = "server")]
#[must_use]
pub fn inform(xid: [u8; 4], hardware: Hardware, address: Ipv4Addr) -> Vec<u8> {
    // Message type 8; wanted: mask, router, server.
    message(xid, [0; 2], hardware, address, &[53, 1, 8, 55, 3, 1, 3, 54, 255])
}

fn message(xid: [u8; 4], flags: [u8; 2], hardware: Hardware, address: Ipv4Addr, options: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SHORTEST);
    bytes.extend([1, ETHERNET, 6, 0]);
    bytes.extend(xid);
    bytes.extend([0; 2]);
    bytes.extend(flags);
    bytes.extend(address.octets());
    bytes.extend([0; 12]);
    bytes.extend(hardware);
    bytes.extend([0; 10]);
    bytes.extend([0; NAMES]);
    bytes.extend(COOKIE);
    bytes.extend(options);
    bytes.resize(SHORTEST.max(bytes.len()), 0);
    bytes
}

/// The answer to the request with `xid` of the interface with this hardware address; `None` for all else that may come.
#[must_use]
pub fn parse(bytes: &[u8], xid: [u8; 4], hardware: Hardware) -> Option<Answer> {
    let Reply { kind, address, server, lease, renew, rebind, why } = reply(bytes, xid, hardware)?;
    match kind {
        5 => Some(Answer::Ack {
            address,
            server: server?,
            times: Times::new(lease.filter(|end| *end > 0)?, renew, rebind),
        }),
        6 => Some(Answer::Nak { why }),
        _ => None,
    }
}

/// What a server has for who asks.
#[cfg(feature = "server")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offered {
    /// An address.
    Address(Ipv4Addr),
    /// What to boot, and no address.
    Boot,
    /// An answer to [`inform`].
    Facts,
}

/// What a server offers.
#[cfg(feature = "server")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// What.
    pub what: Offered,
    /// Who offers it, where that is said.
    pub server: Option<Ipv4Addr>,
}

/// The answer to [`discover`] or [`inform`]; `None` for all else that may come.
#[cfg(feature = "server")]
#[must_use]
pub fn offer(bytes: &[u8], xid: [u8; 4], hardware: Hardware) -> Option<Offer> {
    let Reply { kind, address, server, .. } = reply(bytes, xid, hardware)?;
    let what = match kind {
        2 if address.is_unspecified() => Offered::Boot,
        2 => Offered::Address(address),
        5 => Offered::Facts,
        _ => return None,
    };
    Some(Offer { what, server })
}

/// What a server's message says.
struct Reply {
    kind: u8,
    address: Ipv4Addr,
    server: Option<Ipv4Addr>,
    lease: Option<u32>,
    renew: Option<u32>,
    rebind: Option<u32>,
    why: String,
}

fn reply(bytes: &[u8], xid: [u8; 4], hardware: Hardware) -> Option<Reply> {
    let mut reader = Reader::new(bytes);
    let is_reply = reader.take(4)?.starts_with(&[2, ETHERNET, 6]);
    let is_ours = reader.array()? == xid;
    reader.take(8)?;
    let address = Ipv4Addr::from(reader.array::<4>()?);
    reader.take(8)?;
    let is_to_us = reader.array()? == hardware;
    reader.take(10 + NAMES)?;
    if !(is_reply && is_ours && is_to_us && reader.array()? == COOKIE) {
        return None;
    }
    let (mut kind, mut server, mut lease, mut renew, mut rebind, mut why) = (0, None, None, None, None, String::new());
    while let Some(code) = reader.u8() {
        match code {
            0 => continue,
            255 => break,
            _ => {}
        }
        let length = reader.u8()?;
        let value = reader.take(usize::from(length))?;
        let mut number = Reader::new(value);
        match code {
            51 => lease = number.be32(),
            53 => kind = number.u8()?,
            54 => server = number.array().map(Ipv4Addr::from),
            56 => why = shown(value),
            58 => renew = number.be32(),
            59 => rebind = number.be32(),
            _ => {}
        }
    }
    Some(Reply { kind, address, server, lease, renew, rebind, why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const XID: [u8; 4] = [1, 2, 3, 4];
    const CARD: Hardware = [0x52, 0x54, 0, 0x0d, 0x14, 0x65];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 13, 20, 101);

    /// A reply with these options.
    fn reply(options: &[u8]) -> Vec<u8> {
        let mut bytes = request(XID, CARD, ADDRESS);
        bytes[0] = 2;
        bytes[12..20].copy_from_slice(&[0, 0, 0, 0, 10, 13, 20, 101]);
        bytes.truncate(240);
        bytes.extend(options);
        bytes
    }

    #[test]
    fn a_request_names_address_and_card() {
        let bytes = request(XID, CARD, ADDRESS);
        assert_eq!(bytes.len(), 300);
        assert_eq!(bytes[..16], [1, 1, 6, 0, 1, 2, 3, 4, 0, 0, 0, 0, 10, 13, 20, 101]);
        assert_eq!(bytes[28..34], CARD);
        assert_eq!(bytes[236..250], [99, 130, 83, 99, 53, 1, 3, 55, 4, 51, 54, 58, 59, 255]);
        // A server's own message to others is no answer.
        assert_eq!(parse(&bytes, XID, CARD), None);
    }

    #[test]
    fn answers() {
        let ack = |renew, rebind, end| {
            let server = Ipv4Addr::new(10, 13, 20, 13);
            Some(Answer::Ack { address: ADDRESS, server, times: Times { renew, rebind, end } })
        };
        let server = [54, 4, 10, 13, 20, 13];
        let table: &[(&str, Vec<u8>, Option<Answer>)] = &[
            (
                "all",
                [&[53, 1, 5, 51, 4, 0, 0, 0, 120, 58, 4, 0, 0, 0, 50, 59, 4, 0, 0, 0, 90], &server[..], &[255]]
                    .concat(),
                ack(50, 90, 120),
            ),
            (
                "padded, without T1 and T2",
                [&[0, 53, 1, 5, 0, 0, 51, 4, 0, 0, 0, 120], &server[..]].concat(),
                ack(60, 105, 120),
            ),
            (
                "for ever",
                [&[53, 1, 5, 51, 4, 255, 255, 255, 255], &server[..]].concat(),
                ack(0x7fff_ffff, 0xe000_0000, u32::MAX),
            ),
            ("no server", vec![53, 1, 5, 51, 4, 0, 0, 0, 120, 255], None),
            ("no lease", [&[53, 1, 5], &server[..]].concat(), None),
            ("lease of no time", [&[53, 1, 5, 51, 4, 0, 0, 0, 0], &server[..]].concat(), None),
            ("option past the end", vec![53, 1, 5, 51, 200, 0], None),
            ("no length", vec![53, 1, 5, 51], None),
            ("an offer", [&[53, 1, 2, 51, 4, 0, 0, 0, 120], &server[..]].concat(), None),
            ("no", vec![53, 1, 6, 56, 4, b'n', b'o', b'\n', b'!', 255], Some(Answer::Nak { why: "no\\n!".to_owned() })),
        ];
        for (name, options, expected) in table {
            assert_eq!(&parse(&reply(options), XID, CARD), expected, "{name}");
        }
        let whole = reply(&table[0].1);
        for length in 0..whole.len() {
            // Whatever is cut off: no panic.
            let _ = parse(&whole[..length], XID, CARD);
        }
        assert_eq!(parse(&whole, [9; 4], CARD), None);
        assert_eq!(parse(&whole, XID, [9; 6]), None);
    }

    #[test]
    fn any_bytes_never_panic() {
        let mut random = crate::iscsi::testing::Random::new(11);
        for _ in 0..20_000 {
            let options = random.of(&[0, 1, 4, 5, 6, 51, 53, 54, 56, 58, 59, 255], 40);
            if let Some(Answer::Ack { times: Times { renew, rebind, end }, .. }) = parse(&reply(&options), XID, CARD) {
                assert!(renew <= rebind && rebind <= end, "{options:?}");
            }
            let _ = parse(&random.bytes(400), XID, CARD);
        }
    }

    #[test]
    fn times_make_sense_whatever_the_server_says() {
        let table = [
            ((120, None, None), (60, 105, 120)),
            ((120, Some(30), Some(100)), (30, 100, 120)),
            ((120, Some(110), Some(100)), (60, 100, 120)),
            ((120, Some(130), Some(130)), (60, 105, 120)),
            ((120, Some(0), Some(40)), (40, 40, 120)),
            ((1, None, None), (0, 1, 1)),
        ];
        for ((end, renew, rebind), (t1, t2, over)) in table {
            assert_eq!(
                Times::new(end, renew, rebind),
                Times { renew: t1, rebind: t2, end: over },
                "{end} {renew:?} {rebind:?}"
            );
        }
    }
}
