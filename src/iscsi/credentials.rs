//! The file of CHAP credentials, `/etc/sidus/iscsi.conf` in the initramfs.
//!
//! ```text
//! # Lines that begin with # or ; say nothing; blank lines neither.
//! username    = node
//! password    = "a secret with spaces"
//! username_in = target
//! password_in = another-secret
//!
//! [target "iqn.2026-01.org.example:10.13.20.101"]
//! username = node101
//! password = its-own-secret
//!
//! [target "iqn.2026-01.org.example:open"]
//! ```
//! What stands before the first section holds for every target that has no section of its own. A
//! section takes the place of it as a whole: one without keys means no CHAP. `username_in` and
//! `password_in` demand that the target proves itself, and need the other two. A value is what
//! follows the first `=`, without the blanks around it; in double quotes it may have any, and is
//! taken as it stands. The file has to be readable by its owner alone.

use thiserror::Error;

use super::chap::{Account, Credentials, Secret};
use super::name::{Iqn, NameError};
use crate::bytes::shown;

/// The longest file in bytes.
pub const MAX_FILE: usize = 64 * 1024;
/// The longest name or secret in bytes: what the kernel and the targets take.
const MAX_VALUE: usize = 255;

/// Why the file is of no use. No error has any of its values: they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// Others can read it.
    #[error("mode {got:04o}; 0600 was expected, for it holds secrets (chmod 0600)")]
    Mode {
        /// Its mode, without the type.
        got: u32,
    },
    /// Longer than [`MAX_FILE`].
    #[error("{got} bytes; at most {MAX_FILE} were expected")]
    TooLong {
        /// Its length.
        got: usize,
    },
    /// Not UTF-8.
    #[error("line {line}: not UTF-8 text")]
    Encoding {
        /// Where.
        line: usize,
    },
    /// Neither a key nor a section.
    #[error("line {line}: key = value or [target \"iqn…\"] was expected")]
    Syntax {
        /// Where.
        line: usize,
    },
    /// Not a name.
    #[error("line {line}: {source}")]
    Target {
        /// Where.
        line: usize,
        /// What is wrong with it.
        source: NameError,
    },
    /// A target has two sections.
    #[error("line {line}: a second section for {target}; the first begins on line {first}")]
    DuplicateSection {
        /// Where.
        line: usize,
        /// Which.
        target: Iqn,
        /// Where the first is.
        first: usize,
    },
    /// A key that there is not.
    #[error("line {line}: {got:?} is no key; username, password, username_in and password_in are")]
    Key {
        /// Where.
        line: usize,
        /// The key.
        got: String,
    },
    /// A key twice in one section.
    #[error("line {line}: {key} stands a second time in this section")]
    DuplicateKey {
        /// Where.
        line: usize,
        /// Which.
        key: &'static str,
    },
    /// Empty, too long, or not closed.
    #[error("line {line}: the value of {key}: 1 to {MAX_VALUE} bytes were expected, with a closing quote if there is an opening one")]
    Value {
        /// Where.
        line: usize,
        /// Which key.
        key: &'static str,
    },
    /// Half of a pair.
    #[error("section of line {line}: {key} without {partner}")]
    Partner {
        /// Where the section begins; 1 for the default.
        line: usize,
        /// What there is.
        key: &'static str,
        /// What is missing.
        partner: &'static str,
    },
    /// Both directions have one secret: it would prove nothing.
    #[error("section of line {line}: password and password_in are the same; they must differ (RFC 7143 12.1.3)")]
    SameSecret {
        /// Where the section begins; 1 for the default.
        line: usize,
    },
}

const KEYS: [&str; 4] = ["username", "password", "username_in", "password_in"];

/// The credentials of all targets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialsFile {
    default: Option<Credentials>,
    targets: Vec<(Iqn, Option<Credentials>)>,
}

/// Whether a file of this mode (`st_mode`) keeps secrets.
///
/// # Errors
/// [`CredentialsError::Mode`] unless it is 0600 or 0400.
pub const fn check_mode(mode: u32) -> Result<(), CredentialsError> {
    match mode & 0o7777 {
        0o600 | 0o400 => Ok(()),
        got => Err(CredentialsError::Mode { got }),
    }
}

struct Section {
    line: usize,
    target: Option<Iqn>,
    values: [Option<Secret>; 4],
}

impl Section {
    const fn new(line: usize, target: Option<Iqn>) -> Self {
        Self { line, target, values: [None, None, None, None] }
    }

