//! Whole boots: real nodes, from the lab's real server. `./qemu/lab test boot` runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::time::{Duration, Instant};

use common::{check_union, power_off, power_off_after_trouble, INITRAMFS};
use sidus_lab::faults::note;
use sidus_lab::{Firmware, Kernel, Lab, Result, Suite};

/// Until a login prompt is there, or what it says afterwards.
const LOGIN: Duration = Duration::from_secs(180);

/// What the README has an administrator write, and the names that it has for kernel and initrd: the article's.
#[test]
fn pxe_by_bios_with_the_articles_entry() -> Result<()> {
    let lab = Lab::open()?;
    lab.server().run(
        "cd /srv/tftp && ln -f vmlinuz-sidus-cloud vmlinuz-Sidus && ln -f initrd.img-sidus-cloud initrd.img-Sidus",
    )?;
    let readme = include_str!("../README.md");
    let entry = readme.split("```\n").find(|block| block.starts_with("DEFAULT tmpfs\n")).unwrap();
    assert!(
        entry.contains("KERNEL vmlinuz-Sidus\nAPPEND initrd=initrd.img-Sidus ") && entry.ends_with(" aufs=tmpfs\n")
    );
    let mut node = lab.node(21).pxe(Firmware::Bios).entry(entry).boot()?;
    check_union(&mut node)?;
    let line = node.run("cat /proc/cmdline")?;
    assert!(
        line.contains("nfsroot=10.13.20.13:/srv/nfsroot/sidus,rsize=8192,wsize=8192,tcp ip=dhcp aufs=tmpfs"),
        "{line}"
    );
    let report = node.run("rootaufs status --json")?;
    assert!(report.contains("\"source\":\"10.13.20.13:/srv/nfsroot/sidus\""), "{report}");
    let switch = node.run("rootaufs switch 2>&1; echo $?")?;
    assert!(switch.contains("systemd 252 has no soft reboot") && switch.contains("systemctl reboot"), "{switch}");
    assert!(switch.ends_with("\n3\n"), "{switch}");
    // Asked for an address when there was a link: before, the question is lost, and the next one comes up to 10 s later.
    let console = node.console().text()?;
    let at = |what: &str| console.find(what).unwrap_or_else(|| panic!("{what:?} is not on the console"));
    assert!(at("link becomes ready") < at("IP-Config: "), "{}", node.console().tail());
    power_off(node)?;
    Ok(())
}

#[test]
fn pxe_by_uefi_with_the_nodes_own_entry() -> Result<()> {
    let mut node =
        Lab::open()?.node(22).bare().pxe(Firmware::Uefi).cmdline("aufs=tmpfs sidus.tmpfs.size=200m").boot()?;
    check_union(&mut node)?;
    assert_eq!(node.run("findmnt -no SIZE /rw")?.trim(), "200M");
    power_off(node)?;
    Ok(())
}

#[test]
fn what_is_written_is_gone_after_a_reboot_and_a_person_is_told() -> Result<()> {
    let mut node = Lab::open()?.node(23).cmdline("aufs=tmpfs").boot()?;
    check_union(&mut node)?;
    // What comes before it asks is lost.
    node.expect("login: ", LOGIN)?;
    node.type_on_console("root\n")?;
    node.expect("what is written here, but for network mounts, is gone after a reboot", LOGIN)?;
    node.run("echo written >/etc/written && rm /etc/debian_version && sync")?;
    assert_eq!(node.run("cat /rw/sidus/v1/upper/etc/written")?.trim(), "written");
    node.reboot()?;
    check_union(&mut node)?;
    assert_eq!(node.run("ls /etc/written /etc/debian_version 2>/dev/null || true")?.trim(), "/etc/debian_version");
    power_off(node)?;
    Ok(())
}

/// What a tree is: every name with inode, mode, owner, size and times. Nothing can be written without a new ctime; the
/// content of what the node overwrites is looked at all the same.
const MANIFEST: &str =
    "cd /srv/nfsroot/sidus && find . -xdev -printf '%p %i %m %U:%G %s %T@ %C@ %l\\n' | sort | md5sum \
                        && find ./etc ./usr/sbin ./var/lib/dpkg/info -type f -print0 | sort -z | xargs -0 cat | md5sum";

