//! The disks that `sidus` makes for nodes: as files by the kernel's own target, and as logical volumes by tgt. Each scenario
//! starts what serves them anew, which all of the server's nodes feel: one runs at a time, and nothing beside it.
//! `./qemu/lab test sidus_disk_boot` runs these.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod administrator;
mod common;

use administrator::{moves, runs_on, Administrator, STOPPED, TREE};
use common::{trouble_on_console, INITRAMFS};
use sidus_lab::address::address;
use sidus_lab::{Firmware, Lab, Result};

/// What the kernel's target has of node 202, and not what other scenarios left; a store's number depends on that.
const CONFIGFS: &str = "cd /sys/kernel/config/target && find . -name '*:10.13.20.202' -o -name '*5254000d14ca' -o \
                        -name 'sidus-node202*' | sed 's/fileio_[0-9]*/fileio/' | sort";

#[test]
fn a_node_with_a_disk_keeps_what_it_writes_and_nobody_else_gets_it() -> Result<()> {
    const NODE: u8 = 202;
    let target = format!("iqn.2026-01.io.sidus.target:{}", address(NODE));
    let administrator = Administrator::comes()?;
    let generation = administrator.current()?;
    let _added = administrator.add(NODE, "--persistent 400M")?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    let lab = Lab::open()?;
    let served = administrator.run(CONFIGFS)?;
    assert!(served.contains(&target), "{served}");

    let mut node = lab.node(NODE).pxe(Firmware::Bios).boot()?;
    node.wait_running()?;
    runs_on(&mut node, &generation)?;
    let status = node.run("rootaufs status")?;
    assert!(status.starts_with("root        a union; what is written here survives a reboot\n"), "{status}");
    assert!(status.contains(&format!("target      {target} at 10.13.20.13:3260, as ")), "{status}");
    assert!(status.contains("proved      this node and the target by CHAP\n"), "{status}");
    assert!(status.contains("guard       persistent reservation "), "{status}");
    node.run("echo before >/etc/written; rm /etc/debian_version; sync")?;
    let row = administrator.status_of(NODE)?;
    assert_eq!(
        row.get(1..4).unwrap_or_default(),
        ["up", &format!("{TREE}/{generation}"), "/srv/sidus/luns/node202.img"],
        "{row:?}"
    );
    assert!(row.get(4).is_some_and(|since| since.starts_with("20")), "it says since when: {row:?}");
    for refused in ["remove node202 --keep-disk", "reset node202 --yes"] {
        let said = administrator.sidus_refuses(&format!("node {refused}"))?;
        assert!(
            said.contains(&format!("target {target} is in use by iqn.2026-01.io.sidus:node-5254000d14ca")),
            "{said}"
        );
    }

    // Another node, though it knows the name.
    let line = format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.13 sidus.iscsi.target={target} panic=30");
    let mut other = lab.node(64).cmdline(&line).boot()?;
    other.expect("rootaufs: FAILED: log in", INITRAMFS)?;
    other.expect("the target knows no initiator \"iqn.2026-01.io.sidus:node-5254000d1440\"", INITRAMFS)?;
    other.power_cut()?;

    // The service is started anew while the node is down.
    node.run("setsid sh -c 'sleep 1; systemctl --no-block reboot' </dev/null >/dev/null 2>&1 &")?;
    node.wait_end(STOPPED)?;
    trouble_on_console(&mut node)?;
    administrator.run("systemctl restart rtslib-fb-targetctl.service")?;
    assert_eq!(administrator.run(CONFIGFS)?, served);
    node.power_on()?;
    node.wait_running()?;
    let kept = "cat /etc/written; ls /etc/debian_version 2>/dev/null || true";
    assert_eq!(node.run(kept)?, "before\n");

    let running = node.run("findmnt -no SOURCE /ro")?;
    let running = running.trim().rsplit('/').next().unwrap_or_default();
    let others = administrator.run(&format!("cd /srv/sidus/generations/{TREE}; ls -d [0-9]* | grep -vx {running}"))?;
    let other = others.split_whitespace().next_back().unwrap_or_default();
    moves(&mut node, other, other)?;
    assert_eq!(node.run(kept)?, "before\n");
    node.power_off()?;
    trouble_on_console(&mut node)?;

    let image = "/srv/sidus/luns/node202.img";
    administrator.run(&format!("e2fsck -fn {image}"))?;
    administrator.sidus("node reset node202 --yes")?;
    administrator
        .run(&format!("e2fsck -fn {image}.old && ! debugfs -R 'ls -l /sidus' {image} 2>/dev/null | grep v1"))?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    administrator.sidus("node remove node202 --discard-disk")?;
    assert_eq!(administrator.run(CONFIGFS)?, "");
    assert_eq!(
        administrator
            .run("ls /srv/sidus/luns | grep node202; grep -r --exclude=lock -e node202 -e 5254000d14ca /etc/sidus /var/lib/sidus /etc/rtslib-fb-target || true")?,
        ""
    );
    Ok(())
}

/// The server with its nodes' disks as volumes of `vg0`, by tgt, for as long as this value lives: scenarios that come
/// later find it as it was, however this one ends.
struct VolumesByTgt<'a>(&'a Administrator);

