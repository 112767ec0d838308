//! Whole boots with `aufs=iscsi`, from real targets: tgt and LIO. `./qemu/lab test iscsi_boot` runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use common::power_off;
use sidus_lab::target::{initiator, iqn, Content, Target};
use sidus_lab::{Kernel, Lab, Node, Result, Suite};

/// Until init-bottom is over, with other machines on the same processor.
const INITRAMFS: Duration = Duration::from_secs(180);

/// The article's words, for tgt.
const TGT: &str = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 root=LABEL=ISCSI panic=30";

/// What the console says of a union on a LUN.
const UNION: &str =
    "rootaufs: / is iscsi over 10.13.20.13:/srv/nfsroot/sidus (overlay), what is written survives a reboot";

const SECRET: &str = "night-heron-5319";
const TARGETS_SECRET: &str = "grey-egret-80427";

/// A line for a target of the kernel's own on this port.
fn lio(port: u16) -> String {
    format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:{port} root=LABEL=ISCSI panic=30")
}

/// The initrd with this file of credentials in an archive of its own, as a node gets one that is its alone.
fn with_credentials(lab: &Lab, text: &str) -> Result<PathBuf> {
    lab.initrd_with(Suite::Bookworm, Kernel::Cloud, &[("etc/sidus/iscsi.conf", text)])
}

/// What everyone must find on a node whose layer is on a LUN.
fn check_union(node: &mut Node, disk: &str, fs: &str) -> Result<()> {
    assert_eq!(node.run("findmnt -no FSTYPE,SOURCE /")?.split_whitespace().collect::<Vec<_>>(), ["overlay", "overlay"]);
    let layer = node.run("findmnt -no SOURCE,FSTYPE,OPTIONS /rw")?;
    let layer: Vec<_> = layer.split_whitespace().collect();
    assert!(
        matches!(layer.as_slice(), [source, kind, options]
        if *source == disk && *kind == fs && options.split(',').any(|option| option == "noatime")),
        "{layer:?}"
    );
    let status = node.run("rootaufs status")?;
    assert!(status.starts_with("root        a union; what is written here survives a reboot\n"), "{status}");
    let number = node.number();
    let target = format!("target      {} at 10.13.20.14:", iqn(number));
    assert!(status.contains(&target) && status.contains(&initiator(number)), "{status}");
    Ok(())
}

#[test]
fn what_is_written_is_there_after_a_reboot() -> Result<()> {
    let lab = Lab::open()?;
    Target::new(&lab, 101).by_tgt()?;
    let mut node = lab.node(101).cmdline(TGT).boot()?;
    node.wait_running()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    let session = node.run("cat /sys/class/iscsi_session/session1/{targetname,state,recovery_tmo}")?;
    assert_eq!(session, format!("{}\nLOGGED_IN\n600\n", iqn(101)));
    node.run("echo written >/etc/written && rm /etc/debian_version")?;
    node.reboot()?;
    node.wait_running()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    assert_eq!(
        node.run("cat /etc/written; ls /etc/debian_version 2>&1 || true")?,
        "written\nls: cannot access '/etc/debian_version': No such file or directory\n"
    );
    power_off(node)?;
    Ok(())
}

#[test]
fn mutual_chap_at_a_target_for_this_node_alone_and_no_secret_anywhere() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 102).chap(("node", SECRET)).mutual(("san", TARGETS_SECRET)).by_lio(3262)?;
    let text = format!(
        "[target \"{}\"]\nusername = node\npassword = {SECRET}\nusername_in = san\npassword_in = {TARGETS_SECRET}\n",
        iqn(102)
    );
    let initrd = with_credentials(&lab, &text)?;
    let mut node = lab.node(102).cmdline(&format!("{} sidus.debug", lio(3262))).initrd(&initrd).boot()?;
    node.wait_running()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    assert!(node.run("rootaufs status")?.contains("proved      this node and the target by CHAP\n"));
    for secret in [SECRET, TARGETS_SECRET] {
        // Not by its own command line: the pattern is put together by the shell that searches.
        let (start, end) = secret.split_at(4);
        let search = format!(
            "p={start}; p=$p'{end}'; for where in \"$(dmesg)\" \"$(journalctl -o cat --no-pager)\" \
             \"$(grep -r . /run 2>/dev/null | tr -d '\\0')\" \"$(cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n')\" \
             \"$(cat /proc/[0-9]*/cmdline /proc/cmdline 2>/dev/null | tr '\\0' '\\n')\"; do \
             echo ${{#where}}; case $where in *\"$p\"*) echo FOUND;; esac; done"
        );
        let found = node.run(&search)?;
        assert!(!found.contains("FOUND") && found.lines().count() == 5, "{found}");
        assert!(!node.console().text()?.contains(secret));
    }
    node.power_off()?;
    target.remove_from_lio()
}

