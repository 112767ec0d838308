//! Files and folders, changed so that a power loss at any moment leaves the old state or the new one.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{fchown, DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{renameat_with, syncfs, RenameFlags, CWD};
use rustix::io::Errno;

use super::action::{Content, MakeFolder, Over, Proof, Write, MARK};
use super::error::{Doing, EngineError};
use crate::mountinfo;
use crate::server::paths::{has_same_bytes, look, within};

/// What is being written has this name until it is whole. Programs that read whole folders pass by what begins with a dot.
fn unfinished(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!(".{name}.sidus-{ending}"))
}

/// Makes the names in a folder last.
fn sync_folder_of(at: &Path) -> io::Result<()> {
    File::open(at.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// From when on something outlasts a power loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// When it is done.
    AtOnce,
    /// When the folder that it is in is to be renamed: [`make_last`]. To wait for the disk at each file would take longer
    /// than to write all of them.
    WhenRenamed,
}

impl Lasts {
    fn file(self, file: &File) -> io::Result<()> {
        if self == Self::AtOnce {
            file.sync_all()?;
        }
        Ok(())
    }

    fn folder_of(self, at: &Path) -> io::Result<()> {
        if self == Self::AtOnce {
            sync_folder_of(at)?;
        }
        Ok(())
    }
}

/// Makes what is to be renamed last, with all that is in it. After that the journal may say that it is put in its place:
/// from then on it will be, as it is on the disk.
pub(super) fn make_last(root: &Path, path: &Path) -> Result<(), EngineError> {
    let sync = || -> io::Result<()> {
        match File::open(within(root, path)) {
            Ok(file) if file.metadata()?.is_dir() => Ok(syncfs(&file)?),
            Ok(file) => file.sync_all(),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    };
    sync().doing("sync", path)
}

/// Writes a file, without looking at what it replaces.
pub(super) fn write(root: &Path, write: &Write, lasts: Lasts) -> Result<(), EngineError> {
    let (at, new) = (within(root, &write.path), within(root, &unfinished(&write.path, "new")));
    let doing = "write";
    remove_file(&new).doing(doing, &write.path)?;
    let put = || -> io::Result<()> {
        // For nobody else until it has its mode.
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
        io::copy(&mut open(root, &write.content)?, &mut file)?;
        if let Some((user, group)) = write.owner {
            fchown(&file, Some(user), Some(group))?;
        }
        // After the owner: a change of that takes set-user-id away.
        file.set_permissions(fs::Permissions::from_mode(write.mode))?;
        lasts.file(&file)?;
        fs::rename(&new, &at)?;
        lasts.folder_of(&at)
    };
    put()
        .inspect_err(|_| {
            // What is left of it is no use to anyone; that it cannot be removed is the lesser trouble.
            let _ = remove_file(&new);
        })
        .doing(doing, &write.path)
}

fn open<'a>(root: &Path, content: &'a Content) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match content {
        Content::Text(text) => Box::new(text.as_bytes()),
        Content::Bytes(bytes) => Box::new(bytes.as_slice()),
        Content::CopyOf(path) => {
            let name = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            Box::new(File::open(within(root, path)).map_err(name)?)
        }
    })
}

/// Whether the file is there as it is to be; an error where something is in the way.
pub(super) fn is_written(root: &Path, write: &Write) -> Result<bool, EngineError> {
    let path = &write.path;
    let Some(found) = look(root, path).doing("look at", path)? else {
        return Ok(false);
    };
    if !found.is_file() {
        return Err(EngineError::foreign(
            path,
            "no regular file is there, where sidus has to write one",
            "move it away",
        ));
    }
    if has_content(root, write).doing("read", path)? {
        let owner = write.owner.is_none_or(|owner| owner == (found.uid(), found.gid()));
        return Ok(write.over == Over::Nothing || owner && found.mode() & 0o7777 == write.mode);
    }
    match write.over {
        Over::Anything => Ok(false),
        Over::Marked if is_marked(root, path).doing("read", path)? => Ok(false),
        Over::Marked => Err(EngineError::foreign(
            path,
            format!("sidus has to write it, but it is not of sidus: its first line has no \"{MARK}\""),
            "move it away, or say in sidus.toml (services) that you look after that service yourself",
        )),
        Over::Nothing => Err(EngineError::foreign(
            path,
            "it is there already, and other than it would be made",
            "change it by hand, or move it away",
        )),
    }
}

