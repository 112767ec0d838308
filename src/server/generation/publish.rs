//! `sidus publish`: an immutable generation of a tree, with the kernel and the initrd that are its own.
//!
//! The tree is copied beside the generations: what is as in the one before is the same file, which nobody writes to; the
//! rest is a copy, which shares its blocks with the original where that can be done ([`share`]). So the working tree and a
//! generation never share a file. What is written into the copy replaces the
//! file of that name, never its content, which may be an older generation's too.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;

use super::compare::{self, Difference};
use super::facts::{Facts, Published};
use super::users::Users;
use super::{entries, initrd, kernel, looking, payload, share, Form, GenerationError, GenerationName, Places, Record};
use crate::mountinfo;
use crate::server::cli::Common;
use crate::server::clock::Time;
use crate::server::config::values::TreeName;
use crate::server::config::Config;
use crate::server::engine::copy::{can_reflink, copy_tree, How};
use crate::server::engine::{Action, Commit, Content, Run, Stage, Write};
use crate::server::paths::{look, within};
use crate::server::tree::seal;
use crate::server::{begin, engine_in_tree, output, Error};

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Options {
    /// The tree
    pub tree: TreeName,
    /// Make a new initrd even where nothing is seen to have changed that could be in it
    #[arg(long)]
    pub initrd: bool,
}

/// Does it.
///
/// # Errors
/// [`Error`]
pub fn run(common: &Common, options: &Options) -> Result<(), Error> {
    let (mut engine, config) = begin(common)?;
    let root = engine.root().to_owned();
    let facts = Facts::read(&root, &config)?;
    payload::check(&root)?;
    let plan = Plan::new(&config, &facts, &options.tree, how(&root, &config, &facts, &options.tree)?, Time::now())?;
    let _nobody_else = engine_in_tree(common, &config.settings.folders, &options.tree)?;
    check_mounts(&root, &plan.from)?;
    let mut result = Outcome::default();
    // Each publication is a moment between the boots of one generation and those of the next.
    let remember = Users::read(&root, &config.settings.folders)?.remember(&config.settings.folders)?;
    engine.transact(plan.undo(), |stage| {
        let mut commit = prepare(stage, &plan, &config, &facts, options.initrd, &mut result)?;
        commit.actions.push(remember);
        Ok::<_, Error>(commit)
    })?;
    if !engine.is_dry_run() {
        output::print(&result.text);
    }
    for note in result.notes {
        output::note(&note);
    }
    Ok(())
}

/// What is told in the end.
#[derive(Debug, Default)]
struct Outcome {
    text: String,
    notes: Vec<String>,
}

/// What is copied where, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plan {
    tree: TreeName,
    name: GenerationName,
    from: PathBuf,
    places: Places,
    /// The generation that nodes boot: what is as in it is shared with it.
    before: Option<GenerationName>,
    how: How,
}

/// What the new generation is copied by.
fn how(root: &Path, config: &Config, facts: &Facts, tree: &TreeName) -> Result<How, GenerationError> {
    let folders = &config.settings.folders;
    let published = facts.published.get(tree);
    if let Some((before, _)) = published.and_then(|published| published.current) {
        return Ok(How::LinkTo(Places::of(folders, tree).folder(before)));
    }
    let (from, to) = (folders.trees.path(), folders.generations.path());
    let device = |path: &Path| look(root, path).map_err(looking(path)).map(|found| found.map(|found| found.dev()));
    let both = device(from)?.zip(device(to)?);
    if both.is_some_and(|(from, to)| from == to) && can_reflink(root, to).map_err(looking(to))? {
        return Ok(How::Reflink);
    }
    Ok(How::Bytes)
}

/// What this machine has mounted in the tree is no part of it.
pub(super) fn check_mounts(root: &Path, tree: &Path) -> Result<(), GenerationError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = std::fs::read_to_string(path).map_err(looking(path))?;
    let mounts = mountinfo::parse(&text).map_err(|error| looking(path)(io::Error::other(error)))?;
    let at = std::fs::canonicalize(within(root, tree)).map_err(looking(tree))?;
    match mounts.into_iter().find(|mount| mount.at.starts_with(&at)) {
        Some(mount) if mount.at == at => Ok(()),
        Some(mount) => Err(GenerationError::Mounted { at: mount.at }),
        None => Ok(()),
    }
}

impl Plan {
    fn new(config: &Config, facts: &Facts, tree: &TreeName, how: How, now: Time) -> Result<Self, GenerationError> {
        let folders = &config.settings.folders;
        let from = facts.working_tree(folders, tree)?;
        let none = Published::default();
        let published = facts.published.get(tree).unwrap_or(&none);
        let taken: Vec<_> = published.generations.iter().chain(&published.boot).copied().collect();
        Ok(Self {
            tree: tree.clone(),
            name: GenerationName::next(&taken, now),
            from,
            places: Places::of(folders, tree),
            before: published.current.map(|(name, _)| name),
            how,
        })
    }