#[test]
fn what_was_synced_survives_a_power_cut() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 103).by_tgt()?;
    let mut node = lab.node(103).bare().cmdline(TGT).boot()?;
    node.wait_shell()?;
    // Every number that stands on the console was synced before.
    node.run(
        "nohup bash -c 'n=0; while :; do n=$((n+1)); echo $n >>/etc/numbers; sync /etc/numbers; \
         echo synced $n >/dev/ttyS0; done' >/dev/null 2>&1 &",
    )?;
    node.expect("synced 25\r", Duration::from_secs(120))?;
    node.power_cut()?;
    let console = node.console().text()?;
    let synced = console.lines().rev().find_map(|line| line.trim().strip_prefix("synced ")?.parse::<u32>().ok());
    let synced = synced.expect("a number that was synced");
    node.power_on()?;
    node.wait_running()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    assert!(node.run("dmesg")?.contains("EXT4-fs (sda): recovery complete"));
    let kept: u32 = node.run("wc -l </etc/numbers")?.trim().parse()?;
    assert!(kept >= synced, "{kept} of {synced} synced lines are there");
    node.power_off()?;
    target.run_on_image("fsck.ext4 -fn $image")?;
    Ok(())
}

#[test]
fn a_wrong_secret_says_so_and_never_what_it_is() -> Result<()> {
    let lab = Lab::open()?;
    Target::new(&lab, 104).chap(("node", SECRET)).by_tgt()?;
    let wrong = with_credentials(&lab, "username = node\npassword = wrong-secret-1234\n")?;
    let mut node = lab.node(104).cmdline(TGT).initrd(&wrong).boot()?;
    node.expect("rootaufs: FAILED: log in", INITRAMFS)?;
    node.expect("the target refused the authentication", INITRAMFS)?;
    node.expect("given up after 3 tries", INITRAMFS)?;
    let console = node.console().text()?;
    assert!(!console.contains("wrong-secret") && !console.contains(SECRET), "{console}");
    Ok(())
}

#[test]
fn an_initiator_that_the_target_does_not_know_is_named() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 105);
    target.make_image()?;
    target.serve_by_lio(3265, "iqn.2026-01.org.example:somebody-else")?;
    let mut node = lab.node(105).cmdline(&lio(3265)).boot()?;
    node.expect("rootaufs: FAILED: log in", INITRAMFS)?;
    node.expect(&format!("the target knows no initiator \"{}\": add it to the ACL", initiator(105)), INITRAMFS)?;
    target.remove_from_lio()
}

#[test]
fn a_target_that_comes_up_later_is_waited_for() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 106);
    target.make_image()?;
    target.remove_from_lio()?;
    let mut node = lab.node(106).cmdline(&lio(3266)).boot()?;
    node.expect(" of 180 s): discovery at 10.13.20.14:3266", INITRAMFS)?;
    node.expect("no connection: Connection refused", INITRAMFS)?;
    for _ in 0..2 {
        node.expect("rootaufs: waiting (", Duration::from_secs(30))?;
    }
    // However long the server takes: the node waits for three minutes.
    node.pause()?;
    target.serve_by_lio(3266, &initiator(106))?;
    node.resume()?;
    node.expect(UNION, INITRAMFS)?;
    node.power_cut()?;
    target.remove_from_lio()
}

#[test]
fn a_target_that_never_comes_up_is_not_waited_for_for_ever() -> Result<()> {
    let lab = Lab::open()?;
    let line = format!("{} sidus.timeout=20 sidus.on_failure=tmpfs", lio(3267));
    let mut node = lab.node(107).bare().cmdline(&line).boot()?;
    node.expect("rootaufs: FAILED: find the target that bears this node's address at 10.13.20.14:3267", INITRAMFS)?;
    node.expect("rootaufs: now: tmpfs instead; what is written is gone after a reboot", INITRAMFS)?;
    node.wait_shell()?;
    assert_eq!(node.run("findmnt -no FSTYPE /rw; ls -d /sys/class/iscsi_session/* 2>/dev/null || true")?, "tmpfs\n");
    let status = node.run("rootaufs status")?;
    assert!(status.contains("GONE AFTER A REBOOT") && status.contains("failed      find the target"), "{status}");
    Ok(())
}

