//! The lab's server, started anew from its state after a boot: it knows nothing of what was done since, and all that scenarios
//! ask of it is there. Every node feels it: no other runs beside this one. `./qemu/lab test server_state` runs it.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

use std::time::{SystemTime, UNIX_EPOCH};

use sidus_lab::{Firmware, Lab, Result};

#[test]
fn a_server_that_goes_on_has_forgotten_and_serves() -> Result<()> {
    assert!(
        std::env::var_os("SIDUS_LAB_PROGRAM").is_some(),
        "it starts the server: run it by ./qemu/lab test server_state"
    );
    let lab = Lab::open()?;
    let server = lab.server();
    let goes_on = || -> Result<String> {
        server.stop()?;
        server.start()?;
        server.run("cat /proc/sys/kernel/random/boot_id")
    };
    // Another scenario may have had it boot since.
    let once = goes_on()?;
    server.run("echo x >/srv/written; echo x >/srv/nfsroot/scratch/written; sync")?;
    assert_eq!(goes_on()?, once, "it has booted");
    assert_eq!(server.run("ls /srv/written /srv/nfsroot/scratch/written 2>/dev/null || true")?, "");
    let its: u64 = server.run("date +%s")?.trim().parse()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    assert!(now.abs_diff(its) <= 5, "its clock says {its}, and it is {now}");
    // DHCP, TFTP and NFS.
    let mut node = lab.node(44).bare().pxe(Firmware::Bios).cmdline("aufs=tmpfs").boot()?;
    assert_eq!(node.run("findmnt -no FSTYPE /")?, "overlay\n");
    node.power_cut()
}
