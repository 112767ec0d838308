//! SCSI commands and their answers, byte by byte (SPC-4): those of persistent reservations, and TEST UNIT READY.

pub mod sg;

use std::fmt;

use crate::bytes::{at, Reader};

/// How much of an answer is taken, in bytes: the keys of 511 registrations.
pub const MAX_DATA: u16 = 4096;
/// How much sense data is looked at, in bytes: SPC-4 4.5.1 allows 252.
pub const MAX_SENSE: usize = 96;

/// SAM-5 5.3.1.
const GOOD: u8 = 0x00;
const CHECK_CONDITION: u8 = 0x02;
const RESERVATION_CONFLICT: u8 = 0x18;

/// SPC-4 6.16.3: Write Exclusive, of the logical unit. Others may read, and so tell who holds it.
const WRITE_EXCLUSIVE: u8 = 0x01;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// SPC-4 6.47: asks nothing.
    TestUnitReady,
    /// SPC-4 6.15.2: who is registered.
    ReadKeys,
    /// SPC-4 6.15.3: who holds the reservation.
    ReadReservation,
    /// SPC-4 6.16, REGISTER AND IGNORE EXISTING KEY: with this key, or with 0 no more.
    Register {
        /// The key.
        new: u64,
    },
    /// SPC-4 6.16, RESERVE.
    Reserve {
        /// The own key.
        key: u64,
    },
    /// SPC-4 6.16, PREEMPT: takes the reservation over, and ends the registrations with the other key; with the own one,
    /// those of earlier logins.
    Preempt {
        /// The own key.
        key: u64,
        /// That of the holder.
        other: u64,
    },
}

impl Command {
    /// What it is called.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TestUnitReady => "TEST UNIT READY",
            Self::ReadKeys => "PERSISTENT RESERVE IN, READ KEYS",
            Self::ReadReservation => "PERSISTENT RESERVE IN, READ RESERVATION",
            Self::Register { .. } => "PERSISTENT RESERVE OUT, REGISTER",
            Self::Reserve { .. } => "PERSISTENT RESERVE OUT, RESERVE",
            Self::Preempt { .. } => "PERSISTENT RESERVE OUT, PREEMPT",
        }
    }

    /// The command descriptor block.
    #[must_use]
    pub fn cdb(&self) -> [u8; 10] {
        let [high, low] = MAX_DATA.to_be_bytes();
        let read = |action| [0x5e, action, 0, 0, 0, 0, 0, high, low, 0];
        let write = |action, kind| [0x5f, action, kind, 0, 0, 0, 0, 0, 24, 0];
        match self {
            Self::TestUnitReady => [0; 10],
            Self::ReadKeys => read(0x00),
            Self::ReadReservation => read(0x01),
            Self::Register { .. } => write(0x06, 0),
            Self::Reserve { .. } => write(0x01, WRITE_EXCLUSIVE),
            Self::Preempt { .. } => write(0x04, WRITE_EXCLUSIVE),
        }
    }

    /// What is transferred with it.
    #[must_use]
    pub fn transfer(&self) -> Transfer {
        let parameters = |key: u64, action: u64| {
            let mut data = [0; 24];
            data.iter_mut()
                .zip(key.to_be_bytes().into_iter().chain(action.to_be_bytes()))
                .for_each(|(to, from)| *to = from);
            Transfer::Out(data)
        };
        match *self {
            Self::TestUnitReady => Transfer::None,
            Self::ReadKeys | Self::ReadReservation => Transfer::In,
            Self::Register { new } => parameters(0, new),
            Self::Reserve { key } => parameters(key, 0),
            Self::Preempt { key, other } => parameters(key, other),
        }
    }
}

/// What is transferred with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Nothing.
    None,
    /// At most [`MAX_DATA`] bytes from the target.
    In,
    /// The parameters to the target.
    Out([u8; 24]),
}

/// What a target answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status, SAM-5 5.3.1.
    pub status: u8,
    /// Why, where the status is CHECK CONDITION.
    pub sense: Sense,
    /// What was transferred.
    pub data: Vec<u8>,
}

impl Answer {
    /// What it means.
    #[must_use]
    pub const fn meaning(&self) -> Meaning {
        match (self.status, self.sense) {
            (GOOD, _) => Meaning::Done,
            (RESERVATION_CONFLICT, _) => Meaning::Conflict,
            (CHECK_CONDITION, Sense { key: 6, .. }) => Meaning::Again,
            // ILLEGAL REQUEST: no such command, or no such service action.
            (CHECK_CONDITION, Sense { key: 5, code: 0x20 | 0x24, .. }) => Meaning::Unknown,
            _ => Meaning::Failed,
        }
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is done.
    Done,
    /// The reservation of another nexus forbids it.
    Conflict,
    /// UNIT ATTENTION: something happened, of which the target tells in place of an answer.
    Again,
    /// The target knows no such command.
    Unknown,
    /// Anything else.
    Failed,
}

/// Sense data, SPC-4 4.5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sense {
    /// SENSE KEY.
    pub key: u8,
    /// ADDITIONAL SENSE CODE.
    pub code: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub qualifier: u8,
}

