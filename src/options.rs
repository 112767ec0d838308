//! The keys of the kernel's command line that `rootaufs` knows, as typed options.
//!
//! [`KEYS`] is the one list of them. A key that is given twice must have the same value each time: which one the
//! administrator meant is never guessed. `root=` is the exception, since initramfs-tools and the article both use it
//! twice: `/dev/nfs` is the NFS root, the one that starts with `LABEL=` or `UUID=` the volume on the LUN.

use std::fmt;
use std::time::Duration;

pub use self::error::{BadOptions, OptionError};
use self::given::Given;
pub use self::keys::{Key, KEYS};
use self::keys::{AUFS, DEBUG, ON_FAILURE, TIMEOUT, TMPFS_INODES, TMPFS_SIZE, UNION};
use self::values::{LayerName, Seconds, Switch};
use crate::cmdline::words;
use crate::iscsi::chap::Credentials;
use crate::iscsi::name::Portal;
use crate::iscsi::negotiation::Digest;

mod error;
mod given;
mod iscsi;
mod keys;
mod refusals;
mod values;

/// How long to wait for what the network has to deliver, where `sidus.timeout=` says nothing.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(180);

/// What the command line asks of this boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootOptions {
    /// `aufs=`: what the writable layer is made of.
    pub layer: Layer,
    /// `sidus.union=`
    pub union: UnionChoice,
    /// `sidus.tmpfs.size=` and `sidus.tmpfs.inodes=`
    pub tmpfs: TmpfsLimits,
    /// `sidus.on_failure=`
    pub on_failure: OnFailure,
    /// `sidus.timeout=`
    pub timeout: Duration,
    /// `sidus.debug`
    pub debug: bool,
}

/// `aufs=tmpfs|iscsi|off`: the writable layer over the NFS root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// `aufs=off`, or no `aufs=` at all: the plain root, untouched.
    Off,
    /// `aufs=tmpfs`: memory; what is written is gone after a reboot.
    Tmpfs,
    /// `aufs=iscsi`: the LUN that bears this node's address.
    Iscsi(IscsiOptions),
}

/// What `aufs=iscsi` needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IscsiOptions {
    /// `ISCSI_TARGET_IP=`, with `ISCSI_TARGET_PORT=`: the portals to ask, in this order; never empty.
    pub portals: Vec<Portal>,
    /// `sidus.iscsi.target=`, which may hold placeholders, or `ISCSI_TARGET_NAME=`: else the one that bears the node's
    /// address.
    pub target: Option<String>,
    /// `ISCSI_INITIATOR=`: the name this node logs in with; it may hold placeholders.
    pub initiator: Option<String>,
    /// `sidus.iscsi.lun=`: else the only disk.
    pub lun: Option<u64>,
    /// `sidus.iscsi.digest=`: over headers and data.
    pub digest: Digest,
    /// `sidus.iscsi.recovery=`: how long the disk may wait for a session that is lost.
    pub recovery: Duration,
    /// `sidus.iscsi.guard=`
    pub guard: Guard,
    /// `sidus.iscsi.username=` and its like, with the key that gave the password.
    pub credentials: Option<Credentials>,
    /// Whether a word of the command line that goes into every process's environment holds a secret.
    pub secret_in_environment: bool,
    /// The `root=` that names a file system.
    pub volume: Option<VolumeName>,
}

impl IscsiOptions {
    /// What a person must know whose command line holds a secret.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        match (&self.credentials, self.secret_in_environment) {
            (None, _) => None,
            (Some(_), false) => Some(
                "a CHAP password is on the kernel's command line: every user of this node can read /proc/cmdline; \
                 /etc/sidus/iscsi.conf in the initramfs is for root alone",
            ),
            (Some(_), true) => Some(
                "a CHAP password is on the kernel's command line under a name without a dot: every user of this node can \
                 read /proc/cmdline, and the kernel hands it to init's environment; /etc/sidus/iscsi.conf in the \
                 initramfs is for root alone",
            ),
        }
    }
}

