//! CHAP: proves that one knows a secret without telling it (RFC 7143 section 12.1.3, RFC 1994).

use std::fmt;

use md5::{Digest, Md5};
use sha2::Sha256;
use thiserror::Error;

use super::text::Keys;
use crate::bytes::shown;

/// The longest challenge or response in binary bytes (RFC 7143 section 12.1.3).
pub const MAX_BINARY: usize = 1024;
/// The length of the challenge that this side sets, in bytes.
pub const CHALLENGE: usize = 16;

/// A secret: never shown, and overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the secret over.
    pub fn new(text: impl Into<Vec<u8>>) -> Self {
        Self(text.into())
    }

    /// The secret itself: for CHAP and for the kernel, never for a log.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// A name and its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// CHAP_N.
    pub name: String,
    /// What both sides know.
    pub secret: Secret,
}

/// How a node proves who it is, and, for mutual CHAP, the target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The node's own account at the target.
    pub own: Account,
    /// The account with which the target has to prove itself.
    pub target: Option<Account>,
}

/// The digests of CHAP_A (the registry "PPP Authentication Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// 5: what every target has.
    Md5,
    /// 7: only where it is asked for; some targets take 7 for SHA-1.
    Sha256,
}

impl Algorithm {
    /// As it stands in CHAP_A.
    pub const fn number(self) -> &'static str {
        match self {
            Self::Md5 => "5",
            Self::Sha256 => "7",
        }
    }
}

/// The challenge that this side sets for mutual CHAP: random bytes, fresh for each login.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OwnChallenge {
    /// CHAP_I.
    pub id: u8,
    /// CHAP_C.
    pub challenge: [u8; CHALLENGE],
}

impl fmt::Debug for OwnChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnChallenge")
    }
}

/// Why CHAP came to no good end.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChapError {
    /// A key that had to be there.
    #[error("the target's answer has no {key}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// An algorithm that was not offered.
    #[error("the target wants CHAP algorithm {got:?}; {offered:?} was offered")]
    Algorithm {
        /// What it wants.
        got: String,
        /// What it could have.
        offered: String,
    },
    /// CHAP_I is no byte.
    #[error("CHAP_I={got:?}; a number from 0 to 255 was expected")]
    Id {
        /// What it is.
        got: String,
    },
    /// Not a binary value.
    #[error("{key} is neither hexadecimal (0x…) nor base64 (0b…) of 1 to {MAX_BINARY} bytes")]
    Binary {
        /// The key.
        key: &'static str,
    },
    /// The target sent back the challenge that this side had set.
    #[error(
        "the target reflected this node's own challenge; it does not know its secret, or somebody stands in between"
    )]
    ReflectedChallenge,
    /// The target proved the secret of the node, not its own.
    #[error("the target proved the node's secret in place of its own; both must differ (RFC 7143 12.1.3)")]
    ReflectedResponse,
    /// The target has another name.
    #[error("the target calls itself {got:?}; username_in says {want:?}")]
    Name {
        /// Its CHAP_N.
        got: String,
        /// The name in the credentials.
        want: String,
    },
    /// The target does not know its own secret.
    #[error("the target proved a wrong secret; compare password_in with the outgoing account on the target")]
    WrongResponse,
}

/// What the target has to prove after [`answer`].
#[derive(Clone, PartialEq, Eq)]
pub struct Expected {
    name: String,
    challenge: [u8; CHALLENGE],
    response: Vec<u8>,
    reflected: Vec<u8>,
}

impl fmt::Debug for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Expected")
    }
}

