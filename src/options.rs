//! The keys of the kernel's command line that `rootaufs` knows, as typed options.
//!
//! [`KEYS`] is the one list of them. A key that is given twice must have the same value each time: which one the
//! administrator meant is never guessed. `root=` is the exception, since initramfs-tools and the article both use it
//! twice: the first names the NFS root, the one that starts with `LABEL=` or `UUID=` the volume on the LUN.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::cmdline::{same_key, words, Word};
use crate::iscsi::chap::{Account, Credentials, Secret};
use crate::iscsi::name::{Iqn, Portal};
use crate::iscsi::negotiation::Digest;

/// A key of the command line: its names and what it accepts, as errors and documentation word it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name; where a second spelling is accepted, it follows.
    pub names: &'static [&'static str],
    /// The accepted values.
    pub accepts: &'static str,
    /// Whether no error may show the value.
    pub secret: bool,
}

impl Key {
    const fn new(names: &'static [&'static str], accepts: &'static str) -> Self {
        Self { names, accepts, secret: false }
    }

    const fn secret(names: &'static [&'static str], accepts: &'static str) -> Self {
        Self { names, accepts, secret: true }
    }

    fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    fn is_named(&self, word: &Word<'_>) -> bool {
        self.names.iter().any(|name| word.is(name))
    }
}

const AUFS: Key = Key::new(&["aufs"], "tmpfs, iscsi or off");
const TARGET_IP: Key = Key::new(
    &["ISCSI_TARGET_IP", "iscsi_target_ip"],
    "addresses separated by commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260",
);
const TARGET_PORT: Key = Key::new(&["ISCSI_TARGET_PORT", "iscsi_target_port"], "a port from 1 to 65535");
const TARGET_NAME: Key = Key::new(
    &["ISCSI_TARGET_NAME", "iscsi_target_name"],
    "an iSCSI name, as in iqn.2013-04.zone.sidus.target:10.13.20.101",
);
const TARGET: Key = Key::new(
    &["sidus.iscsi.target"],
    "an iSCSI name, which may hold {ip}, {mac}, {hostname} and {uuid}, as in iqn.2013-04.zone.sidus.target:{ip}",
);
const INITIATOR: Key =
    Key::new(&["ISCSI_INITIATOR", "iscsi_initiator"], "an iSCSI name, as in iqn.2013-04.zone.sidus.target:default");
const LUN: Key = Key::new(&["sidus.iscsi.lun"], "a number from 0 to 16383");
const DIGEST: Key = Key::new(&["sidus.iscsi.digest"], "crc32c or none");
const USERNAME: Key = Key::new(&["sidus.iscsi.username", "ISCSI_USERNAME", "iscsi_username"], CHAP_VALUE);
const PASSWORD: Key = Key::secret(&["sidus.iscsi.password", "ISCSI_PASSWORD", "iscsi_password"], CHAP_VALUE);
const USERNAME_IN: Key = Key::new(&["sidus.iscsi.username_in", "ISCSI_IN_USERNAME", "iscsi_in_username"], CHAP_VALUE);
const PASSWORD_IN: Key =
    Key::secret(&["sidus.iscsi.password_in", "ISCSI_IN_PASSWORD", "iscsi_in_password"], CHAP_VALUE);
const UNION: Key = Key::new(&["sidus.union"], "auto, overlay or aufs");
const TMPFS_SIZE: Key = Key::new(
    &["sidus.tmpfs.size"],
    "bytes with k, m or g, as in 512m, or a percentage of the memory, as in 50%; at least 1m or 1%",
);
const TMPFS_INODES: Key =
    Key::new(&["sidus.tmpfs.inodes"], "a number of inodes with k, m or g, as in 500k; at least 1k");
const ON_FAILURE: Key = Key::new(&["sidus.on_failure"], "panic, tmpfs, ro, shell or reboot");
const TIMEOUT: Key = Key::new(&["sidus.timeout"], "seconds from 1 to 86400");
const DEBUG: Key = Key::new(&["sidus.debug"], "nothing, 1 or 0");

