//! Carries out what commands decide: all of it, or nothing, or what is left of it at the next start.
//!
//! See [`super`] for how a command uses it.

pub mod action;
pub mod command;
pub mod copy;
mod error;
mod file;
mod journal;
mod lock;
pub mod run;
pub mod show;
pub mod volume;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

pub use action::{Action, Content, MakeFolder, Over, Proof, Write};
pub use error::{CommandError, EngineError};
pub use journal::{Journal, Phase};
pub use lock::{Holder, Lock};
pub use run::Run;

use command::Around;
use error::Doing;
use file::Lasts;
use run::Scope;

use super::output::print;

/// What puts a new state in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// In this order. After a crash in the middle, all of them again.
    pub actions: Vec<Action>,
    /// Then, whom to tell.
    pub after: Vec<After>,
}

/// Whom to tell that something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct After {
    /// How: each of these, while the one before succeeds.
    pub runs: Vec<Run>,
    /// Only where one of these was changed.
    pub on: Vec<PathBuf>,
}

/// How a command is to be carried out.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What stands for the machine: `/`, but for `--root`.
    pub root: PathBuf,
    /// The state folder, on that machine.
    pub state: PathBuf,
    /// The command line, for other administrators and for the journal.
    pub command: String,
    /// Only tell.
    pub dry_run: bool,
}

/// In the journal of what no other command owes any more: that is done by the next start, or by this.
const RECOVER: &str = "sidus recover";

/// Carries out, under the lock.
#[derive(Debug)]
pub struct Engine {
    setting: Setting,
    lock: Option<Lock>,
    interrupted: Arc<AtomicBool>,
    /// What an earlier command could not tell.
    owed: Vec<Vec<Run>>,
    /// And why it still cannot be.
    not_told: Option<EngineError>,
    /// Whether what it has found in the middle and finished is this same command.
    finished_this: bool,
    /// Whether the journal stays until [`Engine::end`].
    once: bool,
    /// Whether a dry run has shown anything that is to be prepared.
    shown: bool,
}

