//! Who runs on which generation.
//!
//! klibc's nfsmount, and the kernel for NFSv3, ask mountd(8) for a generation when a node boots; mountd counts that in
//! `rmtab`, by address and path, and forgets nothing, since no node says good-bye. So a count that is other than when it
//! was last looked at is of a later boot than one that is the same: [`Seen`] keeps the counts, and of each address the
//! generations that its latest boot may have been of. In doubt that is more than one, never none.
//!
//! A node that moves asks for the generation that it goes to while it still runs on the other one, and asks for that once
//! more where it does not come there. In between, and where a person on it looks at another generation, what it ran on
//! before counts as well: [`Users::may_need`].
//!
//! A node with NFSv4 never asks mountd. The kernel lists it as a client, but not what it has mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{looking, GenerationError, GenerationName};
use crate::server::config::values::TreeName;
use crate::server::config::Folders;
use crate::server::engine::{Action, Content, Write};
use crate::server::paths::{self, names, read_text};

/// mountd's list.
const RMTAB: &str = "/var/lib/nfs/rmtab";
/// Where the kernel's NFS server lists its clients of version 4 (its fs/nfsd/nfs4state.c).
pub const CLIENTS: &str = "/proc/fs/nfsd/clients";
/// No such file is longer, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// What is mounted, as `TREE/GENERATION`, and how often it was.
type Counts = BTreeMap<String, u64>;

/// What was seen when it was last looked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// mountd's counts, by address.
    counts: BTreeMap<String, Counts>,
    /// By address, what it may run on.
    latest: BTreeMap<String, BTreeSet<String>>,
    /// And what it may have run on before that.
    #[serde(default)]
    before: BTreeMap<String, BTreeSet<String>>,
}

/// Who runs on what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// What is to be remembered.
    pub seen: Seen,
    /// The addresses with NFSv4 alone, of which nobody can tell what they have mounted.
    pub unknown: BTreeSet<String>,
}

impl Users {
    /// Looks at the machine whose root is `root`, with what was seen before.
    ///
    /// # Errors
    /// [`GenerationError`]
    pub fn read(root: &Path, folders: &Folders) -> Result<Self, GenerationError> {
        let path = remembered(folders);
        let text = read_text(root, &path, MAX_FILE).map_err(looking(&path))?;
        let before: Seen = text
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| GenerationError::Record { path, why: error.to_string() })?
            .unwrap_or_default();
        // A node may mount any folder of a tree, and the names of those need not be texts.
        let rmtab = paths::read(root, Path::new(RMTAB), MAX_FILE).map_err(looking(RMTAB))?.unwrap_or_default();
        let seen = before.and(counts(&String::from_utf8_lossy(&rmtab), folders.generations.path()));
        let mut unknown = BTreeSet::new();
        for client in names(root, Path::new(CLIENTS)).map_err(looking(CLIENTS))? {
            let path = Path::new(CLIENTS).join(client).join("info");
            // It may be gone by now.
            if let Ok(Some(text)) = read_text(root, &path, MAX_FILE) {
                unknown.extend(address(&text).filter(|address| !seen.latest.contains_key(address)));
            }
        }
        Ok(Self { seen, unknown })
    }

    /// The addresses that may run on this generation.
    #[must_use]
    pub fn of(&self, tree: &TreeName, name: GenerationName) -> Vec<String> {
        let key = format!("{tree}/{name}");
        let on_it = self.seen.latest.iter().filter(|(_, on)| on.contains(&key));
        on_it.map(|(address, _)| address.clone()).collect()
    }

    /// Whether anyone may run on this generation, or still be on the way from it to another one.
    #[must_use]
    pub fn may_need(&self, tree: &TreeName, name: GenerationName) -> bool {
        let key = format!("{tree}/{name}");
        let Seen { latest, before, .. } = &self.seen;
        latest.values().chain(before.values()).any(|on| on.contains(&key))
    }

    /// What a machine may run on, as `TREE/GENERATION`, of which mountd has these addresses or names.
    #[must_use]
    pub fn on(&self, is_it: impl Fn(&str) -> bool) -> Vec<String> {
        let latest = self.seen.latest.iter().filter(|(host, _)| is_it(host));
        let all: BTreeSet<_> = latest.flat_map(|(_, on)| on).cloned().collect();
        all.into_iter().collect()
    }

    /// What remembers it.
    ///
    /// # Errors
    /// Those of serde_json, for what no JSON can have.
    pub fn remember(&self, folders: &Folders) -> Result<Action, GenerationError> {
        let path = remembered(folders);
        let text = serde_json::to_string(&self.seen)
            .map_err(|error| GenerationError::Record { path: path.clone(), why: error.to_string() })?;
        Ok(Action::Write(Write::new(path, Content::Text(format!("{text}\n")))))
    }
}

fn remembered(folders: &Folders) -> PathBuf {
    folders.state.join("mounted.json")
}

impl Seen {
    /// What is known after these counts were seen.
    fn and(self, now: BTreeMap<String, Counts>) -> Self {
        let (mut latest, mut earlier) = (self.latest, self.before);
        for (address, counts) in &now {
            let none = Counts::new();
            let before = self.counts.get(address).unwrap_or(&none);
            let changed: BTreeSet<_> = counts
                .iter()
                .filter(|(path, count)| before.get(*path) != Some(count))
                .map(|(path, _)| path)
                .cloned()
                .collect();
            if before.keys().any(|path| !counts.contains_key(path)) {
                // The list was begun anew: an equal count may be of a later boot.
                latest.entry(address.clone()).or_default().extend(counts.keys().cloned());
            } else if !changed.is_empty() {
                let was = latest.insert(address.clone(), changed);
                earlier.insert(address.clone(), was.unwrap_or_default());
            }
        }
        let mut counts = self.counts;
        counts.extend(now);
        Self { counts, latest, before: earlier }
    }
}

/// The lines of rmtab that are of generations: `10.13.20.21:/srv/sidus/generations/hpc/20261126-1:0x00000001`
fn counts(rmtab: &str, generations: &Path) -> BTreeMap<String, Counts> {
    let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
    for line in rmtab.lines() {
        // An address of version 6 has colons.
        let parsed = line.rsplit_once(":0x").and_then(|(rest, count)| {
            let (address, path) = rest.split_once(":/")?;
            let path = Path::new("/").join(path);
            let mut parts = path.strip_prefix(generations).ok()?.iter().filter_map(std::ffi::OsStr::to_str);
            let tree: TreeName = parts.next()?.parse().ok()?;
            let name: GenerationName = parts.next()?.parse().ok()?;
            Some((address, format!("{tree}/{name}"), u64::from_str_radix(count.trim(), 16).ok()?))
        });
        if let Some((address, path, count)) = parsed {
            let all = counts.entry(address.to_owned()).or_default().entry(path).or_default();
            // It matters only whether it is another one than before.
            *all = all.wrapping_add(count);
        }
    }
    counts
}

/// The address in the `info` of a client: `address: "10.13.20.21:787"`
#[must_use]
pub fn address(info: &str) -> Option<String> {
    let value = info.lines().find_map(|line| line.trim().strip_prefix("address:"))?;
    let (address, _port) = value.trim().trim_matches('"').rsplit_once(':')?;
    Some(address.trim_matches(['[', ']']).to_owned())
}

#[cfg(test)]
#[path = "users_tests.rs"]
mod tests;
