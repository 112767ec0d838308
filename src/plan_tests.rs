use super::*;
use crate::facts::LunSupport;

fn facts(below: &[(&str, &str)]) -> Facts {
    let mount = |at: &str, fs: &str| Mount {
        at: PathBuf::from(at),
        fs: fs.to_owned(),
        source: "10.13.20.13:/srv/nfsroot/sidus".to_owned(),
        options: "ro".to_owned(),
        super_options: "rw".to_owned(),
    };
    Facts {
        rootmnt: PathBuf::from("/root"),
        root: mount("/root", "nfs"),
        below: below.iter().map(|(at, fs)| mount(at, fs)).collect(),
        overlay: FsSupport::Ready,
        aufs: FsSupport::Missing { looked_in: vec![PathBuf::from("/lib/modules/6.1")] },
        lun: LunSupport::all(&FsSupport::Module(vec![PathBuf::from("/lib/modules/6.1/iscsi_tcp.ko")])),
    }
}

fn steps(line: &str, facts: &Facts) -> String {
    plan(&BootOptions::parse(line).unwrap(), facts).unwrap().to_string()
}

#[test]
fn off_and_nothing_are_the_plain_root() {
    for line in ["", "aufs=off", "aufs=off sidus.union=aufs"] {
        assert_eq!(plan(&BootOptions::parse(line).unwrap(), &facts(&[])), Ok(Plan::Plain), "{line:?}");
    }
}

#[test]
fn tmpfs_reads_like_the_article() {
    let facts = facts(&[("/root/dev", "devtmpfs"), ("/root/dev/pts", "devpts")]);
    assert_eq!(
        steps("aufs=tmpfs sidus.tmpfs.size=1g", &facts),
        " 1. make mount points /ro /rw /aufs\n \
         2. mount tmpfs on /rw size=1073741824\n \
         3. move /root to /ro\n \
         4. make layer /rw/sidus/v1/upper like /ro\n \
         5. mount overlay of /rw/sidus/v1/upper over /ro on /aufs\n \
         6. move /ro/dev to /aufs/dev\n \
         7. adapt /aufs/etc/fstab: a union is on /\n \
         8. make /ro read-only: mount and superblock\n \
         9. make mount points /aufs/ro /aufs/rw\n\
         10. move /ro to /aufs/ro\n\
         11. move /rw to /aufs/rw\n\
         12. move /aufs to /root\n\
         13. keep the network below the root from all others\n"
    );
}

