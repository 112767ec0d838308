//! The nodes' disks as logical volumes and by tgt, in the place of files and the kernel's own target. All of the server is
//! told so: this runs alone.
//! `./qemu/lab test sidus_tgt_boot` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod administrator;
mod common;

use administrator::{runs_on, Administrator, STOPPED};
use common::trouble_on_console;
use sidus_lab::address::address;
use sidus_lab::{Firmware, Lab, Result};

/// The lab's own tgtd leaves the server's address to the kernel's target. Who serves is a line of sidus.toml.
fn serve_by(administrator: &Administrator, target: &str) -> Result<()> {
    let drop_in = match target {
        "tgt" => "[Service]\\nExecStart=\\nExecStart=/usr/sbin/tgtd -f\\n",
        _ => "",
    };
    administrator.run(&format!(
        "mkdir -p /run/systemd/system/tgt.service.d && printf '{drop_in}' >/run/systemd/system/tgt.service.d/sidus.conf && \
         systemctl daemon-reload && systemctl restart tgt.service && \
         sed -i 's/^target = .*/target = \"{target}\"/' /etc/sidus/sidus.toml && grep -q '^target = \"{target}\"' /etc/sidus/sidus.toml"
    ))?;
    administrator.sidus("init").map(drop)
}

/// Disks are made in the volume group `vg0` from now on, or as files.
fn make_disks_in(administrator: &Administrator, group: Option<&str>) -> Result<()> {
    let change = match group {
        Some(group) => {
            administrator.run(&format!(
                "vgs {group} 2>/dev/null || {{ truncate -s 2G /srv/{group}; vgcreate {group} $(losetup -f --show /srv/{group}); }}"
            ))?;
            format!("s/^# volume_group = .*/volume_group = \"{group}\"/")
        }
        None => "s/^volume_group = /# &/".to_owned(),
    };
    administrator.run(&format!("sed -i '{change}' /etc/sidus/sidus.toml")).map(drop)
}

const VOLUMES: &str = "lvs --noheadings -o lv_name vg0 | tr -d ' '";

#[test]
fn a_node_with_a_volume_by_tgt_keeps_what_it_writes() -> Result<()> {
    const NODE: u8 = 203;
    let target = format!("iqn.2026-01.io.sidus.target:{}", address(NODE));
    let administrator = Administrator::comes()?;
    let generation = administrator.current()?;
    serve_by(&administrator, "tgt")?;
    make_disks_in(&administrator, Some("vg0"))?;
    administrator.add(NODE, "--persistent 400M")?;
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

    // tgtd is started anew while the node is down: it reads what it serves.
    node.run("setsid sh -c 'sleep 1; systemctl --no-block reboot' </dev/null >/dev/null 2>&1 &")?;
    node.wait_end(STOPPED)?;
    trouble_on_console(&mut node)?;
    administrator.run("systemctl restart tgt.service")?;
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
        administrator.run(&format!("{VOLUMES}; ls /srv/sidus/luns; ls /etc/tgt/conf.d | grep node203 || true"))?,
        ""
    );
    make_disks_in(&administrator, None)?;
    serve_by(&administrator, "lio")?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    Ok(())
}
