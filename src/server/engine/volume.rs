//! Logical volumes (lvm(8)), by their paths: `/dev/GROUP/NAME`. They have no rename that takes the place of another one:
//! that takes several commands, and after a crash between two of them the rest is done.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::command::{self, Around};
use super::error::EngineError;
use super::run::Run;

/// A volume gets another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Renaming {
    /// Where nothing has the new name.
    To {
        /// What it is called.
        from: PathBuf,
        /// What it will be called.
        to: PathBuf,
    },
    /// In place of another one.
    Over {
        /// What it is called; when nothing is called so any more, this is done.
        from: PathBuf,
        /// What it will be called.
        to: PathBuf,
        /// What the one before will be called; what is called so is removed.
        keep: PathBuf,
    },
    /// To a name under which it waits for its end: a target may have it open, and then it cannot be removed.
    Aside {
        /// What it is called; when nothing is called so any more, this is done.
        from: PathBuf,
        /// What it will be called.
        to: PathBuf,
    },
}

impl Renaming {
    /// What will be other than before.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::To { to: path, .. } | Self::Over { to: path, .. } | Self::Aside { from: path, .. } => path,
        }
    }

    fn from(&self) -> &Path {
        match self {
            Self::To { from, .. } | Self::Over { from, .. } | Self::Aside { from, .. } => from,
        }
    }

    /// The commands that are left to do, where these volumes are there.
    fn steps(&self, there: &Volumes) -> Result<Vec<Run>, EngineError> {
        match self {
            Self::To { from, to } => match (there.has(from), there.has(to)) {
                (false, true) => Ok(Vec::new()),
                (_, false) => Ok(vec![rename(from, to)]),
                (true, true) => Err(taken(from, to)),
            },
            Self::Aside { from, to } => match (there.has(from), there.has(to)) {
                (false, _) => Ok(Vec::new()),
                (true, false) => Ok(vec![rename(from, to)]),
                (true, true) => Err(taken(from, to)),
            },
            Self::Over { from, to, keep } => {
                let mut steps = Vec::new();
                if !there.has(from) && there.has(to) {
                    return Ok(steps);
                }
                if there.has(to) {
                    if there.has(keep) {
                        steps.push(remove(keep));
                    }
                    steps.push(rename(to, keep));
                }
                steps.push(rename(from, to));
                Ok(steps)
            }
        }
    }
}

fn taken(from: &Path, to: &Path) -> EngineError {
    let why = format!("{} should get that name, but there is one already", from.display());
    EngineError::foreign(to, why, "look with lvs what it is, and rename or remove it")
}

impl fmt::Display for Renaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To { from, to } | Self::Aside { from, to } => {
                write!(f, "rename volume {} to {}", from.display(), to.display())
            }
            Self::Over { from, to, keep } => {
                write!(f, "put volume {} in place of {}, which becomes ", from.display(), to.display())?;
                write!(f, "{}", keep.display())
            }
        }
    }
}

/// Makes a volume, where nothing has its name.
#[must_use]
pub fn make(path: &Path, bytes: u64) -> Run {
    // The signatures of what was there before would be taken for what is there.
    lvm("lvcreate").args(&["--wipesignatures", "y", "--size", &format!("{bytes}b"), "--name", name(path), group(path)])
}

/// Removes a volume, if it is there.
#[must_use]
pub fn remove(path: &Path) -> Run {
    // Named like this, one that is not there is no error.
    lvm("lvremove").args(&["--select", &format!("lv_name={}", name(path)), group(path)])
}

fn rename(from: &Path, to: &Path) -> Run {
    lvm("lvrename").args(&[group(from), name(from), name(to)])
}

fn lvm(command: &str) -> Run {
    Run::new(command).arg("--yes").from_package("lvm2")
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn group(path: &Path) -> &str {
    path.parent().map(name).unwrap_or_default()
}

/// The volumes of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volumes(BTreeSet<String>);

impl Volumes {
    /// Those of the group of the volume at `path`.
    ///
    /// # Errors
    /// That of lvs(8); [`EngineError::Foreign`] where `root` means another machine than the one that runs.
    pub fn beside(root: &Path, path: &Path) -> Result<Self, EngineError> {
        if root != Path::new("/") {
            let why = "it is a volume of the machine that runs, and --root means another one";
            return Err(EngineError::foreign(path, why, "run the command there"));
        }
        let list = Run::new("lvs").args(&["--noheadings", "--options", "lv_name", group(path)]).from_package("lvm2");
        let said = command::run(Around::question(root), &list)?;
        Ok(Self::parse(&String::from_utf8_lossy(&said)))
    }

    fn parse(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_owned).collect())
    }

    /// Whether the volume at `path` is one of them.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.0.contains(name(path))
    }
}

