//! The generations that there are.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{looking, Form, GenerationError, GenerationName, Places, Record};
use crate::server::config::values::{NodeName, TreeName};
use crate::server::config::{Config, Folders};
use crate::server::node::facts::accounts;
use crate::server::paths::{look, names, read_text, within};

/// No record is longer, in bytes.
const MAX_RECORD: u64 = 1 << 16;

/// A tree, as far as it is published.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Published {
    /// The generations, the oldest first.
    pub generations: Vec<GenerationName>,
    /// Those whose kernel and initrd there are.
    pub boot: Vec<GenerationName>,
    /// The one that nodes boot, and what it is made of.
    pub current: Option<(GenerationName, Form)>,
}

/// What nodes can boot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The trees that were ever published.
    pub published: BTreeMap<TreeName, Published>,
    /// The trees that can be.
    pub working: Vec<TreeName>,
    /// The archives that nodes load besides the initrd, for their accounts; relative to the TFTP folder.
    pub archives: BTreeMap<NodeName, String>,
}

impl Facts {
    /// Looks at the machine whose root is `root`.
    ///
    /// # Errors
    /// [`GenerationError`]
    pub fn read(root: &Path, config: &Config) -> Result<Self, GenerationError> {
        let folders = &config.settings.folders;
        let mut published = BTreeMap::new();
        for tree in trees_in(root, folders.generations.path())? {
            published.insert(tree.clone(), Published::read(root, &Places::of(folders, &tree))?);
        }
        let accounts = accounts(root, config).map_err(looking("the nodes' accounts"))?;
        let archives = accounts.into_iter().map(|(name, account)| (name, account.archive()));
        Ok(Self { published, working: trees_in(root, folders.trees.path())?, archives: archives.collect() })
    }

    /// What is known of `tree`, which there must be.
    ///
    /// # Errors
    /// [`GenerationError::NoTree`]
    pub fn tree(&self, folders: &Folders, tree: &TreeName) -> Result<&Published, GenerationError> {
        self.published.get(tree).ok_or_else(|| GenerationError::NoTree {
            tree: tree.clone(),
            folder: folders.generations.path().to_owned(),
            trees: self.published.keys().map(ToString::to_string).collect(),
        })
    }

    /// Where the working tree is, which there must be.
    ///
    /// # Errors
    /// [`GenerationError::NoTree`]
    pub fn working_tree(&self, folders: &Folders, tree: &TreeName) -> Result<PathBuf, GenerationError> {
        if self.working.contains(tree) {
            return Ok(folders.trees.join(tree.as_str()));
        }
        Err(GenerationError::NoTree {
            tree: tree.clone(),
            folder: folders.trees.path().to_owned(),
            trees: self.working.iter().map(ToString::to_string).collect(),
        })
    }

    /// These, with `name` as the generation of `tree` that nodes boot.
    #[must_use]
    pub fn with_current(&self, tree: &TreeName, name: GenerationName, form: Form) -> Self {
        let mut facts = self.clone();
        facts.published.entry(tree.clone()).or_default().current = Some((name, form));
        facts
    }
}

impl Published {
    fn read(root: &Path, places: &Places) -> Result<Self, GenerationError> {
        let generations = generations_in(root, &places.generations)?;
        let boot = generations_in(root, &places.boot)?;
        let path = places.current();
        let link = match fs::read_link(within(root, &path)) {
            Ok(link) => Some(link),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(looking(path)(error)),
        };
        // One that leads to nothing is as none.
        let current: Option<GenerationName> = link
            .and_then(|link| link.to_str()?.parse().ok())
            .filter(|name| generations.contains(name) && boot.contains(name));
        let current = current
            .map(|name| Ok((name, record(root, places, name)?.map_or_else(Form::default, |record| record.form))));
        Ok(Self { generations, boot, current: current.transpose()? })
    }
}

/// What is known of a generation; `None` where there is no record of it.
///
/// # Errors
/// [`GenerationError`]
pub fn record(root: &Path, places: &Places, name: GenerationName) -> Result<Option<Record>, GenerationError> {
    let path = places.record(name);
    let Some(text) = read_text(root, &path, MAX_RECORD).map_err(looking(&path))? else {
        return Ok(None);
    };
    serde_json::from_str(&text).map(Some).map_err(|error| GenerationError::Record { path, why: error.to_string() })
}

/// What has a tree's name, and is a folder.
fn trees_in(root: &Path, folder: &Path) -> Result<Vec<TreeName>, GenerationError> {
    folders_in(root, folder)
}

fn generations_in(root: &Path, folder: &Path) -> Result<Vec<GenerationName>, GenerationError> {
    let mut names: Vec<GenerationName> = folders_in(root, folder)?;
    names.sort_unstable();
    Ok(names)
}

fn folders_in<T: std::str::FromStr>(root: &Path, folder: &Path) -> Result<Vec<T>, GenerationError> {
    let mut found = Vec::new();
    for name in names(root, folder).map_err(looking(folder))? {
        let Ok(parsed) = name.parse() else { continue };
        let path = folder.join(name);
        if look(root, &path).map_err(looking(&path))?.is_some_and(|found| found.is_dir()) {
            found.push(parsed);
        }
    }
    Ok(found)
}
