//! `aufs=iscsi`, from the network to the mounted volume: [`Lun`] carries out one step of the plan after the other, and
//! undoes them. What decides is in the modules below it.
//!
//! Nothing but the disk of this session is ever opened, and that only for reading until it is mounted.

mod contents;
mod disk;
mod error;
mod guard;
mod node;
mod retry;
mod target;
mod uevent;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use miniserde::{Deserialize, Serialize};
use rustix::io::Errno;
use rustix::process::Pid;

pub use self::error::LunError;
pub use self::guard::give_back;
pub use self::target::{read_credentials, CREDENTIALS};

use self::disk::Disk;
use self::guard::Wish;
use self::retry::persist;
use self::target::Found;
use self::uevent::Uevents;
use crate::facts::{FsSupport, LunSupport};
use crate::file_error::FileError;
use crate::folder::Folder;
use crate::guard::{Key, Moment, Reserved};
use crate::iscsi::credentials::CredentialsFile;
use crate::iscsi::deadline::{within, Deadline};
use crate::iscsi::disks::{scan, units};
use crate::iscsi::kernel::Kernel;
use crate::iscsi::login::Authenticated;
use crate::iscsi::name::Portal;
use crate::iscsi::negotiation::Offer;
use crate::iscsi::session::{self, Session, SessionError};
use crate::keeper;
use crate::keeper::sysfs::Sysfs;
use crate::kmsg::{Level, Log};
use crate::modules;
use crate::mount;
use crate::options::{IscsiOptions, VolumeName};
use crate::volume::{FileSystem, Kind};

/// The unit of `size` and `start` in sysfs, in bytes, whatever the disk's sectors are.
const SYSFS_SECTOR: u64 = 512;
/// The shortest time that the disk waits for a session that is lost: a server may be slow to answer a ping.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a logout may take: after it, nothing of the session is left either way.
const GOODBYE: Duration = Duration::from_secs(10);
/// How often it looks whether a session that is lost is back.
const LOOK: Duration = Duration::from_millis(100);

/// What a LUN is, for the report.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LunReport {
    /// The target's name.
    pub target: String,
    /// Where this node logged in.
    pub portal: String,
    /// The name that it logged in with.
    pub initiator: String,
    /// What was proved: `nothing`, `this node`, or `this node and the target`.
    pub authenticated: String,
    /// The kernel's number of the session, as in `/sys/class/iscsi_session/session<number>`.
    pub session: u32,
    /// The logical unit's number.
    pub lun: u64,
    /// The disk.
    pub disk: String,
    /// The disk or partition that is mounted.
    pub volume: String,
    /// Its file system.
    pub fs: String,
    /// Its label.
    pub label: String,
    /// Its UUID.
    pub uuid: String,
    /// What keeps other nodes from writing to it: a [reservation](Reserved), `mmp` (ext4's multiple mount protection), or
    /// `off`.
    pub guard: String,
}

/// A volume that is meant.
#[derive(Debug)]
struct Volume {
    device: PathBuf,
    fs: FileSystem,
}

/// The disk that is meant.
#[derive(Debug)]
struct Attached {
    disk: Disk,
    /// What is told of it and its partitions.
    uevents: Uevents,
    /// Open for reading, until it was read.
    file: Option<File>,
}

/// The LUN of this node, as far as the steps have come.
#[derive(Debug)]
pub struct Lun {
    root: PathBuf,
    deadline: Deadline,
    credentials: CredentialsFile,
    found: Option<Found>,
    session: Option<(Kernel, Portal, Session)>,
    disk: Option<Attached>,
    volume: Option<Volume>,
    guarded: Guarded,
    keeper: Option<Pid>,
}

/// What keeps other nodes from writing to the LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guarded {
    Nobody,
    FileSystem,
    Reservation(Reserved),
}

impl fmt::Display for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody => f.write_str("off"),
            Self::FileSystem => f.write_str("mmp"),
            Self::Reservation(reserved) => reserved.fmt(f),
        }
    }
}

impl Lun {
    /// Nothing is done yet; all waits end `limit` after now.
    #[must_use]
    pub fn new(root: &Path, limit: Duration) -> Self {
        Self {
            root: root.to_owned(),
            deadline: Deadline::after(limit),
            credentials: CredentialsFile::default(),
            found: None,
            session: None,
            disk: None,
            volume: None,
            guarded: Guarded::Nobody,
            keeper: None,
        }
    }

