//! The interfaces that the initramfs configured: what klibc's ipconfig noted in `/run/net-<device>.conf`, as lines
//! `KEY='value'`. The values come from a DHCP server, and so from whoever answers first.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::folder::Folder;

/// The longest name of an interface, in bytes (the kernel's IFNAMSIZ, without the NUL).
const MAX_NAME: usize = 15;

/// An interface with an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its name: letters, digits, `.`, `_` and `-`, fit for a line of any configuration file.
    pub device: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// The name that the node was given.
    pub hostname: Option<String>,
    /// For how many seconds the address was given; `None` where it is the node's for good.
    pub lease: Option<u32>,
}

/// Parses a file; `None` where it names no interface with an IPv4 address.
#[must_use]
pub fn parse(text: &str) -> Option<Interface> {
    let value = |key: &str| {
        let quoted = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(quoted.trim_matches(['\'', '"'])).filter(|value| !value.is_empty())
    };
    let leased = value("PROTO") == Some("dhcp");
    Some(Interface {
        device: value("DEVICE").filter(|name| is_name(name))?.to_owned(),
        address: value("IPV4ADDR")?.parse().ok().filter(|address: &Ipv4Addr| !address.is_unspecified())?,
        hostname: value("HOSTNAME").map(ToOwned::to_owned),
        lease: value("DHCPLEASETIME").and_then(|time| time.parse().ok()).filter(|time| leased && *time > 0),
    })
}

/// All that were configured on the machine whose root is `root`.
///
/// # Errors
/// Those of the file system.
pub fn read_all(root: &Path) -> io::Result<Vec<Interface>> {
    let run = Folder::open(&root.join("run"))?;
    let mut found = Vec::new();
    for name in run.names()?.iter().filter(|name| name.starts_with("net-") && name.ends_with(".conf")) {
        found.extend(parse(&run.read(name)?));
    }
    Ok(found)
}

/// The interfaces that `device` stands on, as that below a VLAN or those of a bond.
#[must_use]
pub fn below(root: &Path, device: &str) -> Vec<String> {
    let names = Folder::open(&root.join("sys/class/net").join(device)).and_then(|folder| folder.names());
    let lower = |name: &String| name.strip_prefix("lower_").filter(|name| is_name(name)).map(ToOwned::to_owned);
    names.unwrap_or_default().iter().filter_map(lower).collect()
}

/// The hardware address of an Ethernet interface; that of the loopback device, all zeros, is none.
#[must_use]
pub fn hardware(root: &Path, interface: &str) -> Option<[u8; 6]> {
    let text = fs::read_to_string(root.join("sys/class/net").join(interface).join("address")).ok()?;
    let mut bytes = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    (parts.next().is_none() && bytes != [0; 6]).then_some(bytes)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(plain) && !name.starts_with(['.', '-'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ipconfig_notes() {
        let eth0 = |hostname: Option<&str>, lease| {
            let (device, hostname) = ("eth0".to_owned(), hostname.map(ToOwned::to_owned));
            Some(Interface { device, address: Ipv4Addr::new(10, 13, 20, 101), hostname, lease })
        };
        let table = [
            (
                "DEVICE='eth0'\nPROTO='dhcp'\nIPV4ADDR='10.13.20.101'\nHOSTNAME='node101'\nDHCPLEASETIME='43200'\n",
                eth0(Some("node101"), Some(43_200)),
            ),
            (
                "DEVICE='eth0'\nPROTO='none'\nIPV4ADDR='10.13.20.101'\nHOSTNAME=''\nDHCPLEASETIME='0'\n",
                eth0(None, None),
            ),
            ("DEVICE='eth0'\nPROTO='dhcp'\nIPV4ADDR='10.13.20.101'\nDHCPLEASETIME='0'\n", eth0(None, None)),
            ("DEVICE='eth0'\nPROTO='dhcp'\nIPV4ADDR='10.13.20.101'\nDHCPLEASETIME='-1'\n", eth0(None, None)),
            ("DEVICE=eth0\nIPV4ADDR=\"10.13.20.101\"\n", eth0(None, None)),
            ("DEVICE='eth0'\nIPV4ADDR='0.0.0.0'\n", None),
            ("DEVICE='eth0'\n", None),
            ("DEVICE='../eth0'\nIPV4ADDR='10.13.20.101'\n", None),
            ("DEVICE='e'\\''; reboot'\nIPV4ADDR='10.13.20.101'\n", None),
            ("DEVICE='sixteen-letters-'\nIPV4ADDR='10.13.20.101'\n", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_a_vlan_stands_on() {
        let root = std::env::temp_dir().join(format!("sidus-configured-{}", std::process::id()));
        fs::create_dir_all(root.join("sys/class/net/eth0.5/lower_eth0")).unwrap();
        assert_eq!(below(&root, "eth0.5"), ["eth0"]);
        assert_eq!(below(&root, "eth0"), [""; 0]);
        fs::remove_dir_all(&root).unwrap();
    }
}
