use super::*;
use crate::server::target::tests::target;
use crate::server::target::update::{decide, Options};

#[test]
fn the_saved_file_keeps_what_is_of_others() {
    let old = r#"{
  "fabric_modules": [], "storage_objects": [
    {"plugin": "block", "name": "mine", "dev": "/dev/vg/x"},
    {"plugin": "fileio", "name": "sidus-gone", "dev": "/x"}
  ], "targets": [
    {"fabric": "iscsi", "wwn": "iqn.2003-01.org.example:mine", "tpgs": []},
    {"fabric": "iscsi", "wwn": "iqn.2026-01.io.sidus.target:10.13.20.99", "tpgs": []}
  ]
}"#;
    let text = saved(Some(old), &[target(21)]).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let names = |list: &str, key: &str| -> Vec<String> {
        let values = all.get(list).unwrap().as_array().unwrap();
        values.iter().map(|value| value.get(key).unwrap().as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("storage_objects", "name"), ["mine", "sidus-node21"]);
    assert_eq!(names("targets", "wwn"), ["iqn.2003-01.org.example:mine", "iqn.2026-01.io.sidus.target:10.13.20.21"]);
    let rule = all.pointer("/targets/1/tpgs/0/node_acls/0").unwrap();
    for (key, value) in [
        ("node_wwn", "iqn.2026-01.io.sidus:node-525400000021"),
        ("chap_userid", "node21"),
        ("chap_password", "own-secret"),
        ("chap_mutual_userid", "target.node21"),
        ("chap_mutual_password", "other-secret"),
    ] {
        assert_eq!(rule.get(key).and_then(Value::as_str), Some(value), "{key}");
    }
    assert_eq!(saved(Some(&text), &[target(21)]).unwrap(), text, "the second time it is the same");

    // As targetcli writes it again: with what it has read of the kernel.
    let more = text.replace("\"authentication\": 1,", "\"authentication\": 1, \"login_timeout\": 15,");
    let kept: Value = serde_json::from_str(&saved(Some(&more), &[target(21)]).unwrap()).unwrap();
    assert_eq!(kept.pointer("/targets/1/tpgs/0/attributes/login_timeout"), Some(&json!(15)));
    assert!(saved(None, &[target(21)]).unwrap().contains("sidus-node21"));
    assert!(saved(Some("{"), &[]).is_err());
}

fn known(number: u8) -> Known {
    let target = target(number);
    let link = vec!["sidus".to_owned()];
    let luns = vec![("lun_0".to_owned(), link)];
    let group = Group {
        name: "tpgt_1".to_owned(),
        portals: vec![portal(&target)],
        luns: luns.clone(),
        rules: vec![(target.initiator.clone(), luns)],
    };
    let served = Served {
        iqn: target.iqn.clone(),
        images: vec![target.image.clone()],
        initiators: vec![target.initiator.clone()],
        addresses: None,
        accounts: vec![target.account.username.clone(), target.account.username_in.clone()],
        sessions: Vec::new(),
        portals: Some(vec![portal(&target)]),
    };
    Known { served, groups: vec![group] }
}

fn disk(adapter: &str, name: &str) -> Disk {
    Disk { adapter: adapter.to_owned(), name: name.to_owned(), notes: None }
}

fn shown(found: &Found, wanted: &[Target], options: &Options) -> Vec<String> {
    let served: Vec<_> = found.targets.iter().map(|known| known.served.clone()).collect();
    let steps = steps(found, wanted, &decide(wanted, &served, options));
    steps.iter().map(|step| step.to_string().replace("/sys/kernel/config/target", "T")).collect()
}

