//! Who else answers DHCP in the nodes' network: a node takes the first answer that comes, and boots what that says.
//!
//! It asks as a node's firmware does, and takes nothing of what is offered. Whole Ethernet frames are sent and received
//! (packet(7)): the sender has no address, as a node has none, and what comes is seen whatever firewall or reverse path
//! filter this server has. What this server itself answers does not come by that way.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::LinkAddr;
use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{eth, recv, send, socket_with, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::rand::{getrandom, GetRandomFlags};

use super::Finding;
use crate::bytes::Reader;
use crate::network::dhcp::{discover, inform, offer, Hardware, Offered};
use crate::server::config::{Config, DhcpService};

/// How long it listens: who answers later does not come before this server, which has the addresses of its nodes ready.
const LISTEN: Duration = Duration::from_millis(700);
/// How long, for whom time does not matter. A server may look first whether anybody has the address that it will offer,
/// as dnsmasq(8) does for three seconds, and not answer the question that needs no address.
const PATIENT: Duration = Duration::from_secs(5);
/// When it asks a second time: one message may get lost.
const AGAIN: Duration = Duration::from_millis(250);
/// No Ethernet frame is longer, in bytes.
const MAX_FRAME: usize = 2048;
/// What came in time is read even where this program comes late to it, but not without end: so many frames at most.
const MAX_LATE: u32 = 256;
/// Someone may answer without end, each time by another name.
const MAX_OFFERS: usize = 64;
/// Whom everybody listens to.
const ALL: Hardware = [0xff; 6];
/// The client's port, and the server's.
const PORTS: [u16; 2] = [68, 67];
/// UDP's number among the protocols of IP.
const UDP: u8 = 17;

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    /// Who.
    pub(super) server: Ipv4Addr,
    /// The card that it came from: the server's, or a relay's.
    pub(super) hardware: Hardware,
    /// What.
    pub(super) what: Offered,
}

/// What other machines offer where this one has `own`; to be `patient` takes five seconds.
///
/// # Errors
/// Why nobody was asked.
pub(super) fn ask(own: Ipv4Addr, patient: bool) -> Result<Vec<Offer>, String> {
    let (name, link) = interface(own)?;
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => "root alone can ask".to_owned(),
        _ => format!("{name}: {error}"),
    };
    let hardware = link.addr().filter(|address| *address != [0; 6]);
    let hardware = hardware.ok_or_else(|| format!("{name} is no Ethernet interface"))?;
    let socket = open(&link).map_err(failed)?;
    let mut xid = [0; 4];
    getrandom(&mut xid, GetRandomFlags::empty()).map_err(|errno| failed(errno.into()))?;
    listen(&socket, own, (hardware, xid), if patient { PATIENT } else { LISTEN }).map_err(failed)
}

/// The interface that has the address.
fn interface(own: Ipv4Addr) -> Result<(String, LinkAddr), String> {
    let all = || getifaddrs().map_err(|errno| errno.to_string());
    let has = |address: Option<nix::sys::socket::SockaddrStorage>| {
        address.and_then(|address| address.as_sockaddr_in().map(|address| address.ip())) == Some(own)
    };
    let name = all()?.find(|one| has(one.address)).map(|one| one.interface_name);
    let name = name.ok_or_else(|| format!("no interface of this machine has {own}"))?;
    // A second address may have a name of its own: eth0:1.
    let device = name.split(':').next().unwrap_or(&name).to_owned();
    let link = all()?.find_map(|one| {
        let link = one.address?.as_link_addr().copied();
        link.filter(|_| one.interface_name == device)
    });
    link.map(|link| (device, link)).ok_or_else(|| format!("{name} is no Ethernet interface"))
}

fn open(link: &LinkAddr) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, Some(eth::IP))?;
    nix::sys::socket::bind(socket.as_raw_fd(), link).map_err(io::Error::from)?;
    Ok(socket)
}

