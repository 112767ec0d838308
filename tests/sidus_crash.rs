//! `sidus`, killed at each of its writes and commands in turn, and run again: the end is always the same.
//! Needs unshare(1), overlayfs in a user namespace, and strace: `cargo test --features server --test sidus_crash`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // A test may fail by a panic.

mod machine;
mod published;

use machine::{one_of, survives_each, survives_everything, Machine};

fn bare(machine: &Machine) {
    machine.install_services();
}

#[test]
fn init() {
    survives_everything("init", bare, &["init", "--address", "10.13.20.13", "--subnet", "10.13.20.0/24"]);
}

#[test]
fn init_after_a_change() {
    let prepare = |machine: &Machine| {
        bare(machine);
        machine.succeeds(&["init", "--address", "10.13.20.13", "--subnet", "10.13.20.0/24"]);
        let text = machine.read("etc/sidus/sidus.toml");
        machine.put("etc/sidus/sidus.toml", &text.replace("# router = \"…\"", "router = \"10.13.20.1\""));
        machine.put("etc/sidus/nodes.d/n1.toml", "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.20.21\"\n");
        machine.put("var/log/calls", "");
    };
    survives_everything("init-again", prepare, &["init"]);
}

#[test]
fn publish() {
    // Each time it waits for the disk, some three hundred and fifty calls long.
    survives_each(15, "publish", published::server, &["publish", "hpc"]);
}

const ADD: [&str; 8] = ["node", "add", "52:54:00:0d:14:15", "--ip", "10.13.20.21", "--name", "n1", "--persistent=64M"];

/// Ready for [`ADD`], with an account that is not random; the same for each.
fn ready(name: &str) -> Machine {
    let machine = Machine::new(name);
    bare(&machine);
    machine.succeeds(&["init", "--address", "10.13.20.13", "--subnet", "10.13.20.0/24"]);
    machine.stub("sidus");
    let account = "username = \"n1\"\npassword = \"0123456789abcdef\"\nusername_in = \"target.n1\"\npassword_in = \"fedcba9876543210\"\n\
        archive = \"0a1b2c3d\"\n";
    machine.put("var/lib/sidus/secrets/nodes/n1.toml", account);
    machine.set_mode("var/lib/sidus/secrets/nodes/n1.toml", 0o600);
    machine.put("srv/sidus/generations/hpc/20261126-1/x", "");
    machine.put("srv/tftp/sidus/hpc/20261126-1/x", "");
    machine.link("20261126-1", "srv/sidus/generations/hpc/current");
    machine
}

/// A new disk each time: the end is that there is one, and the one before, and nothing half made.
#[test]
fn nodes() {
    let without = ready("node-ready");
    survives_each(21, "node-add", |machine| without.copy_to(machine), &ADD);
    let with = Machine::new("node-added");
    without.copy_to(&with);
    with.succeeds(&ADD);
    with.put("var/log/calls", "");
    survives_each(21, "node-remove", |machine| with.copy_to(machine), &["node", "remove", "n1", "--discard-disk"]);
    // Made anew by the next command, and by the same one: then, too, what is kept is the disk that was used.
    for nth in (1..).step_by(one_of(11)) {
        assert!(nth < 2000, "it has no end");
        let machine = Machine::new("node-reset");
        with.copy_to(&machine);
        let said = machine.said_when_killed_at(nth, &RESET);
        let is_again = nth % 2 == 0 && !said.as_ref().is_none_or(|said| said.contains("node n1 has a new disk"));
        machine.succeeds(if is_again { &RESET } else { &["recover"] });
        assert!(!machine.has("var/lib/sidus/journal.json"), "killed at {nth}");
        let names = disks(&machine);
        if !is_again && is_the_used_disk(&machine, &with, "n1.img") {
            assert_eq!(names, ["n1.img"], "killed at {nth}");
            assert!(said.is_some());
        } else {
            assert_eq!(names, ["n1.img", "n1.img.old"], "killed at {nth}");
            assert!(is_the_used_disk(&machine, &with, "n1.img.old"), "killed at {nth}, again: {is_again}");
            assert!(machine.calls().contains(&"sidus target update --renew 10.13.20.21".to_owned()), "killed at {nth}");
        }
        if said.is_none() {
            assert!(nth > 10, "it was never killed");
            break;
        }
    }
    // A service that cannot be told is told the next time, by which nothing else is done.
    let machine = Machine::new("node-reset-told");
    with.copy_to(&machine);
    for call in 0..2 {
        machine.fail_at(call);
        let said = machine.fails(&RESET);
        assert!(said.contains("everything is written, but not all was told; `sidus recover` tries it again"), "{said}");
    }
    let said = machine.succeeds(&RESET);
    assert!(said.contains("that is this same command: it is not done a second time"), "{said}");
    assert!(is_the_used_disk(&machine, &with, "n1.img.old") && !is_the_used_disk(&machine, &with, "n1.img"));
    machine.succeeds(&RESET);
    assert!(!is_the_used_disk(&machine, &with, "n1.img.old"), "whoever means a second one has it");
}

