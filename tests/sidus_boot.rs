//! What `sidus` publishes boots: on the lab's server, which `sidus` itself has made one, with its real services.
//! `./qemu/lab test sidus_boot` runs these.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod administrator;
mod common;

use std::time::{Duration, Instant};

use administrator::{is_told, moves, runs_on, Administrator, LONG, TOLD, TREE};
use common::{check_union, trouble_on_console};
use sidus_lab::{Firmware, Lab, Result};

/// Until the kernel has started that UEFI loads, with other machines on the same processor.
const FIRMWARE: Duration = Duration::from_secs(600);

#[test]
fn a_machine_that_is_no_node_boots_the_default_entry_by_uefi() -> Result<()> {
    let administrator = Administrator::comes()?;
    let current = administrator.current()?;
    let mut node = Lab::open()?.node(65).pxe(Firmware::Uefi).boot()?;
    // No other generation is published before it has read its entry.
    node.expect("Run /init as init process", FIRMWARE)?;
    drop(administrator);
    check_union(&mut node)?;
    runs_on(&mut node, &current)
}

/// Runs programs, reads what was not read before, and writes, until something fails.
const WORKS: &str = "#!/bin/sh
    n=0
    while n=$((n + 1)); do
        cat $(find /usr/bin -xtype f | shuf -n 20) >/dev/null || exit 1
        /usr/bin/id >/dev/null && /usr/bin/env true && ls -lR /etc >/dev/null && sh -c 'uname -a' >/var/works || exit 1
        echo $n >/run/works.new && mv /run/works.new /run/works
        sleep 2
    done";

/// Upgrades packages in a tree.
const UPGRADE: &str = include_str!("../qemu/upgrade");

/// How many generations come, one after the other.
const GENERATIONS: u32 = 20;

/// Whether packages are upgraded before this one. Between such, a file is changed.
fn is_upgraded(time: u32) -> bool {
    time % 10 == 1
}

#[test]
fn a_node_works_on_while_generations_are_published_and_then_moves() -> Result<()> {
    const NODE: u8 = 201;
    let administrator = Administrator::comes()?;
    let first = administrator.current()?;
    let _added = administrator.add(NODE, "--persistent 400M")?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    drop(administrator);
    let mut node = Lab::open()?.node(NODE).pxe(Firmware::Bios).boot()?;
    node.wait_running()?;
    runs_on(&mut node, &first)?;
    let administrator = Administrator::comes()?;
    assert!(!node.run("rootaufs status")?.contains("generation  "));
    let row = administrator.status_of(NODE)?;
    assert_eq!(
        row.get(1..4).unwrap_or_default(),
        ["up", &format!("{TREE}/{first}"), &format!("/srv/sidus/luns/node{NODE}.img")],
        "{row:?}"
    );
    println!("{}", administrator.sidus("tree list")?);
    drop(administrator);

    node.run(&format!(
        "echo before >/etc/written; cat >/run/work <<'END'\n{WORKS}\nEND\n\
         nohup sh /run/work >/run/worked 2>&1 & echo $! >/run/work.pid"
    ))?;
    node.wait_until("[ -s /run/works ] || [ -s /run/worked ]", TOLD)?;
    let of_first = format!("cd /srv/sidus/generations/{TREE}/{first} && tar -c --sort=name . | b2sum");
    let hash = || Lab::open()?.server().administrator().run(&of_first, LONG);
    let as_published = hash()?;
    assert_eq!(as_published.status, 0, "{}", as_published.text);
    let mut last = first.clone();
    let mut initrd = String::new();
    for time in 1..=GENERATIONS {
        let administrator = Administrator::comes()?;
        if is_upgraded(time) {
            let upgraded = administrator.sidus(&format!(
                "tree run {TREE} -- sh -eu -s {time} libc6 libc-bin coreutils <<'END'\n{UPGRADE}\nEND"
            ))?;
            assert!(upgraded.contains("Setting up libc6:amd64 ("), "{upgraded}");
            // That of a generation is made for it; in the tree there is none to be made anew at each upgrade.
            let boot = administrator.run(&format!("ls /srv/sidus/trees/{TREE}/boot"))?;
            assert!(boot.contains("vmlinuz-") && !boot.contains("initrd"), "{boot}");
        }
        administrator
            .sidus(&format!("tree run {TREE} -- sh -c 'echo {time} | tee /srv/notice >/etc/notice-{time}'"))?;
        let published = Instant::now();
        let said = administrator.sidus(&format!("publish {TREE}"))?;
        println!("sidus: published within {:.1?}: {said}", published.elapsed());
        last = administrator.current()?;
        // Debian's mkinitramfs lists /etc, and takes nothing of that name from it.
        let file = administrator.run(&format!("stat -c %i /srv/tftp/sidus/{TREE}/{last}/initrd.img"))?;
        assert_eq!(file != initrd, is_upgraded(time), "{time}");
        initrd = file;
        // What began afterwards is done, too.
        let done: u64 = node.run("cat /run/worked /run/works")?.trim().parse()?;
        node.wait_until(&format!("[ $(cat /run/works) -gt $(({done} + 1)) ]"), TOLD)?;
    }
    let found = node.run("cat /run/worked; dmesg | grep -ci 'stale file' || true; kill $(cat /run/work.pid)")?;
    assert_eq!(found, "0\n");
    is_told(&mut node, &first, &last)?;
    assert_eq!(hash()?.text, as_published.text, "what comes later changes nothing in a generation");

    // No generation goes while it moves.
    let administrator = Administrator::comes()?;
    moves(&mut node, "", &last)?;
    let libc = "tail -n 1 /usr/lib/x86_64-linux-gnu/libc.so.6; dpkg-query -W -f '${Version}\\n' libc6 coreutils";
    let upgraded = (1..=GENERATIONS).rev().find(|&time| is_upgraded(time)).unwrap();
    let found = node.run(&format!("cat /etc/written /srv/notice; {libc}"))?;
    assert!(found.starts_with(&format!("before\n{GENERATIONS}\n{upgraded}\n")), "{found}");
    assert_eq!(found.matches(&format!("+upgrade{upgraded}\n")).count(), 2, "{found}");
    node.power_off()?;
    trouble_on_console(&mut node)?;
    administrator.sidus("node remove node201 --discard-disk")?;
    administrator.sidus(&format!("tree prune {TREE} --keep 2")).map(drop)
}