#[test]
fn a_tree_that_is_exported_read_write_survives_a_node_that_writes_everywhere() -> Result<()> {
    let lab = Lab::open()?;
    let before = lab.server().shell().run(MANIFEST, Duration::from_secs(300))?;
    // The server exports to this node read-write, and the kernel is told to mount it so.
    let mut node = lab.node(66).bare().cmdline("aufs=tmpfs rw").boot()?;
    node.wait_running()?;
    assert!(lab.server().run("exportfs -v")?.contains("10.13.20.66"));
    let wrote = node.output(
        "find / -xdev -type d ! -path '/ro*' ! -path '/rw*' -exec sh -c 'for d; do true >\"$d/written-here\"; done 2>/dev/null; true' sh {} + && \
         test $(find /rw/sidus/v1/upper -name written-here | wc -l) -gt 500 && \
         chmod 700 /usr/bin/* && rm -rf /usr/share/misc /var/lib/dpkg/info && mv /usr/games /usr/games2 && \
         chown -R 1000 /etc && ln -f /etc/passwd /etc/passwd-link",
        Duration::from_secs(400),
    )?;
    assert_eq!(wrote.status, 0, "{}", wrote.text);
    let refused =
        node.output("touch /ro/etc/x; rm -f /ro/etc/fstab; chmod 600 /ro/etc/passwd; true", Duration::from_secs(30))?;
    assert!(refused.text.contains("Read-only file system"), "{}", refused.text);
    let after = lab.server().shell().run(MANIFEST, Duration::from_secs(300))?;
    assert_eq!((before.status, &before.text), (0, &after.text));
    Ok(())
}

#[test]
fn without_aufs_the_plain_root_boots() -> Result<()> {
    let mut node = Lab::open()?.node(24).bare().boot()?;
    node.wait_shell()?;
    assert!(node.run("findmnt -no FSTYPE /")?.starts_with("nfs"));
    assert_eq!(node.run("ls -d /ro /rw /aufs /run/motd.d/sidus 2>/dev/null || true")?, "");
    let status = node.run("rootaufs status")?;
    assert!(status.starts_with("root        the plain root: no union was asked for"), "{status}");
    Ok(())
}

#[test]
fn an_unknown_value_is_told_and_obeys_panic() -> Result<()> {
    let mut node = Lab::open()?.node(25).cmdline("aufs=ramfs sidus.nonsense=1 panic=5").boot()?;
    for problem in [
        "aufs=ramfs: not a value of aufs; accepted: tmpfs, iscsi or off\r\n",
        "sidus.nonsense=1: no such key; accepted: sidus.iscsi.target, ",
    ] {
        node.expect(&format!("rootaufs: FAILED: read the kernel's command line: {problem}"), INITRAMFS)?;
    }
    node.expect("rootaufs: remedy: mend the APPEND line of the node's PXE entry", INITRAMFS)?;
    node.expect("Rebooting automatically due to panic= boot argument", INITRAMFS)?;
    node.wait_end(INITRAMFS)?;
    Ok(())
}

#[test]
fn a_quiet_console_shows_a_failure_all_the_same() -> Result<()> {
    let mut node = Lab::open()?.node(26).cmdline("aufs=ramfs panic=1 quiet loglevel=1").boot()?;
    node.expect("rootaufs: FAILED: read the kernel's command line: aufs=ramfs", INITRAMFS)?;
    node.wait_end(INITRAMFS)?;
    Ok(())
}

#[test]
fn aufs_that_the_kernel_lacks_is_an_error_that_says_where_it_was_looked_for() -> Result<()> {
    let lab = Lab::open()?;
    let kernel = lab.server().run("basename /srv/nfsroot/sidus/lib/modules/*cloud*")?;
    let mut node = lab.node(27).cmdline("aufs=tmpfs sidus.union=aufs panic=1").boot()?;
    let kernel = kernel.trim();
    node.expect(
        &format!(
            "rootaufs: FAILED: choose the union: this kernel has no aufs: not in /proc/filesystems, and no module of that \
             name in /lib/modules/{kernel} or /root/lib/modules/{kernel}"
        ),
        INITRAMFS,
    )?;
    node.wait_end(INITRAMFS)?;
    Ok(())
}

