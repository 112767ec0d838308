//! `sidus node` on a server in a folder, with a real target on loopback: nodes log in with what was made for them.
//! Needs unshare(1), overlayfs in a user namespace, and tgt: `cargo test --features server --test sidus_node`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test may fail by a panic.

mod machine;
mod targets;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use machine::{one_of, wait_until, Machine};
use sidus::iscsi::chap::Credentials;
use sidus::iscsi::deadline::Deadline;
use sidus::iscsi::login::{Authenticated, Config};
use sidus::iscsi::tcp::{login, Carrier};
use sidus::lun::{read_credentials, CREDENTIALS};
use targets::{config, Tgt};

const LIMIT: Duration = Duration::from_secs(20);
const ADD: [&str; 8] = ["node", "add", "52:54:00:0d:14:15", "--ip", "10.13.20.21", "--name", "n1", "--persistent=64M"];
const TARGET: &str = "iqn.2026-01.io.sidus.target:10.13.20.21";
const INITIATOR: &str = "iqn.2026-01.io.sidus:node-5254000d1415";

/// A server with a published tree whose target is tgt. The disks' folder has one path, there and here: tgtd runs here.
fn server(name: &str) -> (Machine, PathBuf) {
    let machine = Machine::new(name);
    machine.install_services();
    machine.put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndnsmasq:x:0:0::/:/bin/false\n");
    let luns = machine.root().join("srv/sidus/luns");
    let there = luns.strip_prefix("/").unwrap().to_str().unwrap();
    machine.link("/srv/sidus/luns", there);
    machine.succeeds(&["init", "--address", "10.13.20.13", "--subnet", "10.13.20.0/24", "--target", "tgt"]);
    let text = machine.read("etc/sidus/sidus.toml");
    let text = text.replace("# luns = \"/srv/sidus/luns\"", &format!("luns = \"{}\"", luns.display()));
    assert!(text.contains("\nluns = "), "{text}");
    machine.put("etc/sidus/sidus.toml", &text.replace("[node]\n", "[node]\ntree = \"hpc\"\ncmdline = \"quiet\"\n"));
    machine.put("srv/sidus/generations/hpc/20261126-1/x", "");
    machine.put("srv/tftp/sidus/hpc/20261126-1/x", "");
    machine.link("20261126-1", "srv/sidus/generations/hpc/current");
    fs::create_dir_all(&luns).unwrap();
    (machine, luns)
}

fn tgt(machine: &Machine) -> Tgt {
    Tgt::controlled_at("127.0.0.1", &machine.root().join("var/run/tgtd/socket"))
}

fn log_in(tgt: &Tgt, initiator: &str, credentials: Option<Credentials>) -> Result<(Carrier, Authenticated), String> {
    let mut carrier = Carrier::connect(tgt.portal, Deadline::after(LIMIT)).unwrap();
    let config = Config { credentials, initiator: initiator.parse().unwrap(), ..config(Some(TARGET)) };
    let done = login(&mut carrier, config).map_err(|error| error.to_string())?;
    Ok((carrier, done.authenticated))
}

/// The archive that the node's PXE entry has beside its initrd.
fn archive(machine: &Machine) -> String {
    let entry = machine.read("srv/tftp/pxelinux.cfg/01-52-54-00-0d-14-15");
    let words = entry.split_whitespace().find_map(|word| word.strip_prefix("initrd=")).unwrap();
    let (initrd, archive) = words.split_once(',').unwrap();
    assert_eq!(initrd, "sidus/hpc/20261126-1/initrd.img");
    format!("srv/tftp/{archive}")
}

/// What the node finds in its initramfs.
fn credentials(machine: &Machine) -> Credentials {
    let folder = targets::Folder::new("initramfs");
    let file = fs::File::open(machine.root().join(archive(machine))).unwrap();
    let mut cpio = Command::new("cpio");
    cpio.args(["--quiet", "-i", "-d"]).current_dir(&folder.0).stdin(Stdio::from(file));
    assert!(cpio.status().unwrap().success());
    let read = read_credentials(&folder.0, Path::new(CREDENTIALS)).unwrap().unwrap();
    read.default_credentials().unwrap().clone()
}

