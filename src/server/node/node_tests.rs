use std::path::Path;

use super::*;
use crate::server::config::Settings;
use crate::server::engine::{Action, Content};
use crate::server::generation::facts::{Facts as Generations, Published};
use crate::server::generation::Form;
use crate::server::services;

fn config(target: &str, nodes: &[(&str, &str)]) -> Config {
    let text = format!(
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"dnsmasq\"\ntftp = \"dnsmasq\"\n\
         nfs = \"none\"\ntarget = \"{target}\"\n[node]\ntree = \"hpc\"\n"
    );
    let node = |(name, text): &(&str, &str)| Node { name: name.parse().unwrap(), file: toml::from_str(text).unwrap() };
    Config { settings: Settings::parse(&text).unwrap(), nodes: nodes.iter().map(node).collect() }
}

const MEMORY: &str = "mac = \"52:54:00:00:00:16\"\nip = \"10.13.20.22\"\n";
const DISK: &str = "mac = \"52:54:00:00:00:15\"\nip = \"10.13.20.21\"\npersistent = \"20G\"\n";

fn options(more: &[&str]) -> add::Options {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: add::Options,
    }
    let line = ["x", "52:54:00:00:00:15", "--ip", "10.13.20.21", "--name", "n21"];
    <Line as clap::Parser>::parse_from(line.iter().chain(more)).options
}

#[test]
fn what_is_added_is_new_or_the_same() {
    let known = config("tgt", &[("n21", DISK), ("n22", MEMORY)]);
    let empty = config("tgt", &[]);
    let found = |disk| disk::Found { disk, ..disk::Found::default() };
    let make = Some("20G".parse().unwrap());
    let disk = &["--persistent", "20G"][..];
    let existing = &["--persistent", "20G", "--existing-disk"][..];
    // What there is, whether the disk is, what is asked; whether the node is new, and the disk to make.
    for (config, disk_found, asked, is_new, size) in [
        (&empty, false, &[][..], true, None),
        (&empty, true, &[], true, None),
        (&empty, false, disk, true, make),
        (&empty, true, existing, true, None),
        (&known, true, disk, false, None),
        (&known, false, disk, false, make),
    ] {
        let decided = add::decide(config, found(disk_found), &options(asked)).unwrap();
        assert_eq!((decided.is_new, decided.make), (is_new, size), "{asked:?}");
        assert!(decided.config.node(&"n21".parse().unwrap()).is_some());
    }
    let image = "/srv/sidus/luns/n21.img";
    for (config, disk_found, asked, error) in [
        (&known, true, &[][..], "node n21 is there already, with persistent = 20G: change /etc/sidus/nodes.d/n21.toml by hand and run sidus init, or choose another name".to_owned()),
        (&known, true, &["--persistent", "20G", "--tree", "x"], "node n21 is there already, with tree = none: change /etc/sidus/nodes.d/n21.toml by hand and run sidus init, or choose another name".to_owned()),
        (&empty, true, disk, format!("{image} is there already, of an earlier node n21: --existing-disk has the node use it as it is; or move it away")),
        (&empty, false, existing, format!("{image}: there is no such disk to use; without --existing-disk, it is made")),
        (&config("none", &[]), false, disk, "/etc/sidus/nodes.d/n21.toml: persistent: services.target in sidus.toml is none: no program serves disks".to_owned()),
        (&config("tgt", &[("n9", &DISK.replace(":15", ":19"))]), false, disk, "/etc/sidus/nodes.d/n21.toml: ip: 10.13.20.21 is that of node n9 already".to_owned()),
    ] {
        assert_eq!(add::decide(config, found(disk_found), &options(asked)).unwrap_err().to_string(), error);
    }
}

/// What serves a node that was there has its secrets, which are others now; it knows names alone.
#[test]
fn a_new_account_is_served_at_once() {
    let asked = options(&["--persistent", "20G"]);
    let [known, empty] = [config("tgt", &[("n21", DISK)]), config("tgt", &[])];
    let with_account = facts(&known);
    let without = Facts { accounts: [].into(), ..with_account.clone() };
    let update = "sidus target update";
    for (config, facts, told) in [
        (&known, &without, "sidus target update --renew 10.13.20.21"),
        (&known, &with_account, update),
        (&empty, &without, update),
    ] {
        let found = disk::Found { disk: config.node(&asked.name).is_some(), ..disk::Found::default() };
        let decided = add::decide(config, found, &asked).unwrap();
        let all = add::all(&decided, &mut facts.clone(), &add::place(config, &asked), &asked).unwrap();
        let runs: Vec<_> = all.after.last().unwrap().runs.iter().map(ToString::to_string).collect();
        assert_eq!(runs, ["systemctl start tgt.service", told]);
    }
}

