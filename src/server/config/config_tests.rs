use std::fs;

use super::*;

const MINIMAL: &str = "\
[server]
address = \"10.13.20.13\"
subnet = \"10.13.20.0/24\"

[services]
dhcp = \"dnsmasq\"
tftp = \"dnsmasq\"
nfs = \"nfs-kernel-server\"
target = \"lio\"
";

#[test]
fn what_is_not_said_has_its_default() {
    let settings = Settings::parse(MINIMAL).unwrap();
    assert_eq!(settings.folders, Folders::default());
    assert_eq!(settings.server.portal(), settings.server.address);
    assert_eq!(settings.tree, TreeDefaults::default());
    // What the program knows itself is right, too.
    for (key, folder) in settings.folders.all() {
        assert_eq!(folder.to_string().parse::<Folder>().as_ref(), Ok(folder), "{key}");
    }
    assert!(settings.tree.suite.as_str().parse::<Word>().is_ok());
    assert!(settings.tree.include.iter().all(|include| include.as_str().parse::<Include>().is_ok()));
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let table = [
        (
            "[folders]\ntfpt = \"/srv/tftp\"",
            "sidus.toml:11: unknown field `tfpt`, expected one of `trees`, `generations`",
        ),
        ("[folder]\n", "sidus.toml:10: unknown field `folder`, expected one of `server`, `folders`"),
        ("[folders]\ntftp = \"srv\"", "sidus.toml:11: \"srv\" is not a folder; an absolute path"),
        ("[folders]\ntftp = 3", "sidus.toml:11: invalid type: integer `3`, expected a string"),
        ("[folders]\n\ntftp = \"/usr/tftp\"", "sidus.toml:12: folders.tftp: /usr/tftp is /usr, or in it"),
        ("[folders]\nstate = \"/var/lib\"", "sidus.toml:11: folders.state: /var/lib is /var/lib, or in it"),
        (
            "[folders]\nluns = \"/srv/tftp/luns\"",
            "sidus.toml:11: folders.luns: /srv/tftp/luns is in folders.tftp, /srv/tftp",
        ),
        ("[folders]\nluns = \"/srv/tftp\"", "is in folders.luns, /srv/tftp"),
        ("[dhcp]\nrouter = \"10.13.21.1\"", "sidus.toml:11: dhcp.router: 10.13.21.1 is no machine's address in"),
        (
            "[dhcp]\npool = [\"10.13.20.9\", \"10.13.20.5\"]",
            "sidus.toml:11: dhcp.pool: 10.13.20.9 to 10.13.20.5: the first",
        ),
        (
            "[dhcp]\npool = [\"10.13.20.9\", \"10.13.20.15\"]",
            "dhcp.pool: 10.13.20.9 to 10.13.20.15 has the server's own",
        ),
        ("[dhcp]\npool = [\"10.13.20.9\"]", "sidus.toml:11: invalid length 1, expected a tuple of size 2"),
        ("[tree]\nexclude = [\"@article\"]", "tree.exclude: @article: packages alone can be left out"),
        (
            "[tree]\ninclude = [\"@all\"]",
            "sidus.toml:11: tree.include: @all: there is no such list of packages; @article is",
        ),
        ("[tree]\narch = \"sparc\"", "sidus.toml:11: unknown variant `sparc`, expected `amd64` or `i386`"),
        ("[tree]\nsuite = trixie", "sidus.toml:11: "),
        ("[server]\n", "sidus.toml:10: duplicate key"),
    ];
    for (more, expected) in table {
        let error = Settings::parse(&format!("{MINIMAL}{more}")).expect_err(more).to_string();
        assert!(error.contains(expected), "{more:?}:\n  {error}\n  {expected}");
        assert!(error.starts_with("/etc/sidus/sidus.toml:"), "{error}");
    }
    for (from, to, expected) in [
        (
            "10.13.20.13",
            "10.13.21.13",
            "sidus.toml:2: server.address: 10.13.21.13 is no machine's address in server.subnet",
        ),
        ("10.13.20.0/24", "10.13.20.0/240", "sidus.toml:3: \"10.13.20.0/240\" is not an IPv4 network"),
        ("dhcp = \"dnsmasq\"", "dhcp = \"isc-dhcp-server\"", "services.tftp: dnsmasq beside isc-dhcp-server"),
        ("target = \"lio\"\n", "", "sidus.toml:5: missing field `target`"),
    ] {
        let error = Settings::parse(&MINIMAL.replace(from, to)).expect_err(to).to_string();
        assert!(error.contains(expected), "{to:?}:\n  {error}\n  {expected}");
    }
}

/// A machine with these files of nodes.
fn machine(name: &str, settings: &str, nodes: &[(&str, &str)]) -> Result<Option<Config>, String> {
    let root = std::env::temp_dir().join(format!("sidus-config-{name}-{}", std::process::id()));
    let folder = root.join("etc/sidus/nodes.d");
    fs::create_dir_all(&folder).unwrap();
    fs::write(root.join("etc/sidus/sidus.toml"), settings).unwrap();
    for (name, text) in nodes {
        fs::write(folder.join(name), text).unwrap();
    }
    let config = Config::find(&root).map_err(|error| error.to_string());
    fs::remove_dir_all(&root).unwrap();
    config
}