#[test]
fn a_node_logs_in_with_what_was_made_for_it_alone() {
    let (machine, luns) = server("node-login");
    let tgt = tgt(&machine);
    let dry = machine.succeeds(&[&ADD[..], &["--dry-run"]].concat());
    for line in [
        "run mkfs.ext4 -q -L ISCSI ",
        "write /etc/sidus/nodes.d/n1.toml (0644)\n",
        "write /var/lib/sidus/secrets/tgt/n1.toml (0600)\n    (a secret, not shown)\n",
        "run sidus target update\n",
    ] {
        assert!(dry.contains(line), "{line}\n{dry}");
    }
    assert!(!machine.has("etc/sidus/nodes.d/n1.toml"));
    let said = machine.succeeds(&ADD);
    let secrets = machine.read("var/lib/sidus/secrets/nodes/n1.toml");
    for secret in
        secrets.lines().filter(|line| line.starts_with("password")).map(|line| line.split('"').nth(1).unwrap())
    {
        assert_eq!(secret.len(), 16);
        assert!(!said.contains(secret), "{said}");
    }
    let known = credentials(&machine);
    assert_eq!(log_in(&tgt, INITIATOR, Some(known.clone())).unwrap().1, Authenticated::Both);
    let wrong = |result: Result<(Carrier, Authenticated), String>| result.map(|done| done.1).unwrap_err();
    assert!(wrong(log_in(&tgt, INITIATOR, None)).starts_with("login refused with status 0201"));
    let other = "iqn.2026-01.io.sidus:node-5254000d1416";
    assert!(wrong(log_in(&tgt, other, Some(known.clone()))).starts_with("login refused with status 0203"));
    // The disk, and who may read what.
    let image = luns.join("n1.img");
    let label = Command::new("e2label").arg(&image).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&label.stdout), "ISCSI\n");
    assert_eq!(fs::metadata(&image).unwrap().len(), 64 << 20);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    let at = |path: &str| machine.root().join(path);
    for (path, expected) in [
        (image.clone(), 0o600),
        (at("var/lib/sidus/secrets"), 0o700),
        (at("var/lib/sidus/secrets/nodes/n1.toml"), 0o600),
        (at("var/lib/sidus/secrets/tgt/n1.toml"), 0o600),
        (at("srv/tftp/sidus-nodes"), 0o500),
    ] {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
    let entry = machine.read("srv/tftp/pxelinux.cfg/01-52-54-00-0d-14-15");
    assert!(entry.contains(" aufs=iscsi ISCSI_TARGET_IP=10.13.20.13 quiet\n"), "{entry}");
    assert!(machine.read("var/lib/sidus/dhcp-hosts").contains("52:54:00:0d:14:15,10.13.20.21,n1"));
    assert_eq!(machine.succeeds(&ADD), "sidus: nothing to do\n");
    let check = || machine::said(&machine.sidus(&["check"]));
    let good = check();
    assert!(!good.contains("n1") && !good.contains("sidus-nodes"), "{good}");
    tgt.admin(&format!("--op unbind --mode target --tid 1 -Q {INITIATOR}"));
    fs::rename(&image, luns.join("away")).unwrap();
    let bad = check();
    for line in ["n1.img, is not there\n", "lets in another initiator than its own\n    sidus target update\n"] {
        assert!(bad.contains(line), "{line}\n{bad}");
    }
    fs::rename(luns.join("away"), &image).unwrap();
    // After a restart, tgt.service has it told.
    drop(tgt);
    let tgt = Tgt::controlled_at("127.0.0.1", &machine.root().join("var/run/tgtd/socket"));
    let unit = machine.read("etc/systemd/system/tgt.service.d/sidus.conf");
    assert!(unit.contains("\n[Service]\nExecStartPost=-sidus target update\n"), "{unit}");
    machine.succeeds(&["target", "update"]);
    assert_eq!(machine.succeeds(&["target", "update", "--dry-run"]), "");
    // Another one is at work: it is waited for.
    let mut second = Command::new("flock").arg(at("var/lib/sidus/target.lock")).args(["sleep", "1"]).spawn().unwrap();
    let lock = at("var/lib/sidus/target.lock");
    wait_until("it has the lock", || {
        !Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap().success()
    });
    machine.succeeds(&["target", "update"]);
    assert!(second.try_wait().unwrap().is_some_and(|status| status.success()));
    assert_eq!(log_in(&tgt, INITIATOR, Some(known.clone())).unwrap().1, Authenticated::Both);
    assert!(wrong(log_in(&tgt, other, Some(known))).starts_with("login refused with status 0203"));
}

