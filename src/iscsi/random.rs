//! Random bytes for a login.

use std::io;

use rustix::rand::{getrandom, GetRandomFlags};

use super::chap::OwnChallenge;

/// A fresh challenge for CHAP, and three bytes for an ISID.
///
/// # Errors
/// getrandom(2)
pub fn random(flags: GetRandomFlags) -> io::Result<(OwnChallenge, [u8; 3])> {
    let mut bytes = [0_u8; 20];
    if getrandom(&mut bytes, flags)? < bytes.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let [id, a, b, c, challenge @ ..] = bytes;
    Ok((OwnChallenge { id, challenge }, [a, b, c]))
}
