//! When `sidus publish` takes the initrd of the generation before, and when it has another one made, with a small tree on a
//! server in a folder. Needs root: there is what the kernel tells nobody else of what mkinitramfs reads. Needs unshare(1),
//! rsync(1), strace(1) and overlayfs as well: `cargo test --features server,root --test sidus_initrd`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // A test may fail by a panic.

mod machine;
mod published;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use machine::{survives_each, Machine};
use published::{current, inode, ready, server, BOOT, GENERATIONS, TREE};

/// Publishes: which file the initrd then is, and where it is written what was seen for it.
fn published(machine: &Machine) -> (u64, String) {
    let said = machine.succeeds(&["publish", "hpc"]);
    assert!(!said.contains("note:"), "{said}");
    let current = current(machine);
    (inode(machine, &format!("{BOOT}/{current}/initrd.img")), format!("{GENERATIONS}/.{current}.seen"))
}

/// What another content of it cannot change, it need not be made for.
#[test]
fn an_initrd_stays_while_nothing_that_was_seen_for_it_is_other() {
    let machine = ready("publish-seen");
    machine.by_root();
    let put = |path: &str, text: &str| machine.put(&format!("{TREE}/{path}"), text);
    let publish = || published(&machine);
    put("etc/issue", "Debian");
    put("usr/share/doc/x", "text");
    let (first, list) = publish();
    let text = machine.read(&list);
    let seen: Vec<_> = text.split_terminator('\0').collect();
    for item in ["oetc/motd", "ousr/bin/sh", "ousr/lib/x86_64-linux-gnu/libc.so.6", "ousr/lib64/ld-linux-x86-64.so.2"] {
        assert!(seen.contains(&item), "{item} is not in {seen:?}");
    }
    for item in ["nmotd", "nlibc.so.6", "nmkinitramfs", "nx86_64-linux-gnu"] {
        assert!(seen.contains(&item), "{item} is not in {seen:?}");
    }
    for item in ["oetc/issue", "ohome/x/notes", "nissue", "nnotes"] {
        assert!(!seen.contains(&item), "{item} is in {seen:?}");
    }

    put("etc/issue", "Debian 12");
    let (second, list) = publish();
    assert_eq!(second, first);
    assert_eq!(machine.read(&list), text);
    put("etc/issue", "Debian 13");
    put("etc/motd", "good bye\n");
    let (third, _) = publish();
    assert_ne!(third, first);
    // What nobody looks for may come, change and go.
    put("etc/issue.net", "Debian");
    put("opt/new/motd", "whose folder is new");
    assert_eq!(publish().0, third);
    machine.set_mode(&format!("{TREE}/etc/issue.net"), 0o600);
    assert_eq!(publish().0, third);
    fs::remove_file(machine.root().join(TREE).join("etc/issue.net")).unwrap();
    assert_eq!(publish().0, third);

    // What is known to be read counts wherever it is, and what is looked for.
    let looks = machine.read(&format!("{TREE}/usr/sbin/mkinitramfs"))
        + "read -r line </usr/share/doc/x || :\n[ ! -r /etc/issue.net ] || :\ncd /etc/sub && [ ! -e ../nowhere ] || :\n\
           for file in listed/*; do :; done\n/usr/bin/script || :\nln -s /etc/led /tmp/link; [ ! -e /tmp/link ] || :\n";
    put("usr/sbin/mkinitramfs", &looks);
    fs::copy("/usr/bin/ln", machine.root().join(TREE).join("usr/bin/ln")).unwrap();
    put("etc/sub/listed/one", "");
    put("usr/bin/script", "#!/usr/bin/interpreter\n");
    machine.set_mode(&format!("{TREE}/usr/bin/script"), 0o755);
    let link = |target: &str, name: &str| symlink(target, machine.root().join(TREE).join(name)).unwrap();
    link("elsewhere", "etc/nowhere");
    link("/opt/there", "etc/elsewhere");
    let mut last = publish().0;
    for (path, text) in [
        ("usr/share/doc/x", "other text"),
        ("etc/issue.net", "Debian"),
        ("etc/sub/listed/two", ""),
        ("opt/there", ""),
        ("usr/bin/interpreter", ""),
        ("etc/led", ""),
    ] {
        put(path, text);
        let (next, _) = publish();
        assert_ne!(next, last, "{path}");
        last = next;
    }
    machine.set_mode(&format!("{TREE}/etc/issue.net"), 0o600);
    let (seventh, _) = publish();
    assert_ne!(seventh, last, "it may be read, or not");
    // A hook of the tree's own may do anything.
    put("etc/initramfs-tools/hooks/own", "");
    put("home/x/notes", "others");
    let (last, list) = publish();
    assert_ne!(last, seventh);

    let all = |machine: &Machine| {
        let entries = fs::read_dir(machine.root().join(GENERATIONS)).unwrap();
        entries.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|end| end == "seen")).count()
    };
    assert_eq!(all(&machine), 15);
    machine.succeeds(&["tree", "prune", "hpc", "--keep", "1"]);
    assert!(all(&machine) == 1 && machine.has(&list));
}

