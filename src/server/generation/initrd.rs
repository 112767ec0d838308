//! The initrd of a generation: made by the tree's own mkinitramfs, or taken from the generation before where nothing that
//! could go into it is other than there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::compare::{Change, How};
use super::{linker, looking, GenerationError, Places};
use crate::server::engine::Action;
use crate::server::paths::{self, look, names};
use crate::server::tree::contain::{self, Where};
use crate::server::tree::inside::seen::{Seen, CACHE, SEEN};
use crate::server::tree::inside::RESULTS;

/// No list of what was seen is longer, in bytes.
const MAX_SEEN: u64 = 64 << 20;

/// Folders that no initramfs hook takes anything from: logs, caches, packages' lists, documentation, people's files. All
/// else may go into an initrd, or decide what does.
const NOT_IN_IT: [&str; 24] = [
    "home",
    "media",
    "mnt",
    "run",
    "srv",
    "tmp",
    "usr/games",
    "usr/include",
    "usr/local/share/man",
    "usr/share/bug",
    "usr/share/common-licenses",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/src",
    "var/backups",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
    "var/tmp",
];

/// What decides whether a change can concern the initrd that a generation has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Hooks of the tree's own may take anything from anywhere, and not only from the tree.
    pub has_own_hooks: bool,
    /// What was seen while it was made, where that is known.
    pub seen: Option<Seen>,
    /// The linker's cache is another one, by which the linker would find what it has looked for where it has.
    pub is_linked_alike: bool,
}

impl Inputs {
    /// Those of the initrd of the generation in `before`, with the list of what was seen for it, where that in `folder`
    /// follows, in which this has changed. A list that cannot be read is none.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(
        root: &Path,
        before: &Path,
        seen: &Path,
        folder: &Path,
        changes: &[Change],
    ) -> Result<Self, GenerationError> {
        let hooks = folder.join("etc/initramfs-tools/hooks");
        let has_own_hooks = !names(root, &hooks).map_err(looking(&hooks))?.is_empty();
        let list = paths::read(root, seen, MAX_SEEN).ok().flatten();
        let seen = list.and_then(|list| Seen::parse(&list));
        let cache = |folder: &Path| paths::read(root, &folder.join(CACHE), linker::MAX_CACHE).ok().flatten();
        let names = seen.as_ref().filter(|seen| seen.cache_is_linkers).and_then(|seen| seen.names.as_ref());
        // Both are regular files then, and no links.
        let is_other = changes.iter().any(|change| change.how == How::Content && change.path == Path::new(CACHE));
        let is_linked_alike = names.filter(|_| is_other).is_some_and(|names| {
            cache(before).is_some_and(|old| cache(folder).is_some_and(|new| linker::are_alike(&old, &new, names)))
        });
        Ok(Self { has_own_hooks, seen, is_linked_alike })
    }

    /// Whether any of these may be in the initrd, or decide what is.
    #[must_use]
    pub fn have_in(&self, changes: &[Change]) -> bool {
        let added = |change: &&Change| change.how == How::Added;
        let new: HashSet<_> = changes.iter().filter(added).map(|change| change.path.as_path()).collect();
        // There is no way to what is in a new folder, but by that.
        let is_in_new = |change: &Change| change.path.parent().is_some_and(|folder| new.contains(folder));
        self.has_own_hooks || changes.iter().any(|change| !is_in_new(change) && self.has(change))
    }

    fn has(&self, change: &Change) -> bool {
        let path = &change.path;
        let may_be = !NOT_IN_IT.iter().any(|folder| path.starts_with(folder));
        match &self.seen {
            Some(seen) if change.how == How::Content => {
                seen.has_read(path) && !(self.is_linked_alike && path == Path::new(CACHE))
            }
            // What is there, and what mode it has, is seen without opening it.
            Some(seen) => seen.has_read(path) || may_be && seen.has_noticed(path),
            None => may_be,
        }
    }
}

/// What makes it, in the scratch folder: where [`made`] says.
///
/// # Errors
/// Where this program's own file is not known.
pub fn build(places: &Places, version: &str) -> Result<Vec<Action>, GenerationError> {
    let scratch = places.scratch();
    let sidus = contain::sidus().map_err(looking("this program's own file"))?;
    let place = Where::Generation { folder: &places.prepared(), scratch: &scratch };
    let result = format!("{RESULTS}/initrd.img");
    let make = contain::contained(&sidus, place, &["mkinitramfs", "-o", &result, version]);
    Ok(vec![
        Action::folder(scratch.join("results")),
        Action::folder(scratch.join("tmp")),
        Action::Run(make.does("makes the initrd")),
    ])
}

/// Where it is when it was made.
#[must_use]
pub fn made(scratch: &Path) -> PathBuf {
    scratch.join("results/initrd.img")
}

