//! `sidus tree list`: the trees, their generations, and who boots and runs on which.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::facts::{record, Facts};
use super::users::Users;
use super::{looking, Form, GenerationError, GenerationName, Places};
use crate::server::cli::Common;
use crate::server::clock::Time;
use crate::server::config::values::TreeName;
use crate::server::config::Config;
use crate::server::paths::{look, names, read_start};
use crate::server::{output, Error};

/// No PXE entry is longer, in bytes: of what is, a picture say, that much is looked at.
const MAX_ENTRY: u64 = 1 << 20;

/// A tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Tree {
    name: TreeName,
    /// Whether there is a working tree of that name.
    working: bool,
    generations: Vec<Generation>,
}

/// A generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Generation {
    name: GenerationName,
    /// When, where that is known.
    published: Option<String>,
    form: Form,
    kernel: Option<String>,
    /// What it takes on the disk, in bytes, and what of that it did not share when it was published.
    size: Option<u64>,
    own: Option<u64>,
    current: bool,
    /// The PXE entries that name it.
    entries: Vec<String>,
    /// The nodes, or addresses of none, that may run on it.
    users: Vec<String>,
}

/// Does it.
///
/// # Errors
/// [`Error`]
pub fn run(common: &Common, json: bool) -> Result<(), Error> {
    let config = Config::read(&common.root)?;
    let trees = read(&common.root, &config)?;
    if json {
        return output::print_json(&trees).map_err(Error::Print);
    }
    output::print(&describe(&trees));
    Ok(())
}

fn read(root: &Path, config: &Config) -> Result<Vec<Tree>, GenerationError> {
    let folders = &config.settings.folders;
    let facts = Facts::read(root, config)?;
    let users = Users::read(root, folders)?;
    let entries = entries(root, config)?;
    let mut trees: Vec<_> = facts.published.keys().chain(&facts.working).cloned().collect();
    trees.sort();
    trees.dedup();
    let tree = |name: TreeName| {
        let published = facts.published.get(&name).cloned().unwrap_or_default();
        let places = Places::of(folders, &name);
        let generation = |one: GenerationName| {
            let path = places.record(one);
            let written = look(root, &path).map_err(looking(&path))?.and_then(|found| found.modified().ok());
            let record = record(root, &places, one)?;
            let node = |address: &String| {
                let node = config.nodes.iter().find(|node| node.file.ip.to_string() == *address);
                node.map_or_else(|| address.clone(), |node| node.name.to_string())
            };
            Ok(Generation {
                name: one,
                published: written.map(|time| Time::of(time).to_string()),
                form: record.as_ref().map(|record| record.form).unwrap_or_default(),
                kernel: record.as_ref().map(|record| record.kernel.clone()),
                size: record.as_ref().map(|record| record.size),
                own: record.as_ref().map(|record| record.own),
                current: published.current.is_some_and(|(current, _)| current == one),
                entries: entries.get(&(name.clone(), one)).cloned().unwrap_or_default(),
                users: users.of(&name, one).iter().map(node).collect(),
            })
        };
        let generations =
            published.generations.iter().copied().map(generation).collect::<Result<_, GenerationError>>()?;
        Ok(Tree { working: facts.working.contains(&name), name, generations })
    };
    trees.into_iter().map(tree).collect()
}

/// The PXE entries that name each generation, persons' too.
pub(super) fn entries(
    root: &Path,
    config: &Config,
) -> Result<BTreeMap<(TreeName, GenerationName), Vec<String>>, GenerationError> {
    let folder = config.settings.folders.tftp.join("pxelinux.cfg");
    let mut entries: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for file in names(root, &folder).map_err(looking(&folder))? {
        let path = folder.join(&file);
        // Persons put there what they like, in any encoding.
        let Some(start) = read_start(root, &path, MAX_ENTRY).map_err(looking(&path))? else { continue };
        let text = String::from_utf8_lossy(&start);
        let node = config.nodes.iter().find(|node| node.file.mac.for_pxelinux() == file);
        let shown = node.map_or(file, |node| node.name.to_string());
        for one in named(&text, config.settings.folders.generations.path()) {
            let files = entries.entry(one).or_default();
            if files.last() != Some(&shown) {
                files.push(shown.clone());
            }
        }
    }
    Ok(entries)
}

