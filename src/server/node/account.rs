//! What a node and its target prove to each other: CHAP both ways (RFC 7143, 12.1), of this node alone.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::rand::{getrandom, GetRandomFlags};
use serde::{Deserialize, Serialize};

use super::archive;
use crate::lun::CREDENTIALS;
use crate::server::config::values::NodeName;
use crate::server::config::Folders;
use crate::server::engine::{Action, Content, Write};
use crate::server::{paths, services};

/// Each stands for six random bits; none means anything in the words of tgt, in JSON or in `iscsi.conf`.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._";
/// How long a secret is: 96 bits, the least that RFC 7143 (12.1.4) allows without IPsec, in no more characters than
/// each target takes.
const LENGTH: usize = 16;
/// How many random bytes an account is made of.
const BYTES: usize = 2 * LENGTH + 16;
/// No such file is longer, in bytes.
const MAX_FILE: u64 = 4096;

/// The accounts of a node.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The node's.
    pub username: String,
    /// With which it proves itself.
    pub password: String,
    /// The target's.
    pub username_in: String,
    /// With which that proves itself.
    pub password_in: String,
    /// The name of the file that the node loads all this from: nobody guesses it.
    archive: String,
}

/// Never what is secret.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("username", &self.username).finish_non_exhaustive()
    }
}

impl Account {
    /// A new one, from the kernel's random numbers.
    ///
    /// # Errors
    /// getrandom(2)
    pub fn random(name: &NodeName) -> io::Result<Self> {
        let mut bytes = [0; BYTES];
        if getrandom(&mut bytes, GetRandomFlags::empty())? < bytes.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Self::of(name, &bytes))
    }

    fn of(name: &NodeName, random: &[u8; BYTES]) -> Self {
        let (own, rest) = random.split_at(LENGTH);
        let (target, archive) = rest.split_at(LENGTH);
        Self {
            username: name.to_string(),
            password: secret(own),
            // No node's name has a dot: tgt has one list of all.
            username_in: format!("target.{name}"),
            password_in: secret(target),
            archive: archive.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// Where that of a node is.
    #[must_use]
    pub fn path(folders: &Folders, name: &NodeName) -> PathBuf {
        folder(folders).join(format!("{name}.toml"))
    }

    /// That of a node; `None` where it has none.
    ///
    /// # Errors
    /// Those of the file system; that it is not as this program writes it, without what is in it.
    pub fn read(root: &Path, folders: &Folders, name: &NodeName) -> io::Result<Option<Self>> {
        let path = Self::path(folders, name);
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let Some(text) = paths::read_text(root, &path, MAX_FILE).map_err(named)? else {
            return Ok(None);
        };
        let account = toml::from_str::<Self>(&text).ok().filter(Self::is_whole);
        let wrong = "it is not as sidus writes it: move it away; sidus node reset makes another one";
        account.map(Some).ok_or_else(|| named(io::Error::other(wrong)))
    }

    /// Its parts go into other programs' files.
    pub(in crate::server) fn is_whole(&self) -> bool {
        let is_secret = |text: &String| text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte));
        let is_name = |text: &String| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
        };
        [&self.password, &self.password_in].into_iter().all(is_secret)
            && [&self.username, &self.username_in, &self.archive].into_iter().all(is_name)
            && self.password != self.password_in
    }

    /// What keeps it.
    ///
    /// # Errors
    /// Those of toml, for what no TOML can have.
    pub fn write(&self, folders: &Folders, name: &NodeName) -> Result<Action, toml::ser::Error> {
        let text = toml::to_string(self)?;
        Ok(Action::Write(Write::secret(Self::path(folders, name), Content::Text(text))))
    }

    /// The name of its archive, relative to the TFTP folder.
    #[must_use]
    pub fn archive(&self) -> String {
        format!("{ARCHIVES}/{}.cpio", self.archive)
    }

    /// The archive: what the kernel unpacks over the node's initramfs.
    #[must_use]
    pub fn packed(&self) -> Vec<u8> {
        archive::of(CREDENTIALS, self.credentials().as_bytes())
    }

    /// `/etc/sidus/iscsi.conf` of the node's initramfs.
    fn credentials(&self) -> String {
        let Self { username, password, username_in, password_in, .. } = self;
        format!(
            "username = {username}\npassword = {password}\nusername_in = {username_in}\npassword_in = {password_in}\n"
        )
    }
}

