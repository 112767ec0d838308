//! What `sidus` publishes boots: on the lab's server, which `sidus` itself has made one, with its real services.
//! `./qemu/lab test sidus_boot` runs these.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::{check_union, trouble_on_console, INITRAMFS};
use sidus_lab::address::{address, mac};
use sidus_lab::faults::note;
use sidus_lab::{Firmware, Lab, Node, Result};

/// The tree that the lab's server has.
const TREE: &str = "hpc";
/// Where a copy of it is made, in an emulated machine that others keep busy.
const LONG: Duration = Duration::from_secs(400);
/// From the request for a switch until all services have stopped.
const STOPPED: Duration = Duration::from_secs(120);
/// Until `rootaufs watch` has told what was published: it looks every 30 seconds.
const TOLD: Duration = Duration::from_secs(90);

/// The server has one administrator at a time: the next one's command would not be carried out.
static ADMINISTRATOR: Mutex<()> = Mutex::new(());

/// The administrator, for as long as this value lives.
struct Administrator {
    lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

impl Administrator {
    fn comes() -> Result<Self> {
        let alone = ADMINISTRATOR.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Self { lab: Lab::open()?, _alone: alone })
    }

    /// What `sidus` with these words says; it has to succeed.
    fn sidus(&self, words: &str) -> Result<String> {
        let output = self.lab.server().shell().run(&format!("sidus {words}"), LONG)?;
        assert_eq!(output.status, 0, "sidus {words}: {}", output.text);
        Ok(output.text)
    }

    /// What `sidus` says when it refuses.
    fn sidus_refuses(&self, words: &str) -> Result<String> {
        let output = self.lab.server().shell().run(&format!("sidus {words}"), LONG)?;
        assert_eq!(output.status, 1, "sidus {words}: {}", output.text);
        Ok(output.text)
    }

    fn run(&self, command: &str) -> Result<String> {
        self.lab.server().run(command)
    }

    /// The generation that nodes boot.
    fn current(&self) -> Result<String> {
        Ok(self.run(&format!("readlink /srv/sidus/generations/{TREE}/current"))?.trim().to_owned())
    }

    /// Adds a node, whose number its name has; one that an earlier run has left is gone.
    fn add(&self, number: u8, words: &str) -> Result<()> {
        self.sidus(&format!("node remove node{number} --discard-disk --force"))?;
        let (mac, ip) = (mac(number), address(number));
        let said = self.sidus(&format!("node add {mac} --ip {ip} --name node{number} --tree {TREE} {words}"))?;
        assert!(said.ends_with(&format!("sidus: node node{number} can boot\n")), "{said}");
        Ok(())
    }

    /// What `sidus status` has on a node, word by word.
    fn status_of(&self, number: u8) -> Result<Vec<String>> {
        let table = self.sidus("status")?;
        let name = format!("node{number}");
        let row = table.lines().find(|line| line.split_whitespace().next() == Some(&name));
        Ok(row.unwrap_or_default().split_whitespace().skip(1).map(str::to_owned).collect())
    }
}

/// Where a generation is, as nodes mount it.
fn source(generation: &str) -> String {
    format!("10.13.20.13:/srv/sidus/generations/{TREE}/{generation}")
}

/// A node that runs on this generation, and mounts it as what never changes.
fn runs_on(node: &mut Node, generation: &str) -> Result<()> {
    assert_eq!(node.run("findmnt -no SOURCE /ro")?.trim(), source(generation));
    let options = node.run("findmnt -no OPTIONS /ro")?;
    let options: Vec<_> = options.trim().split(',').collect();
    for option in ["ro", "nocto", "acregmin=600", "acregmax=600", "acdirmin=600", "acdirmax=600"] {
        assert!(options.contains(&option), "{option} is not in {options:?}");
    }
    Ok(())
}

/// Moves by `rootaufs switch`, with these `words` for it.
fn moves(node: &mut Node, words: &str, to: &str) -> Result<()> {
    // The command channel ends with all other services: the answer comes before.
    let command = format!("sleep 1; rootaufs switch {words} >/run/switch.log 2>&1");
    node.run(&format!("setsid sh -c '{command}' </dev/null >/dev/null 2>&1 &"))?;
    let requested = Instant::now();
    node.expect(&format!("rootaufs: switch: systemd enters {to}"), STOPPED)?;
    node.wait_running()?;
    println!("sidus: moved to {to}, running after {:.1?}", requested.elapsed());
    runs_on(node, to)
}

