//! `sidus check`: what is not as it is to be on this server, and the remedy. It changes nothing and needs no lock.
//!
//! To add a check: what it has to know to [`facts::Facts`], and a pure function of that to [`findings`].

mod dhcp;
mod facts;
mod nodes;

use std::fmt;
use std::io;
use std::path::Path;
use std::thread;

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::cli::Common;
use super::config::{Config, DhcpService, NfsService, Services, TargetService, TftpService};
use super::{output, services};
use facts::{Drift, Facts, Room};

/// How it looks.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// For programs
    #[arg(long)]
    pub json: bool,
    /// Do not ask in the nodes' network who answers DHCP
    #[arg(long, conflicts_with = "patient")]
    pub no_dhcp: bool,
    /// Listen five seconds for DHCP servers that are slow to answer, and not 0.7
    #[arg(long)]
    pub patient: bool,
}

/// Something that is not as it is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What, and where.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Finding {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n    {}", self.what, self.remedy.replace('\n', "\n    "))
    }
}

/// Why there is no answer, or not the one that was hoped for.
#[derive(Debug, Error)]
pub enum CheckError {
    /// What is said of the machine cannot be read.
    #[error("cannot look at this machine: {0}")]
    Facts(io::Error),
    /// Something is not as it is to be.
    #[error("{0} to mend")]
    Found(usize),
}

/// Does it.
///
/// # Errors
/// [`CheckError::Found`] where anything was found, after it was printed.
pub fn run(common: &Common, options: &Options) -> Result<(), super::Error> {
    let config = Config::read(&common.root)?;
    let asks = common.root == Path::new("/") && !options.no_dhcp;
    let (facts, offers) = thread::scope(|scope| {
        // It takes the time that all the rest takes.
        let asked = asks.then(|| scope.spawn(|| dhcp::ask(config.settings.server.address, options.patient)));
        let facts = Facts::read(&common.root, &config);
        (facts, asked.map(|asked| asked.join().unwrap_or_else(|_| Err("the question ended by a defect".to_owned()))))
    });
    let mut facts = facts.map_err(CheckError::Facts)?;
    match offers {
        Some(Ok(offers)) => facts.offers = offers,
        Some(Err(why)) => output::note(&format!("other DHCP servers are not looked for: {why}")),
        None => {}
    }
    let findings = findings(&config, &facts);
    if options.json {
        output::print_json(&findings).map_err(super::Error::Print)?;
    } else {
        let text: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        output::print(if findings.is_empty() { "nothing to mend\n" } else { &text });
    }
    match findings.len() {
        0 => Ok(()),
        count => Err(CheckError::Found(count).into()),
    }
}

/// All that is wrong, what others follow from first.
fn findings(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for command in &facts.unfinished {
        findings.push(Finding::new(format!("{command} ended in the middle, or is at work"), "sidus recover"));
    }
    for (what, package) in services::missing(config.settings.services, &facts.services) {
        findings.push(Finding::new(format!("{what}: it is not installed"), format!("apt-get install {package}")));
    }
    for drift in &facts.drifts {
        findings.push(match drift {
            Drift::Other(action) => Finding::new(format!("not done, or not as it was done: {action}"), "sidus init"),
            Drift::Foreign(why) => Finding::new(why, "then sidus init"),
        });
    }
    for note in services::notes(config, &facts.services) {
        findings.push(Finding::new("a service does not know of sidus", note));
    }
    for (unit, state) in &facts.units {
        if state != "active" {
            findings.push(Finding::new(
                format!("{unit} is {state}"),
                format!("systemctl restart {unit}; journalctl -u {unit} says why it ended"),
            ));
        }
    }
    for path in &facts.unreadable {
        let path = path.display();
        findings.push(Finding::new(format!("{path}: the TFTP server may not read it"), format!("chmod a+rX {path}")));
    }
    findings.extend(dhcp::findings(config, &facts.offers));
    findings.extend(nodes::findings(config, &facts.nodes));
    for (folder, room) in &facts.full {
        let left = match room {
            Room::Bytes(bytes) => format!("{} MiB are free where it is", bytes >> 20),
            Room::Files(files) => format!("{files} files can still be made where it is (df -i counts them)"),
        };
        findings.push(Finding::new(
            format!("{}: {left}", folder.display()),
            "make room, or move that folder to another disk (folders in sidus.toml)",
        ));
    }
    findings
}

/// What systemd has to keep running for these.
fn units(services: Services) -> Vec<&'static str> {
    let dhcp = match services.dhcp {
        DhcpService::Dnsmasq => Some("dnsmasq.service"),
        DhcpService::IscDhcpServer => Some("isc-dhcp-server.service"),
        DhcpService::None => None,
    };
    let tftp = match services.tftp {
        TftpService::Dnsmasq => Some("dnsmasq.service"),
        TftpService::TftpdHpa => Some("tftpd-hpa.service"),
        TftpService::None => None,
    };
    let nfs = (services.nfs == NfsService::NfsKernelServer).then_some("nfs-server.service");
    let target = match services.target {
        // It only loads what the kernel serves, and is active when it has.
        TargetService::Lio => Some("rtslib-fb-targetctl.service"),
        TargetService::Tgt => Some("tgt.service"),
        TargetService::None => None,
    };
    let mut units: Vec<_> = [dhcp, tftp, nfs, target].into_iter().flatten().collect();
    units.dedup();
    units
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
