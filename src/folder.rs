//! A folder that stays at hand wherever its file system is moved to, or whatever hides its path: after the switch to the
//! real root, a process that stayed behind in the initramfs finds `/proc`, `/sys` and `/run` by no path.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{fstat, mkdirat, open, openat, renameat, Dir, Mode, OFlags};
use rustix::io::Errno;

/// What a file may have, in bytes: the kernel's have at most a page, ipconfig's a line for each route.
const MAX_FILE: u64 = 16 << 10;
/// What a long one may have.
const MAX_LONG: u64 = 4 << 20;
/// How many entries of a folder are looked at: more than there may be processes.
const MAX_ENTRIES: usize = 1 << 22;

/// An open folder. Paths are relative to it.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens a folder by its path.
    ///
    /// # Errors
    /// open(2)
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self(open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
    }

    /// The folder behind a descriptor.
    pub(crate) const fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The text of a file, of which at most 16 KiB are read.
    ///
    /// # Errors
    /// openat(2), read(2); [`io::ErrorKind::InvalidData`] for what is no text.
    pub fn read(&self, path: &str) -> io::Result<String> {
        let file = File::from(openat(&self.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text)?;
        Ok(text)
    }

    /// As [`Folder::read`], but up to 4 MiB.
    ///
    /// # Errors
    /// As [`Folder::read`].
    pub fn read_long(&self, path: &str) -> io::Result<String> {
        let file = File::from(openat(&self.0, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?);
        let mut text = String::new();
        file.take(MAX_LONG).read_to_string(&mut text)?;
        Ok(text)
    }

    /// Writes to a file that is there, with one write(2): what the kernel takes as one word.
    ///
    /// # Errors
    /// openat(2), write(2)
    pub fn tell(&self, path: &str, text: &str) -> io::Result<()> {
        File::from(openat(&self.0, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?).write_all(text.as_bytes())
    }

    /// Writes a file so that a reader sees all of it or the one before. `folder` is made where it is not there.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn replace(&self, folder: &str, name: &str, text: &str) -> io::Result<()> {
        match mkdirat(&self.0, folder, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        let (path, new) = (format!("{folder}/{name}"), format!("{folder}/{name}.new"));
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        File::from(openat(&self.0, &*new, flags, Mode::from_raw_mode(0o644))?).write_all(text.as_bytes())?;
        Ok(renameat(&self.0, &*new, &self.0, &*path)?)
    }

    /// The names in it.
    ///
    /// # Errors
    /// getdents(2)
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)?.take(MAX_ENTRIES) {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }

    /// Who owns a file.
    ///
    /// # Errors
    /// openat(2), fstat(2)
    pub fn owner(&self, path: &str) -> io::Result<u32> {
        Ok(fstat(openat(&self.0, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)?.st_uid)
    }
}
