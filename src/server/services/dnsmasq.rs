//! dnsmasq(8): DHCP, TFTP or both. What is written here of DHCP holds for the nodes' network alone, but for
//! `dhcp-authoritative`: the same dnsmasq may serve others, as a person's files have it. TFTP it has one root for.

use std::fmt::Write as _;

use super::{drop_in, hosts, tell, BIOS_LOADER, EFI_ARCHITECTURES, EFI_LOADER};
use crate::server::config::{Config, DhcpService, TftpService};
use crate::server::engine::{Action, Commit, Content, Run, Write};

const DROP_IN: &str = "/etc/dnsmasq.d/sidus.conf";
/// Debian's service reads that folder because of this option; its dnsmasq.conf does not name it.
const FOLDER: &str = "--conf-dir=/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new";

pub(super) fn add(config: &Config, commit: &mut Commit) {
    let settings = &config.settings;
    let hosts = hosts(&settings.folders);
    let with_dhcp = settings.services.dhcp == DhcpService::Dnsmasq;
    if with_dhcp {
        // Before what refers to it.
        commit.actions.push(Action::Write(Write::new(&hosts, Content::Text(nodes(config)))));
    }
    drop_in(commit, DROP_IN, &text(config));
    // The one that runs is not stopped for a file that the new one would not take.
    let test = Run::new("dnsmasq").args(&["--test", FOLDER]).on_services().from_package("dnsmasq");
    tell(commit, DROP_IN, [test, Run::systemctl(&["restart", "dnsmasq.service"])]);
    if with_dhcp {
        // It reads the nodes again without a restart, which would forget nothing but takes TFTP from whoever boots now.
        tell(commit, hosts, [Run::systemctl(&["reload", "dnsmasq.service"])]);
    }
}

fn text(config: &Config) -> String {
    let (server, dhcp, folders) = (&config.settings.server, &config.settings.dhcp, &config.settings.folders);
    let mut lines = Vec::new();
    if config.settings.services.dhcp == DhcpService::Dnsmasq {
        let mask = server.subnet.mask();
        lines.push("dhcp-authoritative".to_owned());
        lines.push(match dhcp.pool {
            Some((first, last)) => format!("dhcp-range=set:sidus,{first},{last},{mask},12h"),
            // Only nodes get an address.
            None => format!("dhcp-range=set:sidus,{},static,{mask},12h", server.subnet.first()),
        });
        lines.push(format!("dhcp-hostsfile={}", hosts(folders).display()));
        // Without a value it is not told; else dnsmasq would name itself.
        lines.push(option("router", dhcp.router.iter()));
        if !dhcp.nameservers.is_empty() {
            lines.push(option("dns-server", dhcp.nameservers.iter()));
        }
        for number in EFI_ARCHITECTURES {
            lines.push(format!("dhcp-match=set:sidus-efi,option:client-arch,{number}"));
        }
        lines.push(format!("dhcp-boot=tag:sidus,tag:!sidus-efi,{BIOS_LOADER},,{}", server.address));
        lines.push(format!("dhcp-boot=tag:sidus,tag:sidus-efi,{EFI_LOADER},,{}", server.address));
    }
    if config.settings.services.tftp == TftpService::Dnsmasq {
        lines.push("enable-tftp".to_owned());
        lines.push(format!("tftp-root={}", folders.tftp));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn option<'a>(name: &str, values: impl Iterator<Item = &'a std::net::Ipv4Addr>) -> String {
    let values = values.fold(String::new(), |mut text, value| {
        let _ = write!(text, ",{value}");
        text
    });
    format!("dhcp-option=tag:sidus,option:{name}{values}")
}

/// The file of `dhcp-hostsfile`.
fn nodes(config: &Config) -> String {
    let node = |node: &crate::server::config::Node| format!("{},{},{}\n", node.file.mac, node.file.ip, node.name);
    config.nodes.iter().map(node).collect()
}
