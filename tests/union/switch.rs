//! `rootaufs switch`, up to where systemd enters the next root: the unions are real, and the root of this thread is one
//! that `rootaufs init` made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::mount::{mount, mount_bind, mount_bind_recursive, mount_change, MountFlags, MountPropagationFlags};
use sidus::generation::Place;
use sidus::kmsg::Log;
use sidus::switch::facts::{Local, Stage, Tree, INIT};
use sidus::switch::plan::{decide, finish, Decision, Plan};
use sidus::switch::step::{apply, Machine, Step};
use sidus::switch::NEXT;

use super::{in_initramfs, is_read_only, succeeds, Initramfs};

/// Whoever writes to the old union goes on here: the processes of this machine are nobody's to end.
fn here() -> Machine<'static> {
    Machine { root: Path::new("/"), program: "/run/rootaufs", end_writers: |_| {} }
}

/// What a tree needs to run the program that stands for its init.
fn fill(tree: &Path, name: &str) {
    let lib = "usr/lib/x86_64-linux-gnu";
    for folder in [lib, "usr/lib64", "usr/lib/systemd", "etc", "proc", "run", "dev"] {
        fs::create_dir_all(tree.join(folder)).unwrap();
    }
    for link in ["lib", "lib64"] {
        symlink(format!("usr/{link}"), tree.join(link)).unwrap();
    }
    for file in ["usr/lib64/ld-linux-x86-64.so.2", &format!("{lib}/libc.so.6"), &format!("{lib}/libgcc_s.so.1")] {
        let from = Path::new("/").join(file);
        // Debian 12 has the loader as a link of /lib64.
        fs::copy(from, tree.join(file)).unwrap();
    }
    fs::copy("/usr/bin/true", tree.join(INIT)).unwrap();
    fs::write(tree.join("etc/os-release"), name).unwrap();
    fs::write(tree.join("etc/fstab"), "/dev/nfs / nfs ro 0 0\n").unwrap();
    fs::write(tree.join("etc/of-the-tree"), name).unwrap();
}

/// Runs `scene` on a node that runs on generation `a`, with generation `b` on `/run/b`.
fn on_a_node(scene: impl FnOnce(&Initramfs) + Send + 'static) {
    in_initramfs("aufs=tmpfs", |stage| {
        fill(Path::new("/root"), "a");
        succeeds(&stage.rootaufs());
        mount_bind_recursive("/proc", "/root/proc").unwrap();
        mount_bind("/dev/null", {
            fs::write("/root/dev/null", "").unwrap();
            "/root/dev/null"
        })
        .unwrap();
        mount("run", "/root/run", "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write("/root/run/rootaufs", "").unwrap();
        mount_bind("/test/switch", "/root/run/rootaufs").unwrap();
        fs::create_dir_all("/root/run/initramfs").unwrap();
        sidus::mount::bind_executable(Path::new("/root/run/initramfs")).unwrap();
        fs::create_dir("/root/run/b").unwrap();
        mount("server:/b", "/root/run/b", "tmpfs", MountFlags::empty(), None).unwrap();
        fill(Path::new("/root/run/b"), "b");
        fs::create_dir_all("/root/run/sidus").unwrap();
        fs::copy("/run/sidus/report.json", "/root/run/sidus/report.json").unwrap();
        rustix::process::chroot("/root").unwrap();
        std::env::set_current_dir("/").unwrap();
        // As systemd has it. What is mounted below such a place cannot be moved.
        mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC).unwrap();
        scene(stage);
    });
}

/// The plan for this node, with a bind mount of `/run/b` where a real one mounts by NFS.
fn plan(persistent: bool) -> Plan {
    let mounts = "21 1 0:21 / /ro ro - nfs 10.13.20.13:/g/t/a ro,vers=3,addr=10.13.20.13\n";
    let lower = sidus::mountinfo::parse(mounts).unwrap().remove(0);
    let place = Place::of(&sidus::nfs::Tree::of(&lower).unwrap()).unwrap();
    let mut report = sidus::report::Report::read(Path::new("/")).unwrap();
    report.persistent = persistent;
    let local = Local {
        report,
        others: Vec::new(),
        work: "work".to_owned(),
        systemd: 257,
        kernel: "6.12".to_owned(),
        unit: true,
        stale_init: false,
        stage: Stage::Free,
        tmpfs: sidus::options::TmpfsLimits::default(),
    };
    let tree = Tree { name: "b".to_owned(), exists: true, kernel: true, unit: true, init: true };
    let decided = decide(&local, &place, &tree, 300).unwrap();
    let mut plan = match decided {
        Decision::Move(plan) => Some(plan),
        Decision::Stay => None,
    }
    .unwrap();
    for step in &mut plan.steps {
        if let Step::MountTree { at, .. } = step {
            *step = Step::Bind { from: PathBuf::from("/run/b"), to: at.clone() };
        }
    }
    plan
}

fn log() -> Log {
    Log::open(Path::new("/"))
}

/// What failed, and why.
fn failed(steps: &[Step]) -> String {
    let failure = apply(steps, here(), &log()).unwrap_err();
    assert!(failure.left.is_empty(), "{:?}", failure.left);
    format!("{}: {}", failure.step, failure.error)
}

fn next(path: &str) -> PathBuf {
    Path::new(NEXT).join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap()
}

/// What each new root must be.
fn is_the_new_root() {
    assert_eq!(read(next("etc/os-release")), "b");
    assert_eq!(read(next("ro/etc/os-release")), "b");
    assert_eq!(read(next("etc/fstab")), "overlay / overlay defaults 0 0\n");
    fs::write(next("etc/after"), "x").unwrap();
    assert_eq!(read(next("rw/sidus/v1/upper/etc/after")), "x");
}

