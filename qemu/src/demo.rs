//! The demonstration: from nothing to nodes that the article's configuration booted, one that forgets and one that
//! remembers.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::Lab;
use crate::node::{Firmware, Node};
use crate::paths::Paths;
use crate::server::Server;
use crate::target::{iqn, Target, PORTAL};
use crate::{image, interactive};

/// The node that forgets.
const NODE: u8 = 21;

/// The node that remembers.
const ISCSI_NODE: u8 = 22;

/// The article's words for a node that remembers.
const ISCSI: &str = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 root=LABEL=ISCSI";

/// A boot by PXE on a slow machine.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// A command typed on the console.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// A power-off, a reboot.
const OFF_LIMIT: Duration = Duration::from_secs(120);

/// What a person would look at, one after the other.
const COMMANDS: [&str; 7] = [
    "rootaufs status",
    "findmnt -o TARGET,FSTYPE,SOURCE / ; findmnt -o TARGET,FSTYPE,SOURCE /ro ; findmnt -o TARGET,FSTYPE,SOURCE /rw",
    "echo 'written on node21' > /hello && cat /hello",
    "find /rw -name hello",
    "ls /ro/hello",
    "touch /ro/hello",
    "systemctl is-system-running",
];

/// Runs it.
pub fn run(paths: &Paths, mirror: Option<&str>, hand_over: bool) -> Result<()> {
    let started = Instant::now();
    let server = Server::at(paths);
    let was_running = server.running()?.is_some();
    heading("1. What is needed: the static program, Debian trees, disks");
    image::build_all(paths, mirror)?;
    heading("2. The server: DHCP, TFTP and NFS in a virtual machine");
    server.start()?;
    let shown = show(hand_over);
    if !was_running {
        heading("6. The end");
        server.stop()?;
    }
    shown?;
    println!("\nThe demonstration took {} s.", started.elapsed().as_secs());
    Ok(())
}

fn show(hand_over: bool) -> Result<()> {
    let lab = Lab::open()?;
    heading("3. A diskless node boots from the network: PXE, pxelinux.0, pxelinux.cfg/default");
    for line in lab.server().run("cat /srv/tftp/pxelinux.cfg/default")?.lines() {
        println!("server | {line}");
    }
    let mut node = lab.node(NODE).pxe(Firmware::Bios).scenario("demo").boot()?;
    let prefix = format!("node{NODE}");
    show_boot(&mut node, &prefix)?;
    heading("4. Logged in on the console, as root");
    if hand_over {
        return interactive::hand_over(&mut node);
    }
    log_in(&mut node, &prefix)?;
    for command in COMMANDS {
        type_and_show(&mut node, &prefix, command)?;
    }
    switch_off(&mut node, &prefix)?;
    show_persistence(&lab)
}

/// A node that has a LUN: what is written there survives a reboot.
fn show_persistence(lab: &Lab) -> Result<()> {
    heading("5. A node with an entry of its own: aufs=iscsi, on the LUN that bears its address");
    Target::new(lab, ISCSI_NODE).by_tgt()?;
    println!("server | target {} at {PORTAL}", iqn(ISCSI_NODE));
    let mut node = lab.node(ISCSI_NODE).pxe(Firmware::Bios).cmdline(ISCSI).scenario("demo-iscsi").boot()?;
    let prefix = format!("node{ISCSI_NODE}");
    show_boot(&mut node, &prefix)?;
    log_in(&mut node, &prefix)?;
    type_and_show(&mut node, &prefix, "rootaufs status")?;
    type_and_show(&mut node, &prefix, "echo 'written before the reboot' > /hello")?;
    println!();
    node.type_on_console("reboot\n")?;
    interactive::show_until_end(&mut node, &prefix, OFF_LIMIT)?;
    node.wait_end(OFF_LIMIT)?;
    node.power_on()?;
    show_boot(&mut node, &prefix)?;
    log_in(&mut node, &prefix)?;
    type_and_show(&mut node, &prefix, "cat /hello")?;
    switch_off(&mut node, &prefix)
}

fn show_boot(node: &mut Node, prefix: &str) -> Result<()> {
    let booting = Instant::now();
    interactive::show_until(node, prefix, "login: ", BOOT_LIMIT)?;
    println!("\n{prefix} was at its login prompt {:.0} s after power-on.", booting.elapsed().as_secs_f64());
    Ok(())
}

fn log_in(node: &mut Node, prefix: &str) -> Result<()> {
    node.type_on_console("root\n")?;
    interactive::show_until(node, prefix, ":~# ", COMMAND_LIMIT)
}

fn switch_off(node: &mut Node, prefix: &str) -> Result<()> {
    let off = Instant::now();
    node.type_on_console("poweroff\n")?;
    interactive::show_until_end(node, prefix, OFF_LIMIT)?;
    println!("\n{prefix} was off {:.0} s after it was told to.", off.elapsed().as_secs_f64());
    Ok(())
}

fn type_and_show(node: &mut Node, prefix: &str, command: &str) -> Result<()> {
    println!();
    node.type_on_console(&format!("{command}\n"))?;
    interactive::show_until(node, prefix, ":~# ", COMMAND_LIMIT)
}

fn heading(text: &str) {
    println!("\n== {text}");
}
