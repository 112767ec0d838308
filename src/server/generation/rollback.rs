//! `sidus rollback`: nodes boot an older generation, or any other one that there is.

use clap::Args;

use super::facts::{record, Facts, Published};
use super::users::Users;
use super::{entries, Form, GenerationError, GenerationName, Places};
use crate::server::cli::Common;
use crate::server::config::values::TreeName;
use crate::server::engine::{Action, Commit};
use crate::server::{begin_once, output, Error};

/// What nodes are to boot.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// The tree
    pub tree: TreeName,
    /// The generation [default: the one before that which nodes boot now]
    pub generation: Option<GenerationName>,
}

/// Does it.
///
/// # Errors
/// [`Error`]
pub fn run(common: &Common, options: &Options) -> Result<(), Error> {
    // A second one would go back by two.
    let Some((mut engine, config)) = begin_once(common)? else { return Ok(()) };
    let folders = &config.settings.folders;
    let facts = Facts::read(engine.root(), &config)?;
    let (tree, places) = (&options.tree, Places::of(folders, &options.tree));
    let name = choose(facts.tree(folders, tree)?, tree, options.generation)?;
    let form = record(engine.root(), &places, name)?.map_or_else(Form::default, |record| record.form);
    let (entries, notes) = entries::entries(&config, &facts.with_current(tree, name, form));
    let link = Action::Link { path: places.current(), target: name.to_string().into() };
    let remember = Users::read(engine.root(), folders)?.remember(folders)?;
    let is_other = facts.tree(folders, tree)?.current != Some((name, form));
    let actions = [link].into_iter().chain(entries).chain([remember]).collect();
    engine.carry_out(Commit { actions, after: Vec::new() })?;
    if !engine.is_dry_run() {
        let what = if is_other { "what boots from now on boots it" } else { "nodes boot it already" };
        output::print(&format!("{tree} {name}: {what}\n"));
    }
    for note in notes {
        output::note(&note);
    }
    Ok(engine.end()?)
}

/// The generation that is meant: one that can be booted.
fn choose(
    published: &Published,
    tree: &TreeName,
    wanted: Option<GenerationName>,
) -> Result<GenerationName, GenerationError> {
    let whole: Vec<_> = published.generations.iter().copied().filter(|name| published.boot.contains(name)).collect();
    let found = match (wanted, published.current) {
        (Some(wanted), _) => whole.iter().copied().find(|name| *name == wanted),
        (None, Some((current, _))) => whole.iter().copied().rfind(|name| *name < current),
        // None leads anywhere: the last one then.
        (None, None) => whole.last().copied(),
    };
    found.ok_or_else(|| GenerationError::NoGeneration {
        tree: tree.clone(),
        wanted: wanted.map_or_else(|| "before the one that nodes boot".to_owned(), |name| name.to_string()),
        found: whole,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> GenerationName {
        text.parse().unwrap()
    }

    #[test]
    fn the_one_before_or_the_one_that_is_named() {
        let names = |texts: &[&str]| texts.iter().map(|text| name(text)).collect::<Vec<_>>();
        let all = ["20261125-1", "20261126-1", "20261126-2", "20261126-3"];
        let published = |current: Option<&str>, boot: &[&str]| Published {
            generations: names(&all),
            boot: names(boot),
            current: current.map(|text| (name(text), Form::Folder)),
        };
        let table: [(Published, Option<&str>, Result<&str, &str>); 7] = [
            (published(Some("20261126-3"), &all), None, Ok("20261126-2")),
            (published(Some("20261126-1"), &all), None, Ok("20261125-1")),
            (published(Some("20261126-1"), &all), Some("20261126-3"), Ok("20261126-3")),
            (published(None, &all), None, Ok("20261126-3")),
            (published(Some("20261126-3"), &["20261125-1", "20261126-3"]), None, Ok("20261125-1")),
            (
                published(Some("20261125-1"), &all[..2]),
                None,
                Err("tree t has no generation before the one that nodes boot; it has 20261125-1, 20261126-1"),
            ),
            (
                published(Some("20261125-1"), &["20261125-1"]),
                Some("20261126-1"),
                Err("tree t has no generation 20261126-1; it has 20261125-1"),
            ),
        ];
        let tree = "t".parse().unwrap();
        for (published, wanted, expected) in table {
            let found = choose(&published, &tree, wanted.map(name));
            let found = found.map(|name| name.to_string()).map_err(|error| error.to_string());
            assert_eq!(found, expected.map(str::to_owned).map_err(str::to_owned), "{wanted:?}");
        }
    }
}
