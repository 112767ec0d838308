//! What happens to networks and targets, under a node that writes all the while. `./qemu/lab test faults` runs them.
//! Nothing that was synced may be lost, and no error may reach the writer.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

/// Their names begin with this module's.
mod faults {
    use std::time::{Duration, Instant};

    use sidus_lab::records;
    use sidus_lab::target::{initiator, Target};
    use sidus_lab::{Lab, Node, Result};

    /// How long a disk may stay blocked after the fault is over: 3 s are the aim, and the rest is for a host with much
    /// else to do. The figure itself is printed.
    const BACK: Duration = Duration::from_secs(20);

    /// Where the node writes.
    const RECORDS: &str = "/var/records";

    /// A node whose writer runs.
    struct Victim {
        node: Node,
        target: Target,
        /// How often the session was logged in again.
        recoveries: u64,
    }

    impl Victim {
        /// Boots from a target that is served at `port`.
        fn boot(lab: &Lab, target: Target, number: u8, port: u16) -> Result<Self> {
            let line = format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:{port} root=LABEL=ISCSI panic=30");
            let mut node = lab.node(number).cmdline(&line).boot()?;
            node.wait_shell()?;
            node.run(&format!("nohup lab-writer {RECORDS} >/dev/null 2>&1 &"))?;
            let mut victim = Self { node, target, recoveries: 0 };
            victim.write_on(3)?;
            Ok(victim)
        }

        /// How many records are synced, and what the slowest took since the last fault began.
        fn progress(&mut self) -> Result<(usize, Duration)> {
            let text = self.node.run("cat /run/lab-writer 2>/dev/null || echo 0 0")?;
            let (synced, slowest) = records::progress(&text)?;
            Ok((synced, Duration::from_millis(slowest)))
        }

        /// Waits until this many more records are synced.
        fn write_on(&mut self, more: usize) -> Result<Duration> {
            let (before, _) = self.progress()?;
            let wanted = before + more;
            self.node
                .wait_until(&format!("[ $(cut -d ' ' -f 1 /run/lab-writer) -ge {wanted} ]"), Duration::from_secs(90))?;
            Ok(self.progress()?.1)
        }

        /// A fault, from `begin` to `end`, that the session must survive: says how long the writer was held up.
        fn survive(
            &mut self,
            what: &str,
            lasts: Duration,
            begin: impl FnOnce(&mut Node, &Target) -> Result<()>,
            end: impl FnOnce(&mut Node, &Target) -> Result<()>,
        ) -> Result<()> {
            self.node.run("touch /run/lab-writer.reset; while [ -e /run/lab-writer.reset ]; do sleep 0.1; done")?;
            let started = Instant::now();
            begin(&mut self.node, &self.target)?;
            std::thread::sleep(lasts);
            end(&mut self.node, &self.target)?;
            let lasted = started.elapsed();
            let blocked = self.write_on(5)?;
            println!("fault: {what}: {lasted:.1?} from begin to end, writer held up for {blocked:.1?}");
            assert!(blocked < lasted + BACK, "{what}: {blocked:?} of {lasted:?}");
            self.check_unharmed()
        }

        fn check_unharmed(&mut self) -> Result<()> {
            let trouble = self.node.run(
                "cat /run/lab-writer.failed 2>/dev/null; dmesg | grep -e 'I/O error' -e 'Remounting filesystem' \
                 -e 'EXT4-fs error' -e 'Aborting journal' || true",
            )?;
            assert_eq!(trouble, "");
            Ok(())
        }

        /// The keeper says that it logged in again, `times` more.
        fn has_recovered(&mut self, times: u64) -> Result<()> {
            self.recoveries += times;
            let wanted = format!("\"state\":\"up\".*\"recoveries\":{},", self.recoveries);
            self.node.wait_until(&format!("grep -q '{wanted}' /run/sidus/keeper.json"), Duration::from_secs(60))?;
            let status = self.node.run("rootaufs status")?;
            assert!(status.contains(&format!("logged in again {} times", self.recoveries)), "{status}");
            Ok(())
        }

