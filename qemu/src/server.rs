//! The server: one machine that runs detached, so that every scenario, in whatever process, finds it booted.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, Context, Result};
use rustix::process::{kill_process, Pid, Signal};
use serde_json::json;

mod disks;

use self::disks::Disks;
use crate::console::Console;
use crate::kernel::Kernel;
use crate::lock::lock_one_of;
use crate::paths::Paths;
use crate::shell::{self, Shell};
use crate::suite::Suite;
use crate::tree::Tree;
use crate::{image, qemu, qmp};

/// Where the nodes find the server.
pub const ADDRESS: &str = "10.13.20.13";

/// An emulated boot takes 20 to 60 s on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// The socket of its second command channel.
const ADMINISTRATOR: &str = "server.administrator";

/// The verb by which `lab` is the switch; its standard input is the socket.
pub const SWITCH_VERB: &str = "ethernet";

/// In the record of a server that is not up yet, in place of its images.
const STARTING: &str = "starting";

/// In the environment of tests: where the lab's program is, which they are not.
pub(crate) const PROGRAM: &str = "SIDUS_LAB_PROGRAM";

/// A command's limit, unless told otherwise.
const COMMAND_LIMIT: Duration = Duration::from_secs(600);

/// The machine with DHCP, TFTP, NFS and, later, the iSCSI targets.
#[derive(Debug, Clone)]
pub struct Server {
    paths: Paths,
    shell: Shell,
    administrator: Shell,
}

impl Server {
    /// The server of this clone, running or not.
    pub fn at(paths: &Paths) -> Self {
        let channel = |name: &str| Shell::new(&paths.socket(name));
        Self { paths: paths.clone(), shell: channel("server.shell"), administrator: channel(ADMINISTRATOR) }
    }

    /// The lab's folders.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The export that `nfsroot=` names.
    pub(crate) fn nfsroot(suite: Suite) -> String {
        format!("{ADDRESS}:{}", suite.export())
    }

    /// Runs `command` as root and returns what it writes; an exit status other than 0 is an error.
    pub fn run(&self, command: &str) -> Result<String> {
        let output = self.shell.run(command, COMMAND_LIMIT)?;
        if output.status != 0 {
            bail!("on the server, {command:?} ended with status {}:\n{}", output.status, output.text);
        }
        Ok(output.text)
    }

    /// The way to its command channel, for other limits.
    pub fn shell(&self) -> &Shell {
        &self.shell
    }

    /// A second command channel, for what takes minutes: others do not wait for it.
    pub fn administrator(&self) -> &Shell {
        &self.administrator
    }

    /// Its console.
    pub fn console(&self) -> Console {
        Console::new(&self.paths.log().join("server.console"))
    }

