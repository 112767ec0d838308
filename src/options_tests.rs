use super::values::Value;
use super::*;
use crate::iscsi::chap::{Account, Secret};

fn tmpfs() -> BootOptions {
    BootOptions { layer: Layer::Tmpfs, ..BootOptions::default() }
}

fn iscsi(portals: &[&str]) -> IscsiOptions {
    let portals = portals.iter().map(|portal| portal.parse().unwrap()).collect();
    IscsiOptions {
        portals,
        target: None,
        initiator: None,
        lun: None,
        digest: Digest::None,
        recovery: Duration::from_secs(600),
        guard: Guard::Auto,
        credentials: None,
        secret_in_environment: false,
        volume: None,
    }
}

#[test]
fn good_command_lines() {
    let article = "console=tty1 root=/dev/nfs initrd=initrd.img-Sidus nfsroot=10.13.20.13:/srv/nfsroot/wheezy64,\
                   rsize=8192,wsize=8192,tcp ip=dhcp aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 \
                   ISCSI_INITIATOR=iqn.2013-04.zone.sidus.target:default root=LABEL=ISCSI";
    let table: &[(&str, BootOptions)] = &[
        ("", BootOptions { layer: Layer::Off, ..tmpfs() }),
        ("quiet aufs=off", BootOptions { layer: Layer::Off, ..tmpfs() }),
        ("root=/dev/nfs ip=dhcp aufs=tmpfs", tmpfs()),
        ("aufs=tmpfs aufs=tmpfs", tmpfs()),
        ("aufs=tmpfs -- sidus.nonsense=1", tmpfs()),
        ("aufs=tmpfs sidus.union=overlay", BootOptions { union: UnionChoice::Overlay, ..tmpfs() }),
        ("aufs=tmpfs sidus.union=aufs", BootOptions { union: UnionChoice::Aufs, ..tmpfs() }),
        ("aufs=tmpfs sidus.on-failure=ro", BootOptions { on_failure: OnFailure::ReadOnly, ..tmpfs() }),
        ("aufs=tmpfs sidus.on_failure=tmpfs", BootOptions { on_failure: OnFailure::Tmpfs, ..tmpfs() }),
        ("aufs=tmpfs sidus.on_failure=shell", BootOptions { on_failure: OnFailure::Shell, ..tmpfs() }),
        ("aufs=tmpfs sidus.on_failure=reboot", BootOptions { on_failure: OnFailure::Reboot, ..tmpfs() }),
        ("aufs=tmpfs sidus.timeout=30", BootOptions { timeout: Duration::from_secs(30), ..tmpfs() }),
        ("aufs=tmpfs sidus.debug", BootOptions { debug: true, ..tmpfs() }),
        ("aufs=tmpfs sidus.debug=0", tmpfs()),
        (
            "aufs=tmpfs sidus.tmpfs.size=512M sidus.tmpfs.inodes=10k",
            BootOptions {
                tmpfs: TmpfsLimits { size: Some(TmpfsSize::Bytes(512 << 20)), inodes: Some(TmpfsInodes(10 << 10)) },
                ..tmpfs()
            },
        ),
        (
            "aufs=tmpfs sidus.tmpfs.size=50%",
            BootOptions { tmpfs: TmpfsLimits { size: Some(TmpfsSize::Percent(50)), inodes: None }, ..tmpfs() },
        ),
        (
            article,
            BootOptions {
                layer: Layer::Iscsi(IscsiOptions {
                    initiator: Some("iqn.2013-04.zone.sidus.target:default".to_owned()),
                    volume: Some(VolumeName::Label("ISCSI".to_owned())),
                    ..iscsi(&["10.13.20.14"])
                }),
                ..tmpfs()
            },
        ),
        (
            "aufs=iscsi iscsi_target_ip=10.13.20.14:3261,[fd00::14]:3260 root=UUID=0a34-07",
            BootOptions {
                layer: Layer::Iscsi(IscsiOptions {
                    volume: Some(VolumeName::Uuid("0a34-07".to_owned())),
                    ..iscsi(&["10.13.20.14:3261", "[fd00::14]:3260"])
                }),
                ..tmpfs()
            },
        ),
    ];
    let account = |name: &str, secret: &str| Account { name: name.to_owned(), secret: Secret::new(secret) };
    let portals = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14";
    let more: &[(&str, IscsiOptions)] = &[
        (
            "sidus.iscsi.target=iqn.2026-01.org.example:{mac} sidus.iscsi.lun=3 sidus.iscsi.digest=crc32c \
             sidus.iscsi.recovery=90 sidus.iscsi.guard=take",
            IscsiOptions {
                target: Some("iqn.2026-01.org.example:{mac}".to_owned()),
                lun: Some(3),
                digest: Digest::Crc32c,
                recovery: Duration::from_secs(90),
                guard: Guard::Take,
                ..iscsi(&["10.13.20.14"])
            },
        ),
        (
            "iscsi_target_name=iqn.2026-01.org.example:disk sidus.iscsi.digest=none",
            IscsiOptions { target: Some("iqn.2026-01.org.example:disk".to_owned()), ..iscsi(&["10.13.20.14"]) },
        ),
        (
            "sidus.iscsi.username=node sidus.iscsi.password=\"a secret\" sidus.iscsi.username_in=san \
             sidus.iscsi.password_in=another",
            IscsiOptions {
                credentials: Some(Credentials {
                    own: account("node", "a secret"),
                    target: Some(account("san", "another")),
                }),
                ..iscsi(&["10.13.20.14"])
            },
        ),
        (
            "iscsi_username=node ISCSI_PASSWORD=secret",
            IscsiOptions {
                credentials: Some(Credentials { own: account("node", "secret"), target: None }),
                secret_in_environment: true,
                ..iscsi(&["10.13.20.14"])
            },
        ),
    ];
    for (line, expected) in more {
        let options = BootOptions { layer: Layer::Iscsi(expected.clone()), ..tmpfs() };
        assert_eq!(BootOptions::parse(&format!("{portals} {line}")), Ok(options), "command line {line:?}");
    }
    let several = "10.13.20.14,10.13.20.15:3262,[fd00::1],[fd00::2]:3263,fd00::3";
    let portals = ["10.13.20.14:3261", "10.13.20.15:3262", "[fd00::1]:3261", "[fd00::2]:3263", "[fd00::3]:3261"];
    let options = BootOptions { layer: Layer::Iscsi(iscsi(&portals)), ..tmpfs() };
    let line = format!("aufs=iscsi ISCSI_TARGET_IP={several} iscsi_target_port=3261");
    assert_eq!(BootOptions::parse(&line), Ok(options), "command line {line:?}");
    for (line, expected) in table {
        assert_eq!(BootOptions::parse(line).as_ref(), Ok(expected), "command line {line:?}");
    }
}

