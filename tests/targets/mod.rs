//! Real targets on loopback, each a child process that ends with its test.
#![allow(dead_code)]

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sidus::iscsi::chap::{Account, Credentials, OwnChallenge, Secret};
use sidus::iscsi::login::{Config, Purpose};
use sidus::iscsi::name::Portal;

pub const INITIATOR: &str = "iqn.2026-01.org.example:node";
const START: Duration = Duration::from_secs(10);

/// A folder of one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sidus-{name}-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Killed by its own handle, whatever becomes of the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that nobody listens at, nor will another test: it is free again before a target has it, and the kernel may choose
/// it once more.
pub fn free_port(ip: IpAddr) -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        if given.insert(port) {
            return port;
        }
    }
}

fn wait_until_it_listens(address: SocketAddr, process: &mut Process, log: &PathBuf) {
    let started = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = process.0.try_wait().unwrap();
        assert!(
            ended.is_none() && started.elapsed() < START,
            "no target at {address} ({ended:?}): {}",
            fs::read_to_string(log).unwrap_or_default()
        );
        sleep(Duration::from_millis(20));
    }
}

/// tgt, on its own port and with its own control socket.
pub struct Tgt {
    pub portal: Portal,
    _process: Process,
    folder: Folder,
    control: PathBuf,
}

impl Tgt {
    pub fn start(ip: &str) -> Self {
        let folder = Folder::new("tgt");
        let control = folder.0.join("control");
        Self::listening_at(ip, folder, control)
    }

    /// With its control socket at `CONTROL.0`.
    pub fn controlled_at(ip: &str, control: &Path) -> Self {
        fs::create_dir_all(control.parent().unwrap()).unwrap();
        Self::listening_at(ip, Folder::new("tgt"), control.to_owned())
    }

    fn listening_at(ip: &str, folder: Folder, control: PathBuf) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let portal = Portal { ip, port: free_port(ip) };
        let log = folder.0.join("log");
        let file = fs::File::create(&log).unwrap();
        let child = Command::new("tgtd")
            .env("TGT_IPC_SOCKET", &control)
            .args(["-f", "--iscsi", &format!("portal={portal}")])
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("tgtd: install tgt");
        let mut process = Process(child);
        wait_until_it_listens(portal.socket_addr(), &mut process, &log);
        Self { portal, _process: process, folder, control }
    }

    pub fn admin(&self, words: &str) -> String {
        let output = Command::new("tgtadm")
            .env("TGT_IPC_SOCKET", &self.control)
            .args(["--lld", "iscsi"])
            .args(words.split(' '))
            .output()
            .unwrap();
        assert!(output.status.success(), "tgtadm {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A target that every initiator may use.
    pub fn target(&self, tid: u32, name: &str) {
        self.admin(&format!("--op new --mode target --tid {tid} -T {name}"));
        self.admin(&format!("--op bind --mode target --tid {tid} -I ALL"));
    }

    /// A LUN of 1 MiB.
    pub fn disk(&self, tid: u32, lun: u32) {
        let file = self.folder.0.join(format!("disk{tid}.{lun}"));
        fs::write(&file, vec![0; 1 << 20]).unwrap();
        self.admin(&format!("--op new --mode logicalunit --tid {tid} --lun {lun} -b {}", file.display()));
    }

    pub fn account(&self, tid: u32, user: &str, secret: &str, outgoing: bool) {
        self.admin(&format!("--op new --mode account --user {user} --password {secret}"));
        let outgoing = if outgoing { " --outgoing" } else { "" };
        self.admin(&format!("--op bind --mode account --tid {tid} --user {user}{outgoing}"));
    }
}

/// istgt with three targets: `…:open`, `…:chap` and `…:mutual`.
pub struct Istgt {
    pub portal: Portal,
    _process: Process,
    _folder: Folder,
}

impl Istgt {
    pub fn start(ip: &str) -> Self {
        Self::with_discovery(ip, "None")
    }

    /// With this as the way to authenticate for a discovery.
    pub fn with_discovery(ip: &str, method: &str) -> Self {
        let ip: IpAddr = ip.parse().unwrap();
        let portal = Portal { ip, port: free_port(ip) };
        let control = free_port(ip);
        let folder = Folder::new("istgt");
        let path = folder.0.display();
        fs::write(folder.0.join("disk"), vec![0; 1 << 20]).unwrap();
        let auth = folder.0.join("auth.conf");
        fs::write(&auth, "[AuthGroup1]\n  Auth \"node\" \"node-secret-1\" \"target\" \"target-secret-1\"\n").unwrap();
        fs::set_permissions(&auth, fs::Permissions::from_mode(0o600)).unwrap();
        let mut conf = format!(
            "[Global]\n  NodeBase \"iqn.2026-01.org.example\"\n  PidFile {path}/pid\n  AuthFile {path}/auth.conf\n  \
             MediaDirectory {path}\n  Timeout 30\n  NopInInterval 20\n  DiscoveryAuthMethod {method}\n  DiscoveryAuthGroup AuthGroup1\n  MaxSessions 16\n  \
             MaxConnections 4\n  MaxOutstandingR2T 16\n  DefaultTime2Wait 2\n  DefaultTime2Retain 60\n  \
             FirstBurstLength 262144\n  MaxBurstLength 1048576\n  MaxRecvDataSegmentLength 131072\n  InitialR2T Yes\n  \
             ImmediateData Yes\n  DataPDUInOrder Yes\n  DataSequenceInOrder Yes\n  ErrorRecoveryLevel 0\n\
             [UnitControl]\n  AuthMethod None\n  Portal UC1 127.0.0.1:{control}\n  Netmask 127.0.0.1\n\
             [PortalGroup1]\n  Portal DA1 {portal}\n\
             [InitiatorGroup1]\n  InitiatorName \"ALL\"\n  Netmask ALL\n"
        );
        for (number, name, method) in [(1, "open", "None"), (2, "chap", "CHAP"), (3, "mutual", "CHAP Mutual")] {
            let group = if method == "None" { "" } else { "  AuthGroup AuthGroup1\n" };
            conf.push_str(&format!(
                "[LogicalUnit{number}]\n  TargetName {name}\n  Mapping PortalGroup1 InitiatorGroup1\n  AuthMethod {method}\n\
                 {group}  UseDigest Auto\n  UnitType Disk\n  LUN0 Storage {path}/disk 1MB\n"
            ));
        }
        let file = folder.0.join("istgt.conf");
        fs::write(&file, conf).unwrap();
        let log = folder.0.join("log");
        let output = fs::File::create(&log).unwrap();
        // -D: stay in the foreground.
        let child = Command::new("istgt")
            .args(["-D", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("istgt: install istgt");
        let mut process = Process(child);
        wait_until_it_listens(portal.socket_addr(), &mut process, &log);
        Self { portal, _process: process, _folder: folder }
    }
}

/// A login with all that does not matter to most tests.
pub fn config(target: Option<&str>) -> Config {
    Config::new(
        INITIATOR.parse().unwrap(),
        target.map_or(Purpose::Discovery, |name| Purpose::Normal(name.parse().unwrap())),
        [0x00, 0x02, 0x3d, 0, 0, 1],
        OwnChallenge { id: 7, challenge: *b"sixteen bytes ok" },
    )
}

pub fn credentials(own: (&str, &str), target: Option<(&str, &str)>) -> Option<Credentials> {
    let account = |(name, secret): (&str, &str)| Account { name: name.into(), secret: Secret::new(secret) };
    Some(Credentials { own: account(own), target: target.map(account) })
}
