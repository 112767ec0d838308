//! One node alone writes to a LUN, whatever becomes of it, of another node, and of the target. `./qemu/lab test guard_boot`
//! runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::time::{Duration, Instant};

use common::INITRAMFS;
use sidus_lab::faults::note;
use sidus_lab::target::{initiator, iqn, Target};
use sidus_lab::{records, Lab, Node, Result};

/// What the console says of a union on a LUN.
const UNION: &str = "rootaufs: / is iscsi over";

/// Where the node writes.
const RECORDS: &str = "/var/records";

/// What may take as long as a login that has to be tried again.
const SOON: Duration = Duration::from_secs(60);

/// A line for the LUN of node `owner` at this port.
fn line(owner: u8, port: u16) -> String {
    let target = iqn(owner);
    format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:{port} sidus.iscsi.target={target} root=LABEL=ISCSI panic=30")
}

/// What another node is told whose LUN that of node `owner` is.
fn reserved_by(owner: u8) -> String {
    format!("the node 52:54:00:0d:14:{owner:02x} has reserved the LUN, and may be writing to it")
}

/// Boots a node that writes record after record to its LUN.
fn boot_writer(lab: &Lab, number: u8, port: u16, more: &str) -> Result<Node> {
    let mut node = lab.node(number).bare().cmdline(&(line(number, port) + more)).boot()?;
    node.expect(UNION, INITRAMFS)?;
    start_writer(&mut node)?;
    Ok(node)
}

fn start_writer(node: &mut Node) -> Result<()> {
    node.wait_shell()?;
    node.run(&format!("nohup lab-writer {RECORDS} >/dev/null 2>&1 &"))?;
    writes_on(node)
}

/// Waits until three more records are synced.
fn writes_on(node: &mut Node) -> Result<()> {
    let text = node.run("cat /run/lab-writer 2>/dev/null || echo 0 0")?;
    let wanted = records::progress(&text)?.0 + 3;
    node.wait_until(&format!("[ \"$(cut -d ' ' -f 1 /run/lab-writer)\" -ge {wanted} ]"), SOON)?;
    assert_eq!(node.run("cat /run/lab-writer.failed 2>/dev/null || true")?, "");
    Ok(())
}

/// How often the session was logged in again.
fn recoveries(node: &mut Node) -> Result<u32> {
    Ok(node.run("sed 's/.*\"recoveries\":\\([0-9]*\\).*/\\1/' /run/sidus/keeper.json")?.trim().parse()?)
}

/// The session is lost, by `fault`, and comes back; a busy host may have lost it before.
fn recovers(node: &mut Node, fault: impl FnOnce(&mut Node) -> Result<()>) -> Result<()> {
    let before = recoveries(node)?;
    fault(node)?;
    writes_on(node)?;
    let started = Instant::now();
    while recoveries(node)? <= before {
        assert!(started.elapsed() < SOON, "logged in again {before} times, as before");
    }
    Ok(())
}

/// Another node finds the LUN of node `owner` taken.
fn is_refused(lab: &Lab, number: u8, owner: u8, port: u16) -> Result<()> {
    let mut other = lab.node(number).bare().cmdline(&line(owner, port)).boot()?;
    other.expect("rootaufs: FAILED: keep other nodes from writing to it: /dev/sd", INITRAMFS)?;
    other.expect(&reserved_by(owner), INITRAMFS)?;
    other.expect("rootaufs: remedy: shut that node down", INITRAMFS)?;
    other.power_cut()
}

/// Power is cut, and comes back: the node has its LUN again at once, and nothing that was synced is lost.
fn comes_back(mut node: Node, target: &Target, cache: &str) -> Result<()> {
    let synced = records::progress(&node.run("cat /run/lab-writer")?)?.0;
    node.power_cut()?;
    node.power_on()?;
    node.expect(UNION, INITRAMFS)?;
    node.wait_shell()?;
    // The kernel knows whether the disk has a cache to flush, also where the login was a stranger to the target.
    assert_eq!(node.run("cat /sys/block/sda/queue/write_cache")?.trim(), cache);
    let status = node.run("rootaufs status")?;
    assert!(status.contains("guard       persistent reservation 5344525400"), "{status}");
    node.power_off()?;
    records::check(&target.file_on_image(RECORDS)?, synced).map(drop)
}

/// A node that was shut down has given its LUN back.
fn is_free(lab: &Lab, number: u8, owner: u8, port: u16) -> Result<()> {
    let mut other = lab.node(number).bare().cmdline(&line(owner, port)).boot()?;
    other.expect(UNION, INITRAMFS)?;
    other.power_cut()
}

#[test]
fn without_reservations_the_file_system_has_to_guard_itself() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 188).by_lio(3388)?;
    target.set_reservations_by_lio(false)?;
    let boot = |more: &str, expected: &[&str]| -> Result<()> {
        let mut node = lab.node(188).bare().cmdline(&format!("{} sidus.debug{more}", line(188, 3388))).boot()?;
        expected.iter().try_for_each(|text| node.expect(text, INITRAMFS))?;
        node.power_cut()
    };
    let why =
        "nothing would keep a second node from writing to it: the target has no persistent reservations, and the file";
    boot("", &[why, "rootaufs: remedy: give the LUN a target with persistent reservations"])?;
    boot(" sidus.iscsi.guard=off", &[UNION])?;
    target.run_on_image("e2fsck -fp $image || [ $? -eq 1 ]; tune2fs -O mmp $image")?;
    boot("", &["by the file system's own multiple mount protection", UNION])?;
    target.remove_from_lio()
}