/// Asks and listens: `hardware` is who asks, and `xid` the question's number.
fn listen(
    socket: &OwnedFd,
    own: Ipv4Addr,
    (hardware, xid): (Hardware, [u8; 4]),
    limit: Duration,
) -> io::Result<Vec<Offer>> {
    // In this order: while dnsmasq looks whether anybody has an address, it reads no other question.
    let questions = [
        frame(hardware, own, &inform(xid, hardware, own)),
        frame(hardware, Ipv4Addr::UNSPECIFIED, &discover(xid, hardware)),
    ];
    let started = Instant::now();
    let (mut asked, mut late, mut offers) = (0_u32, 0_u32, Vec::new());
    let mut bytes = [0; MAX_FRAME];
    loop {
        let left = limit.saturating_sub(started.elapsed());
        if left.is_zero() {
            late = late.saturating_add(1);
        }
        if asked < 2 && started.elapsed() >= AGAIN.saturating_mul(asked) {
            asked = asked.saturating_add(1);
            for question in &questions {
                send(socket, question, SendFlags::empty())?;
            }
        }
        let wait = left.min(Duration::from_millis(200));
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        let mut fds = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(0) if left.is_zero() => return Ok(offers),
            Ok(0) | Err(Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let (length, _) = recv(socket, &mut bytes, RecvFlags::DONTWAIT)?;
        let found = bytes.get(..length).and_then(|frame| read(frame, xid, hardware));
        offers.extend(found.filter(|found| offers.len() < MAX_OFFERS && !offers.contains(found)));
        if late >= MAX_LATE {
            return Ok(offers);
        }
    }
}

/// The frame that has a message to all (RFC 894, 791, 768); `from` nobody, where the sender asks for an address.
fn frame(hardware: Hardware, from: Ipv4Addr, message: &[u8]) -> Vec<u8> {
    let [client, server] = PORTS.map(u16::to_be_bytes);
    let length = |above: usize| u16::try_from(message.len().saturating_add(above)).unwrap_or(u16::MAX).to_be_bytes();
    // Version 4 and five words; no fragment; 64 hops.
    let mut ip = [&[0x45, 0][..], &length(28), &[0, 0, 0, 0, 64, UDP, 0, 0], &from.octets(), &[0xff; 4]].concat();
    let sum = checksum(&ip).to_be_bytes();
    ip.splice(10..12, sum);
    // Without a checksum of its own: IPv4 allows that.
    [&ALL[..], &hardware, &[8, 0], &ip, &client, &server, &length(8), &[0, 0], message].concat()
}

/// RFC 1071
fn checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| pair.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte));
    let mut sum = bytes.chunks(2).map(word).fold(0_u32, u32::wrapping_add);
    while sum > 0xffff {
        sum = (sum & 0xffff).saturating_add(sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// The offer in a frame; `None` for all else that may come.
fn read(frame: &[u8], xid: [u8; 4], hardware: Hardware) -> Option<Offer> {
    let mut reader = Reader::new(frame);
    reader.take(6)?;
    let from: Hardware = reader.array()?;
    let is_ip = reader.array()? == [8, 0];
    let version = reader.u8()?;
    reader.take(8)?;
    let is_udp = reader.u8()? == UDP;
    reader.take(2)?;
    let sender = Ipv4Addr::from(reader.array::<4>()?);
    reader.take(4)?;
    let options = usize::from(version & 0x0f).saturating_mul(4).checked_sub(20)?;
    reader.take(options)?;
    let [client, server] = PORTS;
    let is_answer = reader.be16()? == server && reader.be16()? == client;
    reader.take(4)?;
    if !(is_ip && version >> 4 == 4 && is_udp && is_answer) {
        return None;
    }
    let found = offer(reader.rest(), xid, hardware)?;
    Some(Offer { server: found.server.unwrap_or(sender), hardware: from, what: found.what })
}

/// Servers that are not to be there.
pub(super) fn findings(config: &Config, offers: &[Offer]) -> Vec<Finding> {
    let own = config.settings.server.address;
    let mut others: Vec<_> = offers.iter().filter(|offer| offer.server != own).collect();
    // Of what one has, an address says most.
    others.sort_by_key(|offer| (offer.server, offer.hardware, offer.what));
    others.dedup_by_key(|offer| (offer.server, offer.hardware));
    if config.settings.services.dhcp == DhcpService::None && others.len() < 2 {
        // Something else is to answer.
        return Vec::new();
    }
    let finding = |other: &&Offer| {
        let card = other.hardware.map(|byte| format!("{byte:02x}")).join(":");
        let what = match other.what {
            Offered::Address(address) => format!(", and offers {address}"),
            Offered::Boot => ", and says what to boot".to_owned(),
            Offered::Facts => String::new(),
        };
        let subnet = config.settings.server.subnet;
        Finding::new(
            format!(
                "{} ({card}) answers DHCP in {subnet} as well{what}: a node obeys whoever answers first",
                other.server
            ),
            "switch that server off, or take it out of the nodes' network; if it is to be there, say --no-dhcp",
        )
    };
    others.iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Settings;

    const XID: [u8; 4] = [1, 2, 3, 4];
    const CARD: Hardware = [0x52, 0x54, 0, 0x0d, 0x14, 0x65];
    const OTHER: Hardware = [0x52, 0x54, 0, 0x0d, 0x14, 0x66];

    /// What another machine answers.
    fn answer(more: &[u8]) -> Vec<u8> {
        let mut message = discover(XID, CARD);
        message[0] = 2;
        message[16..20].copy_from_slice(&[10, 13, 20, 150]);
        message.truncate(240);
        message.extend(more);
        let mut frame = frame(OTHER, Ipv4Addr::UNSPECIFIED, &message);
        frame[26..30].copy_from_slice(&[10, 13, 20, 66]);
        frame[34..38].copy_from_slice(&[0, 67, 0, 68]);
        frame
    }

    #[test]
    fn a_question_is_a_frame_to_all_from_nobody() {
        let message = discover(XID, CARD);
        let frame = frame(CARD, Ipv4Addr::UNSPECIFIED, &message);
        assert_eq!(frame[..14], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 0x0d, 0x14, 0x65, 8, 0]);
        let ip = &frame[14..34];
        assert_eq!(ip[..10], [0x45, 0, 1, 72, 0, 0, 0, 0, 64, 17]);
        assert_eq!(ip[12..], [0, 0, 0, 0, 255, 255, 255, 255]);
        // The sum over a header with its own sum is nothing.
        assert_eq!(checksum(ip), 0);
        assert_eq!(frame[34..42], [0, 68, 0, 67, 1, 52, 0, 0]);
        assert_eq!(frame[42..], message);
        // The example of RFC 1071.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn offers_are_told_from_all_else() {
        let server = [53, 1, 2, 54, 4, 10, 13, 20, 67, 255];
        let offer = |server: [u8; 4]| {
            Some(Offer { server: server.into(), hardware: OTHER, what: Offered::Address([10, 13, 20, 150].into()) })
        };
        let facts = Offer { what: Offered::Facts, ..offer([10, 13, 20, 67]).unwrap() };
        let with = |at: usize, value: u8| {
            let mut frame = answer(&server);
            frame[at] = value;
            frame
        };
        let mut long = answer(&server);
        long[14] = 0x46;
        long.splice(34..34, [0; 4]);
        for (name, frame, expected) in [
            ("an offer", answer(&server), offer([10, 13, 20, 67])),
            ("with options of IP", long, offer([10, 13, 20, 67])),
            ("of a server without a name", answer(&[53, 1, 2, 255]), offer([10, 13, 20, 66])),
            ("what needs no address", answer(&[53, 1, 5, 54, 4, 10, 13, 20, 67, 255]), Some(facts)),
            ("a refusal", answer(&[53, 1, 6, 255]), None),
            ("no IP", with(13, 6), None),
            ("no UDP", with(23, 6), None),
            ("a shorter header than there is", with(14, 0x44), None),
            ("to another port", with(37, 69), None),
            ("for another question", with(46, 9), None),
            ("our own question", super::frame(CARD, Ipv4Addr::UNSPECIFIED, &discover(XID, CARD)), None),
        ] {
            assert_eq!(read(&frame, XID, CARD), expected, "{name}");
        }
        let whole = answer(&server);
        for length in 0..whole.len() {
            // Whatever is cut off: no panic.
            let _ = read(&whole[..length], XID, CARD);
        }
    }

    #[test]
    fn what_came_in_time_is_read_by_one_who_comes_late() {
        use rustix::net::socketpair;
        let pair = || socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).unwrap();
        let ask = |socket: &OwnedFd| listen(socket, [10, 13, 20, 13].into(), (CARD, XID), Duration::ZERO).unwrap();
        let (own, other) = pair();
        for server in [67, 68] {
            send(&other, &answer(&[53, 1, 2, 54, 4, 10, 13, 20, server, 255]), SendFlags::empty()).unwrap();
        }
        let servers: Vec<_> = ask(&own).iter().map(|offer| offer.server.octets()[3]).collect();
        assert_eq!(servers, [67, 68]);
        let (own, _other) = pair();
        assert_eq!(ask(&own), []);
    }

    #[test]
    fn another_server_is_named_with_a_remedy() {
        let config = |dhcp: &str| {
            let text = format!(
                "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"{dhcp}\"\ntftp = \"none\"\n\
                 nfs = \"none\"\ntarget = \"none\"\n"
            );
            Config { settings: Settings::parse(&text).unwrap(), nodes: Vec::new() }
        };
        let offer = |last: u8, what: Offered| Offer { server: [10, 13, 20, last].into(), hardware: OTHER, what };
        let address = |last: u8| Offered::Address([10, 13, 20, last].into());
        let (own, one, two) = (offer(13, address(9)), offer(66, address(150)), offer(67, Offered::Boot));
        let late = offer(66, Offered::Facts);
        for (dhcp, offers, expected) in [
            ("dnsmasq", &[][..], &[][..]),
            ("dnsmasq", std::slice::from_ref(&own), &[]),
            ("dnsmasq", &[own.clone(), one.clone(), one.clone()], &["10.13.20.66"]),
            ("dnsmasq", &[late.clone(), one.clone()], &["10.13.20.66"]),
            ("dnsmasq", &[two.clone(), one.clone()], &["10.13.20.66", "10.13.20.67"]),
            ("none", &[one.clone(), one.clone()], &[]),
            ("none", &[one.clone(), two.clone()], &["10.13.20.66", "10.13.20.67"]),
        ] {
            let found = findings(&config(dhcp), offers);
            let names: Vec<_> = found.iter().map(|found| found.what.split(' ').next().unwrap()).collect();
            assert_eq!(names, expected, "{dhcp} {offers:?}");
        }
        let found = findings(&config("dnsmasq"), &[late.clone(), one, two]);
        assert_eq!(
            found[0].what,
            "10.13.20.66 (52:54:00:0d:14:66) answers DHCP in 10.13.20.0/24 as well, and offers 10.13.20.150: a node obeys \
             whoever answers first"
        );
        assert!(found[1].what.contains("and says what to boot: "), "{}", found[1]);
        assert!(found[0].remedy.contains("--no-dhcp"));
        let found = findings(&config("dnsmasq"), &[late]);
        assert!(found[0].what.ends_with(" answers DHCP in 10.13.20.0/24 as well: a node obeys whoever answers first"));
    }
}
