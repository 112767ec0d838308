//! Unmounts all of a root.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use super::processes::kill_others;
use crate::folder::Folder;
use crate::kmsg::{Level, Log};
use crate::mount::{self, set_superblock_read_only};
use crate::mountinfo::{self, Mount};
use crate::plan::is_virtual;

/// How often it is tried again what something still uses.
const TRIES: u32 = 20;
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// What can be unmounted next, the last that was mounted first; those that are virtual lazily (`true`), and only where
/// nothing else is mounted below them: that would be out of sight then.
fn next<'a>(mounts: &'a [Mount], old_root: &'a Path) -> impl Iterator<Item = (&'a Path, bool)> {
    let inside = move |mount: &&Mount| mount.at.starts_with(old_root);
    let holds = move |at: &Path| mounts.iter().any(|other| !is_virtual(&other.fs) && other.at.starts_with(at));
    mounts.iter().rev().filter(inside).filter_map(move |mount| match is_virtual(&mount.fs) {
        true if holds(&mount.at) => None,
        lazily => Some((mount.at.as_path(), lazily)),
    })
}

/// Unmounts `old_root` and all below it; what will not go is made read-only, and named. Whether all is unmounted.
pub fn unmount_all(root: &Path, old_root: &Path, log: &Log) -> bool {
    let path = root.join("proc/self/mountinfo");
    let mut left = Vec::new();
    for _ in 0..TRIES {
        let text = fs::read_to_string(&path).map_err(|error| error.to_string());
        let mounts = text.and_then(|text| mountinfo::parse(&text).map_err(|error| error.to_string()));
        let mounts = match mounts {
            Ok(mounts) => mounts,
            Err(why) => {
                log.say(Level::Error, &format!("shutdown: nothing is unmounted: {}: {why}", path.display()));
                return false;
            }
        };
        left.clear();
        let mut progress = false;
        for (at, lazily) in next(&mounts, old_root) {
            let unmount = if lazily { mount::detach } else { mount::unmount_from };
            match unmount(at) {
                Ok(()) => progress = true,
                Err(error) => left.push((at.to_owned(), error)),
            }
        }
        if left.is_empty() {
            return true;
        }
        if !progress {
            if let Ok(proc) = Folder::open(&root.join("proc")) {
                kill_others(&proc);
            }
            sleep(PAUSE);
        }
    }
    for (at, error) in left {
        let read_only = set_superblock_read_only(&at, true).is_ok();
        log.say(Level::Error, &format!("shutdown: cannot {error}; read-only: {read_only}"));
    }
    rustix::fs::sync();
    false
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_is_mounted_last_goes_first_and_what_holds_a_disk_waits_for_it() {
        let mounts = |lines: &[(&str, &str)]| -> Vec<Mount> {
            lines
                .iter()
                .map(|(at, fs)| Mount {
                    at: PathBuf::from(at),
                    fs: (*fs).to_owned(),
                    source: String::new(),
                    options: String::new(),
                    super_options: String::new(),
                })
                .collect()
        };
        let table: &[(&[(&str, &str)], &[(&str, bool)])] = &[
            (&[("/", "tmpfs"), ("/proc", "proc"), ("/oldroots", "ext4")], &[]),
            (
                &[("/", "tmpfs"), ("/oldroot", "overlay"), ("/oldroot/ro", "nfs"), ("/oldroot/rw", "ext4")],
                &[("/oldroot/rw", false), ("/oldroot/ro", false), ("/oldroot", false)],
            ),
            (
                &[("/oldroot", "overlay"), ("/oldroot/run", "tmpfs"), ("/oldroot/run/lock", "tmpfs")],
                &[("/oldroot/run/lock", true), ("/oldroot/run", true), ("/oldroot", false)],
            ),
            (
                &[("/oldroot", "overlay"), ("/oldroot/run", "tmpfs"), ("/oldroot/run/media/disk", "ext4")],
                &[("/oldroot/run/media/disk", false), ("/oldroot", false)],
            ),
        ];
        for (lines, expected) in table {
            let mounts = mounts(lines);
            let got: Vec<_> = next(&mounts, Path::new("/oldroot")).collect();
            let expected: Vec<_> = expected.iter().map(|(at, lazily)| (Path::new(*at), *lazily)).collect();
            assert_eq!(got, expected, "{lines:?}");
        }
    }
}