/// Whether it is done already.
pub(super) fn is_done(root: &Path, renaming: &Renaming) -> Result<bool, EngineError> {
    Ok(renaming.steps(&Volumes::beside(root, renaming.from())?)?.is_empty())
}

/// Does what is left to do.
pub(super) fn perform(around: Around<'_>, renaming: &Renaming) -> Result<(), EngineError> {
    for run in renaming.steps(&Volumes::beside(around.root, renaming.from())?)? {
        command::run(around, &run)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> PathBuf {
        Path::new("/dev/vg0").join(name)
    }

    #[test]
    fn commands_name_group_and_volume() {
        for (run, text) in [
            (
                make(&at("sidus-n1.new"), 64 << 20),
                "lvcreate --yes --wipesignatures y --size 67108864b --name sidus-n1.new vg0",
            ),
            (remove(&at("sidus-n1.new")), "lvremove --yes --select lv_name=sidus-n1.new vg0"),
            (rename(&at("a"), &at("b")), "lvrename --yes vg0 a b"),
        ] {
            assert_eq!(run.to_string().replace('\'', ""), text);
        }
        let there = Volumes::parse("  root\n  sidus-n1\n  sidus-n1.old\n");
        assert!(there.has(&at("sidus-n1")) && there.has(&at("root")) && !there.has(&at("sidus-n1.new")));
        let error = Volumes::beside(Path::new("/mnt"), &at("sidus-n1")).unwrap_err().to_string();
        assert_eq!(
            error,
            "/dev/vg0/sidus-n1: it is a volume of the machine that runs, and --root means another one; it is left as it \
             is: run the command there"
        );
    }

    /// What a command makes of the volumes, as lvm(8) does it: an error where it would fail.
    fn apply(there: &mut Volumes, run: &Run) {
        let words: Vec<_> = run.to_string().replace('\'', "").split(' ').map(str::to_owned).collect();
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["lvremove", "--yes", "--select", one, "vg0"] => {
                there.0.remove(one.strip_prefix("lv_name=").unwrap());
            }
            ["lvrename", "--yes", "vg0", from, to] => {
                assert!(there.0.remove(from), "{from} is not there");
                assert!(there.0.insert(to.to_owned()), "{to} is taken");
            }
            _ => panic!("{run}"),
        }
    }

    #[test]
    fn a_renaming_ends_the_same_wherever_it_was_left() {
        let to = Renaming::To { from: at("new"), to: at("disk") };
        let over = Renaming::Over { from: at("new"), to: at("disk"), keep: at("old") };
        let aside = Renaming::Aside { from: at("disk"), to: at("gone") };
        for (renaming, before, after, steps) in [
            (&to, "new root", "disk root", 1),
            (&to, "disk", "disk", 0),
            (&over, "new", "disk", 1),
            (&over, "new disk", "disk old", 2),
            (&over, "new disk old", "disk old", 3),
            (&over, "disk old", "disk old", 0),
            // As a crash leaves it.
            (&over, "new old", "disk old", 1),
            (&aside, "disk", "gone", 1),
            (&aside, "gone", "gone", 0),
            (&aside, "", "", 0),
        ] {
            let all = renaming.steps(&Volumes::parse(before)).unwrap();
            assert_eq!(all.len(), steps, "{renaming}: {before}");
            for crash in 0..=all.len() {
                let mut there = Volumes::parse(before);
                all.iter().take(crash).for_each(|run| apply(&mut there, run));
                renaming.steps(&there).unwrap().iter().for_each(|run| apply(&mut there, run));
                assert_eq!(there, Volumes::parse(after), "{renaming}: {before}, after {crash} commands");
                assert_eq!(renaming.steps(&there).unwrap().len(), 0);
            }
        }
        for renaming in [&to, &Renaming::Aside { from: at("new"), to: at("disk") }] {
            assert_eq!(
                renaming.steps(&Volumes::parse("new disk")).unwrap_err().to_string(),
                "/dev/vg0/disk: /dev/vg0/new should get that name, but there is one already; it is left as it is: look with \
                 lvs what it is, and rename or remove it"
            );
        }
    }
}