/// Boots until the union is there.
fn comes_to_a_union(number: u8, content: Content, volume: &str) -> Result<()> {
    let lab = Lab::open()?;
    Target::new(&lab, number).content(content).by_tgt()?;
    let mut node = lab.node(number).cmdline(&format!("{TGT} sidus.debug")).boot()?;
    node.expect(&format!("rootaufs: find the file system with LABEL=ISCSI on it: {volume}"), INITRAMFS)?;
    node.expect(UNION, INITRAMFS)
}

#[test]
fn xfs_in_a_gpt_partition() -> Result<()> {
    comes_to_a_union(108, Content::Partition("gpt", "xfs", "ISCSI"), "xfs on /dev/sda2")
}

#[test]
fn ext4_in_an_mbr_partition() -> Result<()> {
    comes_to_a_union(109, Content::Partition("dos", "ext4", "ISCSI"), "ext4 on /dev/sda2")
}

#[test]
fn btrfs_on_the_whole_disk() -> Result<()> {
    comes_to_a_union(110, Content::Whole("btrfs", "ISCSI"), "btrfs on /dev/sda")
}

#[test]
fn a_blank_lun_is_an_error_and_stays_blank() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 111).content(Content::Blank).by_tgt()?;
    let mut node = lab.node(111).cmdline(TGT).boot()?;
    node.expect("rootaufs: FAILED: find the file system with LABEL=ISCSI on it: /dev/sda is blank", INITRAMFS)?;
    node.expect("rootaufs: remedy: make a file system on the iSCSI server", INITRAMFS)?;
    node.expect("rootaufs: now: panic", INITRAMFS)?;
    // The session is gone before anything follows.
    assert!(!lab.server().run("tgtadm --lld iscsi --op show --mode conn --tid 111")?.contains("Session"));
    target.run_on_image("cmp -n $(stat -c %s $image) $image /dev/zero")?;
    Ok(())
}

#[test]
fn a_wrong_label_lists_what_there_is() -> Result<()> {
    let lab = Lab::open()?;
    Target::new(&lab, 112).content(Content::Partition("gpt", "ext4", "OTHER")).by_tgt()?;
    let mut node = lab.node(112).cmdline(TGT).boot()?;
    node.expect(
        "rootaufs: FAILED: find the file system with LABEL=ISCSI on it: /dev/sda: no file system with LABEL=ISCSI; \
         it has partition 1: nothing; partition 2: ext4 LABEL=OTHER UUID=",
        INITRAMFS,
    )
}

#[test]
fn a_volume_that_cannot_be_mounted_leaves_neither_session_nor_keeper() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 126).by_tgt()?;
    // What no kernel knows, where all else is right.
    target.run_on_image("debugfs -w -R 'set_super_value feature_incompat 0x800002c2' $image 2>&1")?;
    let mut node = lab.node(126).bare().cmdline(&format!("{TGT} sidus.on_failure=tmpfs")).boot()?;
    node.expect("rootaufs: FAILED: mount the file system on /rw: ", INITRAMFS)?;
    node.expect("rootaufs: now: tmpfs instead", INITRAMFS)?;
    node.wait_shell()?;
    assert_eq!(
        node.run("ls /run/sidus /sys/class/iscsi_session; grep -la '^@rootaufs' /proc/[0-9]*/cmdline || true")?,
        "/run/sidus:\nreport.json\n\n/sys/class/iscsi_session:\n"
    );
    assert!(!lab.server().run("tgtadm --lld iscsi --op show --mode conn --tid 126")?.contains("Session"));
    Ok(())
}

#[test]
fn the_nodes_own_disk_with_the_same_label_is_left_alone() -> Result<()> {
    let lab = Lab::open()?;
    Target::new(&lab, 113).by_tgt()?;
    let disk = lab.new_disk("iscsi-boot-own-disk", 64 << 20)?;
    let format = std::process::Command::new("mke2fs").args(["-q", "-t", "ext4", "-L", "ISCSI"]).arg(&disk).status()?;
    assert!(format.success());
    let before = std::fs::read(&disk)?;
    let mut node = lab.node(113).disk(&disk).cmdline(TGT).boot()?;
    node.wait_running()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    // udev of the real root loads its driver in its own time.
    node.wait_until("grep -q vda /proc/partitions", Duration::from_secs(90))?;
    node.power_off()?;
    assert!(before == std::fs::read(&disk)?, "the disk's image has changed");
    Ok(())
}

