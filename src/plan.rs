//! What is going to be done, decided before anything is: a pure function of the options and the facts.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::facts::{Facts, FsSupport, LunSupport};
use crate::iscsi::negotiation::Digest;
use crate::mountinfo::Mount;
use crate::options::{BootOptions, Guard, IscsiOptions, Layer, TmpfsLimits, UnionChoice, VolumeName};

/// Where the NFS root goes.
pub const RO: &str = "/ro";
/// Where the writable layer goes.
pub const RW: &str = "/rw";
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

/// One step. Its [`fmt::Display`] is what a person reads in the log, in the report and from `rootaufs plan`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Load a kernel module.
    LoadModule {
        /// The module file; what it depends on is a step before.
        file: PathBuf,
    },
    /// Make the mount points in the initramfs.
    MakeMountPoints {
        /// The folders.
        at: Vec<PathBuf>,
    },
    /// Mount a new tmpfs.
    MountTmpfs {
        /// Where.
        at: PathBuf,
        /// Its size.
        limits: TmpfsLimits,
    },
    /// Find the target that is this node's.
    FindTarget {
        /// How.
        options: IscsiOptions,
    },
    /// Log in to it: the kernel then has the session.
    LogIn {
        /// How.
        options: IscsiOptions,
    },
    /// Let the kernel look for the session's disks, and wait for the one that is meant.
    WaitForDisk {
        /// Its LUN; else the only one.
        lun: Option<u64>,
    },
    /// Find the file system on it.
    FindVolume {
        /// Its name; else the only one.
        name: Option<VolumeName>,
    },
    /// Keep other nodes from writing to it.
    Guard {
        /// Whoever has it reserved loses it.
        take: bool,
    },
    /// Mount it.
    MountVolume {
        /// Where.
        at: PathBuf,
        /// The file systems that it may have.
        drivers: LunSupport,
    },
    /// Make the directories of a layer, the upper one with owner, mode and attributes of the lower one.
    MakeLayer {
        /// The writable side of a union.
        layer: LayerDirs,
        /// The lower one.
        like: PathBuf,
    },
    /// Move a mount, with all that is mounted below it.
    Move {
        /// From here
        from: PathBuf,
        /// to there.
        to: PathBuf,
    },
    /// Mount a union.
    Stack(Stack),
    /// Make the merged view's fstab true.
    AdaptFstab {
        /// The root of the merged view.
        view: PathBuf,
        /// The mount points that are unions.
        unions: Vec<String>,
        /// Their type.
        kind: UnionKind,
    },
    /// Keep what runs in the tree from the network below the root.
    KeepNetwork {
        /// The root of the merged view.
        view: PathBuf,
    },
    /// Put below `/run` what a shutdown needs.
    PrepareShutdown,
    /// Start the process that logs the session in again after a fault.
    StartKeeper {
        /// How long the disk may wait for that.
        recovery: Duration,
    },
    /// Let the mount and its superblock refuse writes.
    MakeReadOnly {
        /// The mount.
        at: PathBuf,
        /// Whether its superblock does so already.
        superblock: bool,
    },
}

/// The writable side of a union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerDirs {
    /// What only root may enter: users must not reach the layer but through the union.
    pub private: PathBuf,
    /// What is written goes here.
    pub upper: PathBuf,
    /// overlayfs' own scratch directory, on the same file system.
    pub work: PathBuf,
    /// aufs' table of inode numbers; outside of the union, and not on NFS.
    pub xino: PathBuf,
}

