//! What is on a volume, by its first bytes: a file system with label and UUID, nothing, or something
//! that is to be left alone.
//!
//! Offsets: ext4 from Linux `fs/ext4/ext4.h`, xfs from `fs/xfs/libxfs/xfs_format.h`, btrfs from
//! `include/uapi/linux/btrfs_tree.h`; the others from what each program writes.

use std::fmt;

use thiserror::Error;

use crate::bytes::{at, has, le16, le32, le64};

/// How many bytes from the start of a volume have to be read: up to the end of btrfs's superblock.
pub const PROBE: usize = 68 * 1024;

/// A file system that can be mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ext4, and ext2 and ext3, which the same driver mounts.
    Ext4,
    /// xfs.
    Xfs,
    /// btrfs on one device.
    Btrfs,
}

impl Kind {
    /// The kernel's name: for mount and for the module.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }
}

/// A file system's or partition's UUID; shown in lower case, as `blkid` does.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A file system and its names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Which.
    pub kind: Kind,
    /// Its label; empty without one.
    pub label: String,
    /// Its UUID.
    pub uuid: Uuid,
    /// Whether it keeps a second node from mounting it by itself: ext4's multiple mount protection.
    pub protected: bool,
}

/// What is on a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Nothing but zeros in the first [`PROBE`] bytes.
    Blank,
    /// A file system that can be mounted.
    FileSystem(FileSystem),
    /// A partition table; [`crate::partition::read`] reads it.
    Partitions,
    /// Something known that is not for us, e.g. "LVM2 physical volume".
    Foreign(&'static str),
    /// Not blank, and not known.
    Unknown,
}

/// Why a volume cannot be used although it has a file system.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VolumeError {
    /// Fewer bytes than needed.
    #[error("{got} bytes of the volume; {PROBE}, or all there are, were expected")]
    Short {
        /// How many there are.
        got: usize,
    },
    /// btrfs over several devices.
    #[error("btrfs over {devices} devices; a file system on one device was expected")]
    SeveralDevices {
        /// How many.
        devices: u64,
    },
    /// Two signatures: the one that is left over can destroy what the other holds.
    #[error("both {first} and {second} are on the volume; remove the one that is left over (wipefs lists them)")]
    Ambiguous {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// A superblock that contradicts itself.
    #[error("a superblock of {kind} that cannot be right: {what}")]
    Damaged {
        /// Of which file system.
        kind: &'static str,
        /// What is wrong.
        what: &'static str,
    },
}

