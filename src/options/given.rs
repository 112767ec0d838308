//! The words of a command line as values of keys.

use super::error::OptionError;
use super::keys::{Key, KEYS};
use super::values::Value;
use crate::cmdline::{same_key, Word};

/// Where keys that are new with this program live: an unknown one below it is an error.
const NAMESPACE: &str = "sidus.";

/// The words of a command line, and what was found wrong with them so far.
pub(super) struct Given<'a> {
    pub(super) words: Vec<Word<'a>>,
    pub(super) problems: Vec<OptionError>,
}

impl Given<'_> {
    pub(super) fn refuse_unknown_keys(&mut self) {
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
    pub(super) fn value<T: Value>(&mut self, key: &Key) -> Option<T> {
        let (name, value) = self.raw(key)?;
        let parsed = T::read(&value);
        if parsed.is_none() {
            self.problems.push(OptionError::Value { key: name, value: shown(key, &value), accepts: key.accepts });
        }
        parsed
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&mut self, key: &Key, because: &'static str) {
        self.problems.push(OptionError::Missing { key: key.name(), because, accepts: key.accepts });
    }
}

/// A value as an error may show it.
fn shown(key: &Key, value: &str) -> String {
    if key.secret { "(a secret)" } else { value }.to_owned()
}
