//! What this node knows of itself: for the names of initiator and target.
//!
//! Every read goes through `root`, so that a folder of files stands for a machine.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;

use crate::folder::Folder;
use crate::iscsi::identity::Facts;
use crate::iscsi::name::Portal;
use crate::network::configured::{self, hardware};

/// The node's own address toward the portal, as the kernel routes. Nothing is sent.
///
/// # Errors
/// Those of connect(2): there is no route.
pub fn source_address(portal: Portal) -> io::Result<IpAddr> {
    let any: IpAddr = match portal.ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(portal.socket_addr())?;
    Ok(socket.local_addr()?.ip())
}

/// What is known of the node that has this address toward the portal.
#[must_use]
pub fn facts(root: &Path, ip: IpAddr) -> Facts {
    let configured = configured::read_all(root).unwrap_or_default();
    let boot = configured.into_iter().find(|interface| interface.address == ip);
    let (device, hostname) = boot.map(|interface| (interface.device, interface.hostname)).unzip();
    let interface = device.or_else(|| interface_of(root, ip));
    let kernel = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    Facts {
        ip: Some(ip),
        mac: interface.and_then(|name| hardware(root, &name)),
        // What the kernel calls itself before somebody gives it a name.
        hostname: hostname.flatten().or_else(|| Some(kernel()).filter(|name| name != "(none)")),
        uuid: fs::read_to_string(root.join("sys/class/dmi/id/product_uuid")).ok(),
    }
}

/// The interface with an IPv6 address, or the only one that there is.
fn interface_of(root: &Path, ip: IpAddr) -> Option<String> {
    if let IpAddr::V6(ip) = ip {
        // proc_net(5): address in hexadecimal, index, prefix length, scope, flags, name.
        let text = fs::read_to_string(root.join("proc/net/if_inet6")).unwrap_or_default();
        let wanted = ip.octets().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let line = text.lines().find(|line| line.starts_with(&wanted))?;
        return line.split_ascii_whitespace().next_back().map(ToOwned::to_owned);
    }
    let names = Folder::open(&root.join("sys/class/net")).and_then(|folder| folder.names()).ok()?;
    let mut names = names.into_iter().filter(|name| hardware(root, name).is_some());
    match (names.next(), names.next()) {
        (Some(name), None) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(std::path::PathBuf);

    impl Machine {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("sidus-node-{name}-{}", std::process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_boot_interface_is_the_one_with_the_address() {
        let machine = Machine::new(
            "boot",
            &[
                ("run/net-eth0.conf", "DEVICE='eth0'\nPROTO='dhcp'\nIPV4ADDR='10.0.0.9'\nHOSTNAME='other'\n"),
                ("run/net-eth1.conf", "DEVICE='eth1'\nIPV4ADDR='10.13.20.101'\nHOSTNAME='node101'\n"),
                ("sys/class/net/eth0/address", "52:54:00:00:00:01\n"),
                ("sys/class/net/eth1/address", "52:54:00:00:00:02\n"),
                ("sys/class/dmi/id/product_uuid", "0A1B\n"),
            ],
        );
        let facts = facts(&machine.0, "10.13.20.101".parse().unwrap());
        assert_eq!(facts.mac, Some([0x52, 0x54, 0, 0, 0, 2]));
        assert_eq!(facts.hostname.as_deref(), Some("node101"));
        assert_eq!(facts.uuid.as_deref(), Some("0A1B\n"));
        // Which of two it would be is not guessed.
        assert_eq!(super::facts(&machine.0, "10.13.20.102".parse().unwrap()).mac, None);
    }

    #[test]
    fn an_address_of_version_6_and_the_only_interface() {
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n\
                     fd000000000000000000000000000101 02 40 00 80     eth0\n";
        let machine = Machine::new(
            "six",
            &[
                ("proc/net/if_inet6", inet6),
                ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
                ("sys/class/net/eth0/address", "52:54:00:00:00:01\n"),
            ],
        );
        for ip in ["fd00::101", "10.13.20.101"] {
            assert_eq!(facts(&machine.0, ip.parse().unwrap()).mac, Some([0x52, 0x54, 0, 0, 0, 1]), "{ip}");
        }
        assert_eq!(facts(&machine.0, "fd00::102".parse().unwrap()).mac, None);
    }

    #[test]
    fn the_kernel_says_which_address_it_would_use() {
        let portal = "127.0.0.1:3260".parse().unwrap();
        assert_eq!(source_address(portal).unwrap(), "127.0.0.1".parse::<IpAddr>().unwrap());
    }
}
