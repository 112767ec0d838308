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

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::report::replace;

/// Why the network was not kept from others.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// Nothing is known of it.
    #[error("no /run/net-*.conf: the network was not configured by the initramfs' ipconfig")]
    None,
    /// A file or folder below `/run`.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Keeps the interfaces of the machine whose root is `root` from what runs in the tree; says which these are.
///
/// # Errors
/// [`NetworkError`]
pub fn keep(root: &Path) -> Result<String, NetworkError> {
    let run = root.join("run");
    let failed = |path: &Path, source| NetworkError::File { path: path.to_owned(), source };
    let interfaces = configured::read_all(root).map_err(|source| failed(&run, source))?;
    let (mut words, mut below) = (String::new(), Vec::new());
    for interface in &interfaces {
        words.push_str(&[&interface.device, " ", &interface.address.to_string(), ";"].concat());
        below.extend(configured::below(root, &interface.device));
    }
    if words.pop().is_none() {
        return Err(NetworkError::None);
    }
    for (path, text) in files::of(&interfaces, &below) {
        let path = run.join(path);
        replace(&path, &text).map_err(|source| failed(&path, source))?;
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_no_sign_of_a_running_systemd() {
        let root = std::env::temp_dir().join(format!("sidus-network-{}", std::process::id()));
        fs::create_dir_all(root.join("run")).unwrap();
        assert!(matches!(keep(&root), Err(NetworkError::None)));

        let conf = "DEVICE='eth0'\nPROTO='dhcp'\nIPV4ADDR='10.13.20.101'\nDHCPLEASETIME='120'\n";
        fs::write(root.join("run/net-eth0.conf"), conf).unwrap();
        assert_eq!(keep(&root).unwrap(), "eth0 10.13.20.101");
        assert!(root.join("run/network/ifstate").exists());
        assert!(root.join("run/systemd/system.attached/sidus-lease-eth0.service").exists());
        assert!(!root.join("run/systemd/system").exists());
        fs::remove_dir_all(&root).unwrap();
    }
}
