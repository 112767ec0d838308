//! What keeps each manager of networks from the interfaces below the root, as files below `/run`.
//!
//! - **ifupdown** (interfaces(5), ifup(8)) takes what its state files name for up already (one is for ifup, the list is
//!   for ifquery, by which others wait), and so leaves it alone at boot; its `networking.service` is told to leave it at shutdown, and its `ifup@.service`, by which udev starts an
//!   interface that is `allow-hotplug`, has nothing to do.
//! - **systemd-networkd** (systemd.network(5)): `Unmanaged=yes`, in a file that sorts before those of the tree. Its
//!   `systemd-networkd-wait-online.service` fails where no interface is managed, and so only waits where another one is.
//! - **NetworkManager** (NetworkManager.conf(5)): `unmanaged-devices=` and `managed=0`, of which a file of the tree may
//!   override the first.
//!
//! Drop-ins and units for systemd are in `/run/systemd/system.attached`, the one of its folders below `/run` for what comes
//! from outside of the tree (systemd.unit(5), portablectl(1)). `/run/systemd/system` would not do: many programs take
//! that folder for a running systemd (sd_booted(3)), and asking the tree which init it has costs ten requests by NFS.

use super::configured::Interface;

/// A file: its path below `/run`, and its text. What stands in braces stands there once for each interface, with its name
/// in place of `%`.
type Template = (&'static str, &'static str);

/// One file for all interfaces.
const FOR_ALL: [Template; 3] = [
    ("network/ifstate", "{%=%\n}"),
    ("systemd/network/0-sidus.network", "[Match]\nName={% }\n\n[Link]\nUnmanaged=yes\n"),
    (
        "NetworkManager/conf.d/00-sidus.conf",
        "[keyfile]\nunmanaged-devices={interface-name:%;}\n\n\
         [device-sidus]\nmatch-device={interface-name:%;}\nmanaged=0\n",
    ),
];

/// One for each.
const FOR_EACH: [Template; 1] = [("network/ifstate.{%}", "{%}\n")];

/// One for all: drop-ins for systemd.
const DROP_INS: [Template; 3] = [
    (
        "systemd/system.attached/networking.service.d/sidus.conf",
        "[Service]\nExecStop=\nExecStop=/sbin/ifdown -a --read-environment --exclude=lo{ --exclude=%}\n",
    ),
    // By the names of the files that ipconfig left.
    ("systemd/system.attached/ifup@.service.d/sidus.conf", "[Unit]\nConditionPathExists=!/run/net-%I.conf\n"),
    (
        "systemd/system.attached/systemd-networkd-wait-online.service.d/sidus.conf",
        "[Service]\nExecCondition=/bin/sh -c 'networkctl --no-legend list | grep -qvw -e unmanaged{ -e %}'\n",
    ),
];

/// One for each that has a lease, in the same place. Nothing stops the unit before systemd ends all
/// processes: until then the root needs the address.
const LEASE: [Template; 2] = [
    (
        "systemd/system.attached/sidus-lease-{%}.service",
        "[Unit]\nDescription=DHCP lease of {%}, the network below the root\nDefaultDependencies=no\n\
         IgnoreOnIsolate=yes\n\n[Service]\nExecStart=/usr/sbin/rootaufs lease {%}\nRestart=on-failure\nRestartSec=10\n\
         OOMScoreAdjust=-1000\n",
    ),
    ("systemd/system.attached/sysinit.target.d/sidus-{%}.conf", "[Unit]\nWants={sidus-lease-%.service}\n"),
];

/// The files, as paths below `/run` and their text. `below` are more interfaces to be left alone, without an address.
#[must_use]
pub fn of(interfaces: &[Interface], below: &[String]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut add = |templates: &[Template], names: &[&str]| {
        files.extend(templates.iter().map(|(path, text)| (expand(path, names), expand(text, names))));
    };
    let names: Vec<&str> = interfaces.iter().map(|it| &*it.device).chain(below.iter().map(|name| &**name)).collect();
    add(&FOR_ALL, &names);
    names.iter().for_each(|name| add(&FOR_EACH, &[name]));
    add(&DROP_INS, &names);
    interfaces.iter().filter(|it| it.lease.is_some()).for_each(|it| add(&LEASE, &[&it.device]));
    files
}

fn expand(template: &str, names: &[&str]) -> String {
    let mut text = String::new();
    for (number, part) in template.split(['{', '}']).enumerate() {
        match number % 2 {
            0 => text.push_str(part),
            _ => names.iter().for_each(|name| text.push_str(&part.replace('%', name))),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn interface(device: &str, lease: Option<u32>) -> Interface {
        Interface { device: device.to_owned(), address: Ipv4Addr::new(10, 0, 0, 9), hostname: None, lease }
    }

    #[test]
    fn every_manager_is_told() {
        let files = of(&[interface("eth0.5", Some(120)), interface("ib-1", None)], &["eth0".to_owned()]);
        let expected = [
            ("network/ifstate", "eth0.5=eth0.5\nib-1=ib-1\neth0=eth0\n"),
            ("systemd/network/0-sidus.network", "[Match]\nName=eth0.5 ib-1 eth0 \n\n[Link]\nUnmanaged=yes\n"),
            (
                "NetworkManager/conf.d/00-sidus.conf",
                "[keyfile]\nunmanaged-devices=interface-name:eth0.5;interface-name:ib-1;interface-name:eth0;\n\n\
                 [device-sidus]\nmatch-device=interface-name:eth0.5;interface-name:ib-1;interface-name:eth0;\nmanaged=0\n",
            ),
            ("network/ifstate.eth0.5", "eth0.5\n"),
            ("network/ifstate.ib-1", "ib-1\n"),
            ("network/ifstate.eth0", "eth0\n"),
            (
                "systemd/system.attached/networking.service.d/sidus.conf",
                "[Service]\nExecStop=\nExecStop=/sbin/ifdown -a --read-environment --exclude=lo --exclude=eth0.5 \
                 --exclude=ib-1 --exclude=eth0\n",
            ),
            ("systemd/system.attached/ifup@.service.d/sidus.conf", "[Unit]\nConditionPathExists=!/run/net-%I.conf\n"),
            (
                "systemd/system.attached/systemd-networkd-wait-online.service.d/sidus.conf",
                "[Service]\nExecCondition=/bin/sh -c 'networkctl --no-legend list | grep -qvw -e unmanaged -e eth0.5 \
                 -e ib-1 -e eth0'\n",
            ),
            (
                "systemd/system.attached/sidus-lease-eth0.5.service",
                "[Unit]\nDescription=DHCP lease of eth0.5, the network below the root\nDefaultDependencies=no\n\
                 IgnoreOnIsolate=yes\n\n[Service]\nExecStart=/usr/sbin/rootaufs lease eth0.5\nRestart=on-failure\n\
                 RestartSec=10\nOOMScoreAdjust=-1000\n",
            ),
            ("systemd/system.attached/sysinit.target.d/sidus-eth0.5.conf", "[Unit]\nWants=sidus-lease-eth0.5.service\n"),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert_eq!(files, expected);
    }
}