    /// Finds the target that is this node's; says which, and where.
    ///
    /// # Errors
    /// [`LunError`]
    pub fn find_target(&mut self, options: &IscsiOptions, log: &Log) -> Result<String, LunError> {
        self.credentials = read_credentials(&self.root, Path::new(CREDENTIALS))?.unwrap_or_default();
        let (root, credentials) = (&self.root, &self.credentials);
        let found =
            persist(self.deadline, log, &mut |deadline| target::find(root, options, credentials, log, deadline))?;
        let words = format!("{}, as {}", found.name, found.initiator);
        self.found = Some(found);
        Ok(words)
    }

    /// Logs in; says where.
    ///
    /// # Errors
    /// [`LunError`]; no session is left.
    pub fn log_in(&mut self, options: &IscsiOptions, log: &Log) -> Result<String, LunError> {
        let found = self.found.as_ref().ok_or(LunError::Order { missing: "the target" })?;
        let credentials = options.credentials.as_ref().or_else(|| self.credentials.credentials_for(&found.name));
        let offer = Offer { header_digest: options.digest, data_digest: options.digest, ..Offer::default() };
        let mut kernel = Kernel::open(&self.root)?;
        // What the disk is asked must not wait for longer than the boot may, keeper or not.
        let patience = self.deadline.remaining().unwrap_or_default().clamp(PATIENCE, options.recovery.max(PATIENCE));
        let (portal, session) = persist(self.deadline, log, &mut |deadline| {
            target::log_in(&mut kernel, found, credentials, offer, patience, deadline)
        })?;
        let words = format!("session {} at {portal}", session.connection.sid);
        self.session = Some((kernel, portal, session));
        Ok(words)
    }

    /// Lets the kernel look for the session's disks, and waits for the one that is meant.
    ///
    /// # Errors
    /// [`LunError`]
    pub fn wait_for_disk(&mut self, wanted: Option<u64>) -> Result<String, LunError> {
        let (_, _, session) = self.session.as_ref().ok_or(LunError::Order { missing: "the session" })?;
        let sid = session.connection.sid;
        // Before the scan, so that no disk is announced unheard.
        let uevents = Uevents::subscribe()?;
        scan(&self.root, session.host, self.deadline)?;
        let (root, deadline) = (&self.root, self.deadline);
        let (disk, file) = uevents.wait("the disk of the session", deadline, &mut || {
            let Some(disk) = disk::choose(&units(root, sid)?, wanted)? else { return Ok(None) };
            Ok(open(root.join("dev").join(&disk.name), deadline)?.map(|file| (disk, file)))
        })?;
        let words = format!("LUN {} is /dev/{}", disk.lun, disk.name);
        self.disk = Some(Attached { disk, uevents, file: Some(file) });
        Ok(words)
    }

    /// Finds the file system that is meant, by its name or as the only one.
    ///
    /// # Errors
    /// [`LunError`]
    pub fn find_volume(&mut self, wanted: Option<&VolumeName>) -> Result<String, LunError> {
        let Some(Attached { disk, uevents, file }) = &mut self.disk else {
            return Err(LunError::Order { missing: "the disk" });
        };
        let file = file.take().ok_or(LunError::Order { missing: "the disk" })?;
        let device = format!("/dev/{}", disk.name);
        let sysfs = self.root.join("sys/class/block").join(&disk.name);
        let size = number(&sysfs.join("size"))?.saturating_mul(SYSFS_SECTOR);
        let sector = u32::try_from(number(&sysfs.join("queue/logical_block_size"))?).unwrap_or(0);
        let (deadline, name) = (self.deadline, device.clone());
        let survey =
            move || contents::survey(&name, &mut |offset, buffer| file.read_exact_at(buffer, offset), size, sector);
        let places = bounded(deadline, "the first blocks of the disk", survey)??;
        let (partition, fs) = contents::choose(&device, &places, wanted)?;
        let device = match partition {
            None => PathBuf::from(&device),
            Some((number, start)) => {
                let name = partition_name(&disk.name, number);
                let what = format!("partition {name}");
                let node = self.root.join("dev").join(&name);
                let sysfs = sysfs.join(&name);
                uevents.wait(&what, deadline, &mut || Ok(open(node.clone(), deadline)?.map(drop)))?;
                let kernel = self::number(&sysfs.join("start"))?.saturating_mul(SYSFS_SECTOR);
                if kernel != start {
                    return Err(LunError::Moved { device: name, kernel, table: start });
                }
                Path::new("/dev").join(name)
            }
        };
        let words = format!("{} on {}", fs.kind.name(), device.display());
        self.volume = Some(Volume { device, fs });
        Ok(words)
    }

