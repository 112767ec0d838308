//! Whole boots with aufs, which no kernel of Debian's has: for who builds one, in the folder FOLDER. It needs aufs, the NFS root,
//! virtio's card, iSCSI over TCP, ext4 and XFS, none of them as a module. While the lab's server runs:
//! `SIDUS_LAB_AUFS=FOLDER cargo test --features lab --test aufs_boot -- --ignored`
#![allow(clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{check_union_of, power_off, since_boot, trouble_on_console, INITRAMFS};
use sidus_lab::target::{Content, Target};
use sidus_lab::{Kernel, Lab, Node, Result, Suite};

/// Boots a node with the kernel that has aufs, and with that kernel's list of what it has built in.
fn boot(number: u8, cmdline: &str) -> Result<Node> {
    let built = PathBuf::from(std::env::var_os("SIDUS_LAB_AUFS").expect("SIDUS_LAB_AUFS: where the kernel was built"));
    let (release, builtin) = (
        fs::read_to_string(built.join("include/config/kernel.release"))?,
        fs::read_to_string(built.join("modules.builtin"))?,
    );
    let modules = format!("usr/lib/modules/{}", release.trim());
    let files = [(format!("{modules}/modules.builtin"), builtin), (format!("{modules}/modules.dep"), String::new())];
    let lab = Lab::open()?;
    let initrd =
        lab.initrd_with(Suite::Bookworm, Kernel::Cloud, &files.each_ref().map(|(path, text)| (&**path, &**text)))?;
    let node = lab.node(number).kernel_image(&built.join("arch/x86/boot/bzImage")).initrd(&initrd);
    node.cmdline(&format!("sidus.union=aufs {cmdline}")).boot()
}

/// Writes, removes and renames what the tree has, and boots again.
fn change_and_reboot(node: &mut Node) -> Result<()> {
    node.run("echo written >/etc/written && rm /etc/debian_version && mv /etc/issue /etc/issue.old")?;
    node.reboot()?;
    node.wait_running()
}

/// What `change_and_reboot` did, as far as it is there.
const CHANGED: &str = "ls -d /etc/written /etc/debian_version /etc/issue /etc/issue.old 2>/dev/null || true";

#[test]
#[ignore = "needs a kernel with aufs"]
fn what_is_written_to_memory_is_gone_after_a_reboot() -> Result<()> {
    let mut node = boot(163, "aufs=tmpfs")?;
    check_union_of("aufs", &mut node)?;
    change_and_reboot(&mut node)?;
    check_union_of("aufs", &mut node)?;
    assert_eq!(node.run(CHANGED)?, "/etc/debian_version\n/etc/issue\n");
    // Nothing on the console says that a file system could not be unmounted.
    power_off(node)?;
    Ok(())
}

#[test]
#[ignore = "needs a kernel with aufs"]
fn what_is_written_to_a_lun_is_there_after_a_reboot() -> Result<()> {
    let lab = Lab::open()?;
    for (number, fs, check) in [
        (164, "ext4", "e2fsck -fn $image && ! dumpe2fs -h $image 2>/dev/null | grep needs_recovery"),
        // aufs takes no table of inode numbers on this one.
        (165, "xfs", "xfs_repair -n $image"),
    ] {
        let target = Target::new(&lab, number).content(Content::Whole(fs, "ISCSI")).by_tgt()?;
        let mut node = boot(number, "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 root=LABEL=ISCSI panic=30")?;
        node.expect("10.13.20.13:/srv/nfsroot/sidus (aufs), what is written survives a reboot", INITRAMFS)?;
        node.wait_running()?;
        change_and_reboot(&mut node)?;
        assert_eq!(node.run("findmnt -no FSTYPE /")?.trim(), "aufs");
        assert_eq!(node.run(CHANGED)?, "/etc/issue.old\n/etc/written\n");
        node.power_off()?;
        trouble_on_console(&mut node)?;
        let console = since_boot(&mut node)?;
        let ended = "rootaufs: shutdown: /dev/sda is clean, and the session is logged out";
        assert!(console.contains(ended), "{}", node.console().tail());
        target.run_on_image(check)?;
    }
    Ok(())
}
