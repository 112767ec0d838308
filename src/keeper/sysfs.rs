//! What sysfs says of a session: all that is needed to log it in again, and so the same for a keeper that is started at
//! boot and for one that is started later. Secrets stand there for root alone.

use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::folder::Folder;
use crate::iscsi::chap::{Account, Credentials, Secret};
use crate::iscsi::name::{NameError, Portal, PortalError};
use crate::iscsi::negotiation::{Digest, Offer};
use crate::iscsi::netlink::Connection;
use crate::iscsi::params::Timeouts;
use crate::iscsi::session::Plan;

/// What the kernel prints for what was never set.
const NOTHING: [&str; 3] = ["", "(null)", "<NULL>"];

/// Why sysfs does not tell what a session is.
#[derive(Debug, Error)]
pub enum SysfsError {
    /// A file.
    #[error("/sys/{path}: {source}")]
    Read {
        /// Which, below `/sys`.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// A file with something else than it should have.
    #[error("/sys/{path}: {got:?}; {expected} was expected")]
    Value {
        /// Which, below `/sys`.
        path: String,
        /// What it has.
        got: String,
        /// What it should have.
        expected: &'static str,
    },
    /// A name that is none.
    #[error("/sys/class/iscsi_session/session{sid}: {source}")]
    Name {
        /// The session's number.
        sid: u32,
        /// What is wrong.
        source: NameError,
    },
    /// A portal that is none.
    #[error("/sys/class/iscsi_connection/connection{sid}:0: {source}")]
    Portal {
        /// The session's number.
        sid: u32,
        /// What is wrong.
        source: PortalError,
    },
}

/// `/sys`, of which one session is looked at.
#[derive(Debug)]
pub struct Sysfs {
    sys: Folder,
    connection: Connection,
}

impl Sysfs {
    /// The session with this number; `sys` is `/sys`.
    #[must_use]
    pub const fn new(sys: Folder, sid: u32) -> Self {
        Self { sys, connection: Connection { sid, cid: 0 } }
    }

    /// Its connection.
    #[must_use]
    pub const fn connection(&self) -> Connection {
        self.connection
    }

    /// How to log it in again.
    ///
    /// # Errors
    /// [`SysfsError`]; no error has a secret.
    pub fn plan(&self) -> Result<Plan, SysfsError> {
        let sid = self.connection.sid;
        let name = |source| SysfsError::Name { sid, source };
        let target = self.session("targetname")?.parse().map_err(name)?;
        let initiator = self.session("initiatorname")?.parse().map_err(name)?;
        let (ip, port) = (self.of_connection("persistent_address")?, self.of_connection("persistent_port")?);
        let text = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
        let portal: Portal = text.parse().map_err(|source| SysfsError::Portal { sid, source })?;
        let timeouts = Timeouts {
            recovery: self.recovery()?,
            ping_after: self.seconds(self.connection_path("recv_tmo"))?,
            ping_answer: self.seconds(self.connection_path("ping_tmo"))?,
            ..Timeouts::default()
        };
        let digest = |text: String| if text == "1" { Digest::Crc32c } else { Digest::None };
        let offer = Offer {
            header_digest: digest(self.of_connection("header_digest")?),
            data_digest: digest(self.of_connection("data_digest")?),
            ..Offer::default()
        };
        Ok(Plan { credentials: self.credentials()?, offer, timeouts, ..Plan::new(portal, target, initiator) })
    }

    /// How long the disk waits for a new login.
    ///
    /// # Errors
    /// [`SysfsError`]
    pub fn recovery(&self) -> Result<Duration, SysfsError> {
        self.seconds(self.session_path("recovery_tmo"))
    }

    /// Lets the disk wait for so long from now on. What is set here, no later login changes
    /// (`recovery_tmo_sysfs_override` in the kernel's `scsi_transport_iscsi.c`).
    ///
    /// # Errors
    /// Those of the file; [`io::ErrorKind::ResourceBusy`] while the connection is lost.
    pub fn set_recovery(&self, recovery: Duration) -> io::Result<()> {
        self.sys.tell(&self.session_path("recovery_tmo"), &recovery.as_secs().to_string())
    }

    /// The status number that the connection expects next: a new login goes on from there.
    ///
    /// # Errors
    /// [`SysfsError`]
    pub fn exp_stat_sn(&self) -> Result<u32, SysfsError> {
        self.number(self.connection_path("exp_statsn"))
    }

    /// Whether the kernel counts the session as logged in. It does so until the connection is stopped, also when that
    /// has failed.
    ///
    /// # Errors
    /// [`SysfsError`]
    pub fn is_logged_in(&self) -> Result<bool, SysfsError> {
        Ok(self.session("state")? == "LOGGED_IN")
    }

    fn credentials(&self) -> Result<Option<Credentials>, SysfsError> {
        let account = |name: &str, secret: &str| -> Result<Option<Account>, SysfsError> {
            let (name, secret) = (self.session(name)?, self.session(secret)?);
            let set = !NOTHING.contains(&name.as_str());
            Ok(set.then(|| Account { name, secret: Secret::new(secret) }))
        };
        let target = account("username_in", "password_in")?;
        Ok(account("username", "password")?.map(|own| Credentials { own, target }))
    }

    fn session_path(&self, name: &str) -> String {
        format!("class/iscsi_session/session{}/{name}", self.connection.sid)
    }

    fn connection_path(&self, name: &str) -> String {
        format!("class/iscsi_connection/connection{}:{}/{name}", self.connection.sid, self.connection.cid)
    }