    /// Keeps other nodes from writing to the LUN: by a reservation at the target, else by what the file system has of its
    /// own. With `take`, whoever has it reserved loses it.
    ///
    /// # Errors
    /// [`LunError`]
    pub fn guard(&mut self, take: bool) -> Result<String, LunError> {
        let (Some(found), Some(Attached { disk, .. })) = (&self.found, &self.disk) else {
            return Err(LunError::Order { missing: "the disk" });
        };
        let key = Key::new(found.mac.ok_or(LunError::NoKey)?);
        let moment = if take { Moment::TakeOver } else { Moment::Mount };
        if guard::reserve(&self.root, &disk.name, Wish::Hold(key, moment), self.deadline)? {
            self.guarded = Guarded::Reservation(Reserved { key, lun: disk.lun });
            return Ok(format!("reserved for {key}"));
        }
        match &self.volume {
            Some(Volume { fs, .. }) if fs.protected => {
                self.guarded = Guarded::FileSystem;
                Ok("by the file system's own multiple mount protection: the target has no persistent reservations"
                    .to_owned())
            }
            _ => Err(LunError::Unguarded { device: format!("/dev/{}", disk.name) }),
        }
    }

    /// Mounts the volume; a driver that is in the tree on `tree` is loaded from there.
    ///
    /// # Errors
    /// [`LunError`]
    pub fn mount_volume(&mut self, at: &Path, drivers: &LunSupport, tree: &Path) -> Result<(), LunError> {
        let volume = self.volume.as_ref().ok_or(LunError::Order { missing: "the volume" })?;
        let kind = volume.fs.kind;
        let driver = match kind {
            Kind::Ext4 => &drivers.ext4,
            Kind::Xfs => &drivers.xfs,
            Kind::Btrfs => &drivers.btrfs,
        };
        match driver {
            FsSupport::Ready => {}
            FsSupport::Module(files) => files.iter().try_for_each(|file| modules::load(file, tree))?,
            FsSupport::Missing { .. } | FsSupport::NotAsked => return Err(LunError::NoDriver { fs: kind.name() }),
        }
        Ok(mount::mount_volume(kind.name(), &volume.device, at)?)
    }

    /// Ends the session, if there is one. Its disk must not be mounted any more.
    ///
    /// # Errors
    /// [`LunError::LogOut`] where the kernel still has something of it.
    pub fn log_out(&mut self, log: &Log) -> Result<(), LunError> {
        if let (Some(Attached { disk, .. }), Guarded::Reservation(_)) = (self.disk.take(), self.guarded) {
            // This node finds it when it comes again: no reason to keep the session.
            if let Err(error) = guard::reserve(&self.root, &disk.name, Wish::Release, Deadline::after(GOODBYE)) {
                log.say(Level::Warning, &format!("the LUN stays reserved for this node: {error}"));
            }
        }
        let (Some((mut kernel, portal, session)), Some(found)) = (self.session.take(), self.found.as_ref()) else {
            return Ok(());
        };
        let target = found.name.clone();
        match session::log_out(&mut kernel, session.connection, Deadline::after(GOODBYE)) {
            Ok(()) => Ok(()),
            Err(left @ SessionError::Left { .. }) => Err(LunError::LogOut { target, portal, source: Box::new(left) }),
            // As with a connection that broke: the kernel's session is gone all the same, and that is what counts here.
            Err(error) => {
                log.say(Level::Warning, &format!("no orderly logout from {target} at {portal}: {error}"));
                Ok(())
            }
        }
    }

    /// What a shutdown has to end: the session's SCSI host and number, and the device that is mounted.
    ///
    /// # Errors
    /// [`LunError::Order`]
    pub fn ends(&self) -> Result<(u32, u32, &Path), LunError> {
        let (_, _, session) = self.session.as_ref().ok_or(LunError::Order { missing: "the session" })?;
        let volume = self.volume.as_ref().ok_or(LunError::Order { missing: "the volume" })?;
        Ok((session.host, session.connection.sid, &volume.device))
    }

