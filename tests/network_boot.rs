//! Whole boots of trees whose network manager would take the interface below the root. `./qemu/lab test network_boot`
//! runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::time::{Duration, Instant};

use common::power_off;
use sidus_lab::target::Target;
use sidus_lab::{Lab, Node, Result, Suite};

/// The interface's name in the lab.
const DEVICE: &str = "ens3";

/// Until a session is up that was lost for a moment.
const SESSION_UP: Duration = Duration::from_secs(30);

/// Until a lease of two minutes is asked for once more, also where a busy server has not answered some times.
const ASKED: Duration = Duration::from_secs(180);

/// A node whose layer is on a LUN, and the session's target.
struct Kept {
    node: Node,
    target: Target,
    address: String,
    /// How often the interface lost or gained its carrier up to then.
    carrier: String,
}

impl Kept {
    /// Boots from a layer that `script` changed.
    fn boot(lab: &Lab, number: u8, suite: Suite, script: &str) -> Result<Self> {
        let port = 3300 + u16::from(number);
        let target = Target::new(lab, number);
        target.make_image()?;
        target.change_layer(suite, script)?;
        target.serve_by_lio(port, &sidus_lab::target::initiator(number))?;
        let line = format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:{port} root=LABEL=ISCSI panic=30");
        let mut node = lab.node(number).suite(suite).ordinary_frames().cmdline(&line).boot()?;
        node.wait_running()?;
        let carrier = node.run(&format!("cat /sys/class/net/{DEVICE}/carrier_changes"))?;
        let mut kept = Self { node, target, address: format!("10.13.20.{number}"), carrier };
        kept.check()?;
        Ok(kept)
    }

    /// The interface is up, was never down, and has its address for good and no other; the session is up. On a busy host
    /// a server may miss a ping of the session: that it was lost for a moment says nothing of the interface.
    fn check(&mut self) -> Result<()> {
        let shown = self.node.run(&format!("ip -4 -o address show dev {DEVICE}; ip -o link show dev {DEVICE}"))?;
        assert!(shown.contains(&format!(" inet {}/24 ", self.address)) && shown.contains(",UP,"), "{shown}");
        assert!(shown.matches(" inet ").count() == 1 && shown.contains("valid_lft forever"), "{shown}");
        assert_eq!(self.node.run(&format!("cat /sys/class/net/{DEVICE}/carrier_changes"))?, self.carrier);
        self.node.wait_until("rootaufs status | grep -q 'session up since'", SESSION_UP)?;
        let status = self.node.run("rootaufs status")?;
        let lease = format!("lease       {} on {DEVICE}, renewed ", self.address);
        assert!(status.contains(&lease) && status.contains(" s ago by 10.13.20.13, ends in "), "{status}");
        Ok(())
    }

    /// When the server's lease ends, in seconds since 1970, and what is left of it.
    fn lease(&self, lab: &Lab) -> Result<(u64, u64)> {
        let text = lab.server().run(&format!("date +%s; grep ' {} ' /var/lib/misc/dnsmasq.leases", self.address))?;
        let mut words = text.split_whitespace();
        let (now, end): (u64, u64) = (words.next().unwrap().parse()?, words.next().unwrap().parse()?);
        Ok((end, end.saturating_sub(now)))
    }

    /// Nothing holds the power-off up, and the network is there to its end: the keeper would tell of a session that it lost.
    fn power_off(self) -> Result<()> {
        let Self { mut node, target, .. } = self;
        let path = node.console().path().to_owned();
        node.wait_shell()?;
        let before = std::fs::read(&path)?.len();
        let took = power_off(node)?;
        let console = std::fs::read(&path)?;
        let console = String::from_utf8_lossy(console.get(before..).unwrap_or_default());
        for trouble in [" is lost: ", "disk blocked", "not responding"] {
            assert!(!console.contains(trouble), "{trouble:?} is on the console:\n{console}");
        }
        println!("off after {took:.1?}");
        target.remove_from_lio()
    }
}

