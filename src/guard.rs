//! One node alone writes to a LUN: the target holds a persistent reservation for it (SPC-4 5.13), Write Exclusive, under a
//! key that bears the node's hardware address. The target refuses what another node writes, also what a node that was
//! slow or paused had still to write when the reservation went to another.
//!
//! The reservation outlives the session: a node that died has its LUN again at once, and nobody else has.

use std::fmt;
use std::io;
use std::str::FromStr;

use thiserror::Error;

use crate::iscsi::tcp::TcpError;
use crate::scsi::{holder, keys, Answer, Command, Keys, Meaning, Sense};

/// What the keys of this program begin with: `SD`.
const MARK: [u8; 2] = *b"SD";
/// How often a target may tell of a unit attention in place of an answer: there are about four that a new login can meet.
const ATTENTIONS: u32 = 6;

/// LOGICAL UNIT COMMUNICATION FAILURE: what LIO answers to a registration where there is neither `/etc/target/pr` nor
/// `/var/target/pr` (Linux: `core_scsi3_update_and_write_aptpl` in `drivers/target/target_core_pr.c`).
const NOT_NOTED: Sense = Sense { key: 2, code: 0x08, qualifier: 0 };

/// A node, as a reservation knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key(u64);

impl Key {
    /// That of the node with this hardware address.
    #[must_use]
    pub const fn new(mac: [u8; 6]) -> Self {
        let ([a, b], [c, d, e, f, g, h]) = (MARK, mac);
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }
}

impl fmt::Display for Key {
    /// Who that is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_be_bytes() {
            [a, b, mac @ ..] if [a, b] == MARK => {
                let [c, d, e, g, h, i] = mac;
                write!(f, "the node {c:02x}:{d:02x}:{e:02x}:{g:02x}:{h:02x}:{i:02x}")
            }
            _ => write!(f, "somebody with the key {:#018x}", self.0),
        }
    }
}

/// A reservation: whose, and on which LUN. As text `5344525400010203@1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// Whose.
    pub key: Key,
    /// The LUN, as a person counts.
    pub lun: u64,
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}@{}", self.key.0, self.lun)
    }
}

impl FromStr for Reserved {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (key, lun) = text.split_once('@')?;
            Some(Self { key: Key(u64::from_str_radix(key, 16).ok()?), lun: lun.parse().ok()? })
        };
        parse().ok_or("a key in hexadecimal, @ and a LUN were expected, as in 5344525400010203@1")
    }
}

/// Why the LUN is not this node's alone.
#[derive(Debug, Error)]
pub enum GuardError {
    /// Another node writes to it.
    #[error("{0} has reserved the LUN, and may be writing to it")]
    Taken(Key),
    /// The reservation is gone, and not only because the target started anew.
    #[error(
        "the reservation of the LUN is gone, and somebody has registered there since: what is on the LUN may have changed"
    )]
    Gone,
    /// The target has no persistent reservations.
    #[error("the target has no persistent reservations")]
    Unsupported,
    /// The target said no.
    #[error("{command}: the target answered with status {status:#04x}, sense {sense}")]
    Refused {
        /// The command's name.
        command: &'static str,
        /// The target's status.
        status: u8,
        /// Why.
        sense: Sense,
    },
    /// The target has more to tell than the commands of an errand can hear.
    #[error("the target answered each command with a unit attention")]
    Busy,
    /// Data that the target wants to be asked for first.
    #[error("the target takes no data along with a command (ImmediateData=No)")]
    NoImmediateData,
    /// An answer that is none.
    #[error("{0}: the target sent {1} bytes that are no answer to it")]
    Answer(&'static str, usize),
    /// The command was not delivered to the disk.
    #[error("the disk cannot be asked: {0}")]
    Disk(#[from] io::Error),
    /// The command was not delivered to the target.
    #[error(transparent)]
    Tcp(#[from] TcpError),
}

impl GuardError {
    /// Whether another node may have written: then this one must not, any more.
    #[must_use]
    pub const fn is_loss(&self) -> bool {
        matches!(self, Self::Taken(_) | Self::Gone)
    }
}

/// When the reservation is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the volume is mounted.
    Mount,
    /// Before it is mounted, and whoever has it shall lose it.
    TakeOver,
    /// While it is mounted: this node had the reservation before.
    Recovery,
}

/// How it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Was {
    /// Nobody's.
    Free,
    /// This node's own.
    Own,
    /// That one's.
    Of(Key),
}

