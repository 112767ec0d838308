//! dhcpd(8) of isc-dhcp-server. It reads one file, a person's, which has to include this one.

use std::net::Ipv4Addr;

use super::{drop_in, tell, BIOS_LOADER, EFI_ARCHITECTURES, EFI_LOADER};
use crate::server::config::{Config, Node};
use crate::server::engine::{Commit, Run};

pub(super) const DROP_IN: &str = "/etc/dhcp/sidus.conf";
pub(super) const MAIN: &str = "/etc/dhcp/dhcpd.conf";

pub(super) fn add(config: &Config, commit: &mut Commit) {
    drop_in(commit, DROP_IN, &text(config));
    let test = Run::new("dhcpd").args(&["-t", "-q", "-cf", MAIN]).on_services().from_package("isc-dhcp-server");
    tell(commit, DROP_IN, [test, Run::systemctl(&["restart", "isc-dhcp-server.service"])]);
}

fn text(config: &Config) -> String {
    let (server, dhcp) = (&config.settings.server, &config.settings.dhcp);
    let mut inner = vec![format!("next-server {};", server.address)];
    inner.extend(dhcp.router.map(|router| format!("option routers {router};")));
    if !dhcp.nameservers.is_empty() {
        let list: Vec<_> = dhcp.nameservers.iter().map(Ipv4Addr::to_string).collect();
        inner.push(format!("option domain-name-servers {};", list.join(", ")));
    }
    inner.push(match dhcp.pool {
        Some((first, last)) => format!("range {first} {last};"),
        None => "deny unknown-clients;".to_owned(),
    });
    let is_efi = EFI_ARCHITECTURES.map(|number| format!("option sidus-client-arch = 00:{number:02x}")).join(" or ");
    inner.push(format!("if {is_efi} {{ filename \"{EFI_LOADER}\"; }} else {{ filename \"{BIOS_LOADER}\"; }}"));
    let inner: String = inner.iter().map(|line| format!("  {line}\n")).collect();
    let hosts: String = config.nodes.iter().map(host).collect();
    format!(
        "option sidus-client-arch code 93 = unsigned integer 16;\nsubnet {} netmask {} {{\n{inner}}}\n{hosts}",
        server.subnet.first(),
        server.subnet.mask()
    )
}

fn host(node: &Node) -> String {
    format!(
        "host {0} {{ hardware ethernet {1}; fixed-address {2}; option host-name \"{0}\"; }}\n",
        node.name, node.file.mac, node.file.ip
    )
}
