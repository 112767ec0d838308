//! Partition tables: GPT (UEFI specification section 5.3) and MBR with its extended partitions.
//!
//! Everything is read through one function with bounds on how often and how much: a table is what a
//! stranger may have written.

use std::io;

use thiserror::Error;

use crate::bytes::{at, has, le32, le64};
use crate::volume::Uuid;

/// How long the entries of a GPT may be together, in bytes; the usual 128 entries have 16 KiB.
const MAX_GPT: u64 = 128 * 1024;
/// How many logical partitions an extended one may have.
const MAX_LOGICAL: u32 = 64;

/// Which table it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its number, as in the kernel's `sda<number>`.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// How long it is, in bytes.
    pub length: u64,
    /// GPT: its own UUID (PARTUUID).
    pub uuid: Option<Uuid>,
    /// GPT: its name (PARTLABEL); empty without one.
    pub name: String,
}

/// Why a table cannot be used.
#[derive(Debug, Error)]
pub enum TableError {
    /// The disk could not be read.
    #[error("reading {length} bytes at {offset}: {source}")]
    Read {
        /// Where, in bytes.
        offset: u64,
        /// How much, in bytes.
        length: usize,
        /// What came of it.
        source: io::Error,
    },
    /// A sector size that no disk has.
    #[error("sectors of {got} bytes; 512 to 4096, a power of two, were expected")]
    Sector {
        /// The size in bytes.
        got: u32,
    },
    /// The GPT contradicts itself. The backup at the end of the disk is not looked at.
    #[error("damaged GPT: {what} (gdisk or sfdisk can restore it from its backup)")]
    Gpt {
        /// What is wrong.
        what: &'static str,
    },
    /// The MBR contradicts itself.
    #[error("damaged partition table (MBR): {what}")]
    Mbr {
        /// What is wrong.
        what: &'static str,
    },
}

/// Reads `buffer.len()` bytes at an offset in bytes.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// The partitions of a disk of `size` bytes with logical sectors of `sector` bytes; `None` if it has
/// no table.
///
/// # Errors
/// [`TableError`]: there is a table, and it cannot be trusted.
pub fn read(read_at: &mut ReadAt<'_>, size: u64, sector: u32) -> Result<Option<(Table, Vec<Partition>)>, TableError> {
    if !(512..=4096).contains(&sector) || !sector.is_power_of_two() {
        return Err(TableError::Sector { got: sector });
    }
    let mut disk = Disk { read_at, size, sector: u64::from(sector) };
    let Some(first) = disk.sector(0)? else {
        return Ok(None);
    };
    if !has(&first, 510, &[0x55, 0xaa]) {
        return Ok(None);
    }
    let entries = mbr_entries(&first);
    if entries.iter().any(|entry| entry.kind == 0xee) {
        return disk.gpt().map(|partitions| Some((Table::Gpt, partitions)));
    }
    if entries.iter().all(|entry| entry.kind == 0) || entries.iter().any(|entry| !matches!(entry.active, 0 | 0x80)) {
        // The boot sector of a file system.
        return Ok(None);
    }
    disk.mbr(&entries).map(|partitions| Some((Table::Mbr, partitions)))
}

struct Disk<'a, 'b> {
    read_at: &'a mut ReadAt<'b>,
    size: u64,
    sector: u64,
}

impl Disk<'_, '_> {
    fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, TableError> {
        let mut buffer = vec![0; length];
        (self.read_at)(offset, &mut buffer).map_err(|source| TableError::Read { offset, length, source })?;
        Ok(buffer)
    }

    /// A whole sector; `None` beyond the end of the disk.
    fn sector(&mut self, number: u64) -> Result<Option<Vec<u8>>, TableError> {
        match self.span(number, 1) {
            Some((offset, _)) => {
                let length = usize::try_from(self.sector).unwrap_or(512);
                self.read(offset, length).map(Some)
            }
            None => Ok(None),
        }
    }

    /// Start and length in bytes of sectors that lie on the disk.
    fn span(&self, first: u64, count: u64) -> Option<(u64, u64)> {
        let start = first.checked_mul(self.sector)?;
        let length = count.checked_mul(self.sector)?;
        (start.checked_add(length)? <= self.size).then_some((start, length))
    }

