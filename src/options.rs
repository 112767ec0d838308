//! The keys of the kernel's command line that `rootaufs` knows, as typed options.
//!
//! [`KEYS`] is the one list of them. A key that is given twice must have the same value each time: which one the
//! administrator meant is never guessed. `root=` is the exception, since initramfs-tools and the article both use it
//! twice: the first names the NFS root, the one that starts with `LABEL=` or `UUID=` the volume on the LUN.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

pub use self::keys::{Key, KEYS};
use self::keys::{
    AUFS, DEBUG, DIGEST, GUARD, INITIATOR, LUN, ON_FAILURE, PASSWORD, PASSWORD_IN, RECOVERY, TARGET, TARGET_IP,
    TARGET_NAME, TARGET_PORT, TIMEOUT, TMPFS_INODES, TMPFS_SIZE, UNION, USERNAME, USERNAME_IN,
};
use self::values::{ChapText, LayerName, LunNumber, NameText, Port, Portals, Seconds, Switch, Value};
use crate::cmdline::{same_key, words, Word};
use crate::iscsi::chap::{Account, Credentials, Secret};
use crate::iscsi::name::{Iqn, Portal};
use crate::iscsi::negotiation::Digest;
use crate::iscsi::params::Timeouts;

mod keys;
mod values;

/// Where keys that are new with this program live: an unknown one below it is an error.
const NAMESPACE: &str = "sidus.";

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

/// Why the command line cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// A known key with a value that it does not accept.
    #[error("{key}={value}: not a value of {key}; accepted: {accepts}")]
    Value {
        /// As it was written.
        key: String,
        /// As it was written.
        value: String,
        /// What the key accepts.
        accepts: &'static str,
    },
    /// A key below `sidus.` that does not exist.
    #[error("{key}: no such key; accepted: {accepts}")]
    UnknownKey {
        /// As it was written.
        key: String,
        /// All keys below `sidus.`.
        accepts: String,
    },
    /// A key with two values.
    #[error("{key}: given twice, as {first:?} and as {second:?}; give it once")]
    Conflict {
        /// The key.
        key: &'static str,
        /// Its first value.
        first: String,
        /// A later, different one.
        second: String,
    },
    /// A key without which another one makes no sense.
    #[error("{key} is missing: {because}; accepted: {accepts}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What asks for it.
        because: &'static str,
        /// What it accepts.
        accepts: &'static str,
    },
    /// Both directions of CHAP have one secret: it would prove nothing.
    #[error("sidus.iscsi.password and sidus.iscsi.password_in are the same; they must differ (RFC 7143 12.1.3)")]
    SameSecret,
}

/// All that is wrong with a command line, and what is to follow the failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadOptions {
    /// Everything that was found, in the order of [`KEYS`]; never empty.
    pub problems: Vec<OptionError>,
    /// `sidus.on_failure=`, where that much could be understood.
    pub on_failure: OnFailure,
    /// Whether the plain root is asked for all the same: `aufs=off`, or no `aufs=` at all.
    pub off: bool,
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
        given.refuse_unknown_keys();
        let iscsi = given.iscsi(layer);
        let union = given.value(&UNION).unwrap_or(UnionChoice::Auto);
        let tmpfs = TmpfsLimits { size: given.value(&TMPFS_SIZE), inodes: given.value(&TMPFS_INODES) };
        let on_failure = given.value(&ON_FAILURE).unwrap_or(OnFailure::Panic);
        let timeout = given.value(&TIMEOUT).map_or(DEFAULT_TIMEOUT, |Seconds(seconds)| Duration::from_secs(seconds));
        let debug = given.value(&DEBUG).is_some_and(|Switch(on)| on);
        if !given.problems.is_empty() {
            return Err(BadOptions { problems: given.problems, on_failure, off });
        }
        let layer = match (layer, iscsi) {
            (LayerName::Iscsi, Some(options)) => Layer::Iscsi(options),
            (LayerName::Tmpfs, _) => Layer::Tmpfs,
            _ => Layer::Off,
        };
        Ok(Self { layer, union, tmpfs, on_failure, timeout, debug })
    }
}

/// The words of a command line, and what was found wrong with them so far.
struct Given<'a> {
    words: Vec<Word<'a>>,
    problems: Vec<OptionError>,
}