#[test]
fn ifupdown_leaves_the_interface_alone_and_a_short_lease_is_renewed() -> Result<()> {
    let lab = Lab::open()?;
    // No DHCP client is in the tree: an ifup of this interface would fail.
    let interfaces = format!("auto {DEVICE}\\nallow-hotplug {DEVICE}\\niface {DEVICE} inet dhcp\\n");
    let script = format!("printf '{interfaces}' >/etc/network/interfaces.d/lan");
    let mut kept = Kept::boot(&lab, 190, Suite::Bookworm, &script)?;
    let up = Instant::now();
    assert_eq!(kept.node.run("systemctl is-active networking.service")?, "active\n");
    kept.node.run("systemctl restart networking.service && udevadm trigger --action=add /sys/class/net/*")?;
    kept.check()?;
    let (first, _) = kept.lease(&lab)?;
    std::thread::sleep(Duration::from_secs(300).saturating_sub(up.elapsed()));
    kept.check()?;
    let (last, left) = kept.lease(&lab)?;
    println!("the lease of two minutes ends {} s later after {:.0?}, and in {left} s", last - first, up.elapsed());
    // Without a renewal it would have ended long ago; with the last one in time, half of it is left, or nearly.
    assert!(last > first && (40..=120).contains(&left), "{first} {last} {left}");

    // A server that gives the address to somebody else from now on.
    let nodes = "/etc/dnsmasq.d-lab/nodes";
    let change = |from: &str, to: &str| {
        lab.server()
            .run(&format!("sed -i 's/,10.13.20.{from},node190/,10.13.20.{to},node190/' {nodes} && pkill -HUP dnsmasq"))
    };
    change("190", "250")?;
    kept.node.wait_until("rootaufs status | grep -q 'lease .*REFUSES to renew the lease'", ASKED)?;
    assert!(kept.node.run("dmesg")?.contains("REFUSES to renew the lease"));
    change("250", "190")?;
    kept.node.wait_until("! rootaufs status | grep -q 'lease .*REFUSES'", ASKED)?;
    kept.check()?;
    kept.power_off()
}

fn networkd_leaves_the_interface_alone(suite: Suite, number: u8) -> Result<()> {
    let lab = Lab::open()?;
    let script = "printf '[Match]\\nName=e*\\n\\n[Network]\\nDHCP=yes\\n' >/etc/systemd/network/00-all.network
                  systemctl enable systemd-networkd.service";
    let mut kept = Kept::boot(&lab, number, suite, script)?;
    let managed = format!("networkctl --no-pager --no-legend list {DEVICE}");
    for _ in 0..2 {
        assert!(kept.node.run(&managed)?.contains(" unmanaged"), "{}", kept.node.run(&managed)?);
        kept.node.run("systemctl restart systemd-networkd.service")?;
        kept.check()?;
    }
    kept.power_off()
}

#[test]
fn systemd_networkd_of_debian_12_leaves_the_interface_alone() -> Result<()> {
    networkd_leaves_the_interface_alone(Suite::Bookworm, 193)
}

#[test]
fn systemd_networkd_of_debian_13_leaves_the_interface_alone() -> Result<()> {
    networkd_leaves_the_interface_alone(Suite::Trixie, 191)
}

#[test]
fn network_manager_leaves_the_interface_alone() -> Result<()> {
    let lab = Lab::open()?;
    let script = "DEBIAN_FRONTEND=noninteractive dpkg -i /srv/packages/*.deb";
    let mut kept = Kept::boot(&lab, 192, Suite::Bookworm, script)?;
    for _ in 0..2 {
        assert_eq!(kept.node.run("systemctl is-active NetworkManager.service")?, "active\n");
        let state = kept.node.run("nmcli --terse --fields DEVICE,STATE device")?;
        assert!(state.contains(&format!("{DEVICE}:unmanaged\n")), "{state}");
        kept.node.run("systemctl restart NetworkManager.service")?;
        kept.check()?;
    }
    kept.power_off()
}
