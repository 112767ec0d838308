//! `sidus status`: which nodes are up, on which generation, on what they write, and since when. What this server cannot know
//! is said so: NFSv3, by which nodes mount their root, knows of no clients, only of connections, of what was ever mounted, and
//! of when that was asked for.

mod facts;

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use serde::Serialize;
use thiserror::Error;

use super::cli::Common;
use super::config::{Config, Node};
use super::output;
use super::target;
use facts::Facts;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum StatusError {
    /// What is said of the machine cannot be read.
    #[error("cannot look at this machine: {0}")]
    Facts(io::Error),
}

/// What is known of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    node: String,
    ip: Ipv4Addr,
    /// Whether it has a connection to the NFS server.
    up: bool,
    /// Since when: when it came, or asked for its generation.
    since: Option<String>,
    /// The generations that it may be on, as `tree/name`: more than one where it has booted several since that was last
    /// looked at, none where it is not known.
    generations: Vec<String>,
    /// On what it writes.
    layer: Layer,
    /// That, where it is a disk.
    disk: Option<String>,
}

/// On what a node writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Layer {
    /// Its memory.
    Memory,
    /// Its disk: it is logged in.
    Disk,
    /// It has a disk, and is not logged in.
    DiskUnused,
    /// It has a disk, and the target service does not answer.
    Unknown,
}

/// Does it.
///
/// # Errors
/// [`StatusError`]
pub fn run(common: &Common, json: bool) -> Result<(), super::Error> {
    let config = Config::read(&common.root)?;
    let facts = Facts::read(&common.root, &config).map_err(StatusError::Facts)?;
    let generations = config.settings.folders.generations.path();
    let rows: Vec<_> = config.nodes.iter().map(|node| row(node, &facts, generations)).collect();
    for note in &facts.notes {
        output::note(note);
    }
    if json {
        return output::print_json(&rows).map_err(super::Error::Print);
    }
    output::print(&table(&rows));
    Ok(())
}

fn row(node: &Node, facts: &Facts, folder: &Path) -> Row {
    let ip = node.file.ip;
    let client = facts.clients.iter().find(|client| client.address == ip);
    let up = facts.connected.contains(&ip) || client.is_some();
    let name = node.name.as_str();
    let is_it = |host: &str| host == ip.to_string() || host == name || host.split('.').next() == Some(name);
    let generations = if up { facts.users.on(is_it) } else { Vec::new() };
    let iqn = target::iqn(ip);
    let used = |target: &&target::Served| target.iqn == iqn && !target.sessions.is_empty();
    let (layer, disk) = match (node.file.persistent, &facts.targets) {
        (None, _) => (Layer::Memory, None),
        (Some(_), None) => (Layer::Unknown, None),
        (Some(_), Some(served)) => match served.iter().find(used) {
            Some(target) => (Layer::Disk, target.images.first().map(|image| image.display().to_string())),
            None => (Layer::DiskUnused, None),
        },
    };
    let came = client.and_then(|client| client.since);
    let asked = match generations.as_slice() {
        [one] => facts.asked.get(&(ip, folder.join(one))).copied(),
        _ => None,
    };
    Row {
        node: node.name.to_string(),
        ip,
        up,
        since: came.or(asked).map(|since| since.to_string()),
        generations,
        layer,
        disk,
    }
}

fn table(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| {
        let generation = match row.generations.as_slice() {
            [] if row.up => "not known".to_owned(),
            [] => "-".to_owned(),
            [one] => one.clone(),
            more => format!("one of {}", more.join(", ")),
        };
        let layer = match row.layer {
            Layer::Memory if row.up => "memory",
            Layer::Disk => row.disk.as_deref().unwrap_or("disk"),
            Layer::DiskUnused if row.up => "not on its disk",
            Layer::Unknown => "not known",
            Layer::Memory | Layer::DiskUnused => "-",
        };
        let up = if row.up { "up" } else { "down" };
        let since = match (&row.since, row.up) {
            (Some(since), _) => since.clone(),
            (None, true) => "not known".to_owned(),
            (None, false) => "-".to_owned(),
        };
        [row.node.clone(), row.ip.to_string(), up.to_owned(), generation, layer.to_owned(), since]
    });
    let head = ["NODE", "ADDRESS", "IS", "GENERATION", "WRITES TO", "SINCE"].map(str::to_owned);
    output::table(&std::iter::once(head).chain(cells).collect::<Vec<_>>())
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
