//! What update-initramfs makes of the hook, in the trees of both releases. `./qemu/lab test initramfs` runs this.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

use std::time::Duration;

use sidus_lab::{Chroot, Result, Suite};

const LIMIT: Duration = Duration::from_secs(300);

/// The one kernel that this is about. The tree has two; the other's initrd would only take time.
const VERSION: &str = "version=$(basename /lib/modules/*-cloud-*)";

fn update_initramfs(tree: &Chroot) -> Result<sidus_lab::shell::Output> {
    tree.output(&format!("{VERSION}; update-initramfs -u -k $version"), LIMIT)
}

fn what_the_hook_does(suite: Suite) -> Result<()> {
    let tree = Chroot::unpack(suite)?;
    let listing =
        |what: &str| tree.run(&format!("{VERSION}; lsinitramfs -l /boot/initrd.img-$version | grep -e {what} || true"));
    // Only what hooks ask for goes in: what is there is there by this one, and the rest would take most of the time.
    tree.run(&format!(
        "echo MODULES=list >/etc/initramfs-tools/conf.d/few; {VERSION}; update-initramfs -c -k $version"
    ))?;
    for name in [
        "usr/sbin/rootaufs",
        "scripts/nfs-top/rootaufs",
        "scripts/init-bottom/rootaufs",
        "/overlay.ko",
        "/iscsi_tcp.ko",
    ] {
        assert_ne!(listing(name)?, "", "{name} is not in the initramfs");
    }

    let fails_with = |why: &[&str]| -> Result<()> {
        let output = update_initramfs(&tree)?;
        assert_ne!(output.status, 0, "{}", output.text);
        why.iter().for_each(|why| assert!(output.text.contains(why), "{why:?} is not in\n{}", output.text));
        assert!(!output.text.contains("secret-of-the-tree"), "{}", output.text);
        Ok(())
    };
    for program in ["sbin/rootaufs", "lib/sidus/rootaufs-initramfs", "lib/sidus/rootaufs-shutdown"] {
        let program = format!("/usr/{program}");
        tree.run(&format!("mv {program} /root/program"))?;
        fails_with(&[&format!("E: rootaufs: {program} is missing: install it, or remove")])?;
        tree.run(&format!("mv /root/program {program}"))?;
    }
    for (module, message) in [
        ("fs/overlayfs/overlay", "has neither a module overlay nor aufs: install the kernel's modules"),
        ("drivers/scsi/iscsi_tcp", "has no module iscsi_tcp, which aufs=iscsi needs: install the kernel's modules"),
    ] {
        tree.run(&format!("{VERSION}; mv /lib/modules/$version/kernel/{module}.ko* /root/; depmod $version"))?;
        fails_with(&[message])?;
        let folder = module.rsplit_once('/').unwrap().0;
        tree.run(&format!("{VERSION}; mv /root/*.ko* /lib/modules/$version/kernel/{folder}/; depmod $version"))?;
    }
    let conf = "/etc/sidus/iscsi.conf";
    let cannot_be_used = "E: rootaufs: /etc/sidus/iscsi.conf cannot be used: mend it, or remove it";
    tree.run("mkdir /etc/sidus")?;
    for (text, mode, reason) in [
        ("passwort = secret-of-the-tree", "600", "line 1: \"passwort\" is no key; username, password, username_in and"),
        ("username = node", "600", "username without password"),
        ("username = node\\npassword = secret-of-the-tree", "644", "mode 0644; 0600 was expected"),
    ] {
        tree.run(&format!("printf '{text}\\n' >{conf}; chmod {mode} {conf}"))?;
        fails_with(&[reason, cannot_be_used])?;
    }
    tree.run(&format!("chmod 600 {conf}"))?;
    let output = update_initramfs(&tree)?;
    assert_eq!(output.status, 0, "{}", output.text);
    let listed = listing("etc/sidus/iscsi.conf")?;
    assert!(listed.starts_with("-rw------- ") && listed.contains(" root "), "{listed}");

    // What holds secrets is root's alone, in the tree that every node sees as well.
    let mode = |expected: &str| -> Result<()> {
        let mode = tree.run(&format!("{VERSION}; stat -c %a /boot/initrd.img-$version"))?;
        assert_eq!(mode.trim(), expected);
        Ok(())
    };
    mode("600")?;
    tree.run("rm -r /etc/sidus")?;
    assert_eq!(update_initramfs(&tree)?.status, 0);
    mode("644")?;

    tree.run("cd /usr/share/initramfs-tools && rm hooks/rootaufs conf-hooks.d/rootaufs scripts/*/rootaufs")?;
    let output = update_initramfs(&tree)?;
    assert_eq!(output.status, 0, "{}", output.text);
    assert_eq!(listing("rootaufs")?, "");
    assert_eq!(listing("/overlay.ko")?, "");
    Ok(())
}

#[test]
fn debian_12_fails_loudly_and_forgets_what_is_removed() -> Result<()> {
    what_the_hook_does(Suite::Bookworm)
}

#[test]
fn debian_13_fails_loudly_and_forgets_what_is_removed() -> Result<()> {
    what_the_hook_does(Suite::Trixie)
}
