//! The demonstration: from nothing to a node that the article's configuration booted.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::lab::Lab;
use crate::node::{Firmware, Node};
use crate::paths::Paths;
use crate::server::Server;
use crate::{image, interactive};

/// The node that the demonstration boots.
const NODE: u8 = 21;

/// A boot by PXE on a slow machine.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// A command typed on the console.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);

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
        heading("5. The end");
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
    let booting = Instant::now();
    let mut node = lab.node(NODE).pxe(Firmware::Bios).scenario("demo").boot()?;
    let prefix = format!("node{NODE}");
    interactive::show_until(&mut node, &prefix, "login: ", BOOT_LIMIT)?;
    println!("\n{prefix} was at its login prompt {:.0} s after power-on.", booting.elapsed().as_secs_f64());
    heading("4. Logged in on the console, as root");
    if hand_over {
        return interactive::hand_over(&mut node);
    }
    node.type_on_console("root\n")?;
    interactive::show_until(&mut node, &prefix, ":~# ", COMMAND_LIMIT)?;
    for command in COMMANDS {
        type_and_show(&mut node, &prefix, command)?;
    }
    let off = Instant::now();
    node.type_on_console("poweroff\n")?;
    interactive::show_until_end(&mut node, &prefix, Duration::from_secs(120))?;
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
