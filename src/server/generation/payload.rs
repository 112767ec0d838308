//! What a generation gets for the node's sake: `rootaufs`, and what has update-initramfs put it into an initrd. They are
//! installed on the server, from where each publication takes them: so a new version of them reaches the nodes with the
//! next generation, whatever a tree has.

use std::path::{Path, PathBuf};

use super::publish::link;
use super::{looking, GenerationError};
use crate::server::engine::{is_done, Action, Content, Write};
use crate::server::paths::look;

/// Where the programs for nodes are on the server.
pub const PROGRAMS: &str = "/usr/lib/sidus";
/// Where the rest of it is: what the project has in `initramfs-hooks`.
pub const HOOKS: &str = "/usr/share/sidus";

/// Folder, name there, place in the tree, mode.
const FILES: [(&str, &str, &str, u32); 10] = [
    (PROGRAMS, "rootaufs", "usr/sbin/rootaufs", 0o755),
    (PROGRAMS, "rootaufs-initramfs", "usr/lib/sidus/rootaufs-initramfs", 0o755),
    (PROGRAMS, "rootaufs-shutdown", "usr/lib/sidus/rootaufs-shutdown", 0o755),
    (HOOKS, "hooks/rootaufs", "usr/share/initramfs-tools/hooks/rootaufs", 0o755),
    (HOOKS, "scripts/nfs-top/rootaufs", "usr/share/initramfs-tools/scripts/nfs-top/rootaufs", 0o755),
    (HOOKS, "scripts/init-bottom/rootaufs", "usr/share/initramfs-tools/scripts/init-bottom/rootaufs", 0o755),
    (HOOKS, "conf-hooks.d/rootaufs", "usr/share/initramfs-tools/conf-hooks.d/rootaufs", 0o644),
    (HOOKS, "systemd/sidus-watch.service", "usr/lib/systemd/system/sidus-watch.service", 0o644),
    (HOOKS, "systemd/sidus-switch.service", "usr/lib/systemd/system/sidus-switch.service", 0o644),
    (HOOKS, "rootaufs.8", "usr/share/man/man8/rootaufs.8", 0o644),
];

/// Place in the tree, where it leads.
const LINKS: [(&str, &str); 2] = [
    ("usr/lib/systemd/system/multi-user.target.wants/sidus-watch.service", "../sidus-watch.service"),
    ("usr/lib/systemd/system/systemd-soft-reboot.service.wants/sidus-switch.service", "../sidus-switch.service"),
];

/// What puts it into the tree in `folder`. What the generation `before` has of it, the same, is the same file.
#[must_use]
pub fn actions(root: &Path, folder: &Path, before: Option<&Path>) -> Vec<Action> {
    let mut actions = Vec::new();
    for (from, name, to, mode) in FILES {
        let in_tree = |tree: &Path| {
            let content = Content::CopyOf(Path::new(from).join(name));
            Action::Write(Write { mode, owner: Some((0, 0)), ..Write::new(tree.join(to), content) })
        };
        // Whatever else may be in the way there is no error of this generation.
        let has = |tree: &Path| is_done(root, &in_tree(tree)).unwrap_or(false);
        actions.extend(folder.join(to).parent().map(Action::folder));
        actions.push(match before {
            Some(before) if has(before) && !has(folder) => link(&before.join(to), &folder.join(to)),
            _ => in_tree(folder),
        });
    }
    for (link, target) in LINKS {
        let path = folder.join(link);
        actions.extend(path.parent().map(Action::folder));
        actions.push(Action::Link { path, target: PathBuf::from(target) });
    }
    actions
}

/// Whether all of it is installed on this server.
///
/// # Errors
/// [`GenerationError::NoPayload`]
pub fn check(root: &Path) -> Result<(), GenerationError> {
    for (from, name, ..) in FILES {
        let path = Path::new(from).join(name);
        if look(root, &path).map_err(looking(&path))?.is_none() {
            return Err(GenerationError::NoPayload { path });
        }
    }
    Ok(())
}

/// Whether what is written into the tree in `folder` stays there: a link on the way could lead to this server's own files.
///
/// # Errors
/// [`GenerationError::Link`]; [`GenerationError::NoInitramfsTools`]
pub fn check_tree(root: &Path, folder: &Path) -> Result<(), GenerationError> {
    let places = FILES.iter().map(|(_, _, place, _)| *place).chain(LINKS.iter().map(|(place, _)| *place));
    for place in places {
        for above in Path::new(place).ancestors().skip(1) {
            let path = folder.join(above);
            if look(root, &path).map_err(looking(&path))?.is_some_and(|found| found.is_symlink()) {
                return Err(GenerationError::Link { path });
            }
        }
    }
    let path = folder.join("usr/sbin/mkinitramfs");
    match look(root, &path).map_err(looking(&path))? {
        Some(_) => Ok(()),
        None => Err(GenerationError::NoInitramfsTools { path }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a person's installation of a tree does, a publication does too.
    #[test]
    fn it_is_what_the_script_installs() {
        let script = include_str!("../../../initramfs-hooks/install");
        let text = script
            .replace("$share/", "$destdir/usr/share/initramfs-tools/")
            .replace("$units/", "$destdir/usr/lib/systemd/system/");
        let scripts = text.lines().find_map(|line| line.strip_prefix("for script in ")?.strip_suffix("; do")).unwrap();
        let each = |line: &str| match line.contains("$script") {
            true => scripts.split(' ').map(|script| line.replace("$script", script)).collect(),
            false => vec![line.to_owned()],
        };
        let does = |line: &&str| line.starts_with("install ") || line.starts_with("ln ");
        let mut found = 0;
        for line in text.lines().map(str::trim_start).filter(does).flat_map(each) {
            let words: Vec<_> = line.split_whitespace().map(|word| word.trim_matches('"')).collect();
            let known = match words.as_slice() {
                ["install", "-D", "-m", mode, from, to] => FILES.iter().any(|(_, name, place, octal)| {
                    from.ends_with(&format!("/{name}"))
                        && *to == format!("$destdir/{place}")
                        && format!("{octal:o}") == *mode
                }),
                ["ln", "-sf", target, path] => LINKS.contains(&(path.strip_prefix("$destdir/").unwrap(), target)),
                _ => false,
            };
            assert!(known, "{line}");
            found += 1;
        }
        assert_eq!(found, FILES.len() + LINKS.len());
    }
}