#[test]
fn two_nodes_have_two_luns() -> Result<()> {
    let lab = Lab::open()?;
    Target::new(&lab, 114).by_tgt()?;
    Target::new(&lab, 115).by_tgt()?;
    let mut one = lab.node(114).bare().cmdline(TGT).boot()?;
    let mut two = lab.node(115).bare().cmdline(TGT).boot()?;
    for node in [&mut one, &mut two] {
        node.wait_shell()?;
        check_union(node, "/dev/sda", "ext4")?;
        node.run("hostname >/etc/who; sync")?;
    }
    assert_eq!((one.run("cat /etc/who")?, two.run("cat /etc/who")?), ("node114\n".to_owned(), "node115\n".to_owned()));
    Ok(())
}

#[test]
fn the_generic_kernel_with_digests_and_a_target_that_is_named() -> Result<()> {
    let lab = Lab::open()?;
    // tgt grants no digests.
    let target = Target::new(&lab, 116).by_lio(3276)?;
    let line = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 ISCSI_TARGET_PORT=3276 sidus.iscsi.target=iqn.2013-04.zone.sidus.target:{ip} \
                sidus.iscsi.lun=0 sidus.iscsi.digest=crc32c panic=30";
    let mut node = lab.node(116).bare().kernel(Kernel::Generic).cmdline(line).boot()?;
    node.wait_shell()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    let digests = node.run("cat /sys/class/iscsi_connection/connection1:0/{header_digest,data_digest}")?;
    assert_eq!(digests, "1\n1\n");
    node.power_cut()?;
    target.remove_from_lio()
}

#[test]
fn iscsid_takes_the_session_over_and_survives_a_restart_of_the_target() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 117).chap(("node", SECRET)).by_lio(3277)?;
    let initrd = with_credentials(&lab, &format!("username = node\npassword = {SECRET}\n"))?;
    let mut node = lab.node(117).cmdline(&lio(3277)).initrd(&initrd).boot()?;
    node.wait_running()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    let port = "cat /sys/class/iscsi_connection/connection1:0/local_port";
    let ours = node.run(port)?;
    node.run("systemctl -q unmask iscsid.service && systemctl start iscsid.service")?;
    // iscsid drops the connection of a session that it finds, and logs in again.
    let another = format!("[ \"$({port})\" != {} ]", ours.trim());
    node.wait_until(&another, Duration::from_secs(60))?;
    let logged_in = "iscsiadm -m session -P3 | grep -q 'iSCSI Connection State: LOGGED IN'";
    node.wait_until(logged_in, Duration::from_secs(120))?;
    let session = node.run("iscsiadm -m session -P3")?;
    for line in [
        format!("Target: {} (", iqn(117)),
        "Current Portal: 10.13.20.14:3277,1\n".to_owned(),
        "Persistent Portal: 10.13.20.14:3277,1\n".to_owned(),
        "Iface Name: default\n".to_owned(),
        format!("Iface Initiatorname: {}\n", initiator(117)),
        "iSCSI Session State: LOGGED_IN\n".to_owned(),
        "username: node\n".to_owned(),
        "Attached scsi disk sda\t\tState: running\n".to_owned(),
    ] {
        assert!(session.contains(&line), "{line:?} is not in\n{session}");
    }
    target.remove_from_lio()?;
    node.run(
        "(dd if=/dev/urandom of=/var/during bs=1M count=8 conv=fsync 2>/dev/null; echo $? >/run/written) >/dev/null &",
    )?;
    node.wait_until("grep -q -v LOGGED_IN /sys/class/iscsi_session/session1/state", Duration::from_secs(60))?;
    assert_eq!(node.run("cat /run/written 2>/dev/null || true")?, "");
    target.serve_by_lio(3277, &initiator(117))?;
    node.wait_until("[ -s /run/written ]", Duration::from_secs(120))?;
    assert_eq!(
        node.run("cat /run/written; dmesg | grep -c -e 'I/O error' -e 'Remounting filesystem' || true")?,
        "0\n0\n"
    );
    node.power_cut()?;
    target.remove_from_lio()
}

#[test]
fn debian_13_with_a_second_portal() -> Result<()> {
    let lab = Lab::open()?;
    Target::new(&lab, 118).by_tgt()?;
    // Nobody listens on the first one's port.
    let line = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:3299,10.13.20.14 root=LABEL=ISCSI panic=30";
    let mut node = lab.node(118).bare().suite(Suite::Trixie).cmdline(line).boot()?;
    node.wait_running()?;
    check_union(&mut node, "/dev/sda", "ext4")?;
    node.power_off()?;
    Ok(())
}