const CHAP_VALUE: &str = "1 to 255 bytes, as the iSCSI target's CHAP account has it";

/// Every key that `rootaufs` reads, but for `root=`.
pub const KEYS: &[Key] = &[
    AUFS,
    TARGET_IP,
    TARGET_PORT,
    TARGET_NAME,
    TARGET,
    INITIATOR,
    LUN,
    DIGEST,
    USERNAME,
    PASSWORD,
    USERNAME_IN,
    PASSWORD_IN,
    UNION,
    TMPFS_SIZE,
    TMPFS_INODES,
    ON_FAILURE,
    TIMEOUT,
    DEBUG,
];

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
                    accepts: names.copied().collect::<Vec<_>>().join(", "),
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

/// A value of a key.
trait Value: Sized {
    /// `None` for what the key does not accept; [`Key::accepts`] says what it does.
    fn read(text: &str) -> Option<Self>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum LayerName {
    Off,
    Tmpfs,
    Iscsi,
}

impl Value for LayerName {
    fn read(text: &str) -> Option<Self> {
        match text {
            "off" => Some(Self::Off),
            "tmpfs" => Some(Self::Tmpfs),
            "iscsi" => Some(Self::Iscsi),
            _ => None,
        }
    }
}

impl Value for UnionChoice {
    fn read(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "overlay" => Some(Self::Overlay),
            "aufs" => Some(Self::Aufs),
            _ => None,
        }
    }
}

impl Value for OnFailure {
    fn read(text: &str) -> Option<Self> {
        match text {
            "panic" => Some(Self::Panic),
            "tmpfs" => Some(Self::Tmpfs),
            "ro" => Some(Self::ReadOnly),
            "shell" => Some(Self::Shell),
            "reboot" => Some(Self::Reboot),
            _ => None,
        }
    }
}

impl Value for TmpfsSize {
    fn read(text: &str) -> Option<Self> {
        if let Some(percent) = text.strip_suffix('%') {
            let percent = digits(percent)?;
            return u8::try_from(percent).ok().filter(|percent| (1..=100).contains(percent)).map(Self::Percent);
        }
        // To tmpfs, 0 means without any limit: a node that fills its memory dies.
        scaled(text).filter(|bytes| *bytes >= 1 << 20).map(Self::Bytes)
    }
}

impl Value for TmpfsInodes {
    fn read(text: &str) -> Option<Self> {
        scaled(text).filter(|inodes| *inodes >= 1 << 10).map(Self)
    }
}

/// A time in whole seconds, at most a day.
struct Seconds(u64);

impl Value for Seconds {
    fn read(text: &str) -> Option<Self> {
        digits(text).filter(|seconds| (1..=86_400).contains(seconds)).map(Self)
    }
}

/// A key that is on where it stands alone.
struct Switch(bool);

impl Value for Switch {
    fn read(text: &str) -> Option<Self> {
        match text {
            "" | "1" => Some(Self(true)),
            "0" => Some(Self(false)),
            _ => None,
        }
    }
}

/// Portals separated by commas; whether each names its port.
struct Portals(Vec<(Portal, bool)>);

impl Value for Portals {
    fn read(text: &str) -> Option<Self> {
        let portal = |text: &str| {
            let has_port = match text.rsplit_once(']') {
                Some((_, rest)) => rest.starts_with(':'),
                None => text.matches(':').count() == 1,
            };
            text.parse().ok().map(|portal| (portal, has_port))
        };
        text.split(',').map(portal).collect::<Option<_>>().map(Self)
    }
}

struct Port(u16);

impl Value for Port {
    fn read(text: &str) -> Option<Self> {
        digits(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).map(Self)
    }
}

/// The number of a logical unit: what 14 bits hold (SAM-5, flat space addressing).
struct LunNumber(u64);

