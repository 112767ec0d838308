//! A server with a small tree: a shell and a mkinitramfs of its own, so that it can be published.
#![allow(dead_code)] // Each file of tests needs a part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test may fail by a panic.

use std::fs;
use std::os::unix::fs::{symlink, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::machine::Machine;

/// The working tree.
pub const TREE: &str = "srv/sidus/trees/hpc";
/// Its generations.
pub const GENERATIONS: &str = "srv/sidus/generations/hpc";
/// Their kernels and initrds.
pub const BOOT: &str = "srv/tftp/sidus/hpc";

/// Demands that it can write nothing but its result and temporary files, then makes an initrd of what it sees.
const MKINITRAMFS: &str = "#!/bin/sh
set -eu
for file in /x /etc/x /boot/x; do
\tif (: >$file) 2>/dev/null; then echo \"$file can be written\" >&2; exit 1; fi
done
: >/tmp/x; : >/var/tmp/y; : </dev/null; : >/run/z
[ \"$$\" -le 3 ]; [ -z \"${LANG-}${LC_ALL-}\" ]; [ -e /proc/self/status ]; [ ! -e /dev/kmsg ]; [ ! -e /sys/kernel ]
read -r motd </etc/motd
read -r program </usr/lib/sidus/rootaufs-initramfs
echo \"initrd of $3: $motd, $program\" >\"$2\"
";

/// A server of this name, made by [`server`].
pub fn ready(name: &str) -> Machine {
    let machine = Machine::new(name);
    server(&machine);
    machine
}

/// Which file it is.
pub fn inode(machine: &Machine, path: &str) -> u64 {
    machine.root().join(path).symlink_metadata().unwrap().ino()
}

/// Makes a server with the tree, its services not looked at.
pub fn server(machine: &Machine) {
    machine.put(
        "etc/sidus/sidus.toml",
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
         nfs = \"none\"\ntarget = \"none\"\n",
    );
    machine.put("etc/sidus/nodes.d/n1.toml", "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.20.21\"\ntree = \"hpc\"\n");
    for file in ["rootaufs", "rootaufs-initramfs", "rootaufs-shutdown"] {
        machine.put(&format!("usr/lib/sidus/{file}"), &format!("{file} 1\n"));
    }
    for file in [
        "hooks/rootaufs",
        "scripts/nfs-top/rootaufs",
        "scripts/init-bottom/rootaufs",
        "conf-hooks.d/rootaufs",
        "systemd/sidus-watch.service",
        "systemd/sidus-switch.service",
        "rootaufs.8",
    ] {
        machine.put(&format!("usr/share/sidus/{file}"), file);
    }
    machine.put("var/log/calls", "");
    fs::create_dir_all(machine.root().join("srv/sidus/generations")).unwrap();
    tree(machine);
}

fn tree(machine: &Machine) {
    for (path, text) in [
        ("boot/vmlinuz-6.1.0-9-amd64", "an older kernel"),
        ("boot/vmlinuz-6.1.0-10-amd64", "the kernel"),
        ("usr/lib/modules/6.1.0-9-amd64/modules.dep", ""),
        ("usr/lib/modules/6.1.0-10-amd64/modules.dep", ""),
        ("usr/sbin/mkinitramfs", MKINITRAMFS),
        ("usr/share/initramfs-tools/scripts/functions", ""),
        ("etc/motd", "welcome\n"),
        ("home/x/notes", "mine"),
    ] {
        machine.put(&format!("{TREE}/{path}"), text);
    }
    let at = machine.root().join(TREE);
    for folder in ["proc", "dev", "run", "tmp", "var/tmp"] {
        fs::create_dir_all(at.join(folder)).unwrap();
    }
    fs::set_permissions(at.join("usr/sbin/mkinitramfs"), fs::Permissions::from_mode(0o755)).unwrap();
    // A shell with what it is linked to, where it looks for that.
    for file in ["usr/bin/sh", "usr/lib/x86_64-linux-gnu/libc.so.6", "usr/lib64/ld-linux-x86-64.so.2"] {
        fs::create_dir_all(at.join(file).parent().unwrap()).unwrap();
        fs::copy(Path::new("/").join(file), at.join(file)).unwrap();
    }
    for name in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{name}"), at.join(name)).unwrap();
    }
}

/// The generation that nodes boot.
pub fn current(machine: &Machine) -> String {
    let link = fs::read_link(machine.root().join(GENERATIONS).join("current")).unwrap();
    link.to_str().unwrap().to_owned()
}