#[test]
fn bad_command_lines_say_key_value_and_what_is_accepted() {
    let table: &[(&str, &[&str])] = &[
        ("aufs=ramfs", &["aufs=ramfs: not a value of aufs; accepted: tmpfs, iscsi or off"]),
        ("aufs", &["aufs=: not a value of aufs; accepted: tmpfs, iscsi or off"]),
        (
            "aufs=tmpfs aufs=off",
            &["aufs: given twice, as \"tmpfs\" and as \"off\"; give it once; accepted: tmpfs, iscsi or off"],
        ),
        (
            "ISCSI_TARGET_IP=10.0.0.1 iscsi_target_ip=10.0.0.2",
            &["ISCSI_TARGET_IP: given twice, as \"10.0.0.1\" and as \"10.0.0.2\"; give it once; accepted: \
               addresses separated by commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260"],
        ),
        ("sidus.unoin=aufs", &["sidus.unoin=aufs: no such key; accepted: <sidus>"]),
        (
            "SIDUS.DEBUG Sidus.timeout=9 sidus.x=",
            &[
                "SIDUS.DEBUG: no such key; accepted: <sidus>",
                "Sidus.timeout=9: no such key; accepted: <sidus>",
                "sidus.x=: no such key; accepted: <sidus>",
            ],
        ),
        (
            "sidus.iscsi.pasword=hunter2 Sidus.Iscsi.PASSWD-IN=hunter2 sidus.secret=hunter2",
            &[
                "sidus.iscsi.pasword=(a secret): no such key; accepted: <sidus>",
                "Sidus.Iscsi.PASSWD-IN=(a secret): no such key; accepted: <sidus>",
                "sidus.secret=(a secret): no such key; accepted: <sidus>",
            ],
        ),
        (
            "aufs=iscsi ISCSI_TARGET_IP=10.0.0.1 ISCSI_PASWORD=hunter2 iscsi_target_group=1",
            &[
                "ISCSI_PASWORD=(a secret): no such key; accepted: <iscsi>",
                "iscsi_target_group=1: no such key; accepted: <iscsi>",
            ],
        ),
        (
            "aufs=iscsi ISCSI_TARGET_IP=10.0.0.1 root=/dev/nfs root=PARTUUID=1 root=LABEL= root=/dev/sda1",
            &[
                "root=PARTUUID=1: not a value of root; accepted: <root>",
                "root=LABEL=: not a value of root; accepted: <root>",
                "root=/dev/sda1: not a value of root; accepted: <root>",
            ],
        ),
        (
            "aufs=iscsi ISCSI_TARGET_IP=10.0.0.1 root=LABEL=A root=UUID=b",
            &["root: given twice, as \"LABEL=A\" and as \"UUID=b\"; give it once; accepted: <root>"],
        ),
        (
            "ISCSI_TARGET_IP=10.0.0.1,0.0.0.0",
            &["ISCSI_TARGET_IP=10.0.0.1,0.0.0.0: not a value of ISCSI_TARGET_IP; accepted: addresses separated by \
               commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260"],
        ),
        ("sidus.union=zfs", &["sidus.union=zfs: not a value of sidus.union; accepted: auto, overlay or aufs"]),
        (
            "sidus.tmpfs.size=0",
            &["sidus.tmpfs.size=0: not a value of sidus.tmpfs.size; accepted: bytes with k, m or g, as in 512m, \
               or a percentage of the memory, as in 50%; at least 1m or 1%"],
        ),
        (
            "sidus.tmpfs.inodes=-1",
            &["sidus.tmpfs.inodes=-1: not a value of sidus.tmpfs.inodes; accepted: a number of inodes with k, m \
               or g, as in 500k; at least 1k"],
        ),
        (
            "sidus.on_failure=hang",
            &["sidus.on_failure=hang: not a value of sidus.on_failure; accepted: panic, tmpfs, ro, shell or \
               reboot"],
        ),
        ("sidus.timeout=0", &["sidus.timeout=0: not a value of sidus.timeout; accepted: seconds from 1 to 86400"]),
        ("sidus.debug=yes", &["sidus.debug=yes: not a value of sidus.debug; accepted: nothing, 1 or 0"]),
        (
            "aufs=iscsi",
            &["ISCSI_TARGET_IP is missing: aufs=iscsi needs the address of the iSCSI server; accepted: addresses \
               separated by commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260"],
        ),
        (
            "aufs=iscsi ISCSI_TARGET_IP=target.example",
            &["ISCSI_TARGET_IP=target.example: not a value of ISCSI_TARGET_IP; accepted: addresses separated by \
               commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260"],
        ),
        (
            "ISCSI_INITIATOR=node1",
            &["ISCSI_INITIATOR=node1: not a value of ISCSI_INITIATOR; accepted: an iSCSI name, which may hold {ip}, \
               {mac}, {hostname} and {uuid}, as in iqn.2026-01.org.example:{hostname}"],
        ),
        (
            "sidus.iscsi.target=iqn.2026-01.org.example:{IP}",
            &["sidus.iscsi.target=iqn.2026-01.org.example:{IP}: not a value of sidus.iscsi.target; accepted: an iSCSI \
               name, which may hold {ip}, {mac}, {hostname} and {uuid}, as in iqn.2013-04.zone.sidus.target:{ip}"],
        ),
        (
            "iscsi_target_port=0 sidus.iscsi.lun=16384 sidus.iscsi.digest=md5 sidus.iscsi.recovery=0",
            &[
                "iscsi_target_port=0: not a value of iscsi_target_port; accepted: a port from 1 to 65535",
                "sidus.iscsi.lun=16384: not a value of sidus.iscsi.lun; accepted: a number from 0 to 16383",
                "sidus.iscsi.digest=md5: not a value of sidus.iscsi.digest; accepted: crc32c or none",
                "sidus.iscsi.recovery=0: not a value of sidus.iscsi.recovery; accepted: seconds from 1 to 86400",
            ],
        ),
        (
            "sidus.iscsi.guard=on",
            &["sidus.iscsi.guard=on: not a value of sidus.iscsi.guard; accepted: auto, take or off"],
        ),
        (
            "ISCSI_TARGET_NAME=iqn.x",
            &["ISCSI_TARGET_NAME=iqn.x: not a value of ISCSI_TARGET_NAME; accepted: an iSCSI name, as in \
               iqn.2013-04.zone.sidus.target:10.13.20.101"],
        ),
        (
            "sidus.iscsi.target=iqn.2026-01.a:{ip} iscsi_target_name=iqn.2026-01.a:b",
            &["sidus.iscsi.target: given twice, as \"iqn.2026-01.a:{ip}\" and as \"iqn.2026-01.a:b\"; give it once; \
               accepted: an iSCSI name, which may hold {ip}, {mac}, {hostname} and {uuid}, as in \
               iqn.2013-04.zone.sidus.target:{ip}"],
        ),
        (
            "sidus.iscsi.target=disk",
            &["sidus.iscsi.target=disk: not a value of sidus.iscsi.target; accepted: an iSCSI name, which may \
               hold {ip}, {mac}, {hostname} and {uuid}, as in iqn.2013-04.zone.sidus.target:{ip}"],
        ),
        (
            "iscsi_password=",
            &["iscsi_password=(a secret): not a value of iscsi_password; accepted: 1 to 255 bytes, as the iSCSI \
               target's CHAP account has it"],
        ),
        (
            "sidus.iscsi.password=one iscsi_password=two",
            &["sidus.iscsi.password: given twice, as \"(a secret)\" and as \"(a secret)\"; give it once; accepted: 1 to \
               255 bytes, as the iSCSI target's CHAP account has it"],
        ),
        (
            "sidus.iscsi.username=a",
            &["sidus.iscsi.password is missing: a user name for CHAP is of no use without its password; accepted: \
               1 to 255 bytes, as the iSCSI target's CHAP account has it"],
        ),
        (
            "sidus.iscsi.username=a sidus.iscsi.password=x sidus.iscsi.username_in=b sidus.iscsi.password_in=x",
            &["sidus.iscsi.password and sidus.iscsi.password_in are the same; they must differ (RFC 7143 12.1.3)"],
        ),
        (
            "aufs=ramfs sidus.debug=yes",
            &[
                "aufs=ramfs: not a value of aufs; accepted: tmpfs, iscsi or off",
                "sidus.debug=yes: not a value of sidus.debug; accepted: nothing, 1 or 0",
            ],
        ),
    ];
    for (line, expected) in table {
        let problems = BootOptions::parse(line).map_err(|bad| bad.problems).expect_err(line);
        let short = |text: String| {
            text.replace(SIDUS_KEYS, "<sidus>").replace(OPEN_ISCSI_KEYS, "<iscsi>").replace(ROOT, "<root>")
        };
        let got: Vec<_> = problems.iter().map(|problem| short(problem.to_string())).collect();
        assert_eq!(&got, expected, "command line {line:?}");
    }
}

