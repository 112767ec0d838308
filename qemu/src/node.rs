//! A node: a diskless machine that boots from the server.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Error, Result};
use serde_json::json;

use crate::address::{mac, KNOWN, NUMBERS};
use crate::console::Console;
use crate::kernel::Kernel;
use crate::lock::{lock_one_of, Lock};
use crate::server::Server;
use crate::shell::{self, Output, Shell};
use crate::suite::Suite;
use crate::tree::Tree;
use crate::{image, qemu, qmp, schedule};

/// An emulated boot by PXE up to `running`, while others compete for the processor.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// A command's limit, unless told otherwise.
const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// How long a node may take to power off.
const OFF_LIMIT: Duration = Duration::from_secs(120);

/// What a kernel says last on its console, where no `panic=` has it start again (`panic` in kernel/panic.c).
const PANIC: &str = "end Kernel panic - not syncing";

/// NFS options for a tree that never changes: half of the requests of a boot.
pub(crate) const UNCHANGING: &str = "nocto,acregmin=600,acregmax=600,acdirmin=600,acdirmax=600";

/// UEFI firmware for machines, and the variables it starts with.
const OVMF: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];

/// What loads the kernel by PXE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmware {
    /// SeaBIOS, then pxelinux.0.
    Bios,
    /// OVMF, then syslinux.efi.
    Uefi,
}

/// What a node shall be, before it is switched on.
#[derive(Debug, Clone)]
pub struct NodeBuilder {
    server: Server,
    number: u8,
    suite: Suite,
    kernel: Kernel,
    pxe: Option<Firmware>,
    entry: Option<String>,
    cmdline: Option<String>,
    bare: bool,
    nfsroot: String,
    nfs_options: Option<String>,
    memory_mb: u32,
    disks: Vec<PathBuf>,
    idle_card: bool,
    initrd: Option<PathBuf>,
    scenario: String,
    reboots: bool,
    measured: bool,
    ordinary_frames: bool,
}

impl NodeBuilder {
    pub(crate) fn new(server: &Server, number: u8) -> Self {
        let thread = std::thread::current();
        Self {
            server: server.clone(),
            number,
            suite: Suite::Bookworm,
            kernel: Kernel::Cloud,
            pxe: None,
            entry: None,
            cmdline: None,
            bare: false,
            nfsroot: Server::nfsroot(Suite::Bookworm),
            nfs_options: None,
            memory_mb: 1024,
            disks: Vec::new(),
            idle_card: false,
            initrd: None,
            scenario: thread.name().unwrap_or("lab").replace("::", "-"),
            reboots: false,
            measured: false,
            ordinary_frames: false,
        }
    }

    /// What follows the standard part of the kernel's command line. With PXE it becomes the node's own configuration
    /// file on the server; a PXE node without it boots what the server has for it.
    pub fn cmdline(mut self, text: &str) -> Self {
        self.cmdline = Some(text.to_owned());
        self
    }