/// tgtd has been started anew, and knows nothing.
#[test]
fn what_is_killed_while_it_tells_tgtd_is_done_by_the_next() {
    let (machine, _luns) = server("node-told");
    let tgt = tgt(&machine);
    machine.succeeds(&ADD);
    let update = ["target", "update"];
    for nth in (1..).step_by(one_of(3)) {
        assert!(nth < 2000, "it has no end");
        tgt.admin("--op delete --mode target --tid 1");
        let killed = machine.killed_at(nth, &update);
        machine.succeeds(&update);
        assert_eq!(machine.succeeds(&["target", "update", "--dry-run"]), "", "killed at {nth}");
        let done = log_in(&tgt, INITIATOR, Some(credentials(&machine))).map(|done| done.1);
        assert_eq!(done, Ok(Authenticated::Both), "killed at {nth}");
        assert!(log_in(&tgt, INITIATOR, None).is_err(), "killed at {nth}");
        if !killed {
            assert!(nth > 10, "it was never killed");
            break;
        }
    }
}

/// The server has been started anew, and one node's disk is away, or its file is no more what it was.
#[test]
fn what_is_wrong_with_one_nodes_disk_is_no_reason_to_serve_no_others() {
    let (machine, luns) = server("node-others");
    let tgt = tgt(&machine);
    machine.succeeds(&ADD);
    let first = ["node", "add", "52:54:00:0d:14:13", "--ip", "10.13.20.19", "--name", "a1", "--persistent=64M"];
    machine.succeeds(&first);
    let serves = |name: &str| tgt.admin("--op show --mode target").contains(name);
    let forget = || (1..=2).for_each(|tid| drop(tgt.admin(&format!("--op delete --mode target --tid {tid}"))));
    fs::rename(luns.join("a1.img"), luns.join("away")).unwrap();
    forget();
    let said = machine.fails(&["target", "update"]);
    assert!(said.contains("cannot make the LUN of iqn.2026-01.io.sidus.target:10.13.20.19: "), "{said}");
    assert!(serves(TARGET) && !serves("10.13.20.19"));
    fs::rename(luns.join("away"), luns.join("a1.img")).unwrap();
    machine.succeeds(&["target", "update"]);
    assert!(serves(TARGET) && serves("10.13.20.19"));

    // What is served already stays so.
    let file = "var/lib/sidus/secrets/tgt/a1.toml";
    let text = machine.read(file);
    machine.put(file, "half");
    let said = machine.fails(&["target", "update"]);
    assert!(said.contains("a1.toml: it is not as sidus writes it: sidus init writes it anew"), "{said}");
    fs::remove_file(machine.root().join(file)).unwrap();
    let said = machine.fails(&["target", "update"]);
    assert!(said.contains("no file says what tgtd has to serve to a1: sidus init writes it"), "{said}");
    assert!(serves(TARGET) && serves("10.13.20.19"));
    machine.succeeds(&["init"]);
    assert_eq!(machine.read(file), text);
    machine.succeeds(&["target", "update"]);
}