#[test]
fn overlay_is_loaded_from_the_tree_and_its_absence_is_an_error() -> Result<()> {
    let lab = Lab::open()?;
    let kernel = lab.server().run("basename /srv/nfsroot/sidus/lib/modules/*cloud*")?;
    let index = format!("usr/lib/modules/{}/modules.dep", kernel.trim());
    // An initramfs whose index knows no module at all.
    let initrd = lab.initrd_with(Suite::Bookworm, Kernel::Cloud, &[(&index, "")])?;
    let mut node = lab.node(28).cmdline("aufs=tmpfs sidus.debug").initrd(&initrd).boot()?;
    node.expect(
        &format!("rootaufs: load kernel module /root/lib/modules/{}/kernel/fs/overlayfs/overlay.ko", kernel.trim()),
        INITRAMFS,
    )?;
    node.expect("rootaufs: / is tmpfs over 10.13.20.13:/srv/nfsroot/sidus (overlay)", INITRAMFS)?;
    drop(node);
    lab.server().run("mkdir -p /srv/nfsroot/scratch/srv/empty")?;
    let empty = "10.13.20.13:/srv/nfsroot/scratch/srv/empty";
    let line = "aufs=tmpfs sidus.union=overlay panic=1";
    let mut node = lab.node(28).nfsroot(empty).cmdline(line).initrd(&initrd).boot()?;
    node.expect("rootaufs: FAILED: choose the union: this kernel has no overlay: not in /proc/filesystems", INITRAMFS)?;
    node.expect("rootaufs: remedy: boot a kernel that has it, or rebuild the initramfs with its module", INITRAMFS)?;
    node.wait_end(INITRAMFS)?;
    Ok(())
}

#[test]
fn a_program_that_crashes_is_said_so() -> Result<()> {
    let lab = Lab::open()?;
    let crash = "#!/bin/sh\nkill -ILL $$\n";
    let initrd = lab.initrd_with(Suite::Bookworm, Kernel::Cloud, &[("usr/sbin/rootaufs", crash)])?;
    let mut node = lab.node(42).cmdline("aufs=tmpfs panic=1").initrd(&initrd).boot()?;
    node.expect("rootaufs: CRASHED (exit status 132): please report it, with the end of dmesg", INITRAMFS)?;
    node.wait_end(INITRAMFS)?;
    Ok(())
}

#[test]
fn on_failure_panic_gives_a_shell_where_panic_is_not_set() -> Result<()> {
    let mut node = Lab::open()?.node(29).bare().cmdline("aufs=tmpfs sidus.union=aufs").boot()?;
    node.expect("rootaufs: now: panic, since nothing else is asked for (sidus.on_failure=panic)", INITRAMFS)?;
    node.expect("(initramfs)", INITRAMFS)?;
    // The state before: the root is where it was, and nothing of ours is left.
    node.type_on_console("ls -d /ro /rw /aufs; grep ' /root ' /proc/mounts; grep -c result /run/sidus/report.json\n")?;
    node.expect("/aufs: No such file or directory", INITRAMFS)?;
    node.expect("10.13.20.13:/srv/nfsroot/sidus /root nfs", INITRAMFS)?;
    node.expect("1\r\n", INITRAMFS)?;
    // The shell's exit boots on with what is mounted: the plain root.
    node.type_on_console("exit\n")?;
    node.wait_shell()?;
    assert!(node.run("findmnt -no FSTYPE /")?.starts_with("nfs"));
    Ok(())
}

