//! One step of a plan, as it is carried out, and in words.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::UnionKind;
use crate::facts::LunSupport;
use crate::iscsi::negotiation::Digest;
use crate::options::{IscsiOptions, TmpfsLimits, VolumeName};

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
        /// What will be mounted on, in an upper one that is new.
        places: &'static [&'static str],
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
    KeepNetwork,
    /// Put below `/run` what stays there for the shutdown.
    PrepareShutdown {
        /// The tree that has the program: the lower side alone. Whoever may write to the layer must not decide what becomes
        /// process 1.
        tree: PathBuf,
    },
    /// Start the process that logs the session in again after a fault.
    StartKeeper,
    /// Let the disk wait for the session: the boot with its own limit is over.
    LetDiskWait {
        /// For how long.
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
            Self::MakeLayer { layer, like, .. } => {
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
            Self::KeepNetwork => f.write_str("keep the network below the root from all others"),
            Self::PrepareShutdown { tree } => write!(f, "prepare the shutdown from {}", tree.display()),
            Self::StartKeeper => f.write_str("start the keeper of the session"),
            Self::LetDiskWait { recovery } => {
                write!(f, "let the disk wait up to {} s for a session that is lost", recovery.as_secs())
            }
            Self::MakeReadOnly { at, superblock } => {
                let what = if *superblock { "mount" } else { "mount and superblock" };
                write!(f, "make {} read-only: {what}", at.display())
            }
        }
    }
}