/// New disks are volumes from now on: whoever has a file keeps it.
#[test]
fn a_disk_stays_where_it_was_made() {
    let group = Some("vg0".parse().unwrap());
    let disk = &["--persistent", "20G"][..];
    let mut known = config("lio", &[("n21", DISK), ("n22", MEMORY)]);
    known.settings.disks.volume_group.clone_from(&group);
    let mut empty = config("lio", &[]);
    empty.settings.disks.volume_group.clone_from(&group);
    let in_group = config("lio", &[("n21", &format!("{DISK}volume_group = \"vg1\"\n"))]);
    for (config, asked, path, written) in [
        (&known, disk, "/srv/sidus/luns/n21.img", None),
        (&empty, disk, "/dev/vg0/sidus-n21", group.clone()),
        (&empty, &[][..], "/srv/sidus/luns/n21.img", None),
        (&in_group, disk, "/dev/vg1/sidus-n21", Some("vg1".parse().unwrap())),
    ] {
        assert_eq!(add::place(config, &options(asked)).path(), Path::new(path));
        let decided = add::decide(config, disk::Found::default(), &options(asked)).unwrap();
        assert_eq!(decided.config.node(&"n21".parse().unwrap()).unwrap().file.volume_group, written, "{path}");
    }
}

#[test]
fn what_is_done_with_a_disk() {
    let folders = crate::server::config::Folders::default();
    let name = "n21".parse().unwrap();
    let shown = |actions: Vec<Action>| actions.iter().map(ToString::to_string).collect::<Vec<_>>();
    let size = "64M".parse().unwrap();
    let file = disk::Disk::of(&folders, &name, None);
    let volume = disk::Disk::of(&folders, &name, Some(&"vg0".parse().unwrap()));
    let luns = "/srv/sidus/luns";
    for (actions, expected) in [
        (
            file.make(size),
            vec![
                format!("make folder {luns} (0700)"),
                format!("write {luns}/.n21.img.new (0600)"),
                format!("run truncate --no-create --size 67108864 {luns}/.n21.img.new"),
                format!("run mkfs.ext4 -q -L ISCSI -E lazy_itable_init=1,lazy_journal_init=1 {luns}/.n21.img.new"),
            ],
        ),
        (vec![file.put()], vec![format!("rename {luns}/.n21.img.new to {luns}/n21.img")]),
        (
            file.replace(false),
            vec![format!("put {luns}/.n21.img.new in place of {luns}/n21.img, which becomes {luns}/n21.img.old")],
        ),
        (file.discard(), vec![format!("remove {luns}/n21.img"), format!("remove {luns}/n21.img.old")]),
        (
            volume.make(size),
            vec![
                "run lvremove --yes --select lv_name=sidus-n21.new vg0".to_owned(),
                "run lvcreate --yes --wipesignatures y --size 67108864b --name sidus-n21.new vg0".to_owned(),
                "run mkfs.ext4 -q -L ISCSI -E lazy_itable_init=1,lazy_journal_init=0 /dev/vg0/sidus-n21.new".to_owned(),
            ],
        ),
        (vec![volume.put()], vec!["rename volume /dev/vg0/sidus-n21.new to /dev/vg0/sidus-n21".to_owned()]),
        (
            volume.replace(false),
            vec!["put volume /dev/vg0/sidus-n21.new in place of /dev/vg0/sidus-n21, which becomes /dev/vg0/sidus-n21.old"
                .to_owned()],
        ),
        (
            volume.replace(true),
            vec![
                "put volume /dev/vg0/sidus-n21.new in place of /dev/vg0/sidus-n21, which becomes /dev/vg0/sidus-n21.gone"
                    .to_owned(),
                "run lvremove --yes --select lv_name=sidus-n21.old vg0".to_owned(),
            ],
        ),
        (
            volume.discard(),
            vec![
                "rename volume /dev/vg0/sidus-n21 to /dev/vg0/sidus-n21.gone".to_owned(),
                "run lvremove --yes --select lv_name=sidus-n21.old vg0".to_owned(),
            ],
        ),
        (vec![volume.unmake()], vec!["run lvremove --yes --select lv_name=sidus-n21.new vg0".to_owned()]),
    ] {
        assert_eq!(shown(actions), expected);
    }
    assert_eq!(file.afterwards(), None);
    let last = volume.afterwards().unwrap().to_string();
    assert_eq!(last, "lvremove --yes --select lv_name=sidus-n21.gone vg0");
    let waiting = disk::Found { aside: true, ..disk::Found::default() };
    assert_eq!(
        volume.check_aside(waiting).unwrap_err().to_string(),
        "/dev/vg0/sidus-n21.gone: it is given up, but was still served when it was to be removed; sidus recover removes it"
    );
}