#[test]
fn a_target_is_made_closed_and_opened_last() {
    let all = shown(&Found::default(), &[target(21)], &Options::default());
    let group = "T/iscsi/iqn.2026-01.io.sidus.target:10.13.20.21/tpgt_1";
    let rule = format!("{group}/acls/iqn.2026-01.io.sidus:node-525400000021");
    assert_eq!(
        all,
        [
            "make T/core/fileio_0".to_owned(),
            "make T/core/fileio_0/sidus-node21".to_owned(),
            "write \"fd_dev_name=/srv/sidus/luns/node21.img,fd_dev_size=1073741824\" to T/core/fileio_0/sidus-node21/control".to_owned(),
            "write \"/srv/sidus/luns/node21.img\" to T/core/fileio_0/sidus-node21/udev_path".to_owned(),
            "write \"1\" to T/core/fileio_0/sidus-node21/enable".to_owned(),
            "write \"00000000-0000-4000-8000-525400000021\" to T/core/fileio_0/sidus-node21/wwn/vpd_unit_serial".to_owned(),
            "make T/iscsi".to_owned(),
            "make T/iscsi/iqn.2026-01.io.sidus.target:10.13.20.21".to_owned(),
            format!("make {group}"),
            format!("make {group}/lun/lun_0"),
            format!("link {group}/lun/lun_0/sidus to T/core/fileio_0/sidus-node21"),
            format!("write \"1\" to {group}/attrib/authentication"),
            format!("write \"0\" to {group}/attrib/generate_node_acls"),
            format!("write \"0\" to {group}/attrib/demo_mode_discovery"),
            format!("make {rule}"),
            format!("make {rule}/lun_0"),
            format!("link {rule}/lun_0/sidus to {group}/lun/lun_0"),
            format!("write {rule}/auth/userid"),
            format!("write {rule}/auth/password"),
            format!("write {rule}/auth/userid_mutual"),
            format!("write {rule}/auth/password_mutual"),
            format!("make {group}/np/10.13.20.13:3260"),
            format!("write \"1\" to {group}/enable"),
        ]
    );
}

/// What of it is other for a disk that is a volume.
#[test]
fn a_volume_is_served_as_a_block_device() {
    let volume = Target { image: "/dev/vg0/sidus-node21".into(), is_volume: true, ..target(21) };
    let all = shown(&Found::default(), std::slice::from_ref(&volume), &Options::default());
    assert_eq!(
        all[..5],
        [
            "make T/core/iblock_0",
            "make T/core/iblock_0/sidus-node21",
            "write \"udev_path=/dev/vg0/sidus-node21,readonly=0\" to T/core/iblock_0/sidus-node21/control",
            "write \"/dev/vg0/sidus-node21\" to T/core/iblock_0/sidus-node21/udev_path",
            "write \"1\" to T/core/iblock_0/sidus-node21/enable",
        ]
    );
    let text = saved(None, std::slice::from_ref(&volume)).unwrap();
    let saved: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        saved.pointer("/storage_objects/0"),
        Some(&json!({
            "plugin": "block", "name": "sidus-node21", "dev": "/dev/vg0/sidus-node21",
            "wwn": "00000000-0000-4000-8000-525400000021", "readonly": false, "write_back": false,
        }))
    );
    assert_eq!(
        saved.pointer("/targets/0/tpgs/0/luns/0/storage_object"),
        Some(&json!("/backstores/block/sidus-node21"))
    );
    // It is served, so it stays; the next one gets a number of its own.
    let mut served = known(21);
    served.served.images = vec![volume.image.clone()];
    let disk = disk("iblock_4", "sidus-node21");
    let adapters = vec![("iblock_4".to_owned(), 1)];
    let found = Found { targets: vec![served], disks: vec![disk], adapters, ..Found::default() };
    assert_eq!(shown(&found, std::slice::from_ref(&volume), &Options::default()), Vec::<String>::new());
    assert_eq!(shown(&found, &[volume, target(22)], &Options::default())[0], "make T/core/fileio_5");
}

#[test]
fn a_target_ends_from_the_inside_out_and_others_disks_stay() {
    let found = Found {
        targets: vec![known(21), known(22)],
        disks: vec![
            disk("fileio_0", "sidus-node21"),
            Disk { notes: Some("/var/target/pr/aptpl_22".into()), ..disk("fileio_3", "sidus-node22") },
        ],
        adapters: vec![("fileio_0".to_owned(), 2), ("fileio_3".to_owned(), 1)],
        no_notes: Vec::new(),
    };
    assert_eq!(shown(&found, &[target(21), target(22)], &Options::default()), Vec::<String>::new());
    let group = "T/iscsi/iqn.2026-01.io.sidus.target:10.13.20.22/tpgt_1";
    let rule = format!("{group}/acls/iqn.2026-01.io.sidus:node-525400000022");
    let ended = [
        format!("write \"0\" to {group}/enable"),
        format!("remove {group}/np/10.13.20.13:3260"),
        format!("remove {rule}/lun_0/sidus"),
        format!("remove {rule}/lun_0"),
        format!("remove {rule}"),
        format!("remove {group}/lun/lun_0/sidus"),
        format!("remove {group}/lun/lun_0"),
        format!("remove {group}"),
        "remove T/iscsi/iqn.2026-01.io.sidus.target:10.13.20.22".to_owned(),
        "remove /var/target/pr/aptpl_22".to_owned(),
        "remove T/core/fileio_3/sidus-node22".to_owned(),
        "remove T/core/fileio_3".to_owned(),
    ];
    assert_eq!(shown(&found, &[target(21)], &Options::default()), ended);
    let renew = Options { renew: vec![[10, 13, 20, 22].into()], force: false };
    let renewed = shown(&found, &[target(21), target(22)], &renew);
    assert_eq!(renewed[..ended.len()], ended);
    assert_eq!(renewed[ended.len()], "make T/core/fileio_4");
    // Half of one, as a crash leaves it.
    let half = Found { targets: Vec::new(), ..found };
    let mended = shown(&half, &[target(22)], &Options::default());
    assert_eq!(
        mended[..4],
        [
            "remove T/core/fileio_0/sidus-node21",
            "remove /var/target/pr/aptpl_22",
            "remove T/core/fileio_3/sidus-node22",
            "remove T/core/fileio_3"
        ]
    );
}

