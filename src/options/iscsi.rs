//! What `aufs=iscsi` needs to know, from the words of a command line.

use std::time::Duration;

use super::error::OptionError;
use super::given::Given;
use super::keys::{
    Key, DIGEST, GUARD, INITIATOR, LUN, PASSWORD, PASSWORD_IN, RECOVERY, TARGET, TARGET_IP, TARGET_NAME, TARGET_PORT,
    USERNAME, USERNAME_IN,
};
use super::values::{ChapText, LayerName, LunNumber, NameText, Port, Portals, Seconds};
use super::IscsiOptions;
use crate::iscsi::chap::{Account, Credentials, Secret};
use crate::iscsi::name::{Iqn, Portal};
use crate::iscsi::params::Timeouts;

impl Given<'_> {
    /// The keys of the iSCSI layer: checked wherever they stand, demanded only by `aufs=iscsi`.
    pub(super) fn iscsi(&mut self, layer: LayerName) -> Option<IscsiOptions> {
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
        let volume = self.volume(layer == LayerName::Iscsi);
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

    /// `sidus.iscsi.target=` or `ISCSI_TARGET_NAME=`.
    fn target(&mut self) -> Option<String> {
        let template = self.value(&TARGET).map(|NameText(text)| text);
        let literal = self.value(&TARGET_NAME).map(|name: Iqn| name.as_str().to_owned());
        match (template, literal) {
            (Some(first), Some(second)) if first != second => {
                let (key, accepts) = (TARGET.name(), TARGET.accepts);
                self.problems.push(OptionError::Conflict { key, first, second, accepts });
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
}