/// What an unknown key below `sidus.` is told.
const SIDUS_KEYS: &str = "sidus.iscsi.target, sidus.iscsi.lun, sidus.iscsi.digest, sidus.iscsi.recovery, \
                          sidus.iscsi.guard, sidus.iscsi.username, sidus.iscsi.password, sidus.iscsi.username_in, \
                          sidus.iscsi.password_in, sidus.union, sidus.tmpfs.size, sidus.tmpfs.inodes, \
                          sidus.on_failure, sidus.timeout, sidus.debug";
/// What an unknown key of open-iscsi is told.
const OPEN_ISCSI_KEYS: &str =
    "iscsi_target_ip, iscsi_target_port, iscsi_target_name, iscsi_initiator, iscsi_username, \
                               iscsi_password, iscsi_in_username, iscsi_in_password";
/// What a `root=` is told that names no volume.
const ROOT: &str = "/dev/nfs for the NFS root; LABEL= or UUID=, with a name, for the file system on the LUN";

#[test]
fn sizes_outside_of_the_limits_are_refused() {
    for size in ["", "0", "1", "1023k", "0%", "101%", "300%", "18446744073709551615g", "1 m", "+1m", "m", "1t", "é"] {
        assert_eq!(TmpfsSize::read(size), None, "size {size:?}");
    }
    for inodes in ["", "0", "1023", "1%", "99999999999999999999"] {
        assert_eq!(TmpfsInodes::read(inodes), None, "inodes {inodes:?}");
    }
}