/// Where it then says what was seen for it, if the kernel has told.
#[must_use]
pub fn seen(scratch: &Path) -> PathBuf {
    scratch.join(SEEN)
}

/// Whether it was made. A link or a pipe of that name may be what a hook likes, and is not what TFTP is to serve.
///
/// # Errors
/// [`GenerationError::NoInitrd`]; those of the file system
pub fn check(root: &Path, scratch: &Path) -> Result<(), GenerationError> {
    let path = made(scratch);
    match look(root, &path).map_err(looking(&path))? {
        Some(found) if found.is_file() => Ok(()),
        _ => Err(GenerationError::NoInitrd { path }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::How;
    use super::*;

    #[test]
    fn what_might_be_in_it_makes_a_new_one() {
        let of = |how| move |path: &&str| Change { path: path.into(), how };
        let inputs = |has_own_hooks, seen: Option<&[&str]>| Inputs {
            has_own_hooks,
            seen: seen.and_then(|items| Seen::parse(items.join("\0").as_bytes())),
            is_linked_alike: false,
        };
        let opened = Some(&["ousr/sbin/mkinitramfs", "oetc/fstab", "ousr/share/doc/read"][..]);
        let known = Some(
            &[
                "ousr/sbin/mkinitramfs",
                "oetc/hooks.d",
                "ousr/share/doc/read",
                "oetc/ld.so.cache",
                "nmkinitramfs",
                "nissue",
            ][..],
        );
        for (inputs, how, paths, expected) in [
            (inputs(false, None), How::Changed, &[][..], false),
            (
                inputs(false, None),
                How::Changed,
                &["usr/share/doc/x", "home/a/b", "var/log/dpkg.log", "var/lib/dpkg/status"],
                false,
            ),
            (inputs(false, None), How::Content, &["etc/motd"], true),
            (inputs(false, None), How::Added, &["usr/share/doc/x", "usr/lib/modules/6.1/x.ko"], true),
            (inputs(false, None), How::Changed, &["usr/share/documents"], true),
            (inputs(false, None), How::Changed, &["usr/share/initramfs-tools/hooks/x"], true),
            (inputs(false, None), How::Removed, &["usr/bin/vim"], true),
            (inputs(false, None), How::Changed, &["boot/config-6.1"], true),
            (inputs(false, None), How::Changed, &["usr/share/doc"], false),
            (inputs(false, None), How::Changed, &["usr"], true),
            // Where it is known what was opened.
            (inputs(false, opened), How::Content, &["etc/motd", "usr/bin/vim"], false),
            (inputs(false, opened), How::Content, &["etc/motd", "etc/fstab"], true),
            (inputs(false, opened), How::Changed, &["etc/motd"], true),
            (inputs(false, opened), How::Added, &["etc/motd"], true),
            (inputs(false, opened), How::Removed, &["etc/motd"], true),
            (inputs(false, opened), How::Added, &["usr/share/doc/x"], false),
            (inputs(false, opened), How::Content, &["usr/share/doc/read"], true),
            // And what was looked for.
            (inputs(false, known), How::Added, &["etc/new", "opt/new"], false),
            (inputs(false, known), How::Removed, &["usr/bin/vim"], false),
            (inputs(false, known), How::Changed, &["etc/motd"], false),
            (inputs(false, known), How::Added, &["etc/issue"], true),
            (inputs(false, known), How::Removed, &["opt/issue"], true),
            (inputs(false, known), How::Changed, &["usr/sbin/mkinitramfs"], true),
            (inputs(false, known), How::Content, &["etc/issue"], false),
            (inputs(false, known), How::Added, &["etc/hooks.d/new"], true),
            (inputs(false, known), How::Added, &["srv/issue"], false),
            (inputs(false, known), How::Added, &["opt/new", "opt/new/issue"], false),
            (inputs(false, known), How::Removed, &["opt/old", "opt/old/issue"], true),
            (inputs(true, known), How::Added, &["etc/new"], true),
            (inputs(false, known), How::Removed, &["usr/share/doc/read"], true),
            (inputs(false, known), How::Changed, &["usr/share/doc/read"], true),
            // Hooks of the tree's own.
            (inputs(true, opened), How::Content, &["usr/share/doc/x"], true),
            (inputs(true, None), How::Content, &["usr/share/doc/x"], true),
            // The linker's cache.
            (inputs(false, known), How::Content, &[CACHE], true),
            (inputs(false, opened), How::Content, &[CACHE], false),
            (Inputs { is_linked_alike: true, ..inputs(false, known) }, How::Content, &[CACHE], false),
            (
                Inputs { is_linked_alike: true, ..inputs(false, known) },
                How::Content,
                &[CACHE, "usr/sbin/mkinitramfs"],
                true,
            ),
        ] {
            let changes: Vec<_> = paths.iter().map(of(how)).collect();
            assert_eq!(inputs.have_in(&changes), expected, "{inputs:?} {changes:?}");
        }
    }
}
