//! The network below the root: once the real root runs, nothing in it may take that interface down or give it another
//! address, at boot, at shutdown or in between, and the address may not be given to another node.
//!
//! [`configured`] says which interfaces the initramfs brought up, [`files`] what keeps ifupdown, systemd-networkd and
//! NetworkManager from them, and [`lease`] renews what a DHCP server gave for a time only. All that is written is below
//! `/run`, which outlives the initramfs; the tree and the layer are left alone.

pub mod configured;
pub mod dhcp;
pub mod files;
pub mod lease;

use std::fs;
use std::io;
use std::path::Path;

use self::configured::Interface;

/// Keeps the interfaces of the machine whose root is `root` from what runs in the tree mounted on `rootmnt`; says which
/// these are.
///
/// # Errors
/// Those of the file system, with the path; [`io::ErrorKind::NotFound`] where the initramfs noted no interface.
pub fn keep(root: &Path, rootmnt: &Path) -> io::Result<String> {
    let interfaces = configured::read_all(root)?;
    if interfaces.is_empty() {
        let text = "no /run/net-*.conf: the network was not configured by the initramfs' ipconfig";
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    let below: Vec<String> =
        interfaces.iter().flat_map(|interface| configured::below(root, &interface.device)).collect();
    for (path, text) in files::of(&interfaces, &below, is_systemd(rootmnt)) {
        write(&root.join("run").join(path), &text)?;
    }
    let named: Vec<String> = interfaces.iter().map(Interface::to_string).collect();
    Ok(named.join("; "))
}

/// Whether the tree's init is systemd. Where it is not, there must be no `/run/systemd/system`: many programs take that
/// for a running systemd (sd_booted(3)).
fn is_systemd(rootmnt: &Path) -> bool {
    fs::read_link(rootmnt.join("sbin/init")).is_ok_and(|init| init.file_name().is_some_and(|name| name == "systemd"))
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_depends_on_the_init_of_the_tree() {
        let root = std::env::temp_dir().join(format!("sidus-network-{}", std::process::id()));
        let rootmnt = root.join("root");
        fs::create_dir_all(rootmnt.join("sbin")).unwrap();
        fs::create_dir_all(root.join("run")).unwrap();
        assert_eq!(keep(&root, &rootmnt).unwrap_err().kind(), io::ErrorKind::NotFound);

        let conf = "DEVICE='eth0'\nPROTO='dhcp'\nIPV4ADDR='10.13.20.101'\nDHCPLEASETIME='120'\n";
        fs::write(root.join("run/net-eth0.conf"), conf).unwrap();
        assert_eq!(keep(&root, &rootmnt).unwrap(), "eth0 10.13.20.101, leased for 120 s");
        assert!(root.join("run/network/ifstate").exists() && !root.join("run/systemd/system").exists());

        std::os::unix::fs::symlink("/lib/systemd/systemd", rootmnt.join("sbin/init")).unwrap();
        keep(&root, &rootmnt).unwrap();
        assert!(root.join("run/systemd/system/sidus-lease-eth0.service").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
