//! What this machine knows of its nodes.

use std::collections::BTreeMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::server::clock::Time;
use crate::server::config::Config;
use crate::server::engine::command::{self, Around};
use crate::server::engine::Run;
use crate::server::generation::users::{self, Users, CLIENTS};
use crate::server::paths::{look, names, read_text};
use crate::server::target::{self, Served};

/// All connections (proc_pid_net(5)).
const CONNECTIONS: &str = "/proc/net/tcp";
/// NFS's port.
const PORT: u16 = 2049;
/// No such file is longer, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// So far back it is looked for when a node has asked for its root: some thousand boots.
const LINES: &str = "10000";

/// What is known.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Who has a connection to the NFS server.
    pub(super) connected: Vec<Ipv4Addr>,
    /// The clients of NFSv4.
    pub(super) clients: Vec<Client>,
    /// Who may run on which generation.
    pub(super) users: Users,
    /// When mountd(8) was last asked for which folder, by whom.
    pub(super) asked: BTreeMap<(Ipv4Addr, PathBuf), Time>,
    /// The targets; none where the service does not answer.
    pub(super) targets: Option<Vec<Served>>,
    /// What could not be known.
    pub(super) notes: Vec<String>,
}

/// A client of NFSv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) address: Ipv4Addr,
    /// When it first came.
    pub(super) since: Option<Time>,
}

impl Facts {
    pub(super) fn read(root: &Path, config: &Config) -> io::Result<Self> {
        let mut facts = Self::default();
        let text = |path: &Path| {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            read_text(root, path, MAX_FILE).map(Option::unwrap_or_default).map_err(named)
        };
        facts.connected = connections(&text(Path::new(CONNECTIONS))?);
        facts.users = Users::read(root, &config.settings.folders).map_err(io::Error::other)?;
        for number in names(root, Path::new(CLIENTS))? {
            let folder = Path::new(CLIENTS).join(number);
            // It may have gone meanwhile.
            let Ok(info) = text(&folder.join("info")) else { continue };
            let since = look(root, &folder)?.and_then(|found| found.modified().ok()).map(Time::of);
            let address = users::address(&info).and_then(|address| address.parse().ok());
            facts.clients.extend(address.map(|address| Client { address, since }));
        }
        // Another machine's journal is not here.
        if root == Path::new("/") {
            match command::run(Around::question(root), &journal()) {
                Ok(lines) => facts.asked = asked(&String::from_utf8_lossy(&lines)),
                Err(error) => facts.notes.push(format!("since when nodes are up is not known: {error}")),
            }
        }
        match target::served(root, config.settings.services.target) {
            Ok(served) => facts.targets = Some(served),
            Err(error) => facts.notes.push(error.to_string()),
        }
        Ok(facts)
    }
}

/// What mountd(8) has said.
fn journal() -> Run {
    Run::new("journalctl")
        .args(&["--quiet", "--no-pager", "--output=short-unix", "--identifier=rpc.mountd", "--lines", LINES])
        .from_package("systemd")
}

/// Lines as `1795935749.220128 server rpc.mountd[302]: authenticated mount request from 10.13.20.21:888 for /srv/x (/srv)`.
pub(super) fn asked(journal: &str) -> BTreeMap<(Ipv4Addr, PathBuf), Time> {
    let parsed = |line: &str| {
        let (seconds, rest) = line.split_once('.')?;
        let (_, rest) = rest.split_once(": authenticated mount request from ")?;
        let (from, rest) = rest.split_once(" for ")?;
        let (address, _port) = from.rsplit_once(':')?;
        let (path, _export) = rest.rsplit_once(" (")?;
        Some(((address.parse().ok()?, PathBuf::from(path)), Time::after(seconds.parse().ok()?)))
    };
    // The last one counts.
    journal.lines().filter_map(parsed).collect()
}

/// The other ends of the connections to [`PORT`] that stand.
pub(super) fn connections(text: &str) -> Vec<Ipv4Addr> {
    const ESTABLISHED: &str = "01";
    let end = |text: &str| -> Option<(Ipv4Addr, u16)> {
        let (address, port) = text.split_once(':')?;
        // In this machine's order of bytes.
        let bytes = u32::from_str_radix(address, 16).ok()?.to_ne_bytes();
        Some((Ipv4Addr::from(bytes), u16::from_str_radix(port, 16).ok()?))
    };
    let other = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (here, there, state) = (end(words.next()?)?, end(words.next()?)?, words.next()?);
        (here.1 == PORT && state == ESTABLISHED).then_some(there.0)
    };
    text.lines().filter_map(other).collect()
}
