//! `sidus tree prune`: removes generations that nobody needs.

use std::collections::BTreeSet;

use clap::Args;

use super::facts::{Facts, Published};
use super::list::entries;
use super::users::Users;
use super::{GenerationName, Places};
use crate::server::cli::Common;
use crate::server::config::values::TreeName;
use crate::server::config::NfsService;
use crate::server::engine::{Action, Commit};
use crate::server::{begin, output, Error};

/// What is removed.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// The tree
    pub tree: TreeName,
    /// How many of the latest generations stay in any case
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: u32,
}

/// Does it.
///
/// # Errors
/// [`Error`]
pub fn run(common: &Common, options: &Options) -> Result<(), Error> {
    let (mut engine, config) = begin(common)?;
    let folders = &config.settings.folders;
    let facts = Facts::read(engine.root(), &config)?;
    let tree = &options.tree;
    let published = facts.tree(folders, tree)?;
    let users = Users::read(engine.root(), folders)?;
    let named = entries(engine.root(), &config)?;
    let named: BTreeSet<_> = named.into_keys().filter(|(of, _)| of == tree).map(|(_, name)| name).collect();
    let used = published.generations.iter().copied().filter(|name| users.may_need(tree, *name)).collect();
    // A node whose generation cannot be told may run on any.
    let unknown: Vec<_> = config
        .nodes
        .iter()
        .filter(|node| {
            super::entries::tree_of(&config, node) == Some(tree) && users.unknown.contains(&node.file.ip.to_string())
        })
        .map(|node| node.name.to_string())
        .collect();
    let keep = usize::try_from(options.keep).unwrap_or(usize::MAX);
    let old = if unknown.is_empty() { choose(published, keep, &named, &used) } else { Vec::new() };
    let places = Places::of(folders, tree);
    let mut actions: Vec<_> = old.iter().flat_map(|name| removal(&places, *name)).collect();
    actions.push(users.remember(folders)?);
    engine.carry_out(Commit { actions, after: Vec::new() })?;
    if !engine.is_dry_run() {
        let list: Vec<_> = old.iter().map(ToString::to_string).collect();
        output::print(&match list.as_slice() {
            [] => format!("{tree}: nothing to remove\n"),
            names => format!("{tree}: removed {}\n", names.join(", ")),
        });
    }
    if !unknown.is_empty() {
        eprintln!(
            "note: {} run by NFSv4, so that nobody can tell on which generation: none of {tree} is removed while they do",
            unknown.join(", ")
        );
    }
    if config.settings.services.nfs == NfsService::None {
        eprintln!(
            "note: services.nfs in sidus.toml is none: who runs on which generation is known to that server alone"
        );
    }
    Ok(())
}

/// Those that may go: none of the latest, nor the one that nodes boot, nor what an entry names, nor what a node may run on.
fn choose(
    published: &Published,
    keep: usize,
    named: &BTreeSet<GenerationName>,
    used: &BTreeSet<GenerationName>,
) -> Vec<GenerationName> {
    let all: BTreeSet<_> = published.generations.iter().chain(&published.boot).copied().collect();
    let old = all.len().saturating_sub(keep);
    let is_needed = |name: &GenerationName| {
        published.current.is_some_and(|(current, _)| current == *name) || named.contains(name) || used.contains(name)
    };
    all.into_iter().take(old).filter(|name| !is_needed(name)).collect()
}

/// What of it could be booted goes first.
fn removal(places: &Places, name: GenerationName) -> [Action; 4] {
    [
        Action::remove_inside(&places.boot, places.boot(name)),
        Action::remove_inside(&places.generations, places.folder(name)),
        Action::remove_inside(&places.generations, places.seen(name)),
        Action::remove_inside(&places.generations, places.record(name)),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Form;
    use super::*;

    #[test]
    fn what_anyone_needs_stays() {
        let name = |number: usize| format!("20261126-{number}").parse::<GenerationName>().unwrap();
        let names = |numbers: &[usize]| numbers.iter().copied().map(name).collect::<Vec<_>>();
        let set = |numbers: &[usize]| names(numbers).into_iter().collect::<BTreeSet<_>>();
        let published = |current: usize| Published {
            generations: names(&[1, 2, 3, 4, 10]),
            boot: names(&[1, 2, 3, 4, 10]),
            current: Some((name(current), Form::Folder)),
        };
        for (current, keep, named, used, removed) in [
            (10, 1, &[][..], &[][..], &[1, 2, 3, 4][..]),
            (10, 2, &[], &[], &[1, 2, 3]),
            (10, 5, &[], &[], &[]),
            (10, 9, &[], &[], &[]),
            (1, 1, &[], &[], &[2, 3, 4]),
            (10, 1, &[2], &[3], &[1, 4]),
            (10, 1, &[1, 2], &[2, 3, 4], &[]),
        ] {
            let found = choose(&published(current), keep, &set(named), &set(used));
            assert_eq!(found, names(removed), "{current} {keep} {named:?} {used:?}");
        }
        let without_root = Published { boot: names(&[1, 2]), generations: names(&[2]), current: None };
        assert_eq!(choose(&without_root, 1, &set(&[]), &set(&[])), names(&[1]));
    }
}
