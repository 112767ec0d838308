//! What `sidus` publishes boots: on the lab's server, which `sidus` itself has made one, with its real services.
//! `./qemu/lab test sidus_boot` runs these.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod administrator;
mod common;

use std::time::Instant;

use administrator::{is_told, moves, runs_on, Administrator, STOPPED, TOLD, TREE};
use common::{check_union, trouble_on_console, INITRAMFS};
use sidus_lab::address::address;
use sidus_lab::{Firmware, Lab, Result};

#[test]
fn a_machine_that_is_no_node_boots_the_default_entry_by_uefi() -> Result<()> {
    let current = Administrator::comes()?.current()?;
    let mut node = Lab::open()?.node(65).pxe(Firmware::Uefi).boot()?;
    check_union(&mut node)?;
    runs_on(&mut node, &current)
}

/// What the kernel's target has of node 202, and not of what other scenarios do meanwhile; a store's number depends on what
/// these left.
const CONFIGFS: &str = "cd /sys/kernel/config/target && find . -name '*:10.13.20.202' -o -name '*5254000d14ca' -o \
                        -name 'sidus-node202*' | sed 's/fileio_[0-9]*/fileio/' | sort";

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

/// Runs programs, reads what was not read before, and writes, until something fails.
const WORKS: &str = "#!/bin/sh
    n=0
    while n=$((n + 1)); do
        for file in $(find /usr/bin -xtype f | shuf -n 20); do cat $file >/dev/null || exit 1; done
        /usr/bin/id >/dev/null && /usr/bin/env true && ls -lR /etc >/dev/null && sh -c 'uname -a' >/var/works || exit 1
        echo $n >/run/works
    done";

/// How many generations come, one after the other; `SIDUS_TEST_GENERATIONS` in the environment has another number.
fn generations() -> Result<u32> {
    std::env::var("SIDUS_TEST_GENERATIONS").map_or(Ok(3), |number| Ok(number.parse()?))
}

#[test]
fn a_node_works_on_while_generations_are_published_and_then_moves() -> Result<()> {
    const NODE: u8 = 201;
    let administrator = Administrator::comes()?;
    let first = administrator.current()?;
    administrator.add(NODE, "--persistent 400M")?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    let mut node = Lab::open()?.node(NODE).pxe(Firmware::Bios).boot()?;
    node.wait_running()?;
    runs_on(&mut node, &first)?;
    assert!(!node.run("rootaufs status")?.contains("generation  "));
    let row = administrator.status_of(NODE)?;
    assert_eq!(row.get(1..4).unwrap_or_default(), ["up", &format!("{TREE}/{first}"), "disk"], "{row:?}");
    println!("{}", administrator.sidus("tree list")?);
    drop(administrator);

    node.run(&format!(
        "echo before >/etc/written; cat >/run/work <<'END'\n{WORKS}\nEND\n\
         nohup sh /run/work >/run/worked 2>&1 & echo $! >/run/work.pid"
    ))?;
    node.wait_until("[ -s /run/works ] || [ -s /run/worked ]", TOLD)?;
    let mut last = first.clone();
    for time in 1..=generations()? {
        let administrator = Administrator::comes()?;
        // As by dpkg(1): another file takes libc's place. What follows the last section is no part of what is executed.
        let change = format!(
            "lib=/usr/lib/x86_64-linux-gnu/libc.so.6; cp -p $lib $lib.new && echo {time} >>$lib.new && mv $lib.new $lib && \
             echo {time} >/srv/notice"
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
    let found = node.run("cat /run/worked; dmesg | grep -ci 'stale file' || true; kill $(cat /run/work.pid)")?;
    assert_eq!(found, "0\n");
    is_told(&mut node, &first, &last)?;

    // No generation goes while it moves.
    let administrator = Administrator::comes()?;
    moves(&mut node, "", &last)?;
    let libc = "tail -n 1 /usr/lib/x86_64-linux-gnu/libc.so.6";
    let time = generations()?;
    assert_eq!(node.run(&format!("cat /etc/written /srv/notice; {libc}"))?, format!("before\n{time}\n{time}\n"));
    node.power_off()?;
    trouble_on_console(&mut node)?;
    administrator.sidus("node remove node201 --discard-disk").map(drop)
}