const RESET: [&str; 4] = ["node", "reset", "n1", "--yes"];
const LUNS: &str = "srv/sidus/luns";

fn disks(machine: &Machine) -> Vec<String> {
    let found = std::fs::read_dir(machine.root().join(LUNS)).unwrap();
    let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Whether it is the disk that the machine `with` has: mkfs gives each its own UUID.
fn is_the_used_disk(machine: &Machine, with: &Machine, name: &str) -> bool {
    let start =
        |machine: &Machine, name: &str| std::fs::read(machine.root().join(LUNS).join(name)).unwrap()[..4096].to_vec();
    start(machine, name) == start(with, "n1.img")
}

/// As lvm(8) has it, of volumes that are files.
const LVM: [(&str, &str); 5] = [
    ("lvs", "for at in /srv/volumes/*; do [ ! -e \"$at\" ] || echo \"  ${at##*/}\"; done"),
    ("lvcreate", "[ ! -e \"/srv/volumes/$7\" ]; echo \"$5\" >\"/srv/volumes/$7\""),
    (
        "lvrename",
        "[ -e \"/srv/volumes/$3\" ] && [ ! -e \"/srv/volumes/$4\" ]; mv \"/srv/volumes/$3\" \"/srv/volumes/$4\"",
    ),
    ("lvremove", "rm -f \"/srv/volumes/${3#lv_name=}\""),
    ("mkfs.ext4", "echo \"$5\" >>\"/srv/volumes/${6#/dev/vg0/}\""),
];

#[test]
fn nodes_with_volumes() {
    let without = ready("volume-ready");
    for (name, script) in LVM {
        without.put(&format!("usr/local/sbin/{name}"), &format!("#!/bin/sh\nset -e\n{script}\n"));
        without.set_mode(&format!("usr/local/sbin/{name}"), 0o755);
    }
    let text = without.read("etc/sidus/sidus.toml");
    without.put("etc/sidus/sidus.toml", &text.replace("# volume_group = \"…\"", "volume_group = \"vg0\""));
    without.put("srv/volumes/root", "a person's");
    survives_each(61, "volume-add", |machine| without.copy_to(machine), &ADD);
    let with = Machine::new("volume-added");
    without.copy_to(&with);
    with.succeeds(&ADD);
    assert_eq!(
        with.read("srv/volumes/sidus-n1"),
        "67108864b\nlazy_itable_init=1,lazy_journal_init=0\n",
        "it has a file system"
    );
    assert!(with.read("etc/sidus/nodes.d/n1.toml").contains("volume_group = \"vg0\"\n"));
    with.put("srv/volumes/sidus-n1", "the node's");
    with.succeeds(&["node", "reset", "n1", "--yes"]);
    assert_eq!(with.read("srv/volumes/sidus-n1.old"), "the node's");
    with.put("srv/volumes/sidus-n1", "the node's second");
    with.succeeds(&["node", "reset", "n1", "--yes"]);
    assert_eq!(with.read("srv/volumes/sidus-n1.old"), "the node's second");
    with.put("srv/volumes/sidus-n1", "the node's third");
    with.fail_at(with.calls().len());
    with.fails(&RESET);
    with.succeeds(&RESET);
    assert_eq!(with.read("srv/volumes/sidus-n1.old"), "the node's third", "it was told, and not done a second time");
    with.put("var/log/fail-at", "never");
    with.put("var/log/calls", "");
    let remove = ["node", "remove", "n1", "--discard-disk"];
    survives_each(61, "volume-remove", |machine| with.copy_to(machine), &remove);
    with.succeeds(&["node", "reset", "n1", "--yes", "--discard"]);
    let volumes = |machine: &Machine| {
        let found = std::fs::read_dir(machine.root().join("srv/volumes")).unwrap();
        let mut names: Vec<_> = found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(volumes(&with), ["root", "sidus-n1"]);
    with.succeeds(&remove);
    assert_eq!(volumes(&with), ["root"]);
}

#[test]
fn tree_create() {
    let prepare = |machine: &Machine| {
        machine.put(
            "etc/sidus/sidus.toml",
            "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
             nfs = \"none\"\ntarget = \"none\"\n[tree]\nmirror = \"http://mirror.example/debian\"\n",
        );
        machine.stub("mmdebstrap");
        // Which of its words is the folder?
        let makes = "for word; do\n\tcase $word in /*) mkdir -p \"$word/etc\" && echo made >\"$word/etc/debian_version\" ;; esac\ndone\n";
        let stub = machine.read("usr/local/sbin/mmdebstrap");
        machine.put("usr/local/sbin/mmdebstrap", &format!("{stub}{makes}"));
    };
    survives_each(13, "tree-create", prepare, &["tree", "create", "hpc"]);
}

/// After a power loss, what the journal has put in its place would else be what the disk happens to have of it.
#[test]
fn what_is_prepared_is_on_the_disk_before_the_journal_relies_on_it() {
    let machine = Machine::new("synced");
    published::server(&machine);
    let trace = machine.root().join("var/log/trace");
    let strace = ["strace", "-qq", "-o", trace.to_str().unwrap(), "-e", "trace=syncfs,rename,renameat2"];
    // Two disks: that of the generations, and the TFTP server's.
    for (command, folders) in [(&["tree", "clone", "hpc", "desk"][..], 1), (&["publish", "hpc"], 2)] {
        let output = machine.sidus_by(&strace, command);
        assert!(output.status.success(), "{}", machine::said(&output));
        let text = machine.read("var/log/trace");
        let journals = text.match_indices("/.journal.json.sidus-new").map(|(at, _)| at).collect::<Vec<_>>();
        let [_begun, relied_on] = journals[..] else { panic!("two journals: {text}") };
        let (before, after) = text.split_at(relied_on);
        assert_eq!(before.matches("syncfs(").count(), folders, "{text}");
        assert_eq!(after.matches("renameat2(").count(), folders, "{text}");
    }
}

#[test]
fn prune() {
    let prepare = |machine: &Machine| {
        published::server(machine);
        // Of three generations, none but the last one is needed.
        for name in ["20260101-1", "20260101-2", "20260101-3"] {
            machine.put(&format!("{}/{name}/etc/motd", published::GENERATIONS), "welcome");
            machine.put(&format!("{}/.{name}.json", published::GENERATIONS), "{}");
            machine.put(&format!("{}/{name}/vmlinuz", published::BOOT), "the kernel");
        }
    };
    survives_each(9, "prune", prepare, &["tree", "prune", "hpc", "--keep", "1"]);
}

/// Of two generations, nodes boot the second one.
fn published_twice(name: &str) -> Machine {
    let machine = Machine::new(name);
    published::server(&machine);
    machine.succeeds(&["publish", "hpc"]);
    machine.put(&format!("{}/etc/motd", published::TREE), "again\n");
    machine.succeeds(&["publish", "hpc"]);
    machine
}

#[test]
fn rollback() {
    let twice = published_twice("twice");
    let first = published::current(&twice).replace("-2", "-1");
    survives_each(17, "rollback", |machine| twice.copy_to(machine), &["rollback", "hpc", &first]);
}

/// Without a name it goes back by one, however often it has to be given.
#[test]
fn rollback_by_one() {
    let thrice = published_twice("thrice");
    thrice.put(&format!("{}/etc/motd", published::TREE), "and again\n");
    thrice.succeeds(&["publish", "hpc"]);
    let third = published::current(&thrice);
    let second = third.replace("-3", "-2");
    assert_ne!(second, third);
    let command = ["rollback", "hpc"];
    for nth in (1..).step_by(one_of(7)) {
        assert!(nth < 2000, "it has no end");
        let machine = Machine::new("rollback-by-one");
        thrice.copy_to(&machine);
        let said = machine.said_when_killed_at(nth, &command);
        let has_said = said.as_ref().is_none_or(|said| said.contains("what boots from now on boots it"));
        machine.succeeds(if has_said { &["recover"] } else { &command });
        assert_eq!(published::current(&machine), second, "killed at {nth}");
        assert!(!machine.has("var/lib/sidus/journal.json"), "killed at {nth}");
        let entry = machine.read("srv/tftp/pxelinux.cfg/default");
        assert!(entry.contains(&format!("sidus/hpc/{second}/vmlinuz")), "killed at {nth}: {entry}");
        if said.is_none() {
            assert!(nth > 10, "it was never killed");
            break;
        }
    }
}

#[test]
fn tree_clone() {
    survives_each(17, "tree-clone", published::server, &["tree", "clone", "hpc", "desk"]);
}

#[test]
fn tree_site() {
    let prepare = |machine: &Machine| {
        published::server(machine);
        for (path, text) in [
            ("etc/fstab", "{{server}}:/home /home nfs4 defaults 0 0\n"),
            ("etc/security/limits.d/hpc.conf", "* hard memlock unlimited\n"),
            ("etc/motd", "of the site\n"),
            ("etc/resolv.conf", "nameserver {{server}}\n"),
        ] {
            machine.put(&format!("etc/sidus/site/{path}"), text);
        }
        machine.link("/usr/share/zoneinfo/Europe/Paris", "etc/sidus/site/etc/localtime");
        machine.put(&format!("{}/etc/localtime", published::TREE), "of the tree");
        machine.link("/run/resolv.conf", &format!("{}/etc/resolv.conf", published::TREE));
    };
    survives_each(7, "tree-site", prepare, &["tree", "site", "hpc"]);
}

#[test]
fn tree_seal() {
    let prepare = |machine: &Machine| {
        published::server(machine);
        for path in [
            "etc/hostname",
            "etc/machine-id",
            "etc/ssh/ssh_host_rsa_key",
            "var/log/syslog",
            "tmp/x",
            "usr/lib/systemd/system/ssh.service",
        ] {
            machine.put(&format!("{}/{path}", published::TREE), "x\n");
        }
    };
    survives_each(7, "tree-seal", prepare, &["tree", "seal", "hpc"]);
}

/// What apt leaves half done is apt's; what stands around it is to be as before.
#[test]
fn tree_install() {
    let prepare = |machine: &Machine| {
        published::server(machine);
        std::fs::create_dir_all(machine.root().join(published::TREE).join("sys")).unwrap();
        for program in ["apt-get", "dpkg"] {
            let path = format!("{}/usr/bin/{program}", published::TREE);
            machine.put(&path, &format!("#!/bin/sh\necho \"$*\" >/var/{program}\n"));
            machine.set_mode(&path, 0o755);
        }
    };
    survives_each(7, "tree-install", prepare, &["tree", "install", "hpc", "hello"]);
}