    fn session(&self, name: &str) -> Result<String, SysfsError> {
        self.line(self.session_path(name))
    }

    fn of_connection(&self, name: &str) -> Result<String, SysfsError> {
        self.line(self.connection_path(name))
    }

    fn line(&self, path: String) -> Result<String, SysfsError> {
        match self.sys.read(&path) {
            Ok(mut text) => {
                text.truncate(text.strip_suffix('\n').map_or(text.len(), str::len));
                Ok(text)
            }
            Err(source) => Err(SysfsError::Read { path, source }),
        }
    }

    fn number(&self, path: String) -> Result<u32, SysfsError> {
        let got = self.line(path.clone())?;
        got.parse().map_err(|_| SysfsError::Value { path, got, expected: "a number" })
    }

    fn seconds(&self, path: String) -> Result<Duration, SysfsError> {
        Ok(Duration::from_secs(self.number(path)?.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str, changes: &[(&str, &str)]) -> Self {
            let machine = Self(std::env::temp_dir().join(format!("sidus-keeper-{name}-{}", std::process::id())));
            let usual = [
                ("iscsi_session/session1/targetname", "iqn.2026-01.org.example:disk"),
                ("iscsi_session/session1/initiatorname", "iqn.2026-01.org.example:node"),
                ("iscsi_session/session1/recovery_tmo", "600"),
                ("iscsi_session/session1/username", "(null)"),
                ("iscsi_session/session1/password", "(null)"),
                ("iscsi_session/session1/username_in", "(null)"),
                ("iscsi_session/session1/password_in", "(null)"),
                ("iscsi_session/session1/state", "LOGGED_IN"),
                ("iscsi_connection/connection1:0/persistent_address", "10.13.20.14"),
                ("iscsi_connection/connection1:0/persistent_port", "3260"),
                ("iscsi_connection/connection1:0/recv_tmo", "5"),
                ("iscsi_connection/connection1:0/ping_tmo", "7"),
                ("iscsi_connection/connection1:0/header_digest", "0"),
                ("iscsi_connection/connection1:0/data_digest", "1"),
                ("iscsi_connection/connection1:0/exp_statsn", "4294967295"),
            ];
            for (path, text) in usual.iter().chain(changes) {
                let path = machine.0.join("class").join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, format!("{text}\n")).unwrap();
            }
            machine
        }

        fn session(&self) -> Sysfs {
            Sysfs::new(Folder::open(&self.0).unwrap(), 1)
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_session_is_read() {
        let machine = Machine::new("plain", &[]);
        let plan = machine.session().plan().unwrap();
        assert_eq!(plan.target.as_str(), "iqn.2026-01.org.example:disk");
        assert_eq!(plan.initiator.as_str(), "iqn.2026-01.org.example:node");
        assert_eq!(plan.portal.to_string(), "10.13.20.14:3260");
        assert_eq!(plan.credentials, None);
        assert_eq!((plan.offer.header_digest, plan.offer.data_digest), (Digest::None, Digest::Crc32c));
        let seconds = [plan.timeouts.recovery, plan.timeouts.ping_after, plan.timeouts.ping_answer];
        assert_eq!(seconds.map(|time| time.as_secs()), [600, 5, 7]);
        assert_eq!(machine.session().exp_stat_sn().unwrap(), u32::MAX);
        assert!(machine.session().is_logged_in().unwrap());
        machine.session().set_recovery(Duration::from_secs(90)).unwrap();
        assert!(fs::read_to_string(machine.0.join("class/iscsi_session/session1/recovery_tmo"))
            .unwrap()
            .starts_with("90"));
    }

    #[test]
    fn secrets_may_have_any_character_and_portals_version_6() {
        let machine = Machine::new(
            "chap",
            &[
                ("iscsi_session/session1/username", "node"),
                ("iscsi_session/session1/password", " a secret with blanks "),
                ("iscsi_session/session1/username_in", "target"),
                ("iscsi_session/session1/password_in", "another"),
                ("iscsi_session/session1/state", "FAILED"),
                ("iscsi_connection/connection1:0/persistent_address", "fd00::14"),
            ],
        );
        let plan = machine.session().plan().unwrap();
        assert_eq!(plan.portal.to_string(), "[fd00::14]:3260");
        let account = |name: &str, secret: &str| Account { name: name.into(), secret: Secret::new(secret) };
        let (own, target) = (account("node", " a secret with blanks "), account("target", "another"));
        assert_eq!(plan.credentials, Some(Credentials { own, target: Some(target) }));
        assert!(!machine.session().is_logged_in().unwrap());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (path, text, error) in [
            (
                "iscsi_connection/connection1:0/recv_tmo",
                "x",
                "/sys/class/iscsi_connection/connection1:0/recv_tmo: \"x\"; a number was expected",
            ),
            ("iscsi_session/session1/targetname", "(null)", "/sys/class/iscsi_session/session1: "),
            ("iscsi_connection/connection1:0/persistent_port", "0", "/sys/class/iscsi_connection/connection1:0: "),
        ] {
            let machine = Machine::new("wrong", &[(path, text)]);
            let got = machine.session().plan().unwrap_err().to_string();
            assert!(got.starts_with(error), "{path}: {got}");
        }
        let machine = Machine::new("gone", &[]);
        fs::remove_dir_all(machine.0.join("class/iscsi_session")).unwrap();
        assert_eq!(
            machine.session().plan().unwrap_err().to_string(),
            "/sys/class/iscsi_session/session1/targetname: No such file or directory (os error 2)"
        );
    }
}
