//! The nodes' targets: each has one LUN, bears its node's address in its name, and lets in that node's initiator alone,
//! after both have proved who they are.
//!
//! What is to be served is a pure function of the configuration and the accounts: [`wanted`]. It stands in files that the
//! service starts from ([`tgt::text`], [`lio::saved`]); what serves already is brought to it by `sidus target
//! update`, a command of its own so that the journal has it: it is told like any service.

pub mod configfs;
pub mod lio;
pub mod tgt;
pub mod update;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::config::values::NodeName;
use super::config::{Config, TargetService};
use super::engine::Run;
use super::node::disk::Disk;
use super::node::Account;
use crate::iscsi::identity::DEFAULT_INITIATOR;
use crate::iscsi::name::Iqn;

/// What the names of all targets of this program begin with. What follows is the node's address, by which it finds its own.
pub const AUTHORITY: &str = "iqn.2026-01.io.sidus.target:";

/// A target that is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Whose.
    pub node: NodeName,
    /// The address of that.
    pub ip: Ipv4Addr,
    /// Its name.
    pub iqn: String,
    /// Who may log in.
    pub initiator: String,
    /// Where it is found.
    pub portal: Ipv4Addr,
    /// What it serves.
    pub image: PathBuf,
    /// Whether that is a block device, and no file.
    pub is_volume: bool,
    /// How large that is, in bytes.
    pub size: u64,
    /// The serial number of its LUN: that of a disk stays the same.
    pub serial: String,
    /// What both prove.
    pub account: Account,
}

impl Target {
    /// Whether it can be one that [`wanted`] has named: its parts go into other programs' words.
    fn is_whole(&self) -> bool {
        let image = self.image.to_str().unwrap_or(",");
        self.iqn == iqn(self.ip)
            && self.initiator.parse::<Iqn>().is_ok()
            && image.starts_with('/')
            && !image.contains([',', '\n'])
            && self.account.is_whole()
    }
}

/// The name of the target of the node with this address.
#[must_use]
pub fn iqn(ip: Ipv4Addr) -> String {
    format!("{AUTHORITY}{ip}")
}

/// The targets of all nodes that have a disk and an account.
#[must_use]
pub fn wanted(config: &Config, accounts: &BTreeMap<NodeName, Account>) -> Vec<Target> {
    let target = |node: &super::config::Node| {
        let digits = node.file.mac.digits();
        let disk = Disk::of_node(&config.settings.folders, node);
        Some(Target {
            node: node.name.clone(),
            ip: node.file.ip,
            iqn: iqn(node.file.ip),
            initiator: DEFAULT_INITIATOR.replace("{mac}", &digits),
            portal: config.settings.server.portal(),
            image: disk.path(),
            is_volume: disk.is_volume(),
            size: node.file.persistent?.bytes(),
            serial: format!("00000000-0000-4000-8000-{digits}"),
            account: accounts.get(&node.name)?.clone(),
        })
    };
    config.nodes.iter().filter_map(target).collect()
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Whose.
    pub initiator: String,
    /// From where, where the service says it.
    pub address: Option<String>,
}

/// A target that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its name.
    pub iqn: String,
    /// What it serves.
    pub images: Vec<PathBuf>,
    /// Who may log in.
    pub initiators: Vec<String>,
    /// From where, if that is a matter of the target.
    pub addresses: Option<Vec<String>>,
    /// The names that are proved: the node's, then its own.
    pub accounts: Vec<String>,
    /// Who has.
    pub sessions: Vec<Session>,
    /// Where it is found, if that is a matter of the target. None where it is not switched on.
    pub portals: Option<Vec<String>>,
}

impl Served {
    /// Whether it is as it is to be, as far as the service says.
    #[must_use]
    pub fn is(&self, target: &Target) -> bool {
        let accounts = [&target.account.username, &target.account.username_in];
        self.images == [target.image.as_path()]
            && self.initiators == [target.initiator.as_str()]
            && self.addresses.as_ref().is_none_or(|addresses| *addresses == [target.ip.to_string()])
            && accounts.into_iter().all(|account| self.accounts.contains(account))
            && self.accounts.len() == accounts.len()
            && self.portals.as_ref().is_none_or(|portals| *portals == [lio::portal(target)])
    }
}