    /// systemd starts nothing but the command channel, which halves a boot's time: for scenarios that are about the root, and
    /// not about what runs on it.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// The tree of this release instead of Debian 12's.
    pub fn suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self.nfsroot = Server::nfsroot(suite);
        self
    }

    /// This kernel instead of the cloud one.
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Boots by DHCP and TFTP, instead of a kernel that QEMU puts into memory.
    pub fn pxe(mut self, firmware: Firmware) -> Self {
        self.pxe = Some(firmware);
        self
    }

    /// With PXE: a person's whole entry, as the node's own configuration file on the server. To the kernel's command line in it
    /// is added what the lab needs.
    pub fn entry(mut self, text: &str) -> Self {
        self.entry = Some(text.to_owned());
        self
    }

    /// Memory, in MiB; 1024 unless told otherwise.
    pub fn memory_mb(mut self, size: u32) -> Self {
        self.memory_mb = size;
        self
    }

    /// Adds a local disk: a raw image, which keeps what is written to it.
    pub fn disk(mut self, path: &Path) -> Self {
        self.disks.push(path.to_owned());
        self
    }

    /// A network card before the one that the node boots by: it is connected to nothing.
    pub fn idle_card(mut self) -> Self {
        self.idle_card = true;
        self
    }

    /// This initrd instead of the tree's.
    pub fn initrd(mut self, path: &Path) -> Self {
        self.initrd = Some(path.to_owned());
        self
    }

    /// Another root than the suite's: SERVER:PATH.
    pub fn nfsroot(mut self, root: &str) -> Self {
        self.nfsroot = root.to_owned();
        self
    }

    /// NFS options for the root, as `rsize=8192,tcp`. Without them, the suite's own tree, which never changes, is mounted as
    /// `sidus` has nodes mount a generation, and other roots by Debian's defaults.
    pub fn nfs_options(mut self, options: &str) -> Self {
        self.nfs_options = Some(options.to_owned());
        self
    }

    /// The name under which the console is kept; the test's own unless told otherwise.
    pub fn scenario(mut self, name: &str) -> Self {
        self.scenario = name.to_owned();
        self
    }

    /// Lets the machine start again by itself when the node reboots. Otherwise QEMU ends then, and
    /// [`Node::wait_end`] sees it.
    pub fn reboots_by_itself(mut self) -> Self {
        self.reboots = true;
        self
    }

    /// Its card's frames are those of any network: for scenarios that are about the network. By PXE, they are so anyway.
    pub fn ordinary_frames(mut self) -> Self {
        self.ordinary_frames = true;
        self
    }

    /// Its time is compared: programs have random addresses, and the card's frames are no larger than those of any network, as
    /// Debian has it. By PXE, the server's entries decide.
    pub(crate) fn measured(mut self) -> Self {
        self.measured = true;
        self.ordinary_frames()
    }

    /// The kernel's whole command line.
    pub fn whole_cmdline(&self) -> String {
        let is_own = self.nfsroot == Server::nfsroot(self.suite);
        let options = match self.nfs_options.as_deref().unwrap_or(if is_own { UNCHANGING } else { "" }) {
            "" => String::new(),
            options => format!(",{options}"),
        };
        let (root, all) = (&self.nfsroot, if self.measured { qemu::MEASURED } else { qemu::CMDLINE });
        let bare = if self.bare { " systemd.unit=lab-shell@ttyS1.service" } else { "" };
        let standard = format!("root=/dev/nfs nfsroot={root}{options} ip=dhcp console=ttyS0 {all}{bare}");
        match self.cmdline.as_deref() {
            None | Some("") => standard,
            Some(more) => format!("{standard} {more}"),
        }
    }

    /// Leases a port and the node's number, and switches the node on.
    pub fn boot(self) -> Result<Node> {
        if !NUMBERS.contains(&self.number) {
            bail!("node {}: expected a number from {} to {}", self.number, NUMBERS.start(), NUMBERS.end());
        }
        let paths = self.server.paths();
        let name = format!("node{}", self.number);
        let lock = paths.run().join(format!("{name}.lock"));
        let (_, number) = lock_one_of(&[lock], &name, Duration::from_secs(900))?;
        let console = paths.log().join(format!("{}-{name}.console", self.scenario));
        File::create(&console).with_context(|| format!("cannot write {}", console.display()))?;
        let mut node = Node {
            console: Console::new(&console),
            shell: Shell::new(&paths.socket(&format!("{name}.shell"))),
            qmp: paths.socket(&format!("{name}.qmp")),
            process: None,
            console_before: 0,
            _number: number,
            is: self,
        };
        node.power_on()?;
        Ok(node)
    }

    fn arguments(&self, shell: &Path, qmp: &Path) -> Result<Vec<String>> {
        let paths = self.server.paths();
        let mut arguments = qemu::common(&format!("sidus-lab-node{}", self.number), self.memory_mb, shell, qmp);
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        let rom = if self.pxe.is_some() { "" } else { ",romfile=" };
        let frames = if self.pxe.is_some() || self.ordinary_frames { "" } else { qemu::LARGE_FRAMES };
        if self.idle_card {
            add("-netdev", "hubport,id=idle,hubid=9".to_owned());
            add("-device", format!("virtio-net-pci,netdev=idle,mac={},romfile=", mac(0)));
        }
        add("-netdev", qemu::cable(paths));
        add("-device", format!("virtio-net-pci,id=card,netdev=net,mac={}{rom}{frames}", mac(self.number)));
        for disk in &self.disks {
            add("-drive", format!("if=virtio,format=raw,file={}", qemu::escaped(disk)));
        }
        match self.pxe {
            None => {
                let image = image::find(paths, Tree::Node(self.suite))?;
                let initrd = self.initrd.clone().unwrap_or_else(|| image.initrd(self.kernel));
                add("-kernel", image.kernel(self.kernel).display().to_string());
                add("-initrd", initrd.display().to_string());
                add("-append", self.whole_cmdline());
            }
            Some(firmware) => {
                add("-boot", "n".to_owned());
                if firmware == Firmware::Uefi {
                    let [code, variables] = OVMF;
                    let own = paths.run().join(format!("node{}.vars", self.number));
                    std::fs::copy(variables, &own).with_context(|| format!("cannot copy {variables}"))?;
                    add("-drive", format!("if=pflash,format=raw,readonly=on,file={code}"));
                    add("-drive", format!("if=pflash,format=raw,file={}", qemu::escaped(&own)));
                }
            }
        }
        if !self.reboots {
            arguments.push("-no-reboot".to_owned());
        }
        Ok(arguments)
    }

    /// The node's own PXE configuration on the server, where it has a command line of its own. Those of nodes that the lab
    /// does not know are left alone: `sidus` writes them.
    fn publish(&self) -> Result<()> {
        let file = format!("/srv/tftp/pxelinux.cfg/01-{}", mac(self.number).replace(':', "-"));
        if !KNOWN.contains(&self.number) {
            if self.cmdline.is_some() || self.entry.is_some() {
                bail!(
                    "node {}: by PXE it boots what sidus has written for it, and no command line of its own: nodes {} to {} do",
                    self.number,
                    KNOWN.start(),
                    KNOWN.end()
                );
            }
            return Ok(());
        }
        let text = match &self.entry {
            Some(text) => format!("{} console=ttyS0 {}", text.trim_end(), qemu::CMDLINE),
            None if self.cmdline.is_none() => {
                self.server.run(&format!("rm -f {file}"))?;
                return Ok(());
            }
            None => {
                let tree = match self.suite {
                    Suite::Bookworm => "sidus",
                    Suite::Trixie => "trixie",
                };
                let (kernel, cmdline) = (self.kernel, self.whole_cmdline());
                format!(
                    "DEFAULT node\n\nLABEL node\nKERNEL vmlinuz-{tree}-{kernel}\n\
                     APPEND initrd=initrd.img-{tree}-{kernel} {cmdline}"
                )
            }
        };
        self.server.run(&format!("cat >{file} <<'END'\n{text}\nEND\nchmod a+r {file}"))?;
        Ok(())
    }
}

