//! What a switch has to know of the node and of the generation that it shall move to.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{OFlags, ResolveFlags};
use rustix::io::Errno;
use thiserror::Error;

use super::command::{run, CommandError};
use super::NEXT;
use crate::modules::MODULES;
use crate::mountinfo::{self, Mount, MountInfoError};
use crate::options::{BootOptions, Layer, TmpfsLimits};
use crate::plan::{is_virtual, RO};
use crate::report::Report;
use crate::view;

/// The unit that finishes a switch.
pub const UNIT: &str = "usr/lib/systemd/system/sidus-switch.service";
/// Which systemd has to want it.
pub const WISH: &str = "usr/lib/systemd/system/systemd-soft-reboot.service.wants/sidus-switch.service";
/// systemd, as every tree has it that can do without a real reboot.
pub const INIT: &str = "usr/lib/systemd/systemd";
/// How long systemd may take to say its version.
const LIMIT: Duration = Duration::from_secs(30);

/// Why it is not known.
#[derive(Debug, Error)]
pub enum FactsError {
    /// A file.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The list of mounts.
    #[error(transparent)]
    MountInfo(#[from] MountInfoError),
    /// systemd.
    #[error(transparent)]
    Systemd(#[from] CommandError),
    /// It says something else.
    #[error("systemctl --version says no version: {0:?}")]
    Version(String),
    /// The generation on the server.
    #[error("cannot look at {file} of generation {name}: {errno}")]
    Generation {
        /// Its name.
        name: String,
        /// The file.
        file: String,
        /// Why not.
        errno: Errno,
    },
}

/// What is mounted where the next root is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// Nothing.
    Free,
    /// What an earlier switch left there.
    Left,
    /// Something else.
    Taken {
        /// What.
        source: String,
    },
}

/// The node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// How it came up.
    pub report: Report,
    /// Mount points of the tree that have a union of their own.
    pub others: Vec<PathBuf>,
    /// The name of the union's work directory.
    pub work: String,
    /// The version of systemd.
    pub systemd: u32,
    /// The kernel's release.
    pub kernel: String,
    /// Whether the unit that finishes a switch is there, and wanted.
    pub unit: bool,
    /// Whether init uses files that were removed.
    pub stale_init: bool,
    /// The place for the next root.
    pub stage: Stage,
    /// The limits of a layer in memory.
    pub tmpfs: TmpfsLimits,
}

impl Local {
    /// Reads the machine whose root is `root`.
    ///
    /// # Errors
    /// [`FactsError`]
    pub fn read(root: &Path) -> Result<Self, FactsError> {
        let text = |path: &str| {
            let path = root.join(path);
            fs::read_to_string(&path).map_err(|source| FactsError::Read { path, source })
        };
        let report =
            Report::read(root).map_err(|source| FactsError::Read { path: root.join(crate::report::REPORT), source })?;
        let mounts = mountinfo::parse(&text("proc/self/mountinfo")?)?;
        let said = run("systemctl", &["--version"], LIMIT)?;
        let options = BootOptions::parse(&text("proc/cmdline")?).unwrap_or_default();
        Ok(Self {
            report,
            others: others(&mounts),
            work: work(&mounts),
            systemd: version(&said).ok_or(FactsError::Version(said))?,
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            unit: [UNIT, WISH].iter().all(|path| root.join(path).exists()),
            stale_init: uses_removed(&text("proc/1/maps")?),
            stage: stage(&mounts),
            // What runs from memory because a LUN failed has no limits of its own.
            tmpfs: if options.layer == Layer::Tmpfs { options.tmpfs } else { TmpfsLimits::default() },
        })
    }
}

/// Mounts of the tree itself: each has a union of its own.
fn others(mounts: &[Mount]) -> Vec<PathBuf> {
    let inside = |mount: &Mount| mount.at.strip_prefix(RO).ok().map(|place| Path::new("/").join(place));
    mounts.iter().filter(|mount| !is_virtual(&mount.fs)).filter_map(inside).filter(|at| at != Path::new("/")).collect()
}

