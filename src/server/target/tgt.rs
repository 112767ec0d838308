//! tgtd(8). It is told by its socket what to serve, as tgtadm(8) does: that program and tgt-admin(8) would have the secrets
//! on their command lines, where whoever is logged in sees them. tgtd itself keeps nothing, and has to be told again when it
//! starts: what it is to serve is in a file for each target, and tgt.service runs `sidus target update`, by [`UNIT`].

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::update::Decided;
use super::{Served, Session, Target, TargetError};
use crate::server::config::Folders;
use crate::server::engine::action::marked;
use crate::server::paths::{names, read_text, within};
use crate::server::services;

/// Where tgtd listens.
const SOCKET: &str = "/var/run/tgtd/socket.0";
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer is longer, in bytes.
const MAX_ANSWER: u32 = 64 << 20;

/// What systemd is told of tgt.service, below `/etc/systemd/system`. That a target of ours is in trouble is no reason to
/// end those of others. A reload of Debian's ends all targets that its own configuration does not name and nobody uses.
pub const UNIT: &str = "[Service]\nExecStartPost=-sidus target update\nExecReload=-sidus target update\n";
/// How long it may take in all to tell tgtd: systemd ends a service that is not up after 90 s.
const LIMIT: Duration = Duration::from_secs(45);
/// The file of a target is no longer, in bytes.
const MAX_FILE: u64 = 4096;

/// The file of the target.
#[must_use]
pub fn path(folders: &Folders, target: &Target) -> PathBuf {
    services::tgt_targets(folders).join(format!("{}.toml", target.node))
}

/// What is in it.
///
/// # Errors
/// That a path is no text.
pub fn text(target: &Target) -> io::Result<String> {
    toml::to_string(target).map(|text| marked("#", &text)).map_err(io::Error::other)
}

/// What all files say that can be read, and why one cannot: that of one node is no reason to forget the others.
///
/// # Errors
/// Those of the folder.
pub fn saved(root: &Path, folders: &Folders) -> io::Result<(Vec<Target>, Option<io::Error>)> {
    let folder = services::tgt_targets(folders);
    // What begins with a dot is being written.
    let names = names(root, &folder)?.into_iter().filter(|name| name.ends_with(".toml") && !name.starts_with('.'));
    let read = |name: String| {
        let path = folder.join(name);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let text = read_text(root, &path, MAX_FILE).map_err(named)?.unwrap_or_default();
        let target = toml::from_str::<Target>(&text).ok().filter(Target::is_whole);
        target.ok_or_else(|| named(io::Error::other("it is not as sidus writes it: sidus init writes it anew")))
    };
    let (mut targets, mut bad) = (Vec::new(), None);
    for name in names {
        match read(name) {
            Ok(target) => targets.push(target),
            Err(error) => drop(bad.get_or_insert(error)),
        }
    }
    Ok((targets, bad))
}

/// A target with tgtd's own number of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub(super) tid: i32,
    pub(super) served: Served,
}

/// What a request is about, and what of it, by tgtd's numbers.
mod number {
    pub(super) const TARGET: u32 = 1;
    pub(super) const LOGICAL_UNIT: u32 = 2;
    pub(super) const ACCOUNT: u32 = 7;
    pub(super) const NEW: u32 = 0;
    pub(super) const DELETE: u32 = 1;
    pub(super) const SHOW: u32 = 2;
    pub(super) const BIND: u32 = 3;
}
use number::{ACCOUNT, BIND, DELETE, LOGICAL_UNIT, NEW, SHOW, TARGET};

/// tgtd's errors, by their numbers.
const ERRORS: [&str; 25] = [
    "success",
    "unknown error",
    "out of memory",
    "no such driver",
    "no such target",
    "no such logical unit",
    "no such session",
    "no such connection",
    "no such binding",
    "the target is there already",
    "the logical unit is there already",
    "the binding is there already",
    "the rule of access is there already",
    "no such rule of access",
    "the account is there already",
    "no such account",
    "too many accounts",
    "invalid request",
    "the target has an outgoing account already",
    "the target is still active",
    "the logical unit is still active",
    "the driver is busy",
    "the operation is not supported",
    "unknown parameter",
    "the device may not be removed",
];