impl Sense {
    /// From the bytes that a target sends; all zero where these are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let byte = |place| at::<1>(bytes, place).map_or(0, u8::from_be_bytes);
        let (key, code, qualifier) = match byte(0) & 0x7f {
            // Fixed format, then descriptor format.
            0x70 | 0x71 => (byte(2), byte(12), byte(13)),
            0x72 | 0x73 => (byte(1), byte(2), byte(3)),
            _ => (0, 0, 0),
        };
        Self { key: key & 0x0f, code, qualifier }
    }
}

impl fmt::Display for Sense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}/{:02x}/{:02x}", self.key, self.code, self.qualifier)
    }
}

/// The answer to READ KEYS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// How often a registration was made or ended since the target started.
    pub generation: u32,
    /// The keys.
    pub keys: Vec<u64>,
}

/// SPC-4 6.15.2.2; `None` where the data is none, or too long.
#[must_use]
pub fn keys(data: &[u8]) -> Option<Keys> {
    let mut reader = Reader::new(data);
    let (generation, length) = (reader.be32()?, reader.be32()?);
    let list = reader.take(usize::try_from(length).ok()?)?;
    Some(Keys { generation, keys: list.chunks_exact(8).filter_map(|key| at(key, 0).map(u64::from_be_bytes)).collect() })
}

/// SPC-4 6.15.3.2: the key of the holder, if there is one; `None` where the data is none.
#[must_use]
pub fn holder(data: &[u8]) -> Option<Option<u64>> {
    let mut reader = Reader::new(data);
    reader.be32()?;
    match reader.be32()? {
        0 => Some(None),
        _ => at(reader.rest(), 0).map(u64::from_be_bytes).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        let key = 0x5344_5254_0001_0203;
        let parameters = |text: &str| {
            let bytes: Vec<u8> = (0..24).map(|n| u8::from_str_radix(&text[2 * n..2 * n + 2], 16).unwrap()).collect();
            Transfer::Out(bytes.try_into().unwrap())
        };
        for (command, cdb, transfer) in [
            (Command::TestUnitReady, [0; 10], Transfer::None),
            (Command::ReadKeys, [0x5e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0], Transfer::In),
            (Command::ReadReservation, [0x5e, 1, 0, 0, 0, 0, 0, 0x10, 0, 0], Transfer::In),
            (
                Command::Register { new: key },
                [0x5f, 6, 0, 0, 0, 0, 0, 0, 24, 0],
                parameters("000000000000000053445254000102030000000000000000"),
            ),
            (
                Command::Reserve { key },
                [0x5f, 1, 1, 0, 0, 0, 0, 0, 24, 0],
                parameters("534452540001020300000000000000000000000000000000"),
            ),
            (
                Command::Preempt { key, other: 0xa1 },
                [0x5f, 4, 1, 0, 0, 0, 0, 0, 24, 0],
                parameters("534452540001020300000000000000a10000000000000000"),
            ),
        ] {
            assert_eq!((command.cdb(), command.transfer()), (cdb, transfer), "{}", command.name());
        }
    }

    #[test]
    fn answers() {
        let fixed = |key, code| {
            let mut bytes = [0; 18];
            (bytes[0], bytes[2], bytes[12]) = (0xf0, key, code);
            bytes.to_vec()
        };
        for (status, sense, expected) in [
            (0x00, vec![], Meaning::Done),
            (0x18, vec![], Meaning::Conflict),
            (0x02, fixed(6, 0x29), Meaning::Again),
            (0x02, vec![0x72, 6, 0x2a, 5], Meaning::Again),
            (0x02, fixed(5, 0x20), Meaning::Unknown),
            (0x02, vec![0x72, 5, 0x24, 0, 0, 0, 0, 0], Meaning::Unknown),
            (0x02, fixed(5, 0x26), Meaning::Failed),
            (0x02, vec![], Meaning::Failed),
            (0x02, vec![0x70], Meaning::Failed),
            (0x08, vec![], Meaning::Failed),
        ] {
            let answer = Answer { status, sense: Sense::decode(&sense), data: Vec::new() };
            assert_eq!(answer.meaning(), expected, "{status:#x}, {sense:x?}");
        }
    }

    #[test]
    fn registrations_and_reservations() {
        let two = [0, 0, 0, 7, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0x53, 0x44, 1, 2, 3, 4, 5, 6, 0xff, 0xff];
        assert_eq!(keys(&two), Some(Keys { generation: 7, keys: vec![1, 0x5344_0102_0304_0506] }));
        assert_eq!(keys(&two[..23]), None, "cut off");
        assert_eq!(keys(&[0; 8]), Some(Keys { generation: 0, keys: vec![] }));
        assert_eq!(keys(&[0; 7]), None);
        let held = [0, 0, 0, 7, 0, 0, 0, 16, 0x53, 0x44, 1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(holder(&held), Some(Some(0x5344_0102_0304_0506)));
        assert_eq!(holder(&held[..15]), None, "cut off");
        assert_eq!(holder(&[0; 8]), Some(None));
        assert_eq!(holder(&[]), None);
    }

    #[test]
    fn any_bytes_never_panic() {
        let mut random = crate::iscsi::testing::Random::new(12);
        for _ in 0..20_000 {
            let bytes = random.bytes(300);
            let _ = (Sense::decode(&bytes), holder(&bytes));
            if let Some(Keys { keys, .. }) = keys(&bytes) {
                assert!(keys.len() * 8 <= bytes.len());
            }
        }
    }
}
