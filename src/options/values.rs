//! What the values of the keys may be.

use std::net::Ipv4Addr;

use super::{Guard, OnFailure, TmpfsInodes, TmpfsSize, UnionChoice};
use crate::iscsi::identity::{expand, Facts};
use crate::iscsi::name::{Iqn, Portal};
use crate::iscsi::negotiation::Digest;

/// A value of a key.
pub(super) trait Value: Sized {
    /// `None` for what the key does not accept; [`Key::accepts`] says what it does.
    fn read(text: &str) -> Option<Self>;
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum LayerName {
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
pub(super) struct Seconds(pub(super) u64);

impl Value for Seconds {
    fn read(text: &str) -> Option<Self> {
        digits(text).filter(|seconds| (1..=86_400).contains(seconds)).map(Self)
    }
}

/// A key that is on where it stands alone.
pub(super) struct Switch(pub(super) bool);

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
pub(super) struct Portals(pub(super) Vec<(Portal, bool)>);

impl Value for Portals {
    fn read(text: &str) -> Option<Self> {
        let portal = |text: &str| {
            let has_port = match text.rsplit_once(']') {
                Some((_, rest)) => rest.starts_with(':'),
                None => text.matches(':').count() == 1,
            };
            // Nobody listens on these, and a node that tries would wait for its whole time.
            let nowhere = |portal: &Portal| portal.ip.is_unspecified() || portal.ip.is_multicast();
            text.parse().ok().filter(|portal| !nowhere(portal)).map(|portal| (portal, has_port))
        };
        text.split(',').map(portal).collect::<Option<_>>().map(Self)
    }
}

pub(super) struct Port(pub(super) u16);

impl Value for Port {
    fn read(text: &str) -> Option<Self> {
        digits(text).and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0).map(Self)
    }
}

/// The number of a logical unit: what 14 bits hold (SAM-5, flat space addressing).
pub(super) struct LunNumber(pub(super) u64);

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

impl Value for Guard {
    fn read(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "take" => Some(Self::Take),
            "off" => Some(Self::Off),
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
pub(super) struct NameText(pub(super) String);

impl Value for NameText {
    fn read(text: &str) -> Option<Self> {
        // What becomes of it on some node: so a wrong placeholder is found before a node boots.
        let known = || Some("node".to_owned());
        let node = Facts { ip: Some(Ipv4Addr::LOCALHOST.into()), mac: Some([1; 6]), hostname: known(), uuid: known() };
        expand(text, &node).ok()?.parse::<Iqn>().ok().map(|_| Self(text.to_owned()))
    }
}

/// A name or secret of CHAP.
pub(super) struct ChapText(pub(super) String);

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