/// A union to mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// Which union file system.
    pub kind: UnionKind,
    /// The side that is only read.
    pub lower: PathBuf,
    /// The side that is written.
    pub layer: LayerDirs,
    /// Whether the layer survives a reboot, and so a change of the lower side.
    pub persistent: bool,
    /// Where.
    pub at: PathBuf,
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
    if facts.root.fs.starts_with("nfs") || upper.is_persistent() {
        steps.push(Step::KeepNetwork { view: facts.rootmnt.clone() });
    }
    // Last: nothing that could still fail has to stop it again.
    if let Layer::Iscsi(iscsi) = &options.layer {
        steps.extend([Step::PrepareShutdown, Step::StartKeeper { recovery: iscsi.recovery }]);
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
    let private = Path::new(RW).join("sidus");
    let base = match number {
        0 => Path::new(RW).join(LAYER),
        _ => Path::new(RW).join(LAYER).join("below").join(name_of(place)),
    };
    let layer = LayerDirs { private, upper: base.join("upper"), work: base.join("work"), xino: base.join("aufs.xino") };
    steps.push(Step::MakeLayer { layer: layer.clone(), like: below(RO) });
    steps.push(Step::Stack(Stack { kind, lower: below(RO), layer, persistent, at: below(UNION) }));
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

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadModule { file } => write!(f, "load kernel module {}", file.display()),
            Self::MakeMountPoints { at } => {
                write!(f, "make mount points")?;
                at.iter().try_for_each(|place| write!(f, " {}", place.display()))
            }
            Self::MountTmpfs { at, limits } => {
                write!(f, "mount tmpfs on {}", at.display())?;
                limits.size.map_or(Ok(()), |size| write!(f, " size={size}"))?;
                limits.inodes.map_or(Ok(()), |inodes| write!(f, " nr_inodes={inodes}"))
            }
            Self::FindTarget { options } => {
                match &options.target {
                    Some(name) => write!(f, "take the target {name} at")?,
                    None => write!(f, "find the target that bears this node's address at")?,
                }
                options.portals.iter().try_for_each(|portal| write!(f, " {portal}"))
            }
            Self::LogIn { options } => {
                write!(f, "log in")?;
                if options.credentials.is_some() {
                    write!(f, " by the command line's CHAP account")?;
                }
                match options.digest {
                    Digest::None => Ok(()),
                    Digest::Crc32c => write!(f, " with digests"),
                }
            }
            Self::WaitForDisk { lun: Some(lun) } => write!(f, "wait for the session's disk with LUN {lun}"),
            Self::WaitForDisk { lun: None } => write!(f, "wait for the session's only disk"),
            Self::FindVolume { name: Some(name) } => write!(f, "find the file system with {name} on it"),
            Self::FindVolume { name: None } => write!(f, "find the only file system on it"),
            Self::Guard { take: false } => f.write_str("keep other nodes from writing to it"),
            Self::Guard { take: true } => {
                f.write_str("keep other nodes from writing to it, also one that has it reserved")
            }
            Self::MountVolume { at, .. } => write!(f, "mount the file system on {}", at.display()),
            Self::MakeLayer { layer, like } => {
                write!(f, "make layer {} like {}", layer.upper.display(), like.display())
            }
            Self::Move { from, to } => write!(f, "move {} to {}", from.display(), to.display()),
            Self::Stack(stack) => write!(
                f,
                "mount {} of {} over {} on {}",
                stack.kind.name(),
                stack.layer.upper.display(),
                stack.lower.display(),
                stack.at.display()
            ),
            Self::AdaptFstab { view, unions, .. } => {
                write!(f, "adapt {}/etc/fstab: a union is on {}", view.display(), unions.join(" "))
            }
            Self::KeepNetwork { .. } => f.write_str("keep the network below the root from all others"),
            Self::PrepareShutdown => f.write_str("prepare the shutdown"),
            Self::StartKeeper { .. } => f.write_str("start the keeper of the session"),
            Self::MakeReadOnly { at, superblock } => {
                let what = if *superblock { "mount" } else { "mount and superblock" };
                write!(f, "make {} read-only: {what}", at.display())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(below: &[(&str, &str)]) -> Facts {
        let mount = |at: &str, fs: &str| Mount {
            at: PathBuf::from(at),
            fs: fs.to_owned(),
            source: "10.13.20.13:/srv/nfsroot/sidus".to_owned(),
            options: "ro".to_owned(),
            super_options: "rw".to_owned(),
        };
        Facts {
            rootmnt: PathBuf::from("/root"),
            root: mount("/root", "nfs"),
            below: below.iter().map(|(at, fs)| mount(at, fs)).collect(),
            overlay: FsSupport::Ready,
            aufs: FsSupport::Missing { looked_in: vec![PathBuf::from("/lib/modules/6.1")] },
            lun: LunSupport::all(&FsSupport::Module(vec![PathBuf::from("/lib/modules/6.1/iscsi_tcp.ko")])),
        }
    }

    fn steps(line: &str, facts: &Facts) -> String {
        plan(&BootOptions::parse(line).unwrap(), facts).unwrap().to_string()
    }

    #[test]
    fn off_and_nothing_are_the_plain_root() {
        for line in ["", "aufs=off", "aufs=off sidus.union=aufs"] {
            assert_eq!(plan(&BootOptions::parse(line).unwrap(), &facts(&[])), Ok(Plan::Plain), "{line:?}");
        }
    }

    #[test]
    fn tmpfs_reads_like_the_article() {
        let facts = facts(&[("/root/dev", "devtmpfs"), ("/root/dev/pts", "devpts")]);
        assert_eq!(
            steps("aufs=tmpfs sidus.tmpfs.size=1g", &facts),
            " 1. make mount points /ro /rw /aufs\n \
             2. mount tmpfs on /rw size=1073741824\n \
             3. move /root to /ro\n \
             4. make layer /rw/sidus/v1/upper like /ro\n \
             5. mount overlay of /rw/sidus/v1/upper over /ro on /aufs\n \
             6. move /ro/dev to /aufs/dev\n \
             7. adapt /aufs/etc/fstab: a union is on /\n \
             8. make /ro read-only: mount and superblock\n \
             9. make mount points /aufs/ro /aufs/rw\n\
             10. move /ro to /aufs/ro\n\
             11. move /rw to /aufs/rw\n\
             12. move /aufs to /root\n\
             13. keep the network below the root from all others\n"
        );
    }

    #[test]
    fn iscsi_reads_like_the_article() {
        let text = steps("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14,10.13.20.15:3261 root=LABEL=ISCSI", &facts(&[]));
        assert!(
            text.starts_with(
                " 1. load kernel module /lib/modules/6.1/iscsi_tcp.ko\n \
                 2. make mount points /ro /rw /aufs\n \
                 3. find the target that bears this node's address at 10.13.20.14:3260 10.13.20.15:3261\n \
                 4. log in\n \
                 5. wait for the session's only disk\n \
                 6. find the file system with LABEL=ISCSI on it\n \
                 7. keep other nodes from writing to it\n \
                 8. mount the file system on /rw\n \
                 9. move /root to /ro\n"
            ),
            "{text}"
        );
        let line = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 sidus.iscsi.target=iqn.2026-01.a:{mac} sidus.iscsi.lun=3 \
                    sidus.iscsi.username=node sidus.iscsi.password=hidden sidus.iscsi.digest=crc32c";
        let text = steps(line, &facts(&[]));
        for step in [
            "take the target iqn.2026-01.a:{mac} at 10.13.20.14:3260\n",
            "log in by the command line's CHAP account with digests\n",
            "wait for the session's disk with LUN 3\n",
            "find the only file system on it\n",
        ] {
            assert!(text.contains(step), "{step:?} is not in\n{text}");
        }
        assert!(!text.contains("hidden"), "{text}");
        for (guard, step) in [
            ("", "only file system on it\n 7. keep other nodes from writing to it\n 8. mount"),
            ("take", "only file system on it\n 7. keep other nodes from writing to it, also one that has it reserved\n 8. mount"),
            ("off", "only file system on it\n 7. mount"),
        ] {
            let guard = if guard.is_empty() { String::new() } else { format!(" sidus.iscsi.guard={guard}") };
            let text = steps(&format!("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14{guard}"), &facts(&[]));
            assert!(text.contains(step), "{step:?} is not in\n{text}");
        }
    }

    #[test]
    fn a_kernel_without_iscsi_is_an_error() {
        let lun = LunSupport::all(&FsSupport::Missing { looked_in: vec![PathBuf::from("/a")] });
        let facts = Facts { lun, ..facts(&[]) };
        let options = BootOptions::parse("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14").unwrap();
        assert_eq!(
            plan(&options, &facts).unwrap_err().to_string(),
            "this kernel has no iscsi_tcp or no sd_mod: no modules of these names in /a"
        );
        assert!(plan(&BootOptions::parse("aufs=tmpfs").unwrap(), &facts).is_ok());
    }

    #[test]
    fn a_separate_usr_gets_a_union_of_its_own() {
        let text = steps("aufs=tmpfs", &facts(&[("/root/usr", "nfs")]));
        for step in [
            "make layer /rw/sidus/v1/below/usr/upper like /ro/usr",
            "mount overlay of /rw/sidus/v1/below/usr/upper over /ro/usr on /aufs/usr",
            "adapt /aufs/etc/fstab: a union is on / /usr",
            "make /ro/usr read-only: mount and superblock",
        ] {
            assert!(text.contains(step), "{step:?} is not in\n{text}");
        }
    }

    #[test]
    fn the_union_is_the_one_that_was_asked_for_or_the_best_there_is() {
        let ready = FsSupport::Ready;
        let module = |name: &str| FsSupport::Module(vec![PathBuf::from(name)]);
        let missing = || FsSupport::Missing { looked_in: vec![PathBuf::from("/a"), PathBuf::from("/b")] };
        let none = |wanted: &str| {
            Err(format!(
                "this kernel has no {wanted}: not in /proc/filesystems, and no module of that name in /a or /b"
            ))
        };
        let table: &[(&str, FsSupport, FsSupport, Result<(UnionKind, usize), String>)] = &[
            ("auto", ready.clone(), ready.clone(), Ok((UnionKind::Overlay, 0))),
            ("auto", module("overlay.ko"), ready.clone(), Ok((UnionKind::Overlay, 1))),
            ("auto", missing(), module("aufs.ko"), Ok((UnionKind::Aufs, 1))),
            ("auto", missing(), missing(), none("overlay and no aufs")),
            ("overlay", missing(), ready.clone(), none("overlay")),
            ("aufs", ready.clone(), missing(), none("aufs")),
            ("aufs", ready.clone(), ready.clone(), Ok((UnionKind::Aufs, 0))),
        ];
        for (choice, overlay, aufs, expected) in table {
            let facts = Facts { overlay: overlay.clone(), aufs: aufs.clone(), ..facts(&[]) };
            let options = BootOptions::parse(&format!("aufs=tmpfs sidus.union={choice}")).unwrap();
            let got = match plan(&options, &facts) {
                Ok(Plan::Union(union)) => {
                    let loads = union.steps.iter().filter(|step| matches!(step, Step::LoadModule { .. })).count();
                    Ok((union.kind, loads))
                }
                Ok(Plan::Plain) => panic!("no union"),
                Err(error) => Err(error.to_string()),
            };
            assert_eq!(&got, expected, "sidus.union={choice} with overlay {overlay:?}, aufs {aufs:?}");
        }
    }

    #[test]
    fn a_lun_is_persistent_and_memory_is_not() {
        let facts = facts(&[]);
        for (line, persistent) in [("aufs=tmpfs", false), ("aufs=iscsi ISCSI_TARGET_IP=10.13.20.14", true)] {
            let Ok(Plan::Union(union)) = plan(&BootOptions::parse(line).unwrap(), &facts) else { panic!("{line}") };
            assert_eq!(union.upper.is_persistent(), persistent, "{line}");
            let stack = union.steps.iter().find_map(|step| match step {
                Step::Stack(stack) => Some(stack),
                _ => None,
            });
            assert_eq!(stack.unwrap().persistent, persistent, "{line}");
        }
    }

    #[test]
    fn places_have_names_of_their_own() {
        assert_ne!(name_of(Path::new("usr/local")), name_of(Path::new("usr-local")));
    }
}