#[test]
fn a_node_that_forgets_gets_a_new_layer_over_the_new_tree() {
    on_a_node(|_| {
        fs::write("/etc/written", "before").unwrap();
        let plan = plan(false);
        apply(&plan.steps, here(), &log()).unwrap();
        // Not yet a root that systemd would enter.
        assert!(!next("etc/os-release").exists() && !next("usr/lib/os-release").exists());
        apply(&finish(&plan.next), here(), &log()).unwrap();
        is_the_new_root();
        assert!(!next("etc/written").exists());
        fs::write("/etc/still-writable", "").unwrap();
        assert!(!next("etc/still-writable").exists());
    });
}

#[test]
fn a_layer_that_is_kept_is_written_through_one_union_alone() {
    on_a_node(|_| {
        fs::create_dir("/run/other").unwrap();
        mount_bind("/", "/run/other").unwrap();
        fs::write("/etc/written", "before").unwrap();
        fs::remove_file("/etc/of-the-tree").unwrap();
        let plan = plan(true);
        apply(&plan.steps, here(), &log()).unwrap();
        // Until all services have stopped, the node goes on as it was.
        fs::write("/etc/late", "late").unwrap();
        assert!(!next("etc").exists());
        apply(&finish(&plan.next), here(), &log()).unwrap();
        for path in ["/etc/x", "/run/other/etc/x"] {
            is_read_only(path);
        }
        is_the_new_root();
        assert_eq!((read(next("etc/written")), read(next("etc/late"))), ("before".to_owned(), "late".to_owned()));
        assert!(!next("etc/of-the-tree").exists());
        assert_eq!(read("/rw/sidus/v1/upper/etc/after"), "x");
        // The union that begins took no work directory from the one that ends.
        let works = ["work", "work-next"].map(|name| next("rw/sidus/v1").join(name).join("work").is_dir());
        assert_eq!(works, [true, true]);
        // What the shutdown needs can be executed there, and nothing of the next root is seen in /run.
        let flags = rustix::fs::statvfs(next("run/initramfs")).unwrap().f_flag;
        assert!(!flags.contains(rustix::fs::StatVfsMountFlags::NOEXEC));
        fs::write("/run/seen", "").unwrap();
        assert!(next("run/seen").exists());
        assert_eq!(fs::read_dir(next("run/nextroot")).unwrap().count(), 0);
    });
}

/// A way to fail before anything has stopped: whether the layer is kept, how the node is broken, and what is said.
const EARLY: &[(bool, fn(), &str)] = &[
    (
        false,
        || fs::remove_file(Path::new("/run/b").join(INIT)).unwrap(),
        "try /run/nextroot/aufs/usr/lib/systemd/systemd: cannot run /run/nextroot/aufs/usr/lib/systemd/systemd: \
         /run/rootaufs switch-try /run/nextroot/aufs failed (exit status: 1): rootaufs: No such file or directory",
    ),
    (
        false,
        || fs::remove_file("/run/b/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap(),
        "libc.so.6: cannot open shared object file: No such file or directory",
    ),
    (
        false,
        || {
            fs::remove_file("/run/b/etc/fstab").unwrap();
            fs::create_dir("/run/b/etc/fstab").unwrap();
        },
        "adapt /run/nextroot/aufs/etc/fstab: a union is on /: cannot adapt /run/nextroot/aufs/etc/fstab: it is no regular file",
    ),
    (
        false,
        || fs::write(NEXT, "a file where a folder has to be").unwrap(),
        "make mount points /run/nextroot: cannot make directory /run/nextroot: it exists, and is no directory",
    ),
    (
        // The layer hides what the tree has.
        true,
        || fs::remove_file(Path::new("/").join(INIT)).unwrap(),
        "without writing: cannot run /run/nextroot/aufs/usr/lib/systemd/systemd",
    ),
    (
        true,
        || fs::write(Path::new("/").join(INIT), "no program").unwrap(),
        "without writing: cannot run /run/nextroot/aufs/usr/lib/systemd/systemd",
    ),
];

#[test]
fn what_fails_before_the_services_stop_leaves_the_node_as_it_was() {
    for (number, (persistent, broken, says)) in EARLY.iter().enumerate() {
        on_a_node(move |stage| {
            broken();
            let before = stage.mounts();
            let said = failed(&plan(*persistent).steps);
            assert!(said.contains(says), "case {number}: {says:?} is not in\n{said}");
            assert_eq!(stage.mounts(), before, "case {number}");
            fs::write("/etc/still-writable", "").unwrap();
        });
    }
}

#[test]
fn what_fails_at_the_end_leaves_the_old_union_writable_and_no_other_root() {
    // Somebody writes all the time, whatever is done about it.
    let writer = || drop(fs::File::create("/etc/open").map(std::mem::ManuallyDrop::new));
    let no_run = || fs::remove_dir("/run/b/run").unwrap();
    let table: [(fn(), &str); 2] = [
        (
            writer,
            "make the union on / read-only: mount and superblock: change mount flags of /: Device or resource busy",
        ),
        (
            no_run,
            "mount /run on /run/nextroot/aufs/run as well: mount on /run/nextroot/aufs/run: No such file or directory",
        ),
    ];
    for (broken, says) in table {
        on_a_node(move |stage| {
            broken();
            let plan = plan(true);
            apply(&plan.steps, here(), &log()).unwrap();
            let before = stage.mounts();
            let said = failed(&finish(&plan.next));
            assert!(said.starts_with(says), "{says:?} is not the start of\n{said}");
            assert_eq!(stage.mounts(), before);
            // Copied up, which needs the work directory; made, removed.
            fs::write("/etc/of-the-tree", "changed").unwrap();
            fs::remove_file("/etc/os-release").unwrap();
            assert!(!next("etc").exists());
        });
    }
}