    /// Takes back whatever was prepared.
    fn undo(&self) -> Vec<Action> {
        let places = &self.places;
        vec![
            Action::remove_inside(&places.generations, places.prepared()),
            Action::remove_inside(&places.generations, places.scratch()),
            Action::remove_inside(&places.boot, places.boot_prepared()),
        ]
    }

    /// The copy.
    fn copy(&self) -> Vec<Action> {
        let copy = copy_tree(&self.from, &self.places.prepared(), &self.how);
        vec![
            Action::folder(&self.places.generations),
            Action::folder(self.places.boot_prepared()),
            Action::Run(copy.does(format!("copies {}", self.from.display()))),
        ]
    }

    /// The kernel and the initrd, each beside what is as in the generation before.
    fn boot(&self, version: &str, shared: &BTreeSet<&str>) -> Vec<Action> {
        let new = self.places.boot_prepared();
        let from = [
            ("vmlinuz", kernel::path(&self.places.prepared(), version)),
            ("initrd.img", initrd::made(&self.places.scratch())),
        ];
        from.into_iter()
            .map(|(name, from)| match self.before.filter(|_| shared.contains(name)) {
                Some(before) => {
                    let old = self.places.boot(before).join(name);
                    link(&old, &new.join(name))
                }
                None => Action::Write(Write::new(new.join(name), Content::CopyOf(from))),
            })
            .collect()
    }

    fn commit(
        &self,
        config: &Config,
        facts: &Facts,
        record: &Record,
        has_seen: bool,
    ) -> Result<(Commit, Vec<String>), GenerationError> {
        let (places, name) = (&self.places, self.name);
        let path = places.record(name);
        let text = serde_json::to_string(record)
            .map_err(|error| GenerationError::Record { path: path.clone(), why: error.to_string() })?;
        let (entries, notes) = entries::entries(config, &facts.with_current(&self.tree, name, record.form));
        let mut actions = vec![Action::Write(Write::new(path, Content::Text(format!("{text}\n"))))];
        // What an earlier generation of that name has left is not of this one.
        let (from, to) = (initrd::seen(&places.scratch()), places.seen(name));
        actions.push(match has_seen {
            true => Action::Replace { from, to, keep: None },
            false => Action::remove_inside(&places.generations, to),
        });
        actions.extend([
            Action::Rename { from: places.boot_prepared(), to: places.boot(name) },
            Action::Rename { from: places.prepared(), to: places.folder(name) },
            Action::Link { path: places.current(), target: name.to_string().into() },
        ]);
        actions.extend(entries);
        actions.push(Action::remove_inside(&places.generations, places.scratch()));
        Ok((Commit { actions, after: Vec::new() }, notes))
    }
}

/// A second name for a file of the generation before, which nobody writes to.
pub(super) fn link(old: &Path, new: &Path) -> Action {
    Action::Run(Run::new("ln").args(&["-f", "-T"]).path(old).path(new))
}

fn prepare(
    stage: &mut Stage<'_>,
    plan: &Plan,
    config: &Config,
    facts: &Facts,
    force: bool,
    outcome: &mut Outcome,
) -> Result<Commit, Error> {
    let root = stage.root().to_owned();
    let places = &plan.places;
    // A copy that ended in the middle is none to go on from.
    stage.perform(&plan.undo())?;
    stage.perform(&plan.copy())?;
    let sealing = if stage.is_dry_run() {
        seal::actions_in_copy(&root, config, &plan.from, &places.prepared())?
    } else {
        payload::check_tree(&root, &places.prepared())?;
        seal::actions(&root, config, &places.prepared())?
    };
    stage.perform_in_renamed(&sealing)?;
    let before = plan.before.map(|name| places.folder(name));
    stage.perform_in_renamed(&payload::actions(&root, &places.prepared(), before.as_deref()))?;
    // Without a copy to look at, the tree itself tells which kernel it will be.
    let looked_at = if stage.is_dry_run() { plan.from.clone() } else { places.prepared() };
    let version = kernel::newest(&root, &looked_at, &plan.tree)?;
    if stage.is_dry_run() {
        stage.perform(&initrd::build(places, &version)?)?;
        stage.perform_in_renamed(&plan.boot(&version, &BTreeSet::new()))?;
        let record = Record { form: Form::Folder, kernel: version, size: 0, own: 0 };
        let (commit, notes) = plan.commit(config, facts, &record, false)?;
        outcome.notes = notes;
        return Ok(commit);
    }
    let difference = differs(&root, plan)?;
    if plan.before.is_some() && difference.changes.is_empty() && !force {
        return Ok(nothing_new(plan, config, facts, outcome));
    }
    if matches!(plan.how, How::LinkTo(_)) {
        let (from, new) = (within(&root, &plan.from), within(&root, &places.prepared()));
        share::blocks(&from, &new, &difference.changes).map_err(looking(&plan.from))?;
    }
    let shared = shared(&root, plan, &version, &difference, force)?;
    let is_old = shared.contains("initrd.img");
    if !is_old {
        stage.perform(&initrd::build(places, &version)?)?;
        initrd::check(&root, &places.scratch())?;
    }
    stage.perform_in_renamed(&plan.boot(&version, &shared))?;
    let record = Record { form: Form::Folder, kernel: version, size: difference.size, own: difference.own };
    let has_seen = take_seen(stage, plan, is_old)?;
    let (commit, notes) = plan.commit(config, facts, &record, has_seen)?;
    let mebibytes = |bytes: u64| bytes >> 20;
    outcome.text = format!(
        "{} {}: {} MiB, {} MiB of them its own; what boots from now on boots it\n",
        plan.tree,
        plan.name,
        mebibytes(record.size),
        mebibytes(record.own)
    );
    outcome.notes = notes;
    outcome.notes.extend(secrets_note(&root, plan)?);
    if !is_old && !has_seen {
        outcome.notes.push(NOT_TOLD.to_owned());
    }
    Ok(commit)
}

