//! `sidus init` on a server in a folder, with stubs in place of services.
//! Needs unshare(1) and overlayfs in a user namespace: `cargo test --features server --test sidus_init`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod machine;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use machine::{said, Machine};
use sidus::server::engine::{Action, Journal, Phase};

const HERE: [&str; 5] = ["init", "--address", "10.13.20.13", "--subnet", "10.13.20.0/24"];

fn server(name: &str) -> Machine {
    let machine = Machine::new(name);
    machine.install_services();
    machine
}

#[test]
fn a_bare_server_is_made_ready() {
    let machine = server("ready");
    let dry = machine.succeeds(&[&HERE[..], &["--dry-run"]].concat());
    for line in ["write /etc/sidus/sidus.toml (0644)\n", "+address = \"10.13.20.13\"\n", "run exportfs -r\n"] {
        assert!(dry.contains(line), "{dry}");
    }
    assert!(!machine.has("etc/sidus") && !machine.has("var/lib/sidus"), "a dry run does nothing");
    machine.succeeds(&HERE);
    assert_eq!(
        machine.calls(),
        [
            "dnsmasq --test --conf-dir=/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new",
            "systemctl restart dnsmasq.service",
            "systemctl reload dnsmasq.service",
            "systemctl start nfs-server.service",
            "exportfs -r"
        ]
    );
    assert!(machine.read("etc/exports.d/sidus.exports").contains("/srv/sidus/generations 10.13.20.0/24(ro,"));
    assert_eq!(machine.read("srv/tftp/pxelinux.0"), "usr/lib/PXELINUX/pxelinux.0");
    assert!(machine.succeeds(&["config"]).contains("subnet = \"10.13.20.0/24\""));
    let json: serde_json::Value = serde_json::from_str(&machine.succeeds(&["config", "--json"])).unwrap();
    assert_eq!(json.pointer("/services/dhcp").and_then(serde_json::Value::as_str), Some("dnsmasq"));
    assert_eq!(machine.succeeds(&["init"]), "sidus: nothing to do\n");
    assert_eq!(machine.succeeds(&["init", "-n"]), "nothing to do\n");
}

#[test]
fn what_a_person_wrote_stays() {
    let machine = server("person");
    machine.put("srv/tftp/pxelinux.0", "a person's");
    machine.put("etc/exports.d/sidus.exports", "/home *(ro)\n");
    machine.put("etc/dnsmasq.conf", "a person's");
    let said = machine.fails(&HERE);
    assert!(said.contains("/etc/exports.d/sidus.exports: sidus has to write it, but it is not of sidus"), "{said}");
    assert!(!machine.has("etc/sidus/sidus.toml"), "nothing is done where something is in the way");
    machine.succeeds(&[&HERE[..], &["--nfs", "none"]].concat());
    assert_eq!(machine.read("etc/exports.d/sidus.exports"), "/home *(ro)\n");
    assert_eq!(machine.read("srv/tftp/pxelinux.0"), "a person's");
    assert_eq!(machine.read("etc/dnsmasq.conf"), "a person's");

    let text = format!(
        "# my comment\n{}",
        machine
            .read("etc/sidus/sidus.toml")
            .replace("# pool = [\"…\", \"…\"]", "pool = [\"10.13.20.200\", \"10.13.20.209\"]")
    );
    machine.put("etc/sidus/sidus.toml", &text);
    machine.succeeds(&["init"]);
    assert_eq!(machine.read("etc/sidus/sidus.toml"), text);
    assert!(machine.read("etc/dnsmasq.d/sidus.conf").contains("dhcp-range=set:sidus,10.13.20.200,10.13.20.209,"));
}

#[test]
fn a_service_that_refuses_is_told_again() {
    let machine = server("refuses");
    machine.fail_at(0);
    let said = machine.fails(&HERE);
    assert!(
        said.contains(
            "not all was told; `sidus recover` tries it again: dnsmasq --test --conf-dir=/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new: exit status 1\n  as the test wishes"
        ),
        "{said}"
    );
    assert!(!machine.calls().contains(&"systemctl restart dnsmasq.service".to_owned()), "{:?}", machine.calls());
    machine.fail_at(machine.calls().len());
    assert!(machine
        .fails(&["recover"])
        .contains("dnsmasq --test --conf-dir=/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new: exit status 1"));
    assert!(machine.succeeds(&["recover"]).contains("ended in the middle: it is finished now"));
    assert!(machine.calls().contains(&"systemctl restart dnsmasq.service".to_owned()), "{:?}", machine.calls());
}

/// The configuration is that after the command that ended in the middle, whose node is there now.
#[test]
fn what_is_brought_to_its_end_first_counts() {
    let machine = server("after-recovery");
    machine.succeeds(&HERE);
    let node = "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.20.21\"\n";
    let mut journal = Journal::new("sidus node add", Vec::new());
    journal.phase = Phase::Commit;
    journal.commit = vec![Action::write_new("/etc/sidus/nodes.d/n1.toml", node.to_owned())];
    journal.write(machine.root(), Path::new("/var/lib/sidus")).unwrap();
    machine.succeeds(&["init"]);
    assert_eq!(machine.read("var/lib/sidus/dhcp-hosts"), "52:54:00:0d:14:15,10.13.20.21,n1\n");
}

#[test]
fn check_finds_what_init_mends() {
    let machine = server("check");
    machine.succeeds(&HERE);
    machine.put("usr/local/sbin/systemctl", "#!/bin/sh\necho active\n");
    let said_first = said(&machine.sidus(&["check"]));
    assert!(!said_first.contains("not as it") && !said_first.contains("is failed"), "{said_first}");
    machine.put("etc/dnsmasq.d/sidus.conf", "# Written by sidus, and changed\n");
    machine.put("srv/tftp/private", "");
    std::fs::set_permissions(machine.root().join("srv/tftp/private"), std::fs::Permissions::from_mode(0o600)).unwrap();
    machine.put("usr/local/sbin/systemctl", "#!/bin/sh\necho failed\nexit 3\n");
    let said = machine.fails(&["check"]);
    for line in [
        "not done, or not as it was done: write /etc/dnsmasq.d/sidus.conf (0644)\n    sidus init\n",
        "/srv/tftp/private: the TFTP server may not read it\n    chmod a+rX /srv/tftp/private\n",
        "nfs-server.service is failed\n",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
}

#[test]
fn wrong_configurations_are_named_with_file_and_line() {
    let machine = server("wrong");
    machine.succeeds(&HERE);
    machine.put("etc/sidus/nodes.d/n1.toml", "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.21.21\"\n");
    for command in ["init", "config"] {
        let said = machine.fails(&[command]);
        assert_eq!(said, "sidus: /etc/sidus/nodes.d/n1.toml:2: ip: 10.13.21.21 is no machine's address in server.subnet, 10.13.20.0/24\n");
    }
}