#[test]
fn what_follows_the_failure_is_known_even_when_the_rest_is_wrong() {
    let plain = BootOptions::default;
    let table = [
        ("sidus.union=zfs sidus.on_failure=reboot", BootOptions { on_failure: OnFailure::Reboot, ..plain() }),
        // Which one is meant is not guessed here either.
        ("sidus.on_failure=reboot sidus.on_failure=shell", plain()),
        (
            "aufs=tmfps sidus.tmpfs.size=90% sidus.tmpfs.inodes=1 sidus.union=aufs sidus.timeout=9 sidus.debug",
            BootOptions {
                tmpfs: TmpfsLimits { size: Some(TmpfsSize::Percent(90)), inodes: None },
                union: UnionChoice::Aufs,
                timeout: Duration::from_secs(9),
                debug: true,
                ..plain()
            },
        ),
    ];
    for (line, expected) in table {
        assert_eq!(BootOptions::parse(line).unwrap_err().options, expected, "command line {line:?}");
    }
}

#[test]
fn a_wrong_key_does_not_hide_that_the_plain_root_is_asked_for() {
    let table = [
        ("sidus.nonsense", true),
        ("aufs=off sidus.union=zfs", true),
        ("aufs=of", false),
        ("aufs=tmpfs aufs=off", false),
    ];
    for (line, off) in table {
        assert_eq!(BootOptions::parse(line).unwrap_err().off, off, "command line {line:?}");
    }
}

#[test]
fn the_man_page_explains_every_key() {
    let page = include_str!("../initramfs-hooks/rootaufs.8");
    for name in KEYS.iter().flat_map(|key| key.names) {
        let entry = page.lines().any(|line| line.starts_with(".B") && line.contains(name));
        assert!(entry, "rootaufs.8 has no entry for {name}");
    }
}