impl Given<'_> {
    fn refuse_unknown_keys(&mut self) {
        for word in &self.words {
            let ours = word.key.get(..NAMESPACE.len()).is_some_and(|start| start == NAMESPACE);
            let known = KEYS.iter().flat_map(|key| key.names).any(|name| same_key(word.key, name));
            if ours && !known {
                let names = KEYS.iter().flat_map(|key| key.names).filter(|name| name.starts_with(NAMESPACE));
                self.problems.push(OptionError::UnknownKey {
                    key: word.key.to_owned(),
                    accepts: names.map(|name| (*name).to_owned()).collect::<Vec<_>>().join(", "),
                });
            }
        }
    }

    /// The raw value of a key: the key as written, and its value, empty where it has none.
    fn raw(&mut self, key: &Key) -> Option<(String, String)> {
        let mut found: Option<(&str, &str)> = None;
        for word in self.words.iter().filter(|word| key.is_named(word)) {
            let value = word.value.unwrap_or("");
            match found {
                None => found = Some((word.key, value)),
                Some((_, first)) if first == value => {}
                Some((_, first)) => {
                    self.problems.push(OptionError::Conflict {
                        key: key.name(),
                        first: shown(key, first),
                        second: shown(key, value),
                    });
                    break;
                }
            }
        }
        found.map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// The typed value of a key; a bad one is noted as a problem.
    fn value<T: Value>(&mut self, key: &Key) -> Option<T> {
        let (name, value) = self.raw(key)?;
        let parsed = T::read(&value);
        if parsed.is_none() {
            self.problems.push(OptionError::Value { key: name, value: shown(key, &value), accepts: key.accepts });
        }
        parsed
    }

    /// The keys of the iSCSI layer: checked wherever they stand, demanded only by `aufs=iscsi`.
    fn iscsi(&mut self, layer: LayerName) -> Option<IscsiOptions> {
        let problems_before = self.problems.len();
        let portals: Option<Portals> = self.value(&TARGET_IP);
        let port = self.value(&TARGET_PORT).map(|Port(port)| port);
        let target = self.target();
        let initiator: Option<NameText> = self.value(&INITIATOR);
        let lun = self.value(&LUN).map(|LunNumber(lun)| lun);
        let digest = self.value(&DIGEST).unwrap_or_default();
        let recovery = self.value(&RECOVERY).map_or(Timeouts::default().recovery, |Seconds(s)| Duration::from_secs(s));
        let guard = self.value(&GUARD).unwrap_or_default();
        let credentials = self.credentials();
        let secret_in_environment = self
            .words
            .iter()
            .any(|word| !word.key.contains('.') && [PASSWORD, PASSWORD_IN].iter().any(|key| key.is_named(word)));
        let volume = self.words.iter().rev().filter(|word| word.key == "root").find_map(|word| {
            let (kind, name) = word.value?.split_once('=')?;
            match kind {
                "LABEL" => Some(VolumeName::Label(name.to_owned())),
                "UUID" => Some(VolumeName::Uuid(name.to_owned())),
                _ => None,
            }
        });
        match portals {
            Some(Portals(portals)) => Some(IscsiOptions {
                portals: portals
                    .into_iter()
                    .map(|(portal, has_port)| match port {
                        Some(port) if !has_port => Portal { port, ..portal },
                        _ => portal,
                    })
                    .collect(),
                target,
                initiator: initiator.map(|NameText(text)| text),
                lun,
                digest,
                recovery,
                guard,
                credentials,
                secret_in_environment,
                volume,
            }),
            None => {
                if layer == LayerName::Iscsi && self.problems.len() == problems_before {
                    self.problems.push(OptionError::Missing {
                        key: "ISCSI_TARGET_IP",
                        because: "aufs=iscsi needs the address of the iSCSI server",
                        accepts: TARGET_IP.accepts,
                    });
                }
                None
            }
        }
    }
}

impl Given<'_> {
    /// `sidus.iscsi.target=` or `ISCSI_TARGET_NAME=`.
    fn target(&mut self) -> Option<String> {
        let template = self.value(&TARGET).map(|NameText(text)| text);
        let literal = self.value(&TARGET_NAME).map(|name: Iqn| name.as_str().to_owned());
        match (template, literal) {
            (Some(first), Some(second)) if first != second => {
                self.problems.push(OptionError::Conflict { key: TARGET.name(), first, second });
                None
            }
            (template, literal) => template.or(literal),
        }
    }

    /// The CHAP account, and the target's own for mutual CHAP.
    fn credentials(&mut self) -> Option<Credentials> {
        let own = self.account(&USERNAME, &PASSWORD);
        let target = self.account(&USERNAME_IN, &PASSWORD_IN);
        match (own, target) {
            (Some(own), Some(target)) if own.secret == target.secret => {
                self.problems.push(OptionError::SameSecret);
                None
            }
            (Some(own), target) => Some(Credentials { own, target }),
            (None, None) => None,
            (None, Some(_)) => {
                self.missing(&USERNAME, "the password that the target proves is of no use without the node's own");
                None
            }
        }
    }

    fn account(&mut self, name: &Key, secret: &Key) -> Option<Account> {
        let username = self.value(name).map(|ChapText(text)| text);
        let password = self.value(secret).map(|ChapText(text)| text);
        match (username, password) {
            (Some(name), Some(secret)) => Some(Account { name, secret: Secret::new(secret) }),
            (None, None) => None,
            (Some(_), None) => {
                self.missing(secret, "a user name for CHAP is of no use without its password");
                None
            }
            (None, Some(_)) => {
                self.missing(name, "a password for CHAP is of no use without its user name");
                None
            }
        }
    }

    fn missing(&mut self, key: &Key, because: &'static str) {
        self.problems.push(OptionError::Missing { key: key.name(), because, accepts: key.accepts });
    }
}

/// A value as an error may show it.
fn shown(key: &Key, value: &str) -> String {
    if key.secret { "(a secret)" } else { value }.to_owned()
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
