//! An iSCSI initiator that needs no other program (RFC 7143).
//!
//! What decides does no I/O: [`pdu`] and [`text`] are the bytes, [`chap`] proves a secret, [`login`]
//! and [`discovery`] take one PDU in and give one action out, [`netlink`] and [`params`] are what
//! the kernel is told. What acts is thin: [`tcp`] carries a login or a discovery over a socket,
//! [`session`] carries the login through the kernel, whose session becomes the disk, and [`errand`] has something to
//! settle with the target before the disk is let go on.
//! [`name`], [`identity`] and [`credentials`] are what a person writes.
// Lengths here come from the network. Tests may count as they like.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod chap;
mod crc32c;
pub mod credentials;
pub mod deadline;
pub mod discovery;
pub mod disks;
pub mod errand;
mod header;
pub mod identity;
pub mod kernel;
pub mod login;
mod login_error;
pub mod name;
pub mod negotiation;
pub mod netlink;
pub mod params;
pub mod pdu;
pub mod random;
pub mod session;
mod session_error;
pub mod status;
pub mod tcp;
#[cfg(test)]
pub(crate) mod testing;
pub mod text;
