//! The keys: what they are called, and what they accept, as errors and documentation word it.

use crate::cmdline::Word;

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

    pub(super) fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }

    pub(super) fn is_named(&self, word: &Word<'_>) -> bool {
        self.names.iter().any(|name| word.is(name))
    }
}

pub(super) const AUFS: Key = Key::new(&["aufs"], "tmpfs, iscsi or off");
pub(super) const TARGET_IP: Key = Key::new(
    &["ISCSI_TARGET_IP", "iscsi_target_ip"],
    "addresses separated by commas, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260",
);
pub(super) const TARGET_PORT: Key = Key::new(&["ISCSI_TARGET_PORT", "iscsi_target_port"], "a port from 1 to 65535");
pub(super) const TARGET_NAME: Key = Key::new(
    &["ISCSI_TARGET_NAME", "iscsi_target_name"],
    "an iSCSI name, as in iqn.2013-04.zone.sidus.target:10.13.20.101",
);
pub(super) const TARGET: Key = Key::new(
    &["sidus.iscsi.target"],
    "an iSCSI name, which may hold {ip}, {mac}, {hostname} and {uuid}, as in iqn.2013-04.zone.sidus.target:{ip}",
);
pub(super) const INITIATOR: Key = Key::new(
    &["ISCSI_INITIATOR", "iscsi_initiator"],
    "an iSCSI name, which may hold {ip}, {mac}, {hostname} and {uuid}, as in iqn.2026-01.org.example:{hostname}",
);
pub(super) const LUN: Key = Key::new(&["sidus.iscsi.lun"], "a number from 0 to 16383");
pub(super) const DIGEST: Key = Key::new(&["sidus.iscsi.digest"], "crc32c or none");
pub(super) const RECOVERY: Key = Key::new(&["sidus.iscsi.recovery"], "seconds from 1 to 86400");
pub(super) const GUARD: Key = Key::new(&["sidus.iscsi.guard"], "auto, take or off");
pub(super) const USERNAME: Key = Key::new(&["sidus.iscsi.username", "ISCSI_USERNAME", "iscsi_username"], CHAP_VALUE);
pub(super) const PASSWORD: Key = Key::secret(&["sidus.iscsi.password", "ISCSI_PASSWORD", "iscsi_password"], CHAP_VALUE);
pub(super) const USERNAME_IN: Key =
    Key::new(&["sidus.iscsi.username_in", "ISCSI_IN_USERNAME", "iscsi_in_username"], CHAP_VALUE);
pub(super) const PASSWORD_IN: Key =
    Key::secret(&["sidus.iscsi.password_in", "ISCSI_IN_PASSWORD", "iscsi_in_password"], CHAP_VALUE);
pub(super) const UNION: Key = Key::new(&["sidus.union"], "auto, overlay or aufs");
pub(super) const TMPFS_SIZE: Key = Key::new(
    &["sidus.tmpfs.size"],
    "bytes with k, m or g, as in 512m, or a percentage of the memory, as in 50%; at least 1m or 1%",
);
pub(super) const TMPFS_INODES: Key =
    Key::new(&["sidus.tmpfs.inodes"], "a number of inodes with k, m or g, as in 500k; at least 1k");
pub(super) const ON_FAILURE: Key = Key::new(&["sidus.on_failure"], "panic, tmpfs, ro, shell or reboot");
pub(super) const TIMEOUT: Key = Key::new(&["sidus.timeout"], "seconds from 1 to 86400");
pub(super) const DEBUG: Key = Key::new(&["sidus.debug"], "nothing, 1 or 0");

pub(super) const CHAP_VALUE: &str = "1 to 255 bytes, as the iSCSI target's CHAP account has it";

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
    RECOVERY,
    GUARD,
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
