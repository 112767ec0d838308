//! A node moves to the next generation of its tree while it runs. `./qemu/lab test switch_boot` runs these.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::time::{Duration, Instant};

use common::power_off_after_trouble;
use sidus_lab::address::address;
use sidus_lab::target::{initiator, Target};
use sidus_lab::{Lab, Node, Result, Suite};

/// From the request for a switch until all services have stopped.
const STOPPED: Duration = Duration::from_secs(300);
/// Until `rootaufs watch` has told what was published: it looks every 30 seconds.
const TOLD: Duration = Duration::from_secs(90);

/// The keeper's process, and whether it runs.
const KEEPER: &str = "grep -o '\"pid\":[0-9]*' /run/sidus/keeper.json; \
                      grep -lx '@rootaufs' /proc/[0-9]*/cmdline -z 2>/dev/null || true";

/// From the time that a node has to come up until it has seen that it does not: it looks every 15 seconds.
const SEEN: Duration = Duration::from_secs(300);

/// Generations of a tree on the server: `a`, which is current, and `b`. They share all files but those of `/etc`.
struct Generations {
    lab: Lab,
    folder: String,
}

impl Generations {
    fn make(name: &str) -> Result<Self> {
        let lab = Lab::open()?;
        // One that an earlier run has left.
        lab.server().run(&format!("rm -rf {}/srv/{name}", Suite::Trixie.scratch()))?;
        let first = lab.own_tree(Suite::Trixie, &format!("{name}/a"))?;
        lab.own_tree(Suite::Trixie, &format!("{name}/b"))?;
        let folder = first.trim_end_matches("/a").to_owned();
        lab.server().run(&format!("cd {folder}; echo a >a/etc/generation; echo b >b/etc/generation"))?;
        let generations = Self { lab, folder };
        generations.publish("a")?;
        Ok(generations)
    }

    /// One more generation, `c`, which does not come up: its `/etc` is what this script makes of it, in there.
    fn make_bad(&self, script: &str) -> Result<()> {
        let own = format!("{}/c", self.folder.rsplit('/').next().unwrap_or_default());
        let tree = self.lab.own_tree(Suite::Trixie, &own)?;
        self.lab.server().run(&format!("cd {tree}/etc && echo c >generation && {script}")).map(drop)
    }

    fn publish(&self, name: &str) -> Result<()> {
        let folder = &self.folder;
        self.lab.server().run(&format!("ln -sfn {name} {folder}/new && mv -T {folder}/new {folder}/current")).map(drop)
    }

    fn boot(&self, number: u8, cmdline: &str) -> Result<Moving> {
        let root = format!("10.13.20.13:{}/a", self.folder);
        let mut node = self.lab.node(number).suite(Suite::Trixie).nfsroot(&root).cmdline(cmdline).boot()?;
        node.wait_running()?;
        let kernel = node.run("cat /proc/sys/kernel/random/boot_id")?;
        let mut moving = Moving { node, folder: self.folder.clone(), kernel };
        moving.runs_on("a")?;
        Ok(moving)
    }
}

/// A node that moves.
struct Moving {
    node: Node,
    folder: String,
    /// What the kernel that was booted calls itself.
    kernel: String,
}

impl Moving {
    fn runs_on(&mut self, name: &str) -> Result<()> {
        let found = self.node.run("cat /etc/generation; findmnt -no SOURCE /ro; findmnt -no FSTYPE /; touch /etc/x")?;
        assert_eq!(found, format!("{name}\n10.13.20.13:{}/{name}\noverlay\n", self.folder));
        let refused = self.node.run("touch /ro/x 2>&1 || true")?;
        assert!(refused.contains("Read-only file system"), "{refused}");
        Ok(())
    }

    /// The node is told of a generation that was published.
    fn is_told(&mut self, running: &str, current: &str) -> Result<()> {
        let words = format!("{current} is out, and this node runs on {running}");
        self.node.wait_until(&format!("rootaufs status | grep -q 'generation  {words}'"), TOLD)?;
        let motd = self.node.run("cat /run/motd.d/sidus-generation")?;
        assert!(motd.contains(&words), "{motd}");
        Ok(())
    }

