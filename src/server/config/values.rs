//! The values that a configuration has: each is checked once, when it is read, and then cannot be wrong. What goes into
//! the files of other programs (dnsmasq, exports, PXE entries) has an alphabet that means nothing special in any of them.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not such a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{got:?} is not {expected}")]
pub struct ValueError {
    /// What was given.
    pub got: String,
    /// What is accepted, with an example.
    pub expected: &'static str,
}

fn refuse<T>(got: &str, expected: &'static str) -> Result<T, ValueError> {
    Err(ValueError { got: got.to_owned(), expected })
}

/// Serde and clap read a value by its `FromStr`, and write it by its `Display`.
macro_rules! by_text {
    ($($type:ty),*) => { $(
        impl TryFrom<String> for $type {
            type Error = ValueError;
            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )* };
}
by_text!(Mac, Net, NodeName, TreeName, VolumeGroup, Size, Folder, Cmdline, Mirror, Word, Include);

/// The hardware address of a node's network card, as in `52:54:00:0d:14:15`; `-` will do in place of `:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// As pxelinux asks for a file: `01-52-54-00-0d-14-15` (the 01 is Ethernet, RFC 1700).
    #[must_use]
    pub fn for_pxelinux(self) -> String {
        format!("01-{}", self.joined("-"))
    }

    /// Without separators: `5254000d1415`, as in the initiator's name that `rootaufs` makes of it.
    #[must_use]
    pub fn digits(self) -> String {
        self.joined("")
    }

    fn joined(self, separator: &str) -> String {
        self.0.map(|byte| format!("{byte:02x}")).join(separator)
    }
}

impl FromStr for Mac {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "the hardware address of one network card; six bytes are, as in 52:54:00:0d:14:15";
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let Some(part) = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
            else {
                return refuse(text, EXPECTED);
            };
            *byte = u8::from_str_radix(part, 16).or_else(|_| refuse(text, EXPECTED))?;
        }
        let [first, ..] = bytes;
        // The lowest bit says that it is a group's.
        if parts.next().is_some() || first & 1 == 1 || bytes == [0; 6] {
            return refuse(text, EXPECTED);
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(":"))
    }
}

/// An IPv4 network, as in `10.13.20.0/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Net {
    first: Ipv4Addr,
    prefix: u8,
}

impl Net {
    /// The network that `address` is in.
    ///
    /// # Errors
    /// [`ValueError`] for a prefix that leaves no room for two machines, or is none.
    pub fn around(address: Ipv4Addr, prefix: u8) -> Result<Self, ValueError> {
        let first = Ipv4Addr::from_bits(address.to_bits() & mask_bits(prefix));
        format!("{first}/{prefix}").parse()
    }

    /// The first address: the network's own.
    #[must_use]
    pub const fn first(self) -> Ipv4Addr {
        self.first
    }

    /// The bits that are the same for all of it.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// As in `255.255.255.0`.
    #[must_use]
    pub fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(mask_bits(self.prefix))
    }

    /// The last address: that of all machines.
    #[must_use]
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() | !mask_bits(self.prefix))
    }

    /// Whether a machine of this network can have the address.
    #[must_use]
    pub fn has_machine(self, address: Ipv4Addr) -> bool {
        address.to_bits() & mask_bits(self.prefix) == self.first.to_bits()
            && address != self.first
            && address != self.broadcast()
    }
}

fn mask_bits(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(prefix))).unwrap_or(0)
}

impl FromStr for Net {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const EXPECTED: &str = "an IPv4 network; its first address and 8 to 30 bits are, as in 10.13.20.0/24";
        let parts = text.split_once('/').and_then(|(first, prefix)| Some((first.parse().ok()?, prefix.parse().ok()?)));
        match parts {
            Some((first, prefix)) if (8..=30).contains(&prefix) => {
                let net = Self { first, prefix };
                if first.to_bits() & !mask_bits(prefix) == 0 {
                    Ok(net)
                } else {
                    refuse(text, EXPECTED)
                }
            }
            _ => refuse(text, EXPECTED),
        }
    }
}

