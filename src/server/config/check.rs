//! What no value can know of the others.

use std::net::Ipv4Addr;
use std::path::Path;

use super::error::{line_of, ConfigError};
use super::{packages, DhcpService, Folders, Node, Settings, TftpService, CONFIG};

/// Folders of the system itself: nothing of theirs may be served, replaced or removed. Folders *in* those of the second
/// list are the administrator's own.
const SYSTEM: [&str; 13] = [
    "/bin",
    "/boot",
    "/dev",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
];
const SHARED: [&str; 14] = [
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/var",
    "/var/lib",
    "/var/cache",
    "/var/log",
    "/etc/sidus",
    "/etc/sidus/nodes.d",
];

pub(super) fn settings(settings: &Settings, text: &str) -> Result<(), ConfigError> {
    let wrong = |section: &str, key: &str, message: String| {
        let line = line_of(text, Some(section), key);
        Err(ConfigError::At { file: CONFIG.into(), line, message: format!("{section}.{key}: {message}") })
    };
    if let Err((key, message)) = folders(&settings.folders) {
        return wrong("folders", key, message);
    }
    let server = &settings.server;
    let subnet = server.subnet;
    if !subnet.has_machine(server.address) {
        let message = format!("{} is no machine's address in server.subnet, {subnet}", server.address);
        return wrong("server", "address", message);
    }
    if let Some(router) = settings.dhcp.router.filter(|router| !subnet.has_machine(*router)) {
        return wrong("dhcp", "router", format!("{router} is no machine's address in server.subnet, {subnet}"));
    }
    if let Some((first, last)) = settings.dhcp.pool {
        if !subnet.has_machine(first) || !subnet.has_machine(last) || first > last {
            let message =
                format!("{first} to {last}: the first and the last of a range of addresses in {subnet} were expected");
            return wrong("dhcp", "pool", message);
        }
        if (first..=last).contains(&server.address) {
            return wrong(
                "dhcp",
                "pool",
                format!("{first} to {last} has the server's own address, {}", server.address),
            );
        }
    }
    if settings.services.tftp == TftpService::Dnsmasq && settings.services.dhcp == DhcpService::IscDhcpServer {
        let message = "dnsmasq beside isc-dhcp-server: choose tftpd-hpa, or dnsmasq for both".to_owned();
        return wrong("services", "tftp", message);
    }
    if let Some(package) = settings.tree.exclude.iter().find(|package| package.as_str().starts_with('@')) {
        return wrong("tree", "exclude", format!("{package}: packages alone can be left out, not a list"));
    }
    if let Some(list) = packages::unknown(&settings.tree.include) {
        return wrong(
            "tree",
            "include",
            format!("{list}: there is no such list of packages; {} is", packages::lists()),
        );
    }
    Ok(())
}

/// No folder is in another, none is the system's.
fn folders(folders: &Folders) -> Result<(), (&'static str, String)> {
    let all = folders.all();
    for (key, folder) in all {
        let path = folder.path();
        let system = SYSTEM.iter().find(|system| path.starts_with(system));
        if let Some(system) = system.or_else(|| SHARED.iter().find(|shared| path == Path::new(shared))) {
            return Err((
                key,
                format!("{folder} is {system}, or in it, which is the system's: choose a folder of its own"),
            ));
        }
        let other = all.into_iter().find(|(other, above)| *other != key && path.starts_with(above.path()));
        if let Some((other, above)) = other {
            let message = format!("{folder} is in folders.{other}, {above}: each needs a place outside of the others");
            return Err((key, message));
        }
    }
    Ok(())
}

/// Each node with the text that it was read from.
pub(super) fn nodes(settings: &Settings, nodes: &[(Node, String)]) -> Result<(), ConfigError> {
    let subnet = settings.server.subnet;
    for (at, (node, text)) in nodes.iter().enumerate() {
        let wrong = |key: &str, message: String| {
            let file = Node::path(&node.name);
            Err(ConfigError::At { file, line: line_of(text, None, key), message: format!("{key}: {message}") })
        };
        let ip = node.file.ip;
        if !subnet.has_machine(ip) {
            return wrong("ip", format!("{ip} is no machine's address in server.subnet, {subnet}"));
        }
        if let Some(owner) = taken(settings, ip) {
            return wrong("ip", format!("{ip} is {owner}"));
        }
        let before = nodes.get(..at).unwrap_or_default();
        if let Some((other, _)) = before.iter().find(|(other, _)| other.file.ip == ip) {
            return wrong("ip", format!("{ip} is that of node {} already", other.name));
        }
        if let Some((other, _)) = before.iter().find(|(other, _)| other.file.mac == node.file.mac) {
            return wrong("mac", format!("{} is that of node {} already", node.file.mac, other.name));
        }
        if node.file.volume_group.is_some() && node.file.persistent.is_none() {
            let message =
                "the node has no disk: say its size, as in persistent = \"20G\", or leave this out".to_owned();
            return wrong("volume_group", message);
        }
        if node.file.persistent.is_some() && settings.services.target == super::TargetService::None {
            let message = "services.target in sidus.toml is none: no program serves disks".to_owned();
            return wrong("persistent", message);
        }
    }
    Ok(())
}

fn taken(settings: &Settings, ip: Ipv4Addr) -> Option<String> {
    let (server, dhcp) = (&settings.server, &settings.dhcp);
    if ip == server.address || Some(ip) == server.portal {
        return Some("the server's own".to_owned());
    }
    if Some(ip) == dhcp.router {
        return Some("the router's (dhcp.router)".to_owned());
    }
    let (first, last) = dhcp.pool.filter(|(first, last)| (*first..=*last).contains(&ip))?;
    Some(format!("in dhcp.pool, {first} to {last}, which machines get that are no nodes"))
}
