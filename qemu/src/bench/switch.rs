//! What a move to another generation takes by `rootaufs switch`, beside a reboot by PXE, which ends in the same.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::Spread;
use crate::lab::Lab;
use crate::node::{Firmware, Node};
use crate::paths::Paths;
use crate::server::Server;
use crate::{image, readme};

/// Where the README has its figures.
const README_MARKS: [&str; 2] = ["<!-- bench of switch: begin -->\n", "<!-- bench of switch: end -->\n"];

/// A node that the DHCP server knows, and `sidus` does not: it boots the generation that is current.
const NODE: u8 = 67;

/// Where the generations are.
const GENERATIONS: &str = "/srv/sidus/generations/hpc";

/// A switch, of what a reboot takes.
const MOST: f64 = 0.25;

/// From the request to the kernel of the next boot, or to systemd's next start.
const STOPPED: Duration = Duration::from_secs(300);

/// Reboots a node and moves it, `rounds` times in turn, and prints the figures; into the README as well, where asked.
pub fn run(paths: &Paths, mirror: Option<&str>, rounds: usize, readme: bool) -> Result<()> {
    image::build_all(paths, mirror)?;
    let server = Server::at(paths);
    let ran = server.running()?.is_some();
    server.start()?;
    let moved = move_all(rounds);
    if !ran {
        server.stop()?;
    }
    let (reboots, switches) = moved?;
    let (reboot, switch) = (Spread::of(reboots.into_iter())?, Spread::of(switches.into_iter())?);
    let ratio = switch.median / reboot.median;
    let verdict = if ratio <= MOST { "held" } else { "MISSED" };
    let mut text = format!(
        "{}, {}, QEMU without KVM. {rounds} times each, in turn; from the command to systemd's `running`, median (least to \
         most), in seconds.\n\n| | `rootaufs switch` | `systemctl reboot`, then PXE | ratio | at most | |\n|---|---|---|---|---|---|\n",
        readme::today()?,
        readme::machine()
    );
    writeln!(text, "| Debian 13, `aufs=tmpfs` | {switch} | {reboot} | {ratio:.2} | {MOST} | {verdict} |")?;
    println!("\n{text}");
    if readme {
        readme::fill(paths, &README_MARKS, &text)?;
    }
    Ok(())
}

fn move_all(rounds: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let lab = Lab::open()?;
    let found = lab.server().run(&format!("cd {GENERATIONS}; readlink current; ls -d [0-9]*"))?;
    let mut names = found.split_whitespace();
    let current = names.next().context("no generation is current")?;
    let other = names.find(|name| *name != current).context("there is one generation only")?;
    let mut node = lab.node(NODE).pxe(Firmware::Bios).scenario("bench-switch").reboots_by_itself().boot()?;
    node.wait_running()?;
    let (mut reboots, mut switches) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let switch = takes(
            &mut node,
            &format!("rootaufs switch {other}"),
            &format!("rootaufs: switch: systemd enters {other}"),
            other,
        )?;
        let reboot = takes(&mut node, "systemctl reboot", "Run /init as init process", current)?;
        eprintln!("  round {round} of {rounds}: switch {switch:.1} s, reboot {reboot:.1} s");
        switches.push(switch);
        reboots.push(reboot);
    }
    Ok((reboots, switches))
}

/// How many seconds pass from `command`, by way of `sign` on the console, until the node runs on generation `to`.
fn takes(node: &mut Node, command: &str, sign: &str, to: &str) -> Result<f64> {
    // The command channel ends with all other services: its answer comes before.
    node.run(&format!("setsid sh -c 'sleep 1; {command}' </dev/null >/dev/null 2>&1 &"))?;
    let requested = Instant::now() + Duration::from_secs(1);
    node.expect(sign, STOPPED)?;
    node.wait_running()?;
    let took = requested.elapsed().as_secs_f64();
    let source = node.run("findmnt -no SOURCE /ro")?;
    if !source.trim().ends_with(&format!("/{to}")) {
        bail!("after {command:?} the node runs on {}", source.trim());
    }
    Ok(took)
}