/// Why a target is not served as it is to be.
#[derive(Debug, Error)]
pub enum TargetError {
    /// Nothing serves.
    #[error("{service} does not answer: {source}; systemctl start {unit}, then sidus recover")]
    NoService {
        /// Who.
        service: &'static str,
        /// Its unit.
        unit: &'static str,
        /// Why not.
        source: std::io::Error,
    },
    /// The service refuses.
    #[error("{service}: cannot {doing}: {why}")]
    Refused {
        /// Who.
        service: &'static str,
        /// What was asked for.
        doing: String,
        /// Why not.
        why: String,
    },
    /// A node would lose its root.
    #[error(
        "{0}: shut that node down first, or say --force: what it has not yet written is then lost, and it has to be reset"
    )]
    InUse(InUse),
    /// The accounts cannot be read.
    #[error("cannot read what the targets are to be: {0}")]
    Facts(std::io::Error),
}

/// A target that a node is logged in to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Its name.
    pub iqn: String,
    /// Who has logged in.
    pub sessions: Vec<Session>,
}

impl std::fmt::Display for InUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "target {} is in use by", self.iqn)?;
        for (at, session) in self.sessions.iter().enumerate() {
            write!(f, "{} {}", if at == 0 { "" } else { "," }, session.initiator)?;
            if let Some(address) = &session.address {
                write!(f, " ({address})")?;
            }
        }
        Ok(())
    }
}

/// What tells the service of a change. `renew` are the addresses whose targets are made anew: the disk is another one.
#[must_use]
pub fn told(service: TargetService, renew: &[Ipv4Addr], force: bool) -> Vec<Run> {
    let unit = match service {
        TargetService::Lio => "rtslib-fb-targetctl.service",
        TargetService::Tgt => "tgt.service",
        TargetService::None => return Vec::new(),
    };
    let mut update = Run::new("sidus").args(&["target", "update"]).on_services();
    for ip in renew {
        update = update.args(&["--renew", &ip.to_string()]);
    }
    if force {
        update = update.arg("--force");
    }
    vec![Run::systemctl(&["start", unit]), update]
}

/// What is served now.
///
/// # Errors
/// [`TargetError`]
pub fn served(root: &Path, service: TargetService) -> Result<Vec<Served>, TargetError> {
    match service {
        TargetService::Lio => Ok(lio::Found::read(root)?.targets.into_iter().map(|target| target.served).collect()),
        TargetService::Tgt => Ok(tgt::Tgt::at(root).served()?.into_iter().map(|known| known.served).collect()),
        TargetService::None => Ok(Vec::new()),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// That of `node21`, say, at the address 10.13.20.21.
    pub(crate) fn target(number: u8) -> Target {
        let node: NodeName = format!("node{number}").parse().unwrap();
        let account = format!(
            "username = \"{node}\"\npassword = \"own-secret\"\nusername_in = \"target.{node}\"\npassword_in = \"other-secret\"\n\
             archive = \"a{number}\"\n"
        );
        Target {
            ip: [10, 13, 20, number].into(),
            iqn: iqn([10, 13, 20, number].into()),
            initiator: format!("iqn.2026-01.io.sidus:node-5254000000{number}"),
            portal: [10, 13, 20, 13].into(),
            image: format!("/srv/sidus/luns/{node}.img").into(),
            is_volume: false,
            size: 1 << 30,
            serial: format!("00000000-0000-4000-8000-5254000000{number}"),
            account: toml::from_str(&account).unwrap(),
            node,
        }
    }

    #[test]
    fn nodes_with_a_disk_have_a_target_that_bears_their_address() {
        let text =
            "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\nportal = \"10.13.20.14\"\n[services]\n\
            dhcp = \"none\"\ntftp = \"none\"\nnfs = \"none\"\ntarget = \"tgt\"\n";
        let node = |name: &str, more: &str| crate::server::config::Node {
            name: name.parse().unwrap(),
            file: toml::from_str(&format!("mac = \"52:54:00:00:00:21\"\nip = \"10.13.20.21\"\n{more}")).unwrap(),
        };
        let settings = crate::server::config::Settings::parse(text).unwrap();
        let nodes =
            vec![node("node21", "persistent = \"1G\""), node("node22", ""), node("node23", "persistent = \"1G\"")];
        let accounts = [target(21), target(22)].map(|target| (target.node.clone(), target.account));
        let all = wanted(&Config { settings, nodes }, &accounts.into());
        assert_eq!(all, [Target { portal: [10, 13, 20, 14].into(), ..target(21) }]);
        assert!(all[0].iqn.parse::<crate::iscsi::name::Iqn>().is_ok());
    }
}
