//! A server in a folder: `sidus` runs there as root of namespaces of its own, with this machine's programs, and stubs
//! for those that would act on services. It can be killed at each of its system calls that change anything.
#![allow(dead_code)] // Each file of tests needs a part.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test may fail by a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// What changes anything that others see, or waits for a command. Others are not worth dying at.
const DEADLY: &str =
    "openat,write,pwrite64,copy_file_range,sendfile,splice,ftruncate,fsync,fdatasync,syncfs,mkdir,mkdirat,\
    rename,renameat,renameat2,link,linkat,unlink,unlinkat,rmdir,symlink,symlinkat,chmod,fchmod,fchmodat,chown,fchown,\
    fchownat,ioctl,flock,mount,umount2,clone,clone3,fork,vfork,wait4,waitid,pidfd_open,sendto";

/// What no command changes, or what tells only that it ran.
const NOT_COMPARED: [&str; 10] = [
    "dev",
    "proc",
    "sys",
    "run",
    "tmp",
    "usr",
    "var/log",
    "var/lib/sidus/lock",
    "var/lib/sidus/work",
    "etc/machine-id",
];

/// Of longer files only that length is compared.
const MAX_COMPARED: u64 = 1 << 20;

/// The folders of those that there are: tests run side by side.
static TAKEN: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A server.
pub struct Machine {
    root: PathBuf,
    by_root: AtomicBool,
}

impl Machine {
    /// One with nothing but this machine's programs. What an earlier one of that name has left is gone.
    pub fn new(name: &str) -> Self {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{name}"));
        let is_new = TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(root.clone());
        assert!(is_new, "another test has a machine that is called {name}");
        let machine = Self { root, by_root: AtomicBool::new(false) };
        machine.remove();
        fs::create_dir_all(&machine.root).unwrap();
        machine.put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        machine
    }

    /// From now on `sidus` runs here as this machine's root: there is what the kernel does for no other one.
    pub fn by_root(&self) {
        self.by_root.store(true, Ordering::Relaxed);
    }

    /// Writes a file, and makes the folders above it.
    pub fn put(&self, path: &str, text: &str) {
        let at = self.root.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
    }

    /// Makes another one have the files of this one.
    pub fn copy_to(&self, other: &Self) {
        other.remove();
        // What overlayfs works in is made anew.
        let mut copy = Command::new("cp");
        assert!(copy
            .args(["-a", "--sparse=always", "-T"])
            .arg(&self.root)
            .arg(&other.root)
            .status()
            .unwrap()
            .success());
    }

