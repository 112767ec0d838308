//! A node whose layer is on a LUN, and which writes all the while that something happens to it.
#![allow(dead_code)] // Each of the scenarios' crates needs a part.

use std::time::{Duration, Instant};

use sidus_lab::faults::note;
use sidus_lab::records;
use sidus_lab::target::Target;
use sidus_lab::{Lab, Node, NodeBuilder, Result};

/// How long a disk may stay blocked after the fault is over: 3 s are the aim, and the rest is for a host with much
/// else to do. The figure itself is printed.
pub const BACK: Duration = Duration::from_secs(20);

/// Where the node writes.
pub const RECORDS: &str = "/var/records";

/// How often the keeper has logged in again, for the node's shell.
const RECOVERIES: &str = "sed -n 's/.*\"recoveries\":\\([0-9]*\\),.*/\\1/p' /run/sidus/keeper.json";

/// A node whose writer runs.
pub struct Victim {
    /// The node.
    pub node: Node,
    /// Its target.
    pub target: Target,
    /// How often the session had been logged in again before the last fault: on a busy host, a server may miss a ping.
    recoveries: u64,
}

impl Victim {
    /// Boots from a target that is served at `port`.
    pub fn boot(lab: &Lab, target: Target, number: u8, port: u16) -> Result<Self> {
        Self::boot_as(lab.node(number), target, &format!("10.13.20.14:{port}"))
    }

    /// As [`Victim::boot`], where the fault is none of what else runs on a node.
    pub fn boot_bare(lab: &Lab, target: Target, number: u8, port: u16) -> Result<Self> {
        Self::boot_bare_at(lab, target, number, &format!("10.13.20.14:{port}"))
    }

    /// The same from a target that is served at `portal`.
    pub fn boot_bare_at(lab: &Lab, target: Target, number: u8, portal: &str) -> Result<Self> {
        Self::boot_as(lab.node(number).bare(), target, portal)
    }

    fn boot_as(node: NodeBuilder, target: Target, portal: &str) -> Result<Self> {
        let line = format!("aufs=iscsi ISCSI_TARGET_IP={portal} root=LABEL=ISCSI panic=30");
        let mut node = node.ordinary_frames().cmdline(&line).boot()?;
        node.wait_shell()?;
        let mut victim = Self { node, target, recoveries: 0 };
        victim.write_to(RECORDS)?;
        Ok(victim)
    }

    /// Starts the writer, and sees it write.
    pub fn write_to(&mut self, file: &str) -> Result<()> {
        self.node.run(&format!("rm -f /run/lab-writer; nohup lab-writer {file} >/dev/null 2>&1 &"))?;
        self.node.wait_until("[ -s /run/lab-writer ]", Duration::from_secs(90))?;
        self.write_on(3).map(drop)
    }

    /// How many records are synced, and what the slowest took since the last fault began.
    pub fn progress(&mut self) -> Result<(usize, Duration)> {
        let text = self.node.run("cat /run/lab-writer 2>/dev/null || echo 0 0")?;
        let (synced, slowest) = records::progress(&text)?;
        Ok((synced, Duration::from_millis(slowest)))
    }

    /// Waits until this many more records are synced.
    pub fn write_on(&mut self, more: usize) -> Result<Duration> {
        let (before, _) = self.progress()?;
        let wanted = before + more;
        self.node
            .wait_until(&format!("[ $(cut -d ' ' -f 1 /run/lab-writer) -ge {wanted} ]"), Duration::from_secs(90))?;
        Ok(self.progress()?.1)
    }

    /// A fault, from `begin` to `end`, that the session must survive: says how long the writer was held up.
    pub fn survive(
        &mut self,
        what: &str,
        lasts: Duration,
        begin: impl FnOnce(&mut Node, &Target) -> Result<()>,
        end: impl FnOnce(&mut Node, &Target) -> Result<()>,
    ) -> Result<()> {
        self.node.run("touch /run/lab-writer.reset; while [ -e /run/lab-writer.reset ]; do sleep 0.1; done")?;
        self.recoveries = recoveries(&mut self.node)?;
        let started = Instant::now();
        begin(&mut self.node, &self.target)?;
        std::thread::sleep(lasts);
        end(&mut self.node, &self.target)?;
        let lasted = started.elapsed();
        let blocked = self.write_on(5)?;
        self.check_unharmed()?;
        let said = self.node.run("dmesg | grep rootaufs: | tail -n 20")?;
        assert!(blocked < lasted + BACK, "{what}: a write took {blocked:?} where it lasted {lasted:?}\n{said}");
        let (lasted, blocked) = (lasted.as_secs_f64(), blocked.as_secs_f64());
        let beyond = (blocked - lasted).max(0.0);
        note(
            what,
            "nothing lost, no error",
            &format!("{lasted:.1} s of it; one write took {blocked:.1} s, {beyond:.1} s beyond it"),
        )
    }

    pub fn check_unharmed(&mut self) -> Result<()> {
        let trouble = self.node.run(
            "cat /run/lab-writer.failed 2>/dev/null; dmesg | grep -e 'I/O error' -e 'Remounting filesystem' \
             -e 'EXT4-fs error' -e 'Aborting journal' || true",
        )?;
        assert_eq!(trouble, "");
        Ok(())
    }

    /// The keeper says that it logged in again since the last fault began, `times` at least.
    pub fn has_recovered(&mut self, times: u64) -> Result<()> {
        wait_recovered(&mut self.node, self.recoveries + times)
    }

    /// Powers the node off, and looks on the server's image what became of the records.
    pub fn finish(mut self) -> Result<()> {
        self.check_unharmed()?;
        let (synced, _) = self.progress()?;
        self.node.power_off()?;
        let whole = records::check(&self.target.file_on_image(RECORDS)?, synced)?;
        println!("fault: {whole} records on the disk, {synced} known to be synced");
        self.target.run_on_image("e2fsck -fn $image")?;
        Ok(())
    }
}

/// How often the keeper has logged in again.
pub fn recoveries(node: &mut Node) -> Result<u64> {
    Ok(node.run(RECOVERIES)?.trim().parse()?)
}

/// Waits until the session is up, and the keeper has logged in again as often as this, or more often: it says so to a person.
pub fn wait_recovered(node: &mut Node, wanted: u64) -> Result<()> {
    let up = "grep -q '\"state\":\"up\"' /run/sidus/keeper.json";
    let said = "rootaufs status | grep -q \"logged in again $n times\"";
    let has = format!("n=$({RECOVERIES}); [ $n -ge {wanted} ] && {up} && {{ [ $n = 0 ] || {said}; }}");
    node.wait_until(&has, Duration::from_secs(60))
}
