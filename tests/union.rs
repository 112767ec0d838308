//! `rootaufs init`, run for real in a mount namespace: a folder stands for the initramfs, tmpfs for the NFS root.
//! Needs root, that of a user namespace is too little (overlayfs does there without the options that a node has),
//! overlayfs in the kernel, and strace: `cargo test --features root --test union`. Whoever is not root has
//! `./qemu/lab test union` run it as root of the lab's server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // A test may fail by a panic.

use std::fs;
use std::os::unix::fs::{chown, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::mount::{mount, mount_bind, mount_bind_recursive, mount_change, MountFlags, MountPropagationFlags};
use serde_json::Value;

#[path = "union/switch.rs"]
mod switch;

/// Runs `scene` in a mount namespace of its own whose root is an initramfs that has a root mounted on `/root`.
fn in_initramfs(cmdline: &str, scene: impl FnOnce(&Initramfs) + Send + 'static) {
    let cmdline = cmdline.to_owned();
    let thread = std::thread::spawn(move || {
        let stage = Initramfs::enter(&cmdline);
        scene(&stage);
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

struct Initramfs;

impl Initramfs {
    #[allow(unsafe_code)]
    fn enter(cmdline: &str) -> Self {
        use rustix::thread::UnshareFlags;
        // SAFETY: this thread alone gets namespaces and a root directory of its own; it shares no descriptor table that
        // is unshared here (FILES is not among the flags).
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
            .expect("a mount namespace: run as root");
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
        let stage = Path::new("/mnt");
        mount("initramfs", stage, "tmpfs", MountFlags::empty(), None).unwrap();
        for folder in ["dev", "proc", "run", "root", "usr", "test", "other"] {
            fs::create_dir(stage.join(folder)).unwrap();
        }
        for link in ["lib", "lib64", "bin", "sbin"] {
            std::os::unix::fs::symlink(format!("usr/{link}"), stage.join(link)).unwrap();
        }
        mount_bind_recursive("/proc", stage.join("proc")).unwrap();
        mount_bind("/usr", stage.join("usr")).unwrap();
        let modules = stage.join("usr/lib/modules");
        if modules.is_dir() {
            // This machine's are not the node's.
            mount("modules", modules, "tmpfs", MountFlags::empty(), None).unwrap();
        }
        // No /dev/kmsg: what is said comes to stderr, where a test can read it.
        fs::write(stage.join("dev/null"), "").unwrap();
        mount_bind("/dev/null", stage.join("dev/null")).unwrap();
        fs::write(stage.join("test/cmdline"), format!("root=/dev/nfs {cmdline}\n")).unwrap();
        mount_bind(stage.join("test/cmdline"), stage.join("proc/cmdline")).unwrap();
        fs::write(stage.join("test/rootaufs"), "").unwrap();
        mount_bind(env!("CARGO_BIN_EXE_rootaufs-initramfs"), stage.join("test/rootaufs")).unwrap();

        fs::write(stage.join("test/switch"), "").unwrap();
        mount_bind(env!("CARGO_BIN_EXE_rootaufs"), stage.join("test/switch")).unwrap();

        // The NFS root: writable, as a server may export it, with an owner and a mode of its own.
        let root = stage.join("root");
        mount("server:/tree", &root, "tmpfs", MountFlags::empty(), Some(c"mode=0751")).unwrap();
        chown(&root, Some(7), Some(8)).unwrap();
        for folder in ["dev", "etc", "usr"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("etc/fstab"), "/dev/nfs / nfs ro 0 0\nproc /proc proc defaults 0 0\n").unwrap();
        fs::write(root.join("etc/hostname"), "tree\n").unwrap();
        // A second mount of the same superblock: writes through it tell whether that is read-only, too.
        mount_bind(&root, stage.join("other")).unwrap();
        rustix::process::chroot(stage).unwrap();
        std::env::set_current_dir("/").unwrap();
        Self
    }

    fn rootaufs(&self) -> Output {
        Command::new("/test/rootaufs").args(["init", "--rootmnt", "/root"]).output().unwrap()
    }

    /// As [`Initramfs::rootaufs`], with system calls that fail: strace(1)'s words for that.
    fn rootaufs_with(&self, faults: &[&str]) -> Output {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        for fault in faults {
            strace.args(["-e", fault]);
        }
        strace.args(["/test/rootaufs", "init", "--rootmnt", "/root"]).output().unwrap()
    }

    /// The mounts of this thread's namespace, without what differs from one listing to the next.
    fn mounts(&self) -> Vec<String> {
        let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let fields = |line: &str| line.split(' ').skip(2).collect::<Vec<_>>().join(" ");
        let mut lines: Vec<String> = text.lines().map(fields).collect();
        lines.sort();
        lines
    }

    fn report(&self) -> Value {
        serde_json::from_str(&fs::read_to_string("/run/sidus/report.json").unwrap()).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[track_caller]
fn is_read_only(path: &str) {
    let error = fs::write(path, "x").expect_err(path);
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()), "{path}: {error}");
}

#[test]
fn the_union_is_writable_and_the_root_below_is_not() {
    in_initramfs("aufs=tmpfs", |stage| {
        succeeds(&stage.rootaufs());
        fs::write("/root/etc/new", "written").unwrap();
        fs::write("/root/etc/hostname", "node\n").unwrap();
        assert_eq!(fs::read_to_string("/root/ro/etc/hostname").unwrap(), "tree\n");
        assert!(!Path::new("/root/ro/etc/new").exists());
        assert_eq!(fs::read_to_string("/root/rw/sidus/v1/upper/etc/new").unwrap(), "written");
        is_read_only("/root/ro/x");
        is_read_only("/other/x");
    });
}

#[test]
fn whatever_the_tree_has_in_the_place_of_a_mount_point_is_out_of_sight() {
    in_initramfs("aufs=tmpfs", |stage| {
        fs::write("/root/rw", "a file where a folder has to be").unwrap();
        std::os::unix::fs::symlink("/etc", "/root/ro").unwrap();
        succeeds(&stage.rootaufs());
        assert_eq!(fs::read_to_string("/root/ro/rw").unwrap(), "a file where a folder has to be");
        assert!(fs::symlink_metadata("/root/ro/ro").unwrap().is_symlink());
        assert!(Path::new("/root/rw/sidus/v1/upper/rw").is_dir());
    });
}

#[test]
fn the_merged_root_has_the_trees_owner_and_mode_and_hides_its_layer() {
    in_initramfs("aufs=tmpfs", |stage| {
        succeeds(&stage.rootaufs());
        let root = fs::metadata("/root").unwrap();
        assert_eq!((root.uid(), root.gid(), root.permissions().mode() & 0o7777), (7, 8, 0o751));
        for (path, mode) in [("/root/rw", 0o755), ("/root/rw/sidus", 0o700), ("/root/rw/sidus/v1/work", 0o700)] {
            let facts = fs::metadata(path).unwrap();
            assert_eq!(
                (facts.uid(), facts.permissions().mode() & 0o7777),
                (rustix::process::getuid().as_raw(), mode),
                "{path}"
            );
        }
    });
}

#[test]
fn fstab_says_what_is_true_and_the_trees_own_is_kept() {
    in_initramfs("aufs=tmpfs", |stage| {
        succeeds(&stage.rootaufs());
        let adapted = "overlay / overlay defaults 0 0\nproc /proc proc defaults 0 0\n";
        assert_eq!(fs::read_to_string("/root/etc/fstab").unwrap(), adapted);
        assert!(fs::read_to_string("/root/ro/etc/fstab").unwrap().starts_with("/dev/nfs"));
    });
}

#[test]
fn fstab_links_are_followed_inside_of_the_tree_alone() {
    in_initramfs("aufs=tmpfs", |stage| {
        fs::rename("/root/etc", "/root/etc.real").unwrap();
        std::os::unix::fs::symlink("/etc.real", "/root/etc").unwrap();
        fs::create_dir("/etc.real").unwrap();
        fs::write("/etc.real/fstab", "the initramfs' own\n").unwrap();
        succeeds(&stage.rootaufs());
        assert_eq!(fs::read_to_string("/etc.real/fstab").unwrap(), "the initramfs' own\n");
        assert!(fs::read_to_string("/root/etc.real/fstab").unwrap().starts_with("overlay / overlay"));
    });
}

#[test]
fn nothing_is_mounted_through_a_link() {
    in_initramfs("", |stage| {
        fs::create_dir("/trap").unwrap();
        std::os::unix::fs::symlink("/trap", "/root/link").unwrap();
        let before = stage.mounts();
        let link = Path::new("/root/link");
        for refused in [
            sidus::mount::move_to(Path::new("/other"), link),
            sidus::mount::mount_tmpfs(&sidus::options::TmpfsLimits::default(), link),
        ] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(" to /root/link: Too many levels of symbolic links"), "{error}");
        }
        assert_eq!(stage.mounts(), before);
    });
}

#[test]
fn dev_is_kept_whether_it_was_moved_into_the_root_or_not() {
    in_initramfs("aufs=tmpfs", |stage| {
        mount("udev", "/root/dev", "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write("/root/dev/node", "").unwrap();
        fs::create_dir("/root/dev/pts").unwrap();
        mount("pts", "/root/dev/pts", "tmpfs", MountFlags::empty(), None).unwrap();
        fs::write("/root/dev/pts/0", "").unwrap();
        succeeds(&stage.rootaufs());
        assert!(Path::new("/root/dev/node").exists() && Path::new("/root/dev/pts/0").exists());
        assert!(!Path::new("/root/ro/dev/node").exists());
    });
    in_initramfs("aufs=tmpfs", |stage| {
        succeeds(&stage.rootaufs());
        assert_eq!(fs::read_dir("/root/dev").unwrap().count(), 0);
    });
}

/// Mounts a /usr of its own, which is writable, and the same at a second place.
fn mount_usr() {
    for folder in ["/test/lower", "/test/upper", "/test/work", "/test/usr"] {
        fs::create_dir(folder).unwrap();
    }
    fs::write("/test/lower/program", "of the tree").unwrap();
    let options = c"lowerdir=/test/lower,upperdir=/test/upper,workdir=/test/work";
    mount("server:/usr", "/root/usr", "overlay", MountFlags::empty(), Some(options)).unwrap();
    mount_bind("/root/usr", "/test/usr").unwrap();
}

#[test]
fn a_separate_usr_becomes_a_union_of_its_own() {
    in_initramfs("aufs=tmpfs", |stage| {
        mount_usr();
        succeeds(&stage.rootaufs());
        assert_eq!(fs::read_to_string("/root/usr/program").unwrap(), "of the tree");
        fs::write("/root/usr/program", "changed").unwrap();
        assert_eq!(fs::read_to_string("/root/ro/usr/program").unwrap(), "of the tree");
        is_read_only("/root/ro/usr/x");
    });
}

#[test]
fn the_report_says_what_was_done_and_how_long_it_took() {
    in_initramfs("aufs=tmpfs sidus.tmpfs.size=16m sidus.tmpfs.inodes=2k", |stage| {
        succeeds(&stage.rootaufs());
        let report = stage.report();
        for (key, value) in [
            ("/result", Value::from("union")),
            ("/mode", Value::from("tmpfs")),
            ("/union", Value::from("overlay")),
            ("/lower/source", Value::from("server:/tree")),
            ("/lower/at", Value::from("/ro")),
            ("/upper/fs", Value::from("tmpfs")),
            ("/persistent", Value::from(false)),
            ("/failure", Value::Null),
        ] {
            assert_eq!(report.pointer(key), Some(&value), "{key} in {report:#}");
        }
        let steps = report["steps"].as_array().unwrap();
        assert_eq!(steps.last().unwrap()["step"], "move /aufs to /root");
        let sum: u64 = steps.iter().map(|step| step["us"].as_u64().unwrap()).sum();
        let total = report["total_us"].as_u64().unwrap();
        assert!(0 < sum && sum <= total, "steps {sum} us of {total} us");
        assert!(fs::read_to_string("/run/motd.d/sidus").unwrap().contains("gone after a reboot"));
        let room = rustix::fs::statvfs("/root/rw").unwrap();
        assert_eq!((room.f_blocks * room.f_frsize, room.f_files), (16 << 20, 2 << 10));
    });
}

#[test]
fn what_stays_for_the_shutdown_is_the_trees_whatever_is_in_the_layer() {
    in_initramfs("aufs=tmpfs", |stage| {
        let inside = |view: &str| Path::new(view).join(sidus::shutdown::IN_TREE);
        fs::create_dir_all(inside("/root").parent().unwrap()).unwrap();
        fs::write(inside("/root"), "of the tree").unwrap();
        succeeds(&stage.rootaufs());
        fs::write(inside("/root"), "of somebody who may write").unwrap();
        let before = stage.mounts();
        let (root, volume) = (Path::new("/"), Path::new("/dev/sda"));
        sidus::shutdown::prepare(root, Path::new("/root/ro"), 2, 1, volume).unwrap();
        let copy = fs::metadata(sidus::shutdown::PROGRAM).unwrap();
        assert_eq!(copy.permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_to_string(sidus::shutdown::PROGRAM).unwrap(), "of the tree");
        sidus::shutdown::forget(root).unwrap();
        assert_eq!(stage.mounts(), before);
    });
}

#[test]
fn off_and_nothing_touch_nothing() {
    for cmdline in ["aufs=off", "", "aufs=off sidus.nonsense"] {
        in_initramfs(cmdline, |stage| {
            let before = stage.mounts();
            succeeds(&stage.rootaufs());
            assert_eq!(stage.mounts(), before);
            assert_eq!(stage.report()["result"], "plain");
            assert!(!Path::new("/ro").exists());
        });
    }
}

/// A failure: what is on the command line, how the machine is broken, the exit status, what must be said.
struct Failing {
    cmdline: &'static str,
    broken: fn(),
    status: i32,
    says: &'static [&'static str],
}

const FAILING: &[Failing] = &[
    Failing {
        cmdline: "aufs=ramfs",
        broken: || {},
        status: 1,
        says: &[
            "FAILED: read the kernel's command line: aufs=ramfs: not a value of aufs; accepted: tmpfs, iscsi or off",
            "remedy: mend the APPEND line of the node's PXE entry",
            "now: panic, since nothing else is asked for (sidus.on_failure=panic)",
        ],
    },
    Failing {
        cmdline: "aufs=tmpfs sidus.union=aufs sidus.on_failure=shell",
        broken: || {},
        status: 3,
        says: &[
            "FAILED: choose the union: this kernel has no aufs: not in /proc/filesystems, and no module of that name in /lib/modules/",
            "now: a shell (sidus.on_failure=shell)",
        ],
    },
    Failing {
        // The union is mounted when it fails. Whoever opens this for reading waits for ever.
        cmdline: "aufs=tmpfs",
        broken: || {
            fs::remove_file("/root/etc/fstab").unwrap();
            let mode = rustix::fs::Mode::from_raw_mode(0o644);
            rustix::fs::mknodat(rustix::fs::CWD, "/root/etc/fstab", rustix::fs::FileType::Fifo, mode, 0).unwrap();
        },
        status: 1,
        says: &[
            "FAILED: adapt /aufs/etc/fstab: a union is on /: cannot adapt /aufs/etc/fstab: it is no regular file",
            "remedy: mend it in the tree on the NFS server",
        ],
    },
    Failing {
        cmdline: "aufs=tmpfs",
        broken: || {
            // A lower side that is two unions deep: overlayfs refuses to be the third.
            for level in ["/test/1", "/test/2"] {
                let at = |name: &str| format!("{level}.{name}");
                ["upper", "work", "merged"].iter().for_each(|name| fs::create_dir(at(name)).unwrap());
                let options = format!("lowerdir=/root,upperdir={},workdir={}", at("upper"), at("work"));
                let options = std::ffi::CString::new(options).unwrap();
                mount("deep", at("merged"), "overlay", MountFlags::empty(), Some(options.as_c_str())).unwrap();
                rustix::mount::mount_move(at("merged"), "/root").unwrap();
            }
        },
        status: 1,
        says: &[
            "FAILED: mount overlay of /rw/sidus/v1/upper over /ro on /aufs: mount file system on /aufs (overlay): \
             Invalid argument (os error 22)",
        ],
    },
    Failing {
        cmdline: "aufs=tmpfs sidus.on_failure=tmpfs",
        broken: || fs::write("/rw", "a file where a folder has to be").unwrap(),
        status: 1,
        says: &[
            "FAILED: make mount points /ro /rw /aufs: cannot make directory /rw: it exists, and is no directory",
            "now: panic: sidus.on_failure=tmpfs is no help where tmpfs itself fails",
        ],
    },
];

#[test]
fn a_failure_says_what_and_why_and_leaves_the_state_before() {
    for (number, failing) in FAILING.iter().enumerate() {
        in_initramfs(failing.cmdline, move |stage| {
            (failing.broken)();
            let before = stage.mounts();
            let output = stage.rootaufs();
            let said = text(&output.stderr);
            for line in failing.says {
                assert!(said.contains(line), "case {number}: {line:?} is not in:\n{said}");
            }
            assert_eq!(output.status.code(), Some(failing.status), "case {number}:\n{said}");
            assert_eq!(stage.mounts(), before, "case {number}: what is mounted has changed\n{said}");
            fs::write("/root/etc/still-writable", "").expect("the root is as it was before");
            let report = stage.report();
            assert_eq!(report["result"], "failed", "case {number}");
            for (key, start) in [("what", "FAILED: "), ("why", ": "), ("remedy", "remedy: "), ("then", "now: ")] {
                let line = format!("{start}{}", report["failure"][key].as_str().unwrap());
                assert!(said.contains(&line), "case {number}: the report's {key} was not said: {line:?}\n{said}");
            }
        });
    }
}

#[test]
fn what_the_kernel_refuses_is_told_in_its_own_words() {
    in_initramfs("aufs=tmpfs sidus.tmpfs.inodes=17179869183g", |stage| {
        let output = stage.rootaufs();
        if output.status.success() {
            // Linux before 6.6 takes any number.
            assert_eq!(rustix::fs::statvfs("/root/rw").unwrap().f_files, 17_179_869_183 << 30);
            return;
        }
        let said = text(&output.stderr);
        let words = "set option nr_inodes (tmpfs): Invalid argument (os error 22) (the kernel says: tmpfs: Bad value for 'nr_inodes')";
        assert!(said.contains(words), "{said}");
    });
}

#[test]
fn each_call_that_mounts_may_fail_and_leaves_the_state_before() {
    for call in ["fsopen", "fsconfig", "fsmount", "move_mount", "mount", "fspick"] {
        in_initramfs("aufs=tmpfs", move |stage| {
            mount_usr();
            mount("udev", "/root/dev", "tmpfs", MountFlags::empty(), None).unwrap();
            let before = stage.mounts();
            for nth in 1.. {
                let output = stage.rootaufs_with(&[&format!("inject={call}:error=EIO:when={nth}")]);
                let said = text(&output.stderr);
                if output.status.success() {
                    assert!(nth > 1 && said.is_empty(), "{call} {nth} of them:\n{said}");
                    break;
                }
                assert!(said.contains("Input/output error (os error 5)"), "{call} {nth}:\n{said}");
                assert_eq!(stage.mounts(), before, "{call} {nth}: what is mounted has changed\n{said}");
                assert_eq!(stage.report()["failure"]["left"], Value::Array(Vec::new()), "{call} {nth}:\n{said}");
                for file in ["/root/etc/still-writable", "/root/usr/still-writable", "/other/still-writable"] {
                    fs::write(file, "").unwrap_or_else(|error| panic!("{call} {nth}: {file}: {error}\n{said}"));
                }
                for folder in ["/ro", "/rw", "/aufs"] {
                    assert!(!Path::new(folder).exists(), "{call} {nth}: {folder}\n{said}");
                }
            }
        });
    }
}

#[test]
fn aufs_follows_an_overlayfs_that_cannot_be_loaded_where_it_is_there() {
    let refused = "the kernel refuses module /root/lib/modules/";
    for (choice, builtin, says, silent) in [
        ("auto", "kernel/fs/aufs/aufs.ko\n", "/overlay.ko: ", "FAILED: load"),
        ("auto", "", "FAILED: load kernel module /root/lib/modules/", "aufs is tried"),
        ("overlay", "kernel/fs/aufs/aufs.ko\n", "FAILED: load kernel module /root/lib/modules/", "aufs is tried"),
    ] {
        in_initramfs(&format!("aufs=tmpfs sidus.union={choice}"), move |stage| {
            fs::write("/test/filesystems", "nodev\ttmpfs\n").unwrap();
            mount_bind("/test/filesystems", "/proc/filesystems").unwrap();
            let kernel = rustix::system::uname();
            let modules = Path::new("/root/lib/modules").join(kernel.release().to_str().unwrap());
            fs::create_dir_all(&modules).unwrap();
            fs::write(modules.join("modules.dep"), "overlay.ko:\n").unwrap();
            fs::write(modules.join("modules.builtin"), builtin).unwrap();
            fs::write(modules.join("overlay.ko"), "of another kernel").unwrap();
            let before = stage.mounts();
            let said = text(&stage.rootaufs().stderr);
            assert!(said.contains(refused) && said.contains(says) && !said.contains(silent), "{choice}:\n{said}");
            // This kernel has no aufs, so that mounting it is what fails.
            let tried = said.contains("; aufs is tried\n") && said.contains("FAILED: mount aufs of /rw/sidus/v1/upper");
            assert_eq!(tried, choice == "auto" && !builtin.is_empty(), "{choice}:\n{said}");
            assert_eq!(stage.mounts(), before, "{choice}:\n{said}");
        });
    }
}

#[test]
fn each_problem_of_the_command_line_is_said_whole() {
    let keys: Vec<String> = (1..=9).map(|number| format!("sidus.nonsense{number}=x")).collect();
    in_initramfs(&format!("aufs=ramfs {}", keys.join(" ")), move |stage| {
        let said = text(&stage.rootaufs().stderr);
        let report = stage.report();
        let why = report["failure"]["why"].as_str().unwrap();
        assert!(!said.contains(" …\n"), "{said}");
        for key in keys {
            let problem = format!("{key}: no such key; accepted: sidus.iscsi.target, ");
            assert!(said.contains(&format!("rootaufs: FAILED: read the kernel's command line: {problem}")), "{said}");
            assert!(why.contains(&problem), "{why}");
        }
    });
}

#[test]
fn on_failure_ro_makes_even_a_writable_root_read_only() {
    in_initramfs("aufs=tmpfs sidus.union=aufs sidus.on_failure=ro", |stage| {
        succeeds(&stage.rootaufs());
        is_read_only("/root/x");
        is_read_only("/other/x");
        assert_eq!(stage.report()["failure"]["then"], "the plain root, read-only (sidus.on_failure=ro)");
    });
}

#[test]
fn on_failure_ro_makes_a_separate_usr_read_only_as_well() {
    in_initramfs("aufs=tmpfs sidus.union=aufs sidus.on_failure=ro", |stage| {
        mount_usr();
        mount("udev", "/root/dev", "tmpfs", MountFlags::empty(), None).unwrap();
        succeeds(&stage.rootaufs());
        is_read_only("/root/x");
        is_read_only("/root/usr/x");
        is_read_only("/test/usr/x");
        fs::write("/root/dev/node", "").unwrap();
    });
}

#[test]
fn on_failure_tmpfs_takes_memory_where_the_lun_fails() {
    in_initramfs("aufs=iscsi ISCSI_TARGET_IP=127.0.0.1 sidus.on_failure=tmpfs", |stage| {
        succeeds(&stage.rootaufs());
        fs::write("/root/x", "").unwrap();
        let report = stage.report();
        assert_eq!((&report["result"], &report["mode"]), (&Value::from("union"), &Value::from("tmpfs")));
        assert_eq!(report["persistent"], false);
        assert!(fs::read_to_string("/run/motd.d/sidus")
            .unwrap()
            .starts_with("WARNING: this node did not boot as asked"));
    });
}

#[test]
fn on_failure_tmpfs_obeys_the_keys_that_are_right() {
    for layer in ["aufs=iscsi ISCSI_TARGET_IP=127.0.0.1 sidus.timeout=1", "aufs=tmfps"] {
        let line = format!("{layer} sidus.on_failure=tmpfs sidus.tmpfs.size=16m sidus.tmpfs.inodes=2k");
        in_initramfs(&line, |stage| {
            succeeds(&stage.rootaufs());
            let room = rustix::fs::statvfs("/root/rw").unwrap();
            assert_eq!((room.f_blocks * room.f_frsize, room.f_files), (16 << 20, 2 << 10));
        });
    }
}

#[test]
fn what_could_not_be_undone_is_in_the_report_whichever_failure_it_was() {
    // The first move is that of tmpfs to /rw, the second that of the root to /ro.
    let faults = ["inject=move_mount:error=EIO:when=2", "inject=umount2:error=EBUSY"];
    for layer in ["aufs=tmpfs", "aufs=iscsi ISCSI_TARGET_IP=127.0.0.1 sidus.timeout=1"] {
        in_initramfs(&format!("{layer} sidus.on_failure=tmpfs"), move |stage| {
            let said = text(&stage.rootaufs_with(&faults).stderr);
            let failure = &stage.report()["failure"];
            let left: Vec<&str> =
                failure["left"].as_array().unwrap().iter().map(|left| left.as_str().unwrap()).collect();
            let mount = "unmount /rw: Device or resource busy (os error 16)";
            assert!(left.contains(&mount), "{layer}: {left:?}\n{said}");
            assert!(failure["then"].as_str().unwrap().starts_with("panic: "), "{layer}: {failure}");
        });
    }
}

#[test]
fn a_second_run_changes_nothing_whatever_is_asked_for() {
    in_initramfs("aufs=tmpfs sidus.on_failure=ro", |stage| {
        succeeds(&stage.rootaufs());
        let (before, report) = (stage.mounts(), stage.report());
        let again = stage.rootaufs();
        assert!(text(&again.stderr).contains("/root is a union already"), "{}", text(&again.stderr));
        assert_eq!(again.status.code(), Some(1));
        assert_eq!(stage.mounts(), before);
        assert_eq!(stage.report(), report);
        fs::write("/root/etc/still-writable", "").unwrap();
    });
}

#[test]
fn no_other_program_is_run() {
    in_initramfs("aufs=tmpfs", |_| {
        let trace = PathBuf::from("/test/trace");
        let calls = "trace=fork,vfork,clone,clone3,execve";
        let output = Command::new("strace")
            .args(["-f", "-e", calls, "-o"])
            .arg(&trace)
            .args(["/test/rootaufs", "init", "--rootmnt", "/root"])
            .output()
            .unwrap();
        succeeds(&output);
        let trace = fs::read_to_string(trace).unwrap();
        let calls: Vec<&str> = trace.lines().filter(|line| !line.contains("+++")).collect();
        assert_eq!(calls.len(), 1, "{trace}");
        assert!(calls[0].contains("execve(\"/test/rootaufs\""), "{trace}");
    });
}
