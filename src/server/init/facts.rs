//! What this machine looks like from the network.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::server::config::Folders;
use crate::server::paths::read_text;
use crate::server::services;

/// One of this machine's addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The network interface.
    pub interface: String,
    /// The address.
    pub address: Ipv4Addr,
    /// How many bits its network has.
    pub prefix: u8,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} on {}", self.address, self.prefix, self.interface)
    }
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its addresses, but for the loopback's.
    pub addresses: Vec<Address>,
    /// Where it sends what is for elsewhere.
    pub router: Option<Ipv4Addr>,
    /// What serves.
    pub services: services::Facts,
}

impl Facts {
    /// Looks at the machine whose root is `root`. That of another machine says nothing of its network.
    pub(super) fn read(root: &Path, folders: &Folders) -> io::Result<Self> {
        let here = root == Path::new("/");
        let routes = read_text(root, Path::new("/proc/net/route"), 1 << 20)?.unwrap_or_default();
        Ok(Self {
            addresses: if here { addresses()? } else { Vec::new() },
            router: router(&routes),
            services: services::Facts::read(root, folders)?,
        })
    }
}

/// getifaddrs(3)
fn addresses() -> io::Result<Vec<Address>> {
    let found = getifaddrs()?.filter(|one| !one.flags.contains(InterfaceFlags::IFF_LOOPBACK)).filter_map(|one| {
        let address = one.address?.as_sockaddr_in()?.ip();
        let mask = one.netmask?.as_sockaddr_in()?.ip().to_bits();
        let prefix = u8::try_from(mask.leading_ones()).ok()?;
        Some(Address { interface: one.interface_name, address, prefix })
    });
    Ok(found.collect())
}

/// The gateway of the default route, in `/proc/net/route` (proc_pid_net(5)): hexadecimal, as the machine stores it.
fn router(text: &str) -> Option<Ipv4Addr> {
    text.lines().skip(1).find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
        [_, "00000000", gateway, ..] => {
            let bits = u32::from_str_radix(gateway, 16).ok().filter(|bits| *bits != 0)?;
            Some(Ipv4Addr::from(bits.to_ne_bytes()))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_has_a_router() {
        let text = "Iface\tDestination\tGateway \tFlags\n\
            eth1\t00140D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
            eth0\t00000000\t01140D0A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(router(text), Some(Ipv4Addr::new(10, 13, 20, 1)));
        assert_eq!(router(""), None);
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let found = addresses().unwrap();
        assert!(found.iter().all(|one| !one.address.is_loopback() && one.prefix <= 32), "{found:?}");
    }
}