fn has_content(root: &Path, write: &Write) -> io::Result<bool> {
    let old = io::BufReader::new(File::open(within(root, &write.path))?);
    let new = match open(root, &write.content) {
        Ok(new) => io::BufReader::new(new),
        // What it is a copy of is still to be made.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    has_same_bytes(old, new)
}

fn is_marked(root: &Path, path: &Path) -> io::Result<bool> {
    let mut start = Vec::new();
    File::open(within(root, path))?.take(4096).read_to_end(&mut start)?;
    let first = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(first).contains(MARK))
}

/// Whether the folder is there as it is to be.
pub(super) fn is_made(root: &Path, folder: &MakeFolder) -> Result<bool, EngineError> {
    let path = &folder.path;
    // An administrator may have put a link there, to another disk.
    match fs::metadata(within(root, path)) {
        Ok(found) if !found.is_dir() => {
            Err(EngineError::foreign(path, "it is no folder, where sidus needs one", "move it away"))
        }
        Ok(found) => {
            let owner = folder.owner.is_none_or(|owner| owner == (found.uid(), found.gid()));
            Ok(!folder.exact || owner && found.mode() & 0o7777 == folder.mode)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).doing("look at", path),
    }
}

/// Makes a folder, and those above it. It has its mode from the first: one that is there is not looked at again.
pub(super) fn make_folder(root: &Path, folder: &MakeFolder, lasts: Lasts) -> Result<(), EngineError> {
    let (at, new) = (within(root, &folder.path), within(root, &unfinished(&folder.path, "new")));
    let dress = |at: &Path| -> io::Result<()> {
        let file = File::open(at)?;
        if let Some((user, group)) = folder.owner {
            fchown(&file, Some(user), Some(group))?;
        }
        file.set_permissions(fs::Permissions::from_mode(folder.mode))?;
        lasts.file(&file)
    };
    let make = || -> io::Result<()> {
        if at.is_dir() {
            return dress(&at);
        }
        if let Some(above) = at.parent().filter(|above| !above.exists()) {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(above)?;
            lasts.folder_of(above)?;
        }
        remove_all(&new)?;
        fs::DirBuilder::new().mode(0o700).create(&new)?;
        dress(&new)?;
        fs::rename(&new, &at)?;
        lasts.folder_of(&at)
    };
    make().doing("make folder", &folder.path)
}

/// Whether the link leads there; an error where something else than a link is in the way.
pub(super) fn is_linked(root: &Path, path: &Path, target: &Path) -> Result<bool, EngineError> {
    match look(root, path).doing("look at", path)? {
        None => Ok(false),
        Some(found) if found.is_symlink() => Ok(fs::read_link(within(root, path)).doing("read link", path)? == target),
        Some(_) => Err(EngineError::foreign(path, "it is no link, where sidus needs one", "move it away")),
    }
}

/// Makes a link, or has it lead elsewhere.
pub(super) fn link(root: &Path, path: &Path, target: &Path, lasts: Lasts) -> Result<(), EngineError> {
    let (at, new) = (within(root, path), within(root, &unfinished(path, "new")));
    let put = || -> io::Result<()> {
        remove_file(&new)?;
        std::os::unix::fs::symlink(target, &new)?;
        fs::rename(&new, &at)?;
        lasts.folder_of(&at)
    };
    put().doing("link", path)
}

/// Whether nothing is left of it; an error where it may not be removed.
pub(super) fn is_removed(root: &Path, path: &Path, proof: &Proof) -> Result<bool, EngineError> {
    if let Proof::Inside(folder) = proof {
        // The path alone tells: `..` would lead out again.
        let inside = path.strip_prefix(folder).is_ok_and(|rest| {
            let mut parts = rest.components().peekable();
            parts.peek().is_some() && parts.all(|part| matches!(part, std::path::Component::Normal(_)))
        });
        if !inside {
            return Err(EngineError::foreign(
                path,
                format!("it is not in {}", folder.display()),
                "report this error of sidus",
            ));
        }
    }
    let Some(found) = look(root, path).doing("look at", path)? else {
        return Ok(look(root, &unfinished(path, "removed")).doing("look at", path)?.is_none());
    };
    if *proof == Proof::Marked && !(found.is_file() && is_marked(root, path).doing("read", path)?) {
        let why = format!("sidus has to remove it, but it is not of sidus: its first line has no \"{MARK}\"");
        return Err(EngineError::foreign(path, why, "remove it by hand"));
    }
    Ok(false)
}

