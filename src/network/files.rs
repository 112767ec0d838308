//! What keeps each manager of networks from the interfaces below the root, as files below `/run`.
//!
//! - **ifupdown** (interfaces(5), ifup(8)) takes what its state file names for up already, and so leaves it alone at boot;
//!   its `networking.service` is told to leave it at shutdown, and its `ifup@.service`, by which udev starts an
//!   interface that is `allow-hotplug`, has nothing to do.
//! - **systemd-networkd** (systemd.network(5)): `Unmanaged=yes`, in a file that sorts before those of the tree. Its
//!   `systemd-networkd-wait-online.service` fails where no interface is managed, and so only waits where another one is.
//! - **NetworkManager** (NetworkManager.conf(5)): `unmanaged-devices=` and `managed=0`, of which a file of the tree may
//!   override the first.

use super::configured::Interface;

/// The files, as paths below `/run` and their text. `below` are more interfaces to be left alone, without an address;
/// with `systemd`, that is the tree's init.
#[must_use]
pub fn of(interfaces: &[Interface], below: &[String], systemd: bool) -> Vec<(String, String)> {
    let names = || interfaces.iter().map(|interface| interface.device.as_str()).chain(below.iter().map(String::as_str));
    let each = |line: fn(&str) -> String| names().map(line).collect::<String>();
    let list = |start: &str, between: &str| names().map(|name| [between, start, name].concat()).collect::<String>();

    let devices = list("interface-name:", ";");
    let devices = devices.trim_start_matches(';');
    let mut files = vec![
        ("network/ifstate".to_owned(), each(|name| [name, "=", name, "\n"].concat())),
        ("systemd/network/0-sidus.network".to_owned(), {
            ["[Match]\nName=", list("", " ").trim_start(), "\n\n[Link]\nUnmanaged=yes\n"].concat()
        }),
        ("NetworkManager/conf.d/00-sidus.conf".to_owned(), {
            ["[keyfile]\nunmanaged-devices=", devices, "\n\n[device-sidus]\nmatch-device=", devices, "\nmanaged=0\n"]
                .concat()
        }),
    ];
    if !systemd {
        return files;
    }
    let excluded = list("--exclude=", " ");
    let known = list("-e ", " ");
    files.extend([
        (
            "systemd/system/networking.service.d/sidus.conf".to_owned(),
            ["[Service]\nExecStop=\nExecStop=/sbin/ifdown -a --read-environment --exclude=lo", &excluded, "\n"]
                .concat(),
        ),
        (
            "systemd/system/systemd-networkd-wait-online.service.d/sidus.conf".to_owned(),
            [
                "[Service]\nExecCondition=/bin/sh -c 'networkctl --no-legend list | grep -qvw -e unmanaged",
                &known,
                "'\n",
            ]
            .concat(),
        ),
        // One file for all interfaces: their names are in those of the files that ipconfig left.
        (
            "systemd/system/ifup@.service.d/sidus.conf".to_owned(),
            "[Unit]\nConditionPathExists=!/run/net-%I.conf\n".to_owned(),
        ),
    ]);
    for Interface { device, .. } in interfaces.iter().filter(|interface| interface.lease.is_some()) {
        files.extend([
            (["systemd/system/sidus-lease-", device, ".service"].concat(), lease_unit(device)),
            (
                ["systemd/system/sysinit.target.d/sidus-", device, ".conf"].concat(),
                ["[Unit]\nWants=sidus-lease-", device, ".service\n"].concat(),
            ),
        ]);
    }
    files
}

/// The unit that renews a lease. Nothing stops it before systemd ends all processes: until then the root needs the
/// address.
fn lease_unit(device: &str) -> String {
    [
        "[Unit]\nDescription=DHCP lease of ",
        device,
        ", the network below the root\nDefaultDependencies=no\nIgnoreOnIsolate=yes\n\n\
         [Service]\nExecStart=/usr/sbin/rootaufs lease ",
        device,
        "\nRestart=on-failure\nRestartSec=10\nOOMScoreAdjust=-1000\n",
    ]
    .concat()
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
        let files = of(&[interface("eth0.5", Some(120)), interface("ib-1", None)], &["eth0".to_owned()], true);
        let expected = [
            ("network/ifstate", "eth0.5=eth0.5\nib-1=ib-1\neth0=eth0\n"),
            ("systemd/network/0-sidus.network", "[Match]\nName=eth0.5 ib-1 eth0\n\n[Link]\nUnmanaged=yes\n"),
            (
                "NetworkManager/conf.d/00-sidus.conf",
                "[keyfile]\nunmanaged-devices=interface-name:eth0.5;interface-name:ib-1;interface-name:eth0\n\n\
                 [device-sidus]\nmatch-device=interface-name:eth0.5;interface-name:ib-1;interface-name:eth0\nmanaged=0\n",
            ),
            (
                "systemd/system/networking.service.d/sidus.conf",
                "[Service]\nExecStop=\nExecStop=/sbin/ifdown -a --read-environment --exclude=lo --exclude=eth0.5 \
                 --exclude=ib-1 --exclude=eth0\n",
            ),
            (
                "systemd/system/systemd-networkd-wait-online.service.d/sidus.conf",
                "[Service]\nExecCondition=/bin/sh -c 'networkctl --no-legend list | grep -qvw -e unmanaged -e eth0.5 \
                 -e ib-1 -e eth0'\n",
            ),
            ("systemd/system/ifup@.service.d/sidus.conf", "[Unit]\nConditionPathExists=!/run/net-%I.conf\n"),
            (
                "systemd/system/sidus-lease-eth0.5.service",
                "[Unit]\nDescription=DHCP lease of eth0.5, the network below the root\nDefaultDependencies=no\n\
                 IgnoreOnIsolate=yes\n\n[Service]\nExecStart=/usr/sbin/rootaufs lease eth0.5\nRestart=on-failure\n\
                 RestartSec=10\nOOMScoreAdjust=-1000\n",
            ),
            ("systemd/system/sysinit.target.d/sidus-eth0.5.conf", "[Unit]\nWants=sidus-lease-eth0.5.service\n"),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        assert_eq!(files, expected);
    }

    #[test]
    fn without_systemd_nothing_looks_like_it() {
        let files = of(&[interface("eth0", Some(120))], &[], false);
        assert!(files.iter().all(|(path, _)| !path.starts_with("systemd/system")), "{files:?}");
    }
}