    /// Changes who may do what with a file.
    pub fn set_mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Makes a symbolic link, and the folders above it.
    pub fn link(&self, target: &str, path: &str) {
        let at = self.root.join(path);
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, at).unwrap();
    }

    /// The text of a file.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Whether there is such a file.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).symlink_metadata().is_ok()
    }

    /// Where its files are, for this machine.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Puts a program in the place of one that would act on services. It notes how it is called, and fails the one time
    /// that [`Machine::fail_at`] asks for.
    pub fn stub(&self, program: &str) {
        let path = format!("usr/local/sbin/{program}");
        self.put(
            &path,
            "#!/bin/sh\ncalls=$(wc -l </var/log/calls)\nif [ \"$calls\" = \"$(cat /var/log/fail-at)\" ]; then\n\
             \techo failed >>/var/log/calls\n\techo \"as the test wishes\" >&2\n\texit 1\nfi\n\
             echo \"${0##*/} $*\" >>/var/log/calls\n",
        );
        fs::set_permissions(self.root.join(&path), fs::Permissions::from_mode(0o755)).unwrap();
        self.put("var/log/calls", "");
        self.put("var/log/fail-at", "never");
    }

    /// Has the stub that is called after so many calls fail.
    pub fn fail_at(&self, calls: usize) {
        self.put("var/log/fail-at", &calls.to_string());
    }

    /// How the stubs were called.
    pub fn calls(&self) -> Vec<String> {
        self.read("var/log/calls").lines().map(str::to_owned).collect()
    }

    /// What a server has for booting nodes: the packages' files as far as `sidus` looks at them, and stubs.
    pub fn install_services(&self) {
        for path in [
            "usr/lib/systemd/system/dnsmasq.service",
            "usr/sbin/exportfs",
            "usr/bin/targetcli",
            "usr/lib/PXELINUX/pxelinux.0",
            "usr/lib/syslinux/modules/bios/ldlinux.c32",
            "usr/lib/SYSLINUX.EFI/efi64/syslinux.efi",
            "usr/lib/syslinux/modules/efi64/ldlinux.e64",
        ] {
            self.put(path, path);
        }
        for program in ["dnsmasq", "dhcpd", "exportfs", "systemctl", "targetcli"] {
            self.stub(program);
        }
    }

    /// Runs `sidus` there.
    pub fn sidus(&self, arguments: &[&str]) -> Output {
        self.run(&[], arguments)
    }

    /// As [`Machine::sidus`], which has to succeed; what it said.
    #[track_caller]
    pub fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.sidus(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(0), "sidus {}: {said}", arguments.join(" "));
        said
    }

    /// As [`Machine::sidus`], which has to fail; what it said.
    #[track_caller]
    pub fn fails(&self, arguments: &[&str]) -> String {
        let output = self.sidus(arguments);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "sidus {}: {said}", arguments.join(" "));
        said
    }

    /// Runs `sidus` and kills it before the `nth` of its [`DEADLY`] calls, and with it all that it started, as a power
    /// loss would. Whether it came so far.
    pub fn killed_at(&self, nth: usize, arguments: &[&str]) -> bool {
        self.said_when_killed_at(nth, arguments).is_some()
    }

    /// As [`Machine::killed_at`]; what it had said, if it came so far.
    pub fn said_when_killed_at(&self, nth: usize, arguments: &[&str]) -> Option<String> {
        let inject = format!("inject={DEADLY}:signal=KILL:when={nth}");
        let trace = format!("trace={DEADLY}");
        let output = self.run(&["strace", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject], arguments);
        match output.status.code() {
            Some(0) => None,
            // strace(1) ends as its program did, and unshare(1) says it as a shell would.
            Some(137) | None => Some(said(&output)),
            Some(code) => panic!("exit status {code} when it was to be killed at call {nth}: {}", said(&output)),
        }
    }

    /// Runs `sidus` there beside a process that outlives it and holds the machine for so many seconds: what `sidus`
    /// started does not end just because the machine does.
    pub fn sidus_outlived(&self, seconds: &str, arguments: &[&str]) -> Output {
        self.run(&["sh", "-c", &format!("\"$@\" & exec sleep {seconds}"), "sh"], arguments)
    }

    /// Has another program run `sidus` there: its last arguments are what it has to run.
    pub fn sidus_by(&self, wrapper: &[&str], arguments: &[&str]) -> Output {
        self.run(wrapper, arguments)
    }

    fn run(&self, wrapper: &[&str], arguments: &[&str]) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu/server-root");
        let user: &[_] = if self.by_root.load(Ordering::Relaxed) { &[] } else { &["--user", "--map-root-user"] };
        Command::new("unshare")
            .args(user)
            .args(["--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"])
            .arg(script)
            .arg(&self.root)
            .arg(env!("CARGO_BIN_EXE_sidus"))
            .args(wrapper)
            .arg("chroot")
            .arg(&self.root)
            .arg("/usr/sbin/sidus")
            .args(arguments)
            .output()
            .expect("unshare(1) cannot be run")
    }

    /// All that a command may change: each path with its kind, mode and content.
    pub fn state(&self) -> BTreeMap<String, String> {
        let mut state = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned();
                if NOT_COMPARED.contains(&name.as_str()) {
                    continue;
                }
                let found = path.symlink_metadata().unwrap();
                let content = if found.len() > MAX_COMPARED {
                    // Disks have random numbers in them.
                    format!("{} bytes", found.len())
                } else if found.is_dir() {
                    folders.push(path);
                    "folder".to_owned()
                } else if found.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else {
                    String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
                };
                state.insert(name, format!("{:o} {content}", found.mode()));
            }
        }
        state
    }

    fn remove(&self) {
        for path in [self.root.clone(), self.root.with_extension("work")] {
            if path.symlink_metadata().is_ok() {
                // overlayfs makes its own folder without rights for anyone.
                let own = path.join("work");
                if own.exists() {
                    fs::set_permissions(&own, fs::Permissions::from_mode(0o700)).unwrap();
                }
                fs::remove_dir_all(&path).unwrap();
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What failed may be looked at.
        if !std::thread::panicking() {
            self.remove();
        }
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.root);
    }
}

