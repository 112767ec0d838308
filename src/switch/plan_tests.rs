use super::*;
use crate::mountinfo;
use crate::nfs;
use crate::report::{FailureReport, StepReport};

fn place() -> Place {
    let line = "22 1 0:22 / /ro ro - nfs 10.13.20.13:/g/debian/20261126-1 ro,vers=3,addr=10.13.20.13\n";
    Place::of(&nfs::Tree::of(&mountinfo::parse(line).unwrap()[0]).unwrap()).unwrap()
}

fn local(persistent: bool) -> Local {
    let side = |source: &str, fs: &str, at: &str| {
        Some(Side { source: source.to_owned(), fs: fs.to_owned(), at: at.to_owned() })
    };
    Local {
        report: Report {
            result: Outcome::Union,
            union: Some("overlay".to_owned()),
            lower: side("10.13.20.13:/g/debian/20261126-1", "nfs", RO),
            upper: side("sidus", "tmpfs", "/rw/sidus/v1/upper"),
            persistent,
            steps: vec![StepReport { step: "move /root to /ro".to_owned(), us: 1 }],
            ..Report::new(if persistent { "iscsi" } else { "tmpfs" })
        },
        others: Vec::new(),
        work: "work".to_owned(),
        systemd: 257,
        kernel: "6.12.1-amd64".to_owned(),
        unit: true,
        stale_init: false,
        stage: Stage::Free,
        tmpfs: TmpfsLimits::default(),
    }
}

fn tree(name: &str) -> Tree {
    Tree { name: name.to_owned(), exists: true, kernel: true, unit: true, init: true }
}

fn plan(local: &Local) -> Plan {
    match decide(local, &place(), &tree("20261126-2"), 300).unwrap() {
        Decision::Move(plan) => plan,
        Decision::Stay => panic!("it stays"),
    }
}

#[test]
fn a_layer_in_memory_is_stacked_before_anything_stops() {
    assert_eq!(
        plan(&local(false)).to_string(),
        " 1. make mount points /run/nextroot\n\
         \x202. mount tmpfs on /run/nextroot\n\
         \x203. keep what is mounted on /run/nextroot there\n\
         \x204. make mount points /run/nextroot/ro /run/nextroot/rw /run/nextroot/aufs\n\
         \x205. mount 10.13.20.13:/g/debian/20261126-2 on /run/nextroot/ro, read-only\n\
         \x206. mount tmpfs on /run/nextroot/rw\n\
         \x207. make layer /run/nextroot/rw/sidus/v1/upper like /run/nextroot/ro\n\
         \x208. mount overlay of /run/nextroot/rw/sidus/v1/upper over /run/nextroot/ro on /run/nextroot/aufs\n\
         \x209. adapt /run/nextroot/aufs/etc/fstab: a union is on /\n\
         10. make mount points /run/nextroot/aufs/ro /run/nextroot/aufs/rw\n\
         11. move /run/nextroot/ro to /run/nextroot/aufs/ro\n\
         12. move /run/nextroot/rw to /run/nextroot/aufs/rw\n\
         13. try /run/nextroot/aufs/usr/lib/systemd/systemd\n\
         \x20   then all services stop:\n\
         14. move /run/nextroot/aufs to /run/nextroot\n"
    );
}

#[test]
fn a_layer_that_is_kept_is_stacked_when_the_old_union_is_read_only() {
    assert_eq!(
        plan(&local(true)).to_string(),
        " 1. make mount points /run/nextroot\n\
         \x202. mount tmpfs on /run/nextroot\n\
         \x203. keep what is mounted on /run/nextroot there\n\
         \x204. make mount points /run/nextroot/ro /run/nextroot/rw /run/nextroot/aufs\n\
         \x205. mount 10.13.20.13:/g/debian/20261126-2 on /run/nextroot/ro, read-only\n\
         \x206. mount /rw on /run/nextroot/rw as well\n\
         \x207. try /run/nextroot/rw/sidus/v1/upper over /run/nextroot/ro on \
         /run/nextroot/aufs/usr/lib/systemd/systemd, without writing\n\
         \x20   then all services stop:\n\
         \x208. make the union on / read-only: mount and superblock\n\
         \x209. make layer /run/nextroot/rw/sidus/v1/upper like /run/nextroot/ro\n\
         10. mount overlay of /run/nextroot/rw/sidus/v1/upper over /run/nextroot/ro on /run/nextroot/aufs\n\
         11. adapt /run/nextroot/aufs/etc/fstab: a union is on /\n\
         12. make mount points /run/nextroot/aufs/ro /run/nextroot/aufs/rw\n\
         13. move /run/nextroot/ro to /run/nextroot/aufs/ro\n\
         14. move /run/nextroot/rw to /run/nextroot/aufs/rw\n\
         15. mount /run on /run/nextroot/aufs/run as well\n\
         16. mount /run/initramfs on /run/nextroot/aufs/run/initramfs as well\n\
         17. move /run/nextroot/aufs to /run/nextroot\n"
    );
}