/// mkinitramfs lists `/etc`, in which much is new, for names that its scripts say.
#[test]
fn an_initrd_stays_where_mkinitramfs_lists_a_folder_for_other_names() {
    const CONFIGURATION: &str = "etc/initramfs-tools/conf.d/own";
    const FUNCTIONS: &str = "usr/share/initramfs-tools/hook-functions";
    let machine = ready("publish-listed");
    machine.by_root();
    let put = |path: &str, text: &str| machine.put(&format!("{TREE}/{path}"), text);
    let lists = "for file in /etc/list*; do :; done; : </etc/sub\n\
                 for file in functions ../hook-functions; do . /usr/share/initramfs-tools/scripts/$file; done\n\
                 . /etc/initramfs-tools/conf.d/own\n";
    put("usr/sbin/mkinitramfs", &(machine.read(&format!("{TREE}/usr/sbin/mkinitramfs")) + lists));
    put(FUNCTIONS, "");
    put("etc/sub/file", "");
    put("usr/share/more", "for file in /etc/issue.*; do :; done\n");
    put(CONFIGURATION, "[ -n x ]\n");
    let mut last = published(&machine).0;
    for (path, text, is_new) in [
        ("etc/other", "", false),
        ("etc/sub/other", "", false),
        ("etc/listed", "", true),
        // What is not in Debian's scripts may look for anything; others than mkinitramfs itself, too.
        (CONFIGURATION, "folder=/nowhere\nfor file in $folder/*; do :; done\n", true),
        ("etc/another", "", true),
        (CONFIGURATION, ". /usr/share/more\n", true),
        ("etc/a-third", "", true),
        (CONFIGURATION, "/bin/sh /usr/share/more\n", true),
        ("etc/a-fourth", "", true),
        (CONFIGURATION, "", true),
        (FUNCTIONS, "(for file in /etc/list*; do :; done; exec /bin/sh /usr/share/more)\n", true),
        ("etc/a-fifth", "", true),
        (FUNCTIONS, "", true),
        ("etc/a-sixth", "", false),
    ] {
        put(path, text);
        let (next, _) = published(&machine);
        assert_eq!(next != last, is_new, "{path}: {text}");
        last = next;
    }
    // By a link, too.
    let configuration = machine.root().join(TREE).join(CONFIGURATION);
    fs::remove_file(&configuration).unwrap();
    symlink("/usr/share/more", configuration).unwrap();
    let (linked, _) = published(&machine);
    assert_ne!(linked, last);
    put("etc/a-seventh", "");
    assert_ne!(published(&machine).0, linked);
}

/// A library more is in the linker's cache, which each program has read.
#[test]
fn an_initrd_stays_where_other_libraries_are_linked() {
    let machine = ready("publish-linked");
    machine.by_root();
    let add = |library: &str| {
        let found = fs::canonicalize(Path::new("/usr/lib/x86_64-linux-gnu").join(library)).unwrap();
        let tree = machine.root().join(TREE);
        fs::copy(found, tree.join("usr/lib/x86_64-linux-gnu").join(library)).unwrap();
        assert!(Command::new("/sbin/ldconfig").arg("-r").arg(tree).status().unwrap().success());
    };
    add("libc.so.6");
    let (first, _) = published(&machine);
    add("libm.so.6");
    let (second, list) = published(&machine);
    assert_eq!(second, first);
    assert!(machine.read(&list).split('\0').any(|item| item == "oetc/ld.so.cache"), "it was read");
    // Where something else reads it, all of it may matter; another file of that name does not.
    let mkinitramfs = format!("{TREE}/usr/sbin/mkinitramfs");
    let text = machine.read(&mkinitramfs);
    for (reads, library, matters) in [
        ("read -r line </etc/ld.so.cache || :", "libresolv.so.2", true),
        ("cd /etc; read -r line <ld.so.cache || :", "libutil.so.1", true),
        ("cd /tmp; : >ld.so.cache; read -r line <ld.so.cache || :", "libdl.so.2", false),
    ] {
        machine.put(&mkinitramfs, &format!("{text}{reads}\n"));
        let (before, _) = published(&machine);
        add(library);
        assert_eq!(published(&machine).0 != before, matters, "{reads}");
    }
}

/// With what the kernel tells root alone.
#[test]
fn publish_with_the_initrd_of_before() {
    let prepare = |machine: &Machine| {
        machine.by_root();
        server(machine);
        machine.succeeds(&["publish", "hpc"]);
        machine.put(&format!("{TREE}/home/x/notes"), "others");
    };
    survives_each(31, "publish-again", prepare, &["publish", "hpc"]);
    let first = |machine: &Machine| {
        machine.by_root();
        server(machine);
    };
    survives_each(61, "publish-seen", first, &["publish", "hpc"]);
}