/// Two of them.
const NO_TARGET: u32 = 4;
const NO_ACCOUNT: u32 = 15;

/// What tgtd is asked (its usr/tgtadm.h): a head of fixed length, then words.
#[derive(Clone)]
struct Request {
    doing: String,
    mode: u32,
    operation: u32,
    tid: i32,
    lun: u64,
    outgoing: bool,
    force: bool,
    /// They may have a secret.
    words: String,
}

impl Request {
    const HEAD: usize = 120;
    const DRIVER: &'static [u8] = b"iscsi";
    const DRIVER_LENGTH: usize = 64;

    fn new(doing: impl Into<String>, mode: u32, operation: u32, tid: i32, words: String) -> Self {
        Self { doing: doing.into(), mode, operation, tid, lun: u64::MAX, outgoing: false, force: false, words }
    }

    fn bytes(&self) -> Vec<u8> {
        let end: &[u8] = if self.words.is_empty() { &[] } else { &[0] };
        let words = [self.words.as_bytes(), end].concat();
        let length = u32::try_from(Self::HEAD.saturating_add(words.len())).unwrap_or(u32::MAX);
        let mut bytes = [self.mode.to_ne_bytes(), self.operation.to_ne_bytes()].concat();
        bytes.extend(Self::DRIVER);
        bytes.resize(Self::DRIVER_LENGTH.saturating_add(8), 0);
        bytes.extend(length.to_ne_bytes());
        bytes.extend(self.tid.to_ne_bytes());
        // The session.
        bytes.extend(0_u64.to_ne_bytes());
        bytes.extend(self.lun.to_ne_bytes());
        // Connection, host, and the type of device: a disk.
        bytes.extend([0; 12]);
        bytes.extend(u32::from(self.outgoing).to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(u32::from(self.force).to_ne_bytes());
        bytes.extend(words);
        bytes
    }
}

/// tgtd.
#[derive(Debug, Clone)]
pub struct Tgt {
    socket: PathBuf,
}

impl Tgt {
    /// The one of the machine whose root is `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { socket: within(root, Path::new(SOCKET)) }
    }

    /// The targets that it serves.
    ///
    /// # Errors
    /// [`TargetError`]
    pub fn served(&self) -> Result<Vec<Known>, TargetError> {
        let request = Request::new("show its targets", TARGET, SHOW, -1, String::new());
        let known = parse(&self.ask(&request)?);
        match named_twice(&known) {
            Some(why) => Err(TargetError::Refused { service: "tgtd", doing: request.doing, why }),
            None => Ok(known),
        }
    }

