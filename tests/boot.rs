//! Whole boots: a node of the lab, started from outside. Run by `./qemu/lab test`, which starts the server first.

use std::time::{Duration, Instant};

use sidus_lab::{Firmware, Lab, Result, Suite};

/// Without `aufs=` nothing is touched: the root is the read-only NFS tree itself.
#[test]
fn plain_nfs_root() -> Result<()> {
    let lab = Lab::open()?;
    let mut node = lab.node(21).cmdline("").boot()?;
    assert_eq!(
        node.run("findmnt -no SOURCE,FSTYPE /")?.trim(),
        "10.13.20.13:/srv/nfsroot/sidus nfs"
    );
    assert_eq!(node.run("hostname")?.trim(), "node21");
    Ok(())
}

/// The same from Debian 13's tree.
#[test]
fn plain_nfs_root_of_trixie() -> Result<()> {
    let lab = Lab::open()?;
    let mut node = lab.node(22).suite(Suite::Trixie).cmdline("").boot()?;
    assert!(node.run("cat /etc/debian_version")?.starts_with("13."));
    Ok(())
}

/// A boot that hangs ends by its limit, and the error shows the console.
#[test]
fn a_hang_ends_by_its_limit() -> Result<()> {
    let lab = Lab::open()?;
    // A second server address that does not exist: the initramfs tries for minutes.
    let mut node = lab
        .node(23)
        .nfsroot("10.13.20.99:/nowhere")
        .cmdline("")
        .boot()?;
    node.expect("Run /init", Duration::from_secs(120))?;
    let started = Instant::now();
    let Err(error) = node.expect("login:", Duration::from_secs(20)) else {
        panic!("it booted from nowhere")
    };
    assert!(started.elapsed() < Duration::from_secs(25));
    let error = error.to_string();
    assert!(
        error.contains("\"login:\" did not come on the console in 20 s"),
        "{error}"
    );
    assert!(error.contains("Run /init as init process"), "{error}");
    Ok(())
}

/// A node's own configuration file is served by its hardware address.
#[test]
fn pxe_with_a_file_of_its_own() -> Result<()> {
    let lab = Lab::open()?;
    let mut node = lab
        .node(24)
        .pxe(Firmware::Bios)
        .cmdline("mark=own")
        .boot()?;
    assert!(node.run("cat /proc/cmdline")?.contains("mark=own"));
    Ok(())
}