/// Keys to send, with their values.
pub type Pairs = Vec<(&'static str, String)>;

/// The value of CHAP_A that offers `algorithms` in this order.
pub fn offer(algorithms: &[Algorithm]) -> String {
    let mut text = String::new();
    for algorithm in algorithms {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(algorithm.number());
    }
    text
}

/// Answers the target's CHAP_A, CHAP_I and CHAP_C: the keys to send, and what it then has to prove.
///
/// # Errors
/// [`ChapError`]: what the target sent is no challenge, or it is ours.
pub fn answer(
    credentials: &Credentials,
    offered: &[Algorithm],
    own: &OwnChallenge,
    keys: &Keys<'_>,
) -> Result<(Pairs, Option<Expected>), ChapError> {
    let number = get(keys, "CHAP_A")?;
    let algorithm = offered
        .iter()
        .copied()
        .find(|algorithm| algorithm.number() == number)
        .ok_or_else(|| ChapError::Algorithm { got: shown(number.as_bytes()), offered: offer(offered) })?;
    let id = get(keys, "CHAP_I")?;
    let id = parse_id(id).ok_or_else(|| ChapError::Id { got: shown(id.as_bytes()) })?;
    let challenge = get_binary(keys, "CHAP_C")?;
    if challenge == own.challenge {
        return Err(ChapError::ReflectedChallenge);
    }
    let response = |id, secret: &Secret, challenge: &[u8]| respond(algorithm, id, secret.reveal(), challenge);
    let account = &credentials.own;
    let mut pairs = vec![("CHAP_N", account.name.clone()), ("CHAP_R", hex(&response(id, &account.secret, &challenge)))];
    let expected = credentials.target.as_ref().map(|target| {
        pairs.push(("CHAP_I", own.id.to_string()));
        pairs.push(("CHAP_C", hex(&own.challenge)));
        Expected {
            name: target.name.clone(),
            challenge: own.challenge,
            response: response(own.id, &target.secret, &own.challenge),
            reflected: response(own.id, &account.secret, &own.challenge),
        }
    });
    Ok((pairs, expected))
}

/// Checks the proof of the target, in constant time.
///
/// # Errors
/// [`ChapError`] if it proves nothing, another secret, or sends a challenge again.
pub fn verify(expected: &Expected, keys: &Keys<'_>) -> Result<(), ChapError> {
    if keys.get("CHAP_C").is_some() && same(&get_binary(keys, "CHAP_C")?, &expected.challenge) {
        return Err(ChapError::ReflectedChallenge);
    }
    let name = get(keys, "CHAP_N")?;
    let response = get_binary(keys, "CHAP_R")?;
    if same(&response, &expected.reflected) {
        return Err(ChapError::ReflectedResponse);
    }
    if !same(&response, &expected.response) {
        return Err(ChapError::WrongResponse);
    }
    if name != expected.name {
        return Err(ChapError::Name { got: shown(name.as_bytes()), want: expected.name.clone() });
    }
    Ok(())
}

fn get<'a>(keys: &Keys<'a>, key: &'static str) -> Result<&'a str, ChapError> {
    keys.get(key).ok_or(ChapError::Missing { key })
}

fn get_binary(keys: &Keys<'_>, key: &'static str) -> Result<Vec<u8>, ChapError> {
    binary(get(keys, key)?).ok_or(ChapError::Binary { key })
}

fn parse_id(text: &str) -> Option<u8> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u8::from_str_radix(digits, 16).ok(),
        None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    }
}

/// The response of RFC 1994 section 4.1: the digest over id, secret and challenge.
fn respond(algorithm: Algorithm, id: u8, secret: &[u8], challenge: &[u8]) -> Vec<u8> {
    fn digest<D: Digest>(parts: [&[u8]; 3]) -> Vec<u8> {
        let mut digest = D::new();
        for part in parts {
            digest.update(part);
        }
        digest.finalize().to_vec()
    }
    let parts = [&[id][..], secret, challenge];
    match algorithm {
        Algorithm::Md5 => digest::<Md5>(parts),
        Algorithm::Sha256 => digest::<Sha256>(parts),
    }
}

/// Takes the same time wherever two strings of one length differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = a.iter().zip(b).fold(0, |sum, (x, y)| sum | (x ^ y));
    a.len() == b.len() && std::hint::black_box(difference) == 0
}

/// A binary value as hexadecimal text (RFC 7143 section 6.1).
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::from("0x");
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Reads a binary value of 1 to [`MAX_BINARY`] bytes: `0x` and hexadecimal digits, or `0b` and
/// base64 (RFC 7143 section 6.1).
pub fn binary(text: &str) -> Option<Vec<u8>> {
    let (base, digits) = text.split_at_checked(2)?;
    let bytes = match base {
        "0x" | "0X" => from_hex(digits.as_bytes()),
        "0b" | "0B" => from_base64(digits.as_bytes()),
        _ => None,
    }?;
    (1..=MAX_BINARY).contains(&bytes.len()).then_some(bytes)
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    if digits.len() > MAX_BINARY.saturating_mul(2) {
        return None;
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    // An odd number of digits: the first byte has only its low half.
    let (first, pairs) = match digits.split_first() {
        Some((first, rest)) if rest.len() % 2 == 0 => (Some(digit(first)?), rest),
        _ => (None, digits),
    };
    let mut bytes: Vec<u8> = Vec::with_capacity(digits.len().div_ceil(2));
    bytes.extend(first.and_then(|value| u8::try_from(value).ok()));
    for pair in pairs.chunks_exact(2) {
        let [high, low] = pair else { return None };
        bytes.push(u8::try_from((digit(high)? << 4) | digit(low)?).ok()?);
    }
    Some(bytes)
}

fn from_base64(digits: &[u8]) -> Option<Vec<u8>> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if digits.len() > MAX_BINARY.saturating_mul(2) || digits.len() % 4 != 0 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len());
    let mut ended = false;
    for group in digits.chunks_exact(4) {
        if ended {
            return None;
        }
        let filled = group.iter().take_while(|byte| **byte != b'=').count();
        if filled < 2 || group.iter().skip(filled).any(|byte| *byte != b'=') {
            return None;
        }
        ended = filled < 4;
        let mut word = 0_u32;
        for byte in group {
            let value = match byte {
                b'=' => 0,
                _ => ALPHABET.iter().position(|known| known == byte)?,
            };
            word = (word << 6) | u32::try_from(value).ok()?;
        }
        let [_, triple @ ..] = word.to_be_bytes();
        bytes.extend(triple.iter().take(filled.saturating_sub(1)));
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "chap_tests.rs"]
pub(in crate::iscsi) mod tests;