/// The generations that a text names: by the folder of their kernels, or by their own.
fn named(text: &str, generations: &Path) -> Vec<(TreeName, GenerationName)> {
    let mut found = Vec::new();
    for start in ["sidus/".to_owned(), format!("{}/", generations.display())] {
        for (at, _) in text.match_indices(&start) {
            let rest = text.get(at..).and_then(|rest| rest.strip_prefix(&start)).unwrap_or_default();
            let mut parts = rest.split(|c: char| c == '/' || c == ',' || c.is_whitespace());
            let tree = parts.next().and_then(|tree| tree.parse().ok());
            let name = parts.next().and_then(|name| name.parse().ok());
            found.extend(tree.zip(name));
        }
    }
    found.sort();
    found.dedup();
    found
}

fn describe(trees: &[Tree]) -> String {
    if trees.is_empty() {
        return "no tree yet: `sidus tree create` makes one\n".to_owned();
    }
    let mut text = String::new();
    for tree in trees {
        let note = match (tree.working, tree.generations.is_empty()) {
            (true, true) => ": never published",
            (true, false) => "",
            (false, _) => ": there is no working tree of that name any more",
        };
        text.push_str(&format!("{}{note}\n", tree.name));
        for one in &tree.generations {
            let mebibytes = |bytes: Option<u64>| bytes.map_or("?".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
            let shared = one.size.zip(one.own).map(|(size, own)| size.saturating_sub(own));
            let mark = if one.current { '*' } else { ' ' };
            let published = one.published.clone().unwrap_or_else(|| one.name.date());
            text.push_str(&format!(
                "{mark} {:<12} {published}  {} shared, {} own",
                one.name.to_string(),
                mebibytes(shared),
                mebibytes(one.own)
            ));
            let mut more = |what: &str, who: &[String]| {
                if !who.is_empty() {
                    text.push_str(&format!("; {what} {}", who.join(", ")));
                }
            };
            more("boots", &one.entries);
            more("runs on", &one.users);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Settings;

    #[test]
    fn whatever_is_beside_the_entries_is_no_trouble() {
        let root = std::env::temp_dir().join(format!("sidus-list-{}", std::process::id()));
        let folder = root.join("srv/tftp/pxelinux.cfg");
        std::fs::create_dir_all(folder.join("folder")).unwrap();
        let of = |number: usize| format!("KERNEL sidus/hpc/20261126-{number}/vmlinuz\n").into_bytes();
        let long = |name: Vec<u8>, before: usize| [vec![b' '; before], name, vec![b'\n'; 2 << 20]].concat();
        let bound = usize::try_from(MAX_ENTRY).unwrap();
        for (name, bytes) in [
            ("a-latin", [b"# caf\xe9\n".to_vec(), of(1)].concat()),
            ("b-long", long(of(2), 0)),
            ("c-late", long(of(3), bound)),
            ("d-logo", vec![0xff; 100]),
        ] {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
        std::os::unix::fs::symlink("nowhere", folder.join("e-link")).unwrap();
        std::os::unix::fs::symlink("folder", folder.join("f-link")).unwrap();
        let text = "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\n\
            tftp = \"none\"\nnfs = \"none\"\ntarget = \"none\"\n";
        let config = Config { settings: Settings::parse(text).unwrap(), nodes: Vec::new() };
        let found = entries(&root, &config).unwrap();
        let found: Vec<_> =
            found.iter().map(|((tree, name), files)| format!("{tree}/{name} {}", files.join(","))).collect();
        assert_eq!(found, ["hpc/20261126-1 a-latin", "hpc/20261126-2 b-long"]);
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn entries_name_generations() {
        let found = |text: &str| {
            let found = named(text, Path::new("/srv/sidus/generations"));
            found.into_iter().map(|(tree, name)| format!("{tree}/{name}")).collect::<Vec<_>>()
        };
        for (text, expected) in [
            (
                "KERNEL sidus/hpc/20261126-2/vmlinuz\nAPPEND initrd=sidus/hpc/20261126-2/initrd.img",
                &["hpc/20261126-2"][..],
            ),
            ("nfsroot=10.13.20.13:/srv/sidus/generations/desk/20261126-1,tcp", &["desk/20261126-1"]),
            ("nfsroot=10.13.20.13:/srv/sidus/generations/desk/20261126-10", &["desk/20261126-10"]),
            ("KERNEL sidus/a/20261126-1/vmlinuz\nKERNEL sidus/b/20261126-1/vmlinuz", &["a/20261126-1", "b/20261126-1"]),
            ("KERNEL vmlinuz-Sidus", &[]),
            ("sidus/", &[]),
        ] {
            assert_eq!(found(text), expected, "{text}");
        }
    }
}
