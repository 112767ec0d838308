//! `sidus tree …` on a server in a folder, with trees that are made by hand of this machine's own files.
//! Needs unshare(1) and overlayfs in a user namespace: `cargo test --features server --test sidus_tree`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // A test may fail by a panic.

mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::path::Path;

use rustix::process::{kill_process, Signal};

use machine::{above, running, said, wait_until, Machine};

const TREE: &str = "srv/sidus/trees/hpc";

fn server(name: &str) -> Machine {
    let machine = Machine::new(name);
    machine.put(
        "etc/sidus/sidus.toml",
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
         nfs = \"none\"\ntarget = \"none\"\n[dhcp]\nnameservers = [\"10.13.20.2\", \"10.13.20.3\"]\n",
    );
    machine.put("etc/resolv.conf", "nameserver 10.13.20.7\n");
    machine
}

/// The least in which commands run: this machine's programs with what they need.
fn plant(machine: &Machine) {
    let tree = machine.root().join(TREE);
    for folder in ["dev", "etc", "proc", "run", "sys", "tmp", "usr/bin", "usr/sbin", "var/log"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        symlink(format!("usr/{link}"), tree.join(link)).unwrap();
    }
    for program in ["cat", "dash", "grep", "id", "ls", "mkdir", "mount", "sleep", "stat", "uname", "umount"] {
        plant_program(&tree, program);
    }
    symlink("dash", tree.join("usr/bin/sh")).unwrap();
    machine.put(&format!("{TREE}/etc/resolv.conf"), "nameserver of the tree\n");
}

fn plant_program(tree: &Path, program: &str) {
    let path =
        ["/usr/bin", "/usr/sbin"].map(|folder| Path::new(folder).join(program)).into_iter().find(|at| at.exists());
    let path = path.unwrap_or_else(|| panic!("there is no {program}"));
    fs::copy(&path, tree.join("usr/bin").join(program)).unwrap();
    let listed = std::process::Command::new("ldd").arg(&path).output().unwrap();
    for library in String::from_utf8(listed.stdout).unwrap().split_whitespace().filter(|word| word.starts_with('/')) {
        let usr = if library.starts_with("/usr") { library.to_owned() } else { format!("/usr{library}") };
        let at = tree.join(usr.trim_start_matches('/'));
        if !at.exists() {
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::copy(library, at).unwrap();
        }
    }
}

#[test]
fn a_command_has_what_it_needs_and_leaves_nothing() {
    let machine = server("tree-run");
    plant(&machine);
    machine.put(&format!("{TREE}/usr/sbin/start-stop-daemon"), "the tree's own");
    let before = of_tree(&machine);
    let script = "cat /etc/resolv.conf; policy-rc.d; echo policy $?; start-stop-daemon; echo start $?; \
        for at in /run /run/shm /dev/shm /tmp; do echo x >$at/x && cat $at/x; done; echo x >/dev/null; ls /proc; uname -n; \
        mkdir /sys/x; echo x >/etc/resolv.conf; cat /proc/mounts; sleep 1000 & sh -c 'sleep 1001 & sleep 1002 &'; exit 7";
    let output = machine.sidus(&["tree", "run", "hpc", "--", "sh", "-c", script]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(7), "{text}");
    for line in [
        "nameserver 10.13.20.7\npolicy 101\nstart 0\nx\nx\nx\nx\n1\n",
        "\nlocalhost\n",
        "cannot create directory '/sys/x': Read-only file system",
        "cannot create /etc/resolv.conf: Read-only file system",
        " / ",
        "proc /proc proc rw,nosuid,nodev,noexec",
    ] {
        assert!(text.replace(['‘', '’'], "'").contains(line), "{line}\n{text}");
    }
    // In a user namespace, what is mounted below comes along. What nobody but the machine's root can reach stays as it was.
    let is_of_sys = |line: &&str| {
        line.split(' ').nth(1).is_some_and(|at| at.starts_with("/sys") && fs::symlink_metadata(at).is_ok())
    };
    let of_sys: Vec<_> = text.lines().filter(is_of_sys).collect();
    let is_read_only = |line: &&str| line.split(' ').nth(3).is_some_and(|options| options.starts_with("ro,"));
    assert!(of_sys.len() > 1 && of_sys.iter().all(is_read_only), "{of_sys:#?}");
    assert!(!text.contains("sidus: "), "the command itself has told: {text}");
    fs::remove_file(machine.root().join(TREE).join("tmp/x")).unwrap();
    assert!(of_tree(&machine) == before, "the tree is as it was");
}

