use super::*;
use crate::server::config::Settings;
use crate::server::services::Program;
use crate::server::services::LOADERS;

fn config(services: [&str; 4]) -> Config {
    let [dhcp, tftp, nfs, target] = services;
    let text = format!(
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"{dhcp}\"\ntftp = \"{tftp}\"\n\
         nfs = \"{nfs}\"\ntarget = \"{target}\"\n"
    );
    Config { settings: Settings::parse(&text).unwrap(), nodes: Vec::new() }
}

#[test]
fn each_finding_has_a_remedy() {
    let config = config(["dnsmasq", "dnsmasq", "nfs-kernel-server", "none"]);
    let good = Facts {
        services: services::Facts {
            programs: vec![Program::Dnsmasq, Program::Exportfs],
            served: LOADERS.iter().map(|(name, ..)| *name).collect(),
            ..services::Facts::default()
        },
        units: vec![("dnsmasq.service", "active".to_owned())],
        nodes: nodes::Facts { is_exported: true, ..nodes::Facts::default() },
        ..Facts::default()
    };
    assert_eq!(findings(&config, &good), []);
    let table = [
        (
            Facts { unfinished: vec!["`sidus init` (then)".to_owned()], ..good.clone() },
            "`sidus init` (then) ended in the middle",
            "sidus recover",
        ),
        (
            Facts {
                services: services::Facts { programs: vec![Program::Dnsmasq], ..good.services.clone() },
                ..good.clone()
            },
            "NFS: it is not installed",
            "apt-get install nfs-kernel-server",
        ),
        (
            Facts { drifts: vec![Drift::Other("write /x (0644)".to_owned())], ..good.clone() },
            "not as it was done: write /x",
            "sidus init",
        ),
        (
            Facts { drifts: vec![Drift::Foreign("/x: is a person's: move it away".to_owned())], ..good.clone() },
            "/x: is a person's: move it away",
            "then sidus init",
        ),
        (
            Facts { units: vec![("dnsmasq.service", "failed".to_owned())], ..good.clone() },
            "dnsmasq.service is failed",
            "systemctl restart dnsmasq.service",
        ),
        (
            Facts { unreadable: vec!["/srv/tftp/x".into()], ..good.clone() },
            "/srv/tftp/x: the TFTP server may not read it",
            "chmod a+rX /srv/tftp/x",
        ),
        (
            Facts { full: vec![("/srv/sidus/luns".into(), Room::Bytes(5 << 20))], ..good.clone() },
            "/srv/sidus/luns: 5 MiB are free",
            "make room",
        ),
        (
            Facts { full: vec![("/srv/sidus/trees".into(), Room::Files(3))], ..good.clone() },
            "/srv/sidus/trees: 3 files can still be made where it is",
            "make room",
        ),
    ];
    for (facts, what, remedy) in table {
        let [found] = <[Finding; 1]>::try_from(findings(&config, &facts)).unwrap();
        assert!(found.what.contains(what), "{found}");
        assert!(found.remedy.contains(remedy), "{found}");
    }
}

#[test]
fn services_have_units() {
    for (services, expected) in [
        (
            ["dnsmasq", "dnsmasq", "nfs-kernel-server", "lio"],
            &["dnsmasq.service", "nfs-server.service", "rtslib-fb-targetctl.service"][..],
        ),
        (
            ["isc-dhcp-server", "tftpd-hpa", "none", "tgt"],
            &["isc-dhcp-server.service", "tftpd-hpa.service", "tgt.service"],
        ),
        (["none", "none", "none", "none"], &[]),
    ] {
        assert_eq!(units(config(services).settings.services), expected);
    }
}
