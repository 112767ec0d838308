//! `sidus tree diff`: what two trees or generations do not share: packages first, then files.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde::Serialize;

use super::compare::{self, Change, How};
use super::facts::Facts;
use super::{looking, GenerationError, GenerationName, Places};
use crate::server::cli::Common;
use crate::server::config::values::{TreeName, ValueError};
use crate::server::config::Config;
use crate::server::paths::{look, read_text, within};
use crate::server::tree::place::place;
use crate::server::{output, Error};

/// What dpkg knows of a tree's packages.
const STATUS: &str = "var/lib/dpkg/status";
/// No such file is longer, in bytes.
const MAX_STATUS: u64 = 256 << 20;

/// What is compared.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// A tree, as hpc, or one of its generations, as hpc/20261126-1; hpc/current is the one that nodes boot
    pub old: Side,
    /// As OLD
    pub new: Side,
    /// For programs
    #[arg(long)]
    pub json: bool,
}

/// A working tree or a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    tree: TreeName,
    which: Which,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Working,
    Current,
    Named(GenerationName),
}

impl FromStr for Side {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (tree, which) = match text.split_once('/') {
            None => (text, Which::Working),
            Some((tree, "current")) => (tree, Which::Current),
            Some((tree, name)) => (tree, Which::Named(name.parse()?)),
        };
        Ok(Self { tree: tree.parse()?, which })
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.which {
            Which::Working => self.tree.fmt(f),
            Which::Current => write!(f, "{}/current", self.tree),
            Which::Named(name) => write!(f, "{}/{name}", self.tree),
        }
    }
}

impl Side {
    /// Where it is.
    fn folder(&self, config: &Config, facts: &Facts) -> Result<PathBuf, GenerationError> {
        let folders = &config.settings.folders;
        if self.which == Which::Working {
            return facts.working_tree(folders, &self.tree);
        }
        let published = facts.tree(folders, &self.tree)?;
        let name = match self.which {
            Which::Named(name) => Some(name).filter(|name| published.generations.contains(name)),
            Which::Current | Which::Working => published.current.map(|(name, _)| name),
        };
        let none = || GenerationError::NoGeneration {
            tree: self.tree.clone(),
            wanted: match self.which {
                Which::Named(name) => name.to_string(),
                Which::Current | Which::Working => "that nodes boot".to_owned(),
            },
            found: published.generations.clone(),
        };
        Ok(Places::of(folders, &self.tree).folder(name.ok_or_else(none)?))
    }
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Differences {
    packages: Vec<Package>,
    files: Vec<Change>,
}

/// A package that is not the same in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Package {
    name: String,
    how: How,
    /// The versions.
    old: Option<String>,
    new: Option<String>,
}

/// Does it.
///
/// # Errors
/// [`Error`]
pub fn run(common: &Common, options: &Options) -> Result<(), Error> {
    let config = Config::read(&common.root)?;
    let facts = Facts::read(&common.root, &config)?;
    let (old, new) = (options.old.folder(&config, &facts)?, options.new.folder(&config, &facts)?);
    let status = |folder: &Path| {
        let path = place(&common.root, folder, Path::new(STATUS)).map_err(looking(folder))?;
        // What a link leads to may be this server's own.
        let is_file = look(&common.root, &path).map_err(looking(&path))?.is_some_and(|found| found.is_file());
        let read = || read_text(&common.root, &path, MAX_STATUS).map_err(looking(&path));
        let text = if is_file { read()? } else { None };
        Ok::<_, GenerationError>(text.unwrap_or_default())
    };
    let found = compare::compare(Some(&within(&common.root, &old)), &within(&common.root, &new))
        .map_err(looking(format!("{} and {}", old.display(), new.display())))?;
    let differences = Differences { packages: packages(&status(&old)?, &status(&new)?), files: found.changes };
    if options.json {
        return output::print_json(&differences).map_err(Error::Print);
    }
    output::print(&differences.describe(options));
    Ok(())
}