/// The name of the root's work directory, as overlayfs tells its path.
fn work(mounts: &[Mount]) -> String {
    let options = mountinfo::topmost(mounts, Path::new("/")).map_or("", |root| &root.super_options);
    let path = options.split(',').find_map(|option| option.strip_prefix("workdir=")).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

fn stage(mounts: &[Mount]) -> Stage {
    match mountinfo::topmost(mounts, Path::new(NEXT)) {
        None => Stage::Free,
        Some(mount) if (mount.fs.as_str(), mount.source.as_str()) == ("tmpfs", "sidus") => Stage::Left,
        Some(mount) => Stage::Taken { source: mount.source.clone() },
    }
}

/// The number in `systemd 257 (257.9-1~deb13u1)`.
fn version(said: &str) -> Option<u32> {
    let number = said.strip_prefix("systemd ")?.split_whitespace().next()?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whether a process' maps (proc_pid_maps(5)) name a file that is no more.
fn uses_removed(maps: &str) -> bool {
    let path = |line: &str| line.split_once('/').map(|(_, path)| path.to_owned());
    let elsewhere = |path: &str| path.starts_with("memfd:") || path.starts_with("dev/") || path.starts_with("SYSV");
    maps.lines().filter_map(path).any(|path| path.ends_with(" (deleted)") && !elsewhere(&path))
}

/// A generation, as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub exists: bool,
    /// Whether it has the modules of the kernel that runs.
    pub kernel: bool,
    /// Whether the unit that finishes a switch is there, and wanted: from here, too, a node may have to move.
    pub unit: bool,
    /// Whether it has systemd, and says what it is (os-release(5)): else systemd does not enter it.
    pub init: bool,
}

impl Tree {
    /// Looks at generation `name` in the `folder`, for a node with this `kernel`.
    ///
    /// # Errors
    /// [`FactsError::Generation`]
    pub fn read(folder: impl AsFd, name: &str, kernel: &str) -> Result<Self, FactsError> {
        let open = |tree: &dyn AsFd, path: &Path, flags, resolve| match view::open(tree.as_fd(), path, flags, resolve) {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => {
                Err(FactsError::Generation { name: name.to_owned(), file: path.display().to_string(), errno })
            }
        };
        let mut found = Self { name: name.to_owned(), exists: false, kernel: false, unit: false, init: false };
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let Some(tree) = open(&folder, Path::new(name), flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)?
        else {
            return Ok(found);
        };
        let has = |path: &Path| Ok::<_, FactsError>(open(&tree, path, OFlags::PATH, ResolveFlags::IN_ROOT)?.is_some());
        let release = has(Path::new("etc/os-release"))? || has(Path::new("usr/lib/os-release"))?;
        found.exists = true;
        found.kernel = has(&Path::new(MODULES).join(kernel).join("modules.dep"))?;
        found.unit = has(Path::new(UNIT))? && has(Path::new(WISH))?;
        found.init = release && has(Path::new(INIT))?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "21 1 0:21 / / rw,relatime - overlay overlay rw,lowerdir=/ro,upperdir=/rw/sidus/v1/upper,\
                          workdir=/rw/sidus/v1/work,index=off\n\
                          22 21 0:22 / /ro ro - nfs s:/g/t/a ro\n\
                          23 21 0:23 / /rw rw - tmpfs sidus rw\n";

    #[test]
    fn what_is_mounted_tells_the_unions_and_the_stage() {
        let read = |more: &str| mountinfo::parse(&format!("{MOUNTS}{more}")).unwrap();
        let mounts = read("");
        assert_eq!((work(&mounts).as_str(), others(&mounts).len(), stage(&mounts)), ("work", 0, Stage::Free));
        assert_eq!(others(&read("24 22 0:24 / /ro/usr ro - nfs s:/usr ro\n")), [Path::new("/usr")]);
        assert_eq!(stage(&read("25 21 0:25 / /run/nextroot rw - tmpfs sidus rw\n")), Stage::Left);
        let other = stage(&read("25 21 0:25 / /run/nextroot rw - ext4 /dev/sdb rw\n"));
        assert_eq!(other, Stage::Taken { source: "/dev/sdb".to_owned() });
    }

    #[test]
    fn versions_and_maps_are_read() {
        for (said, number) in [
            ("systemd 257 (257.9-1~deb13u1)\n+PAM", Some(257)),
            ("systemd 258~rc1 (258~rc1-1)\n", Some(258)),
            ("systemd 252\n", Some(252)),
            ("sysvinit 3\n", None),
            ("systemd x\n", None),
            ("", None),
        ] {
            assert_eq!(version(said), number, "{said:?}");
        }
        for (maps, removed) in [
            ("7f-80 r-xp 00 00:1a 12   /usr/lib/libc.so.6\n", false),
            (
                "7f-80 r-xp 00 00:1a 12   /usr/lib/libc.so.6\n80-81 r-xp 00 00:1a 12   /usr/lib/libm.so.6 (deleted)\n",
                true,
            ),
            ("7f-80 rw-s 00 00:01 12   /memfd:x (deleted)\n7f-80 rw-s 00 00:01 12   /dev/zero (deleted)\n", false),
            ("7f-80 rw-p 00 00:00 0    [stack]\n", false),
        ] {
            assert_eq!(uses_removed(maps), removed, "{maps:?}");
        }
    }

    #[test]
    fn a_generation_is_read_inside_of_itself() {
        let folder = std::env::temp_dir().join(format!("sidus-switch-{}", std::process::id()));
        let make = |path: &str| {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        };
        let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, folder.join(at)).unwrap();
        make("a/usr/lib/systemd/systemd");
        make("a/usr/lib/os-release");
        make("a/usr/lib/modules/6.12/modules.dep");
        make("a/usr/lib/systemd/system/sidus-switch.service");
        make("a/usr/lib/systemd/system/systemd-soft-reboot.service.wants/x");
        let wants = "a/usr/lib/systemd/system/systemd-soft-reboot.service.wants/sidus-switch.service";
        link("../sidus-switch.service", wants);
        link("usr/lib", "a/lib");
        make("b/usr/lib/systemd/systemd");
        link("/a", "c");
        let fd = fs::File::open(&folder).unwrap();
        for (name, kernel, expected) in [
            ("a", "6.12", (true, true, true, true)),
            ("a", "6.1", (true, false, true, true)),
            // Without an os-release(5).
            ("b", "6.12", (true, false, false, false)),
            ("c", "6.12", (false, false, false, false)),
            ("d", "6.12", (false, false, false, false)),
        ] {
            let tree = Tree::read(&fd, name, kernel).unwrap();
            assert_eq!((tree.exists, tree.kernel, tree.init, tree.unit), expected, "{name} {kernel}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