    /// Asks for a switch, with these `words` for it; systemd enters `to`.
    fn enters(&mut self, words: &str, to: &str) -> Result<()> {
        // The command channel ends with all other services: the answer comes before.
        let command = format!("sleep 1; rootaufs switch {words} >/run/switch.log 2>&1");
        self.node.run(&format!("setsid sh -c '{command}' </dev/null >/dev/null 2>&1 &"))?;
        let entered = self.node.expect(&format!("rootaufs: switch: systemd enters {to}"), STOPPED);
        if let Err(error) = entered {
            // Where nothing was stopped, that says why.
            let said = self.node.output("cat /run/switch.log", TOLD)?.text;
            return Err(error.context(format!("rootaufs switch said {said:?}")));
        }
        Ok(())
    }

    /// Moves by `rootaufs switch`, with these `words` for it.
    fn moves(&mut self, words: &str, from: &str, to: &str) -> Result<()> {
        let requested = Instant::now();
        self.enters(words, to)?;
        let stopped = requested.elapsed();
        self.node.wait_running()?;
        println!("switch: services stopped after {stopped:.1?}, running after {:.1?}", requested.elapsed());
        self.runs_on(to)?;
        assert_eq!(self.node.run("cat /proc/sys/kernel/random/boot_id")?, self.kernel);
        let status = self.node.run("rootaufs status")?;
        let moved = format!("moved from  10.13.20.13:{}/{from}\n", self.folder);
        assert!(status.contains(&moved) && status.contains(" ms to move here\n"), "{status}");
        assert!(!status.contains("failed  "), "{status}");
        // Nothing of the old root, and of the stage, is left.
        assert_eq!(self.node.run("findmnt -rno TARGET | grep -c -e '^/$' -e '^/run/nextroot'")?, "1\n");
        let again = self.node.run(&format!("rootaufs switch {to}"))?;
        assert_eq!(again, format!("this node runs on {to} already: nothing is done\n"));
        Ok(())
    }

    /// Moves to the bad generation, which it is tried on.
    fn tries(&mut self, words: &str) -> Result<()> {
        // From a generation that is on trial itself, it would go to the one before.
        self.node.wait_until("! [ -e /run/sidus/trial.json ]", SEEN)?;
        self.enters(words, "c")
    }

    /// Returns from the bad generation: `why` is what it says of it.
    fn returns(&mut self, to: &str, why: &str) -> Result<()> {
        self.node.expect(&format!("rootaufs: FAILED: switch to c: come up: {why}"), SEEN)?;
        self.node.expect(&format!("rootaufs: now: back to {to}"), STOPPED)?;
        self.node.expect(&format!("rootaufs: switch: systemd enters {to}"), STOPPED)?;
        self.node.wait_running()?;
        self.runs_on(to)?;
        let status = self.node.run("rootaufs status; cat /run/motd.d/sidus")?;
        assert!(status.contains("failed      switch to c: come up") && status.contains(why), "{status}");
        assert!(status.contains("WARNING: this node did not boot as asked: switch to c: come up: "), "{status}");
        Ok(())
    }
}

