use super::*;
use crate::server::clock::Time;
use crate::server::config::{Folders, Settings};
use crate::server::engine::{Action, Content, Write};
use crate::server::generation::users::Users;
use crate::server::paths::within;
use crate::server::target::{Served, Session};

#[test]
fn what_the_kernel_says() {
    let text = "  sl  local_address rem_address   st tx_queue\n   \
        0: 0D140D0A:0801 15140D0A:0316 01 00000000:00000000\n   1: 0D140D0A:0801 16140D0A:0316 06 00000000\n   \
        2: 0D140D0A:0016 17140D0A:0316 01 00000000\n   3: 00000000:0801 00000000:0000 0A 0\n";
    if cfg!(target_endian = "little") {
        assert_eq!(facts::connections(text), [Ipv4Addr::new(10, 13, 20, 21)]);
    }
}

/// What is known from two lists of mountd's, of which the first was seen before.
fn users(seen: &str, rmtab: &str) -> Users {
    let root = std::env::temp_dir().join(format!("sidus-status-{}", std::process::id()));
    let folders = Folders::default();
    std::fs::create_dir_all(root.join("var/lib/nfs")).unwrap();
    std::fs::create_dir_all(root.join("var/lib/sidus")).unwrap();
    let look = |text: &str| {
        std::fs::write(root.join("var/lib/nfs/rmtab"), text).unwrap();
        Users::read(&root, &folders).unwrap()
    };
    let Action::Write(Write { content: Content::Text(text), path, .. }) = look(seen).remember(&folders).unwrap() else {
        panic!("a text is written")
    };
    std::fs::write(within(&root, &path), text).unwrap();
    let users = look(rmtab);
    std::fs::remove_dir_all(&root).unwrap();
    users
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
    let served = Served {
        iqn: target::iqn(ip(22)),
        images: vec!["/srv/sidus/luns/n22.img".into()],
        initiators: Vec::new(),
        addresses: None,
        accounts: Vec::new(),
        sessions: vec![Session { initiator: "iqn.x:y".to_owned(), address: None }],
        portals: None,
    };
    let lines = |lines: &[&str]| -> String {
        let line = |line: &&str| line.replace(":/", ":/srv/sidus/generations/hpc/20261126-") + ":0x00000001\n";
        lines.iter().map(line).collect()
    };
    let seen = lines(&["10.13.20.21:/1", "n22:/9"]);
    // What n22 has booted before that was looked at is over.
    let rmtab = seen.clone() + &lines(&["10.13.20.25:/x", "n22.example.org:/1", "n22:/2", "n24:/1"]);
    let facts = Facts {
        connected: vec![ip(21), ip(22), ip(25)],
        clients: vec![facts::Client { address: ip(23), since: Some(Time::after(0)) }],
        users: users(&seen, &rmtab),
        asked: facts::asked(
            "1.5 server rpc.mountd[1]: authenticated mount request from 10.13.20.21:888 for \
             /srv/sidus/generations/hpc/20261126-1 (/srv/sidus)\n\
             2.5 server rpc.mountd[1]: authenticated mount request from 10.13.20.21:1 for \
             /srv/sidus/generations/hpc/20261126-1 (/srv/sidus)\n\
             3.5 server rpc.mountd[1]: authenticated unmount request from 10.13.20.21:1 for /x (/x)\n\
             4.5 server rpc.mountd[1]: authenticated mount request from 10.13.20.25:1 for /srv/x (/srv)\nnonsense\n",
        ),
        targets: Some(vec![served]),
        notes: Vec::new(),
    };
    let rows: Vec<_> = config.nodes.iter().map(|node| row(node, &facts, Path::new("/srv/sidus/generations"))).collect();
    let expected = "\
NODE  ADDRESS      IS    GENERATION                            WRITES TO        SINCE
n21   10.13.20.21  up    hpc/20261126-1                        memory           1970-01-01 00:00:02 UTC
n22   10.13.20.22  up    one of hpc/20261126-1, hpc/20261126-2  /srv/sidus/luns/n22.img  not known
n23   10.13.20.23  up    not known                             not on its disk  1970-01-01 00:00:00 UTC
n24   10.13.20.24  down  -                                     -                -
n25   10.13.20.25  up    not known                             memory           not known
";
    let tight =
        |text: &str| text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>();
    assert_eq!(tight(&table(&rows)), tight(expected));
}