/// `sidus.iscsi.guard=auto|take|off`: what keeps a second node from writing to the LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Guard {
    /// A persistent reservation; where the target has none, ext4's multiple mount protection, or an error.
    #[default]
    Auto,
    /// The same, and whoever has the reservation loses it.
    Take,
    /// Nothing.
    Off,
}

/// `root=LABEL=…` or `root=UUID=…`: which file system on the LUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VolumeName {
    /// `root=LABEL=ISCSI`
    Label(String),
    /// `root=UUID=0a3407de-014b-458b-b5c1-848e92a327a3`
    Uuid(String),
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "LABEL={label}"),
            Self::Uuid(uuid) => write!(f, "UUID={uuid}"),
        }
    }
}

/// `sidus.union=auto|overlay|aufs`: which union file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnionChoice {
    /// overlayfs where the kernel has it or can load it, else aufs.
    Auto,
    /// overlayfs, or an error.
    Overlay,
    /// aufs, or an error.
    Aufs,
}

/// `sidus.on_failure=panic|tmpfs|ro|shell|reboot`: what follows a failure, after everything half done was undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// initramfs-tools' `panic`, which obeys the kernel's `panic=`.
    Panic,
    /// Where the LUN fails: tmpfs instead, said loudly.
    Tmpfs,
    /// The plain root, read-only.
    ReadOnly,
    /// A shell in the initramfs, whatever `panic=` says.
    Shell,
    /// A reboot.
    Reboot,
}

/// How large the tmpfs may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TmpfsLimits {
    /// `sidus.tmpfs.size=`; the kernel's default is half of the memory.
    pub size: Option<TmpfsSize>,
    /// `sidus.tmpfs.inodes=`; the kernel's default is one per page of half of the memory.
    pub inodes: Option<TmpfsInodes>,
}

/// `sidus.tmpfs.size=512m` or `sidus.tmpfs.size=50%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TmpfsSize {
    /// In bytes.
    Bytes(u64),
    /// Of the node's memory.
    Percent(u8),
}

/// `sidus.tmpfs.inodes=500k`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TmpfsInodes(pub u64);

impl fmt::Display for TmpfsSize {
    /// As tmpfs(5) takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl fmt::Display for TmpfsInodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Default for BootOptions {
    /// What an empty command line says.
    fn default() -> Self {
        Self {
            layer: Layer::Off,
            union: UnionChoice::Auto,
            tmpfs: TmpfsLimits::default(),
            on_failure: OnFailure::Panic,
            timeout: DEFAULT_TIMEOUT,
            debug: false,
        }
    }
}

impl BootOptions {
    /// Reads the options from a kernel command line.
    ///
    /// # Errors
    /// [`BadOptions`] with everything that is wrong, so that a PXE entry is mended in one go.
    pub fn parse(line: &str) -> Result<Self, BadOptions> {
        let mut given = Given { words: words(line), problems: Vec::new() };
        let layer = given.value(&AUFS).unwrap_or(LayerName::Off);
        let off = layer == LayerName::Off && given.problems.is_empty();
        given.refuse_unknown_keys(layer == LayerName::Iscsi);
        let iscsi = given.iscsi(layer);
        let union = given.value(&UNION).unwrap_or(UnionChoice::Auto);
        let tmpfs = TmpfsLimits { size: given.value(&TMPFS_SIZE), inodes: given.value(&TMPFS_INODES) };
        let on_failure = given.value(&ON_FAILURE).unwrap_or(OnFailure::Panic);
        let timeout = given.value(&TIMEOUT).map_or(DEFAULT_TIMEOUT, |Seconds(seconds)| Duration::from_secs(seconds));
        let debug = given.value(&DEBUG).is_some_and(|Switch(on)| on);
        let options = Self { layer: Layer::Off, union, tmpfs, on_failure, timeout, debug };
        if !given.problems.is_empty() {
            return Err(BadOptions { problems: given.problems, options, off });
        }
        let layer = match (layer, iscsi) {
            (LayerName::Iscsi, Some(options)) => Layer::Iscsi(options),
            (LayerName::Tmpfs, _) => Layer::Tmpfs,
            _ => Layer::Off,
        };
        Ok(Self { layer, ..options })
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
