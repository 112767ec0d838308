//! What `sidus init` does, from what is found and what it is told.

use super::facts::{Address, Facts};
use super::{template, InitError, Options};
use crate::server::config::values::Net;
use crate::server::config::{
    Config, ConfigError, Dhcp, DhcpService, Disks, Folders, NfsService, NodeDefaults, Server, Services, Settings,
    TargetService, TftpService, TreeDefaults, CONFIG, NODES,
};
use crate::server::engine::{Action, Commit};
use crate::server::services::{self, Program};
use crate::server::Error;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decided {
    pub(super) commit: Commit,
    /// What a person has to do.
    pub(super) notes: Vec<String>,
}

pub(super) fn decide(config: Option<Config>, facts: &Facts, options: &Options) -> Result<Decided, Error> {
    let is_new = config.is_none();
    let config = match config {
        Some(config) => agree(&config.settings, options).map(|()| config)?,
        None => Config { settings: settings(facts, options)?, nodes: Vec::new() },
    };
    let missing = services::missing(config.settings.services, &facts.services);
    if !missing.is_empty() {
        return Err(InitError::Missing { missing }.into());
    }
    let mut actions = vec![Action::folder(NODES)];
    if is_new {
        let text = template::text(&config.settings);
        // What is written must be right: a person has to live with it.
        Settings::parse(&text).map_err(wrong_options)?;
        actions.push(Action::write_new(CONFIG, text));
    }
    let rest = services::commit(&config, &facts.services);
    actions.extend(rest.actions);
    let commit = Commit { actions, after: rest.after };
    Ok(Decided { commit, notes: services::notes(&config, &facts.services) })
}

/// The file that the error names is not there yet.
fn wrong_options(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::At { file, message, .. } => {
            ConfigError::At { file, line: None, message: format!("it would be wrong: {message}") }
        }
        other => other,
    }
}

/// An option may say again what the file says, but nothing else.
fn agree(settings: &Settings, options: &Options) -> Result<(), InitError> {
    let (server, services) = (&settings.server, settings.services);
    let differs = [
        (
            "address",
            "server.address",
            options.address.is_some_and(|ip| ip != server.address),
            server.address.to_string(),
        ),
        ("subnet", "server.subnet", options.subnet.is_some_and(|net| net != server.subnet), server.subnet.to_string()),
        ("dhcp", "services.dhcp", options.dhcp.is_some_and(|who| who != services.dhcp), name(services.dhcp)),
        ("tftp", "services.tftp", options.tftp.is_some_and(|who| who != services.tftp), name(services.tftp)),
        ("nfs", "services.nfs", options.nfs.is_some_and(|who| who != services.nfs), name(services.nfs)),
        ("target", "services.target", options.target.is_some_and(|who| who != services.target), name(services.target)),
    ];
    match differs.into_iter().find(|(_, _, differs, _)| *differs) {
        Some((option, key, _, has)) => Err(InitError::Contradiction { option, key, has }),
        None => Ok(()),
    }
}

/// As the file has it.
pub(super) fn name(service: impl clap::ValueEnum) -> String {
    service.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn settings(facts: &Facts, options: &Options) -> Result<Settings, InitError> {
    let (address, subnet) = network(facts, options)?;
    let has = |program| facts.services.has(program);
    let dhcp = options.dhcp.unwrap_or(if !has(Program::Dnsmasq) && has(Program::Dhcpd) {
        DhcpService::IscDhcpServer
    } else {
        DhcpService::Dnsmasq
    });
    let tftp =
        options.tftp.unwrap_or(if dhcp == DhcpService::Dnsmasq || !has(Program::Tftpd) && has(Program::Dnsmasq) {
            TftpService::Dnsmasq
        } else {
            TftpService::TftpdHpa
        });
    let target = options.target.unwrap_or(match (has(Program::Targetcli), has(Program::Tgtd)) {
        (true, _) => TargetService::Lio,
        (false, true) => TargetService::Tgt,
        (false, false) => TargetService::None,
    });
    let mut folders = Folders::default();
    if tftp == TftpService::TftpdHpa {
        // Where it serves is said in a person's file: this program goes there.
        let served = facts.services.tftpd_folder.as_ref().and_then(|folder| folder.to_str()?.parse().ok());
        folders.tftp = served.unwrap_or(folders.tftp);
    }
    let router = facts.router.filter(|router| subnet.has_machine(*router) && *router != address);
    Ok(Settings {
        server: Server { address, subnet, portal: None },
        folders,
        services: Services { dhcp, tftp, nfs: options.nfs.unwrap_or(NfsService::NfsKernelServer), target },
        dhcp: Dhcp { router, ..Dhcp::default() },
        disks: Disks::default(),
        tree: TreeDefaults::default(),
        node: NodeDefaults::default(),
    })
}

fn network(facts: &Facts, options: &Options) -> Result<(std::net::Ipv4Addr, Net), InitError> {
    let found = &facts.addresses;
    // Both are said: it need not have the address yet.
    if let (Some(address), Some(subnet)) = (options.address, options.subnet) {
        return Ok((address, subnet));
    }
    let matches = |one: &&Address| {
        options.address.is_none_or(|address| one.address == address)
            && options.subnet.is_none_or(|subnet| subnet.has_machine(one.address))
    };
    let one = match (found.iter().filter(matches).collect::<Vec<_>>().as_slice(), options.address) {
        ([one], _) | ([one, ..], Some(_)) => (*one).clone(),
        ([], Some(given)) => return Err(InitError::OtherAddress { given, found: found.clone() }),
        ([], None) if options.subnet.is_some() => {
            return Err(InitError::NoAddress(", or say by --address which it will have"))
        }
        ([], None) => return Err(InitError::NoAddress("; --address and --subnet say which it will have")),
        (several, None) => {
            return Err(InitError::Addresses { found: several.iter().map(|one| (*one).clone()).collect() })
        }
    };
    match options.subnet.map_or_else(|| Net::around(one.address, one.prefix), Ok) {
        Ok(subnet) => Ok((one.address, subnet)),
        Err(_) => Err(InitError::Subnet { address: one }),
    }
}
