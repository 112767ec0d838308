//! Where the file system can do it (btrfs, xfs), a file that was copied shares its blocks with the one in the working tree,
//! until one of both is written to.
//!
//! What is as in the generation before is that generation's own file, so that the NFS server has it in memory once,
//! whichever generation a node runs on. Only the rest is copied, and of that only this is left to save: the room. The kernel
//! does it (ioctl_fideduperange(2)) after it has seen for itself that both have the same bytes; nothing else of a file
//! changes, neither its times nor its capabilities, as they would if it were written.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::ioctl::{ioctl, opcode, Opcode, Updater};

use super::compare::{Change, How};

/// What is shorter than a block, in bytes, shares none.
const BLOCK: u64 = 4096;
/// At most this much at once, in bytes: btrfs does no more.
const AT_ONCE: u64 = 16 << 20;

/// Has the files among `changes` in the tree `new` share their blocks with those of `from`, of which they are copies.
/// Nothing is done where the file system shares nothing, or both are on different ones.
///
/// # Errors
/// Those of the file system, with the path.
pub fn blocks(from: &Path, new: &Path, changes: &[Change]) -> io::Result<()> {
    let mut seen = HashSet::new();
    for change in changes.iter().filter(|change| change.how != How::Removed) {
        let (original, copy) = (from.join(&change.path), new.join(&change.path));
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", change.path.display()));
        // Of what publish wrote there, there is no original.
        let (Ok(before), Ok(after)) = (fs::symlink_metadata(&original), fs::symlink_metadata(&copy)) else { continue };
        if !is_copy(&before, &after) || !seen.insert((after.dev(), after.ino())) {
            continue;
        }
        match share(&original, &copy, after.len()) {
            Ok(()) => {}
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::XDEV) => return Ok(()),
                // This file cannot: on btrfs one without checksums beside one that has them, or one that is swapped to.
                Some(Errno::INVAL | Errno::TXTBSY | Errno::PERM) => {}
                _ => return Err(named(error)),
            },
        }
    }
    Ok(())
}

/// Whether one was made of the other, as far as can be seen without reading them.
fn is_copy(original: &fs::Metadata, copy: &fs::Metadata) -> bool {
    original.is_file()
        && copy.is_file()
        && copy.len() >= BLOCK
        && (original.len(), original.mtime(), original.mtime_nsec()) == (copy.len(), copy.mtime(), copy.mtime_nsec())
}

fn share(original: &Path, copy: &Path, length: u64) -> io::Result<()> {
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let open = |path| OpenOptions::new().read(true).custom_flags(flags).open(path);
    let (original, copy) = (open(original)?, open(copy)?);
    let mut done = 0_u64;
    while done < length {
        let count = dedupe(&original, &copy, done, AT_ONCE.min(length.saturating_sub(done)))?;
        if count == 0 {
            break;
        }
        done = done.saturating_add(count);
    }
    Ok(())
}

/// `FIDEDUPERANGE`
const FIDEDUPERANGE: Opcode = opcode::read_write::<[u64; 3]>(0x94, 54);

/// `struct file_dedupe_range` with one `struct file_dedupe_range_info`.
#[repr(C)]
struct Range {
    original: u64,
    length: u64,
    copies: u16,
    reserved: [u16; 3],
    copy: i64,
    offset: u64,
    done: u64,
    status: i32,
    more_reserved: u32,
}

/// How many bytes from there on are shared now; none where they differ.
fn dedupe(original: &File, copy: &File, offset: u64, length: u64) -> io::Result<u64> {
    let mut range = Range {
        original: offset,
        length,
        copies: 1,
        reserved: [0; 3],
        copy: i64::from(copy.as_raw_fd()),
        offset,
        done: 0,
        status: 0,
        more_reserved: 0,
    };
    // SAFETY: FIDEDUPERANGE takes a pointer to a `struct file_dedupe_range` that is followed by as many `struct
    // file_dedupe_range_info` as it says: `Range` is one with one, field by field. `copy` is open until the call returns.
    #[allow(unsafe_code)]
    unsafe {
        ioctl(original, Updater::<FIDEDUPERANGE, Range>::new(&mut range))?;
    }
    match range.status {
        0 => Ok(range.done),
        // FILE_DEDUPE_RANGE_DIFFERS
        1 => Ok(0),
        errno => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn only_what_was_copied_is_looked_at() {
        let folder = std::env::temp_dir().join(format!("sidus-share-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let (from, new) = (folder.join("from"), folder.join("new"));
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = |path: &Path, length: u64, at: SystemTime| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            file.set_len(length).unwrap();
            file.set_modified(at).unwrap();
        };
        let look = |path: &Path| fs::symlink_metadata(path).unwrap();
        for (name, length, time, expected) in [
            ("same", BLOCK, then, true),
            ("short", BLOCK - 1, then, false),
            ("longer", BLOCK, then, false),
            ("written", BLOCK, then + Duration::from_nanos(1), false),
        ] {
            file(&from.join(name), if name == "longer" { BLOCK * 2 } else { length }, then);
            file(&new.join(name), length, time);
            assert_eq!(is_copy(&look(&from.join(name)), &look(&new.join(name))), expected, "{name}");
        }
        std::os::unix::fs::symlink("same", from.join("link")).unwrap();
        assert!(!is_copy(&look(&from.join("link")), &look(&new.join("same"))));
        // What is gone, or was never there, and a file system that cannot: no error.
        let change = |path: &str, how| Change { path: path.into(), how };
        let changes = [change("same", How::Changed), change("ours", How::Added), change("gone", How::Removed)];
        blocks(&from, &new, &changes).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
