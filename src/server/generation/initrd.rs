//! The initrd of a generation: made by the tree's own mkinitramfs, or taken from the generation before where nothing that
//! could go into it is other than there.

use std::path::Path;

use super::compare::Change;
use super::{looking, GenerationError, Places};
use crate::server::engine::Action;
use crate::server::paths::look;
use crate::server::tree::contain::{self, Where};
use crate::server::tree::inside::RESULTS;

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

/// Whether any of these may be in the initrd, or decide what is.
#[must_use]
pub fn depends_on(changes: &[Change]) -> bool {
    changes.iter().any(|change| !NOT_IN_IT.iter().any(|folder| change.path.starts_with(folder)))
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
pub fn made(scratch: &Path) -> std::path::PathBuf {
    scratch.join("results/initrd.img")
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
        for (paths, expected) in [
            (&[][..], false),
            (&["usr/share/doc/x", "home/a/b", "var/log/dpkg.log", "var/lib/dpkg/status"], false),
            (&["etc/motd"], true),
            (&["usr/share/doc/x", "usr/lib/modules/6.1/x.ko"], true),
            (&["usr/share/documents"], true),
            (&["usr/share/initramfs-tools/hooks/x"], true),
            (&["usr/bin/vim"], true),
            (&["boot/config-6.1"], true),
            (&["usr/share/doc"], false),
            (&["usr"], true),
        ] {
            let changes: Vec<_> = paths.iter().map(|path| Change { path: path.into(), how: How::Changed }).collect();
            assert_eq!(depends_on(&changes), expected, "{paths:?}");
        }
    }
}
