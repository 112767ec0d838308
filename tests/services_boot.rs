//! The other services that `sidus` drives: dhcpd(8) of isc-dhcp-server and in.tftpd(8) of tftpd-hpa. All of the server's
//! nodes boot by them meanwhile: no other node runs beside it. `./qemu/lab test services_boot` runs these.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod administrator;

use std::time::Duration;

use administrator::{source, Administrator};
use sidus_lab::{Error, Firmware, Lab, Result};

/// Until init-bottom, by way of the firmware.
const FIRMWARE: Duration = Duration::from_secs(600);
const NODE: u8 = 204;

/// A server that has installed them, and knows that it has; for as long as this value lives.
struct Others<'a>(&'a Administrator);

impl<'a> Others<'a> {
    fn install(administrator: &'a Administrator) -> Result<Self> {
        let others = Self(administrator);
        // What Debian starts at once has no configuration yet.
        administrator.run(
            "systemctl stop dnsmasq.service && DEBIAN_FRONTEND=noninteractive dpkg -i /srv/packages/*.deb 2>&1 &&
             sed -i 's/^dhcp = .*/dhcp = \"isc-dhcp-server\"/; s/^tftp = .*/tftp = \"tftpd-hpa\"/' /etc/sidus/sidus.toml",
        )?;
        Ok(others)
    }

    /// By what does not panic.
    fn undo(&self) -> Result<()> {
        let Self(administrator) = self;
        let undone = administrator.output(
            "dpkg --purge isc-dhcp-server tftpd-hpa;
             rm -f /etc/dhcp/sidus.conf /etc/dhcp/dhcpd.conf /etc/default/isc-dhcp-server
             sed -i 's/^dhcp = .*/dhcp = \"dnsmasq\"/; s/^tftp = .*/tftp = \"dnsmasq\"/' /etc/sidus/sidus.toml
             systemctl start dnsmasq.service && sidus init",
        )?;
        match undone.status {
            0 => Ok(()),
            status => Err(Error::msg(format!("status {status}: {}", undone.text))),
        }
    }
}

impl Drop for Others<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("the server is not as it was before: {error}");
        }
    }
}

#[test]
fn nodes_boot_by_isc_dhcp_server_and_tftpd_hpa() -> Result<()> {
    let administrator = Administrator::comes()?;
    let generation = administrator.current()?;
    let others = Others::install(&administrator)?;
    let lab = Lab::open()?;
    let said = administrator.output("sidus init 2>&1")?.text;
    let main = "/etc/dhcp/dhcpd.conf is a person's file: add the line\n  include \"/etc/dhcp/sidus.conf\";\n";
    assert!(said.contains(main), "{said}");
    // What it said, and what Debian's own file asks for.
    administrator.run(
        "echo 'include \"/etc/dhcp/sidus.conf\";' >>/etc/dhcp/dhcpd.conf && \
         device=$(ip -o -4 address show to 10.13.20.13 | awk '{ print $2 }') && \
         sed -i \"s/^INTERFACESv4=.*/INTERFACESv4=\\\"$device\\\"/\" /etc/default/isc-dhcp-server && \
         systemctl restart isc-dhcp-server.service tftpd-hpa.service",
    )?;
    administrator.sidus("init")?;
    assert_eq!(administrator.sidus("init")?, "sidus: nothing to do\n");
    let _added = administrator.add(NODE, "--persistent 400M")?;
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");

    // Its target lets nobody in who has not proved that he knows the node's secret, which comes by TFTP.
    for firmware in [Firmware::Bios, Firmware::Uefi] {
        let mut node = lab.node(NODE).pxe(firmware).boot()?;
        node.expect(&format!("rootaufs: / is iscsi over {} (overlay)", source(&generation)), FIRMWARE)?;
        node.power_cut()?;
    }
    administrator.sidus(&format!("node remove node{NODE} --discard-disk --force"))?;
    drop(others);
    assert_eq!(administrator.sidus("check")?, "nothing to mend\n");
    Ok(())
}
