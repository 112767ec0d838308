//! The keys of the kernel's command line that `rootaufs` knows, as typed options.
//!
//! [`KEYS`] is the one list of them. A key that is given twice must have the same value each time: which one the
//! administrator meant is never guessed. `root=` is the exception, since initramfs-tools and the article both use it
//! twice: the first names the NFS root, the one that starts with `LABEL=` or `UUID=` the volume on the LUN.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::cmdline::{same_key, words, Word};
use crate::iscsi::name::Portal;

/// A key of the command line: its names and what it accepts, as errors and documentation word it.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// The name; where a second spelling is accepted, it follows.
    pub names: &'static [&'static str],
    /// The accepted values.
    pub accepts: &'static str,
}

const AUFS: Key = Key { names: &["aufs"], accepts: "tmpfs, iscsi or off" };
const TARGET_IP: Key = Key {
    names: &["ISCSI_TARGET_IP", "iscsi_target_ip"],
    accepts: "addresses separated by commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260",
};
const INITIATOR: Key = Key {
    names: &["ISCSI_INITIATOR", "iscsi_initiator"],
    accepts: "an iSCSI name, as in iqn.2013-04.zone.sidus.target:default",
};
const UNION: Key = Key { names: &["sidus.union"], accepts: "auto, overlay or aufs" };
const TMPFS_SIZE: Key = Key {
    names: &["sidus.tmpfs.size"],
    accepts: "bytes with k, m or g, as in 512m, or a percentage of the memory, as in 50%; at least 1m or 1%",
};
const TMPFS_INODES: Key =
    Key { names: &["sidus.tmpfs.inodes"], accepts: "a number of inodes with k, m or g, as in 500k; at least 1k" };
const ON_FAILURE: Key = Key { names: &["sidus.on_failure"], accepts: "panic, tmpfs, ro, shell or reboot" };
const TIMEOUT: Key = Key { names: &["sidus.timeout"], accepts: "seconds from 1 to 86400" };
const DEBUG: Key = Key { names: &["sidus.debug"], accepts: "nothing, 1 or 0" };

/// Every key that `rootaufs` reads, but for `root=`.
pub const KEYS: &[Key] = &[AUFS, TARGET_IP, INITIATOR, UNION, TMPFS_SIZE, TMPFS_INODES, ON_FAILURE, TIMEOUT, DEBUG];

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
    /// `ISCSI_TARGET_IP=`: the portals to ask, in this order; never empty.
    pub portals: Vec<Portal>,
    /// `ISCSI_INITIATOR=`: the name this node logs in with.
    pub initiator: Option<String>,
    /// The `root=` that names a file system.
    pub volume: Option<VolumeName>,
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
        for word in self.words.iter().filter(|word| key.names.iter().any(|name| word.is(name))) {
            let value = word.value.unwrap_or("");
            match found {
                None => found = Some((word.key, value)),
                Some((_, first)) if first == value => {}
                Some((_, first)) => {
                    self.problems.push(OptionError::Conflict {
                        key: key.names.first().copied().unwrap_or_default(),
                        first: first.to_owned(),
                        second: value.to_owned(),
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
            self.problems.push(OptionError::Value { key: name, value, accepts: key.accepts });
        }
        parsed
    }

    /// The keys of the iSCSI layer: checked wherever they stand, demanded only by `aufs=iscsi`.
    fn iscsi(&mut self, layer: LayerName) -> Option<IscsiOptions> {
        let problems_before = self.problems.len();
        let portals: Option<Portals> = self.value(&TARGET_IP);
        let initiator: Option<InitiatorText> = self.value(&INITIATOR);
        let volume = self.words.iter().rev().filter(|word| word.key == "root").find_map(|word| {
            let (kind, name) = word.value?.split_once('=')?;
            match kind {
                "LABEL" => Some(VolumeName::Label(name.to_owned())),
                "UUID" => Some(VolumeName::Uuid(name.to_owned())),
                _ => None,
            }
        });
        match portals {
            Some(Portals(portals)) => {
                Some(IscsiOptions { portals, initiator: initiator.map(|InitiatorText(text)| text), volume })
            }
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

/// Portals separated by commas.
struct Portals(Vec<Portal>);

impl Value for Portals {
    fn read(text: &str) -> Option<Self> {
        let portals: Result<Vec<Portal>, _> = text.split(',').map(str::parse).collect();
        portals.ok().map(Self)
    }
}

/// An initiator's name; it may hold placeholders, so it is no [`crate::iscsi::name::Iqn`] yet.
struct InitiatorText(String);

impl Value for InitiatorText {
    fn read(text: &str) -> Option<Self> {
        let start = ["iqn.", "eui.", "naa."].iter().any(|start| text.starts_with(start));
        (start && text.len() <= 223).then(|| Self(text.to_owned()))
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
        IscsiOptions { portals, initiator: None, volume: None }
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
                &["sidus.unoin: no such key; accepted: sidus.union, sidus.tmpfs.size, sidus.tmpfs.inodes, \
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