impl fmt::Display for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// A value that is its own text, of a certain alphabet.
macro_rules! text_value {
    ($(#[$doc:meta])* $name:ident, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// A text of this program's own, which a test sees to be right.
            #[allow(dead_code)] // Not each kind has a default.
            pub(super) fn known(text: &'static str) -> Self {
                Self(text.to_owned())
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { refuse(text, $expected) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_value!(
    /// A node's name: its host name too, so one label of a domain name (RFC 1123), in lower case.
    NodeName,
    "a node's name; 1 to 63 of a-z, 0-9 and - are, with no - first or last, as in node21",
    |text| is_made_of(text, 63, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
);

text_value!(
    /// A tree's name: a folder's name, and a part of the names of files that TFTP serves.
    TreeName,
    "a tree's name; 1 to 48 of a-z, 0-9, - and _ are, with a letter or digit first, as in bookworm",
    |text| is_made_of(text, 48, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
        && !text.starts_with(['-', '_'])
);

text_value!(
    /// A volume group (lvm(8)).
    VolumeGroup,
    "a volume group's name; letters, digits and +_.- are, with no - first, as in vg0",
    |text| is_made_of(text, 127, |byte| byte.is_ascii_alphanumeric() || b"+_.-".contains(&byte))
        && !text.starts_with('-')
        && text != "."
        && text != ".."
);

text_value!(
    /// A word that apt knows: a suite, a component, an architecture.
    Word,
    "a name that apt knows; a-z, 0-9 and - are accepted, as in bookworm or non-free",
    |text| is_made_of(text, 64, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
);

text_value!(
    /// A package, or with an `@` a list of packages that `sidus` knows.
    Include,
    "a package's name, as in openssh-server, nor a list's, as in @article",
    |text| {
        let name = text.strip_prefix('@').unwrap_or(text);
        is_made_of(name, 128, |byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte))
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
    }
);

text_value!(
    /// Where packages come from.
    Mirror,
    "a mirror; an address without blanks is, that begins with http://, https:// or file:///",
    |text| ["http://", "https://", "file:///"].iter().any(|scheme| text.len() > scheme.len() && text.starts_with(scheme))
        && is_made_of(text, 512, |byte| byte.is_ascii_graphic() && !b"'\"\\[]#".contains(&byte))
);

text_value!(
    /// Words for the kernel's command line. A line break would begin another entry of the PXE file.
    Cmdline,
    "words for the kernel's command line; one line of printable ASCII is, as in console=ttyS0 quiet",
    |text| text.len() <= 1024 && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
);

fn is_made_of(text: &str, longest: usize, allowed: fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
}

/// An absolute path, without `.`, `..`, blanks and what exports(5) or dnsmasq would read as something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Folder(PathBuf);

impl Folder {
    /// A path of this program's own, which a test sees to be right.
    pub(super) fn known(path: &'static str) -> Self {
        Self(PathBuf::from(path))
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    #[must_use]
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl FromStr for Folder {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-".contains(&byte);
        let parts = || text.split('/').skip(1);
        if text.starts_with('/')
            && is_made_of(text, 512, plain)
            && parts().all(|part| !part.is_empty() && part != "." && part != "..")
        {
            Ok(Self(PathBuf::from(text)))
        } else {
            refuse(text, "a folder; an absolute path of letters, digits and ._+- is, as in /srv/sidus/trees")
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Bytes, with `K`, `M`, `G` or `T` (powers of 1024), as in `20G`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

const UNITS: [(char, u64); 4] = [('T', 1 << 40), ('G', 1 << 30), ('M', 1 << 20), ('K', 1 << 10)];

impl Size {
    /// How many bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (digits, unit) =
            UNITS.into_iter().find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, unit))).unwrap_or((text, 1));
        let bytes = Some(digits)
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u64>().ok())
            .and_then(|number| number.checked_mul(unit))
            // Disks consist of sectors.
            .filter(|bytes| *bytes > 0 && bytes % 512 == 0 && i64::try_from(*bytes).is_ok());
        bytes.map_or_else(|| refuse(text, "a size; a number of K, M, G or T is, as in 20G"), |bytes| Ok(Self(bytes)))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.into_iter().find(|(_, unit)| self.0 % unit == 0) {
            Some((letter, unit)) => write!(f, "{}{letter}", self.0 / unit),
            None => self.0.fmt(f),
        }
    }
}

#[cfg(test)]
#[path = "values_tests.rs"]
mod tests;
