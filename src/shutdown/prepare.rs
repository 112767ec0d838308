//! What a shutdown will need, put below `/run` while the node boots.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::apply::StepError;
use crate::mount::{self, MountError};

/// The program that systemd-shutdown(8) becomes.
pub const PROGRAM: &str = "/run/initramfs/shutdown";

/// Its folder, below `/`.
pub const FOLDER: &str = "run/initramfs";
/// What the root is on, below `/`: the session as open-iscsi writes it, and the disk or partition.
pub const SESSION: &str = "run/sidus/root-session";
/// Where systemd finds units that are made at boot.
const UNITS: &str = "run/systemd/system";
/// The watch. It needs nothing of the root: no journal, no slice of its own, which shutdown.target would stop.
const WATCH_UNIT: &str = "\
[Unit]
Description=Watch over the root's disk until %i
Documentation=man:rootaufs(8)
DefaultDependencies=no

[Service]
Type=exec
Slice=system.slice
StandardOutput=null
StandardError=null
ExecStart=@/run/initramfs/shutdown @rootaufs shutdown-watch %i
";

/// open-iscsi logs out at a shutdown, but for what stands in a list that umountiscsi.sh writes. There the root's session
/// is missing: an overlay does not tell it what it is on.
const OPEN_ISCSI: &str = "\
[Service]
StandardInput=file:/run/sidus/root-session
ExecStop=
ExecStop=-/usr/lib/open-iscsi/umountiscsi.sh
ExecStop=/usr/bin/tee -a /run/open-iscsi/shutdown-keep-sessions
ExecStop=-/usr/lib/open-iscsi/logout-all.sh
";

/// What is written, beside what starts the watch.
const FILES: [(&str, &str); 2] =
    [("sidus-shutdown@.service", WATCH_UNIT), ("open-iscsi.service.d/sidus.conf", OPEN_ISCSI)];

const VERBS: [&str; 4] = ["poweroff", "reboot", "halt", "kexec"];

/// Prepares the shutdown of a node whose root is on disk `volume` of session `sid`, which is SCSI host `host`.
///
/// # Errors
/// [`StepError`] names the file.
pub fn prepare(root: &Path, host: u32, sid: u32, volume: &Path) -> Result<(), StepError> {
    for (name, text) in FILES {
        write(&root.join(UNITS).join(name), text.as_bytes())?;
    }
    for verb in VERBS {
        write(&wish(root, verb), ["[Unit]\nWants=sidus-shutdown@", verb, ".service\n"].concat().as_bytes())?;
    }
    // iscsi_tcp has no hardware: its hosts are the platform's.
    let session = format!("/sys/devices/platform/host{host}/session{sid}\n{}\n", volume.display());
    write(&root.join(SESSION), session.as_bytes())?;
    make_folder(&root.join("run/open-iscsi"))?;

    let exe = root.join("proc/self/exe");
    let program = fs::read(&exe).map_err(StepError::file("read", &exe))?;
    let folder = root.join(FOLDER);
    make_folder(&folder)?;
    // Nothing below /run can be executed.
    mount::bind_executable(&folder)?;
    let copy = root.join(PROGRAM.trim_start_matches('/'));
    write(&copy, &program)?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).map_err(StepError::file("set the mode of", &copy))
}

/// Undoes it, also where it was half done.
///
/// # Errors
/// [`StepError`]
pub fn forget(root: &Path) -> Result<(), StepError> {
    let units = FILES.iter().map(|(name, _)| root.join(UNITS).join(name));
    for path in units.chain(VERBS.map(|verb| wish(root, verb))) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StepError::file("remove", &path)(error))
            }
            _ => {}
        }
    }
    match mount::unmount_from(&root.join(FOLDER)) {
        // It was not mounted yet.
        Err(MountError { errno: Errno::INVAL | Errno::NOENT, .. }) => Ok(()),
        result => Ok(result?),
    }
}

/// What has systemd start the watch when `verb` is asked for.
fn wish(root: &Path, verb: &str) -> PathBuf {
    root.join(UNITS).join([verb, ".target.d/sidus.conf"].concat())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), StepError> {
    path.parent().map_or(Ok(()), make_folder)?;
    fs::write(path, bytes).map_err(StepError::file("write", path))
}

fn make_folder(path: &Path) -> Result<(), StepError> {
    fs::create_dir_all(path).map_err(StepError::file("make directory", path))
}