/// More of them than one digit can number: a shell's redirection knows no others.
#[test]
fn a_command_has_none_of_the_files_that_sidus_was_started_with() {
    let machine = server("tree-inherited");
    plant(&machine);
    let wrapper = ["sh", "-c", "exec 3</dev/null 4</dev/null 5</dev/null 9</dev/null; exec \"$@\"", "sh"];
    let output = machine.sidus_by(&wrapper, &["tree", "run", "hpc", "--", "ls", "/proc/self/fd"]);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), "0\n1\n2\n3\n"));
}

/// The tree's files.
fn of_tree(machine: &Machine) -> BTreeMap<String, String> {
    let mut state = machine.state();
    state.retain(|path, _| path.starts_with(TREE));
    state
}

#[test]
fn exit_statuses_are_those_of_the_command() {
    let machine = server("tree-status");
    plant(&machine);
    machine.put(&format!("{TREE}/usr/bin/text"), "no program");
    let run = |command: &[&str]| machine.sidus(&[&["tree", "run", "hpc", "--"], command].concat());
    for (command, status, text) in [
        (&["sh", "-c", "exit 3"][..], 3, ""),
        (&["sh", "-c", "kill -TERM $$"], 143, ""),
        (&["no-such-program"], 127, "sidus: no-such-program: No such file or directory"),
        (&["text"], 126, "sidus: text: Permission denied"),
    ] {
        let output = run(command);
        let text_is = said(&output);
        assert_eq!(output.status.code(), Some(status), "{command:?}: {text_is}");
        assert!(text_is.starts_with(text) && (text.is_empty() == text_is.is_empty()), "{command:?}: {text_is}");
    }
    fs::remove_dir(machine.root().join(TREE).join("sys")).unwrap();
    let output = run(&["sh", "-c", "exit 0"]);
    assert_eq!(output.status.code(), Some(125));
    assert_eq!(said(&output), "sidus: /sys of the tree is no folder: a Debian tree has one\n");
    assert_eq!(
        machine.fails(&["tree", "run", "hcp", "--", "ls"]),
        "sidus: /srv/sidus/trees/hcp: there is no such tree; there are: hpc\n"
    );
    let dry = machine.succeeds(&["--dry-run", "tree", "shell", "hpc"]);
    assert!(dry.contains("--tree=/srv/sidus/trees/hpc -- /bin/sh -c") && !dry.contains("nothing to do"), "{dry}");
}

#[test]
fn names_are_resolved_whatever_the_tree_has() {
    let machine = server("tree-names");
    plant(&machine);
    let file = machine.root().join(TREE).join("etc/resolv.conf");
    for target in [None, Some("../run/systemd/resolve/stub-resolv.conf"), Some("/etc/resolv.conf.site")] {
        if file.symlink_metadata().is_ok() {
            fs::remove_file(&file).unwrap();
        }
        if let Some(target) = target {
            symlink(target, &file).unwrap();
        }
        machine.put(&format!("{TREE}/etc/resolv.conf.site"), "the tree's\n");
        for _ in 0..2 {
            let text = machine.succeeds(&["tree", "run", "hpc", "--", "cat", "/etc/resolv.conf"]);
            assert_eq!(text, "nameserver 10.13.20.7\n", "{target:?}");
        }
        assert_eq!(fs::read_link(&file).ok().as_deref(), target.map(Path::new), "it is left as it was");
        assert!(target.is_some() || !file.exists());
        assert!(!machine.has(&format!("{TREE}/usr/sbin/policy-rc.d")));
    }
}

