//! `sidus publish` and what follows from it, with a small tree on a server in a folder.
//! Needs unshare(1), rsync(1) and overlayfs in a user namespace: `cargo test --features server --test sidus_publish`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // A test may fail by a panic.

mod machine;
mod published;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{kill_process, Signal};

use machine::{above, running, wait_until, Machine};
use published::{current, inode, ready, BOOT, GENERATIONS, TREE};
use sidus::server::engine::{Action, Journal, Phase};

#[test]
fn a_generation_has_its_kernel_initrd_and_entries() {
    let machine = ready("publish");
    machine.succeeds(&["config"]);
    let before = machine.state();
    let dry = machine.succeeds(&["publish", "hpc", "--dry-run"]);
    for line in [
        "write /srv/sidus/generations/hpc/.new/etc/machine-id (0444)\n",
        "mkinitramfs -o /run/results/initrd.img 6.1.0-10-amd64\n",
        "link /srv/sidus/generations/hpc/current to ",
    ] {
        assert!(dry.contains(line), "{dry}");
    }
    assert!(!dry.contains("nothing to do"), "{dry}");
    assert!(machine.state() == before, "a dry run does nothing");
    let said = machine.succeeds(&["publish", "hpc"]);
    let first = current(&machine);
    assert!(said.contains(&format!("hpc {first}: ")), "{said}");
    assert_eq!(machine.read(&format!("{BOOT}/{first}/vmlinuz")), "the kernel");
    let initrd = |name: &str| machine.read(&format!("{BOOT}/{name}/initrd.img"));
    assert_eq!(initrd(&first), "initrd of 6.1.0-10-amd64: welcome, rootaufs-initramfs 1\n");
    assert_eq!(machine.read(&format!("{GENERATIONS}/{first}/usr/sbin/rootaufs")), "rootaufs 1\n");
    assert!(!machine.has(&format!("{TREE}/usr/sbin/rootaufs")), "the tree itself is as it was");
    for file in ["default", "01-52-54-00-0d-14-15"] {
        let entry = machine.read(&format!("srv/tftp/pxelinux.cfg/{file}"));
        for part in [
            format!("KERNEL sidus/hpc/{first}/vmlinuz\n"),
            format!("initrd=sidus/hpc/{first}/initrd.img "),
            format!("nfsroot=10.13.20.13:/srv/sidus/generations/hpc/{first},"),
        ] {
            assert!(entry.contains(&part), "{entry}");
        }
    }
    for left in [".new", ".initrd"] {
        assert!(!machine.has(&format!("{GENERATIONS}/{left}")), "{left}");
    }
    let of_first = || {
        let folder = format!("{GENERATIONS}/{first}");
        machine.state().into_iter().filter(|(path, _)| path.starts_with(&folder)).collect::<Vec<_>>()
    };
    let as_published = of_first();
    assert!(as_published.len() > 20, "{as_published:?}");
    let published = machine.state();
    let said = machine.succeeds(&["publish", "hpc"]);
    assert!(said.contains(&format!("hpc is as generation {first}: nothing to publish\n")), "{said}");
    assert!(machine.state() == published, "the second time, nothing is done");

    // What changes in the tree, in place too, changes nothing in a generation.
    let notes = machine.root().join(TREE).join("home/x/notes");
    fs::OpenOptions::new().append(true).open(&notes).unwrap().write_all(b", and more").unwrap();
    assert_eq!(machine.read(&format!("{GENERATIONS}/{first}/home/x/notes")), "mine");
    machine.succeeds(&["publish", "hpc"]);
    let second = current(&machine);
    assert_ne!(first, second);
    assert_eq!(machine.read(&format!("{GENERATIONS}/{second}/home/x/notes")), "mine, and more");
    let is_shared = |file: &str| {
        inode(&machine, &format!("{GENERATIONS}/{first}/{file}"))
            == inode(&machine, &format!("{GENERATIONS}/{second}/{file}"))
    };
    assert!(is_shared("etc/motd") && is_shared("usr/bin/sh") && !is_shared("home/x/notes"));
    assert!(is_shared("usr/sbin/rootaufs") && is_shared("usr/share/man/man8/rootaufs.8"), "what nodes get, too");
    let boot = |name: &str, file: &str| inode(&machine, &format!("{BOOT}/{name}/{file}"));
    assert_eq!(boot(&first, "initrd.img"), boot(&second, "initrd.img"), "nothing that is in it changed");

    machine.put(&format!("{TREE}/etc/motd"), "good bye\n");
    machine.succeeds(&["publish", "hpc"]);
    let third = current(&machine);
    assert_eq!(initrd(&third), "initrd of 6.1.0-10-amd64: good bye, rootaufs-initramfs 1\n");
    assert_eq!(boot(&first, "vmlinuz"), boot(&third, "vmlinuz"));
    machine.put("usr/lib/sidus/rootaufs-initramfs", "rootaufs-initramfs 2\n");
    machine.succeeds(&["publish", "hpc"]);
    assert!(initrd(&current(&machine)).contains("rootaufs-initramfs 2"));
    assert!(initrd(&third).contains("rootaufs-initramfs 1"));
    assert_eq!(
        machine.read(&format!("{GENERATIONS}/{third}/usr/lib/sidus/rootaufs-initramfs")),
        "rootaufs-initramfs 1\n"
    );

    assert!(of_first() == as_published, "what comes later changes nothing in a generation");

    // Another kernel than its own would find no modules that fit it.
    let check = || machine::said(&machine.sidus(&["check"]));
    assert!(!check().contains("it is not the kernel of"), "{}", check());
    let [served, own] = [BOOT, GENERATIONS].map(|folder| format!("{folder}/{}", current(&machine)));
    fs::remove_file(machine.root().join(&served).join("vmlinuz")).unwrap();
    machine.put(&format!("{served}/vmlinuz"), "a kernel\n");
    let remedy = format!("    install -m 644 /{own}/boot/vmlinuz-6.1.0-10-amd64 /{served}/vmlinuz\n");
    assert!(check().contains(&remedy), "{}", check());

    let said = machine.succeeds(&["rollback", "hpc"]);
    assert!(said.contains(&format!("hpc {third}: what boots from now on boots it\n")), "{said}");
    assert_eq!(current(&machine), third);
    assert!(machine.read("srv/tftp/pxelinux.cfg/default").contains(&format!("sidus/hpc/{third}/vmlinuz")));
    let said = machine.succeeds(&["rollback", "hpc", &third]);
    assert!(said.contains("nodes boot it already"), "{said}");
    assert_eq!(machine.succeeds(&["rollback", "hpc", &third, "-n"]), "nothing to do\n");
    assert!(machine
        .fails(&["rollback", "hpc", "20200101-1"])
        .contains("tree hpc has no generation 20200101-1; it has "));
}