/// A name by which `./qemu/lab test faults` finds them.
mod faults {
    use super::*;

    #[test]
    fn a_second_node_is_refused_by_lio_also_while_the_first_is_halted() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 181).by_lio(3381)?;
        target.let_in_by_lio(&initiator(182))?;
        // tgt grants no digests.
        let mut node = boot_writer(&lab, 181, 3381, " sidus.iscsi.digest=crc32c")?;
        is_refused(&lab, 182, 181, 3381)?;
        writes_on(&mut node)?;
        // A login to LIO is the same node, however often.
        recovers(&mut node, |node| node.run("ss -K dst 10.13.20.14 dport = 3381 | grep -q 3381").map(drop))?;
        node.pause()?;
        is_refused(&lab, 182, 181, 3381)?;
        node.resume()?;
        writes_on(&mut node)?;
        comes_back(node, &target, "write through")?;
        is_free(&lab, 182, 181, 3381)?;
        note(
            "second node with one LUN, also while the first is halted (LIO)",
            "refused, and told which node has it",
            "so it was, twice",
        )?;
        target.remove_from_lio()
    }

    #[test]
    fn a_reservation_by_tgt_outlives_a_login_and_a_restart_of_the_target() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 183);
        target.make_image()?;
        target.serve_by_own_tgtd(3383)?;
        let mut node = boot_writer(&lab, 183, 3383, "")?;
        is_refused(&lab, 184, 183, 3383)?;
        writes_on(&mut node)?;
        // To tgt, the next login is another node, and the kernel writes at once.
        recovers(&mut node, |node| node.run("ss -K dst 10.13.20.14 dport = 3383 | grep -q 3383").map(drop))?;
        // A target that starts anew has forgotten all.
        recovers(&mut node, |_| target.kill_own_tgtd().and_then(|()| target.serve_by_own_tgtd(3383)))?;
        assert!(node.run("dmesg")?.contains("the target had forgotten whose the LUN is: reserved again"));
        is_refused(&lab, 184, 183, 3383)?;
        writes_on(&mut node)?;
        comes_back(node, &target, "write back")?;
        is_free(&lab, 184, 183, 3383)?;
        note(
            "second node with one LUN, also after a restart of the target (tgt)",
            "refused, and told which node has it",
            "so it was, twice",
        )?;
        target.kill_own_tgtd()
    }

    #[test]
    fn a_node_whose_lun_another_one_got_writes_no_more() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 185);
        target.make_image()?;
        target.serve_by_own_tgtd(3385)?;
        let mut node = boot_writer(&lab, 185, 3385, "")?;
        // Cut off, the target starts anew, and another node has the LUN.
        node.set_link(false)?;
        target.kill_own_tgtd()?;
        target.serve_by_own_tgtd(3385)?;
        let mut other = lab.node(186).bare().cmdline(&line(185, 3385)).boot()?;
        other.expect(UNION, INITRAMFS)?;
        node.set_link(true)?;
        node.expect(&format!("rootaufs: LUN LOST: {}", reserved_by(186)), INITRAMFS)?;
        // It is said first of all.
        let ended = "[ -e /run/lab-writer.failed ] && ! [ -e /sys/class/iscsi_session/session1 ]";
        node.wait_until(ended, SOON)?;
        let states =
            "cat /run/sidus/keeper.json; rootaufs status; cat /run/lab-writer.failed; ls /sys/class/iscsi_session";
        let left = node.run(states)?;
        for text in ["\"state\":\"lost\"", "LUN LOST, nothing more is written", ": FAILED"] {
            assert!(left.contains(text), "{text:?} is not in\n{left}");
        }
        assert!(!left.contains("session1\n"), "{left}");
        node.power_cut()?;
        // It was dead for good, and now the other one is: a third one is told to take the LUN.
        let mut third = lab.node(187).bare().cmdline(&format!("{} sidus.iscsi.guard=take", line(185, 3385))).boot()?;
        third.expect(UNION, INITRAMFS)?;
        third.wait_shell()?;
        // Whatever the other one still writes, the target refuses.
        other.wait_shell()?;
        let refused = other.output("echo late >/var/late && sync /var/late", Duration::from_secs(120))?;
        assert_ne!(refused.status, 0, "{}", refused.text);
        assert!(other.run("dmesg")?.contains("reservation conflict"));
        other.power_cut()?;
        third.run("echo in time >/var/third; sync")?;
        third.power_cut()?;
        target.run_on_image("e2fsck -fp $image || [ $? -eq 1 ]; e2fsck -fn $image")?;
        assert_eq!(target.file_on_image("/var/third")?, "in time\n");
        note(
            "LUN taken by another node while this one was cut off",
            "it writes nothing more, and says so",
            "so it did; the LUN is clean",
        )?;
        target.kill_own_tgtd()
    }
}