/// A node that was switched on. It is switched off when this value is dropped, or this process ends.
#[derive(Debug)]
pub struct Node {
    is: NodeBuilder,
    process: Option<Child>,
    console: Console,
    /// How much the console had when the node was last switched on, in bytes.
    console_before: u64,
    shell: Shell,
    qmp: PathBuf,
    _number: Lock,
}

impl Node {
    /// Its number.
    pub fn number(&self) -> u8 {
        self.is.number
    }

    /// The console, from the first power-on.
    pub fn console(&mut self) -> &mut Console {
        &mut self.console
    }

    /// Switches the node on (again). The console's file goes on.
    pub fn power_on(&mut self) -> Result<()> {
        if self.is.pxe.is_some() {
            self.is.publish()?;
        }
        let arguments = self.is.arguments(&self.shell_socket(), &self.qmp)?;
        let file = File::options()
            .append(true)
            .open(self.console.path())
            .with_context(|| format!("cannot write {}", self.console.path().display()))?;
        self.console_before = self.console.length()?;
        let errors = self.console.path().with_extension("qemu");
        // The node ends with the thread that started it, whatever ends that.
        let wrapper = ["setpriv", "--pdeathsig", "KILL"];
        let mut command = qemu::command(&wrapper, &arguments);
        // Not by PXE: TFTP asks for one block of an initrd after the other, and each of ten thousand answers would wait for
        // others' slices. Nor is the server so, for which all wait.
        if self.is.pxe.is_none() {
            schedule::in_long_slices(&mut command)?;
        }
        self.process = Some(qemu::start(&mut command, Stdio::piped(), file, &errors)?);
        Ok(())
    }