#[test]
fn iscsi_reads_like_the_article() {
    let text = steps("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14,10.13.20.15:3261 root=LABEL=ISCSI", &facts(&[]));
    assert!(
        text.starts_with(
            " 1. load kernel module /lib/modules/6.1/iscsi_tcp.ko\n \
             2. make mount points /ro /rw /aufs\n \
             3. find the target that bears this node's address at 10.13.20.14:3260 10.13.20.15:3261\n \
             4. log in\n \
             5. wait for the session's only disk\n \
             6. find the file system with LABEL=ISCSI on it\n \
             7. keep other nodes from writing to it\n \
             8. start the keeper of the session\n \
             9. mount the file system on /rw\n\
             10. move /root to /ro\n"
        ),
        "{text}"
    );
    assert!(
        text.ends_with(
            "19. prepare the shutdown from /root/ro\n\
             20. let the disk wait up to 600 s for a session that is lost\n\
             21. keep the network below the root from all others\n"
        ),
        "{text}"
    );
    let line = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 sidus.iscsi.target=iqn.2026-01.a:{mac} sidus.iscsi.lun=3 \
                sidus.iscsi.username=node sidus.iscsi.password=hidden sidus.iscsi.digest=crc32c";
    let text = steps(line, &facts(&[]));
    for step in [
        "take the target iqn.2026-01.a:{mac} at 10.13.20.14:3260\n",
        "log in by the command line's CHAP account with digests\n",
        "wait for the session's disk with LUN 3\n",
        "find the only file system on it\n",
    ] {
        assert!(text.contains(step), "{step:?} is not in\n{text}");
    }
    assert!(!text.contains("hidden"), "{text}");
    for (guard, step) in [
        ("", "only file system on it\n 7. keep other nodes from writing to it\n 8. start"),
        (
            "take",
            "only file system on it\n 7. keep other nodes from writing to it, also one that has it reserved\n 8. start",
        ),
        ("off", "only file system on it\n 7. start"),
    ] {
        let guard = if guard.is_empty() { String::new() } else { format!(" sidus.iscsi.guard={guard}") };
        let text = steps(&format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14{guard}"), &facts(&[]));
        assert!(text.contains(step), "{step:?} is not in\n{text}");
    }
}

#[test]
fn a_kernel_without_iscsi_is_an_error() {
    let lun = LunSupport::all(&FsSupport::Missing { looked_in: vec![PathBuf::from("/a")] });
    let facts = Facts { lun, ..facts(&[]) };
    let options = BootOptions::parse("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14").unwrap();
    assert_eq!(
        plan(&options, &facts).unwrap_err().to_string(),
        "this kernel has no iscsi_tcp or no sd_mod: no modules of these names in /a"
    );
    assert!(plan(&BootOptions::parse("aufs=tmpfs").unwrap(), &facts).is_ok());
}

#[test]
fn a_separate_usr_gets_a_union_of_its_own() {
    let text = steps("aufs=tmpfs", &facts(&[("/root/usr", "nfs")]));
    for step in [
        "make layer /rw/sidus/v1/below/usr/upper like /ro/usr",
        "mount overlay of /rw/sidus/v1/below/usr/upper over /ro/usr on /aufs/usr",
        "adapt /aufs/etc/fstab: a union is on / /usr",
        "make /ro/usr read-only: mount and superblock",
    ] {
        assert!(text.contains(step), "{step:?} is not in\n{text}");
    }
}

#[test]
fn the_union_is_the_one_that_was_asked_for_or_the_best_there_is() {
    let ready = FsSupport::Ready;
    let module = |name: &str| FsSupport::Module(vec![PathBuf::from(name)]);
    let missing = || FsSupport::Missing { looked_in: vec![PathBuf::from("/a"), PathBuf::from("/b")] };
    let none = |wanted: &str| {
        Err(format!("this kernel has no {wanted}: not in /proc/filesystems, and no module of that name in /a or /b"))
    };
    let table: &[(&str, FsSupport, FsSupport, Result<(UnionKind, usize), String>)] = &[
        ("auto", ready.clone(), ready.clone(), Ok((UnionKind::Overlay, 0))),
        ("auto", module("overlay.ko"), ready.clone(), Ok((UnionKind::Overlay, 1))),
        ("auto", missing(), module("aufs.ko"), Ok((UnionKind::Aufs, 1))),
        ("auto", missing(), missing(), none("overlay and no aufs")),
        ("overlay", missing(), ready.clone(), none("overlay")),
        ("aufs", ready.clone(), missing(), none("aufs")),
        ("aufs", ready.clone(), ready.clone(), Ok((UnionKind::Aufs, 0))),
    ];
    for (choice, overlay, aufs, expected) in table {
        let facts = Facts { overlay: overlay.clone(), aufs: aufs.clone(), ..facts(&[]) };
        let options = BootOptions::parse(&format!("aufs=tmpfs sidus.union={choice}")).unwrap();
        let got = match plan(&options, &facts) {
            Ok(Plan::Union(union)) => {
                let loads = union.steps.iter().filter(|step| matches!(step, Step::LoadModule { .. })).count();
                Ok((union.kind, loads))
            }
            Ok(Plan::Plain) => panic!("no union"),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(&got, expected, "sidus.union={choice} with overlay {overlay:?}, aufs {aufs:?}");
    }
}

#[test]
fn aufs_is_tried_where_overlayfs_cannot_be_loaded_and_was_not_asked_for() {
    let modules = FsSupport::Module(vec![PathBuf::from("first.ko"), PathBuf::from("overlay.ko")]);
    let table = [
        (UnionChoice::Auto, modules.clone(), 0, true),
        (UnionChoice::Auto, modules.clone(), 1, true),
        // What comes next has nothing to do with the union.
        (UnionChoice::Auto, modules.clone(), 2, false),
        (UnionChoice::Auto, FsSupport::Ready, 0, false),
        (UnionChoice::Overlay, modules, 0, false),
        (UnionChoice::Aufs, FsSupport::NotAsked, 0, false),
    ];
    for (choice, overlay, done, expected) in table {
        let facts = Facts { overlay: overlay.clone(), ..facts(&[]) };
        assert_eq!(may_be_aufs(choice, &facts, done), expected, "{choice:?} with {overlay:?}, {done} steps done");
    }
}

#[test]
fn a_lun_is_persistent_and_memory_is_not() {
    let facts = facts(&[]);
    for (line, persistent) in [("aufs=tmpfs", false), ("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14", true)] {
        let Ok(Plan::Union(union)) = plan(&BootOptions::parse(line).unwrap(), &facts) else { panic!("{line}") };
        assert_eq!(union.upper.is_persistent(), persistent, "{line}");
        let stack = union.steps.iter().find_map(|step| match step {
            Step::Stack(stack) => Some(stack),
            _ => None,
        });
        assert_eq!(stack.unwrap().persistent, persistent, "{line}");
    }
}

#[test]
fn places_have_names_of_their_own() {
    assert_ne!(name_of(Path::new("usr/local")), name_of(Path::new("usr-local")));
}
