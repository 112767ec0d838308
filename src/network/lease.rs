//! Renews the lease of the address that the root is reached by: klibc's ipconfig, which got it, does not.
//!
//! The address itself is never touched. A server that gives it up, gives another one, or is silent until the lease is
//! over, is a fault to be told loudly; the node keeps the address all the same, for without it the root is gone at once.

use std::fmt;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::mm::{mlockall, MlockAllFlags};
use rustix::net::sockopt::{set_socket_broadcast, set_socket_reuseaddr};
use rustix::net::{bind, recv, sendto, socket_with, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::rand::{getrandom, GetRandomFlags};
use thiserror::Error;

use super::configured::{self, Interface};
use super::dhcp::{self, Answer, Hardware, Times};
use crate::folder::Folder;
use crate::iscsi::deadline::Deadline;
use crate::keeper::report::uptime_ms;
use crate::kmsg::{Level, Log};

/// The client's port, and the server's.
const PORTS: [u16; 2] = [68, 67];
/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(4);
/// Between two requests there is never less, nor, while there is no answer, more than this, in seconds.
const PAUSE: [u32; 2] = [10, 600];
/// No answer is longer, in bytes: more than an Ethernet frame holds.
const MAX_MESSAGE: usize = 2048;
/// The folder of what it tells, below `/run`.
const FOLDER: &str = "sidus";

/// Why a lease cannot be renewed at all.
#[derive(Debug, Error)]
#[error("lease of {device}: cannot {doing}: {source}")]
pub struct LeaseError {
    device: String,
    doing: &'static str,
    source: io::Error,
}

/// The process that renews a lease.
struct Client {
    interface: Interface,
    hardware: Hardware,
    /// Bound to the address: what a server sends to this node alone.
    own: OwnedFd,
    /// Bound to the broadcast address: a refusal comes to everybody (RFC 2131 4.3.2).
    all: OwnedFd,
    run: Folder,
    proc: Folder,
    log: Log,
    lease: Lease,
}

/// What is known of the lease.
struct Lease {
    /// Who gave it, as far as is known: ipconfig does not note it.
    server: Option<Ipv4Addr>,
    times: Times,
    since: Instant,
    /// The same, since the kernel started.
    since_ms: u64,
    /// What went wrong since then; empty where nothing did.
    trouble: String,
}

/// Renews the lease of `device` on the machine whose root is `root`, until it is given for ever.
///
/// # Errors
/// [`LeaseError`]
pub fn keep(root: &Path, device: &str) -> Result<(), LeaseError> {
    let failed = |doing| move |source| LeaseError { device: device.to_owned(), doing, source };
    let mut client = Client::new(root, device, failed)?;
    // It asks while the network, and so the root that it was read from, may be away.
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE)
        .map_err(|errno| failed("lock the memory")(errno.into()))?;
    // At once: the server, and its own idea of the times, are not known yet.
    while !client.lease.times.is_for_ever() {
        let asked = Instant::now();
        let answer = client.ask();
        sleep(client.note(asked, answer));
    }
    Ok(())
}