impl Engine {
    /// Takes the lock, and brings to its end what an earlier command left in the middle.
    ///
    /// # Errors
    /// [`EngineError::Busy`], [`EngineError::Unrecovered`]
    pub fn open(setting: Setting) -> Result<Self, EngineError> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let mut engine = Self {
            setting,
            lock: None,
            interrupted,
            owed: Vec::new(),
            not_told: None,
            finished_this: false,
            once: false,
            shown: false,
        };
        if !engine.setting.dry_run {
            for signal in [SIGINT, SIGTERM, SIGHUP] {
                signal_hook::flag::register(signal, Arc::clone(&engine.interrupted))
                    .doing("watch for", Path::new("signals"))?;
            }
            let state = &engine.setting.state;
            // Others read in it: dnsmasq, as a user of its own. What is secret is in private folders.
            engine.perform(&Action::folder(state), None, Lasts::AtOnce)?;
            engine.lock = Some(Lock::take(engine.root(), &state.join("lock"), &engine.setting.command)?);
        }
        engine.recover()?;
        Ok(engine)
    }

    /// What stands for the machine.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.setting.root
    }

    /// Whether it only tells.
    #[must_use]
    pub const fn is_dry_run(&self) -> bool {
        self.setting.dry_run
    }

    /// What an earlier command could not tell, and this one could not either: an error of this command or not, as it likes.
    pub const fn not_told(&mut self) -> Option<EngineError> {
        self.not_told.take()
    }

    /// Whether it has found this same command in the middle, as someone gave it before, and finished it; so far as its
    /// services could be told. What was undone is to be done.
    #[must_use]
    pub const fn has_finished_this(&self) -> bool {
        self.finished_this
    }

    /// For a command that does something else each time: whoever gives it again, since it ended before it said that it is
    /// done, is to have it done once. So it has to say that first, and then [`Engine::end`].
    pub const fn once(&mut self) {
        self.once = true;
    }

    /// The end of a command that is done [`Engine::once`].
    ///
    /// # Errors
    /// [`EngineError::Io`]
    pub fn end(&self) -> Result<(), EngineError> {
        if self.is_dry_run() {
            return Ok(());
        }
        self.forget()
    }

    /// Puts a new state in its place. Says whether anything was other than it is to be.
    ///
    /// # Errors
    /// [`EngineError`]; where something is in the way, before anything is done.
    pub fn carry_out(&mut self, commit: Commit) -> Result<bool, EngineError> {
        let journal = self.journal(Vec::new());
        self.commit(journal, commit)
    }

    /// Prepares a new state where nobody looks, then puts it in its place. `undo` takes back whatever `prepare` may have
    /// done, wherever it ended; the actions have to be right even where it has not begun.
    ///
    /// # Errors
    /// Those of `prepare`, undone; [`EngineError`]
    pub fn transact<E: From<EngineError> + std::fmt::Display>(
        &mut self,
        undo: Vec<Action>,
        prepare: impl FnOnce(&mut Stage<'_>) -> Result<Commit, E>,
    ) -> Result<bool, E> {
        let journal = self.journal(undo);
        // What could not be taken back is found before anything is done.
        for action in &journal.undo {
            self.check(action)?;
        }
        if !self.is_dry_run() {
            journal.write(self.root(), &self.setting.state)?;
        }
        match prepare(&mut Stage { engine: self }) {
            Ok(commit) => self.commit(journal, commit).map_err(E::from),
            Err(failure) if self.is_dry_run() => Err(failure),
            Err(failure) => match self.undo(&journal) {
                Ok(_) => Err(failure),
                Err(source) => {
                    Err(EngineError::NotUndone { failure: failure.to_string(), source: Box::new(source) }.into())
                }
            },
        }
    }

    /// For what begins now. It has what is owed, too: wherever this command ends, that is not lost.
    fn journal(&self, undo: Vec<Action>) -> Journal {
        Journal { after: self.owed.clone(), ..Journal::new(&self.setting.command, undo) }
    }

    /// Takes back what was prepared. What an earlier command owes is owed still, by the journal that is then left.
    fn undo(&mut self, journal: &Journal) -> Result<Option<Journal>, EngineError> {
        for action in &journal.undo {
            self.perform(action, None, Lasts::AtOnce)?;
        }
        if journal.after.is_empty() {
            self.forget()?;
            return Ok(None);
        }
        // Not by the name of the command that is undone: that is not the one to be finished.
        let left = Journal { phase: Phase::After, after: journal.after.clone(), ..Journal::new(RECOVER, Vec::new()) };
        left.write(self.root(), &self.setting.state)?;
        self.owed.clone_from(&left.after);
        Ok(Some(left))
    }

    fn commit(&mut self, mut journal: Journal, commit: Commit) -> Result<bool, EngineError> {
        let mut changed = Vec::new();
        let mut anything = false;
        // First of all of them, so that what is in the way is found before anything is done.
        for action in &commit.actions {
            if !self.is_done(action).or_else(|error| self.give_up(&journal, error))? {
                anything = true;
                changed.extend(action.path());
            }
        }
        let is_due =
            |after: &After| after.on.is_empty() || after.on.iter().any(|path| changed.contains(&path.as_path()));
        let due = commit.after.iter().filter(|after| is_due(after)).map(|after| after.runs.clone());
        let mut after = journal.after.clone();
        after.extend(due);
        after.dedup();
        if self.is_dry_run() {
            let shown = self.preview(&commit.actions, &after)?;
            if !shown && !self.shown {
                print("nothing to do\n");
            }
            return Ok(anything);
        }
        if !anything && after.is_empty() {
            self.forget()?;
            return Ok(false);
        }
        for action in &commit.actions {
            if let Action::Rename { from, .. } | Action::Replace { from, .. } = action {
                if let Err(error) = file::make_last(self.root(), from) {
                    return self.give_up(&journal, error);
                }
            }
        }
        journal.commit = commit.actions;
        journal.after = after;
        journal.phase = Phase::Commit;
        journal.write(self.root(), &self.setting.state)?;
        let command = journal.command.clone();
        let ended = self.finish(journal, true).and_then(|()| if self.once { Ok(()) } else { self.forget() });
        ended.map_err(|error| match error {
            EngineError::NotTold { .. } => error,
            source => EngineError::HalfDone { command, source: Box::new(source) },
        })?;
        Ok(true)
    }

    /// What was prepared is taken back, where what it was prepared for cannot be.
    fn give_up<T>(&mut self, journal: &Journal, error: EngineError) -> Result<T, EngineError> {
        if !self.is_dry_run() {
            self.undo(journal)
                .map_err(|source| EngineError::NotUndone { failure: error.to_string(), source: Box::new(source) })?;
        }
        Err(error)
    }

    /// Goes forward from where the journal stands. That is left, for who has first to say that it is done.
    fn finish(&mut self, mut journal: Journal, say: bool) -> Result<(), EngineError> {
        // The journal has it.
        self.owed.clear();
        if journal.phase == Phase::Commit {
            for action in &journal.commit {
                if self.perform(action, None, Lasts::AtOnce)? && say {
                    eprintln!("  {action}");
                }
            }
        }
        let mut first = None;
        let mut left = Vec::new();
        for runs in std::mem::take(&mut journal.after) {
            if let Err(error) = self.tell(&runs, say) {
                first.get_or_insert(error);
                left.push(runs);
            }
        }
        let Some(source) = first else {
            return Ok(());
        };
        journal.phase = Phase::After;
        journal.undo.clear();
        journal.commit.clear();
        journal.after.clone_from(&left);
        journal.write(self.root(), &self.setting.state)?;
        self.owed = left;
        Err(EngineError::NotTold { source: Box::new(source) })
    }

    fn tell(&self, runs: &[Run], say: bool) -> Result<(), EngineError> {
        for run in runs {
            // It is in place: whoever does not want to wait may go, and the rest is owed.
            if self.run(run, Some(&self.interrupted))? && say {
                eprintln!("  run {run}");
            }
        }
        Ok(())
    }

    fn recover(&mut self) -> Result<(), EngineError> {
        let Some(journal) = Journal::read(self.root(), &self.setting.state)? else {
            return Ok(());
        };
        let (command, phase) = (format!("`{}` ({})", journal.command, journal.since), journal.phase);
        self.finished_this = phase != Phase::Prepare && journal.command == self.setting.command;
        if self.is_dry_run() {
            let actions = if phase == Phase::Prepare { &journal.undo } else { &journal.commit };
            print(&format!("an earlier {command} ended in the middle: it would be {} first\n", phase.verb()));
            return self.preview(actions, &journal.after).map(drop);
        }
        let path = Journal::path(&self.setting.state);
        let say = || eprintln!("sidus: an earlier {command} ended in the middle: it is {} now", phase.verb());
        let ended = match phase {
            Phase::Prepare => self.undo(&journal).and_then(|owed| {
                say();
                owed.map_or(Ok(()), |owed| self.finish(owed, false).and_then(|()| self.forget()))
            }),
            Phase::Commit | Phase::After => self.finish(journal, false).and_then(|()| {
                say();
                self.forget()
            }),
        };
        match ended {
            Ok(()) => {}
            // No reason to keep the administrator from all else.
            Err(error @ EngineError::NotTold { .. }) => self.not_told = Some(error),
            Err(source) => {
                return Err(EngineError::Unrecovered { command, phase, journal: path, source: Box::new(source) });
            }
        }
        Ok(())
    }

    fn forget(&self) -> Result<(), EngineError> {
        Journal::forget(self.root(), &self.setting.state)
    }

    /// Shows what is not done yet; whether there was anything to show.
    fn preview(&self, actions: &[Action], after: &[Vec<Run>]) -> Result<bool, EngineError> {
        let mut shown = false;
        for action in actions {
            if !self.is_done(action)? {
                shown = true;
                print(&show::describe(self.root(), action));
            }
        }
        for run in after.iter().flatten() {
            shown = true;
            print(&show::describe(self.root(), &Action::Run(run.clone())));
        }
        Ok(shown)
    }

    fn is_done(&self, action: &Action) -> Result<bool, EngineError> {
        is_done(self.root(), action)
    }

    fn check(&self, action: &Action) -> Result<(), EngineError> {
        self.is_done(action).map(drop)
    }

    /// Does one thing, if it is not done; says whether it was not.
    fn perform(&self, action: &Action, interrupted: Option<&AtomicBool>, lasts: Lasts) -> Result<bool, EngineError> {
        if self.is_done(action)? {
            return Ok(false);
        }
        let root = self.root();
        match action {
            Action::Folder(folder) => file::make_folder(root, folder, lasts)?,
            Action::Write(write) => file::write(root, write, lasts)?,
            Action::Link { path, target } => file::link(root, path, target, lasts)?,
            Action::Remove { path, .. } => file::remove(root, path, lasts)?,
            Action::Rename { from, to } => file::rename(root, from, to)?,
            Action::Replace { from, to, keep } => file::replace(root, from, to, keep.as_deref())?,
            Action::Volume(renaming) => {
                volume::perform(self.around(interrupted), renaming)?;
            }
            Action::Run(run) => return self.run(run, interrupted),
        }
        Ok(true)
    }

    /// Runs a command, unless it would act on this machine's services, and another one is meant.
    fn run(&self, run: &Run, interrupted: Option<&AtomicBool>) -> Result<bool, EngineError> {
        if run.scope == Scope::Services && self.root() != Path::new("/") {
            eprintln!("  not run, since --root means another machine: {run}");
            return Ok(false);
        }
        command::run(self.around(interrupted), run)?;
        Ok(true)
    }

    fn around<'a>(&'a self, interrupted: Option<&'a AtomicBool>) -> Around<'a> {
        Around { root: self.root(), lock: self.lock.as_ref(), interrupted, limit: None }
    }
}