#[test]
fn the_union_that_begins_has_a_work_directory_that_the_other_has_not() {
    for (old, new) in [("work", "work-next"), ("work-next", "work"), ("", "work")] {
        let next = plan(&Local { work: old.to_owned(), ..local(true) }).next;
        assert_eq!(next.work.as_deref(), Some(new), "{old:?}");
        let stack = finish(&next).into_iter().find_map(|step| match step {
            Step::Boot(Boot::Stack(stack)) => Some(stack),
            _ => None,
        });
        let stack = stack.unwrap();
        assert_eq!(stack.layer.work, Path::new("/run/nextroot/rw/sidus/v1").join(new));
        assert_eq!(stack.layer.upper, Path::new("/run/nextroot/rw/sidus/v1/upper"));
        assert!(stack.persistent);
    }
}

#[test]
fn the_report_says_where_the_node_is_then_and_where_it_came_from() {
    let failure = |what: &str| FailureReport {
        what: what.to_owned(),
        why: String::new(),
        remedy: String::new(),
        left: Vec::new(),
        then: String::new(),
    };
    let mut local = local(false);
    local.report.failure = Some(failure("log in"));
    let report = plan(&local).next.report;
    assert_eq!(report.lower.unwrap().source, "10.13.20.13:/g/debian/20261126-2");
    assert_eq!(report.moved_from.as_deref(), Some("10.13.20.13:/g/debian/20261126-1"));
    assert_eq!(report.failure.unwrap().what, "log in");
    local.report.failure = Some(failure("switch to 20261126-2: mount it"));
    assert_eq!(plan(&local).next.report.failure, None);
}

#[test]
fn a_node_that_runs_on_it_stays() {
    assert_eq!(decide(&local(true), &place(), &tree("20261126-1"), 300), Ok(Decision::Stay));
}

#[test]
fn what_cannot_be_moved_is_refused_with_what_can_be_done() {
    let with = |change: &dyn Fn(&mut Local)| {
        let mut local = local(true);
        change(&mut local);
        local
    };
    let there = tree("20261126-2");
    let table: Vec<(Local, Tree, &str, bool)> = vec![
        (
            with(&|local| local.report.result = Outcome::Plain),
            there.clone(),
            "this node's root is no union, so there is nothing to move",
            false,
        ),
        (
            with(&|local| local.report.union = Some("aufs".to_owned())),
            there.clone(),
            "this node's root is of aufs, which cannot be moved while it runs",
            true,
        ),
        (
            with(&|local| local.others = vec![PathBuf::from("/usr")]),
            there.clone(),
            "this node has a second union, on /usr, which cannot be moved while it runs",
            true,
        ),
        (
            with(&|local| local.systemd = 252),
            there.clone(),
            "systemd 252 has no soft reboot: 254 is the first that has",
            true,
        ),
        (
            with(&|local| local.unit = false),
            there.clone(),
            "this node's tree lacks sidus-switch.service, which finishes a switch",
            false,
        ),
        (
            with(&|local| local.stage = Stage::Taken { source: "/dev/sdb".to_owned() }),
            there.clone(),
            "/dev/sdb is mounted on /run/nextroot already",
            false,
        ),
        (
            with(&|_| {}),
            Tree { exists: false, ..tree("20261126-9") },
            "there is no generation \"20261126-9\" in 10.13.20.13:/g/debian",
            false,
        ),
        (
            with(&|_| {}),
            Tree { init: false, ..there.clone() },
            "generation 20261126-2 is no tree that boots: it lacks os-release, or /usr/lib/systemd/systemd",
            false,
        ),
        (
            with(&|_| {}),
            Tree { unit: false, ..there.clone() },
            "generation 20261126-2 lacks sidus-switch.service, without which the node could not return from it",
            false,
        ),
        (
            with(&|_| {}),
            Tree { kernel: false, ..there.clone() },
            "generation 20261126-2 has no modules of the kernel that runs, 6.12.1-amd64",
            true,
        ),
    ];
    for (local, tree, words, reboot) in table {
        let refusal = decide(&local, &place(), &tree, 300).unwrap_err();
        assert_eq!((refusal.to_string().as_str(), refusal.needs_reboot()), (words, reboot));
        assert_eq!(refusal.remedy().contains("reboot the node (systemctl reboot)"), reboot, "{words}");
    }
    let left = with(&|local| local.stage = Stage::Left);
    assert!(decide(&left, &place(), &there, 300).is_ok());
}

#[test]
fn what_is_left_for_the_end_is_read_as_it_was_written() {
    let next = plan(&local(true)).next;
    assert_eq!(miniserde::json::from_str::<Next>(&miniserde::json::to_string(&next)).unwrap(), next);
}
