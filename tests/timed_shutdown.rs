//! How a node whose layer is on a LUN goes down: in time, with a clean file system, and with no session left. The lab runs
//! these after all others.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::time::{Duration, Instant};

use common::{since_boot, trouble_on_console};
use sidus_lab::faults::note;
use sidus_lab::records;
use sidus_lab::target::{initiator, iqn, Target};
use sidus_lab::{Lab, Node, Result, Suite};

/// From the request to the machine's end, with the target up: 15 s are the aim, and the rest is for a host with much else
/// to do. The figure is printed.
const UP: Duration = Duration::from_secs(25);
/// With the target dead: 30 s are the aim.
const DEAD: Duration = Duration::from_secs(40);
/// Between the command that asks for the end, and the request itself: the fault comes there.
const DELAY: Duration = Duration::from_secs(4);

/// A line for a target on this port.
fn line(port: u16) -> String {
    format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:{port} root=LABEL=ISCSI panic=30")
}

/// Asks systemd for the end, after [`DELAY`]: a command for the node's shell.
fn asks(verb: &str) -> String {
    let delay = DELAY.as_secs();
    format!("setsid sh -c 'sleep {delay}; systemctl --no-block {verb}' </dev/null >/dev/null 2>&1 &")
}

/// The same, done.
fn request(node: &mut Node, verb: &str) -> Result<Instant> {
    node.run(&asks(verb))?;
    Ok(Instant::now() + DELAY)
}

fn is_clean(target: &Target) -> Result<()> {
    target.run_on_image("e2fsck -fn $image && ! dumpe2fs -h $image 2>/dev/null | grep needs_recovery").map(drop)
}

fn in_time(what: &str, took: Duration, limit: Duration) {
    println!("shutdown: {what}: {took:.1?}");
    assert!(took <= limit, "{what} took {took:?}, more than {limit:?}");
}

fn says(node: &mut Node, text: &str) -> Result<()> {
    let console = since_boot(node)?;
    assert!(console.contains(text), "{text:?} is not on the console:\n{}", node.console().tail());
    Ok(())
}

/// A node that goes down again and again, with its target up.
struct Falling {
    lab: Lab,
    target: Target,
    node: Node,
    number: u8,
    port: u16,
    /// How often it went down.
    times: usize,
}

impl Falling {
    fn boot(suite: Suite, number: u8, port: u16) -> Result<Self> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, number).by_lio(port)?;
        let node = lab.node(number).suite(suite).cmdline(&line(port)).boot()?;
        Ok(Self { lab, target, node, number, port, times: 0 })
    }

    /// Waits until all is up, looks whether the last end was a good one, and has something to lose at the next.
    fn is_up(&mut self) -> Result<()> {
        self.node.wait_running()?;
        let found = self.node.run("dmesg | grep -c 'EXT4-fs (sda): recovery' || true; cat /etc/marks || true")?;
        let marks = "mark\n".repeat(self.times);
        assert!(found.starts_with("0\n") && found.ends_with(&marks), "after {} ends: {found}", self.times);
        self.node.run("dd if=/dev/urandom of=/var/dirty bs=1M count=16 2>/dev/null; echo mark >>/etc/marks")?;
        self.times += 1;
        Ok(())
    }

    /// open-iscsi with a record of the root's own target, which its end would log out.
    fn start_open_iscsi(&mut self) -> Result<()> {
        let (port, iqn) = (self.port, iqn(self.number));
        self.node.run(&format!(
            "systemctl -q unmask iscsid.socket iscsid.service open-iscsi.service && systemctl start iscsid.service && \
             iscsiadm -m discovery -t sendtargets -p 10.13.20.14:{port} && systemctl start open-iscsi.service && \
             systemctl is-active open-iscsi.service && iscsiadm -m node | grep -q {iqn}"
        ))?;
        Ok(())
    }

    /// Goes down by `reboot` or `poweroff`, which ends the machine.
    fn goes_down(&mut self, verb: &str) -> Result<()> {
        let requested = request(&mut self.node, verb)?;
        self.node.wait_end(UP + DELAY * 2)?;
        let took = requested.elapsed();
        self.ended_well()?;
        is_clean(&self.target)?;
        // LIO's own word on the node's session.
        let (iqn, initiator) = (iqn(self.number), initiator(self.number));
        let acl = format!("/sys/kernel/config/target/iscsi/{iqn}/tpgt_1/acls/{initiator}");
        let info = self.lab.server().run(&format!("cat {acl}/info"))?;
        assert!(info.starts_with("No active iSCSI Session"), "{info}");
        in_time(&format!("{verb} with the target up"), took, UP);
        Ok(())
    }

    /// Goes on by the kernel that runs, and its own command line: kexec_file_load(2).
    fn goes_on_by_kexec(&mut self) -> Result<()> {
        self.node.run(
            "perl -e 'open(K, \"<\", $ARGV[0]) && open(I, \"<\", $ARGV[1]) && open(C, \"<\", \"/proc/cmdline\") or die; \
             $c = <C>; chomp $c; $c .= \"\\0\"; \
             syscall(320, fileno(K), fileno(I), length $c, $c, 0) == 0 or die \"kexec_file_load: $!\\n\"' \
             /boot/vmlinuz-$(uname -r) /boot/initrd.img-$(uname -r)",
        )?;
        let requested = request(&mut self.node, "kexec")?;
        self.node.expect("Starting new kernel", UP + DELAY * 2)?;
        let took = requested.elapsed();
        // What the next kernel says is beyond what is looked at.
        self.node.pause()?;
        self.ended_well()?;
        self.node.resume()?;
        in_time("kexec with the target up", took, UP);
        Ok(())
    }

    fn ended_well(&mut self) -> Result<()> {
        trouble_on_console(&mut self.node)?;
        says(&mut self.node, "rootaufs: shutdown: /dev/sda is clean, and the session is logged out")
    }
}

