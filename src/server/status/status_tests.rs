use super::*;
use crate::server::clock::Time;
use crate::server::config::Settings;
use crate::server::target::{Served, Session};

#[test]
fn what_the_kernel_says() {
    let text = "  sl  local_address rem_address   st tx_queue\n   \
        0: 0D140D0A:0801 15140D0A:0316 01 00000000:00000000\n   1: 0D140D0A:0801 16140D0A:0316 06 00000000\n   \
        2: 0D140D0A:0016 17140D0A:0316 01 00000000\n   3: 00000000:0801 00000000:0000 0A 0\n";
    if cfg!(target_endian = "little") {
        assert_eq!(facts::connections(text), [Ipv4Addr::new(10, 13, 20, 21)]);
    }
    let info = "clientid: 0x1\naddress: \"10.13.20.22:790\"\nstatus: confirmed\nname: \"Linux NFSv4.2 n\"\n";
    assert_eq!(facts::client(info), Some([10, 13, 20, 22].into()));
    assert_eq!(facts::client("address: \"[fd00::1]:790\"\n"), None);
    let mounted = facts::mounted("10.13.20.21:/srv/x/hpc/1:0x00000001\nbroken\n");
    assert_eq!(mounted, [("10.13.20.21".to_owned(), "/srv/x/hpc/1".into())]);
}

#[test]
fn what_is_not_known_is_said() {
    let text = "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
        nfs = \"none\"\ntarget = \"tgt\"\n";
    let node = |number: u8, disk: &str| Node {
        name: format!("n{number}").parse().unwrap(),
        file: toml::from_str(&format!("mac = \"52:54:00:00:00:{number}\"\nip = \"10.13.20.{number}\"\n{disk}"))
            .unwrap(),
    };
    let disk = "persistent = \"1G\"";
    let nodes = vec![node(21, ""), node(22, disk), node(23, disk), node(24, disk), node(25, "")];
    let config = Config { settings: Settings::parse(text).unwrap(), nodes };
    let ip = |number: u8| Ipv4Addr::new(10, 13, 20, number);
    let mount = |host: &str, name: &str| (host.to_owned(), format!("/srv/sidus/generations/hpc/{name}").into());
    let served = Served {
        iqn: target::iqn(ip(22)),
        images: Vec::new(),
        initiators: Vec::new(),
        addresses: None,
        accounts: Vec::new(),
        sessions: vec![Session { initiator: "iqn.x:y".to_owned(), address: None }],
        portals: None,
    };
    let facts = Facts {
        connected: vec![ip(21), ip(22), ip(25)],
        clients: vec![facts::Client { address: ip(23), since: Some(Time::after(0)) }],
        mounted: vec![
            mount("10.13.20.21", "20261126-1"),
            mount("n22.example.org", "20261126-1"),
            mount("n22", "20261126-2"),
            mount("n24", "20261126-1"),
            ("10.13.20.25".to_owned(), "/home".into()),
        ],
        targets: Some(vec![served]),
        notes: Vec::new(),
    };
    let rows: Vec<_> = config.nodes.iter().map(|node| row(&config, node, &facts)).collect();
    let expected = "\
NODE  ADDRESS      IS    GENERATION                            WRITES TO        SINCE
n21   10.13.20.21  up    hpc/20261126-1                        memory           not known
n22   10.13.20.22  up    one of hpc/20261126-1, hpc/20261126-2  disk             not known
n23   10.13.20.23  up    not known                             not on its disk  1970-01-01 00:00:00 UTC
n24   10.13.20.24  down  -                                     -                -
n25   10.13.20.25  up    not known                             memory           not known
";
    let tight =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(tight(&table(&rows)), tight(expected));
}
