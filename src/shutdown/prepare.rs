//! What a shutdown will need, put below `/run` while the node boots.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::file_error::FileError;
use crate::mount::{self, MountError};
use crate::view;

/// The program that ends the machine: systemd-shutdown(8) becomes it.
pub const PROGRAM: &str = "/run/initramfs/shutdown";
/// The same in the tree.
pub const IN_TREE: &str = "usr/lib/sidus/rootaufs-shutdown";
/// It is no longer, in bytes.
const LONGEST: u64 = 4 << 20;

/// Its folder, below `/`.
pub const FOLDER: &str = "run/initramfs";
/// What the root is on, below `/`: the session as open-iscsi writes it, and the disk or partition.
pub const SESSION: &str = "run/sidus/root-session";
/// Where systemd finds units that come from outside of the tree: see [`crate::network::files`].
const UNITS: &str = "run/systemd/system.attached";
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

/// Why a shutdown could not be prepared.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// The tree's program for the shutdown.
    #[error("cannot read {}: {source}", path.display())]
    Program {
        /// Where it should be.
        path: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// A file or directory below `/run`.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder that is executed from.
    #[error(transparent)]
    Mount(#[from] MountError),
}

impl PrepareError {
    /// What a person can do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Program { .. } => {
                "install rootaufs into the tree on the NFS server again (initramfs-hooks/install), all of the same version"
            }
            Self::File(_) => "the node has too little free memory: give it more",
            Self::Mount(_) => "read the kernel's messages (dmesg)",
        }
    }
}

/// The program for the shutdown, as the tree on `tree` has it.
///
/// # Errors
/// [`PrepareError`] names the file: it is missing, or no regular file, or too long.
pub fn program(tree: &Path) -> Result<Vec<u8>, PrepareError> {
    view::read(tree, Path::new(IN_TREE), LONGEST)
        .map_err(|source| PrepareError::Program { path: tree.join(IN_TREE), source })
}

/// Prepares the shutdown of a node whose root is on disk `volume` of session `sid`, which is SCSI host `host`; the
/// program is that of the tree on `tree`.
///
/// # Errors
/// [`PrepareError`] names the file.
pub fn prepare(root: &Path, tree: &Path, host: u32, sid: u32, volume: &Path) -> Result<(), PrepareError> {
    let program = program(tree)?;
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

    let folder = root.join(FOLDER);
    make_folder(&folder)?;
    // Nothing below /run can be executed.
    mount::bind_executable(&folder)?;
    let copy = root.join(PROGRAM.trim_start_matches('/'));
    write(&copy, &program)?;
    let mode = fs::Permissions::from_mode(0o755);
    Ok(fs::set_permissions(&copy, mode).map_err(FileError::when("set the mode of", &copy))?)
}

/// Undoes it, also where it was half done.
///
/// # Errors
/// [`PrepareError`]
pub fn forget(root: &Path) -> Result<(), PrepareError> {
    let units = FILES.iter().map(|(name, _)| root.join(UNITS).join(name));
    for path in units.chain(VERBS.map(|verb| wish(root, verb))) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(FileError::when("remove", &path)(error).into())
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

fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    path.parent().map_or(Ok(()), make_folder)?;
    fs::write(path, bytes).map_err(FileError::when("write", path))
}

fn make_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(FileError::when("make directory", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_program_is_a_file_of_the_tree_or_the_error_names_it_and_says_what_to_do() {
        let stage = std::env::temp_dir().join(format!("sidus-prepare-{}", std::process::id()));
        let (tree, file) = (stage.join("tree"), stage.join("tree").join(IN_TREE));
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(stage.join("stranger"), "of somebody else").unwrap();
        let length = usize::try_from(LONGEST).unwrap();
        let make: [(&dyn Fn(), &str); 5] = [
            (&|| {}, "No such file or directory (os error 2)"),
            (&|| symlink("../../../../stranger", &file).unwrap(), "No such file or directory (os error 2)"),
            (&|| symlink("/dev/null", &file).unwrap(), "No such file or directory (os error 2)"),
            (&|| fs::create_dir(&file).unwrap(), "it is no regular file"),
            (&|| fs::write(&file, vec![0; length + 1]).unwrap(), "it is longer than any such file may be"),
        ];
        for (make, why) in make {
            make();
            let error = program(&tree).unwrap_err();
            assert_eq!(error.to_string(), format!("cannot read {}: {why}", file.display()));
            assert!(error.remedy().starts_with("install rootaufs into the tree"), "{}", error.remedy());
            let _ = fs::remove_file(&file).or_else(|_| fs::remove_dir(&file));
        }
        fs::write(&file, "the program").unwrap();
        assert_eq!(program(&tree).unwrap(), b"the program");
        fs::remove_dir_all(&stage).unwrap();
    }
}
