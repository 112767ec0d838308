use std::os::unix::fs::symlink;

use super::*;

struct Scene(PathBuf);

impl Scene {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("sidus-seal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let scene = Self(root);
        for folder in ["t/etc", "t/var", "t/run", "t/tmp", "var/log", "etc"] {
            fs::create_dir_all(scene.0.join(folder)).unwrap();
        }
        scene
    }

    fn put(&self, path: &str, text: &str) {
        let at = self.0.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
    }

    fn facts(&self, keep: &[&str]) -> Facts {
        Facts::read(&self.0, Path::new("/t"), &keep.iter().map(PathBuf::from).collect()).unwrap()
    }

    fn found(&self, keep: &[&str]) -> Vec<String> {
        self.facts(keep).found.iter().map(|path| path.display().to_string()).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_is_one_machines_goes_and_the_rest_stays() {
    let scene = Scene::new("goes");
    let goes = [
        "t/etc/hostname",
        "t/etc/ssh/ssh_host_ed25519_key",
        "t/etc/ssh/ssh_host_ed25519_key.pub",
        "t/root/.bash_history",
        "t/run/x.pid",
        "t/tmp/.X11-unix",
        "t/var/cache/apt/archives/vim.deb",
        "t/var/cache/apt/pkgcache.bin",
        "t/var/lib/apt/lists/InRelease",
        "t/var/lib/systemd/random-seed",
        "t/var/log/apt/term.log",
        "t/var/log/dpkg.log",
    ];
    let stays =
        ["t/etc/ssh/sshd_config", "t/etc/hosts", "t/var/cache/man/index.db", "t/var/lib/dpkg/status", "t/root/.bashrc"];
    for path in goes.iter().chain(&stays) {
        scene.put(path, "x");
    }
    scene.put("t/usr/sbin/policy-rc.d", "");
    scene.put("var/log/of-the-server", "x");
    let mut expected: Vec<_> = goes.iter().map(|path| format!("/{path}")).collect();
    expected.push("/t/usr/sbin/policy-rc.d".to_owned());
    expected.sort();
    assert_eq!(scene.found(&[]), expected);
}

#[test]
fn links_lead_to_the_trees_own_folders() {
    let scene = Scene::new("links");
    scene.put("t/data/log/syslog", "x");
    scene.put("var/log/syslog", "the server's");
    symlink("/data/log", scene.0.join("t/var/log")).unwrap();
    symlink("/var/log", scene.0.join("t/var/tmp")).unwrap();
    symlink("/var/log/syslog", scene.0.join("t/etc/hostname")).unwrap();
    assert_eq!(scene.found(&[]), ["/t/data/log/syslog"]);
}

#[test]
fn the_sites_own_files_stay() {
    let scene = Scene::new("site");
    scene.put("t/etc/hostname", "x");
    scene.put("t/etc/ssh/ssh_host_rsa_key", "x");
    scene.put("t/etc/ssh/ssh_host_ed25519_key", "x");
    scene.put("t/etc/resolv.conf", "");
    let keep = ["/etc/hostname", "/etc/ssh/ssh_host_rsa_key", "/etc/resolv.conf", "/etc/machine-id"];
    let facts = scene.facts(&keep);
    assert_eq!(facts.found, [Path::new("/t/etc/ssh/ssh_host_ed25519_key")]);
    assert_eq!((facts.resolv, facts.machine_id), (None, None));
}

#[test]
fn only_the_servers_resolv_conf_is_replaced() {
    let scene = Scene::new("resolv");
    scene.put("etc/resolv.conf", "nameserver 127.0.0.53\n");
    for (text, is_replaced) in [
        (None, true),
        (Some("nameserver 127.0.0.53\n"), true),
        (Some("# Written by sidus, which\nnameserver 10.0.0.1\n"), true),
        (Some(""), true),
        (Some("nameserver 192.168.0.1\n"), false),
    ] {
        let _ = fs::remove_file(scene.0.join("t/etc/resolv.conf"));
        if let Some(text) = text {
            scene.put("t/etc/resolv.conf", text);
        }
        assert_eq!(scene.facts(&[]).resolv.is_some(), is_replaced, "{text:?}");
    }
    fs::remove_file(scene.0.join("t/etc/resolv.conf")).unwrap();
    symlink("../run/systemd/resolve/stub-resolv.conf", scene.0.join("t/etc/resolv.conf")).unwrap();
    assert_eq!(scene.facts(&[]).resolv, None);
}

#[test]
fn facts_become_actions() {
    let path = |text: &str| Some(PathBuf::from(text));
    let facts = Facts {
        found: vec!["/t/etc/hostname".into(), "/t/etc/resolv.conf".into()],
        machine_id: path("/t/etc/machine-id"),
        initiator: path("/t/etc/iscsi/initiatorname.iscsi"),
        ssh: path("/t/etc/systemd/system/ssh.service.d/10-sidus.conf"),
        resolv: path("/t/etc/resolv.conf"),
    };
    let shown = |nameservers: &[Ipv4Addr]| {
        decide(Path::new("/t"), nameservers, &facts).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let rest = [
        "remove /t/etc/hostname",
        "write /t/etc/machine-id (0444)",
        "write /t/etc/iscsi/initiatorname.iscsi (0600)",
        "make folder /t/etc/systemd/system/ssh.service.d (0755)",
        "write /t/etc/systemd/system/ssh.service.d/10-sidus.conf (0644)",
    ];
    assert_eq!(shown(&[]), [&rest[..], &["remove /t/etc/resolv.conf"]].concat());
    assert_eq!(shown(&[[10, 0, 0, 1].into()]), [&rest[..], &["write /t/etc/resolv.conf (0644)"]].concat());
    assert_eq!(decide(Path::new("/t"), &[], &Facts::default()), []);
}

#[test]
fn facts_are_of_the_tree() {
    let scene = Scene::new("facts");
    assert_eq!(
        scene.facts(&[]),
        Facts {
            machine_id: Some("/t/etc/machine-id".into()),
            resolv: Some("/t/etc/resolv.conf".into()),
            ..Facts::default()
        }
    );
    scene.put("t/etc/iscsi/initiatorname.iscsi", "## comment\nInitiatorName=iqn.1993-08.org.debian:01:abc\n");
    scene.put("t/usr/lib/systemd/system/ssh.service", "");
    let facts = scene.facts(&[]);
    assert_eq!(facts.initiator, Some("/t/etc/iscsi/initiatorname.iscsi".into()));
    assert_eq!(facts.ssh, Some("/t/etc/systemd/system/ssh.service.d/10-sidus.conf".into()));
    scene.put("t/etc/iscsi/initiatorname.iscsi", NO_INITIATOR);
    assert_eq!(scene.facts(&[]).initiator, None);
}