fn facts(config: &Config) -> Facts {
    let current = Some(("20261126-1".parse().unwrap(), Form::Folder));
    let published = Published { current, ..Published::default() };
    let account = |node: &Node| {
        let text = format!(
            "username = \"{0}\"\npassword = \"own\"\nusername_in = \"target.{0}\"\npassword_in = \"other\"\narchive = \"a-{0}\"\n",
            node.name
        );
        (node.name.clone(), toml::from_str(&text).unwrap())
    };
    let persistent = config.nodes.iter().filter(|node| node.file.persistent.is_some());
    Facts {
        services: services::Facts::default(),
        accounts: persistent.map(account).collect(),
        generations: Generations { published: [("hpc".parse().unwrap(), published)].into(), ..Generations::default() },
        tftp_user: Some(109),
        ..Facts::default()
    }
}

/// What is written and removed for nodes, and whether nobody else may read it.
fn actions(config: &Config, facts: &Facts) -> Vec<String> {
    let of_nodes = |action: &&Action| !services::commit(config, &facts.services).actions.contains(action);
    let shown = |action: &Action| match action {
        Action::Write(write) if write.secret => format!("{action} secret"),
        _ => action.to_string(),
    };
    commit::commit(config, facts).unwrap().actions.iter().filter(of_nodes).map(shown).collect()
}

#[test]
fn each_node_has_its_files_and_those_of_others_go() {
    let config = config("tgt", &[("n21", DISK), ("n22", MEMORY)]);
    let known = facts(&config);
    let expected = [
        "make folder /var/lib/sidus/secrets/nodes (0700)",
        "make folder /srv/tftp/sidus-nodes (0500)",
        "write /srv/tftp/sidus-nodes/a-n21.cpio (0444) secret",
        "write /var/lib/sidus/secrets/tgt/n21.toml (0600) secret",
        "make folder /srv/tftp/pxelinux.cfg (0755)",
        "write /srv/tftp/pxelinux.cfg/default (0644)",
        "write /srv/tftp/pxelinux.cfg/01-52-54-00-00-00-15 (0644)",
        "write /srv/tftp/pxelinux.cfg/01-52-54-00-00-00-16 (0644)",
    ];
    assert_eq!(actions(&config, &known), expected);
    let gone = Facts {
        secrets: [
            "/var/lib/sidus/secrets/nodes/n21.toml",
            "/var/lib/sidus/secrets/nodes/n1.toml",
            "/srv/tftp/sidus-nodes/old.cpio",
        ]
        .map(PathBuf::from)
        .into(),
        entries: ["/srv/tftp/pxelinux.cfg/01-52-54-00-00-00-15", "/srv/tftp/pxelinux.cfg/01-52-54-00-00-00-99"]
            .map(PathBuf::from)
            .into(),
        ..known.clone()
    };
    let removed = [
        "remove /var/lib/sidus/secrets/nodes/n1.toml",
        "remove /srv/tftp/sidus-nodes/old.cpio",
        "remove /srv/tftp/pxelinux.cfg/01-52-54-00-00-00-99",
    ];
    assert_eq!(actions(&config, &gone)[expected.len()..], removed);
    let nothing = Facts { generations: Generations::default(), accounts: [].into(), ..known };
    assert_eq!(actions(&config, &nothing), Vec::<String>::new());
}

#[test]
fn the_kernels_target_is_saved_where_its_service_reads_it() {
    let config = config("lio", &[("n21", DISK)]);
    let known = facts(&config);
    let all = commit::commit(&config, &known).unwrap();
    let saved = all.actions.iter().find_map(|action| match action {
        Action::Write(write) if write.path.ends_with("saveconfig.json") => Some(write),
        _ => None,
    });
    let write = saved.unwrap();
    assert!(write.secret && write.mode == 0o600);
    let Content::Text(text) = &write.content else { panic!("{write:?}") };
    let again = Facts { saved: Some(text.clone()), ..known.clone() };
    assert!(!actions(&config, &again).iter().any(|action| action.contains("saveconfig")));
    let told: Vec<_> = all.after.last().unwrap().runs.iter().map(ToString::to_string).collect();
    assert_eq!(told, ["systemctl start rtslib-fb-targetctl.service", "sidus target update"]);
    let wrong = Facts { saved: Some("no".to_owned()), ..known };
    let error = commit::commit(&config, &wrong).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "/etc/rtslib-fb-target/saveconfig.json: expected ident at line 1 column 2; it is what targetcli saves"
        ),
        "{error}"
    );
}

#[test]
fn who_loses_a_disk_is_asked() {
    let name = "n21".parse().unwrap();
    let question = |disk, old, discard| reset::question(&name, disk::Found { disk, old, aside: false }, discard);
    assert_eq!(question(false, false, false), None);
    assert_eq!(question(false, false, true), None);
    for (disk, old, discard, words) in [
        (true, false, false, "an empty disk; the one that it has is kept."),
        (true, true, false, "is kept, and the one before that is lost."),
        (true, true, true, "loses all that is on its disk."),
        (false, true, true, "had before is lost."),
    ] {
        let asked = question(disk, old, discard).unwrap();
        assert!(asked.ends_with(words), "{asked}");
    }
}