/// What is in the first bytes of a volume. `first` is its first [`PROBE`] bytes, or all of a
/// smaller one.
///
/// # Errors
/// [`VolumeError`]: what is there must not be mounted, nor be taken for blank.
pub fn detect(first: &[u8]) -> Result<Contents, VolumeError> {
    if first.len() < 512 {
        return Err(VolumeError::Short { got: first.len() });
    }
    let mut found: Option<(&'static str, Contents)> = None;
    let candidates = [
        ext4(first)?.map(|fs| ("ext4", Contents::FileSystem(fs))),
        xfs(first)?.map(|fs| ("xfs", Contents::FileSystem(fs))),
        btrfs(first)?.map(|fs| ("btrfs", Contents::FileSystem(fs))),
        foreign(first).map(|name| (name, Contents::Foreign(name))),
        partitions(first).then_some(("a partition table", Contents::Partitions)),
    ];
    for (name, contents) in candidates.into_iter().flatten() {
        if let Some((first, _)) = found {
            return Err(VolumeError::Ambiguous { first, second: name });
        }
        found = Some((name, contents));
    }
    Ok(match found {
        Some((_, contents)) => contents,
        None if first.iter().all(|byte| *byte == 0) => Contents::Blank,
        None => Contents::Unknown,
    })
}

fn ext4(first: &[u8]) -> Result<Option<FileSystem>, VolumeError> {
    const INCOMPAT_JOURNAL_DEV: u32 = 0x8;
    const INCOMPAT_MMP: u32 = 0x100;
    if !has(first, 1080, &[0x53, 0xef]) {
        return Ok(None);
    }
    let damaged = |what| VolumeError::Damaged { kind: "ext4", what };
    // 1 KiB to 64 KiB.
    if le32(first, 1048).is_none_or(|log| log > 6) {
        return Err(damaged("the block size"));
    }
    if le32(first, 1024) == Some(0) {
        return Err(damaged("no inodes"));
    }
    if le32(first, 1120).is_none_or(|features| features & INCOMPAT_JOURNAL_DEV != 0) {
        return Err(damaged("it is an external journal, not a file system"));
    }
    let protected = le32(first, 1120).is_some_and(|features| features & INCOMPAT_MMP != 0);
    let fs = file_system(first, Kind::Ext4, 1128, at::<16>(first, 1144))?;
    Ok(Some(FileSystem { protected, ..fs }))
}

fn xfs(first: &[u8]) -> Result<Option<FileSystem>, VolumeError> {
    if !has(first, 0, b"XFSB") {
        return Ok(None);
    }
    let block = at(first, 4).map(u32::from_be_bytes);
    if block.is_none_or(|size| !size.is_power_of_two() || !(512..=65_536).contains(&size)) {
        return Err(VolumeError::Damaged { kind: "xfs", what: "the block size" });
    }
    file_system(first, Kind::Xfs, 32, at::<12>(first, 108)).map(Some)
}

fn btrfs(first: &[u8]) -> Result<Option<FileSystem>, VolumeError> {
    if !has(first, 65_600, b"_BHRfS_M") {
        return Ok(None);
    }
    match le64(first, 65_672) {
        Some(1) => {}
        devices => return Err(VolumeError::SeveralDevices { devices: devices.unwrap_or(0) }),
    }
    file_system(first, Kind::Btrfs, 65_568, at::<256>(first, 65_835)).map(Some)
}

fn file_system<const N: usize>(
    first: &[u8],
    kind: Kind,
    uuid: usize,
    label: Option<[u8; N]>,
) -> Result<FileSystem, VolumeError> {
    let short = VolumeError::Short { got: first.len() };
    let (Some(uuid), Some(label)) = (at(first, uuid), label) else {
        return Err(short);
    };
    let label = label.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(FileSystem { kind, label: String::from_utf8_lossy(label).into_owned(), uuid: Uuid(uuid), protected: false })
}

/// Magic bytes of what is not for us. A volume with any of it is not blank.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (0, b"LUKS\xba\xbe", "LUKS (an encrypted volume)"),
    (4086, b"SWAPSPACE2", "swap space"),
    (4086, b"SWAP-SPACE", "swap space"),
    (0x218, b"LVM2 001", "LVM2 physical volume"),
    (0x18, b"LVM2 001", "LVM2 physical volume"),
    (0x418, b"LVM2 001", "LVM2 physical volume"),
    (0x618, b"LVM2 001", "LVM2 physical volume"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID member"),
    (0, b"\xfc\x4e\x2b\xa9", "Linux RAID member"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "bcache device"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"EXFAT   ", "exFAT"),
    (3, b"-FVE-FS-", "BitLocker (an encrypted volume)"),
    (54, b"FAT1", "FAT"),
    (82, b"FAT32", "FAT"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\x10\x20\xf5\xf2", "f2fs"),
    (1024, b"\xe2\xe1\xf5\xe0", "erofs"),
    (32_768, b"JFS1", "JFS"),
    (32_769, b"CD001", "ISO 9660"),
    (65_588, b"ReIsEr", "reiserfs"),
];

fn foreign(first: &[u8]) -> Option<&'static str> {
    FOREIGN.iter().find(|(offset, magic, _)| has(first, *offset, magic)).map(|(_, _, name)| *name)
}

/// GPT, or an MBR: the boot signature alone is not one, for boot sectors of file systems have it too.
fn partitions(first: &[u8]) -> bool {
    // With sectors of 512 and of 4096 bytes.
    if has(first, 512, b"EFI PART") || has(first, 4096, b"EFI PART") {
        return true;
    }
    if le16(first, 510) != Some(0xaa55) {
        return false;
    }
    let entries = [446, 462, 478, 494].map(|offset| at::<16>(first, offset).unwrap_or_default());
    let valid = entries.iter().all(|[active, ..]| matches!(active, 0 | 0x80));
    let used = entries.iter().any(|[_, _, _, _, kind, ..]| *kind != 0);
    valid && used && !has(first, 54, b"FAT1") && !has(first, 82, b"FAT32")
}

#[cfg(test)]
#[path = "volume_tests.rs"]
mod tests;
