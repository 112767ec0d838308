//! What is going to be done, decided before anything is: a pure function of the options and the facts.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::facts::{Facts, FsSupport};
use crate::mountinfo::Mount;
use crate::options::{BootOptions, Guard, IscsiOptions, Layer, TmpfsLimits, UnionChoice};

pub use self::step::{LayerDirs, Stack, Step};

mod step;

/// Where the NFS root goes.
pub const RO: &str = "/ro";
/// Where the writable layer goes.
pub const RW: &str = "/rw";
/// The mount points of both in the union's root.
pub const IN_UNION: [&str; 2] = ["ro", "rw"];
/// Where both are stacked, before the union takes the root's place.
pub const UNION: &str = "/aufs";

/// Where the layer's directories are below [`RW`]: its format has a version, so that a later one can tell them apart.
const LAYER: &str = "sidus/v1";

/// The whole plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// `aufs=off`: nothing is touched.
    Plain,
    /// A union takes the root's place.
    Union(UnionPlan),
}

/// The steps to the union, and what it will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnionPlan {
    /// Which union file system.
    pub kind: UnionKind,
    /// What the writable layer is on.
    pub upper: Upper,
    /// The NFS root, as it was mounted.
    pub lower: Mount,
    /// In the order of doing them.
    pub steps: Vec<Step>,
}

/// The union file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnionKind {
    /// overlayfs
    Overlay,
    /// aufs
    Aufs,
}

impl UnionKind {
    /// The file system's and the module's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlay => "overlay",
            Self::Aufs => "aufs",
        }
    }
}

/// What the writable layer is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// Memory.
    Tmpfs(TmpfsLimits),
    /// The LUN that bears this node's address.
    Lun(IscsiOptions),
}

impl Upper {
    /// Whether what is written survives a reboot.
    #[must_use]
    pub fn is_persistent(&self) -> bool {
        matches!(self, Self::Lun(_))
    }
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A union file system that was asked for by name, or the last that could be had.
    #[error(
        "this kernel has no {wanted}: not in /proc/filesystems, and no module of that name in {}",
        places(looked_in)
    )]
    NoUnion {
        /// `overlay`, `aufs`, or `overlay and no aufs`.
        wanted: &'static str,
        /// Where the module was looked for.
        looked_in: Vec<PathBuf>,
    },
    /// No iSCSI over TCP, or no SCSI disks.
    #[error("this kernel has no iscsi_tcp or no sd_mod: no modules of these names in {}", places(looked_in))]
    NoIscsi {
        /// Where the modules were looked for.
        looked_in: Vec<PathBuf>,
    },
}

fn places(looked_in: &[PathBuf]) -> String {
    looked_in.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(" or ")
}

/// Decides what is to be done.
///
/// # Errors
/// [`PlanError`]: the machine cannot do what is asked for.
pub fn plan(options: &BootOptions, facts: &Facts) -> Result<Plan, PlanError> {
    let upper = match &options.layer {
        Layer::Off => return Ok(Plan::Plain),
        Layer::Tmpfs => Upper::Tmpfs(options.tmpfs),
        Layer::Iscsi(iscsi) => Upper::Lun(iscsi.clone()),
    };
    let (kind, modules) = choose_union(options.union, facts)?;
    let mut steps: Vec<Step> = modules.iter().map(|file| Step::LoadModule { file: file.clone() }).collect();

    if let Upper::Lun(_) = upper {
        let files =
            modules_for(&facts.lun.iscsi).map_err(|looked_in| PlanError::NoIscsi { looked_in: looked_in.to_vec() })?;
        steps.extend(files.iter().map(|file| Step::LoadModule { file: file.clone() }));
    }

    // 1. Make /ro, /rw and /aufs. At the top level only: run-init dies of a mount left below a subdirectory.
    steps.push(Step::MakeMountPoints { at: [RO, RW, UNION].map(PathBuf::from).to_vec() });
    // 2. The writable layer first: while it is missing, nothing has been moved that would have to be moved back.
    let rw = PathBuf::from(RW);
    match &upper {
        Upper::Tmpfs(limits) => steps.push(Step::MountTmpfs { at: rw, limits: *limits }),
        Upper::Lun(iscsi) => {
            steps.extend([
                Step::FindTarget { options: iscsi.clone() },
                Step::LogIn { options: iscsi.clone() },
                Step::WaitForDisk { lun: iscsi.lun },
                Step::FindVolume { name: iscsi.volume.clone() },
            ]);
            if iscsi.guard != Guard::Off {
                steps.push(Step::Guard { take: iscsi.guard == Guard::Take });
            }
            // Before the mount, which reads and writes: it does not end while the session is lost.
            steps.push(Step::StartKeeper);
            steps.push(Step::MountVolume { at: rw, drivers: facts.lun.clone() });
        }
    }
    // 3. The NFS root to /ro.
    steps.push(Step::Move { from: facts.rootmnt.clone(), to: PathBuf::from(RO) });
    // 4. Both into /aufs.
    let persistent = upper.is_persistent();
    push_union(&mut steps, kind, persistent, Path::new(""), 0);
    let mut unions = vec!["/".to_owned()];
    for (number, mount) in (1..).zip(top_level(&facts.below)) {
        let place = mount.at.strip_prefix(&facts.rootmnt).unwrap_or(&mount.at);
        if is_virtual(&mount.fs) {
            // As udev's /dev, which may have been moved into the root before us: one place, one mount.
            steps.push(Step::Move { from: Path::new(RO).join(place), to: Path::new(UNION).join(place) });
        } else {
            push_union(&mut steps, kind, persistent, place, number);
            unions.push(format!("/{}", place.display()));
        }
    }
    steps.push(Step::AdaptFstab { view: PathBuf::from(UNION), unions, kind });
    // 5. /ro and /rw into the union, the union in place of the root.
    for mount in std::iter::once(&facts.root).chain(facts.below.iter().filter(|mount| !is_virtual(&mount.fs))) {
        let place = mount.at.strip_prefix(&facts.rootmnt).unwrap_or(&mount.at);
        let at = if place.as_os_str().is_empty() { PathBuf::from(RO) } else { Path::new(RO).join(place) };
        steps.push(Step::MakeReadOnly { at, superblock: mount.is_super_read_only() });
    }
    let inside = |place: &str| Path::new(UNION).join(place.trim_start_matches('/'));
    steps.push(Step::MakeMountPoints { at: vec![inside(RO), inside(RW)] });
    steps.push(Step::Move { from: PathBuf::from(RO), to: inside(RO) });
    steps.push(Step::Move { from: PathBuf::from(RW), to: inside(RW) });
    steps.push(Step::Move { from: PathBuf::from(UNION), to: facts.rootmnt.clone() });
    // Until then nothing waits for longer than the boot may.
    if let Layer::Iscsi(iscsi) = &options.layer {
        let tree = facts.rootmnt.join(RO.trim_start_matches('/'));
        steps.extend([Step::PrepareShutdown { tree }, Step::LetDiskWait { recovery: iscsi.recovery }]);
    }
    // Last: it never fails, so nothing has to undo it.
    if facts.root.fs.starts_with("nfs") || upper.is_persistent() {
        steps.push(Step::KeepNetwork);
    }
    Ok(Plan::Union(UnionPlan { kind, upper, lower: facts.root.clone(), steps }))
}