impl Value for LunNumber {
    fn read(text: &str) -> Option<Self> {
        digits(text).filter(|lun| *lun < 1 << 14).map(Self)
    }
}

impl Value for Digest {
    fn read(text: &str) -> Option<Self> {
        match text {
            "crc32c" => Some(Self::Crc32c),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

impl Value for Iqn {
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

/// An iSCSI name that may hold placeholders, so it is no [`Iqn`] yet.
struct NameText(String);

impl Value for NameText {
    fn read(text: &str) -> Option<Self> {
        let start = ["iqn.", "eui.", "naa."].iter().any(|start| text.starts_with(start));
        (start && text.len() <= 223).then(|| Self(text.to_owned()))
    }
}

/// A name or secret of CHAP.
struct ChapText(String);

impl Value for ChapText {
    fn read(text: &str) -> Option<Self> {
        (1..=255).contains(&text.len()).then(|| Self(text.to_owned()))
    }
}

/// A number of digits alone: no sign, no space.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number with an optional k, m or g, each 1024 of the one before, as tmpfs(5) counts.
fn scaled(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (text.get(..text.len().checked_sub(1)?)?, 10),
        b'm' => (text.get(..text.len().checked_sub(1)?)?, 20),
        b'g' => (text.get(..text.len().checked_sub(1)?)?, 30),
        _ => (text, 0),
    };
    digits(number)?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tmpfs() -> BootOptions {
        BootOptions { layer: Layer::Tmpfs, ..BootOptions::default() }
    }

    fn iscsi(portals: &[&str]) -> IscsiOptions {
        let portals = portals.iter().map(|portal| portal.parse().unwrap()).collect();
        IscsiOptions {
            portals,
            target: None,
            initiator: None,
            lun: None,
            digest: Digest::None,
            credentials: None,
            secret_in_environment: false,
            volume: None,
        }
    }

    #[test]
    fn good_command_lines() {
        let article = "console=tty1 root=/dev/nfs initrd=initrd.img-Sidus nfsroot=10.13.20.13:/srv/nfsroot/wheezy64,\
                       rsize=8192,wsize=8192,tcp ip=dhcp aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 \
                       ISCSI_INITIATOR=iqn.2013-04.zone.sidus.target:default root=LABEL=ISCSI";
        let table: &[(&str, BootOptions)] = &[
            ("", BootOptions { layer: Layer::Off, ..tmpfs() }),
            ("quiet aufs=off", BootOptions { layer: Layer::Off, ..tmpfs() }),
            ("root=/dev/nfs ip=dhcp aufs=tmpfs", tmpfs()),
            ("aufs=tmpfs aufs=tmpfs", tmpfs()),
            ("aufs=tmpfs -- sidus.nonsense=1", tmpfs()),
            ("aufs=tmpfs sidus.union=overlay", BootOptions { union: UnionChoice::Overlay, ..tmpfs() }),
            ("aufs=tmpfs sidus.union=aufs", BootOptions { union: UnionChoice::Aufs, ..tmpfs() }),
            ("aufs=tmpfs sidus.on-failure=ro", BootOptions { on_failure: OnFailure::ReadOnly, ..tmpfs() }),
            ("aufs=tmpfs sidus.on_failure=tmpfs", BootOptions { on_failure: OnFailure::Tmpfs, ..tmpfs() }),
            ("aufs=tmpfs sidus.on_failure=shell", BootOptions { on_failure: OnFailure::Shell, ..tmpfs() }),
            ("aufs=tmpfs sidus.on_failure=reboot", BootOptions { on_failure: OnFailure::Reboot, ..tmpfs() }),
            ("aufs=tmpfs sidus.timeout=30", BootOptions { timeout: Duration::from_secs(30), ..tmpfs() }),
            ("aufs=tmpfs sidus.debug", BootOptions { debug: true, ..tmpfs() }),
            ("aufs=tmpfs sidus.debug=0", tmpfs()),
            (
                "aufs=tmpfs sidus.tmpfs.size=512M sidus.tmpfs.inodes=10k",
                BootOptions {
                    tmpfs: TmpfsLimits { size: Some(TmpfsSize::Bytes(512 << 20)), inodes: Some(TmpfsInodes(10 << 10)) },
                    ..tmpfs()
                },
            ),
            (
                "aufs=tmpfs sidus.tmpfs.size=50%",
                BootOptions { tmpfs: TmpfsLimits { size: Some(TmpfsSize::Percent(50)), inodes: None }, ..tmpfs() },
            ),
            (
                article,
                BootOptions {
                    layer: Layer::Iscsi(IscsiOptions {
                        initiator: Some("iqn.2013-04.zone.sidus.target:default".to_owned()),
                        volume: Some(VolumeName::Label("ISCSI".to_owned())),
                        ..iscsi(&["10.13.20.14"])
                    }),
                    ..tmpfs()
                },
            ),
            (
                "aufs=iscsi iscsi_target_ip=10.13.20.14:3261,[fd00::14]:3260 root=UUID=0a34-07",
                BootOptions {
                    layer: Layer::Iscsi(IscsiOptions {
                        volume: Some(VolumeName::Uuid("0a34-07".to_owned())),
                        ..iscsi(&["10.13.20.14:3261", "[fd00::14]:3260"])
                    }),
                    ..tmpfs()
                },
            ),
        ];
        let account = |name: &str, secret: &str| Account { name: name.to_owned(), secret: Secret::new(secret) };
        let portals = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14";
        let more: &[(&str, IscsiOptions)] = &[
            (
                "sidus.iscsi.target=iqn.2026-01.org.example:{mac} sidus.iscsi.lun=3 sidus.iscsi.digest=crc32c",
                IscsiOptions {
                    target: Some("iqn.2026-01.org.example:{mac}".to_owned()),
                    lun: Some(3),
                    digest: Digest::Crc32c,
                    ..iscsi(&["10.13.20.14"])
                },
            ),
            (
                "iscsi_target_name=iqn.2026-01.org.example:disk sidus.iscsi.digest=none",
                IscsiOptions { target: Some("iqn.2026-01.org.example:disk".to_owned()), ..iscsi(&["10.13.20.14"]) },
            ),
            (
                "sidus.iscsi.username=node sidus.iscsi.password=\"a secret\" sidus.iscsi.username_in=san \
                 sidus.iscsi.password_in=another",
                IscsiOptions {
                    credentials: Some(Credentials {
                        own: account("node", "a secret"),
                        target: Some(account("san", "another")),
                    }),
                    ..iscsi(&["10.13.20.14"])
                },
            ),
            (
                "iscsi_username=node ISCSI_PASSWORD=secret",
                IscsiOptions {
                    credentials: Some(Credentials { own: account("node", "secret"), target: None }),
                    secret_in_environment: true,
                    ..iscsi(&["10.13.20.14"])
                },
            ),
        ];
        for (line, expected) in more {
            let options = BootOptions { layer: Layer::Iscsi(expected.clone()), ..tmpfs() };
            assert_eq!(BootOptions::parse(&format!("{portals} {line}")), Ok(options), "command line {line:?}");
        }
        for (line, portals) in [(
            "10.13.20.14,10.13.20.15:3262,[fd00::1],[fd00::2]:3263,fd00::3",
            ["10.13.20.14:3261", "10.13.20.15:3262", "[fd00::1]:3261", "[fd00::2]:3263", "[fd00::3]:3261"],
        )] {
            let options = BootOptions { layer: Layer::Iscsi(iscsi(&portals)), ..tmpfs() };
            let line = format!("aufs=iscsi ISCSI_TARGET_IP={line} iscsi_target_port=3261");
            assert_eq!(BootOptions::parse(&line), Ok(options), "command line {line:?}");
        }
        for (line, expected) in table {
            assert_eq!(BootOptions::parse(line).as_ref(), Ok(expected), "command line {line:?}");
        }
    }

    #[test]
    fn bad_command_lines_say_key_value_and_what_is_accepted() {
        let table: &[(&str, &[&str])] = &[
            ("aufs=ramfs", &["aufs=ramfs: not a value of aufs; accepted: tmpfs, iscsi or off"]),
            ("aufs", &["aufs=: not a value of aufs; accepted: tmpfs, iscsi or off"]),
            ("aufs=tmpfs aufs=off", &["aufs: given twice, as \"tmpfs\" and as \"off\"; give it once"]),
            (
                "ISCSI_TARGET_IP=10.0.0.1 iscsi_target_ip=10.0.0.2",
                &["ISCSI_TARGET_IP: given twice, as \"10.0.0.1\" and as \"10.0.0.2\"; give it once"],
            ),
            (
                "sidus.unoin=aufs",
                &["sidus.unoin: no such key; accepted: sidus.iscsi.target, sidus.iscsi.lun, sidus.iscsi.digest, \
                   sidus.iscsi.username, sidus.iscsi.password, sidus.iscsi.username_in, sidus.iscsi.password_in, \
                   sidus.union, sidus.tmpfs.size, sidus.tmpfs.inodes, \
                   sidus.on_failure, sidus.timeout, sidus.debug"],
            ),
            ("sidus.union=zfs", &["sidus.union=zfs: not a value of sidus.union; accepted: auto, overlay or aufs"]),
            (
                "sidus.tmpfs.size=0",
                &["sidus.tmpfs.size=0: not a value of sidus.tmpfs.size; accepted: bytes with k, m or g, as in 512m, \
                   or a percentage of the memory, as in 50%; at least 1m or 1%"],
            ),
            (
                "sidus.tmpfs.inodes=-1",
                &["sidus.tmpfs.inodes=-1: not a value of sidus.tmpfs.inodes; accepted: a number of inodes with k, m \
                   or g, as in 500k; at least 1k"],
            ),
            (
                "sidus.on_failure=hang",
                &["sidus.on_failure=hang: not a value of sidus.on_failure; accepted: panic, tmpfs, ro, shell or \
                   reboot"],
            ),
            ("sidus.timeout=0", &["sidus.timeout=0: not a value of sidus.timeout; accepted: seconds from 1 to 86400"]),
            ("sidus.debug=yes", &["sidus.debug=yes: not a value of sidus.debug; accepted: nothing, 1 or 0"]),
            (
                "aufs=iscsi",
                &["ISCSI_TARGET_IP is missing: aufs=iscsi needs the address of the iSCSI server; accepted: addresses \
                   separated by commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260"],
            ),
            (
                "aufs=iscsi ISCSI_TARGET_IP=target.example",
                &["ISCSI_TARGET_IP=target.example: not a value of ISCSI_TARGET_IP; accepted: addresses separated by \
                   commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260"],
            ),
            (
                "ISCSI_INITIATOR=node1",
                &["ISCSI_INITIATOR=node1: not a value of ISCSI_INITIATOR; accepted: an iSCSI name, as in \
                   iqn.2013-04.zone.sidus.target:default"],
            ),
            (
                "iscsi_target_port=0 sidus.iscsi.lun=16384 sidus.iscsi.digest=md5",
                &[
                    "iscsi_target_port=0: not a value of iscsi_target_port; accepted: a port from 1 to 65535",
                    "sidus.iscsi.lun=16384: not a value of sidus.iscsi.lun; accepted: a number from 0 to 16383",
                    "sidus.iscsi.digest=md5: not a value of sidus.iscsi.digest; accepted: crc32c or none",
                ],
            ),
            (
                "ISCSI_TARGET_NAME=iqn.x",
                &["ISCSI_TARGET_NAME=iqn.x: not a value of ISCSI_TARGET_NAME; accepted: an iSCSI name, as in \
                   iqn.2013-04.zone.sidus.target:10.13.20.101"],
            ),
            (
                "sidus.iscsi.target=iqn.2026-01.a:{ip} iscsi_target_name=iqn.2026-01.a:b",
                &["sidus.iscsi.target: given twice, as \"iqn.2026-01.a:{ip}\" and as \"iqn.2026-01.a:b\"; give it once"],
            ),
            (
                "sidus.iscsi.target=disk",
                &["sidus.iscsi.target=disk: not a value of sidus.iscsi.target; accepted: an iSCSI name, which may \
                   hold {ip}, {mac}, {hostname} and {uuid}, as in iqn.2013-04.zone.sidus.target:{ip}"],
            ),
            (
                "iscsi_password=",
                &["iscsi_password=(a secret): not a value of iscsi_password; accepted: 1 to 255 bytes, as the iSCSI \
                   target's CHAP account has it"],
            ),
            (
                "sidus.iscsi.password=one iscsi_password=two",
                &[
                    "sidus.iscsi.password: given twice, as \"(a secret)\" and as \"(a secret)\"; give it once",
                    "sidus.iscsi.username is missing: a password for CHAP is of no use without its user name; accepted: \
                     1 to 255 bytes, as the iSCSI target's CHAP account has it",
                ],
            ),
            (
                "sidus.iscsi.username=a",
                &["sidus.iscsi.password is missing: a user name for CHAP is of no use without its password; accepted: \
                   1 to 255 bytes, as the iSCSI target's CHAP account has it"],
            ),
            (
                "sidus.iscsi.username=a sidus.iscsi.password=x sidus.iscsi.username_in=b sidus.iscsi.password_in=x",
                &["sidus.iscsi.password and sidus.iscsi.password_in are the same; they must differ (RFC 7143 12.1.3)"],
            ),
            (
                "aufs=ramfs sidus.debug=yes",
                &[
                    "aufs=ramfs: not a value of aufs; accepted: tmpfs, iscsi or off",
                    "sidus.debug=yes: not a value of sidus.debug; accepted: nothing, 1 or 0",
                ],
            ),
        ];
        for (line, expected) in table {
            let problems = BootOptions::parse(line).map_err(|bad| bad.problems).expect_err(line);
            let got: Vec<_> = problems.iter().map(ToString::to_string).collect();
            assert_eq!(&got, expected, "command line {line:?}");
        }
    }

    #[test]
    fn sizes_outside_of_the_limits_are_refused() {
        for size in ["", "0", "1", "1023k", "0%", "101%", "300%", "18446744073709551615g", "1 m", "+1m", "m", "1t", "é"]
        {
            assert_eq!(TmpfsSize::read(size), None, "size {size:?}");
        }
        for inodes in ["", "0", "1023", "1%", "99999999999999999999"] {
            assert_eq!(TmpfsInodes::read(inodes), None, "inodes {inodes:?}");
        }
    }

    #[test]
    fn what_follows_the_failure_is_known_even_when_the_rest_is_wrong() {
        let bad = BootOptions::parse("sidus.union=zfs sidus.on_failure=reboot").unwrap_err();
        assert_eq!(bad.on_failure, OnFailure::Reboot);
    }

    #[test]
    fn a_wrong_key_does_not_hide_that_the_plain_root_is_asked_for() {
        let table = [
            ("sidus.nonsense", true),
            ("aufs=off sidus.union=zfs", true),
            ("aufs=of", false),
            ("aufs=tmpfs aufs=off", false),
        ];
        for (line, off) in table {
            assert_eq!(BootOptions::parse(line).unwrap_err().off, off, "command line {line:?}");
        }
    }

    #[test]
    fn the_man_page_explains_every_key() {
        let page = include_str!("../initramfs-hooks/rootaufs.8");
        for name in KEYS.iter().flat_map(|key| key.names) {
            let entry = page.lines().any(|line| line.starts_with(".B") && line.contains(name));
            assert!(entry, "rootaufs.8 has no entry for {name}");
        }
    }
}
