//! `sidus init`: the configuration from what is found, and the drop-ins of the services. With a configuration there, the
//! drop-ins alone.

mod decide;
mod facts;
mod template;

use std::io;
use std::net::Ipv4Addr;

use clap::Args;
use thiserror::Error;

use super::cli::Common;
use super::config::values::Net;
use super::config::{Config, DhcpService, Folders, NfsService, TargetService, TftpService, NODES};
use super::engine::{Action, Commit};
use super::{engine, node, output};
use facts::Facts;

/// What it is told; the rest it finds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Options {
    /// This machine's address in the nodes' network [default: the only one that it has]
    #[arg(long, value_name = "IP")]
    pub address: Option<Ipv4Addr>,
    /// The nodes' network, as in 10.13.20.0/24 [default: that of the address]
    #[arg(long, value_name = "NET")]
    pub subnet: Option<Net>,
    /// Who answers DHCP [default: dnsmasq or isc-dhcp-server, which is installed]
    #[arg(long)]
    pub dhcp: Option<DhcpService>,
    /// Who answers TFTP [default: dnsmasq or tftpd-hpa, which is installed]
    #[arg(long)]
    pub tftp: Option<TftpService>,
    /// Who exports the trees [default: nfs-kernel-server]
    #[arg(long)]
    pub nfs: Option<NfsService>,
    /// Who serves the nodes' disks [default: lio or tgt, which is installed, else none]
    #[arg(long)]
    pub target: Option<TargetService>,
}

/// Why there is nothing to begin with.
#[derive(Debug, Error)]
pub enum InitError {
    /// What is said of the machine cannot be read.
    #[error("cannot look at this machine: {0}")]
    Facts(io::Error),
    /// No address.
    #[error("this machine has no IPv4 address, except its own loopback: give it one in the nodes' network first{0}")]
    NoAddress(&'static str),
    /// More than one.
    #[error(
        "this machine has more than one IPv4 address: say by --address which is in the nodes' network: {}",
        list(found)
    )]
    Addresses {
        /// Which.
        found: Vec<facts::Address>,
    },
    /// Another one than it has.
    #[error(
        "--address {given}: this machine has no such address; it has {}; --subnet says of one that it is yet to get",
        list(found)
    )]
    OtherAddress {
        /// What was asked for.
        given: Ipv4Addr,
        /// What there is.
        found: Vec<facts::Address>,
    },
    /// A network of one or two.
    #[error("{address}: a network of 8 to 30 bits was expected; --subnet says which")]
    Subnet {
        /// What there is.
        address: facts::Address,
    },
    /// Packages are missing.
    #[error("this machine misses {}: apt-get install {}{}", whats(missing), packages(missing), hint(missing))]
    Missing {
        /// What for, and which.
        missing: Vec<(&'static str, &'static str)>,
    },
    /// A person's configuration says something else.
    #[error(
        "/etc/sidus/sidus.toml is there already, and says {key} = {has}: change it there, or leave out --{option}"
    )]
    Contradiction {
        /// The option.
        option: &'static str,
        /// Its place.
        key: &'static str,
        /// What stands there.
        has: String,
    },
}

fn list(addresses: &[facts::Address]) -> String {
    if addresses.is_empty() {
        return "none".to_owned();
    }
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn whats(missing: &[(&'static str, &'static str)]) -> String {
    missing.iter().map(|(what, _)| *what).collect::<Vec<_>>().join(", ")
}

fn packages(missing: &[(&'static str, &'static str)]) -> String {
    let mut packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages.join(" ")
}

fn hint(missing: &[(&'static str, &'static str)]) -> &'static str {
    let by_service = ["DHCP", "TFTP", "NFS", "iSCSI"];
    if missing.iter().any(|(what, _)| by_service.contains(what)) {
        " (or say by --dhcp, --tftp, --nfs or --target who else does it)"
    } else {
        ""
    }
}

/// Does it.
///
/// # Errors
/// [`super::Error`]
pub fn run(common: &Common, options: &Options) -> Result<(), super::Error> {
    let folders_of =
        |config: Option<&Config>| config.map_or_else(Folders::default, |config| config.settings.folders.clone());
    let mut engine = engine(common, &folders_of(Config::find(&common.root)?.as_ref()))?;
    // Again, as it is under the lock: see `server::begin`.
    let config = Config::find(&common.root)?;
    let folders = folders_of(config.as_ref());
    let facts = Facts::read(&common.root, &folders).map_err(InitError::Facts)?;
    let known = config.clone();
    let mut decided = decide::decide(config, &facts, options)?;
    if let Some(config) = known {
        // What is written for the services, and for the nodes, whose files a person may have changed.
        let facts = node::facts::Facts::read(&common.root, &config).map_err(InitError::Facts)?;
        let all = node::commit::commit(&config, &facts)?;
        decided.commit = Commit { actions: [vec![Action::folder(NODES)], all.actions].concat(), after: all.after };
    }
    let done = engine.carry_out(decided.commit);
    // What a person has to do may be why a service did not start.
    for note in decided.notes {
        output::note(&note);
    }
    let changed = done?;
    if !engine.is_dry_run() {
        eprintln!(
            "{}",
            if changed { "sidus: this machine is ready: see `sidus --help`" } else { "sidus: nothing to do" }
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