/// The union file system to take, and the modules to load for it.
fn choose_union(choice: UnionChoice, facts: &Facts) -> Result<(UnionKind, &[PathBuf]), PlanError> {
    let overlay = modules_for(&facts.overlay).map(|modules| (UnionKind::Overlay, modules));
    let aufs = modules_for(&facts.aufs).map(|modules| (UnionKind::Aufs, modules));
    let (found, wanted) = match choice {
        UnionChoice::Overlay => (overlay, "overlay"),
        UnionChoice::Aufs => (aufs, "aufs"),
        UnionChoice::Auto => (overlay.or(aufs), "overlay and no aufs"),
    };
    found.map_err(|looked_in| PlanError::NoUnion { wanted, looked_in: looked_in.to_vec() })
}

/// Whether aufs may be tried when the step after `done` others has failed: the modules of overlayfs are loaded first of
/// all, and nobody asked for it by name.
#[must_use]
pub fn may_be_aufs(choice: UnionChoice, facts: &Facts, done: usize) -> bool {
    choice == UnionChoice::Auto && matches!(&facts.overlay, FsSupport::Module(files) if done < files.len())
}

/// The modules to load, or where they were looked for in vain.
fn modules_for(support: &FsSupport) -> Result<&[PathBuf], &[PathBuf]> {
    match support {
        FsSupport::Ready => Ok(&[]),
        FsSupport::Module(files) => Ok(files),
        FsSupport::Missing { looked_in } => Err(looked_in),
        FsSupport::NotAsked => Err(&[]),
    }
}

/// Adds the steps for one union: number 0 is the root's, the others are of file systems mounted below it.
fn push_union(steps: &mut Vec<Step>, kind: UnionKind, persistent: bool, place: &Path, number: usize) {
    let below = |top: &str| {
        if number == 0 {
            PathBuf::from(top)
        } else {
            Path::new(top).join(place)
        }
    };
    let base = match number {
        0 => Path::new(RW).join(LAYER),
        _ => Path::new(RW).join(LAYER).join("below").join(name_of(place)),
    };
    let places: &[&str] = if number == 0 { &IN_UNION } else { &[] };
    let layer = layer_in(Path::new(RW), &base);
    steps.push(Step::MakeLayer { layer: layer.clone(), like: below(RO), places });
    steps.push(Step::Stack(Stack { kind, lower: below(RO), layer, persistent, at: below(UNION) }));
}

/// The directories of the root's own layer, on the file system that is mounted on `rw`.
#[must_use]
pub fn layer_on(rw: &Path) -> LayerDirs {
    layer_in(rw, &rw.join(LAYER))
}

fn layer_in(rw: &Path, base: &Path) -> LayerDirs {
    let [upper, work] = ["upper", "work"].map(|name| base.join(name));
    LayerDirs { private: rw.join("sidus"), upper, work }
}

/// A place as the name of one folder: `usr/local` is `usr-local`, and a dash of its own is doubled.
fn name_of(place: &Path) -> String {
    place.display().to_string().replace('-', "--").replace('/', "-")
}

/// The mounts that lie below no other one of the list.
fn top_level(below: &[Mount]) -> impl Iterator<Item = &Mount> {
    below.iter().filter(|mount| !below.iter().any(|other| other.at != mount.at && mount.at.starts_with(&other.at)))
}

/// File systems that hold nothing to protect, and that a node has once.
pub(crate) fn is_virtual(fs: &str) -> bool {
    matches!(fs, "devtmpfs" | "devpts" | "tmpfs" | "ramfs" | "proc" | "sysfs" | "cgroup2" | "securityfs" | "efivarfs")
}

impl fmt::Display for Plan {
    /// One step a line, numbered.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain => writeln!(f, "nothing to do: the plain root boots, untouched"),
            Self::Union(union) => {
                for (number, step) in (1..).zip(&union.steps) {
                    writeln!(f, "{number:2}. {step}")?;
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