    fn finish(self) -> Result<(Option<Iqn>, Option<Credentials>), CredentialsError> {
        let line = self.line;
        let partner = |key, partner| CredentialsError::Partner { line, key, partner };
        let [username, password, username_in, password_in] = self.values;
        let own = pair(username, password).map_err(|have| match have {
            Half::Name => partner("username", "password"),
            Half::Secret => partner("password", "username"),
        })?;
        let target = pair(username_in, password_in).map_err(|have| match have {
            Half::Name => partner("username_in", "password_in"),
            Half::Secret => partner("password_in", "username_in"),
        })?;
        let credentials = match (own, target) {
            (None, None) => None,
            (None, Some(_)) => return Err(partner("username_in", "username")),
            (Some(own), target) => {
                if target.as_ref().is_some_and(|target| target.secret == own.secret) {
                    return Err(CredentialsError::SameSecret { line });
                }
                Some(Credentials { own, target })
            }
        };
        Ok((self.target, credentials))
    }
}

enum Half {
    Name,
    Secret,
}

fn pair(name: Option<Secret>, secret: Option<Secret>) -> Result<Option<Account>, Half> {
    match (name, secret) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Half::Name),
        (None, Some(_)) => Err(Half::Secret),
        (Some(name), Some(secret)) => Ok(Some(Account {
            // It came from a text.
            name: String::from_utf8_lossy(name.reveal()).into_owned(),
            secret,
        })),
    }
}

impl CredentialsFile {
    /// Reads the file's contents.
    ///
    /// # Errors
    /// [`CredentialsError`] with the line, and never with a value.
    pub fn parse(contents: &[u8]) -> Result<Self, CredentialsError> {
        if contents.len() > MAX_FILE {
            return Err(CredentialsError::TooLong { got: contents.len() });
        }
        let mut file = Self::default();
        let mut sections: Vec<(Iqn, usize)> = Vec::new();
        let mut section = Section::new(1, None);
        for (line, text) in (1..).zip(contents.split(|byte| *byte == b'\n')) {
            let text = std::str::from_utf8(text).map_err(|_| CredentialsError::Encoding { line })?.trim();
            if text.is_empty() || text.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = text.strip_prefix('[') {
                let target = parse_header(header, line)?;
                if let Some((_, first)) = sections.iter().find(|(known, _)| *known == target) {
                    return Err(CredentialsError::DuplicateSection { line, target, first: *first });
                }
                sections.push((target.clone(), line));
                file.add(std::mem::replace(&mut section, Section::new(line, Some(target))))?;
            } else {
                parse_key(text, line, &mut section)?;
            }
        }
        file.add(section)?;
        Ok(file)
    }

    fn add(&mut self, section: Section) -> Result<(), CredentialsError> {
        match section.finish()? {
            (None, credentials) => self.default = credentials,
            (Some(target), credentials) => self.targets.push((target, credentials)),
        }
        Ok(())
    }

    /// The credentials for this target; `None` means a login without CHAP.
    pub fn credentials_for(&self, target: &Iqn) -> Option<&Credentials> {
        match self.targets.iter().find(|(known, _)| known == target) {
            Some((_, credentials)) => credentials.as_ref(),
            None => self.default.as_ref(),
        }
    }

    /// The credentials for whatever has no section of its own: also for the discovery.
    pub const fn default_credentials(&self) -> Option<&Credentials> {
        self.default.as_ref()
    }
}

/// `target "iqn…"]`
fn parse_header(header: &str, line: usize) -> Result<Iqn, CredentialsError> {
    header
        .strip_prefix("target")
        .and_then(|rest| rest.strip_suffix(']'))
        .map(str::trim)
        .and_then(|quoted| quoted.strip_prefix('"')?.strip_suffix('"'))
        .ok_or(CredentialsError::Syntax { line })?
        .parse()
        .map_err(|source| CredentialsError::Target { line, source })
}

fn parse_key(text: &str, line: usize, section: &mut Section) -> Result<(), CredentialsError> {
    let (key, value) = text.split_once('=').ok_or(CredentialsError::Syntax { line })?;
    let (key, value) = (key.trim(), value.trim());
    let Some((key, place)) = KEYS.iter().zip(&mut section.values).find(|(known, _)| **known == key) else {
        // A secret pasted without its key must not come out here, so only what looks like a key does.
        let looks_like_one = key.len() <= 32 && key.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_');
        return Err(if looks_like_one {
            CredentialsError::Key { line, got: shown(key.as_bytes()) }
        } else {
            CredentialsError::Syntax { line }
        });
    };
    let value = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(CredentialsError::Value { line, key })?,
        None => value,
    };
    // A NUL would end it for the kernel.
    if value.is_empty() || value.len() > MAX_VALUE || value.contains('\0') {
        return Err(CredentialsError::Value { line, key });
    }
    if place.replace(Secret::new(value)).is_some() {
        return Err(CredentialsError::DuplicateKey { line, key });
    }
    Ok(())
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