/// Where the archives are, relative to the TFTP folder. Whoever may search it must know the name of what it wants.
pub const ARCHIVES: &str = "sidus-nodes";

/// Where the nodes' accounts are.
#[must_use]
pub fn folder(folders: &Folders) -> PathBuf {
    services::secrets(folders).join("nodes")
}

fn secret(random: &[u8]) -> String {
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 64)).copied().map(char::from);
    random.iter().filter_map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iscsi::credentials::CredentialsFile;

    fn name() -> NodeName {
        "node21".parse().unwrap()
    }

    #[test]
    fn secrets_are_random_and_as_long_as_all_targets_take() {
        let (one, other) = (Account::random(&name()).unwrap(), Account::random(&name()).unwrap());
        for account in [&one, &other] {
            assert!(account.is_whole(), "{account:?}");
            assert_eq!(account.archive.len(), 32);
        }
        let secrets = [&one.password, &one.password_in, &other.password, &other.password_in];
        assert!(secrets.iter().enumerate().all(|(at, secret)| !secrets[..at].contains(secret)));
        assert_ne!(one.archive, other.archive);
        assert!(!format!("{one:?}").contains(&one.password));
    }

    #[test]
    fn what_the_node_reads_is_what_was_written() {
        let mut random = [0; BYTES];
        random.iter_mut().zip(0..).for_each(|(byte, number)| *byte = number);
        let account = Account::of(&name(), &random);
        let read = CredentialsFile::parse(account.credentials().as_bytes()).unwrap();
        let credentials = read.credentials_for(&"iqn.2026-01.org.example:10.13.20.21".parse().unwrap()).unwrap();
        assert_eq!(
            (credentials.own.name.as_str(), credentials.own.secret.reveal()),
            ("node21", &b"ABCDEFGHIJKLMNOP"[..])
        );
        let target = credentials.target.as_ref().unwrap();
        assert_eq!((target.name.as_str(), target.secret.reveal()), ("target.node21", &b"QRSTUVWXYZabcdef"[..]));
        assert_eq!(account.archive(), "sidus-nodes/202122232425262728292a2b2c2d2e2f.cpio");
    }

    #[test]
    fn a_file_that_was_changed_is_refused_without_a_word_of_it() {
        let root = std::env::temp_dir().join(format!("sidus-account-{}", std::process::id()));
        let folders = Folders::default();
        let at = root.join("var/lib/sidus/secrets/nodes/node21.toml");
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        assert_eq!(Account::read(&root, &folders, &name()).unwrap(), None);
        let account = Account::random(&name()).unwrap();
        let text = toml::to_string(&account).unwrap();
        std::fs::write(&at, &text).unwrap();
        assert_eq!(Account::read(&root, &folders, &name()).unwrap(), Some(account.clone()));
        for wrong in [
            text.replace("password_in", "passwort_in"),
            text.replace(&account.password, "not so long"),
            text.replace(&account.password, &account.password_in),
            text.replace(&account.archive, "../../etc/shadow"),
            text.replace("username = ", "username = x"),
        ] {
            std::fs::write(&at, &wrong).unwrap();
            let error = Account::read(&root, &folders, &name()).unwrap_err().to_string();
            assert_eq!(
                error,
                "/var/lib/sidus/secrets/nodes/node21.toml: it is not as sidus writes it: move it away; sidus node reset makes another one"
            );
        }
        std::fs::remove_dir_all(&root).unwrap();
    }
}