#[test]
fn a_node_whose_account_was_lost_logs_in_with_another_one() {
    let (machine, _luns) = server("node-account");
    let tgt = tgt(&machine);
    machine.succeeds(&ADD);
    let lost = credentials(&machine);
    fs::remove_file(machine.root().join("var/lib/sidus/secrets/nodes/n1.toml")).unwrap();
    machine.succeeds(&ADD);
    assert_eq!(log_in(&tgt, INITIATOR, Some(credentials(&machine))).unwrap().1, Authenticated::Both);
    let refused = log_in(&tgt, INITIATOR, Some(lost)).map(|done| done.1).unwrap_err();
    assert!(refused.starts_with("login refused with status 0201"), "{refused}");
}

#[test]
fn a_node_that_is_logged_in_keeps_its_disk_unless_forced() {
    let (machine, luns) = server("node-in-use");
    let tgt = tgt(&machine);
    machine.succeeds(&ADD);
    let known = credentials(&machine);
    let inode = |name: &str| fs::metadata(luns.join(name)).unwrap().ino();
    let first = inode("n1.img");
    let session = log_in(&tgt, INITIATOR, Some(known.clone())).unwrap();
    let status: serde_json::Value = serde_json::from_str(&machine.succeeds(&["status", "--json"])).unwrap();
    assert_eq!(status.pointer("/0/layer").and_then(serde_json::Value::as_str), Some("disk"), "{status}");
    assert_eq!(status.pointer("/0/up"), Some(&serde_json::Value::Bool(false)), "it has no root by NFS");
    for command in [&["node", "reset", "n1", "--yes"][..], &["node", "remove", "n1", "--keep-disk"]] {
        let said = machine.fails(command);
        let expected = format!(
            "sidus: target {TARGET} is in use by {INITIATOR} (127.0.0.1): shut that node down first, or say --force"
        );
        assert!(said.starts_with(&expected), "{said}");
        assert!(machine.has("etc/sidus/nodes.d/n1.toml") && inode("n1.img") == first);
    }
    machine.succeeds(&["node", "reset", "n1", "--yes", "--force"]);
    drop(session);
    assert_eq!(inode("n1.img.old"), first);
    assert_ne!(inode("n1.img"), first);
    assert_eq!(log_in(&tgt, INITIATOR, Some(known)).unwrap().1, Authenticated::Both);
    // Nobody can be asked here.
    let said = machine.fails(&["node", "reset", "n1"]);
    assert_eq!(
        said,
        "sidus: Node n1 gets an empty disk; the one that it has is kept, and the one before that is lost. Say --yes: nobody can be asked here\n"
    );
    machine.succeeds(&["node", "reset", "n1", "--yes", "--discard"]);
    assert!(!luns.join("n1.img.old").exists());

    let said = machine.fails(&["node", "remove", "n1"]);
    assert!(said.ends_with("n1.img: say --keep-disk or --discard-disk\n"), "{said}");
    let disk = inode("n1.img");
    machine.succeeds(&["node", "remove", "n1", "--keep-disk"]);
    assert_eq!(tgt.admin("--op show --mode target"), "");
    assert_eq!(tgt.admin("--op show --mode account"), "");
    for gone in [
        "etc/sidus/nodes.d/n1.toml",
        "var/lib/sidus/secrets/nodes/n1.toml",
        "srv/tftp/pxelinux.cfg/01-52-54-00-0d-14-15",
    ] {
        assert!(!machine.has(gone), "{gone}");
    }
    assert_eq!(fs::read_dir(machine.root().join("srv/tftp/sidus-nodes")).unwrap().count(), 0);
    let said = machine.fails(&ADD);
    assert!(
        said.contains("n1.img is there already, of an earlier node n1: --existing-disk has the node use it as it is"),
        "{said}"
    );
    machine.succeeds(&[&ADD[..], &["--existing-disk"]].concat());
    assert_eq!(inode("n1.img"), disk, "nothing is made where something is");
}