#[test]
fn from_memory_to_the_next_generation() -> Result<()> {
    let generations = Generations::make("forgets")?;
    let mut moving = generations.boot(160, "aufs=tmpfs")?;
    assert!(!moving.node.run("rootaufs status")?.contains("generation  "));
    moving.node.run("echo before >/etc/written")?;
    generations.publish("b")?;
    moving.is_told("a", "b")?;
    moving.moves("", "a", "b")?;
    assert_eq!(moving.node.run("ls /etc/written 2>/dev/null || true")?, "");
    moving.node.run("! [ -s /run/motd.d/sidus-generation ]")?;
    let missing = moving.node.run("rootaufs switch c 2>&1; echo $?")?;
    assert!(
        missing.contains("there is no generation \"c\" in 10.13.20.13:") && missing.ends_with("\n1\n"),
        "{missing}"
    );
    // One that systemd enters, and that waits there for a person.
    generations.make_bad(
        "printf '[Unit]\\nDefaultDependencies=no\\nOnFailure=emergency.target\\nOnFailureJobMode=replace-irreversibly\\n\\
         [Service]\\nType=oneshot\\nExecStart=false\\n' >systemd/system/breaks.service && \
         mkdir -p systemd/system/sysinit.target.wants && \
         ln -s ../breaks.service systemd/system/sysinit.target.wants/breaks.service",
    )?;
    moving.tries("c")?;
    moving.returns("b", "systemd says maintenance; failed: breaks.service")?;
    // One whose init cannot be run leaves the node where it is, and the server knows: it was asked for this one last.
    let own = format!("grep '^{}:{}/b:' /var/lib/nfs/rmtab", address(160), generations.folder);
    let asked = generations.lab.server().run(&own)?;
    let broken = "a/usr/lib/systemd/systemd";
    generations.lab.server().run(&format!(
        "cd {}; rm {broken}; printf '#!/bin/sh\\necho broken >&2; exit 1\\n' >{broken}; chmod 755 {broken}",
        generations.folder
    ))?;
    let failed = moving.node.run("rootaufs switch a 2>&1; echo $?")?;
    assert!(failed.contains("broken; the node is as it was") && failed.ends_with("\n1\n"), "{failed}");
    assert_ne!(generations.lab.server().run(&own)?, asked);
    moving.runs_on("b")?;
    // One that lacks the kernel's modules needs a real reboot.
    generations.lab.server().run(&format!("rm -r {}/a/usr/lib/modules", generations.folder))?;
    let kernel = moving.node.run("rootaufs switch a 2>&1; echo $?")?;
    assert!(kernel.contains("has no modules of the kernel that runs") && kernel.ends_with("\n3\n"), "{kernel}");
    moving.runs_on("b")?;
    power_off_after_trouble(&mut moving.node)
}

#[test]
fn with_a_layer_that_is_kept_there_and_back() -> Result<()> {
    let generations = Generations::make("remembers")?;
    let port = 3361;
    let target = Target::new(&generations.lab, 161);
    target.make_image()?;
    target.serve_by_lio(port, &initiator(161))?;
    let line = format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14:{port} root=LABEL=ISCSI panic=30");
    let mut moving = generations.boot(161, &line)?;
    moving.node.run("echo before >/etc/written; rm /etc/debian_version")?;
    let keeper = moving.node.run(KEEPER)?;
    generations.publish("b")?;
    moving.moves("", "a", "b")?;
    moving.node.run("echo between >>/etc/written")?;
    moving.moves("a", "b", "a")?;
    assert_eq!(moving.node.run("cat /etc/written; ls /etc/debian_version 2>/dev/null || true")?, "before\nbetween\n");
    assert_eq!(moving.node.run(KEEPER)?, keeper);
    // One that never comes to its end.
    generations.make_bad(
        "printf '[Service]\\nType=oneshot\\nExecStart=sleep infinity\\n' >systemd/system/hangs.service && \
         mkdir -p systemd/system/multi-user.target.wants && \
         ln -s ../hangs.service systemd/system/multi-user.target.wants/hangs.service",
    )?;
    // There and back by name: no link to the newest is needed.
    generations.lab.server().run(&format!("rm {}/current", generations.folder))?;
    moving.tries("--within 120 c")?;
    moving.node.wait_until("[ -e /run/sidus/trial.json ]", TOLD)?;
    let status = moving.node.run("rootaufs status")?;
    let trial = "trial       of c: where it is not up 120 s after it was entered, the node goes back to a\n";
    assert!(status.contains(trial), "{status}");
    moving.returns("a", "after 120 s systemd says starting; not done: hangs.service")?;
    assert_eq!(moving.node.run("cat /etc/written")?, "before\nbetween\n");
    assert_eq!(moving.node.run(KEEPER)?, keeper);
    power_off_after_trouble(&mut moving.node)?;
    let console = common::since_boot(&mut moving.node)?;
    let ended = "rootaufs: shutdown: /dev/sda is clean, and the session is logged out";
    assert!(console.contains(ended), "{}", moving.node.console().tail());
    target.run_on_image("e2fsck -fn $image && ! dumpe2fs -h $image 2>/dev/null | grep needs_recovery")?;
    target.remove_from_lio()
}