impl Client {
    fn new<F: FnOnce(io::Error) -> LeaseError>(
        root: &Path,
        device: &str,
        failed: impl Fn(&'static str) -> F,
    ) -> Result<Self, LeaseError> {
        let none = |what| io::Error::new(io::ErrorKind::NotFound, what);
        let found = configured::read_all(root).map_err(failed("read /run/net-*.conf"))?;
        let interface = found.into_iter().find(|interface| interface.device == device);
        let interface = interface.ok_or_else(|| failed("find /run/net-*.conf")(none("none is of this interface")))?;
        let seconds = interface.lease.ok_or_else(|| failed("renew it")(none("the address was not leased")))?;
        let hardware = configured::hardware(root, device)
            .ok_or_else(|| failed("read its hardware address")(none("it is no Ethernet interface")))?;
        let socket = |address| open(address).map_err(io::Error::from);
        let lease = Lease {
            server: None,
            times: Times::new(seconds, None, None),
            since: Instant::now(),
            since_ms: 0,
            trouble: String::new(),
        };
        Ok(Self {
            own: socket(interface.address).map_err(failed("open a socket"))?,
            all: socket(Ipv4Addr::BROADCAST).map_err(failed("open a socket"))?,
            run: Folder::open(&root.join("run")).map_err(failed("open /run"))?,
            proc: Folder::open(&root.join("proc")).map_err(failed("open /proc"))?,
            log: Log::open(root),
            interface,
            hardware,
            lease,
        })
    }

    /// Whom to ask now: the server that gave the lease, or all.
    fn whom(&self) -> Ipv4Addr {
        let Lease { server, times, .. } = &self.lease;
        server.filter(|_| self.age() < times.rebind).unwrap_or(Ipv4Addr::BROADCAST)
    }

    fn age(&self) -> u32 {
        u32::try_from(self.lease.since.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// One request, and what comes of it within [`ANSWER`].
    fn ask(&self) -> io::Result<Option<Answer>> {
        let mut xid = [0; 4];
        getrandom(&mut xid, GetRandomFlags::empty())?;
        let request = dhcp::request(xid, self.hardware, self.interface.address);
        let [_, server] = PORTS;
        sendto(&self.own, &request, SendFlags::empty(), &SocketAddrV4::new(self.whom(), server))?;
        let deadline = Deadline::after(ANSWER);
        let mut buffer = vec![0; MAX_MESSAGE];
        while let Some(left) = deadline.remaining() {
            let limit = Timespec::try_from(left).map_err(|_| io::ErrorKind::InvalidInput)?;
            let mut fds = [PollFd::new(&self.own, PollFlags::IN), PollFd::new(&self.all, PollFlags::IN)];
            match poll(&mut fds, Some(&limit)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            for socket in [&self.own, &self.all] {
                let got = match recv(socket, &mut buffer, RecvFlags::DONTWAIT) {
                    Ok((_, got)) => got,
                    Err(Errno::AGAIN | Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                };
                let answer = dhcp::parse(buffer.get(..got).unwrap_or_default(), xid, self.hardware);
                if answer.is_some() {
                    return Ok(answer);
                }
            }
        }
        Ok(None)
    }

    /// Notes what came of a request, tells what is news, and says how long to wait for the next one.
    fn note(&mut self, asked: Instant, answer: io::Result<Option<Answer>>) -> Duration {
        let asked_whom = self.whom();
        let (level, trouble) = match judge(self.interface.address, asked_whom, answer) {
            Ok((server, times)) => {
                let first = self.lease.server.is_none();
                let was = std::mem::take(&mut self.lease.trouble);
                let since_ms = self.proc.read("uptime").map_or(0, |text| uptime_ms(&text));
                self.lease = Lease { server: Some(server), times, since: asked, since_ms, trouble: String::new() };
                self.write();
                if first || !was.is_empty() {
                    self.say(
                        Level::Info,
                        &["leased for ", &times.end.to_string(), " s by ", &server.to_string()].concat(),
                    );
                }
                return pause(0, times, true);
            }
            Err(trouble) => trouble,
        };
        let over = self.age() >= self.lease.times.end;
        let (level, trouble) =
            if over { (Level::Error, trouble + ", and the lease is OVER") } else { (level, trouble) };
        if self.lease.trouble != trouble {
            self.say(level, &[&trouble, "; the node keeps the address, for its root needs it"].concat());
            self.lease.trouble = trouble;
            self.write();
        }
        pause(self.age(), self.lease.times, false)
    }

    fn say(&self, level: Level, text: &str) {
        self.log.say(level, &format!("{} {}: {text}", self.interface.device, self.interface.address));
    }

    fn write(&self) {
        let Lease { server, times, since_ms, trouble, .. } = &self.lease;
        let server = server.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let text = format!("{since_ms} {} {server} {trouble}\n", times.end);
        if let Err(error) = self.run.replace(FOLDER, &file(&self.interface.device), &text) {
            self.say(Level::Warning, &["cannot write into /run/sidus: ", &error.to_string()].concat());
        }
    }
}

fn file(device: &str) -> String {
    ["lease-", device].concat()
}

fn open(address: Ipv4Addr) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // Another interface may have a client of its own on this port.
    set_socket_reuseaddr(&socket, true)?;
    // From a socket that is bound to an address, the kernel sends a broadcast through the interface that has it.
    set_socket_broadcast(&socket, true)?;
    let [client, _] = PORTS;
    bind(&socket, &SocketAddrV4::new(address, client))?;
    Ok(socket)
}

/// What an answer means for the lease of `address`: who goes on giving it and for how long, or what is wrong, and how bad
/// that is.
fn judge(
    address: Ipv4Addr,
    asked: Ipv4Addr,
    answer: io::Result<Option<Answer>>,
) -> Result<(Ipv4Addr, Times), (Level, String)> {
    match answer {
        Ok(Some(Answer::Ack { address: given, server, times })) if given == address => Ok((server, times)),
        Ok(Some(Answer::Ack { address: given, server, .. })) => {
            Err((Level::Error, format!("{server} gives the address {given} instead")))
        }
        Ok(Some(Answer::Nak { why })) => {
            Err((Level::Error, ["the DHCP server REFUSES to renew the lease: ", &why].concat()))
        }
        Ok(None) if asked == Ipv4Addr::BROADCAST => Err((Level::Warning, "no DHCP server renews the lease".to_owned())),
        Ok(None) => Err((Level::Warning, format!("the DHCP server {asked} does not answer"))),
        Err(error) => Err((Level::Warning, ["cannot ask for the lease: ", &error.to_string()].concat())),
    }
}

/// How long to wait for the next request, when the lease is `age` seconds old. Without an answer half of what is left
/// (RFC 2131 4.4.5), within bounds that suit short leases and reboots of servers.
fn pause(age: u32, times: Times, answered: bool) -> Duration {
    let [least, most] = PAUSE;
    let left = |to: u32| to.saturating_sub(age);
    let seconds = match (answered, left(times.rebind), left(times.end)) {
        (true, ..) => times.renew.max(least),
        (false, 0, left) | (false, left, _) => (left / 2).clamp(least, most),
    };
    Duration::from_secs(seconds.into())
}

/// What is known of the leases of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    interface: Interface,
    /// What the process that renews it told last.
    told: Option<String>,
    now_ms: u64,
}

impl Known {
    /// Those of the machine whose root is `root`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn look(root: &Path) -> io::Result<Vec<Self>> {
        let now_ms = uptime_ms(&fs::read_to_string(root.join("proc/uptime"))?);
        let leased = configured::read_all(root)?.into_iter().filter(|interface| interface.lease.is_some());
        let known = |interface: Interface| {
            let path = root.join("run").join(FOLDER).join(file(&interface.device));
            Self { told: fs::read_to_string(path).ok(), interface, now_ms }
        };
        Ok(leased.map(known).collect())
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interface { device, address, .. } = &self.interface;
        write!(f, "{address} on {device}, ")?;
        let mut words = self.told.as_deref().unwrap_or_default().trim_end().splitn(4, ' ');
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        let (Some(since_ms), Some(end)) = (number(), number()) else {
            return write!(f, "NOT RENEWED: see systemctl status sidus-lease-{device}");
        };
        let age = self.now_ms.saturating_sub(since_ms) / 1000;
        let server = words.next().unwrap_or_default();
        if since_ms > 0 {
            write!(f, "renewed {age} s ago by {server}, ")?;
        }
        match end.checked_sub(age) {
            _ if end == u64::from(u32::MAX) => write!(f, "for ever")?,
            Some(left) => write!(f, "ends in {left} s")?,
            None => write!(f, "OVER since {} s", age.saturating_sub(end))?,
        }
        match words.next() {
            Some(trouble) if !trouble.is_empty() => write!(f, "; {trouble}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 13, 20, 101);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 13, 20, 13);

    #[test]
    fn an_answer_is_good_for_this_address_alone() {
        let times = Times::new(120, None, None);
        let ack = |address| Ok(Some(Answer::Ack { address, server: SERVER, times }));
        assert_eq!(judge(ADDRESS, SERVER, ack(ADDRESS)), Ok((SERVER, times)));
        let other = ack(Ipv4Addr::new(10, 13, 20, 7));
        let nak = Ok(Some(Answer::Nak { why: "wrong network".to_owned() }));
        let table = [
            (SERVER, other, Level::Error, "10.13.20.13 gives the address 10.13.20.7 instead"),
            (SERVER, nak, Level::Error, "the DHCP server REFUSES to renew the lease: wrong network"),
            (SERVER, Ok(None), Level::Warning, "the DHCP server 10.13.20.13 does not answer"),
            (Ipv4Addr::BROADCAST, Ok(None), Level::Warning, "no DHCP server renews the lease"),
            (SERVER, Err(io::Error::other("x")), Level::Warning, "cannot ask for the lease: x"),
        ];
        for (asked, answer, level, text) in table {
            assert_eq!(judge(ADDRESS, asked, answer), Err((level, text.to_owned())));
        }
    }

    #[test]
    fn requests_are_neither_too_many_nor_too_few() {
        let (short, long) = (Times::new(120, None, None), Times::new(43_200, None, None));
        let table = [
            (0, short, true, 60),
            (60, short, false, 22),
            (104, short, false, 10),
            (105, short, false, 10),
            (130, short, false, 10),
            (21_600, long, false, 600),
            (0, long, true, 21_600),
            (50_000, long, false, 10),
            (0, Times::new(2, None, None), true, 10),
        ];
        for (age, times, answered, seconds) in table {
            assert_eq!(pause(age, times, answered), Duration::from_secs(seconds), "{age} {times:?} {answered}");
        }
    }

    #[test]
    fn a_person_reads_how_it_stands() {
        let interface = Interface { device: "eth0".to_owned(), address: ADDRESS, hostname: None, lease: Some(120) };
        let table = [
            (Some("60000 120 10.13.20.13 \n"), "renewed 40 s ago by 10.13.20.13, ends in 80 s"),
            (
                Some("0 120 0.0.0.0 no DHCP server renews the lease\n"),
                "ends in 20 s; no DHCP server renews the lease",
            ),
            (
                Some("10000 60 10.13.20.13 no DHCP server renews the lease, and the lease is OVER\n"),
                "renewed 90 s ago by 10.13.20.13, OVER since 30 s; no DHCP server renews the lease, and the lease is OVER",
            ),
            (Some("60000 4294967295 10.13.20.13 \n"), "renewed 40 s ago by 10.13.20.13, for ever"),
            (Some("garbled\n"), "NOT RENEWED: see systemctl status sidus-lease-eth0"),
            (None, "NOT RENEWED: see systemctl status sidus-lease-eth0"),
        ];
        for (told, expected) in table {
            let known = Known { interface: interface.clone(), told: told.map(ToOwned::to_owned), now_ms: 100_500 };
            assert_eq!(known.to_string(), format!("10.13.20.101 on eth0, {expected}"));
        }
    }
}
