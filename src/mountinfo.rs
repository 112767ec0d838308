//! What is mounted where: `/proc/self/mountinfo`, see proc_pid_mountinfo(5).

use std::path::{Path, PathBuf};

use thiserror::Error;

/// One mount, as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted, as seen from this process' root.
    pub at: PathBuf,
    /// The type of the file system, as in `nfs4`.
    pub fs: String,
    /// What is mounted, as in `10.13.20.13:/srv/nfsroot/sidus`.
    pub source: String,
    /// The options of this mount, separated by commas.
    pub options: String,
    /// The options of the superblock behind it, separated by commas.
    pub super_options: String,
}

impl Mount {
    /// Whether this mount refuses writes, whatever its superblock does.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        has_option(&self.options, "ro")
    }

    /// Whether the superblock refuses writes, through whichever mount.
    #[must_use]
    pub fn is_super_read_only(&self) -> bool {
        has_option(&self.super_options, "ro")
    }

    /// Whether it is NFS with `noacl` (nfs(5)).
    #[must_use]
    pub fn is_without_acls(&self) -> bool {
        has_option(&self.super_options, "noacl")
    }
}

fn has_option(options: &str, name: &str) -> bool {
    options.split(',').any(|option| option == name)
}

/// A line of mountinfo that is none.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {number} of mountinfo lacks its {field}: {line:?}")]
pub struct MountInfoError {
    /// Counted from 1.
    pub number: usize,
    /// The line.
    pub line: String,
    /// Which field of proc_pid_mountinfo(5).
    pub field: &'static str,
}

/// Parses the whole of mountinfo, in the kernel's order: a later mount on the same place covers an earlier one.
///
/// # Errors
/// [`MountInfoError`] names the first line that has too few fields.
pub fn parse(text: &str) -> Result<Vec<Mount>, MountInfoError> {
    (1..)
        .zip(text.lines())
        .map(|(number, line)| parse_line(line).map_err(|field| MountInfoError { number, line: line.to_owned(), field }))
        .collect()
}

/// The mount that is visible at `at`.
#[must_use]
pub fn topmost<'a>(mounts: &'a [Mount], at: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.at == at)
}

fn parse_line(line: &str) -> Result<Mount, &'static str> {
    // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
    let mut tail = line.split(' ');
    tail.find(|field| *field == "-").ok_or("separator")?;
    let mut head = line.split(' ').take_while(|field| *field != "-");
    let at = head.nth(4).ok_or("mount point")?;
    let options = head.next().ok_or("mount options")?;
    let fs = tail.next().filter(|fs| !fs.is_empty()).ok_or("file system type")?;
    let source = tail.next().ok_or("source")?;
    let super_options = tail.next().ok_or("super options")?;
    Ok(Mount {
        at: PathBuf::from(unescape(at)),
        fs: fs.to_owned(),
        source: unescape(source),
        options: options.to_owned(),
        super_options: super_options.to_owned(),
    })
}

/// Undoes the kernel's `\040` for space, tab, newline, backslash and `#`.
fn unescape(field: &str) -> String {
    let mut plain = String::with_capacity(field.len());
    let mut rest = field;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        match after.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if byte.is_ascii() => {
                plain.push(char::from(byte));
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_read_with_their_options() {
        let text = "23 1 0:21 / /root ro,relatime - nfs4 10.13.20.13:/srv/nfsroot/sidus rw,vers=4.2\n\
                    25 1 0:5 / /root/a\\040b rw,nosuid shared:2 master:1 - devtmpfs udev rw,size=10240k\n";
        let mounts = parse(text).unwrap();
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].at, Path::new("/root"));
        assert_eq!((mounts[0].fs.as_str(), mounts[0].source.as_str()), ("nfs4", "10.13.20.13:/srv/nfsroot/sidus"));
        assert_eq!((mounts[0].is_read_only(), mounts[0].is_super_read_only()), (true, false));
        assert_eq!(mounts[1].at, Path::new("/root/a b"));
        assert_eq!((mounts[1].is_read_only(), mounts[1].is_super_read_only()), (false, false));
    }

    #[test]
    fn the_last_mount_on_a_place_is_the_visible_one() {
        let mounts = parse("1 1 0:1 / / rw - rootfs none rw\n2 1 0:2 / / rw - overlay overlay rw\n").unwrap();
        assert_eq!(topmost(&mounts, Path::new("/")).unwrap().fs, "overlay");
        assert_eq!(topmost(&mounts, Path::new("/ro")), None);
    }

    #[test]
    fn bad_lines_name_the_missing_field() {
        let table = [
            ("36 35 98:0 / /mnt rw ext3", "separator"),
            ("36 35 98:0 / - ext3 dev rw", "mount point"),
            ("36 35 98:0 / /mnt - ext3 dev rw", "mount options"),
            ("36 35 98:0 / /mnt rw -  dev rw", "file system type"),
            ("36 35 98:0 / /mnt rw - ext3", "source"),
            ("36 35 98:0 / /mnt rw - ext3 dev", "super options"),
        ];
        for (line, field) in table {
            let error = parse(line).unwrap_err();
            assert_eq!((error.number, error.field), (1, field), "line {line:?}");
        }
    }

    #[test]
    fn escapes_are_undone_and_stray_backslashes_kept() {
        for (field, plain) in
            [("a\\040b", "a b"), ("\\134040", "\\040"), ("a\\", "a\\"), ("\\9", "\\9"), ("\\777", "\\777")]
        {
            assert_eq!(unescape(field), plain, "field {field:?}");
        }
    }
}
