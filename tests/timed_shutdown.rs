//! How a node whose layer is on a LUN goes down: in time, with a clean file system, and with no session left. The lab runs
//! these one at a time, after all others.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::time::{Duration, Instant};

use common::trouble_on_console;
use sidus_lab::target::{initiator, iqn, Target};
use sidus_lab::{Lab, Node, Result, Suite};

/// From the request to the machine's end, with the target up: 15 s are the aim, and the rest is for a host with much else
/// to do. The figure itself is printed.
const UP: Duration = Duration::from_secs(40);
/// With the target dead: 30 s are the aim.
const DEAD: Duration = Duration::from_secs(60);
/// Between the command that asks for the end, and the request itself: the fault comes there.
const DELAY: Duration = Duration::from_secs(4);

/// A line for a target on this port.
fn line(port: u16) -> String {
    format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:{port} root=LABEL=ISCSI panic=30")
}

/// Something that is only in memory yet.
const DIRTY: &str = "dd if=/dev/urandom of=/var/dirty bs=1M count=16 2>/dev/null; echo changed >>/etc/motd";

/// Asks systemd for the end, after [`DELAY`].
fn request(node: &mut Node, verb: &str) -> Result<Instant> {
    let delay = DELAY.as_secs();
    node.run(&format!("setsid sh -c 'sleep {delay}; systemctl --no-block {verb}' </dev/null >/dev/null 2>&1 &"))?;
    Ok(Instant::now() + DELAY)
}

fn is_clean(target: &Target) -> Result<()> {
    target.run_on_image("e2fsck -fn $image && ! dumpe2fs -h $image 2>/dev/null | grep needs_recovery").map(drop)
}

/// LIO's own word on the node's session.
fn has_no_session(lab: &Lab, number: u8) -> Result<()> {
    let (iqn, initiator) = (iqn(number), initiator(number));
    let info = lab.server().run(&format!("cat /sys/kernel/config/target/iscsi/{iqn}/tpgt_1/acls/{initiator}/info"))?;
    assert!(info.starts_with("No active iSCSI Session"), "{info}");
    Ok(())
}

fn says(node: &mut Node, text: &str) -> Result<()> {
    assert!(node.console().text()?.contains(text), "{text:?} is not on the console:\n{}", node.console().tail());
    Ok(())
}

/// What the console says of a good end.
fn ended_well(node: &mut Node, verb: &str, took: Duration) -> Result<()> {
    println!("shutdown: {verb} with the target up: {took:.1?}");
    trouble_on_console(node)?;
    says(node, "rootaufs: shutdown: /dev/sda is clean, and the session is logged out")?;
    assert!(took <= UP, "{verb} took {took:?}");
    Ok(())
}

/// Goes down twice, by a reboot and by a power-off.
fn goes_down(suite: Suite, number: u8, port: u16, open_iscsi: bool) -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, number).by_lio(port)?;
    let mut node = lab.node(number).suite(suite).cmdline(&line(port)).boot()?;
    for verb in ["reboot", "poweroff"] {
        node.wait_running()?;
        assert_eq!(node.run("dmesg | grep -c 'EXT4-fs (sda): recovery' || true")?.trim(), "0");
        if open_iscsi {
            // With a record of the root's own target, which its shutdown would log out.
            node.run(&format!(
                "systemctl -q unmask iscsid.socket iscsid.service open-iscsi.service && systemctl start iscsid.service && \
                 iscsiadm -m discovery -t sendtargets -p 10.13.20.14:{port} && systemctl start open-iscsi.service && \
                 systemctl is-active open-iscsi.service && iscsiadm -m node | grep -q {}",
                iqn(number)
            ))?;
        }
        node.run(DIRTY)?;
        let requested = request(&mut node, verb)?;
        node.wait_end(UP + DELAY * 2)?;
        ended_well(&mut node, verb, requested.elapsed())?;
        is_clean(&target)?;
        has_no_session(&lab, number)?;
        if verb == "reboot" {
            node.power_on()?;
        }
    }
    target.remove_from_lio()
}

#[test]
fn debian_12() -> Result<()> {
    goes_down(Suite::Bookworm, 150, 3350, false)
}

#[test]
fn debian_13() -> Result<()> {
    goes_down(Suite::Trixie, 151, 3351, false)
}

#[test]
fn debian_12_with_open_iscsi() -> Result<()> {
    goes_down(Suite::Bookworm, 152, 3352, true)
}

#[test]
fn debian_13_with_open_iscsi() -> Result<()> {
    goes_down(Suite::Trixie, 153, 3353, true)
}

/// kexec_file_load(2) of the running kernel, with its own command line.
const LOAD: &str =
    "perl -e 'open(K, \"<\", $ARGV[0]) && open(I, \"<\", $ARGV[1]) && open(C, \"<\", \"/proc/cmdline\") or die; \
                    $c = <C>; chomp $c; $c .= \"\\0\"; \
                    syscall(320, fileno(K), fileno(I), length $c, $c, 0) == 0 or die \"kexec_file_load: $!\\n\"' \
                    /boot/vmlinuz-$(uname -r) /boot/initrd.img-$(uname -r)";

#[test]
fn kexec() -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, 154).by_lio(3354)?;
    let mut node = lab.node(154).cmdline(&line(3354)).boot()?;
    node.wait_running()?;
    node.run(LOAD)?;
    node.run(DIRTY)?;
    let requested = request(&mut node, "kexec")?;
    node.expect("Starting new kernel", UP + DELAY * 2)?;
    let took = requested.elapsed();
    println!("shutdown: kexec with the target up: {took:.1?}");
    assert!(took <= UP, "kexec took {took:?}");
    node.wait_running()?;
    assert_eq!(node.run("dmesg | grep -c 'EXT4-fs (sda): recovery' || true; tail -n 1 /etc/motd")?, "0\nchanged\n");
    node.power_off()?;
    is_clean(&target)?;
    target.remove_from_lio()
}

/// Goes down with a target that `fault` ends, while something writes.
fn goes_down_without(number: u8, port: u16, verb: &str, fault: impl FnOnce(&Lab, &Target) -> Result<()>) -> Result<()> {
    let lab = Lab::open()?;
    let target = Target::new(&lab, number);
    target.make_image()?;
    target.serve_by_own_tgtd(port)?;
    let mut node = lab.node(number).cmdline(&line(port)).boot()?;
    node.wait_running()?;
    node.run("nohup lab-writer /var/records >/dev/null 2>&1 &")?;
    node.wait_until("[ $(cut -d ' ' -f 1 /run/lab-writer) -ge 5 ]", UP)?;
    let requested = request(&mut node, verb)?;
    fault(&lab, &target)?;
    node.wait_end(DEAD + DELAY * 4)?;
    let took = requested.elapsed();
    println!("shutdown: {verb} with the target dead: {took:.1?}");
    says(&mut node, "rootaufs: shutdown: /dev/sda is given up")?;
    assert!(took <= DEAD, "{verb} took {took:?}");
    target.kill_own_tgtd()?;
    // What the journal has is whole.
    target.run_on_image("e2fsck -fp $image || [ $? -eq 1 ]; e2fsck -fn $image").map(drop)
}

#[test]
fn power_off_with_a_target_that_was_killed() -> Result<()> {
    goes_down_without(155, 3355, "poweroff", |_, target| target.kill_own_tgtd())
}

#[test]
fn reboot_with_a_target_that_is_silent() -> Result<()> {
    goes_down_without(156, 3356, "reboot", |lab, _| lab.server().run("kill -STOP $(cat /run/tgtd.156)").map(drop))
}