/// Decides what to do about the holder of the reservation.
///
/// # Errors
/// [`GuardError::Taken`], [`GuardError::Gone`]
fn judge(own: Key, moment: Moment, keys: &Keys, holder: Option<u64>) -> Result<Was, GuardError> {
    match holder {
        Some(key) if key == own.0 => Ok(Was::Own),
        Some(key) if moment == Moment::TakeOver => Ok(Was::Of(Key(key))),
        Some(key) => Err(GuardError::Taken(Key(key))),
        // A target that starts anew may have forgotten all: it then counts from 0. What was counted since is another node,
        // which may have been here and be gone again.
        None if moment == Moment::Recovery && keys.generation != 0 && !keys.keys.contains(&own.0) => {
            Err(GuardError::Gone)
        }
        None => Ok(Was::Free),
    }
}

/// Carries a command to the target.
pub type Send<'a> = dyn FnMut(&Command) -> Result<Answer, GuardError> + 'a;

/// Makes the reservation this node's, or makes sure of it; says how it was before.
///
/// Some targets (LIO) know a node by its name and ISID, others (tgt) by its login: there a node that logs in again is a
/// stranger, and has to take the reservation over from itself.
///
/// # Errors
/// [`GuardError`]; the reservation is as it was then.
pub fn hold(own: Key, moment: Moment, send: &mut Send<'_>) -> Result<Was, GuardError> {
    let (read, data) = ask(send, Command::ReadKeys)?;
    let registered = keys(&data).ok_or(GuardError::Answer(read, data.len()))?;
    let was = judge(own, moment, &registered, read_holder(send)?)?;
    let key = own.0;
    ask(send, Command::Register { new: key })?;
    let command = match was {
        Was::Free => Command::Reserve { key },
        Was::Own => Command::Preempt { key, other: key },
        Was::Of(Key(other)) => Command::Preempt { key, other },
    };
    match ask(send, command) {
        Ok(_) => Ok(was),
        // Was another node faster by a moment?
        Err(error) => match read_holder(send)?.filter(|other| *other != key) {
            Some(other) => {
                ask(send, Command::Register { new: 0 })?;
                Err(GuardError::Taken(Key(other)))
            }
            None => Err(error),
        },
    }
}

/// Gives the reservation back: another node may have the LUN.
///
/// # Errors
/// [`GuardError`]
pub fn release(send: &mut Send<'_>) -> Result<(), GuardError> {
    // The holder's reservation ends with its registration (SPC-4 5.13.11.2).
    ask(send, Command::Register { new: 0 }).map(drop)
}

fn read_holder(send: &mut Send<'_>) -> Result<Option<u64>, GuardError> {
    let (read, data) = ask(send, Command::ReadReservation)?;
    holder(&data).ok_or(GuardError::Answer(read, data.len()))
}

/// Asks until there is an answer; gives the command's name and the answer's data.
fn ask(send: &mut Send<'_>, command: Command) -> Result<(&'static str, Vec<u8>), GuardError> {
    let name = command.name();
    let mut attentions = 0;
    loop {
        let answer = send(&command)?;
        match answer.meaning() {
            Meaning::Done => return Ok((name, answer.data)),
            // LIO: done, but not noted in a file for the target's next start. Whether it is done shows the next command.
            Meaning::Failed if answer.sense == NOT_NOTED && matches!(command, Command::Register { .. }) => {
                return Ok((name, Vec::new()));
            }
            Meaning::Again if attentions < ATTENTIONS => attentions = attentions.saturating_add(1),
            Meaning::Unknown => return Err(GuardError::Unsupported),
            _ => return Err(GuardError::Refused { command: name, status: answer.status, sense: answer.sense }),
        }
    }
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