/// What a person wrote into a node's file, `sidus init` and `sidus node reset` obey.
#[test]
fn a_node_that_a_person_wrote_gets_a_disk() {
    let (machine, luns) = server("node-by-hand");
    let tgt = tgt(&machine);
    machine.put(
        "etc/sidus/nodes.d/n1.toml",
        "# mine\nmac = \"52-54-00-0D-14-15\"\nip = \"10.13.20.21\"\npersistent = \"64M\"\n",
    );
    machine.succeeds(&["node", "reset", "n1"]);
    assert!(luns.join("n1.img").exists() && !luns.join("n1.img.old").exists());
    assert_eq!(log_in(&tgt, INITIATOR, Some(credentials(&machine))).unwrap().1, Authenticated::Both);
    assert!(machine.read("etc/sidus/nodes.d/n1.toml").starts_with("# mine\n"));
    let list: serde_json::Value = serde_json::from_str(&machine.succeeds(&["node", "list", "--json"])).unwrap();
    for (key, value) in
        [("name", "n1"), ("tree", "hpc"), ("generation", "20261126-1"), ("persistent", "64M"), ("cmdline", "quiet")]
    {
        assert_eq!(list.pointer(&format!("/0/{key}")).and_then(serde_json::Value::as_str), Some(value), "{key}");
    }
}

/// With 100 nodes, half of them with disks, every command that makes no disk stays under a second; one that does, too.
#[test]
fn a_hundred_nodes_are_no_burden() {
    let (machine, luns) = server("node-hundred");
    let _tgt = tgt(&machine);
    for number in 1..=100 {
        let disk = if number % 2 == 0 { "persistent = \"1G\"\n" } else { "" };
        let text = format!("mac = \"52:54:00:00:00:{number:02x}\"\nip = \"10.13.20.{}\"\n{disk}", number + 20);
        machine.put(&format!("etc/sidus/nodes.d/node{number}.toml"), &text);
        if !disk.is_empty() {
            let account = format!(
                "username = \"node{number}\"\npassword = \"0123456789abcdef\"\nusername_in = \"target.node{number}\"\n\
                 password_in = \"fedcba9876543210\"\narchive = \"{number:032x}\"\n"
            );
            machine.put(&format!("var/lib/sidus/secrets/nodes/node{number}.toml"), &account);
            fs::File::create(luns.join(format!("node{number}.img"))).unwrap().set_len(1 << 30).unwrap();
        }
    }
    machine.set_mode("var/lib/sidus/secrets/nodes", 0o700);
    let mut slow = Vec::new();
    let add = ["node", "add", "52:54:00:0d:14:15", "--ip", "10.13.20.200", "--name", "n200", "--persistent=20G"];
    for command in [
        // Writes all that follows from a hundred files, once.
        &["init"][..],
        &add[..],
        &["node", "list"],
        &["node", "list", "--json"],
        &["node", "reset", "n200", "--yes"],
        &["target", "update"],
        &["init"],
        &["config"],
        &["status"],
        &["tree", "list"],
        // It finds that none of the services runs.
        &["check"],
        &["node", "remove", "n200", "--discard-disk"],
    ] {
        let started = Instant::now();
        match command {
            ["check"] => machine.fails(command),
            _ => machine.succeeds(command),
        };
        let took = started.elapsed();
        println!("sidus {}: {} ms", command.join(" "), took.as_millis());
        if took > Duration::from_secs(1) {
            slow.push(format!("sidus {}: {took:?}", command.join(" ")));
        }
    }
    // The first has some 250 files synced; a busy host may take long for one.
    assert!(slow.len() <= 2, "slower than a second: {slow:?}");
}