    /// Starts what logs the session in again after a fault; says which process.
    ///
    /// # Errors
    /// [`LunError::Keeper`]
    pub fn start_keeper(&mut self) -> Result<String, LunError> {
        let session = self.sid()?;
        let reserved = match self.guarded {
            Guarded::Reservation(reserved) => Some(reserved),
            _ => None,
        };
        let keeper = keeper::stay_behind(&keeper::Task { session, reserved })?;
        self.keeper = Some(keeper);
        Ok(format!("process {}", keeper.as_raw_nonzero()))
    }

    /// Ends it, if there is one.
    ///
    /// # Errors
    /// [`LunError::Kernel`]
    pub fn stop_keeper(&mut self) -> Result<(), LunError> {
        let Some(keeper) = self.keeper.take() else { return Ok(()) };
        keeper::stop(&self.root, keeper).map_err(|source| LunError::Kernel { doing: "stop the keeper", source })
    }

    /// Lets the disk wait for as long as `recovery` whenever the session is lost from now on. Where it is lost right now,
    /// the keeper has to log it in first.
    ///
    /// # Errors
    /// [`LunError`]
    pub fn let_disk_wait(&self, recovery: Duration) -> Result<(), LunError> {
        let path = self.root.join("sys");
        let sys = Folder::open(&path).map_err(FileError::when("open", path))?;
        let session = Sysfs::new(sys, self.sid()?);
        loop {
            match session.set_recovery(recovery) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {
                    return Err(LunError::Kernel { doing: "set the session's recovery_tmo", source: error });
                }
                Err(_) if self.deadline.remaining().is_none() => {
                    let what = "the session, which is lost".to_owned();
                    return Err(LunError::Timeout { what, after: self.deadline.limit().as_secs() });
                }
                Err(_) => sleep(LOOK),
            }
        }
    }

    fn sid(&self) -> Result<u32, LunError> {
        let (_, _, session) = self.session.as_ref().ok_or(LunError::Order { missing: "the session" })?;
        Ok(session.connection.sid)
    }

    /// What came of it all; `None` before the volume is found.
    #[must_use]
    pub fn report(&self) -> Option<LunReport> {
        let (found, (_, portal, session)) = (self.found.as_ref()?, self.session.as_ref()?);
        let (Attached { disk, .. }, volume) = (self.disk.as_ref()?, self.volume.as_ref()?);
        let authenticated = match session.negotiated.authenticated {
            Authenticated::No => "nothing",
            Authenticated::Node => "this node",
            Authenticated::Both => "this node and the target",
        };
        Some(LunReport {
            target: found.name.to_string(),
            portal: portal.to_string(),
            initiator: found.initiator.to_string(),
            authenticated: authenticated.to_owned(),
            session: session.connection.sid,
            lun: disk.lun,
            disk: format!("/dev/{}", disk.name),
            volume: volume.device.display().to_string(),
            fs: volume.fs.kind.name().to_owned(),
            label: volume.fs.label.clone(),
            uuid: volume.fs.uuid.to_string(),
            guard: self.guarded.to_string(),
        })
    }
}

/// Opens a disk or partition for reading; `None` where the kernel does not let anybody yet. It makes names in sysfs and
/// /dev a moment before (`device_add_disk` in `block/genhd.c`), and announces the disk when all is done.
fn open(path: PathBuf, deadline: Deadline) -> Result<Option<File>, LunError> {
    let name = path.clone();
    let opened = bounded(deadline, "opening the disk", move || File::open(name))?;
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(source) if [Errno::NXIO, Errno::NOENT].map(|e| Some(e.raw_os_error())).contains(&source.raw_os_error()) => {
            Ok(None)
        }
        Err(error) => Err(FileError::when("open", path)(error).into()),
    }
}

/// Does what a dead target can hold up.
fn bounded<T: Send + 'static>(
    deadline: Deadline,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LunError> {
    within(deadline, work)
        .map_err(|source| LunError::Kernel { doing: "start a thread", source })?
        .ok_or_else(|| LunError::Timeout { what: what.to_owned(), after: deadline.limit().as_secs() })
}

/// The kernel's name of a partition (`disk_name` in the kernel's `block/partitions/core.c`).
fn partition_name(disk: &str, number: u32) -> String {
    let between = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{between}{number}")
}

fn number(path: &Path) -> Result<u64, LunError> {
    let text = fs::read_to_string(path).map_err(FileError::when("read", path))?;
    text.trim().parse().map_err(|_| FileError::when("read", path)(std::io::ErrorKind::InvalidData.into()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        assert_eq!(partition_name("sda", 1), "sda1");
        assert_eq!(partition_name("nvme0n1", 12), "nvme0n1p12");
    }
}