#[test]
fn the_kernel_says_who_has_logged_in() {
    let nobody = "No active iSCSI Session for Initiator Endpoint: iqn.x:node\n";
    assert_eq!(session(nobody), None);
    let somebody = "InitiatorName: iqn.x:node\nInitiatorAlias: \nLIO Session ID: 1   ISID: 0x00 02 3d 00 00 01  TSIH: 1  \
        SessionType: Normal\nSession State: TARG_SESS_STATE_LOGGED_IN\n------[iSCSI Connections]------\nCID: 0  Connection State: \
        TARG_CONN_STATE_LOGGED_IN\n   Address 10.13.20.21 TCP  StatSN: 0x00000003\n";
    let session = session(somebody).unwrap();
    assert_eq!((session.initiator.as_str(), session.address.as_deref()), ("iqn.x:node", Some("10.13.20.21")));
}

#[test]
fn where_the_kernel_notes_reservations_is_made() {
    let root = std::env::temp_dir().join(format!("sidus-lio-{}", std::process::id()));
    let base = root.join("sys/kernel/config/target");
    std::fs::create_dir_all(&base).unwrap();
    let notes = || Found::read(&root).unwrap().no_notes;
    // An older kernel does not say where.
    assert_eq!(notes(), Vec::<PathBuf>::new());
    std::fs::write(base.join("dbroot"), "/etc/rtslib-fb-target\n").unwrap();
    let (folder, inside) = (PathBuf::from("/etc/rtslib-fb-target"), PathBuf::from("/etc/rtslib-fb-target/pr"));
    assert_eq!(notes(), [folder, inside.clone()]);
    std::fs::create_dir_all(root.join("etc/rtslib-fb-target")).unwrap();
    let found = Found::read(&root).unwrap();
    assert_eq!(found.no_notes, [inside]);
    // Not for others' targets; for one that is served already, too.
    assert_eq!(shown(&found, &[], &Options::default()), Vec::<String>::new());
    let served = Found { targets: vec![known(21)], ..found };
    assert_eq!(shown(&served, &[target(21)], &Options::default()), ["make /etc/rtslib-fb-target/pr"]);
    std::fs::create_dir_all(root.join("etc/rtslib-fb-target/pr")).unwrap();
    assert_eq!(notes(), Vec::<PathBuf>::new());

    // What it has noted of a disk.
    let wwn = base.join("core/fileio_0/sidus-node21/wwn");
    std::fs::create_dir_all(&wwn).unwrap();
    let of_disk = |said: &str| {
        std::fs::write(wwn.join("vpd_unit_serial"), said).unwrap();
        Found::read(&root).unwrap().disks[0].notes.clone()
    };
    let said = "T10 VPD Unit Serial Number: 00000000-0000-4000-8000-525400000021\n";
    assert_eq!(of_disk(said), None);
    let note = "etc/rtslib-fb-target/pr/aptpl_00000000-0000-4000-8000-525400000021";
    std::fs::write(root.join(note), "PR_REG_START: 0\n").unwrap();
    assert_eq!(of_disk(said), Some(Path::new("/").join(note)));
    assert_eq!(of_disk("T10 VPD Unit Serial Number: /../x\n"), None);
    assert_eq!(of_disk("\n"), None);
    std::fs::remove_dir_all(&root).unwrap();
}