#[test]
fn debian_12() -> Result<()> {
    let mut falling = Falling::boot(Suite::Bookworm, 150, 3350)?;
    falling.is_up()?;
    falling.goes_on_by_kexec()?;
    falling.is_up()?;
    falling.goes_down("reboot")?;
    falling.node.power_on()?;
    falling.is_up()?;
    falling.start_open_iscsi()?;
    falling.goes_down("poweroff")?;
    falling.target.remove_from_lio()
}

#[test]
fn debian_13() -> Result<()> {
    let mut falling = Falling::boot(Suite::Trixie, 151, 3351)?;
    falling.is_up()?;
    falling.goes_down("poweroff")?;
    falling.node.power_on()?;
    falling.is_up()?;
    falling.start_open_iscsi()?;
    falling.goes_down("reboot")?;
    falling.target.remove_from_lio()
}

/// A name by which `./qemu/lab test faults` finds them.
mod faults {
    use super::*;

    /// Goes down with a target that `fault` ends, while something writes.
    fn goes_down_without(
        (number, port): (u8, u16),
        verb: &str,
        what: &str,
        fault: impl FnOnce(&Lab, &Target) -> Result<()>,
    ) -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, number);
        target.make_image()?;
        target.serve_by_own_tgtd(port)?;
        let mut node = lab.node(number).cmdline(&line(port)).boot()?;
        node.wait_running()?;
        node.run("nohup lab-writer /var/records >/dev/null 2>&1 &")?;
        node.wait_until("[ $(cut -d ' ' -f 1 /run/lab-writer) -ge 5 ]", Duration::from_secs(60))?;
        let progress = node.run(&format!("cat /run/lab-writer; {}", asks(verb)))?;
        let asked = Instant::now();
        let (synced, _) = records::progress(&progress)?;
        // However long the server takes.
        node.pause()?;
        let paused = Instant::now();
        fault(&lab, &target)?;
        node.resume()?;
        let requested = asked + DELAY + paused.elapsed();
        node.wait_end(DEAD + DELAY * 4)?;
        let took = requested.elapsed();
        says(&mut node, "rootaufs: shutdown: /dev/sda is given up")?;
        in_time(&format!("{verb} with the target dead"), took, DEAD);
        target.kill_own_tgtd()?;
        // What the journal has is whole.
        target.run_on_image("e2fsck -fp $image || [ $? -eq 1 ]; e2fsck -fn $image")?;
        let whole = records::check(&target.file_on_image("/var/records")?, synced)?;
        let (what, expected) = (format!("{verb} during a fault: {what}"), "down within 30 s, nothing synced is lost");
        note(
            &what,
            expected,
            &format!("after {:.1} s; {whole} records, {synced} known to be synced", took.as_secs_f64()),
        )
    }

    #[test]
    fn power_off_with_a_target_that_was_killed() -> Result<()> {
        goes_down_without((155, 3355), "poweroff", "the target was killed", |_, target| target.kill_own_tgtd())
    }

    #[test]
    fn reboot_with_a_target_that_is_silent() -> Result<()> {
        goes_down_without((156, 3356), "reboot", "the target is silent", |lab, _| {
            lab.server().run("kill -STOP $(cat /run/tgtd.156)").map(drop)
        })
    }
}