    /// Ends targets, and begins others: all that can be, and the first error comes after that.
    pub(super) fn carry_out(&self, known: &[Known], decided: &Decided<'_>) -> Result<(), TargetError> {
        let started = Instant::now();
        let mut failed = None;
        for ending in decided.end.iter().filter_map(|place| known.get(*place)) {
            if let Err(error) = self.end(ending) {
                failed.get_or_insert(error);
            }
        }
        let mut tid = known.iter().map(|known| known.tid).max().unwrap_or(0);
        for target in &decided.begin {
            if started.elapsed() > LIMIT {
                let doing = format!("serve {} and what comes after it", target.iqn);
                let why = format!("what came before took {} s; sidus target update goes on", LIMIT.as_secs());
                return Err(failed.unwrap_or(TargetError::Refused { service: "tgtd", doing, why }));
            }
            tid = tid.saturating_add(1);
            if let Err(error) = self.begin(tid, target) {
                // What is half made would be taken for a target; the error is the one that matters.
                let _ = self.ask(&Request::new("undo", TARGET, DELETE, tid, String::new()));
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn end(&self, ending: &Known) -> Result<(), TargetError> {
        let doing = format!("end {}", ending.served.iqn);
        let force = !ending.served.sessions.is_empty();
        let request = Request { force, ..Request::new(doing, TARGET, DELETE, ending.tid, String::new()) };
        self.ask_or(&request, &[NO_TARGET])?;
        ending.served.accounts.iter().try_for_each(|account| self.forget(account))
    }

    fn begin(&self, tid: i32, target: &Target) -> Result<(), TargetError> {
        let Target { iqn, ip, initiator, image, account, .. } = target;
        let doing = |what: &str| format!("{what} of {iqn}");
        let ask = |what: &str, mode, operation, words| {
            self.ask(&Request::new(doing(what), mode, operation, tid, words)).map(drop)
        };
        ask("make the target", TARGET, NEW, format!("targetname={iqn}"))?;
        let lun = Request::new(doing("make the LUN"), LOGICAL_UNIT, NEW, tid, format!("path={}", image.display()));
        self.ask(&Request { lun: 1, ..lun })?;
        for (name, secret, outgoing) in
            [(&account.username, &account.password, false), (&account.username_in, &account.password_in, true)]
        {
            // One that is left from before may have another secret.
            self.forget(name)?;
            ask("make the account", ACCOUNT, NEW, format!("user={name},password={secret}"))?;
            let bind = Request::new(doing("bind the account"), ACCOUNT, BIND, tid, format!("user={name}"));
            self.ask(&Request { outgoing, ..bind })?;
        }
        // Last, so that nobody comes before it is whole. One of both is enough for tgtd since 1.0.84.
        ask("name the initiator", TARGET, BIND, format!("initiator-name={initiator}"))?;
        ask("name the address", TARGET, BIND, format!("initiator-address={ip}"))
    }

    /// That there is none is right, too.
    fn forget(&self, account: &str) -> Result<(), TargetError> {
        let doing = format!("remove the account {account}");
        let request = Request::new(doing, ACCOUNT, DELETE, -1, format!("user={account}"));
        self.ask_or(&request, &[NO_ACCOUNT]).map(drop)
    }

    fn ask(&self, request: &Request) -> Result<String, TargetError> {
        self.ask_or(request, &[])
    }

    /// These errors are none.
    fn ask_or(&self, request: &Request, also_good: &[u32]) -> Result<String, TargetError> {
        let lost = |source| TargetError::NoService { service: "tgtd", unit: "tgt.service", source };
        let (error, answer) = self.exchange(&request.bytes()).map_err(lost)?;
        if error == 0 || also_good.contains(&error) {
            return Ok(String::from_utf8_lossy(&answer).into_owned());
        }
        let known = usize::try_from(error).ok().and_then(|number| ERRORS.get(number));
        let why = known.map_or_else(|| format!("error {error}"), |known| (*known).to_owned());
        Err(TargetError::Refused { service: "tgtd", doing: request.doing.clone(), why })
    }

    fn exchange(&self, request: &[u8]) -> io::Result<(u32, Vec<u8>)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(request)?;
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let [a, b, c, d, rest @ ..] = head;
        let (error, length) = (u32::from_ne_bytes([a, b, c, d]), u32::from_ne_bytes(rest));
        let mut answer = Vec::new();
        let length = length.saturating_sub(8).min(MAX_ANSWER);
        stream.take(u64::from(length)).read_to_end(&mut answer)?;
        Ok((error, answer))
    }
}

/// Where a line of tgtd's list belongs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Other,
    Accounts,
    Rules,
}

/// tgtd shows what initiators call themselves as they say it, line breaks and all: who is logged in can say what looks like
/// a target of somebody else, but cannot take the real one out of the list.
fn named_twice(known: &[Known]) -> Option<String> {
    let mut rest = known;
    while let [first, others @ ..] = rest {
        let same = |other: &&Known| other.tid == first.tid || other.served.iqn == first.served.iqn;
        if let Some(other) = others.iter().find(same) {
            let (one, two) = (&first.served.iqn, &other.served.iqn);
            let sessions: Vec<_> = known.iter().flat_map(|known| &known.served.sessions).collect();
            let names: Vec<_> = sessions.iter().map(|session| session.initiator.as_str()).collect();
            return Some(format!(
                "its list has target {}, {one}, and target {}, {two}: one of both is the lie of a node that is logged in; \
                 find out which, and switch it off: {}",
                first.tid,
                other.tid,
                names.join(", ")
            ));
        }
        rest = others;
    }
    None
}

/// Reads what tgtd shows of its targets.
fn parse(text: &str) -> Vec<Known> {
    let mut all: Vec<Known> = Vec::new();
    let mut part = Part::Other;
    for line in text.lines() {
        if let Some((tid, iqn)) = line.strip_prefix("Target ").and_then(|rest| rest.split_once(": ")) {
            let Ok(tid) = tid.parse() else { continue };
            let served = Served {
                iqn: iqn.to_owned(),
                images: Vec::new(),
                initiators: Vec::new(),
                addresses: Some(Vec::new()),
                accounts: Vec::new(),
                sessions: Vec::new(),
                // It listens wherever its own command line says.
                portals: None,
            };
            all.push(Known { tid, served });
            continue;
        }
        let Some(Known { served, .. }) = all.last_mut() else { continue };
        let (indent, line) = (line.len().saturating_sub(line.trim_start().len()), line.trim());
        if indent <= 4 {
            part = match line {
                "Account information:" => Part::Accounts,
                "ACL information:" => Part::Rules,
                _ => Part::Other,
            };
            continue;
        }
        match part {
            Part::Accounts => {
                served.accounts.push(line.strip_suffix(" (outgoing)").unwrap_or(line).to_owned());
            }
            // The names of initiators (RFC 7143, 4.2.7) have a dot after three letters; all else is an address, or ALL.
            Part::Rules if ["iqn.", "eui.", "naa."].iter().any(|kind| line.starts_with(kind)) => {
                served.initiators.push(line.to_owned());
            }
            Part::Rules => served.addresses.get_or_insert_default().push(line.to_owned()),
            Part::Other => {
                if let Some(path) = line.strip_prefix("Backing store path: ").filter(|path| *path != "None") {
                    served.images.push(PathBuf::from(path));
                } else if let Some(initiator) = line.strip_prefix("Initiator: ") {
                    let name = initiator.split(' ').next().unwrap_or_default();
                    served.sessions.push(Session { initiator: name.to_owned(), address: None });
                } else if let Some(address) = line.strip_prefix("IP Address: ") {
                    if let Some(session) = served.sessions.last_mut() {
                        session.address = Some(address.to_owned());
                    }
                }
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::target::tests::target;

    #[test]
    fn a_request_is_what_tgtadm_sends() {
        let request = Request::new("", ACCOUNT, BIND, 5, "user=bob".to_owned());
        let bytes = Request { outgoing: true, ..request }.bytes();
        let mut expected = vec![0; Request::HEAD];
        for (at, value) in [(0, 7_u8), (4, 3), (72, 129), (76, 5), (108, 1)] {
            expected[at] = value;
        }
        expected[8..13].copy_from_slice(b"iscsi");
        expected[88..96].fill(0xff);
        expected.extend(b"user=bob\0");
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_tgtd_shows() {
        let text = "Target 1: iqn.2026-01.io.sidus.target:10.13.20.21\n    System information:\n        Driver: iscsi\n        \
            State: ready\n    I_T nexus information:\n        I_T nexus: 1\n            Initiator: iqn.x:node alias: none\n            \
            Connection: 0\n                IP Address: 127.0.0.1\n    LUN information:\n        LUN: 0\n            Type: controller\n            \
            Backing store path: None\n        LUN: 1\n            Type: disk\n            Backing store path: /srv/n.img\n    \
            Account information:\n        n\n        target.n (outgoing)\n    ACL information:\n        10.13.20.21\n        iqn.x:node\n\
            Target 7: iqn.other\n    LUN information:\n    Account information:\n    ACL information:\n";
        let [one, two] = <[Known; 2]>::try_from(parse(text)).unwrap();
        assert_eq!(one.tid, 1);
        let session = Session { initiator: "iqn.x:node".to_owned(), address: Some("127.0.0.1".to_owned()) };
        let expected = Served {
            iqn: "iqn.2026-01.io.sidus.target:10.13.20.21".to_owned(),
            images: vec!["/srv/n.img".into()],
            initiators: vec!["iqn.x:node".to_owned()],
            addresses: Some(vec!["10.13.20.21".to_owned()]),
            accounts: vec!["n".to_owned(), "target.n".to_owned()],
            sessions: vec![session],
            portals: None,
        };
        assert_eq!(one.served, expected);
        assert_eq!((two.tid, two.served.sessions.len()), (7, 0));
    }

    #[test]
    fn a_node_that_calls_itself_a_target_is_found_out() {
        let text = |alias: &str| {
            format!(
                "Target 1: iqn.x:one\n    I_T nexus information:\n        I_T nexus: 1\n            Initiator: iqn.x:node alias: \
                 {alias}\n    LUN information:\nTarget 2: iqn.x:two\n    LUN information:\n"
            )
        };
        for (alias, expected) in [
            ("none", None),
            ("a\nTarget 2: iqn.x:other", Some("target 2, iqn.x:other, and target 2, iqn.x:two: ")),
            ("a\nTarget 9: iqn.x:two", Some("target 9, iqn.x:two, and target 2, iqn.x:two: ")),
            ("a\nTarget 1: iqn.x:one", Some("target 1, iqn.x:one, and target 1, iqn.x:one: ")),
        ] {
            let found = named_twice(&parse(&text(alias)));
            assert_eq!(found.is_some(), expected.is_some(), "{alias:?}: {found:?}");
            assert!(found.unwrap_or_default().contains(expected.unwrap_or_default()), "{alias:?}");
        }
    }

    #[test]
    fn a_target_is_read_as_it_was_written_and_nothing_else() {
        let root = std::env::temp_dir().join(format!("sidus-tgt-{}", std::process::id()));
        let folders = Folders::default();
        let mut whole = target(21);
        whole.account = crate::server::node::Account::random(&whole.node).unwrap();
        let path = path(&folders, &whole);
        let at = within(&root, &path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        let nothing = saved(&root, &folders).unwrap();
        assert!(nothing.0.is_empty() && nothing.1.is_none());
        let text = text(&whole).unwrap();
        std::fs::write(&at, &text).unwrap();
        std::fs::write(at.with_file_name(".new.toml"), "half").unwrap();
        assert_eq!(saved(&root, &folders).unwrap().0, [whole.clone()]);
        let other = Target { node: "other".parse().unwrap(), ..whole.clone() };
        std::fs::write(at.with_file_name("other.toml"), super::text(&other).unwrap()).unwrap();
        for (from, to) in [
            ("ip = \"10.13.20.21\"", "ip = \"10.13.20.22\""),
            ("10.13.20.21\"\ninitiator", "10.13.20.21,user=x\"\ninitiator"),
            ("initiator = \"iqn.", "initiator = \"ALL\\niqn."),
            ("image = \"/srv", "image = \"/srv,bstype=x"),
            ("image = \"/srv", "image = \"srv"),
            ("password = \"", "password = \"x"),
            ("size = ", "sizes = "),
        ] {
            assert!(text.contains(from), "{from}: {text}");
            std::fs::write(&at, text.replace(from, to)).unwrap();
            let (others, bad) = saved(&root, &folders).unwrap();
            assert_eq!(others, std::slice::from_ref(&other), "{from}");
            let error = bad.unwrap().to_string();
            let expected = format!("{}: it is not as sidus writes it: sidus init writes it anew", path.display());
            assert_eq!(error, expected, "{from}");
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