impl Differences {
    fn describe(&self, options: &Options) -> String {
        if self.packages.is_empty() && self.files.is_empty() {
            return format!("{} and {} are the same\n", options.old, options.new);
        }
        let packages = self.packages.iter().map(|package| match (&package.old, &package.new) {
            (Some(old), Some(new)) => format!("~ {} {old} → {new}\n", package.name),
            (Some(old), None) => format!("- {} {old}\n", package.name),
            (None, new) => format!("+ {} {}\n", package.name, new.as_deref().unwrap_or_default()),
        });
        packages.collect::<String>() + &compare::describe(&self.files)
    }
}

fn packages(old: &str, new: &str) -> Vec<Package> {
    let (old, new) = (installed(old), installed(new));
    let mut names: Vec<_> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    let package = |name: &String| {
        let (old, new) = (old.get(name).cloned(), new.get(name).cloned());
        let how = match (&old, &new) {
            (Some(old), Some(new)) if old == new => return None,
            (Some(_), Some(_)) => How::Changed,
            (Some(_), None) => How::Removed,
            (None, _) => How::Added,
        };
        Some(Package { name: name.clone(), how, old, new })
    };
    names.into_iter().filter_map(package).collect()
}

/// The packages that are installed, with their versions: of each paragraph of dpkg's status its Package, Architecture,
/// Status and Version. One of a foreign architecture, or of several, has that after its name.
fn installed(status: &str) -> BTreeMap<String, String> {
    let mut all: Vec<(&str, &str, &str)> = Vec::new();
    for paragraph in status.split("\n\n") {
        let field =
            |name: &str| paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim);
        let is_installed = field("Status").is_some_and(|status| status.ends_with(" installed"));
        let known = field("Package").zip(field("Version")).filter(|_| is_installed);
        all.extend(known.map(|(package, version)| (package, field("Architecture").unwrap_or_default(), version)));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (package, ..) in &all {
        *counts.entry(package).or_default() += 1;
    }
    let name = |package: &str, architecture: &str| {
        if counts.get(package).is_some_and(|count| *count > 1) {
            format!("{package}:{architecture}")
        } else {
            package.to_owned()
        }
    };
    all.iter().map(|(package, architecture, version)| (name(package, architecture), (*version).to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_are_trees_or_generations() {
        for text in ["hpc", "hpc/current", "hpc/20261126-1"] {
            assert_eq!(text.parse::<Side>().unwrap().to_string(), text);
        }
        let error = "hpc/x".parse::<Side>().unwrap_err().to_string();
        assert_eq!(error, "\"x\" is not the name of a generation; its date and a number are, as in 20261126-1");
        assert!("/x".parse::<Side>().unwrap_err().to_string().starts_with("\"x\" is not the name of a generation"));
        assert!("../x".parse::<Side>().is_err() && "HPC".parse::<Side>().is_err());
    }

    #[test]
    fn packages_have_versions() {
        let status = |packages: &[(&str, &str, &str, &str)]| {
            let paragraph = |(name, architecture, state, version): &(&str, &str, &str, &str)| {
                format!(
                    "Package: {name}\nStatus: {state}\nPriority: optional\nArchitecture: {architecture}\nVersion: {version}\n\
                     Description: text\n Package: none\n Version: 9\n\n"
                )
            };
            packages.iter().map(paragraph).collect::<String>()
        };
        let ok = "install ok installed";
        let old = status(&[
            ("libc6", "amd64", ok, "2.36-9"),
            ("libc6", "i386", ok, "2.36-9"),
            ("nano", "amd64", ok, "7"),
            ("same", "all", ok, "1"),
            ("gone", "amd64", "deinstall ok config-files", "1"),
        ]);
        let new = status(&[
            ("libc6", "amd64", ok, "2.36-10"),
            ("libc6", "i386", ok, "2.36-9"),
            ("same", "all", ok, "1"),
            ("vim", "amd64", "hold ok installed", "9"),
        ]);
        let differences = Differences { packages: packages(&old, &new), files: Vec::new() };
        let options = Options { old: "a".parse().unwrap(), new: "b".parse().unwrap(), json: false };
        assert_eq!(differences.describe(&options), "~ libc6:amd64 2.36-9 → 2.36-10\n- nano 7\n+ vim 9\n");
        let none = Differences { packages: packages(&old, &old), files: Vec::new() };
        assert_eq!(none.describe(&options), "a and b are the same\n");
    }
}