/// The processes of this machine that have the word in their command lines.
pub fn running(word: &str) -> Vec<Pid> {
    let has = |process: &fs::DirEntry| {
        let line = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        line.split('\0').any(|part| part == word)
    };
    let processes = fs::read_dir("/proc").unwrap().flatten().filter(has);
    processes.filter_map(|process| Pid::from_raw(process.file_name().to_str()?.parse().ok()?)).collect()
}

/// Who started the process, who started that one, and so on.
pub fn above(process: Pid) -> impl Iterator<Item = Pid> {
    std::iter::successors(Some(process), |pid| {
        let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
        Pid::from_raw(status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?)
    })
    .skip(1)
}

/// Waits for it, but not forever.
#[track_caller]
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(20), "{what}: not within 20 s");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a program wrote.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Runs a command to its end on a machine that `prepare` has made ready; then on such a machine kills it at each call that
/// changes anything in turn, and runs it again: each time the end is the same, and each service was told what it has to
/// know. Then once for each command that it runs, with that failing.
pub fn survives_everything(name: &str, prepare: impl Fn(&Machine) + Sync, command: &[&str]) {
    survives_each(1, name, prepare, command);
}

/// At one call of so many only, where all of them take long; `SIDUS_TEST_ALL=1` in the environment has it killed at all of
/// them.
pub fn one_of(step: usize) -> usize {
    if std::env::var_os("SIDUS_TEST_ALL").is_some() {
        1
    } else {
        step
    }
}

/// As [`survives_everything`], but killed at [`one_of`] so many calls.
pub fn survives_each(step: usize, name: &str, prepare: impl Fn(&Machine) + Sync, command: &[&str]) {
    let step = one_of(step);
    let whole = Machine::new(&format!("{name}-whole"));
    prepare(&whole);
    whole.succeeds(command);
    let (state, calls) = (whole.state(), whole.calls());
    assert!(!whole.has("var/lib/sidus/journal.json"));
    whole.succeeds(command);
    compare(&whole, &state, "done twice");
    assert_eq!(whole.calls(), calls, "the second time, nobody is told anything");
    let (prepare, state, calls) = (&prepare, &state, &calls);
    let ends_well = |machine: &Machine, how: &str| {
        machine.succeeds(command);
        compare(machine, state, how);
        let told = machine.calls();
        assert!(calls.iter().all(|call| told.contains(call)), "{how}: {calls:?} was to be told, but {told:?} was");
    };
    // As many at a time as the machine has processors.
    let hunters = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for first in 1..=hunters {
            scope.spawn(move || {
                // An odd step meets recover and the command itself in turn.
                for nth in (1..).step_by(step).skip(first - 1).step_by(hunters) {
                    assert!(nth < 20_000, "{name}: it has no end");
                    let machine = Machine::new(&format!("{name}-{first}"));
                    prepare(&machine);
                    if !machine.killed_at(nth, command) {
                        assert!(nth > 10, "{name}: it was never killed");
                        println!("{name}: it survives its call {nth}");
                        break;
                    }
                    if nth % 2 == 0 {
                        // Another command comes first.
                        machine.succeeds(&["recover"]);
                        assert!(!machine.has("var/lib/sidus/journal.json"), "killed at {nth}");
                    }
                    ends_well(&machine, &format!("killed at call {nth}"));
                }
            });
        }
    });
    for at in 0..calls.len() {
        let machine = Machine::new(&format!("{name}-fails"));
        prepare(&machine);
        machine.fail_at(at);
        let said = machine.fails(command);
        assert!(said.contains("exit status 1\n  as the test wishes"), "{said}");
        ends_well(&machine, &format!("with {:?} failing", calls.get(at)));
    }
}

#[track_caller]
fn compare(machine: &Machine, expected: &BTreeMap<String, String>, how: &str) {
    let state = machine.state();
    let differs: Vec<_> = state
        .iter()
        .filter(|(path, content)| expected.get(*path) != Some(*content))
        .map(|(path, content)| format!("{path}: {content}"))
        .chain(expected.keys().filter(|path| !state.contains_key(*path)).map(|path| format!("{path} is missing")))
        .collect();
    assert!(differs.is_empty(), "{how}, it ends otherwise:\n{}", differs.join("\n"));
}