        /// Powers the node off, and looks on the server's image what became of the records.
        fn finish(mut self) -> Result<()> {
            self.check_unharmed()?;
            let (synced, _) = self.progress()?;
            self.node.power_off()?;
            let whole = records::check(&self.target.file_on_image(RECORDS)?, synced)?;
            println!("fault: {whole} records on the disk, {synced} known to be synced");
            self.target.run_on_image("e2fsck -fn $image")?;
            Ok(())
        }
    }

    /// How long a fault lasts, in seconds: all of them where the faults are asked for by name, else one.
    fn durations() -> &'static [u64] {
        match std::env::var_os("SIDUS_LAB_FAULTS") {
            Some(_) => &[1, 10, 60, 150],
            None => &[10],
        }
    }

    #[test]
    fn the_target_is_killed_and_comes_back() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 130);
        target.make_image()?;
        target.serve_by_own_tgtd(3330)?;
        let mut victim = Victim::boot(&lab, target, 130, 3330)?;
        for seconds in durations() {
            victim.survive(
                &format!("tgtd killed, back after {seconds} s"),
                Duration::from_secs(*seconds),
                |_, target| target.kill_own_tgtd(),
                |_, target| target.serve_by_own_tgtd(3330),
            )?;
            victim.has_recovered(1)?;
        }
        let target = victim.target.clone();
        victim.finish()?;
        target.kill_own_tgtd()
    }

    #[test]
    fn the_portal_is_gone_and_comes_back() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 131).by_lio(3331)?;
        let mut victim = Victim::boot(&lab, target, 131, 3331)?;
        for seconds in durations() {
            victim.survive(
                &format!("LIO's portal gone, back after {seconds} s"),
                Duration::from_secs(*seconds),
                |_, target| target.remove_from_lio(),
                |_, target| target.serve_by_lio(3331, &initiator(131)),
            )?;
            victim.has_recovered(1)?;
        }
        // A reset now and then.
        let resets = if durations().len() > 1 { 12 } else { 3 };
        victim.survive(
            &format!("{resets} resets of the connection, one every 5 s"),
            Duration::ZERO,
            |node, _| {
                for _ in 0..resets {
                    node.run("ss -K dst 10.13.20.14 dport = 3331 | grep -q 3331")?;
                    std::thread::sleep(Duration::from_secs(5));
                }
                Ok(())
            },
            |_, _| Ok(()),
        )?;
        victim.has_recovered(resets)?;
        let target = victim.target.clone();
        victim.finish()?;
        target.remove_from_lio()
    }

    #[test]
    fn the_link_is_down_and_lossy() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 132).by_lio(3332)?;
        let mut victim = Victim::boot(&lab, target, 132, 3332)?;
        for seconds in durations() {
            victim.survive(
                &format!("cable out, in again after {seconds} s"),
                Duration::from_secs(*seconds),
                |node, _| node.set_link(false),
                |node, _| node.set_link(true),
            )?;
        }
        for quality in ["loss 1%", "loss 10%", "delay 200ms"] {
            victim.survive(
                &format!("network with {quality} for 30 s"),
                Duration::from_secs(30),
                |node, _| {
                    node.run(&format!("tc qdisc add dev $(ls /sys/class/net | grep ^e) root netem {quality}")).map(drop)
                },
                |node, _| node.run("tc qdisc del dev $(ls /sys/class/net | grep ^e) root").map(drop),
            )?;
        }
        let target = victim.target.clone();
        victim.finish()?;
        target.remove_from_lio()
    }

    #[test]
    fn iscsid_beside_the_keeper_and_the_keeper_killed() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 133).by_lio(3333)?;
        let mut victim = Victim::boot(&lab, target, 133, 3333)?;
        // iscsid drops the connection of a session that it finds, and logs in again.
        let port = "cat /sys/class/iscsi_connection/connection1:0/local_port";
        let ours = victim.node.run(port)?;
        victim.node.run("systemctl -q unmask iscsid.service && systemctl start iscsid.service")?;
        victim.node.wait_until(&format!("[ \"$({port})\" != {} ]", ours.trim()), Duration::from_secs(60))?;
        victim.write_on(3)?;
        victim.survive(
            "portal gone for 10 s beside iscsid",
            Duration::from_secs(10),
            |_, target| target.remove_from_lio(),
            |_, target| target.serve_by_lio(3333, &initiator(133)),
        )?;
        assert!(victim.node.run("dmesg")?.contains("rootaufs: iscsid runs: it is left to it to log in again"));
        victim.has_recovered(1)?;
        // iscsid goes, and the keeper has the session for itself again.
        victim.node.run("systemctl stop iscsid.service iscsid.socket 2>/dev/null; systemctl stop iscsid.service")?;
        victim.survive(
            "portal gone for 5 s after iscsid has ended",
            Duration::from_secs(5),
            |_, target| target.remove_from_lio(),
            |_, target| target.serve_by_lio(3333, &initiator(133)),
        )?;
        victim.has_recovered(1)?;
        // A node without a keeper says so, and how to get another.
        victim.node.run("kill -9 $(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' /run/sidus/keeper.json)")?;
        victim.node.wait_until("rootaufs status | grep -q 'keeper *GONE .*\"rootaufs keep\" starts another'", BACK)?;
        let loudly =
            "rootaufs: the keeper of the iSCSI session, process .*, is GONE: .*\"rootaufs keep\" starts another";
        victim.node.wait_until(&format!("dmesg --level err | grep -q '{loudly}'"), Duration::from_secs(90))?;
        victim.node.run("rootaufs keep")?;
        victim.recoveries = 0;
        victim.survive(
            "portal gone for 5 s under the second keeper",
            Duration::from_secs(5),
            |_, target| target.remove_from_lio(),
            |_, target| target.serve_by_lio(3333, &initiator(133)),
        )?;
        victim.has_recovered(1)?;
        let target = victim.target.clone();
        victim.finish()?;
        target.remove_from_lio()
    }

    /// The scratch tree, which other nodes may run on as well: what is replaced there is what nobody needs.
    #[test]
    fn the_tree_is_changed_in_place() -> Result<()> {
        let lab = Lab::open()?;
        let mut node = lab.node(135).nfsroot("10.13.20.13:/srv/nfsroot/scratch").cmdline("aufs=tmpfs").boot()?;
        node.wait_until("[ -e /run/sidus/tree.json ]", Duration::from_secs(120))?;
        let said = "CHANGED ON THE SERVER";
        assert_eq!(node.run("yes | head -n 1")?, "y\n");
        assert!(!node.run("rootaufs status")?.contains(said));
        let changed = Instant::now();
        lab.server().run("cd /srv/nfsroot/scratch/usr/bin && cp -p yes yes.new && mv yes.new yes")?;
        node.wait_until(&format!("rootaufs status | grep -q '{said}: usr/bin; '"), Duration::from_secs(60))?;
        println!("fault: tree changed in place: named after {:.1?}", changed.elapsed());
        let told = node.run("dmesg | grep 'rootaufs: the tree changed'; cat /run/motd.d/sidus-tree")?;
        assert_eq!(told.matches("under this node: usr/bin. What was replaced answers").count(), 2, "{told}");
        let stale = node.output("yes | head -n 1", Duration::from_secs(60))?;
        assert!(stale.text.contains("Stale file handle"), "{}", stale.text);
        Ok(())
    }

    #[test]
    fn a_keeper_is_small_and_sleeps() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 134).by_lio(3334)?;
        let mut victim = Victim::boot(&lab, target, 134, 3334)?;
        victim.node.wait_running()?;
        let pid = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' /run/sidus/keeper.json)";
        let wakeups = format!("{pid}; awk '/ctxt_switches/ {{n += $2}} END {{print n}}' /proc/$pid/status");
        let before = victim.node.run(&wakeups)?;
        std::thread::sleep(Duration::from_secs(60));
        assert_eq!(before, victim.node.run(&wakeups)?, "the keeper woke up within a minute");
        let resident: u64 =
            victim.node.run(&format!("{pid}; awk '/^VmRSS/ {{print $2}}' /proc/$pid/status"))?.trim().parse()?;
        println!("fault: the keeper has {resident} KiB resident");
        assert!(resident <= 1024, "the keeper has {resident} KiB resident");
        let target = victim.target.clone();
        victim.finish()?;
        target.remove_from_lio()
    }
}
