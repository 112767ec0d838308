//! An archive that the kernel unpacks over a node's initramfs: cpio of the form `newc`, see the kernel's
//! Documentation/driver-api/early-userspace/buffer-format.rst.

use std::path::Path;

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_600;
/// Each header, and each file's contents, begins at a multiple of this.
const ALIGNMENT: usize = 4;
/// What is appended to an archive begins at a multiple of this.
const BLOCK: usize = 512;

/// An archive with this file, for root alone, and the folders above it: the kernel makes none by itself. It depends on
/// nothing else, not even the time.
#[must_use]
pub fn of(path: &str, contents: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    let mut above: Vec<_> = Path::new(path).ancestors().skip(1).filter_map(Path::to_str).collect();
    above.reverse();
    let mut inode = 0_u32;
    for folder in above.into_iter().filter(|folder| !folder.is_empty()) {
        inode = inode.saturating_add(1);
        add(&mut archive, inode, FOLDER, folder, &[]);
    }
    add(&mut archive, inode.saturating_add(1), FILE, path, contents);
    add(&mut archive, 0, 0, "TRAILER!!!", &[]);
    pad(&mut archive, BLOCK);
    archive
}

fn add(archive: &mut Vec<u8>, inode: u32, mode: u32, name: &str, contents: &[u8]) {
    let links = if mode == FOLDER { 2 } else { 1 };
    let name_size = name.len().saturating_add(1);
    archive.extend_from_slice(b"070701");
    // inode, mode, user, group, links, time, size, device, device of a special file, size of the name, sum
    archive.extend_from_slice(format!("{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}", 0, 0, 0).as_bytes());
    archive.extend_from_slice(format!("{:08x}{:08x}{:08x}{:08x}{:08x}", contents.len(), 0, 0, 0, 0).as_bytes());
    archive.extend_from_slice(format!("{name_size:08x}{:08x}", 0).as_bytes());
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive, ALIGNMENT);
    archive.extend_from_slice(contents);
    pad(archive, ALIGNMENT);
}

fn pad(archive: &mut Vec<u8>, alignment: usize) {
    archive.resize(archive.len().next_multiple_of(alignment), 0);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::lun::{read_credentials, CREDENTIALS};

    /// Unpacked by cpio(1), read as a node does.
    #[test]
    fn a_node_reads_what_is_packed() {
        let folder = std::env::temp_dir().join(format!("sidus-archive-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let text = "username = node21\npassword = 0123456789abcdef\n";
        let archive = of(CREDENTIALS, text.as_bytes());
        assert_eq!(archive.len() % BLOCK, 0);
        fs::write(folder.join("archive"), &archive).unwrap();
        let mut unpack = Command::new("cpio");
        unpack.args(["--quiet", "-i", "-d", "--no-absolute-filenames"]).current_dir(&folder);
        let output = unpack.stdin(Stdio::from(fs::File::open(folder.join("archive")).unwrap())).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let at = folder.join(CREDENTIALS);
        assert_eq!(fs::read_to_string(&at).unwrap(), text);
        assert_eq!(fs::metadata(&at).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(at.parent().unwrap()).unwrap().mode() & 0o7777, 0o755);
        let read = read_credentials(&folder, Path::new(CREDENTIALS)).unwrap().unwrap();
        assert_eq!(read.default_credentials().unwrap().own.name, "node21");
        fs::remove_dir_all(&folder).unwrap();
    }
}