/// Removes it: first from its name, at once, then what is in it.
pub(super) fn remove(root: &Path, path: &Path, lasts: Lasts) -> Result<(), EngineError> {
    let (at, old) = (within(root, path), within(root, &unfinished(path, "removed")));
    remove_all(&old).doing("remove", path)?;
    let is_folder = look(root, path).doing("remove", path)?.is_some_and(|found| found.is_dir());
    if !is_folder {
        return unlink(root, path, lasts);
    }
    check_no_mount(&at).doing("remove", path)?;
    fs::rename(&at, &old).and_then(|()| lasts.folder_of(&at)).doing("remove", path)?;
    remove_all(&old).and_then(|()| lasts.folder_of(&at)).doing("remove", path)
}

fn remove_all(at: &Path) -> io::Result<()> {
    match fs::symlink_metadata(at) {
        Ok(found) if found.is_dir() => check_no_mount(at).and_then(|()| fs::remove_dir_all(at)),
        Ok(_) => remove_file(at),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// What is mounted below is another's: a tree that is being worked in has this machine's /proc and /dev.
fn check_no_mount(at: &Path) -> io::Result<()> {
    let at = fs::canonicalize(at)?;
    let mounts = mountinfo::parse(&fs::read_to_string("/proc/self/mountinfo")?).map_err(io::Error::other)?;
    match mounts.iter().find(|mount| mount.at.starts_with(&at)) {
        Some(mount) => Err(io::Error::other(format!("something is mounted on {0}: umount {0}", mount.at.display()))),
        None => Ok(()),
    }
}

/// Removes a file, if it is there, for good.
pub(super) fn unlink(root: &Path, path: &Path, lasts: Lasts) -> Result<(), EngineError> {
    let at = within(root, path);
    remove_file(&at)
        .and_then(|()| if at.parent().is_some_and(Path::exists) { lasts.folder_of(&at) } else { Ok(()) })
        .doing("remove", path)
}

fn remove_file(at: &Path) -> io::Result<()> {
    match fs::remove_file(at) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        other => other,
    }
}

/// Whether it is renamed already; an error where the new name is taken.
pub(super) fn is_renamed(root: &Path, from: &Path, to: &Path) -> Result<bool, EngineError> {
    let is_there = |path| look(root, path).doing("look at", path).map(|found| found.is_some());
    match (is_there(from)?, is_there(to)?) {
        (true, true) => Err(EngineError::foreign(
            to,
            format!("{} should get that name, but there is one already", from.display()),
            "move it away",
        )),
        (from, to) => Ok(!from && to),
    }
}

/// Renames it, after [`make_last`].
pub(super) fn rename(root: &Path, from: &Path, to: &Path) -> Result<(), EngineError> {
    let (old, new) = (within(root, from), within(root, to));
    let put = || -> io::Result<()> {
        match renameat_with(CWD, &old, CWD, &new, RenameFlags::NOREPLACE) {
            // Not each file system knows that flag; that the name is free was looked at.
            Err(Errno::INVAL) => fs::rename(&old, &new)?,
            other => other?,
        }
        sync_folder_of(&old)?;
        sync_folder_of(&new)
    };
    put().doing("rename", from)
}

/// Whether the file has that name already; an error where neither is there, or a folder is in the way.
pub(super) fn is_replaced(root: &Path, from: &Path, to: &Path) -> Result<bool, EngineError> {
    let found = look(root, to).doing("look at", to)?;
    if found.as_ref().is_some_and(|found| !found.is_file()) {
        return Err(EngineError::foreign(to, "no regular file is there, where sidus has to write one", "move it away"));
    }
    Ok(look(root, from).doing("look at", from)?.is_none() && found.is_some())
}

/// Has a file take the place of another one. Until the last step, all of it can be done again: what is kept has two names
/// then.
pub(super) fn replace(root: &Path, from: &Path, to: &Path, keep: Option<&Path>) -> Result<(), EngineError> {
    let (new, at) = (within(root, from), within(root, to));
    let put = || -> io::Result<()> {
        if let Some(keep) = keep.filter(|_| at.exists()) {
            let (kept, second) = (within(root, keep), within(root, &unfinished(keep, "new")));
            remove_file(&second)?;
            fs::hard_link(&at, &second)?;
            // Two names of one file stay both: rename(2) does nothing then.
            fs::rename(&second, &kept)?;
            remove_file(&second)?;
            sync_folder_of(&kept)?;
        }
        fs::rename(&new, &at)?;
        sync_folder_of(&at)
    };
    put().doing("replace", to)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
