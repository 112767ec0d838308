//! The words of a command line as values of keys.

use super::error::OptionError;
use super::keys::Key;
use super::values::Value;
use crate::cmdline::Word;

/// The words of a command line, and what was found wrong with them so far.
pub(super) struct Given<'a> {
    pub(super) words: Vec<Word<'a>>,
    pub(super) problems: Vec<OptionError>,
}

impl Given<'_> {
    /// The raw value of a key: the key as written, and its value, empty where it has none; nothing where it has several.
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
                        first: shown(key.secret, first),
                        second: shown(key.secret, value),
                        accepts: key.accepts,
                    });
                    return None;
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
            let value = shown(key.secret, &value);
            self.problems.push(OptionError::Value { key: name, value, accepts: key.accepts });
        }
        parsed
    }

    /// Notes that a key is missing.
    pub(super) fn missing(&mut self, key: &Key, because: &'static str) {
        self.problems.push(OptionError::Missing { key: key.name(), because, accepts: key.accepts });
    }
}

/// A value as an error may show it.
pub(super) fn shown(secret: bool, value: &str) -> String {
    if secret { "(a secret)" } else { value }.to_owned()
}