impl<'a> VolumesByTgt<'a> {
    fn begin(administrator: &'a Administrator) -> Result<Self> {
        let begun = Self(administrator);
        // The lab's own tgtd leaves the server's address to the kernel's target.
        begun.serve_by("tgt", "[Service]\\nExecStart=\\nExecStart=/usr/sbin/tgtd -f\\n")?;
        administrator.run(
            "vgs vg0 2>/dev/null || { truncate -s 2G /srv/vg0 && vgcreate vg0 $(losetup -f --show /srv/vg0); } &&
             sed -i 's/^# volume_group = .*/volume_group = \"vg0\"/' /etc/sidus/sidus.toml",
        )?;
        Ok(begun)
    }

    /// Who serves is a line of sidus.toml, which `sidus init` goes by.
    fn serve_by(&self, target: &str, drop_in: &str) -> Result<()> {
        let Self(administrator) = self;
        administrator.run(&format!(
            "mkdir -p /run/systemd/system/tgt.service.d && printf '{drop_in}' >/run/systemd/system/tgt.service.d/scenario.conf && \
             systemctl daemon-reload && systemctl restart tgt.service && \
             sed -i 's/^target = .*/target = \"{target}\"/' /etc/sidus/sidus.toml && grep -q '^target = \"{target}\"' /etc/sidus/sidus.toml"
        ))?;
        administrator.run("sidus init").map(drop)
    }

    /// By `run`, which does not panic.
    fn undo(&self) -> Result<()> {
        let Self(administrator) = self;
        administrator.run("sed -i 's/^volume_group = /# &/' /etc/sidus/sidus.toml")?;
        self.serve_by("lio", "")
    }
}

impl Drop for VolumesByTgt<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("the server is not as it was before: {error}");
        }
    }
}

const VOLUMES: &str = "lvs --noheadings -o lv_name vg0 | tr -d ' '";

#[test]
fn a_node_with_a_volume_by_tgt_keeps_what_it_writes() -> Result<()> {
    const NODE: u8 = 203;
    let target = format!("iqn.2026-01.io.sidus.target:{}", address(NODE));
    let administrator = Administrator::comes()?;
    let generation = administrator.current()?;
    let volumes = VolumesByTgt::begin(&administrator)?;
    let _added = administrator.add(NODE, "--persistent 400M")?;
    assert_eq!(administrator.run(VOLUMES)?, "sidus-node203\n");
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    assert!(administrator.run("tgtadm --lld iscsi --mode target --op show")?.contains(&target));

    let mut node = Lab::open()?.node(NODE).pxe(Firmware::Bios).boot()?;
    node.wait_running()?;
    runs_on(&mut node, &generation)?;
    let status = node.run("rootaufs status")?;
    for line in [
        "root        a union; what is written here survives a reboot\n",
        &format!("target      {target} at 10.13.20.13:3260, as "),
        "proved      this node and the target by CHAP\n",
        "guard       persistent reservation ",
    ] {
        assert!(status.contains(line), "{line:?} is not in\n{status}");
    }
    let row = administrator.status_of(NODE)?;
    assert_eq!(row.get(1).map(String::as_str), Some("up"), "{row:?}");
    node.run("echo before >/etc/written; sync")?;
    let refused = administrator.sidus_refuses("node remove node203 --keep-disk")?;
    assert!(refused.contains(&format!("target {target} is in use by ")), "{refused}");

    // tgtd is started anew while the node is down: it is told what to serve, and no command line has a secret.
    node.run("setsid sh -c 'sleep 1; systemctl --no-block reboot' </dev/null >/dev/null 2>&1 &")?;
    node.wait_end(STOPPED)?;
    trouble_on_console(&mut node)?;
    administrator.run("systemctl restart tgt.service")?;
    let unit =
        administrator.run("systemctl show --property=ExecStartPost tgt.service | grep 'argv.*sidus target update'")?;
    assert!(unit.contains("; status=0/0 }") || unit.contains("code=exited ; status=0"), "{unit}");
    node.power_on()?;
    node.wait_running()?;
    assert_eq!(node.run("cat /etc/written")?, "before\n");
    node.power_off()?;
    trouble_on_console(&mut node)?;

    administrator.run("e2fsck -fn /dev/vg0/sidus-node203")?;
    administrator.sidus("node reset node203 --yes")?;
    assert_eq!(administrator.run(VOLUMES)?, "sidus-node203\nsidus-node203.old\n");
    administrator.run(
        "e2fsck -fn /dev/vg0/sidus-node203.old && ! debugfs -R 'ls -l /sidus' /dev/vg0/sidus-node203 2>/dev/null | grep v1",
    )?;
    assert!(administrator.run("tgtadm --lld iscsi --mode target --op show")?.contains("/dev/vg0/sidus-node203\n"));
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    administrator.sidus("node remove node203 --discard-disk")?;
    assert!(!administrator.run("tgtadm --lld iscsi --mode target --op show")?.contains(&target));
    assert_eq!(
        administrator
            .run(&format!("{VOLUMES}; ls /srv/sidus/luns /var/lib/sidus/secrets/tgt | grep node203 || true"))?,
        ""
    );
    drop(volumes);
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    Ok(())
}
