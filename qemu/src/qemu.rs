//! QEMU's command line, as far as the server and the nodes share it.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::paths::Paths;

/// What every kernel is told. `no_timer_check`: on a busy host, an emulated timer may miss the kernel's test of it, which
/// ends in a panic. `udev.children_max`: on one emulated processor, a dozen of udev's workers take twice the time of one.
/// `systemd.default_device_timeout_sec`: they may have come no further than the console's after 90 s. `init_on_alloc`: a
/// tenth of a boot's time is pages being cleared. `nr_cpus`: there is one, see [`common`]. `loop.max_loop`: nfs-common has a
/// program run for each of eight loop devices.
macro_rules! emulated {
    () => {
        "no_timer_check udev.children_max=1 systemd.default_device_timeout_sec=300 init_on_alloc=0 nr_cpus=1 loop.max_loop=0"
    };
}

/// What a kernel is told whose time is compared: what it then runs has random addresses, as Debian has it.
pub(crate) const MEASURED: &str = emulated!();

/// What others are told. `norandmaps`: QEMU keeps what it has translated by the address that the guest runs it at, and begins
/// anew for each process where those are random. With it, an initrd is made in half the time. `cgroup_disable`: a boot takes
/// a fourteenth less where not every page is counted for a control group.
pub(crate) const CMDLINE: &str = concat!(emulated!(), " norandmaps cgroup_disable=memory");

/// Arguments that every machine gets: emulated (never KVM, which may exist and yet hang), no devices but those named,
/// the console on standard input and output, the command channel on a second serial line.
///
/// Without the instructions for virtual machines: udev would load KVM for them. Without cmpxchg16b: QEMU before 8.0 keeps flags
/// of some earlier instruction after it, the direction flag among them. An interrupt that comes just then returns with those,
/// and what the kernel clears next is the memory before it. Linux takes the instruction wherever it allocates, if there is one.
///
/// One processor, and room for another, which never comes: where there can be one only, QEMU 7.2 leaves out the guest's memory
/// barriers, though its devices work in another thread. Now and then, a virtio queue is not looked at again then: the guest
/// waits for the device, and the device for the guest.
pub(crate) fn common(name: &str, memory_mb: u32, shell: &Path, qmp: &Path) -> Vec<String> {
    let mut arguments: Vec<String> = vec!["-name".into(), name.into(), "-m".into(), memory_mb.to_string()];
    arguments.extend(
        "-nodefaults -no-user-config -display none -machine pc,graphics=off -accel tcg,thread=multi \
         -cpu qemu64,-svm,-cx16 -smp 1,maxcpus=2 \
         -device virtio-rng-pci -chardev stdio,id=console,signal=off -serial chardev:console -serial chardev:shell"
            .split(' ')
            .map(str::to_owned),
    );
    arguments.extend(["-chardev".into(), format!("socket,id=shell,path={},server=on,wait=off", escaped(shell))]);
    arguments.extend(["-qmp".into(), format!("unix:{},server=on,wait=off", escaped(qmp))]);
    arguments
}

/// Has the C library ask for huge pages (glibc's manual, "Memory Allocation Tunables"). What QEMU looks up most lies all over
/// its memory: a boot takes an eighth less.
const HUGE_PAGES: (&str, &str) = ("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1");

/// The socket of the lab's switch.
pub(crate) const SWITCH: &str = "ethernet";

/// A card's cable to the switch, called `net`.
pub(crate) fn cable(paths: &Paths) -> String {
    format!("stream,id=net,server=off,addr.type=unix,addr.path={}", escaped(&paths.socket(SWITCH)))
}

/// What a card's options end with so that its frames are as large as they get (`host_mtu`): a boot takes an eighth less where
/// not each 1,448 bytes of a file are a packet of their own. Who has another card is told of no larger ones (TCP's MSS).
pub(crate) const LARGE_FRAMES: &str = ",host_mtu=65000";

/// A path inside an option: commas are doubled.
pub(crate) fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

/// QEMU behind `wrapper`, a command that becomes it.
pub(crate) fn command(wrapper: &[&str], arguments: &[String]) -> Command {
    let mut words = wrapper.iter().copied().chain(["qemu-system-x86_64"]);
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).args(arguments).env(HUGE_PAGES.0, HUGE_PAGES.1);
    command
}

/// Starts it. The console goes to `console`, complaints to `errors`.
pub(crate) fn start(command: &mut Command, input: Stdio, console: File, errors: &Path) -> Result<Child> {
    let errors = File::create(errors).with_context(|| format!("cannot write {}", errors.display()))?;
    command.stdin(input).stdout(console).stderr(errors).spawn().with_context(|| {
        let program = command.get_program().to_string_lossy();
        format!("cannot start {program}: run ./qemu/lab, which installs what is missing")
    })
}