    /// Waits until `text` comes on the console, after what was waited for before.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<()> {
        let started = Instant::now();
        loop {
            // Asked before the console is read: what came right before the end counts.
            let ended = self.has_ended()?;
            if self.console.find(text)? {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(self.failed(&format!("QEMU ended ({status}) before {text:?} came on the console")));
            }
            if started.elapsed() > limit {
                return Err(self.failed(&format!("{text:?} did not come on the console in {} s", limit.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until systemd has started everything, and demands that nothing failed.
    pub fn wait_running(&mut self) -> Result<()> {
        let started = Instant::now();
        self.wait_shell()?;
        let state = loop {
            let left = BOOT_LIMIT.saturating_sub(started.elapsed());
            let state = self.output("systemctl is-system-running --wait", left)?;
            if state.status == 0 {
                return Ok(());
            }
            if left.is_zero() || !shell::is_too_busy(&state) {
                break state;
            }
        };
        let asked =
            "systemctl list-jobs --no-legend; for unit in $(systemctl --failed --no-legend --plain | cut -d ' ' \
                     -f 1); do systemctl status --no-pager --full \"$unit\"; done";
        let details = self.output(asked, COMMAND_LIMIT)?;
        Err(self.failed(&format!("systemd came up {:?}, not running:\n{}", state.text.trim(), details.text)))
    }

    /// Waits until the command channel answers: systemd then runs, perhaps with much still to start.
    pub fn wait_shell(&mut self) -> Result<()> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.has_ended()? {
                return Err(self.failed(&format!("QEMU ended ({status}) before systemd started the command channel")));
            }
            // QEMU makes the socket a moment after its start; a machine that ends meanwhile is seen above.
            if self.shell_socket().exists() && self.shell.answers(Duration::from_secs(2)).unwrap_or(false) {
                return Ok(());
            }
            // One that reboots by itself may have been through it, and be well.
            if !self.is.reboots && self.console.has_after(self.console_before, PANIC)? {
                return Err(self.failed("its kernel has panicked"));
            }
            if started.elapsed() > BOOT_LIMIT {
                let limit = BOOT_LIMIT.as_secs();
                return Err(self.failed(&format!("no answer on the command channel within {limit} s")));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs `command` by bash as root and returns what it writes; an exit status other than 0 is an error.
    pub fn run(&mut self, command: &str) -> Result<String> {
        let output = self.output(command, COMMAND_LIMIT)?;
        if output.status != 0 {
            let text = format!("{command:?} ended with status {}:\n{}", output.status, output.text);
            return Err(self.failed(&text));
        }
        Ok(output.text)
    }

    /// Runs `command` by bash as root, whatever its exit status.
    pub fn output(&mut self, command: &str, limit: Duration) -> Result<Output> {
        self.wait_shell()?;
        self.shell.run(command, limit).map_err(|error| error.context(self.console.tail()))
    }

    /// Types on the console, as a person does.
    pub fn type_on_console(&mut self, keys: impl AsRef<[u8]>) -> Result<()> {
        let input = self.process.as_mut().and_then(|process| process.stdin.as_mut()).context("the node is off")?;
        input.write_all(keys.as_ref()).and_then(|()| input.flush()).context("cannot type on the node's console")
    }

    /// Powers off through systemd and says how long it took.
    pub fn power_off(&mut self) -> Result<Duration> {
        self.end_by("poweroff")
    }

    /// Reboots through systemd: waits until the node is down, and switches it on again.
    pub fn reboot(&mut self) -> Result<Duration> {
        if self.is.reboots {
            bail!("a node that reboots by itself needs no switch: run systemctl reboot and wait for its console");
        }
        let took = self.end_by("reboot")?;
        self.power_on()?;
        Ok(took)
    }

    /// Runs `command` on the node until it succeeds.
    pub fn wait_until(&mut self, command: &str, limit: Duration) -> Result<()> {
        self.wait_shell()?;
        let started = Instant::now();
        while self.output(command, limit)?.status != 0 {
            if started.elapsed() > limit {
                return Err(self.failed(&format!("{command:?} did not succeed within {} s", limit.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// Asks systemd, a second after the command channel has answered: its own end would cut that answer off.
    fn end_by(&mut self, verb: &str) -> Result<Duration> {
        self.run(&format!("setsid sh -c 'sleep 1; systemctl --no-block {verb}' </dev/null >/dev/null 2>&1 &"))?;
        let started = Instant::now();
        self.wait_end(OFF_LIMIT)?;
        Ok(started.elapsed().saturating_sub(Duration::from_secs(1)))
    }

    /// Waits until the machine is off: powered off, or rebooting where it must not by itself.
    pub fn wait_end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.has_ended()? {
                self.process = None;
                return Ok(status);
            }
            if started.elapsed() > limit {
                return Err(self.failed(&format!("the node is still on after {} s", limit.as_secs())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Cuts the power. [`Node::power_on`] switches the node on again.
    pub fn power_cut(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().and_then(|()| process.wait()).context("cannot end the node's QEMU")?;
        }
        Ok(())
    }

    /// Plugs the network cable in (`true`) or out.
    pub fn set_link(&mut self, up: bool) -> Result<()> {
        qmp::execute(&self.qmp, "set_link", json!({"name": "card", "up": up})).map(drop)
    }

    /// Halts the machine, as a hypervisor does that has no time for it. Its cable is out meanwhile, at the other end: what
    /// nobody takes from the lab's network would hold up all others.
    pub fn pause(&mut self) -> Result<()> {
        qmp::execute(&self.qmp, "stop", json!({}))?;
        qmp::execute(&self.qmp, "set_link", json!({"name": "net", "up": false})).map(drop)
    }

    /// Lets a machine that was halted go on.
    pub fn resume(&mut self) -> Result<()> {
        qmp::execute(&self.qmp, "set_link", json!({"name": "net", "up": true}))?;
        qmp::execute(&self.qmp, "cont", json!({})).map(drop)
    }

    /// Its process's end, if it has ended.
    pub fn has_ended(&mut self) -> Result<Option<ExitStatus>> {
        let process = self.process.as_mut().context("the node is off")?;
        process.try_wait().context("cannot ask for the node's QEMU")
    }

    fn shell_socket(&self) -> PathBuf {
        self.is.server.paths().socket(&format!("node{}.shell", self.is.number))
    }

    fn failed(&self, text: &str) -> Error {
        let said = std::fs::read_to_string(self.console.path().with_extension("qemu")).unwrap_or_default();
        let said = if said.is_empty() { said } else { format!("QEMU said: {said}\n") };
        Error::msg(format!("node{}: {text}\n{said}{}", self.is.number, self.console.tail()))
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = self.power_cut() {
            eprintln!("node{}: {error:#}", self.is.number);
        }
    }
}