/// The node is told which generation is out.
fn is_told(node: &mut Node, running: &str, current: &str) -> Result<()> {
    let words = format!("{current} is out, and this node runs on {running}");
    node.wait_until(&format!("rootaufs status | grep -q 'generation  {words}'"), TOLD)
}

#[test]
fn a_machine_that_is_no_node_boots_the_default_entry_by_uefi() -> Result<()> {
    let current = Administrator::comes()?.current()?;
    let mut node = Lab::open()?.node(65).pxe(Firmware::Uefi).boot()?;
    check_union(&mut node)?;
    runs_on(&mut node, &current)
}

/// What the kernel's target has of `sidus`, and not of other scenarios; a store's number depends on what these left.
const CONFIGFS: &str = "cd /sys/kernel/config/target && find . ! -path '*/iqn.2013*' '(' -name '*io.sidus*' -o \
                        -name 'sidus-*' ')' | sed 's/fileio_[0-9]*/fileio/' | sort";

#[test]
fn a_node_with_a_disk_keeps_what_it_writes_and_nobody_else_gets_it() -> Result<()> {
    const NODE: u8 = 202;
    let target = format!("iqn.2026-01.io.sidus.target:{}", address(NODE));
    let administrator = Administrator::comes()?;
    let generation = administrator.current()?;
    administrator.add(NODE, "--persistent 400M")?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    drop(administrator);
    let lab = Lab::open()?;
    let served = lab.server().run(CONFIGFS)?;
    assert!(served.contains(&target), "{served}");

    let mut node = lab.node(NODE).pxe(Firmware::Bios).boot()?;
    node.wait_running()?;
    runs_on(&mut node, &generation)?;
    let status = node.run("rootaufs status")?;
    assert!(status.starts_with("root        a union; what is written here survives a reboot\n"), "{status}");
    assert!(status.contains(&format!("target      {target} at 10.13.20.13:3260, as ")), "{status}");
    assert!(status.contains("proved      this node and the target by CHAP\n"), "{status}");
    assert!(status.contains("guard       persistent reservation "), "{status}");
    node.run("echo before >/etc/written; rm /etc/debian_version; sync")?;
    let administrator = Administrator::comes()?;
    let row = administrator.status_of(NODE)?;
    assert_eq!(row.get(1..4).unwrap_or_default(), ["up", &format!("{TREE}/{generation}"), "disk"], "{row:?}");
    for refused in ["remove node202 --keep-disk", "reset node202 --yes"] {
        let said = administrator.sidus_refuses(&format!("node {refused}"))?;
        assert!(
            said.contains(&format!("target {target} is in use by iqn.2026-01.io.sidus:node-5254000d14ca")),
            "{said}"
        );
    }
    drop(administrator);

    // Another node, though it knows the name.
    let line = format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.13 sidus.iscsi.target={target} panic=30");
    let mut other = lab.node(64).cmdline(&line).boot()?;
    other.expect("rootaufs: FAILED: log in", INITRAMFS)?;
    other.expect("the target knows no initiator \"iqn.2026-01.io.sidus:node-5254000d1440\"", INITRAMFS)?;
    other.power_cut()?;

    // The service is started anew while the node is down.
    node.run("setsid sh -c 'sleep 1; systemctl --no-block reboot' </dev/null >/dev/null 2>&1 &")?;
    node.wait_end(STOPPED)?;
    trouble_on_console(&mut node)?;
    lab.server().run("systemctl restart rtslib-fb-targetctl.service")?;
    assert_eq!(lab.server().run(CONFIGFS)?, served);
    node.power_on()?;
    node.wait_running()?;
    let kept = "cat /etc/written; ls /etc/debian_version 2>/dev/null || true";
    assert_eq!(node.run(kept)?, "before\n");

    // No generation goes while it moves.
    let administrator = Administrator::comes()?;
    let running = node.run("findmnt -no SOURCE /ro")?;
    let running = running.trim().rsplit('/').next().unwrap_or_default();
    let others = administrator.run(&format!("cd /srv/sidus/generations/{TREE}; ls -d [0-9]* | grep -vx {running}"))?;
    let other = others.split_whitespace().next_back().unwrap_or_default();
    moves(&mut node, other, other)?;
    drop(administrator);
    assert_eq!(node.run(kept)?, "before\n");
    node.power_off()?;
    trouble_on_console(&mut node)?;

    let administrator = Administrator::comes()?;
    let image = "/srv/sidus/luns/node202.img";
    administrator.run(&format!("e2fsck -fn {image}"))?;
    administrator.sidus("node reset node202 --yes")?;
    administrator
        .run(&format!("e2fsck -fn {image}.old && ! debugfs -R 'ls -l /sidus' {image} 2>/dev/null | grep v1"))?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    administrator.sidus("node remove node202 --discard-disk")?;
    assert_eq!(administrator.run(CONFIGFS)?, "");
    assert_eq!(
        administrator
            .run("ls /srv/sidus/luns; grep -r --exclude=lock node202 /etc/sidus /var/lib/sidus /etc/rtslib-fb-target || true")?,
        ""
    );
    Ok(())
}

