//! Files of a tree, or of the merged view of one, seen from the initramfs. What is in them a stranger may have written:
//! links are followed inside of the tree alone, and nothing but a regular file of bounded length is read.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{fstat, openat, openat2, renameat, unlinkat, AtFlags, FileType, Mode, OFlags, ResolveFlags, CWD};
use rustix::io::Errno;

use crate::folder::Folder;
use crate::fstab;

/// How often a path is looked up again where that was disturbed, with a pause in between: for a second in all.
const TRIES: u32 = 1000;
const PAUSE: Duration = Duration::from_millis(1);

/// No fstab is longer, in bytes.
const MAX_FSTAB: u64 = 1 << 20;
/// What replaces the fstab, until it does.
const NEW_FSTAB: &CStr = c".fstab.rootaufs";

/// openat2(2), with each of its uses in one place: its code is large.
///
/// A path that leads through `..`, as `/etc/os-release` does, is refused with EAGAIN where anything was renamed or mounted
/// meanwhile, wherever that was: the kernel cannot tell then whether it led out of the tree. What it looked up is in memory
/// the next time, so that is quick.
#[inline(never)]
pub(crate) fn open(
    folder: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let mut tries = TRIES;
    loop {
        match openat2(folder, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if tries > 0 => {
                tries = tries.saturating_sub(1);
                sleep(PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Opens what is at `path` for a process whose `/` is `root` (RESOLVE_IN_ROOT).
fn open_within(root: &Path, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let root = open(CWD, root, OFlags::PATH | OFlags::DIRECTORY, ResolveFlags::empty())?;
    open(root.as_fd(), path, flags, ResolveFlags::IN_ROOT)
}

/// Opens a folder.
///
/// # Errors
/// openat2(2)
pub fn open_folder(root: &Path, path: &Path) -> io::Result<Folder> {
    Ok(Folder::of(open_within(root, path, OFlags::RDONLY | OFlags::DIRECTORY)?))
}

/// Opens a regular file for reading.
///
/// # Errors
/// openat2(2); [`io::ErrorKind::Other`] for what is no regular file.
pub fn open_regular(root: &Path, path: &Path) -> io::Result<File> {
    // Looked at first: to open a FIFO is to wait for its writer, and to open a device is an act on it.
    if FileType::from_raw_mode(fstat(open_within(root, path, OFlags::PATH)?)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(open_within(root, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?.into())
}

/// All of a regular file, if it has no more than `limit` bytes.
///
/// # Errors
/// Those of [`open_regular`]; [`io::ErrorKind::Other`] for a longer one.
pub fn read(root: &Path, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(&open_regular(root, path)?, limit)
}

fn read_all(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Not by its length as stat(2) tells it: a file may grow.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= limit) {
        return Ok(bytes);
    }
    Err(io::Error::other("it is longer than any such file may be"))
}

/// Mends `/etc/fstab` of the merged view on `view`, where it is not right as it is: see [`fstab::adapt`].
///
/// # Errors
/// Those of the file system, and of [`read`].
pub fn adapt_fstab(view: &Path, unions: &[&str], fs: &str) -> io::Result<()> {
    let file = match open_regular(view, Path::new("etc/fstab")) {
        Ok(file) => file,
        // A tree without one needs no mending.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let Some(adapted) = fstab::adapt(&read_all(&file, MAX_FSTAB)?, unions, fs) else { return Ok(()) };
    let folder = open_within(view, Path::new("etc"), OFlags::PATH | OFlags::DIRECTORY)?;
    // What is left of a boot that ended here, or what somebody put there: never written through.
    match unlinkat(&folder, NEW_FSTAB, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut new = File::from(openat(&folder, NEW_FSTAB, flags, Mode::from_raw_mode(0o600))?);
    new.write_all(&adapted)?;
    let model = file.metadata()?;
    std::os::unix::fs::fchown(&new, Some(model.uid()), Some(model.gid()))?;
    new.set_permissions(model.permissions())?;
    // A persistent layer must not have the name before the content when the power fails.
    new.sync_data()?;
    Ok(renameat(&folder, NEW_FSTAB, &folder, c"fstab")?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_renamed_elsewhere_is_no_reason_to_fail() {
        use std::sync::atomic::{AtomicBool, Ordering};
        let stage = Stage::new("renamed");
        fs::create_dir_all(stage.tree().join("usr/lib")).unwrap();
        fs::write(stage.tree().join("usr/lib/os-release"), "x").unwrap();
        symlink("../usr/lib/os-release", stage.tree().join("etc/os-release")).unwrap();
        let elsewhere = stage.0.join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                fs::write(elsewhere.join("a"), "").unwrap();
                while !done.load(Ordering::Relaxed) {
                    fs::rename(elsewhere.join("a"), elsewhere.join("b")).unwrap();
                    fs::rename(elsewhere.join("b"), elsewhere.join("a")).unwrap();
                }
            });
            let read = || (0..2000).try_for_each(|_| read(&stage.tree(), Path::new("etc/os-release"), 8).map(drop));
            let all = read();
            done.store(true, Ordering::Relaxed);
            all.unwrap();
        });
    }

    /// A folder that stands for a tree, beside one that stands for the initramfs.
    struct Stage(PathBuf);

    impl Stage {
        fn new(name: &str) -> Self {
            let stage = Self(std::env::temp_dir().join(format!("sidus-view-{name}-{}", std::process::id())));
            fs::create_dir_all(stage.tree().join("etc")).unwrap();
            fs::create_dir_all(stage.0.join("etc")).unwrap();
            stage
        }

        fn tree(&self) -> PathBuf {
            self.0.join("tree")
        }

        fn fstab(&self) -> PathBuf {
            self.tree().join("etc/fstab")
        }

        fn adapt(&self) -> Result<(), String> {
            adapt_fstab(&self.tree(), &["/"], "overlay").map_err(|error| error.to_string())
        }
    }

    impl Drop for Stage {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn make_fifo(path: &Path) {
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    }

    #[test]
    fn links_lead_nowhere_but_into_the_tree() {
        let stage = Stage::new("links");
        fs::write(stage.0.join("etc/secret"), "of the initramfs").unwrap();
        fs::write(stage.tree().join("etc/hello"), "of the tree").unwrap();
        for (link, expected) in [
            ("/etc/hello", Ok("of the tree")),
            ("hello", Ok("of the tree")),
            ("../../../../etc/hello", Ok("of the tree")),
            ("../../etc/secret", Err(io::ErrorKind::NotFound)),
            ("/proc/self/root/etc/passwd", Err(io::ErrorKind::NotFound)),
            ("/etc", Err(io::ErrorKind::Other)),
        ] {
            let at = stage.tree().join("etc/link");
            let _ = fs::remove_file(&at);
            symlink(link, &at).unwrap();
            let got = read(&stage.tree(), Path::new("etc/link"), 99).map_err(|error| error.kind());
            assert_eq!(got, expected.map(|text| text.as_bytes().to_vec()), "a link to {link}");
        }
    }

    #[test]
    fn what_is_no_file_is_never_opened() {
        let stage = Stage::new("kinds");
        make_fifo(&stage.fstab());
        assert_eq!(stage.adapt(), Err("it is no regular file".to_owned()));
        fs::remove_file(stage.fstab()).unwrap();
        symlink("/dev/zero", stage.fstab()).unwrap();
        assert_eq!(stage.adapt(), Ok(()), "a link to what the tree has not");
        fs::remove_file(stage.fstab()).unwrap();
        fs::create_dir(stage.fstab()).unwrap();
        assert_eq!(stage.adapt(), Err("it is no regular file".to_owned()));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_cut() {
        let stage = Stage::new("long");
        let line = "UUID=0a34 /x ext4 defaults 0 1\n";
        let text = line.repeat(usize::try_from(MAX_FSTAB).unwrap() / line.len() + 1);
        fs::write(stage.fstab(), &text).unwrap();
        assert_eq!(stage.adapt(), Err("it is longer than any such file may be".to_owned()));
        assert_eq!(fs::read_to_string(stage.fstab()).unwrap(), text);
    }

    #[test]
    fn what_stands_in_the_way_of_the_new_fstab_is_not_written_to() {
        let stage = Stage::new("way");
        let (new, other) =
            (stage.tree().join("etc").join(NEW_FSTAB.to_str().unwrap()), stage.tree().join("etc/shadow"));
        let (old, adapted) = ("/dev/nfs / nfs ro 0 0\n", "overlay / overlay defaults 0 0\n");
        let links: [(&str, &dyn Fn()); 3] = [
            ("a hard link", &|| fs::hard_link(&other, &new).unwrap()),
            ("a link", &|| symlink("shadow", &new).unwrap()),
            ("a FIFO", &|| make_fifo(&new)),
        ];
        for (what, make) in links {
            fs::write(stage.fstab(), old).unwrap();
            fs::write(&other, "kept").unwrap();
            make();
            assert_eq!(stage.adapt(), Ok(()), "{what}");
            assert_eq!(fs::read_to_string(stage.fstab()).unwrap(), adapted, "{what}");
            assert_eq!(fs::read_to_string(&other).unwrap(), "kept", "{what}");
            assert!(!new.exists(), "{what}");
        }
    }

    #[test]
    fn a_right_fstab_is_not_written_again() {
        let stage = Stage::new("right");
        fs::write(stage.fstab(), "/dev/nfs / nfs ro 0 0\n# B\u{fc}ro\n").unwrap();
        stage.adapt().unwrap();
        let first = fs::metadata(stage.fstab()).unwrap();
        stage.adapt().unwrap();
        let second = fs::metadata(stage.fstab()).unwrap();
        assert_eq!((first.ino(), first.mtime_nsec()), (second.ino(), second.mtime_nsec()));
    }
}