/// Whether an action is done already on the machine whose root is `root`.
///
/// # Errors
/// [`EngineError::Foreign`] where something is in the way of it; [`EngineError::Io`]
pub fn is_done(root: &Path, action: &Action) -> Result<bool, EngineError> {
    match action {
        Action::Folder(folder) => file::is_made(root, folder),
        Action::Write(write) => file::is_written(root, write),
        Action::Link { path, target } => file::is_linked(root, path, target),
        Action::Remove { path, proof } => file::is_removed(root, path, proof),
        Action::Rename { from, to } => file::is_renamed(root, from, to),
        Action::Replace { from, to, .. } => file::is_replaced(root, from, to),
        Action::Volume(renaming) => volume::is_done(root, renaming),
        Action::Run(_) => Ok(false),
    }
}

/// Where a new state is prepared.
#[derive(Debug)]
pub struct Stage<'a> {
    engine: &'a mut Engine,
}

impl Stage<'_> {
    /// What stands for the machine.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.engine.root()
    }

    /// Whether nothing is done: then what was to be prepared is not there to be looked at.
    #[must_use]
    pub const fn is_dry_run(&self) -> bool {
        self.engine.is_dry_run()
    }

    /// Does these, or shows them.
    ///
    /// # Errors
    /// [`EngineError`]; [`EngineError::Interrupted`] where someone wishes it.
    pub fn perform(&mut self, actions: &[Action]) -> Result<(), EngineError> {
        self.perform_lasting(actions, Lasts::AtOnce)
    }

    /// As [`Stage::perform`], in a folder that the commit renames: it is synced then, as a whole.
    ///
    /// # Errors
    /// Those of [`Stage::perform`]
    pub fn perform_in_renamed(&mut self, actions: &[Action]) -> Result<(), EngineError> {
        self.perform_lasting(actions, Lasts::WhenRenamed)
    }

    fn perform_lasting(&mut self, actions: &[Action], lasts: Lasts) -> Result<(), EngineError> {
        if self.engine.is_dry_run() {
            // Whether the whole command has nothing to do is seen when all is prepared.
            self.engine.shown |= self.engine.preview(actions, &[])?;
            return Ok(());
        }
        for action in actions {
            if self.engine.interrupted.load(Ordering::Relaxed) {
                return Err(EngineError::Interrupted);
            }
            self.engine.perform(action, Some(&self.engine.interrupted), lasts)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "engine_tests.rs"]
mod tests;