/// Then apt-get(8) does nothing but say so.
#[test]
fn packages_are_installed_after_dpkg_was_interrupted() {
    let machine = server("tree-interrupted");
    plant(&machine);
    let apt = "#!/bin/sh\ncase \"$*\" in *update) exit 0;; esac\n[ -e /tmp/configured ] && exit 0\n\
        echo \"dpkg was interrupted, you must manually run 'dpkg --configure -a'\" >&2\nexit 100\n";
    let dpkg = "#!/bin/sh\n[ \"$DEBIAN_FRONTEND $*\" = \"noninteractive --force-confdef --force-confold --configure --pending\" ] || exit 1\n\
        echo >/tmp/configured\n";
    for (name, script) in [("apt-get", apt), ("dpkg", dpkg)] {
        machine.put(&format!("{TREE}/usr/bin/{name}"), script);
        machine.set_mode(&format!("{TREE}/usr/bin/{name}"), 0o755);
    }
    for work in [&["tree", "install", "hpc", "vim"][..], &["tree", "upgrade", "hpc"], &["tree", "purge", "hpc", "vim"]]
    {
        machine.succeeds(work);
        fs::remove_file(machine.root().join(TREE).join("tmp/configured")).unwrap();
    }
}

/// Empty files may be the tree's own: an empty resolv.conf is one without nameservers.
#[test]
fn what_is_empty_stays_in_the_tree() {
    let machine = server("tree-empty");
    plant(&machine);
    for path in ["etc/resolv.conf", "usr/sbin/policy-rc.d"] {
        machine.put(&format!("{TREE}/{path}"), "");
    }
    let before = of_tree(&machine);
    let text = machine.succeeds(&["tree", "run", "hpc", "--", "cat", "/etc/resolv.conf"]);
    assert_eq!(text, "nameserver 10.13.20.7\n");
    assert!(of_tree(&machine) == before);
    machine.succeeds(&["tree", "seal", "hpc"]);
    assert!(!machine.has(&format!("{TREE}/usr/sbin/policy-rc.d")));
}

