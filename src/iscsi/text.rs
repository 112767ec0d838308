//! Text of login and text PDUs: `key=value` pairs, each ended by a NUL (RFC 7143 section 6.1).

use thiserror::Error;

use crate::bytes::shown;

/// The longest key in bytes (RFC 7143 section 6.1).
pub const MAX_KEY: usize = 63;
/// The longest value in bytes: the longest that RFC 7143 section 6.1 allows to any kind of value.
pub const MAX_VALUE: usize = 8192;
/// How many keys one answer of a login may have; the RFC knows less than fifty.
pub const MAX_KEYS: usize = 128;

/// Why bytes are no text.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TextError {
    /// The pieces of a text are longer together than was allowed.
    #[error("a text of more than {limit} bytes in the PDUs of one answer")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// The last pair has no NUL.
    #[error("{got:?}: the text ends without a NUL")]
    Unterminated {
        /// Where it ends.
        got: String,
    },
    /// No `=`.
    #[error("{got:?}: key=value was expected")]
    NoValue {
        /// The pair.
        got: String,
    },
    /// Not a key.
    #[error(
        "{got:?} is no key; a letter and then at most 62 letters, digits, '.', '-', '+', '@' or '_' were expected"
    )]
    Key {
        /// The key.
        got: String,
    },
    /// A value too long or not UTF-8.
    #[error("{key}: a value of {got} bytes; at most {MAX_VALUE} of UTF-8 were expected")]
    Value {
        /// The key.
        key: String,
        /// The length of its value in bytes.
        got: usize,
    },
    /// One key twice.
    #[error("{key} stands twice in one answer")]
    Duplicate {
        /// The key.
        key: String,
    },
    /// More than [`MAX_KEYS`].
    #[error("more than {MAX_KEYS} keys in one answer")]
    TooMany,
}

/// Joins the pieces of a text that spans PDUs: a pair may be cut anywhere.
#[derive(Debug)]
pub struct Joined {
    bytes: Vec<u8>,
    limit: usize,
}

impl Joined {
    /// Nothing yet, and never more than `limit` bytes.
    pub const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), limit }
    }

    /// Adds a PDU's data segment.
    ///
    /// # Errors
    /// [`TextError::TooLong`] beyond the limit.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), TextError> {
        if self.bytes.len().saturating_add(piece.len()) > self.limit {
            return Err(TextError::TooLong { limit: self.limit });
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The text so far, which leaves nothing behind.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// The pairs of a whole text in their order; one key may stand there many times, as `TargetName` does.
pub fn pairs(text: &[u8]) -> impl Iterator<Item = Result<(&str, &str), TextError>> {
    text.split_inclusive(|byte| *byte == 0)
        // Padding that a target counted as data.
        .filter(|pair| *pair != [0])
        .map(pair)
}

fn pair(bytes: &[u8]) -> Result<(&str, &str), TextError> {
    let Some((0, bytes)) = bytes.split_last() else {
        return Err(TextError::Unterminated { got: shown(bytes) });
    };
    let mut halves = bytes.splitn(2, |byte| *byte == b'=');
    let (Some(key), Some(value)) = (halves.next(), halves.next()) else {
        return Err(TextError::NoValue { got: shown(bytes) });
    };
    let key =
        std::str::from_utf8(key).ok().filter(|key| is_key(key)).ok_or_else(|| TextError::Key { got: shown(key) })?;
    let value = std::str::from_utf8(value)
        .ok()
        .filter(|value| value.len() <= MAX_VALUE)
        .ok_or_else(|| TextError::Value { key: key.to_owned(), got: value.len() })?;
    Ok((key, value))
}

fn is_key(key: &str) -> bool {
    key.len() <= MAX_KEY
        && key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'@' | b'_'))
}

