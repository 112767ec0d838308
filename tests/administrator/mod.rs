//! The administrator of the lab's server, and what the nodes are to be that `sidus` makes there.
#![allow(dead_code)] // Each file of tests needs a part.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sidus_lab::address::{address, mac};
use sidus_lab::shell::Output;
use sidus_lab::{Lab, Node, Result};

/// The tree that the lab's server has.
pub const TREE: &str = "hpc";
/// Where a copy of it is made, in an emulated machine that others keep busy.
pub const LONG: Duration = Duration::from_secs(900);
/// From the request for a switch until all services have stopped.
pub const STOPPED: Duration = Duration::from_secs(300);
/// Until `rootaufs watch` has told what was published: it looks every 30 seconds.
pub const TOLD: Duration = Duration::from_secs(300);

/// The server has one administrator at a time: the next one's command would not be carried out.
static ADMINISTRATOR: Mutex<()> = Mutex::new(());

/// The administrator, for as long as this value lives.
pub struct Administrator {
    lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

impl Administrator {
    pub fn comes() -> Result<Self> {
        let alone = ADMINISTRATOR.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { lab: Lab::open()?, _alone: alone })
    }

    /// What `sidus` with these words says; it has to succeed.
    pub fn sidus(&self, words: &str) -> Result<String> {
        let output = self.output(&format!("sidus {words}"))?;
        assert_eq!(output.status, 0, "sidus {words}: {}", output.text);
        Ok(output.text)
    }

    /// What `sidus` says when it refuses.
    pub fn sidus_refuses(&self, words: &str) -> Result<String> {
        let output = self.output(&format!("sidus {words}"))?;
        assert_eq!(output.status, 1, "sidus {words}: {}", output.text);
        Ok(output.text)
    }

    /// As root on the server; it has to succeed.
    pub fn run(&self, command: &str) -> Result<String> {
        let output = self.output(command)?;
        assert_eq!(output.status, 0, "{command}: {}", output.text);
        Ok(output.text)
    }

    /// As root on the server.
    pub fn output(&self, command: &str) -> Result<Output> {
        self.lab.server().administrator().run(command, LONG)
    }

    /// The generation that nodes boot.
    pub fn current(&self) -> Result<String> {
        Ok(self.run(&format!("readlink /srv/sidus/generations/{TREE}/current"))?.trim().to_owned())
    }

    /// Adds a node, whose number its name has; one that an earlier run has left is gone.
    pub fn add(&self, number: u8, words: &str) -> Result<Added> {
        self.sidus(&format!("node remove node{number} --discard-disk --force"))?;
        let (mac, ip) = (mac(number), address(number));
        let said = self.sidus(&format!("node add {mac} --ip {ip} --name node{number} --tree {TREE} {words}"))?;
        assert!(said.ends_with(&format!("sidus: node node{number} can boot\n")), "{said}");
        Ok(Added { lab: Lab::open()?, number })
    }

    /// What `sidus status` has on a node, word by word.
    pub fn status_of(&self, number: u8) -> Result<Vec<String>> {
        let table = self.sidus("status")?;
        let name = format!("node{number}");
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(&name));
        Ok(row.unwrap_or_default().split_whitespace().skip(1).map(str::to_owned).collect())
    }
}

/// A node of the server, for as long as this value lives: what serves its disk would be in the way of scenarios that come
/// later, however this one ends.
#[must_use]
pub struct Added {
    lab: Lab,
    number: u8,
}

impl Drop for Added {
    fn drop(&mut self) {
        let remove = format!("sidus node remove node{} --discard-disk --force", self.number);
        match self.lab.server().administrator().run(&remove, LONG) {
            Ok(Output { status: 0, .. }) => {}
            other => eprintln!("the server is not as it was before: {other:?}"),
        }
    }
}

/// Where a generation is, as nodes mount it.
pub fn source(generation: &str) -> String {
    format!("10.13.20.13:/srv/sidus/generations/{TREE}/{generation}")
}

/// A node that runs on this generation, and mounts it as what never changes.
pub fn runs_on(node: &mut Node, generation: &str) -> Result<()> {
    assert_eq!(node.run("findmnt -no SOURCE /ro")?.trim(), source(generation));
    let options = node.run("findmnt -no OPTIONS /ro")?;
    let options: Vec<_> = options.trim().split(',').collect();
    for option in ["ro", "nocto", "acregmin=600", "acregmax=600", "acdirmin=600", "acdirmax=600"] {
        assert!(options.contains(&option), "{option} is not in {options:?}");
    }
    Ok(())
}

/// Moves by `rootaufs switch`, with these `words` for it.
pub fn moves(node: &mut Node, words: &str, to: &str) -> Result<()> {
    // The command channel ends with all other services: the answer comes before.
    let command = format!("sleep 1; rootaufs switch {words} >/run/switch.log 2>&1");
    node.run(&format!("setsid sh -c '{command}' </dev/null >/dev/null 2>&1 &"))?;
    let requested = Instant::now();
    let entered = node.expect(&format!("rootaufs: switch: systemd enters {to}"), STOPPED);
    if let Err(error) = entered {
        // Where nothing was stopped, that says why.
        let said = node.output("cat /run/switch.log", TOLD)?.text;
        return Err(error.context(format!("rootaufs switch said {said:?}")));
    }
    node.wait_running()?;
    println!("sidus: moved to {to}, running after {:.1?}", requested.elapsed());
    runs_on(node, to)
}

/// The node is told which generation is out.
pub fn is_told(node: &mut Node, running: &str, current: &str) -> Result<()> {
    let words = format!("{current} is out, and this node runs on {running}");
    node.wait_until(&format!("rootaufs status | grep -q 'generation  {words}'"), TOLD)
}