/// What outlives `sidus` and holds its machine, which ends with this value, however a test ends.
struct Holder<'a>(&'a str);

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        for pid in running(self.0) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn killed_it_leaves_nothing_running_and_the_next_one_tidies_up() {
    let machine = server("tree-killed");
    plant(&machine);
    fs::remove_file(machine.root().join(TREE).join("etc/resolv.conf")).unwrap();
    // Of no other process, nor of another run of these tests.
    let [word, marker, holder] = [1, 2, 3].map(|which| format!("87{}.{which}", std::process::id()));
    let command = format!("sleep {word} & echo $$ >/tmp/began; sleep {marker}");
    std::thread::scope(|scope| {
        let _held = Holder(&holder);
        scope.spawn(|| machine.sidus_outlived(&holder, &["tree", "run", "hpc", "--", "sh", "-c", &command]));
        wait_until("the command begins", || running(&word).len() == 1 && running(&marker).len() == 1);
        assert!(machine.has(&format!("{TREE}/usr/sbin/policy-rc.d")));
        // The program itself, not what holds the machine: the others are its children.
        let sidus = above(running(&marker)[0]).find(|pid| {
            let line = fs::read_to_string(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            line.starts_with("/usr/sbin/sidus\0tree\0")
        });
        kill_process(sidus.unwrap(), Signal::KILL).unwrap();
        wait_until("all of it ends", || running(&word).is_empty() && running(&marker).is_empty());
    });
    assert!(machine.has("var/lib/sidus/work/hpc/journal.json"));
    let text = machine.succeeds(&["recover"]);
    assert!(text.contains("ended in the middle: it is undone now"), "{text}");
    assert!(!machine.has(&format!("{TREE}/usr/sbin/policy-rc.d")) && !machine.has(&format!("{TREE}/etc/resolv.conf")));
    assert_eq!(machine.succeeds(&["tree", "run", "hpc", "--", "sh", "-c", "echo again"]), "again\n");
}

#[test]
fn whoever_works_in_a_tree_holds_up_nobody_elsewhere() {
    let machine = server("tree-busy");
    plant(&machine);
    let desk = machine.root().join("srv/sidus/trees/desk");
    assert!(std::process::Command::new("cp")
        .arg("-a")
        .arg(machine.root().join(TREE))
        .arg(desk)
        .status()
        .unwrap()
        .success());
    machine.stub("rsync");
    let marker = format!("88{}.1", std::process::id());
    let policy = format!("{TREE}/usr/sbin/policy-rc.d");
    let busy = |arguments: &[&str]| {
        let output = machine.sidus(arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        assert!(text.contains("`sidus tree run hpc -- sh -c "), "{arguments:?}: {text}");
    };
    std::thread::scope(|scope| {
        let work =
            scope.spawn(|| machine.sidus(&["tree", "run", "hpc", "--", "sh", "-c", &format!("sleep {marker} & wait")]));
        wait_until("the command begins", || running(&marker).len() == 1);
        assert!(machine.has(&policy));
        machine.succeeds(&["node", "add", "52:54:00:0d:14:15", "--ip", "10.13.20.21", "--name", "n1"]);
        machine.succeeds(&["node", "list"]);
        machine.succeeds(&["status"]);
        machine.succeeds(&["tree", "list"]);
        assert_eq!(machine.succeeds(&["tree", "run", "desk", "--", "uname", "-n"]), "localhost\n");
        machine.succeeds(&["tree", "seal", "desk"]);
        machine.succeeds(&["recover"]);
        assert!(machine.has(&policy), "what is at work is not taken for what ended in the middle");
        for arguments in [
            &["tree", "run", "hpc", "--", "ls"][..],
            &["tree", "upgrade", "hpc"],
            &["tree", "seal", "hpc"],
            &["tree", "clone", "hpc", "other"],
        ] {
            busy(arguments);
        }
        assert!(said(&machine.sidus(&["check"])).contains("`sidus tree run hpc -- sh -c "));
        for pid in running(&marker) {
            kill_process(pid, Signal::TERM).unwrap();
        }
        work.join().unwrap();
    });
    machine.succeeds(&["recover"]);
    assert!(!machine.has(&policy));
    machine.succeeds(&["tree", "seal", "hpc"]);
}

#[test]
fn a_tree_is_made_whole_or_not_at_all() {
    let machine = server("tree-create");
    let create = ["tree", "create", "hpc", "--mirror", "http://mirror.example/debian", "--include", "vim"];
    machine.stub("mmdebstrap");
    machine.put("usr/local/sbin/mmdebstrap", MAKES_A_TREE);
    let text = machine.succeeds(&create);
    assert!(text.contains("makes the tree hpc, 1 packages and what they need"), "{text}");
    assert_eq!(machine.read(&format!("{TREE}/etc/debian_version")), "made\n");
    let mode = fs::metadata(machine.root().join("srv/sidus/trees")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(machine.succeeds(&create), "sidus: the tree hpc is there already, made as asked\n");
    let text = machine.fails(&["tree", "create", "hpc", "--mirror", "http://mirror.example/debian"]);
    assert!(text.contains("of trixie for amd64, made of other packages or sources"), "{text}");

    machine.put(
        "usr/local/sbin/mmdebstrap",
        "#!/bin/sh\nmkdir /srv/sidus/trees/.other.new\necho no such suite >&2\nexit 25\n",
    );
    let text = machine.fails(&[&["tree", "create", "other"], &create[3..]].concat());
    assert!(text.ends_with("exit status 25\n  no such suite\n"), "{text}");
    assert_eq!(fs::read_dir(machine.root().join("srv/sidus/trees")).unwrap().count(), 1, "it is undone");
}

#[test]
fn the_trees_of_another_machine_are_made_by_this_ones_programs() {
    let machine = server("tree-create-elsewhere");
    let config = machine.read("etc/sidus/sidus.toml");
    machine.put("srv/image/etc/sidus/sidus.toml", &config);
    machine.stub("mmdebstrap");
    machine.put("usr/local/sbin/mmdebstrap", MAKES_A_TREE);
    let mirror = "http://mirror.example/debian";
    machine.succeeds(&["--root", "/srv/image", "tree", "create", "hpc", "--mirror", mirror, "--include", "vim"]);
    assert_eq!(machine.read(&format!("srv/image/{TREE}/etc/debian_version")), "made\n");
}

/// In place of mmdebstrap: which of its arguments is the folder?
const MAKES_A_TREE: &str = "#!/bin/sh\necho \"mmdebstrap $*\" >>/var/log/calls\nfor word; do\n\
    case $word in /*) mkdir -p \"$word/etc\" && echo made >\"$word/etc/debian_version\";; esac\ndone\n";

fn for_root_alone(machine: &Machine, path: &str) {
    fs::set_permissions(machine.root().join(path), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn site_files_are_shown_and_then_brought_into_the_tree() {
    let machine = server("tree-site");
    machine.put("etc/sidus/site/etc/fstab", "{{server}}:/home /home nfs4 defaults 0 0\n");
    machine.put("etc/sidus/site/etc/locale.gen", "fr_FR.UTF-8 UTF-8\n");
    machine.put("etc/sidus/site/etc/locale.gen~", "an editor's");
    machine.put("etc/sidus/site/etc/ldap.secret", "very secret\n");
    machine.put("etc/sidus/site/lib/firmware/card.bin", "firmware");
    machine.put("etc/sidus/site/etc/resolv.conf", "nameserver {{server}}\n");
    for_root_alone(&machine, "etc/sidus/site/etc/ldap.secret");
    machine.put(&format!("{TREE}/etc/fstab"), "# no file system\n");
    machine.put(&format!("{TREE}/usr/lib/os-release"), "");
    let tree = machine.root().join(TREE);
    symlink("usr/lib", tree.join("lib")).unwrap();
    symlink("/etc/passwd", tree.join("etc/resolv.conf")).unwrap();
    machine.put(&format!("{TREE}/etc/localtime"), "of the tree");
    machine.link("/usr/share/zoneinfo/Europe/Paris", "etc/sidus/site/etc/localtime");

    let before = of_tree(&machine);
    let dry = machine.succeeds(&["tree", "site", "hpc", "--dry-run"]);
    for line in [
        "write /srv/sidus/trees/hpc/etc/fstab (0644)\n",
        "    -# no file system\n    +10.13.20.13:/home /home nfs4 defaults 0 0\n",
        "    +fr_FR.UTF-8 UTF-8\n",
        "write /srv/sidus/trees/hpc/usr/lib/firmware/card.bin (0644)\n",
        "remove /srv/sidus/trees/hpc/etc/resolv.conf, a link\nwrite /srv/sidus/trees/hpc/etc/resolv.conf (0644)\n",
        "remove /srv/sidus/trees/hpc/etc/localtime, a file\n\
         link /srv/sidus/trees/hpc/etc/localtime to /usr/share/zoneinfo/Europe/Paris\n",
        "(a secret, not shown)",
        "note: then: sidus tree run hpc -- locale-gen\n",
    ] {
        assert!(dry.contains(line), "{line}\n{dry}");
    }
    assert!(!dry.contains("very secret") && !dry.contains("root:x:0"), "{dry}");
    assert!(of_tree(&machine) == before, "a dry run does nothing");

    let text = machine.succeeds(&["tree", "site", "hpc"]);
    assert!(text.contains("    -# no file system\n"), "the difference is shown: {text}");
    assert_eq!(machine.read(&format!("{TREE}/etc/resolv.conf")), "nameserver 10.13.20.13\n");
    assert_eq!(machine.read(&format!("{TREE}/usr/lib/firmware/card.bin")), "firmware");
    assert_eq!(fs::read_link(tree.join("etc/localtime")).unwrap(), Path::new("/usr/share/zoneinfo/Europe/Paris"));
    assert!(!machine.has(&format!("{TREE}/etc/locale.gen~")));
    let mode = fs::metadata(tree.join("etc/ldap.secret")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(machine.succeeds(&["tree", "site", "hpc"]), "nothing to do\n");
    // A folder of the tree never gives way.
    machine.link("/usr/share", "etc/sidus/site/usr/lib/os");
    machine.put(&format!("{TREE}/usr/lib/os/release"), "x");
    let text = machine.fails(&["tree", "site", "hpc"]);
    assert!(
        text.contains("/usr/lib/os: it is no link, where sidus needs one; it is left as it is: move it away"),
        "{text}"
    );
    fs::remove_file(machine.root().join("etc/sidus/site/usr/lib/os")).unwrap();
    machine.put("etc/sidus/site/etc/fstab", "\n{{home}}:/home /home nfs4 defaults 0 0\n");
    let text = machine.fails(&["tree", "site", "hpc"]);
    assert!(
        text.starts_with("sidus: /etc/sidus/site/etc/fstab:2: {{home}}: there is no such variable; there are tree, "),
        "{text}"
    );
}

#[test]
fn a_sealed_tree_has_nothing_of_one_machine() {
    let machine = server("tree-seal");
    for path in
        ["etc/hostname", "etc/ssh/ssh_host_rsa_key", "var/log/syslog", "tmp/x", "usr/lib/systemd/system/ssh.service"]
    {
        machine.put(&format!("{TREE}/{path}"), "x\n");
    }
    let dry = machine.succeeds(&["tree", "seal", "hpc", "-n"]);
    assert!(dry.contains("remove /srv/sidus/trees/hpc/etc/ssh/ssh_host_rsa_key\n"), "{dry}");
    machine.succeeds(&["tree", "seal", "hpc"]);
    let left: Vec<_> = of_tree(&machine).into_keys().filter(|path| machine.root().join(path).is_file()).collect();
    let expected = [
        "etc/machine-id",
        "etc/resolv.conf",
        "etc/systemd/system/ssh.service.d/10-sidus.conf",
        "usr/lib/systemd/system/ssh.service",
    ];
    assert_eq!(left, expected.map(|path| format!("{TREE}/{path}")));
    assert_eq!(machine.read(&format!("{TREE}/etc/machine-id")), "");
    assert!(machine
        .read(&format!("{TREE}/etc/resolv.conf"))
        .ends_with("\nnameserver 10.13.20.2\nnameserver 10.13.20.3\n"));
    assert_eq!(machine.succeeds(&["tree", "seal", "hpc"]), "sidus: hpc is sealed already\n");
}

/// A link of the tree leads to a folder that the server has and the tree has not.
#[test]
fn no_link_of_a_tree_leads_to_the_servers_files() {
    let machine = server("tree-links");
    machine.put("opt/own/secret_key", "the server's\n");
    machine.put("etc/sidus/site/etc/ldap/ldap.conf", "BASE dc=example\n");
    machine.put(&format!("{TREE}/etc/motd"), "");
    let tree = machine.root().join(TREE);
    fs::create_dir_all(tree.join("var/lib")).unwrap();
    symlink("/opt/own", tree.join("var/lib/NetworkManager")).unwrap();
    symlink("/opt/own", tree.join("etc/ldap")).unwrap();
    machine.succeeds(&["tree", "seal", "hpc"]);
    machine.succeeds(&["tree", "site", "hpc"]);
    assert_eq!(machine.read("opt/own/secret_key"), "the server's\n");
    assert!(!machine.has("opt/own/ldap.conf"));
    assert_eq!(machine.read(&format!("{TREE}/opt/own/ldap.conf")), "BASE dc=example\n");
    machine.put("opt/dpkg/status", "Package: secret\nStatus: install ok installed\nVersion: 1\n\n");
    symlink("/opt/dpkg", tree.join("var/lib/dpkg")).unwrap();
    machine.put("srv/sidus/trees/desk/etc/motd", "");
    let said = machine.succeeds(&["tree", "diff", "desk", "hpc"]);
    assert!(said.contains("+ /var/lib/dpkg\n") && !said.contains("secret 1") && !said.contains("+ secret"), "{said}");
}
