//! What happens to networks and targets, under a node that writes all the while. `./qemu/lab test faults` runs them.
//! Nothing that was synced may be lost, and no error may reach the writer.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod victim;

/// Their names begin with this module's.
mod faults {
    use std::time::{Duration, Instant, SystemTime};

    use sidus_lab::faults::note;
    use sidus_lab::records;
    use sidus_lab::target::{initiator, Content, Target};
    use sidus_lab::{Lab, Node, Result};

    use crate::victim::{recoveries, wait_recovered, Victim, BACK, RECORDS};

    /// Until init-bottom is over, with other machines on the same processor.
    const INITRAMFS: Duration = Duration::from_secs(180);
    /// Two pings of 5 s, on a busy host.
    const LOST: Duration = Duration::from_secs(40);

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
        // It takes connections, and answers none: by then the session is lost, and a login waits.
        let tell = |signal: &str| lab.server().run(&format!("kill -{signal} $(cat /run/tgtd.130)")).map(drop);
        victim.survive("tgtd halted for 15 s", Duration::from_secs(15), |_, _| tell("STOP"), |_, _| tell("CONT"))?;
        victim.has_recovered(1)?;
        let target = victim.target.clone();
        victim.finish()?;
        target.kill_own_tgtd()
    }

    #[test]
    fn the_target_is_halted_while_the_node_mounts() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 139).content(Content::Whole("btrfs", "ISCSI"));
        target.make_image()?;
        target.serve_by_own_tgtd(3339)?;
        let line = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:3339 root=LABEL=ISCSI panic=30 sidus.debug";
        let mut node = lab.node(139).bare().cmdline(line).boot()?;
        // The driver of Btrfs tries out its sums for a second before it mounts. A busy server takes longer to be told.
        node.expect("rootaufs: keep other nodes from writing to it: reserved for", INITRAMFS)?;
        node.pause()?;
        lab.server().run("kill -STOP $(cat /run/tgtd.139)")?;
        node.resume()?;
        let halted = Instant::now();
        node.expect("rootaufs: session 1 with", LOST)?;
        assert!(!node.console().text()?.contains("rootaufs: mount the file system on /rw"), "it was mounted by then");
        lab.server().run("kill -CONT $(cat /run/tgtd.139)")?;
        let (again, lasted) = (Instant::now(), halted.elapsed().as_secs_f64());
        node.expect("rootaufs: mount the file system on /rw", BACK)?;
        let beyond = again.elapsed().as_secs_f64();
        node.wait_shell()?;
        wait_recovered(&mut node, 1)?;
        assert_eq!(node.run("cat /sys/class/iscsi_session/session1/{state,recovery_tmo}")?, "LOGGED_IN\n600\n");
        note(
            "tgtd halted while the node mounts",
            "the boot goes on",
            &format!("{lasted:.1} s of it; mounted {beyond:.1} s after it"),
        )?;
        node.power_off()?;
        target.kill_own_tgtd()
    }

    #[test]
    fn the_portal_is_gone_and_comes_back() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 131).by_lio(3331)?;
        let mut victim = Victim::boot_bare(&lab, target, 131, 3331)?;
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
                    let before = recoveries(node)?;
                    wait_recovered(node, before)?;
                    node.run("ss -K dst 10.13.20.14 dport = 3331 | grep -q 3331")?;
                    wait_recovered(node, before + 1)?;
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
    fn the_address_goes_the_card_is_reset_and_the_target_redirects() -> Result<()> {
        let lab = Lab::open()?;
        let server = lab.server().clone();
        let address = move |what: &str| {
            server.run(&format!("ip address {what} 10.13.20.15/24 dev $(ls /sys/class/net | grep ^e)"))
        };
        address("replace")?;
        let target = Target::new(&lab, 140);
        target.make_image()?;
        target.serve_by_own_tgtd_at("10.13.20.15:3340")?;
        let mut victim = Victim::boot_bare_at(&lab, target, 140, "10.13.20.15:3340")?;
        victim.survive(
            "portal's address gone, back after 15 s",
            Duration::from_secs(15),
            |_, _| address("delete").map(drop),
            |_, _| address("replace").map(drop),
        )?;
        victim.has_recovered(1)?;
        victim.survive(
            "network card reset",
            Duration::ZERO,
            |node, _| {
                // By one process: programs come over that card.
                let reset = "card=$(ls /sys/class/net | grep ^e); printf 'link set %s down\\nlink set %s up\\n' $card $card | ip -batch -";
                node.run(reset).map(drop)
            },
            |_, _| Ok(()),
        )?;
        victim.survive(
            "target redirects at a new login",
            Duration::ZERO,
            |node, target| {
                target.redirect_own_tgtd(141, 3342)?;
                node.run("ss -K dst 10.13.20.15 dport = 3340 | grep -q 3340").map(drop)
            },
            |_, _| Ok(()),
        )?;
        victim.has_recovered(1)?;
        assert_eq!(victim.node.run("cat /sys/class/iscsi_connection/connection1:0/port")?, "3342\n");
        let target = victim.target.clone();
        victim.finish()?;
        target.kill_tgtd(141)?;
        target.kill_own_tgtd()?;
        address("delete").map(drop)
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
        victim.node.wait_running()?;
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
        victim.has_recovered(1)?;
        let said = victim.node.run("dmesg")?;
        assert!(said.contains("rootaufs: iscsid runs: it is left to it to log in again"), "{said}");
        // iscsid knows of no reservation, and a target that was removed has forgotten it.
        assert!(said.contains("rootaufs: the target had forgotten whose the LUN is: reserved again"), "{said}");
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
        note("keeper killed", "said within 90 s, with the remedy", "said")?;
        victim.node.run("rootaufs keep")?;
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
        node.wait_running()?;
        node.wait_until("[ -e /run/sidus/tree.json ]", Duration::from_secs(120))?;
        let said = "CHANGED ON THE SERVER";
        assert_eq!(node.run("yes | head -n 1")?, "y\n");
        assert!(!node.run("rootaufs status")?.contains(said));
        let changed = Instant::now();
        lab.server().run("cd /srv/nfsroot/scratch/usr/bin && cp -p yes yes.new && mv yes.new yes")?;
        node.wait_until(&format!("rootaufs status | grep -q '{said}: usr/bin; '"), Duration::from_secs(60))?;
        let after = changed.elapsed().as_secs();
        note("tree changed in place on the server", "named within 60 s, with the remedy", &format!("after {after} s"))?;
        let told = node.run("dmesg | grep 'rootaufs: the tree changed'; cat /run/motd.d/sidus-tree")?;
        assert_eq!(told.matches("under this node: usr/bin. What was replaced answers").count(), 2, "{told}");
        let stale = node.output("/usr/bin/yes | head -n 1", Duration::from_secs(60))?;
        assert!(stale.text.contains("Stale file handle"), "{}", stale.text);
        Ok(())
    }

    #[test]
    fn the_node_loses_power_again_and_again() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 136).by_lio(3336)?;
        let mut victim = Victim::boot_bare(&lab, target, 136, 3336)?;
        let times = if durations().len() > 1 { 20 } else { 3 };
        let (mut file, mut records) = (RECORDS.to_owned(), 0);
        for time in 1..=times {
            let moment = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.subsec_millis();
            std::thread::sleep(Duration::from_millis(3 * u64::from(moment)));
            let (synced, _) = victim.progress()?;
            victim.node.power_cut()?;
            victim.node.power_on()?;
            victim.node.wait_shell()?;
            records += records::check(&victim.node.run(&format!("cat {file}; rm {file}"))?, synced)?;
            file = format!("{RECORDS}.{time}");
            victim.write_to(&file)?;
        }
        let found = format!("{records} records, nothing synced is missing");
        note(&format!("node loses power, {times} times"), "nothing synced is lost", &found)?;
        let target = victim.target.clone();
        victim.node.power_off()?;
        target.run_on_image("e2fsck -fn $image")?;
        target.remove_from_lio()
    }

    /// The image is a sparse file: its store may have less than it promises.
    #[test]
    fn the_targets_store_is_full() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 137);
        target.make_image()?;
        target.run_on_image(
            "set -e; mkdir -p /srv/small; mount -t tmpfs -o size=80m small /srv/small
             cp --sparse=always $image /srv/small; ln -sf /srv/small/$(basename $image) $image",
        )?;
        target.serve_by_lio(3337, &initiator(137))?;
        let mut victim = Victim::boot_bare(&lab, target, 137, 3337)?;
        let fill = "dd if=/dev/urandom of=/var/fill bs=1M count=200 conv=fsync";
        let full = victim.node.output(fill, Duration::from_secs(180))?;
        assert_ne!(full.status, 0, "{}", full.text);
        let (synced, _) = victim.progress()?;
        victim.node.power_cut()?;
        victim.target.run_on_image("mount -o remount,size=600m /srv/small")?;
        victim.node.power_on()?;
        victim.node.wait_shell()?;
        let whole = records::check(&victim.node.run(&format!("cat {RECORDS}"))?, synced)?;
        let found = format!("an error, {whole} records on the disk, {synced} known to be synced");
        note("target's store full", "an error for who writes; nothing synced is lost", &found)?;
        let target = victim.target.clone();
        victim.node.power_off()?;
        target.remove_from_lio()?;
        target.run_on_image("umount -l /srv/small; rm $image").map(drop)
    }

    #[test]
    fn the_lun_is_resized() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 138).by_lio(3338)?;
        let mut victim = Victim::boot_bare(&lab, target, 138, 3338)?;
        // LIO takes a file's size once: the target goes for a moment.
        victim.survive(
            "LUN resized, from 400 to 800 MiB",
            Duration::ZERO,
            |_, target| {
                target.remove_from_lio()?;
                target.run_on_image("truncate -s 800M $image").map(drop)
            },
            |_, target| target.serve_by_lio(3338, &initiator(138)),
        )?;
        victim.has_recovered(1)?;
        victim.node.run("echo 1 >/sys/block/sda/device/rescan && resize2fs /dev/sda")?;
        let size: u64 = victim.node.run("stat -f -c '%b * %S / 1048576' /rw | xargs expr")?.trim().parse()?;
        assert!(size > 600, "{size} MiB");
        victim.write_on(3)?;
        let target = victim.target.clone();
        victim.finish()?;
        target.remove_from_lio()
    }

    /// Whether the keeper sleeps for a minute. A server that misses a ping of the session wakes it up, and nothing else may.
    fn sleeps(node: &mut Node, wakeups: &str) -> Result<bool> {
        let lost = recoveries(node)?;
        wait_recovered(node, lost)?;
        let before = node.run(wakeups)?;
        std::thread::sleep(Duration::from_secs(60));
        let sleeps = node.run(wakeups)? == before;
        wait_recovered(node, lost)?;
        assert!(sleeps || recoveries(node)? > lost, "the keeper woke up within a minute");
        Ok(sleeps)
    }

    #[test]
    fn a_keeper_is_small_and_sleeps() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 134).by_lio(3334)?;
        let mut victim = Victim::boot(&lab, target, 134, 3334)?;
        victim.node.wait_running()?;
        let pid = "pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/' /run/sidus/keeper.json)";
        let wakeups = format!("{pid}; awk '/ctxt_switches/ {{n += $2}} END {{print n}}' /proc/$pid/status");
        let node = &mut victim.node;
        assert!(
            sleeps(node, &wakeups)? || sleeps(node, &wakeups)? || sleeps(node, &wakeups)?,
            "no minute without a loss"
        );
        let resident: u64 =
            victim.node.run(&format!("{pid}; awk '/^VmRSS/ {{print $2}}' /proc/$pid/status"))?.trim().parse()?;
        assert!(resident <= 1024, "the keeper has {resident} KiB resident");
        note(
            "none, for a minute",
            "the keeper has at most 1024 KiB and does not wake up",
            &format!("{resident} KiB, no context switch"),
        )?;
        let target = victim.target.clone();
        victim.finish()?;
        target.remove_from_lio()
    }
}