#[test]
fn nodes_have_files_of_their_own() {
    let config = machine(
        "good",
        MINIMAL,
        &[
            ("b.toml", "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.20.21\"\npersistent = \"20G\"\ntree = \"hpc\"\n"),
            ("a.toml", "# mine\nmac = \"52-54-00-0d-14-16\"\nip = \"10.13.20.22\"\n"),
            (".c.toml.swp", "x"),
            ("c.toml~", "x"),
        ],
    );
    let config = config.unwrap().unwrap();
    let names: Vec<_> = config.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(config.node(&"b".parse().unwrap()).unwrap().file.persistent.unwrap().bytes(), 20 << 30);
}

#[test]
fn wrong_nodes_are_named_with_file_and_line() {
    const GOOD: &str = "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.20.21\"\n";
    let pool = format!("{MINIMAL}[dhcp]\npool = [\"10.13.20.200\", \"10.13.20.209\"]\nrouter = \"10.13.20.1\"\n");
    let none = MINIMAL.replace("lio", "none");
    let table = [
        (MINIMAL, "Node.toml", GOOD, "nodes.d/Node.toml: the file's name: \"Node\" is not a node's name"),
        (
            MINIMAL,
            "b.toml",
            "mac = \"52:54:00:0d:14:16\"\nip = \"10.13.20.21\"",
            "b.toml:2: ip: 10.13.20.21 is that of node a already",
        ),
        (
            MINIMAL,
            "b.toml",
            "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.20.22\"",
            "b.toml:1: mac: 52:54:00:0d:14:15 is that of node a already",
        ),
        (
            MINIMAL,
            "b.toml",
            "mac = \"52:54:00:0d:14:16\"\n\nip = \"10.13.21.21\"",
            "b.toml:3: ip: 10.13.21.21 is no machine's address",
        ),
        (
            MINIMAL,
            "b.toml",
            "mac = \"52:54:00:0d:14:16\"\nip = \"10.13.20.13\"",
            "b.toml:2: ip: 10.13.20.13 is the server's own",
        ),
        (&pool, "b.toml", "mac = \"52:54:00:0d:14:16\"\nip = \"10.13.20.1\"", "ip: 10.13.20.1 is the router's"),
        (&pool, "b.toml", "mac = \"52:54:00:0d:14:16\"\nip = \"10.13.20.205\"", "ip: 10.13.20.205 is in dhcp.pool"),
        (MINIMAL, "b.toml", "mac = \"52:54\"\nip = \"10.13.20.22\"", "b.toml:1: \"52:54\" is not the hardware address"),
        (MINIMAL, "b.toml", "name = \"b\"", "b.toml:1: unknown field `name`, expected one of `mac`, `ip`"),
        (
            &none,
            "b.toml",
            "mac = \"52:54:00:0d:14:16\"\nip = \"10.13.20.22\"\npersistent = \"1G\"",
            "b.toml:3: persistent: services.target",
        ),
        (
            MINIMAL,
            "b.toml",
            "mac = \"52:54:00:0d:14:16\"\nip = \"10.13.20.22\"\nvolume_group = \"vg0\"",
            "b.toml:3: volume_group: the node has no disk: say its size, as in persistent = \"20G\", or leave this out",
        ),
    ];
    for (at, (settings, name, text, expected)) in table.into_iter().enumerate() {
        let error = machine(&format!("bad{at}"), settings, &[("a.toml", GOOD), (name, text)]).expect_err(expected);
        assert!(error.contains(expected), "{name} {text:?}:\n  {error}\n  {expected}");
    }
}

#[test]
fn a_node_is_added_only_where_it_fits() {
    let node = |name: &str, mac: &str, ip: &str| Node {
        name: name.parse().unwrap(),
        file: NodeFile {
            mac: mac.parse().unwrap(),
            ip: ip.parse().unwrap(),
            tree: None,
            persistent: None,
            volume_group: None,
            cmdline: None,
        },
    };
    let empty = Config { settings: Settings::parse(MINIMAL).unwrap(), nodes: Vec::new() };
    let one = empty.with(node("b", "52:54:00:0d:14:15", "10.13.20.21")).unwrap();
    let two = one.with(node("a", "52:54:00:0d:14:16", "10.13.20.22")).unwrap();
    assert_eq!(two.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(two.with(node("a", "52:54:00:0d:14:16", "10.13.20.23")).unwrap().nodes.len(), 2, "another a");
    let error = two.with(node("c", "52:54:00:0d:14:15", "10.13.20.24")).unwrap_err().to_string();
    assert_eq!(error, "/etc/sidus/nodes.d/c.toml: mac: 52:54:00:0d:14:15 is that of node b already");
}

#[test]
fn without_a_file_there_is_no_configuration() {
    let root = std::env::temp_dir().join("sidus-config-nowhere");
    assert!(Config::find(&root).unwrap().is_none());
    assert_eq!(
        Config::read(&root).unwrap_err().to_string(),
        "/etc/sidus/sidus.toml: no such file; `sidus init` writes one"
    );
}