#[test]
fn what_cannot_be_published_is_named_and_leaves_nothing() {
    let table: [(&str, fn(&Machine), &str); 9] = [
        (
            "kernel",
            |machine| fs::remove_dir_all(machine.root().join(TREE).join("boot")).unwrap(),
            "sidus: /srv/sidus/generations/hpc/.new/boot: there is no kernel with its modules",
        ),
        (
            "payload",
            |machine| fs::remove_file(machine.root().join("usr/share/sidus/rootaufs.8")).unwrap(),
            "sidus: /usr/share/sidus/rootaufs.8: no such file; nodes need it: install the programs and hooks of sidus",
        ),
        (
            "tools",
            |machine| fs::remove_file(machine.root().join(TREE).join("usr/sbin/mkinitramfs")).unwrap(),
            "sidus: /srv/sidus/generations/hpc/.new/usr/sbin/mkinitramfs: no such file: install initramfs-tools in the tree\n",
        ),
        (
            "mkinitramfs",
            |machine| {
                let path = format!("{TREE}/usr/sbin/mkinitramfs");
                let text = machine.read(&path).replace("/boot/x", "/run/x");
                machine.put(&path, &text);
            },
            "6.1.0-10-amd64: exit status 1\n  /run/x can be written\n",
        ),
        (
            "link",
            |machine| {
                let units = machine.root().join(TREE).join("usr/lib/systemd");
                std::os::unix::fs::symlink("/etc", units).unwrap();
            },
            "sidus: /srv/sidus/generations/hpc/.new/usr/lib/systemd is a link, but has to be a folder: it may lead out of the tree; mend the tree\n",
        ),
        (
            "linked-kernel",
            |machine| {
                for version in ["9", "10"] {
                    let kernel = machine.root().join(TREE).join(format!("boot/vmlinuz-6.1.0-{version}-amd64"));
                    fs::remove_file(&kernel).unwrap();
                    std::os::unix::fs::symlink("/etc/passwd", kernel).unwrap();
                }
            },
            "sidus: /srv/sidus/generations/hpc/.new/boot: there is no kernel with its modules",
        ),
        (
            "linked-boot",
            |machine| {
                let boot = machine.root().join(TREE).join("boot");
                fs::rename(&boot, machine.root().join("boot")).unwrap();
                std::os::unix::fs::symlink("/boot", boot).unwrap();
            },
            "sidus: /srv/sidus/generations/hpc/.new/boot is a link, but has to be a folder: it may lead out of the tree",
        ),
        (
            "linked-initrd",
            |machine| {
                fs::copy("/usr/bin/ln", machine.root().join(TREE).join("usr/bin/ln")).unwrap();
                machine.put(&format!("{TREE}/usr/sbin/mkinitramfs"), "#!/bin/sh\nexec ln -s /etc/passwd \"$2\"\n");
            },
            "sidus: /srv/sidus/generations/hpc/.initrd/results/initrd.img: the tree's mkinitramfs was content, but has made no \
             regular file of that name: look at it and its hooks\n",
        ),
        (
            "person",
            |machine| machine.put("srv/tftp/pxelinux.cfg/default", "DEFAULT mine\n"),
            "sidus: /srv/tftp/pxelinux.cfg/default: sidus has to write it, but it is not of sidus",
        ),
    ];
    for (name, spoil, expected) in table {
        let machine = ready(&format!("publish-{name}"));
        spoil(&machine);
        let said = machine.fails(&["publish", "hpc"]);
        assert!(said.contains(expected), "{name}: {said}");
        let left: Vec<_> = fs::read_dir(machine.root().join(GENERATIONS))
            .map(|found| found.map(|entry| entry.unwrap().file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{name}: {left:?}");
        assert!(
            !machine.has("srv/tftp/pxelinux.cfg/01-52-54-00-0d-14-15") && !machine.has("var/lib/sidus/journal.json")
        );
    }
    let machine = ready("publish-none");
    let said = machine.fails(&["publish", "desk"]);
    assert_eq!(said, "sidus: there is no tree desk in /srv/sidus/trees; there is hpc\n");
}

/// A node that the command before has added, which ended in the middle, boots the new generation as well.
#[test]
fn what_is_brought_to_its_end_first_counts() {
    let machine = ready("publish-after-recovery");
    machine.succeeds(&["publish", "hpc"]);
    let entry = "srv/tftp/pxelinux.cfg/01-52-54-00-0d-14-16";
    let ends_in_the_middle = |number: u8| {
        let node = format!("mac = \"52:54:00:0d:14:{number}\"\nip = \"10.13.20.{number}\"\ntree = \"hpc\"\n");
        let mut journal = Journal::new("sidus node add", Vec::new());
        journal.phase = Phase::Commit;
        journal.commit = vec![Action::write_new(format!("/etc/sidus/nodes.d/n{number}.toml"), node)];
        journal.write(machine.root(), Path::new("/var/lib/sidus")).unwrap();
    };
    machine.put(&format!("{TREE}/home/x/notes"), "more");
    ends_in_the_middle(16);
    machine.succeeds(&["publish", "hpc"]);
    assert!(machine.read(entry).contains(&format!("KERNEL sidus/hpc/{}/vmlinuz\n", current(&machine))));
    ends_in_the_middle(17);
    machine.succeeds(&["rollback", "hpc"]);
    let entry = entry.replace("14-16", "14-17");
    assert!(machine.read(&entry).contains(&format!("KERNEL sidus/hpc/{}/vmlinuz\n", current(&machine))));
}

/// What makes the initrd does not go on writing when nobody waits for it any more.
#[test]
fn killed_it_leaves_nothing_running() {
    let machine = ready("publish-killed");
    // Of no other process, nor of another run of these tests.
    let [marker, holder] = [1, 2].map(|which| format!("86{}.{which}", std::process::id()));
    fs::copy("/usr/bin/sleep", machine.root().join(TREE).join("usr/bin/sleep")).unwrap();
    machine.put(&format!("{TREE}/usr/sbin/mkinitramfs"), &format!("#!/bin/sh\nexec sleep {marker}\n"));
    machine.set_mode(&format!("{TREE}/usr/sbin/mkinitramfs"), 0o755);
    std::thread::scope(|scope| {
        scope.spawn(|| machine.sidus_outlived(&holder, &["publish", "hpc"]));
        wait_until("an initrd is made", || running(&marker).len() == 1);
        let sidus = above(running(&marker)[0]).find(|pid| {
            let line = fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            line == "/usr/sbin/sidus\0publish\0hpc\0"
        });
        kill_process(sidus.unwrap(), Signal::KILL).unwrap();
        let started = Instant::now();
        while !running(&marker).is_empty() && started.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = running(&marker);
        // What holds the machine.
        for pid in running(&holder) {
            let _ = kill_process(pid, Signal::KILL);
        }
        assert!(left.is_empty(), "mkinitramfs goes on");
    });
    machine.succeeds(&["recover"]);
    assert!(!machine.has(&format!("{GENERATIONS}/.new")));
}

#[test]
fn generations_are_listed_pruned_and_compared() {
    let machine = ready("generations");
    let mut names = Vec::new();
    for number in 0..5 {
        machine.put(&format!("{TREE}/etc/motd"), &format!("number {number}\n"));
        machine.succeeds(&["publish", "hpc"]);
        names.push(current(&machine));
        if number < 2 {
            // A node boots, and n1 the one after it.
            let address = ["10.13.20.99", "10.13.20.21"][number];
            let rmtab = format!("{address}:/{GENERATIONS}/{}:0x00000001\n", names[number]);
            let before =
                if machine.has("var/lib/nfs/rmtab") { machine.read("var/lib/nfs/rmtab") } else { String::new() };
            machine.put("var/lib/nfs/rmtab", &(before + &rmtab));
        }
    }
    machine.put("srv/tftp/pxelinux.cfg/0A0D1463", &format!("KERNEL sidus/hpc/{}/vmlinuz\n", names[2]));
    // What a person has there besides: a logo, a comment in another encoding, what is no file.
    let beside = machine.root().join("srv/tftp/pxelinux.cfg");
    fs::write(
        beside.join("0A0D1464"),
        [b"# h\xe9 \xfc\nKERNEL sidus/hpc/", names[2].as_bytes(), b"/vmlinuz\n"].concat(),
    )
    .unwrap();
    fs::write(beside.join("logo.lss"), vec![0xff; 3 << 20]).unwrap();
    std::os::unix::fs::symlink("/nowhere", beside.join("0A0D1465")).unwrap();
    let said = machine.succeeds(&["tree", "list"]);
    for (name, mark, end) in [
        (&names[0], ' ', " MiB own; runs on 10.13.20.99\n"),
        (&names[1], ' ', " MiB own; runs on n1\n"),
        (&names[2], ' ', " MiB own; boots 0A0D1463, 0A0D1464\n"),
        (&names[3], ' ', " MiB own\n"),
        (&names[4], '*', " MiB own; boots n1, default\n"),
    ] {
        let line = said.lines().find(|line| line.starts_with(&format!("{mark} {name} "))).unwrap_or_default();
        assert!(format!("{line}\n").ends_with(end), "{name} {end}: {said}");
    }
    let json: serde_json::Value = serde_json::from_str(&machine.succeeds(&["tree", "list", "--json"])).unwrap();
    let at = |path: &str| json.pointer(path).cloned().unwrap_or_default();
    assert_eq!(at("/0/generations/4/current"), serde_json::json!(true));
    assert_eq!(at("/0/generations/1/users"), serde_json::json!(["n1"]));
    assert_eq!(at("/0/generations/1/kernel"), serde_json::json!("6.1.0-10-amd64"));

    let old = format!("hpc/{}", names[2]);
    let said = machine.succeeds(&["tree", "diff", &old, "hpc/current"]);
    assert_eq!(said, "~ /etc/motd\n");
    let said = machine.succeeds(&["tree", "diff", "hpc/current", "hpc/current"]);
    assert_eq!(said, "hpc/current and hpc/current are the same\n");
    let said = machine.fails(&["tree", "diff", "hpc/20200101-1", "hpc"]);
    assert!(said.starts_with("sidus: tree hpc has no generation 20200101-1; it has "), "{said}");

    machine.succeeds(&["rollback", "hpc"]);
    let said = machine.succeeds(&["tree", "prune", "hpc", "--keep", "1"]);
    assert!(said.starts_with("hpc: nothing to remove\n"), "{said}");
    let boots = |name: &str| {
        let more = format!("{}10.13.20.21:/{GENERATIONS}/{name}:0x00000001\n", machine.read("var/lib/nfs/rmtab"));
        machine.put("var/lib/nfs/rmtab", &more);
    };
    // n1 has asked for the one that nodes boot, but may not have come there.
    boots(&names[3]);
    machine.succeeds(&["rollback", "hpc", &names[4]]);
    let said = machine.succeeds(&["tree", "prune", "hpc", "--keep", "1"]);
    assert!(said.starts_with("hpc: nothing to remove\n"), "{said}");
    boots(&names[4]);
    let said = machine.succeeds(&["tree", "prune", "hpc", "--keep", "1"]);
    assert!(said.starts_with(&format!("hpc: removed {}\n", names[1])), "{said}");
    for place in [GENERATIONS, BOOT] {
        let left: Vec<bool> = names.iter().map(|name| machine.has(&format!("{place}/{name}"))).collect();
        assert_eq!(left, [true, false, true, true, true], "{place}");
    }
    assert!(!machine.has(&format!("{GENERATIONS}/.{}.json", names[1])));
    // Its files are there still where others have them.
    assert_eq!(machine.read(&format!("{GENERATIONS}/{}/home/x/notes", names[0])), "mine");
}

#[test]
fn a_tree_is_cloned() {
    let machine = ready("clone");
    let dry = machine.succeeds(&["tree", "clone", "hpc", "desk", "-n"]);
    assert!(dry.contains("rename /srv/sidus/trees/.desk.new to ") && !dry.contains("nothing to do"), "{dry}");
    machine.succeeds(&["tree", "clone", "hpc", "desk"]);
    assert_eq!(machine.read("srv/sidus/trees/desk/etc/motd"), "welcome\n");
    assert_eq!(machine.succeeds(&["tree", "diff", "hpc", "desk"]), "hpc and desk are the same\n");
    assert_eq!(machine.succeeds(&["tree", "clone", "hpc", "desk"]), "sidus: desk is a copy of hpc already\n");
    machine.succeeds(&["publish", "desk"]);
    fs::create_dir(machine.root().join("srv/sidus/trees/other")).unwrap();
    let said = machine.fails(&["tree", "clone", "hpc", "other"]);
    assert!(
        said.starts_with("sidus: /srv/sidus/trees/other: there is such a tree already: choose another name"),
        "{said}"
    );
    assert!(machine.fails(&["tree", "clone", "x", "y"]).contains("there is no tree x in /srv/sidus/trees"));
}