/// What a person should know whose next publication takes longer.
const NOT_TOLD: &str =
    "the kernel did not tell what mkinitramfs opened (fanotify(7): it tells only root, outside of user namespaces, and not \
    after a hook has mounted something): \
    the next publication takes longer, since it makes a new initrd after almost any change";

/// Has the list of what was seen for the initrd in the scratch folder; of an initrd of the generation before it is that
/// one's. Whether there is one.
fn take_seen(stage: &mut Stage<'_>, plan: &Plan, is_old: bool) -> Result<bool, Error> {
    let root = stage.root().to_owned();
    let has = |path: &Path| look(&root, path).map_err(looking(path)).map(|found| found.is_some());
    let scratch = plan.places.scratch();
    let list = initrd::seen(&scratch);
    if let Some(before) = plan.before.filter(|_| is_old) {
        let old = plan.places.seen(before);
        if has(&old)? {
            stage.perform(&[Action::folder(scratch), link(&old, &list)])?;
        }
    }
    Ok(has(&list)?)
}

/// The tree is as it was published: what was prepared goes away again, and the entries are as they are to be.
fn nothing_new(plan: &Plan, config: &Config, facts: &Facts, outcome: &mut Outcome) -> Commit {
    let (entries, notes) = entries::entries(config, facts);
    let before = plan.before.map(|name| name.to_string()).unwrap_or_default();
    outcome.text = format!("{} is as generation {before}: nothing to publish\n", plan.tree);
    outcome.notes = notes;
    Commit { actions: plan.undo().into_iter().chain(entries).collect(), after: Vec::new() }
}

fn differs(root: &Path, plan: &Plan) -> Result<Difference, GenerationError> {
    let new = plan.places.prepared();
    let before = plan.before.map(|name| within(root, &plan.places.folder(name)));
    compare::compare(before.as_deref(), &within(root, &new)).map_err(looking(new))
}

/// Which of kernel and initrd are those of the generation before.
fn shared(
    root: &Path,
    plan: &Plan,
    version: &str,
    difference: &Difference,
    force: bool,
) -> Result<BTreeSet<&'static str>, GenerationError> {
    let mut shared = BTreeSet::new();
    let Some(before) = plan.before else { return Ok(shared) };
    let places = &plan.places;
    let record = super::facts::record(root, places, before)?;
    if record.is_none_or(|record| record.kernel != version) {
        return Ok(shared);
    }
    let kernel = kernel::path(Path::new(""), version);
    if !difference.changes.iter().any(|change| change.path == kernel) {
        shared.insert("vmlinuz");
    }
    let (folder, seen, changes) = (places.folder(before), places.seen(before), &difference.changes);
    let inputs = initrd::Inputs::read(root, &folder, &seen, &places.prepared(), changes)?;
    if !force && !inputs.have_in(changes) {
        shared.insert("initrd.img");
    }
    Ok(shared)
}

/// What a person should know who put accounts into the tree.
fn secrets_note(root: &Path, plan: &Plan) -> Result<Option<String>, GenerationError> {
    let path = plan.places.prepared().join("etc/sidus/iscsi.conf");
    let found = look(root, &path).map_err(looking(&path))?;
    Ok(found.map(|_| {
        format!(
            "tree {} has /etc/sidus/iscsi.conf: its accounts are in the initrd, which TFTP serves to everyone",
            plan.tree
        )
    }))
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
