use super::decide::{decide, Decided};
use super::facts::{Address, Facts};
use super::*;
use crate::server::config::Settings;
use crate::server::engine::{Action, Content};
use crate::server::services::{self, Program, LOADERS};

fn address(address: [u8; 4], prefix: u8) -> Address {
    Address { interface: "eth0".to_owned(), address: address.into(), prefix }
}

fn facts(programs: &[Program]) -> Facts {
    Facts {
        addresses: vec![address([10, 13, 20, 13], 24)],
        router: None,
        services: services::Facts {
            programs: programs.to_vec(),
            loaders: LOADERS.iter().map(|(name, ..)| *name).collect(),
            ..services::Facts::default()
        },
    }
}

const USUAL: [Program; 3] = [Program::Dnsmasq, Program::Exportfs, Program::Targetcli];

fn written(decided: &Decided, path: &str) -> Option<String> {
    decided.commit.actions.iter().find_map(|action| match action {
        Action::Write(write) if write.path.to_str() == Some(path) => match &write.content {
            Content::Text(text) => Some(text.clone()),
            other => Some(format!("{other:?}")),
        },
        _ => None,
    })
}

fn settings(decided: &Decided) -> Settings {
    Settings::parse(&written(decided, "/etc/sidus/sidus.toml").unwrap()).unwrap()
}

#[test]
fn the_configuration_is_what_is_found() {
    let isc = [Program::Dhcpd, Program::Tftpd, Program::Exportfs, Program::Tgtd];
    let table = [
        (&USUAL[..], Options::default(), "dnsmasq dnsmasq nfs-kernel-server lio"),
        (&isc, Options::default(), "isc-dhcp-server tftpd-hpa nfs-kernel-server tgt"),
        (&USUAL[..2], Options::default(), "dnsmasq dnsmasq nfs-kernel-server none"),
        (&USUAL, Options { dhcp: Some(DhcpService::None), ..Options::default() }, "none dnsmasq nfs-kernel-server lio"),
        (
            &USUAL,
            Options { target: Some(TargetService::None), ..Options::default() },
            "dnsmasq dnsmasq nfs-kernel-server none",
        ),
    ];
    for (programs, options, expected) in table {
        let settings = settings(&decide(None, &facts(programs), &options).unwrap());
        let names = |services: config::Services| {
            [
                decide::name(services.dhcp),
                decide::name(services.tftp),
                decide::name(services.nfs),
                decide::name(services.target),
            ]
            .join(" ")
        };
        assert_eq!(names(settings.services), expected, "{programs:?} {options:?}");
        assert_eq!(settings.server.subnet.to_string(), "10.13.20.0/24");
    }
    let mut facts = facts(&isc);
    facts.services.tftpd_folder = Some("/var/lib/tftpboot".into());
    facts.router = Some([10, 13, 20, 1].into());
    let settings = settings(&decide(None, &facts, &Options::default()).unwrap());
    assert_eq!(settings.folders.tftp.to_string(), "/var/lib/tftpboot");
    assert_eq!(settings.dhcp.router, Some([10, 13, 20, 1].into()));
}

use crate::server::config;

#[test]
fn what_is_not_clear_is_asked_for() {
    let several =
        Facts { addresses: vec![address([10, 13, 20, 13], 24), address([192, 168, 0, 5], 24)], ..facts(&USUAL) };
    let none = Facts { addresses: Vec::new(), ..facts(&USUAL) };
    let narrow = Facts { addresses: vec![address([10, 13, 20, 13], 32)], ..facts(&USUAL) };
    let bare = facts(&[]);
    let mut no_loaders = facts(&USUAL);
    no_loaders.services.loaders.clear();
    let ip = |last| Options { address: Some([10, 13, 20, last].into()), ..Options::default() };
    let net = |text: &str| Options { subnet: Some(text.parse().unwrap()), ..Options::default() };
    let table = [
        (&several, Options::default(), Err("say by --address which is in the nodes' network: 10.13.20.13/24 on eth0, 192.168.0.5/24")),
        (&several, ip(13), Ok("10.13.20.0/24")),
        (&several, net("192.168.0.0/16"), Ok("192.168.0.0/16")),
        (&several, ip(14), Err("--address 10.13.20.14: this machine has no such address; it has 10.13.20.13/24 on eth0")),
        (&none, Options::default(), Err("give it one in the nodes' network first; --address and --subnet say which")),
        (&none, Options { subnet: Some("10.13.20.0/24".parse().unwrap()), ..ip(13) }, Ok("10.13.20.0/24")),
        (&none, Options { subnet: Some("10.13.21.0/24".parse().unwrap()), ..ip(13) }, Err("it would be wrong: server.address: 10.13.20.13 is no")),
        (&narrow, Options::default(), Err("10.13.20.13/32 on eth0: a network of 8 to 30 bits was expected")),
        (&bare, Options::default(), Err("this machine misses DHCP, TFTP, NFS: apt-get install dnsmasq nfs-kernel-server (or say by --dhcp")),
        (&no_loaders, Options::default(), Err("misses pxelinux.0, ldlinux.c32, syslinux.efi, ldlinux.e64: apt-get install pxelinux syslinux-common syslinux-efi")),
    ];
    for (facts, options, expected) in table {
        match (decide(None, facts, &options).map_err(|error| error.to_string()), expected) {
            (Ok(decided), Ok(subnet)) => {
                assert_eq!(settings(&decided).server.subnet.to_string(), subnet, "{options:?}")
            }
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{options:?}:\n  {error}\n  {expected}"),
            (got, expected) => panic!("{options:?}: {got:?}, {expected:?}"),
        }
    }
}

#[test]
fn a_configuration_that_is_there_is_obeyed_and_left_alone() {
    let config = || {
        Some(Config {
            settings: settings(&decide(None, &facts(&USUAL), &Options::default()).unwrap()),
            nodes: Vec::new(),
        })
    };
    let decided =
        decide(config(), &facts(&USUAL), &Options { dhcp: Some(DhcpService::Dnsmasq), ..Options::default() }).unwrap();
    assert_eq!(written(&decided, "/etc/sidus/sidus.toml"), None);
    assert!(written(&decided, "/etc/dnsmasq.d/sidus.conf").is_some());
    let other = Options { dhcp: Some(DhcpService::IscDhcpServer), ..Options::default() };
    let error = decide(config(), &facts(&USUAL), &other).unwrap_err().to_string();
    assert_eq!(
        error,
        "/etc/sidus/sidus.toml is there already, and says services.dhcp = dnsmasq: change it there, or leave out --dhcp"
    );
}