#[test]
fn on_failure_shell_gives_a_shell_even_with_panic() -> Result<()> {
    let mut node =
        Lab::open()?.node(30).cmdline("aufs=tmpfs sidus.union=aufs sidus.on_failure=shell panic=5").boot()?;
    node.expect("rootaufs: now: a shell (sidus.on_failure=shell)", INITRAMFS)?;
    node.expect("(initramfs)", INITRAMFS)?;
    node.type_on_console("sleep 8; echo still $((6*7))\n")?;
    node.expect("still 42", INITRAMFS)?;
    Ok(())
}

#[test]
fn on_failure_reboot_reboots() -> Result<()> {
    let mut node = Lab::open()?.node(31).cmdline("aufs=tmpfs sidus.union=aufs sidus.on_failure=reboot").boot()?;
    node.expect("rootaufs: now: a reboot in 10 s (sidus.on_failure=reboot)", INITRAMFS)?;
    node.wait_end(INITRAMFS)?;
    let console = node.console().text()?;
    assert!(!console.contains("(initramfs)"), "{console}");
    Ok(())
}

#[test]
fn on_failure_ro_boots_the_plain_root_read_only() -> Result<()> {
    let line = "aufs=tmpfs sidus.union=aufs sidus.on_failure=ro rw";
    let mut node = Lab::open()?.node(66).bare().nfs_options("noacl").cmdline(line).boot()?;
    node.expect("rootaufs: the NFS root is mounted with noacl: overlayfs asks it for access lists", INITRAMFS)?;
    node.wait_shell()?;
    assert!(node.run("findmnt -no FSTYPE /")?.starts_with("nfs"));
    let refused = node.output("touch /etc/x", Duration::from_secs(60))?;
    assert!(refused.text.contains("Read-only file system"), "{}", refused.text);
    node.run("dmesg | grep -q 'rootaufs: FAILED: '")?;
    let status = node.run("rootaufs status")?;
    assert!(status.contains("then        the plain root, read-only (sidus.on_failure=ro)"), "{status}");
    Ok(())
}

#[test]
fn on_failure_tmpfs_takes_memory_and_says_so_at_login() -> Result<()> {
    let line = "aufs=tmfps sidus.on_failure=tmpfs";
    let mut node = Lab::open()?.node(32).cmdline(line).boot()?;
    check_union(&mut node)?;
    // What comes before it asks is lost.
    node.expect("login: ", LOGIN)?;
    node.type_on_console("root\n")?;
    node.expect("WARNING: this node did not boot as asked", LOGIN)?;
    Ok(())
}

#[test]
fn two_nodes_at_once_do_not_see_each_others_writes() -> Result<()> {
    let lab = Lab::open()?;
    let mut one = lab.node(34).bare().cmdline("aufs=tmpfs").boot()?;
    let mut two = lab.node(35).bare().cmdline("aufs=tmpfs sidus.tmpfs.size=20%").boot()?;
    check_union(&mut one)?;
    check_union(&mut two)?;
    // The kernel rounds, and has had some memory for itself before.
    two.run(
        "of=$(awk '/^MemTotal/ {print $2 * 1024}' /proc/meminfo) has=$(findmnt -bno SIZE /rw); \
         test $((has * 100)) -gt $((of * 19)) && test $((has * 100)) -lt $((of * 21))",
    )?;
    one.run("echo one >/etc/who")?;
    two.run("echo two >/etc/who")?;
    assert_eq!(
        (one.run("cat /etc/who; hostname")?, two.run("cat /etc/who; hostname")?),
        ("one\nnode34\n".to_owned(), "two\nnode35\n".to_owned())
    );
    Ok(())
}

/// What trees have as their fstab, beside what all of the lab's have: the article's, that of a machine that was installed on
/// disks; and the kernel that they are booted with.
const FSTABS: &[(&str, Kernel)] = &[
    ("10.13.20.13:/srv/nfsroot/sidus / nfs ro,nolock 0 0\\n", Kernel::Generic),
    (
        "UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1\\n\
         UUID=5c5e3e9c-22b3-4b8e-9d5b-3a1f1b1a9d7e none swap sw 0 0\\nLABEL=SCRATCH /scratch ext4 defaults 0 2\\n",
        Kernel::Cloud,
    ),
];

