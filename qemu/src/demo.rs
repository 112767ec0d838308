//! The demonstration: from nothing to nodes that a server which `sidus` made has booted, one that forgets and one that
//! remembers.

use std::time::{Duration, Instant};

use anyhow::{bail, Result};

use crate::address::{address, mac};
use crate::lab::Lab;
use crate::node::{Firmware, Node};
use crate::paths::Paths;
use crate::server::Server;
use crate::{image, interactive};

/// The node that forgets.
const NODE: u8 = 211;

/// The node that remembers.
const ISCSI_NODE: u8 = 212;

/// A boot by PXE on a slow machine.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// A command typed on a node's console.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

/// One of the server's: a tree is copied, say.
const SERVER_LIMIT: Duration = Duration::from_secs(400);

/// A power-off, a reboot.
const OFF_LIMIT: Duration = Duration::from_secs(120);

/// What a person would look at, one after the other.
const COMMANDS: [&str; 6] = [
    "rootaufs status",
    "findmnt -o TARGET,FSTYPE,SOURCE / ; findmnt -o TARGET,FSTYPE,SOURCE /ro ; findmnt -o TARGET,FSTYPE,SOURCE /rw",
    "echo 'written on the node' > /hello && cat /hello",
    "find /rw -name hello",
    "touch /ro/hello",
    "systemctl is-system-running",
];

/// Runs it.
pub fn run(paths: &Paths, mirror: Option<&str>, hand_over: bool) -> Result<()> {
    let started = Instant::now();
    let server = Server::at(paths);
    let was_running = server.running()?.is_some();
    heading("1. What is needed: the static programs, Debian trees, disks");
    image::build_all(paths, mirror)?;
    heading("2. How a Debian became the server, when its disk was made: init, tree create, publish");
    for line in image::set_up(paths)?.lines().filter(|line| !line.starts_with("    ")) {
        println!("server | {line}");
    }
    heading("3. The server starts: DHCP, TFTP, NFS and iSCSI in a virtual machine");
    server.start()?;
    let shown = show(hand_over);
    if !was_running {
        heading("10. The end");
        server.stop()?;
    }
    shown?;
    println!("\nThe demonstration took {} s.", started.elapsed().as_secs());
    Ok(())
}

fn show(hand_over: bool) -> Result<()> {
    let lab = Lab::open()?;
    on_server(&lab, "sidus check")?;
    heading("4. A diskless node is added, and boots from the network by PXE");
    add(&lab, NODE, "")?;
    let mut node = lab.node(NODE).pxe(Firmware::Bios).scenario("demo").boot()?;
    let prefix = format!("node{NODE}");
    show_boot(&mut node, &prefix)?;
    heading("5. Logged in on its console, as root");
    if hand_over {
        return interactive::hand_over(&mut node);
    }
    log_in(&mut node, &prefix)?;
    for command in COMMANDS {
        type_and_show(&mut node, &prefix, command)?;
    }
    heading("6. The tree is changed, and published as a new generation");
    on_server(&lab, "sidus tree run hpc -- sh -c 'echo \"This is what was published last.\" >/srv/notice'")?;
    on_server(&lab, "sidus publish hpc")?;
    on_server(&lab, "sidus status")?;
    heading("7. The node moves there, while its kernel goes on");
    type_and_show(&mut node, &prefix, "cat /srv/notice")?;
    println!();
    node.type_on_console("rootaufs switch\n")?;
    let moving = Instant::now();
    interactive::show_until(&mut node, &prefix, "login: ", BOOT_LIMIT)?;
    println!("\n{prefix} was at its login prompt again {:.0} s after the command.", moving.elapsed().as_secs_f64());
    log_in(&mut node, &prefix)?;
    type_and_show(&mut node, &prefix, "cat /srv/notice")?;
    type_and_show(&mut node, &prefix, "rootaufs status")?;
    on_server(&lab, "sidus tree list")?;
    switch_off(&mut node, &prefix)?;
    on_server(&lab, &format!("sidus node remove {prefix}"))?;
    show_persistence(&lab)
}

/// A node that has a disk: what is written there survives a reboot.
fn show_persistence(lab: &Lab) -> Result<()> {
    heading("8. A node with a disk: iSCSI, with a target and an account for it alone");
    add(lab, ISCSI_NODE, " --persistent 400M")?;
    let mut node = lab.node(ISCSI_NODE).pxe(Firmware::Bios).scenario("demo-iscsi").boot()?;
    let prefix = format!("node{ISCSI_NODE}");
    show_boot(&mut node, &prefix)?;
    log_in(&mut node, &prefix)?;
    type_and_show(&mut node, &prefix, "rootaufs status")?;
    type_and_show(&mut node, &prefix, "echo 'written before the reboot' > /hello")?;
    on_server(lab, "sidus status")?;
    heading("9. What it has written is there after a reboot");
    node.type_on_console("reboot\n")?;
    interactive::show_until_end(&mut node, &prefix, OFF_LIMIT)?;
    node.wait_end(OFF_LIMIT)?;
    node.power_on()?;
    show_boot(&mut node, &prefix)?;
    log_in(&mut node, &prefix)?;
    type_and_show(&mut node, &prefix, "cat /hello")?;
    switch_off(&mut node, &prefix)?;
    on_server(lab, &format!("sidus node remove {prefix} --discard-disk"))
}

fn add(lab: &Lab, number: u8, words: &str) -> Result<()> {
    let (mac, ip) = (mac(number), address(number));
    on_server(lab, &format!("sidus node add {mac} --ip {ip} --name node{number} --tree hpc{words}"))
}

/// Types a command on the server, as root, and shows what it says.
fn on_server(lab: &Lab, command: &str) -> Result<()> {
    println!("\nserver | # {command}");
    let output = lab.server().shell().run(command, SERVER_LIMIT)?;
    for line in output.text.lines() {
        println!("server | {line}");
    }
    if output.status != 0 {
        bail!("{command}: exit status {}", output.status);
    }
    Ok(())
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
    node.type_on_console(format!("{command}\n"))?;
    interactive::show_until(node, prefix, ":~# ", COMMAND_LIMIT)
}

fn heading(text: &str) {
    println!("\n== {text}");
}