/// The pairs of one answer, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Keys<'a> {
    /// Reads a whole text.
    ///
    /// # Errors
    /// [`TextError`]; a key that stands twice is one.
    pub fn parse(text: &'a [u8]) -> Result<Self, TextError> {
        let mut keys: Vec<(&str, &str)> = Vec::new();
        for pair in pairs(text) {
            let (key, value) = pair?;
            if keys.iter().any(|(known, _)| *known == key) {
                return Err(TextError::Duplicate { key: key.to_owned() });
            }
            if keys.len() >= MAX_KEYS {
                return Err(TextError::TooMany);
            }
            keys.push((key, value));
        }
        Ok(Self(keys))
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| *value)
    }

    /// All pairs in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.0.iter().copied()
    }
}

/// Adds `key=value` and its NUL to `text`.
pub fn push(text: &mut Vec<u8>, key: &str, value: &str) {
    for part in [key, "=", value, "\0"] {
        text.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_texts() {
        for (text, want) in [
            (&b""[..], vec![]),
            (b"\0\0\0", vec![]),
            (b"A=\0", vec![("A", "")]),
            (b"A=b=c\0\0", vec![("A", "b=c")]),
            (b"TargetName=iqn.x\0X-org.example.k=1\0", vec![("TargetName", "iqn.x"), ("X-org.example.k", "1")]),
        ] {
            assert_eq!(Keys::parse(text), Ok(Keys(want)), "{}", shown(text));
        }
    }

    #[test]
    fn bad_texts() {
        let long_key = [&[b'k'; 64][..], b"=1\0"].concat();
        let long_value = [b"A=", &[b'v'; MAX_VALUE + 1][..], b"\0"].concat();
        let many: Vec<u8> = (0..=MAX_KEYS).flat_map(|n| format!("k{n}=\0").into_bytes()).collect();
        let key_rule =
            "is no key; a letter and then at most 62 letters, digits, '.', '-', '+', '@' or '_' were expected";
        for (text, want) in [
            (&b"A=1"[..], "\"A=1\": the text ends without a NUL".to_owned()),
            (b"A=1\0B", "\"B\": the text ends without a NUL".into()),
            (b"A\0", "\"A\": key=value was expected".into()),
            (b"=1\0", format!("\"\" {key_rule}")),
            (b"1A=1\0", format!("\"1A\" {key_rule}")),
            (b"A B=1\0", format!("\"A B\" {key_rule}")),
            (&long_key, format!("\"{}\" {key_rule}", "k".repeat(64))),
            (b"A=\xff\0", "A: a value of 1 bytes; at most 8192 of UTF-8 were expected".into()),
            (&long_value, "A: a value of 8193 bytes; at most 8192 of UTF-8 were expected".into()),
            (b"A=1\0A=1\0", "A stands twice in one answer".into()),
            (&many, "more than 128 keys in one answer".into()),
        ] {
            assert_eq!(Keys::parse(text).map_err(|e| e.to_string()), Err(want), "{}", shown(text));
        }
    }

    #[test]
    fn pieces_are_joined_before_they_are_read() {
        let mut joined = Joined::new(10);
        joined.push(b"Targ").unwrap();
        joined.push(b"et=1\0").unwrap();
        assert_eq!(joined.push(b"xx"), Err(TextError::TooLong { limit: 10 }));
        let text = joined.take();
        assert_eq!(Keys::parse(&text).unwrap().get("Target"), Some("1"));
        assert_eq!(joined.take(), b"");
    }

    #[test]
    fn any_bytes_never_panic() {
        let mut random = crate::iscsi::testing::Random::new(3);
        for _ in 0..50_000 {
            let text = random.of(b"AB=\0\0=ab,\xff\xc3\xa4", 60);
            if let Ok(keys) = Keys::parse(&text) {
                let mut again = Vec::new();
                for (key, value) in keys.iter() {
                    push(&mut again, key, value);
                }
                assert_eq!(Keys::parse(&again), Ok(keys));
            }
        }
    }
}