    /// Starts it from the images as they are now, if it does not run from these already, and waits for its services.
    pub fn start(&self) -> Result<()> {
        let lock = self.paths.run().join("server.start.lock");
        let _alone = lock_one_of(&[lock], "the start of the server", BOOT_LIMIT)?;
        let wanted = self.wanted()?;
        if let Some(record) = self.running()? {
            if record.images == wanted {
                return Ok(());
            }
            let why =
                if record.images == STARTING { "has not come up" } else { "runs from other images than the newest" };
            eprintln!("  the server {why}: it starts anew");
            self.stop()?;
        }
        let started = Instant::now();
        eprintln!("  the server starts …");
        let how = if self.goes_on()? { "goes on from its state after an earlier boot" } else { self.boots()? };
        self.record(&Record { images: wanted, ..self.running()?.context("the server has ended")? })?;
        eprintln!("  the server {how}: its services answer after {:.1} s", started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Starts it from its state after an earlier boot; false where there is none that can be taken up.
    fn goes_on(&self) -> Result<bool> {
        let machine = Machine::of(self)?;
        if !machine.disks.has_state(&machine.digest) {
            return Ok(false);
        }
        let taken_up = machine.disks.restore().and_then(|state| {
            self.launch(machine.arguments.iter().chain(&state))?;
            self.wait_for_shell(Instant::now())?;
            // Its clock stood still since.
            self.run(&format!("date --set=@{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64()))?;
            self.wait_for_services(Instant::now())
        });
        if let Err(error) = &taken_up {
            eprintln!("  the server does not go on from its state, which is thrown away: {error:#}");
            machine.disks.discard()?;
            self.stop()?;
        }
        Ok(taken_up.is_ok())
    }

    /// Starts it, and keeps its state for the next time.
    fn boots(&self) -> Result<&'static str> {
        let machine = Machine::of(self)?;
        machine.disks.make()?;
        self.launch(machine.arguments.iter())?;
        if let Err(error) = self.wait_for_services(Instant::now()) {
            self.stop()?;
            return Err(error.context(self.console().tail()));
        }
        if let Err(error) = machine.disks.keep(&self.paths.socket("server.qmp"), &machine.digest) {
            eprintln!("  the server's state is not kept, and it will boot the next time: {error:#}");
            machine.disks.discard()?;
        }
        Ok("has booted")
    }

    /// Ends it, the way a cable is pulled: its disks forget everything anyway.
    pub fn stop(&self) -> Result<()> {
        let Some(record) = self.running()? else {
            return Ok(());
        };
        let asked = qmp::execute(&self.paths.socket("server.qmp"), "quit", json!({}));
        if self.ended_within(&record, Duration::from_secs(10)) {
            return self.forget();
        }
        eprintln!("  the server does not end when asked ({asked:?}): killing process {}", record.pid);
        let pid = Pid::from_raw(record.pid).context("the server's recorded process id is none")?;
        kill_process(pid, Signal::KILL).with_context(|| format!("cannot kill process {}", record.pid))?;
        if !self.ended_within(&record, Duration::from_secs(10)) {
            bail!("the server, process {}, does not end", record.pid);
        }
        self.forget()
    }

    /// Resets the machine, as its button does, and waits for its services: what was not synced is gone.
    pub fn reset(&self) -> Result<()> {
        qmp::execute(&self.paths.socket("server.qmp"), "system_reset", json!({}))?;
        self.wait_for_services(Instant::now()).map_err(|error| error.context(self.console().tail()))
    }

    /// Gives it one more disk, which keeps what is written to it.
    pub(crate) fn plug_in(&self, image: &Path, serial: &str) -> Result<()> {
        let socket = self.paths.socket("server.qmp");
        let file = json!({"driver": "file", "filename": image.to_string_lossy()});
        qmp::execute(&socket, "blockdev-add", json!({"driver": "raw", "node-name": serial, "file": file}))?;
        let device = json!({"driver": "virtio-blk-pci", "drive": serial, "id": serial, "serial": serial});
        qmp::execute(&socket, "device_add", device).map(drop)
    }

    /// What runs, if it does: the process that was recorded, not another one with its number.
    pub(crate) fn running(&self) -> Result<Option<Record>> {
        let path = self.record_path();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let record = Record::parse(&text).with_context(|| format!("{} is garbled: remove it", path.display()))?;
        Ok(record.is_alive().then_some(record))
    }

    /// Starts QEMU. Until it is up, the record has no images: where the lab is killed meanwhile, the next start begins anew.
    fn launch<'a>(&self, arguments: impl Iterator<Item = &'a String>) -> Result<()> {
        self.start_switch()?;
        let console = self.console();
        let file =
            File::create(console.path()).with_context(|| format!("cannot write {}", console.path().display()))?;
        let errors = self.paths.log().join("server.qemu");
        let arguments: Vec<String> = arguments.cloned().collect();
        let child = qemu::start(&mut qemu::command(&["setsid"], &arguments), Stdio::null(), file, &errors)?;
        let pid = i32::try_from(child.id())?;
        self.record(&Record { pid, start: start_time(pid)?, images: STARTING.to_owned() })
    }

    /// Starts what all machines are connected by: the lab's program, as a process that ends with the server.
    fn start_switch(&self) -> Result<()> {
        let path = self.paths.socket(qemu::SWITCH);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| format!("cannot listen at {}", path.display()))?;
        let program = match std::env::var_os(PROGRAM) {
            Some(path) => path.into(),
            None => std::env::current_exe().context("this program's own name")?,
        };
        let errors = self.paths.log().join("ethernet");
        let errors = File::create(&errors).with_context(|| format!("cannot write {}", errors.display()))?;
        Command::new("setsid")
            .arg(&program)
            .arg(SWITCH_VERB)
            .stdin(OwnedFd::from(listener))
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .with_context(|| format!("cannot start {} as the lab's switch", program.display()))?;
        Ok(())
    }

    fn wait_for_shell(&self, started: Instant) -> Result<()> {
        let alive = || -> Result<()> {
            if self.running()?.is_none() {
                let said = std::fs::read_to_string(self.paths.log().join("server.qemu")).unwrap_or_default();
                bail!("the server's QEMU ended: {said}");
            }
            Ok(())
        };
        loop {
            alive()?;
            if self.paths.socket("server.shell").exists() && self.shell.answers(Duration::from_secs(5)).unwrap_or(false)
            {
                return Ok(());
            }
            if started.elapsed() > BOOT_LIMIT {
                bail!("the server's command channel does not answer after {} s", BOOT_LIMIT.as_secs());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn wait_for_services(&self, started: Instant) -> Result<()> {
        self.wait_for_shell(started)?;
        let state = loop {
            let left = BOOT_LIMIT.saturating_sub(started.elapsed());
            let state = self.shell.run("systemctl is-system-running --wait", left)?;
            if state.status == 0 {
                return Ok(());
            }
            if left.is_zero() || !shell::is_too_busy(&state) {
                break state;
            }
        };
        let failed = self.shell.run("systemctl --failed --no-legend --plain", COMMAND_LIMIT)?;
        bail!("the server came up {:?}; failed units:\n{}", state.text.trim(), failed.text);
    }

    fn wanted(&self) -> Result<String> {
        let digests: Result<Vec<String>> =
            Tree::ALL.iter().map(|tree| Ok(image::find(&self.paths, *tree)?.digest)).collect();
        Ok(digests?.join("-"))
    }

    fn ended_within(&self, record: &Record, limit: Duration) -> bool {
        let started = Instant::now();
        while started.elapsed() < limit {
            if !record.is_alive() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    fn record_path(&self) -> PathBuf {
        self.paths.run().join("server")
    }

    fn record(&self, record: &Record) -> Result<()> {
        let path = self.record_path();
        let text = format!("{} {} {}\n", record.pid, record.start, record.images);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn forget(&self) -> Result<()> {
        disks::forget(&self.paths)?;
        let path = self.record_path();
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
    }
}

/// What QEMU is to be.
struct Machine {
    arguments: Vec<String>,
    disks: Disks,
    /// What its state depends on.
    digest: String,
}

impl Machine {
    fn of(server: &Server) -> Result<Self> {
        let paths = &server.paths;
        let image = image::find(paths, Tree::Server)?;
        let shell = paths.socket("server.shell");
        let qmp = paths.socket("server.qmp");
        let mut arguments = qemu::common("sidus-lab-server", 1536, &shell, &qmp);
        let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
        add("-kernel", image.kernel(Kernel::Cloud).display().to_string());
        add("-initrd", image.initrd(Kernel::Cloud).display().to_string());
        add("-append", format!("root=/dev/vda rw console=ttyS0 {}", qemu::CMDLINE));
        let administrator = qemu::escaped(&paths.socket(ADMINISTRATOR));
        add("-chardev", format!("socket,id=administrator,path={administrator},server=on,wait=off"));
        // A PC's third port shares the first one's interrupt, which QEMU does not.
        add("-device", "isa-serial,chardev=administrator,iobase=0x3e8,irq=7".to_owned());
        add("-netdev", qemu::cable(paths));
        let frames = qemu::LARGE_FRAMES;
        add("-device", format!("virtio-net-pci,netdev=net,mac=52:54:00:0d:14:0d,romfile={frames}"));
        let disks = Disks::find(paths)?;
        arguments.extend(disks.arguments());
        let digest = disks.digest(&arguments)?;
        Ok(Self { arguments, disks, digest })
    }
}

/// A running server: its process, told from a later one of the same number by its start time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pid: i32,
    start: u64,
    images: String,
}

impl Record {
    fn parse(text: &str) -> Result<Self> {
        match text.split_whitespace().collect::<Vec<_>>().as_slice() {
            [pid, start, images] => Ok(Self { pid: pid.parse()?, start: start.parse()?, images: (*images).to_owned() }),
            _ => bail!("expected a process id, its start time and a digest, found {text:?}"),
        }
    }

    fn is_alive(&self) -> bool {
        start_time(self.pid).is_ok_and(|start| start == self.start)
    }
}

/// When a process started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)); an ended one has none.
fn start_time(pid: i32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The second field, in parentheses, may hold spaces.
    let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    if fields.first() == Some(&"Z") {
        bail!("process {pid} has ended");
    }
    let start = fields.get(19).with_context(|| format!("{path} has no field 22"))?;
    Ok(start.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_with_its_number_is_not() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let mut record = Record { pid, start: start_time(pid).unwrap(), images: "x".to_owned() };
        assert!(record.is_alive());
        record.start += 1;
        assert!(!record.is_alive());
        assert_eq!(Record::parse("1 2 a-b\n").unwrap(), Record { pid: 1, start: 2, images: "a-b".to_owned() });
        assert!(Record::parse("1 2").unwrap_err().to_string().contains("expected"));
    }
}