/// The node gets its address of version 6 as most do: a router tells the prefix. Its first card is not the one.
#[test]
fn a_portal_of_version_6_by_the_second_card_and_one_lun_of_two() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 120).by_tgt()?;
    target.second_lun_by_tgt()?;
    lab.server().run(
        "set -e; card=$(ls -d /sys/class/net/e* | head -n 1); card=${card##*/}
         for address in fe80::14 fd13:20::14; do ip addr replace $address/64 dev $card nodad; done
         setsid dnsmasq --conf-file=/dev/null --port=0 --interface=$card --enable-ra --dhcp-range=fd13:20::,ra-only,64 \
             --ra-param=$card,4 --pid-file=/run/ra.pid",
    )?;
    let line = format!("aufs=iscsi ISCSI_TARGET_IP=[fd13:20::14] sidus.iscsi.target={} panic=30", iqn(120));
    let boot = |more: &str| lab.node(120).bare().idle_card().cmdline(&format!("{line}{more}")).boot();
    let mut node = boot("")?;
    node.expect(
        "several disks, and no sidus.iscsi.lun=: the target offers LUN 0 (controller), LUN 1 (disk), LUN 2 (disk)",
        INITRAMFS,
    )?;
    drop(node);
    let mut node = boot(" sidus.iscsi.lun=2")?;
    node.wait_running()?;
    let status = node.run("rootaufs status")?;
    let session = format!("target      {} at [fd13:20::14]:3260, as {}", iqn(120), initiator(120));
    assert!(status.contains(&session) && status.contains("LUN 2"), "{status}");
    assert_eq!(
        node.run("cat /sys/class/iscsi_session/session1/targetname; findmnt -no LABEL /rw")?,
        format!("{}\nSECOND\n", iqn(120))
    );
    node.power_off()?;
    lab.server().run("kill $(cat /run/ra.pid)").map(drop)
}

#[test]
fn a_redirection_is_followed() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 119).by_tgt()?;
    target.redirect_tgt("10.13.20.14", 3279)?;
    target.serve_by_lio(3279, &initiator(119))?;
    let mut node = lab.node(119).bare().cmdline(TGT).boot()?;
    node.expect(UNION, INITRAMFS)?;
    node.wait_shell()?;
    assert!(node.run("rootaufs status")?.contains(&format!("target      {} at 10.13.20.14:3279", iqn(119))));
    node.power_cut()?;
    target.remove_from_lio()
}

/// Boots with a target that never comes up, and expects what `sidus.on_failure=` promises.
fn never_up(number: u8, on_failure: &str, then: &str) -> Result<Node> {
    let lab = Lab::open()?;
    let line = format!("{} sidus.timeout=10 sidus.on_failure={on_failure}", lio(3280));
    let mut node = lab.node(number).bare().cmdline(&line).boot()?;
    node.expect("rootaufs: FAILED: find the target that bears this node's address at 10.13.20.14:3280", INITRAMFS)?;
    node.expect(&format!("rootaufs: now: {then}"), INITRAMFS)?;
    Ok(node)
}

#[test]
fn a_target_that_never_comes_up_and_panic() -> Result<()> {
    let mut node = never_up(120, "panic", "panic, since nothing else is asked for (sidus.on_failure=panic)")?;
    node.expect("Rebooting automatically due to panic= boot argument", INITRAMFS)
}

#[test]
fn a_target_that_never_comes_up_and_a_shell() -> Result<()> {
    let mut node = never_up(121, "shell", "a shell (sidus.on_failure=shell)")?;
    node.expect("(initramfs)", INITRAMFS)
}

#[test]
fn a_target_that_never_comes_up_and_a_reboot() -> Result<()> {
    let mut node = never_up(122, "reboot", "a reboot in 10 s (sidus.on_failure=reboot)")?;
    node.wait_end(INITRAMFS)?;
    Ok(())
}

#[test]
fn a_target_that_never_comes_up_and_the_plain_root() -> Result<()> {
    let mut node = never_up(123, "ro", "the plain root, read-only (sidus.on_failure=ro)")?;
    node.wait_shell()?;
    assert!(node.run("findmnt -no FSTYPE,OPTIONS /")?.starts_with("nfs"));
    assert!(node.run("touch /hello 2>&1 || true")?.contains("Read-only file system"));
    Ok(())
}