fn runs_with_every_fstab_and_kernel(suite: Suite, number: u8) -> Result<()> {
    let lab = Lab::open()?;
    let tree = lab.own_tree(suite, "fstab")?;
    for &(fstab, kernel) in FSTABS {
        lab.server().run(&format!("printf '{fstab}' >{tree}/etc/fstab && mkdir -p {tree}/scratch"))?;
        let nfsroot = format!("10.13.20.13:{tree}");
        let mut node = lab.node(number).suite(suite).kernel(kernel).nfsroot(&nfsroot).cmdline("aufs=tmpfs").boot()?;
        check_union(&mut node)?;
        node.run("touch /etc/still-writable")?;
        assert_eq!(node.run("uname -r")?.contains("cloud"), kernel == Kernel::Cloud);
        assert_eq!(node.run("grep -c cx16 /proc/cpuinfo || true")?, "0\n", "an instruction that QEMU 7.2 gets wrong");
        if fstab.contains("LABEL=") {
            // Disks that are not there were waited for.
            power_off_after_trouble(&mut node)?;
        } else {
            power_off(node)?;
        }
    }
    Ok(())
}

#[test]
fn debian_12_runs_with_every_fstab_and_kernel() -> Result<()> {
    runs_with_every_fstab_and_kernel(Suite::Bookworm, 39)
}

#[test]
fn debian_13_runs_with_every_fstab_and_kernel() -> Result<()> {
    runs_with_every_fstab_and_kernel(Suite::Trixie, 40)
}

#[test]
fn the_nodes_own_disk_is_left_alone() -> Result<()> {
    let lab = Lab::open()?;
    let disk = lab.new_disk("boot-own-disk", 64 << 20)?;
    let format = std::process::Command::new("mke2fs").args(["-q", "-t", "ext4", "-L", "ISCSI"]).arg(&disk).status()?;
    assert!(format.success());
    let before = std::fs::read(&disk)?;
    let mut node = lab.node(41).disk(&disk).cmdline("aufs=tmpfs").boot()?;
    check_union(&mut node)?;
    node.wait_until("grep -q vda /proc/partitions", Duration::from_secs(90))?;
    assert_eq!(node.run("grep -c vda /proc/mounts || true")?.trim(), "0");
    power_off(node)?;
    assert!(before == std::fs::read(&disk)?, "the disk's image has changed");
    Ok(())
}

/// What no `panic=` ends would be waited for until a boot's limit.
#[test]
fn a_kernel_that_panics_is_waited_for_no_longer() -> Result<()> {
    let mut node = Lab::open()?.node(43).cmdline("rdinit=/none").boot()?;
    let started = Instant::now();
    let error = node.wait_shell().unwrap_err().to_string();
    assert!(error.contains("its kernel has panicked") && error.contains("Unable to mount root fs"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(120), "{:?}", started.elapsed());
    Ok(())
}

/// A name by which `./qemu/lab test faults` finds it.
mod faults {
    use super::*;

    #[test]
    fn a_full_layer_says_so_and_the_node_lives_on() -> Result<()> {
        let line = "aufs=tmpfs sidus.tmpfs.size=48m sidus.tmpfs.inodes=3k";
        let mut node = Lab::open()?.node(33).bare().cmdline(line).boot()?;
        check_union(&mut node)?;
        let full = node.output("dd if=/dev/zero of=/var/full bs=1M", Duration::from_secs(60))?;
        assert!(full.text.contains("No space left on device"), "{}", full.text);
        assert!(node.run("rootaufs status")?.contains("of 48 MiB (100 %)"));
        let many = node
            .output("rm /var/full; mkdir /many; seq 1 4000 | sed s:^:/many/: | xargs touch", Duration::from_secs(60))?;
        assert!(many.text.contains("No space left on device"), "{}", many.text);
        node.run("rm -r /many && echo fine >/var/fine && rootaufs status")?;
        power_off(node)?;
        note("tmpfs full, of bytes and of inodes", "an error for who writes, and the node lives on", "so it did")
    }
}