/// A name by which `./qemu/lab test faults` finds it.
mod faults {
    use super::*;

    /// Runs programs, reads what was not read before, and writes, until something fails.
    const WORKS: &str = "#!/bin/sh
        n=0
        while n=$((n + 1)); do
            for file in $(find /usr/bin -xtype f | shuf -n 20); do cat $file >/dev/null || exit 1; done
            /usr/bin/id >/dev/null && /usr/bin/env true && ls -lR /etc >/dev/null && sh -c 'uname -a' >/var/works || exit 1
            echo $n >/run/works
        done";

    #[test]
    fn a_node_works_on_while_generations_are_published() -> Result<()> {
        const NODE: u8 = 201;
        let all = std::env::var_os("SIDUS_LAB_FAULTS").is_some();
        let times = if all { 20 } else { 3 };
        let administrator = Administrator::comes()?;
        let first = administrator.current()?;
        administrator.add(NODE, "")?;
        assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
        drop(administrator);
        let mut node = Lab::open()?.node(NODE).pxe(Firmware::Bios).boot()?;
        check_union(&mut node)?;
        runs_on(&mut node, &first)?;
        assert!(!node.run("rootaufs status")?.contains("generation  "));

        let administrator = Administrator::comes()?;
        let row = administrator.status_of(NODE)?;
        assert_eq!(row.get(1..4).unwrap_or_default(), ["up", &format!("{TREE}/{first}"), "memory"], "{row:?}");
        let list = administrator.sidus("tree list")?;
        println!("{list}");
        drop(administrator);

        node.run(&format!(
            "cat >/run/work <<'END'\n{WORKS}\nEND\nnohup sh /run/work >/run/worked 2>&1 & echo $! >/run/work.pid"
        ))?;
        node.wait_until("[ -s /run/works ] || [ -s /run/worked ]", TOLD)?;
        let mut last = first.clone();
        for time in 1..=times {
            let administrator = Administrator::comes()?;
            let change = format!(
                "lib=/usr/lib/x86_64-linux-gnu/libc.so.6; cp $lib $lib.new && mv $lib.new $lib; echo {time} >/srv/notice"
            );
            administrator.sidus(&format!("tree run {TREE} -- sh -c '{change}'"))?;
            let published = Instant::now();
            let said = administrator.sidus(&format!("publish {TREE}"))?;
            println!("sidus: published within {:.1?}: {said}", published.elapsed());
            last = administrator.current()?;
            // What began afterwards is done, too.
            let done: u64 = node.run("cat /run/worked /run/works")?.trim().parse()?;
            node.wait_until(&format!("[ $(cat /run/works) -gt $(({done} + 1)) ]"), TOLD)?;
        }
        assert_eq!(
            node.run("cat /run/worked; dmesg | grep -ci 'stale file' || true; kill $(cat /run/work.pid)")?,
            "0\n"
        );
        is_told(&mut node, &first, &last)?;
        node.power_off()?;
        Administrator::comes()?.sidus("node remove node201").map(drop)?;
        note(
            &format!("{times} generations are published while a node works, libc among what is new"),
            "no ESTALE, no program that fails",
            "so it did",
        )
    }
}