    fn gpt(&mut self) -> Result<Vec<Partition>, TableError> {
        let bad = |what| TableError::Gpt { what };
        let header = self.sector(1)?.ok_or(bad("the disk ends before it"))?;
        if !has(&header, 0, b"EFI PART") {
            return Err(bad("the MBR announces one, but there is no header"));
        }
        let size = le32(&header, 12).and_then(|size| usize::try_from(size).ok()).unwrap_or(0);
        let mut counted = match header.get(..size) {
            Some(counted) if size >= 92 => counted.to_vec(),
            _ => return Err(bad("the size of the header")),
        };
        // The checksum is over the header with zeros in place of the checksum.
        if let Some(field) = counted.get_mut(16..20) {
            field.fill(0);
        }
        if le32(&header, 16) != Some(!crc32(u32::MAX, &counted)) {
            return Err(bad("the checksum of the header"));
        }
        if le64(&header, 24) != Some(1) {
            return Err(bad("the header says that it stands elsewhere"));
        }
        let entry = le32(&header, 84).unwrap_or(0);
        let total = u64::from(le32(&header, 80).unwrap_or(0)).saturating_mul(u64::from(entry));
        if !(128..=4096).contains(&entry) || entry % 8 != 0 || total > MAX_GPT {
            return Err(bad("the number or the size of the entries"));
        }
        let offset = le64(&header, 72)
            .and_then(|number| number.checked_mul(self.sector))
            .filter(|offset| offset.checked_add(total).is_some_and(|end| end <= self.size))
            .ok_or(bad("the entries lie beyond the end of the disk"))?;
        let entries = self.read(offset, usize::try_from(total).unwrap_or(0))?;
        if le32(&header, 88) != Some(!crc32(u32::MAX, &entries)) {
            return Err(bad("the checksum of the entries"));
        }
        let mut partitions = Vec::new();
        for (number, entry) in (1..).zip(entries.chunks_exact(usize::try_from(entry).unwrap_or(128))) {
            if at::<16>(entry, 0).is_none_or(|kind| kind == [0; 16]) {
                continue;
            }
            let (first, last) = (le64(entry, 32).unwrap_or(0), le64(entry, 40).unwrap_or(0));
            let count = last.checked_sub(first).and_then(|count| count.checked_add(1));
            let (start, length) = count
                .and_then(|count| self.span(first, count))
                .ok_or(bad("a partition lies beyond the end of the disk"))?;
            let name: Vec<u16> = entry
                .get(56..128)
                .unwrap_or_default()
                .chunks_exact(2)
                .map_while(|unit| match unit {
                    [a, b] => Some(u16::from_le_bytes([*a, *b])).filter(|unit| *unit != 0),
                    _ => None,
                })
                .collect();
            partitions.push(Partition {
                number,
                start,
                length,
                uuid: at(entry, 16).map(mixed_endian),
                name: String::from_utf16_lossy(&name),
            });
        }
        Ok(partitions)
    }

    fn mbr(&mut self, entries: &[Entry; 4]) -> Result<Vec<Partition>, TableError> {
        let bad = |what| TableError::Mbr { what };
        let mut partitions = Vec::new();
        let mut extended = None;
        for (number, entry) in (1..).zip(entries) {
            if entry.kind == 0 || entry.count == 0 {
                continue;
            }
            let (start, length) = self
                .span(u64::from(entry.first), u64::from(entry.count))
                .ok_or(bad("a partition lies beyond the end of the disk"))?;
            if entry.is_extended() {
                if extended.replace((entry.first, entry.count)).is_some() {
                    return Err(bad("two extended partitions"));
                }
                continue;
            }
            partitions.push(Partition { number, start, length, uuid: None, name: String::new() });
        }
        if let Some((first, count)) = extended {
            self.logical(first, count, &mut partitions)?;
        }
        Ok(partitions)
    }

    /// The chain of logical partitions: each link has one partition, relative to the link, and the
    /// next link, relative to the whole.
    fn logical(&mut self, first: u32, count: u32, partitions: &mut Vec<Partition>) -> Result<(), TableError> {
        let bad = |what| TableError::Mbr { what };
        let (first, end) = (u64::from(first), u64::from(first).saturating_add(u64::from(count)));
        let inside = |start: u64, count: u32| {
            start >= first && start.checked_add(u64::from(count)).is_some_and(|last| last <= end)
        };
        let mut link = first;
        let mut number = 5;
        // Bounded, for a chain can bite its own tail.
        for _ in 0..MAX_LOGICAL {
            let sector = self.sector(link)?.ok_or(bad("a logical partition lies beyond the end of the disk"))?;
            if !has(&sector, 510, &[0x55, 0xaa]) {
                return Err(bad("a link of the extended partition has no signature"));
            }
            let [data, next, ..] = mbr_entries(&sector);
            if data.kind != 0 && data.count != 0 {
                let start = link.saturating_add(u64::from(data.first));
                let (start, length) = self
                    .span(start, u64::from(data.count))
                    .filter(|_| inside(start, data.count))
                    .ok_or(bad("a logical partition lies outside of the extended one"))?;
                partitions.push(Partition { number, start, length, uuid: None, name: String::new() });
                number = number.saturating_add(1);
            }
            if !next.is_extended() || next.count == 0 {
                return Ok(());
            }
            let following = first.saturating_add(u64::from(next.first));
            if !inside(following, 1) {
                return Err(bad("a link lies outside of the extended partition"));
            }
            link = following;
        }
        Err(bad("more logical partitions than anybody has, or a circle of them"))
    }
}

/// One of the four entries of an MBR; sectors.
#[derive(Clone, Copy)]
struct Entry {
    active: u8,
    kind: u8,
    first: u32,
    count: u32,
}

impl Entry {
    const fn is_extended(self) -> bool {
        matches!(self.kind, 0x05 | 0x0f | 0x85)
    }
}

fn mbr_entries(sector: &[u8]) -> [Entry; 4] {
    [446, 462, 478, 494].map(|offset| {
        let entry = at::<16>(sector, offset).unwrap_or_default();
        let [active, _, _, _, kind, ..] = entry;
        Entry { active, kind, first: le32(&entry, 8).unwrap_or(0), count: le32(&entry, 12).unwrap_or(0) }
    })
}

/// A GUID on disk: its first three fields are little-endian.
const fn mixed_endian(guid: [u8; 16]) -> Uuid {
    let [a, b, c, d, e, f, g, h, rest @ ..] = guid;
    let [i, j, k, l, m, n, o, p] = rest;
    Uuid([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
}

/// CRC-32 (IEEE 802.3), bit by bit: 16 KiB take half a millisecond. Starts from `crc`; the result is
/// to be inverted.
fn crc32(crc: u32, bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(crc, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))))
}

#[cfg(test)]
#[path = "partition_tests.rs"]
mod tests;
