//! What a switch is going to do, decided before anything is done: a pure function of the facts.

use std::fmt;
use std::path::{Path, PathBuf};

use miniserde::{Deserialize, Serialize};
use thiserror::Error;

use super::facts::{Local, Stage, Tree, INIT};
use super::step::Step;
use super::{FAILED, NEXT};
use crate::generation::Place;
use crate::options::TmpfsLimits;
use crate::plan::{layer_on, LayerDirs, Stack, Step as Boot, UnionKind, IN_UNION, RO, RW, UNION};
use crate::report::{Outcome, Report, Side};

/// The first systemd that has a soft reboot.
pub const SOFT_REBOOT: u32 = 254;
/// The work directories of a layer that is kept: a union that begins needs one that the union that ends has not.
const WORK: [&str; 2] = ["work", "work-next"];

/// Why the node is not moved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// It has no union.
    #[error("this node's root is no union, so there is nothing to move")]
    NoUnion,
    /// It has an aufs.
    #[error("this node's root is of {0}, which cannot be moved while it runs")]
    Kind(String),
    /// It has more than one.
    #[error("this node has a second union, on {}, which cannot be moved while it runs", .0.display())]
    Second(PathBuf),
    /// It cannot restart its services.
    #[error("systemd {0} has no soft reboot: {SOFT_REBOOT} is the first that has")]
    Systemd(u32),
    /// The kernel would find no modules.
    #[error("generation {name} has no modules of the kernel that runs, {kernel}")]
    Kernel {
        /// The generation.
        name: String,
        /// The kernel's release.
        kernel: String,
    },
    /// Nobody would finish it.
    #[error("this node's tree lacks sidus-switch.service, which finishes a switch")]
    Unit,
    /// The place for the next root.
    #[error("{0} is mounted on {NEXT} already")]
    Taken(String),
    /// Nobody would finish the way back.
    #[error("generation {name} lacks sidus-switch.service, without which the node could not return from it")]
    OneWay {
        /// The generation.
        name: String,
    },
    /// No such generation.
    #[error("there is no generation {name:?} in {folder}")]
    Missing {
        /// What was asked for.
        name: String,
        /// SERVER:PATH
        folder: String,
    },
    /// systemd would not enter it.
    #[error("generation {name} is no tree that boots: it lacks os-release, or /{INIT}")]
    Init {
        /// The generation.
        name: String,
    },
}

impl Refusal {
    /// What a person can do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Kind(_) | Self::Second(_) | Self::Systemd(_) | Self::Kernel { .. } => {
                "reboot the node (systemctl reboot): it comes up with the generation of its PXE entry"
            }
            Self::NoUnion => "reboot the node with aufs=tmpfs or aufs=iscsi",
            Self::Unit => "install rootaufs into the tree again (initramfs-hooks/install), publish it, and reboot once",
            Self::OneWay { .. } => "install rootaufs into the tree again (initramfs-hooks/install), and publish it",
            Self::Taken(_) => "unmount it first (umount -R /run/nextroot)",
            Self::Missing { .. } => "sidus tree list, on the server, says which there are",
            Self::Init { .. } => "publish the tree again",
        }
    }

    /// Whether a reboot gets the node there.
    #[must_use]
    pub const fn needs_reboot(&self) -> bool {
        matches!(self, Self::Kind(_) | Self::Second(_) | Self::Systemd(_) | Self::Kernel { .. })
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the node runs on it.
    Stay,
    /// It moves.
    Move(Plan),
}

/// The steps up to the request for a soft reboot, and what is left for the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// In the order of doing them.
    pub steps: Vec<Step>,
    /// What finishes it.
    pub next: Next,
}

/// What the end of a switch has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// The generation.
    pub to: String,
    /// The one that the node ran on.
    pub from: String,
    /// How long the new one may take to come up, in seconds; 0 where that does not matter.
    pub within: u32,
    /// The work directory of the layer, where the layer is kept and still to be stacked.
    pub work: Option<String>,
    /// What the report will be.
    pub report: Report,
}

impl Local {
    /// Sees whether this node can be moved at all.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check(&self) -> Result<(), Refusal> {
        match (self.report.result, self.report.union.as_deref()) {
            (Outcome::Union, Some("overlay")) => {}
            (Outcome::Union, Some(kind)) => return Err(Refusal::Kind(kind.to_owned())),
            _ => return Err(Refusal::NoUnion),
        }
        if let Some(at) = self.others.first() {
            return Err(Refusal::Second(at.clone()));
        }
        if self.systemd < SOFT_REBOOT {
            return Err(Refusal::Systemd(self.systemd));
        }
        if !self.unit {
            return Err(Refusal::Unit);
        }
        match &self.stage {
            Stage::Taken { source } => Err(Refusal::Taken(source.clone())),
            Stage::Free | Stage::Left => Ok(()),
        }
    }
}

/// Decides what is to be done to move a node to a `tree` of its `place`, which may take `within` seconds to come up.
///
/// # Errors
/// [`Refusal`]
pub fn decide(local: &Local, place: &Place, tree: &Tree, within: u32) -> Result<Decision, Refusal> {
    local.check()?;
    let name = &tree.name;
    if *name == place.running {
        return Ok(Decision::Stay);
    }
    if !tree.exists {
        return Err(Refusal::Missing { name: name.clone(), folder: place.folder.source.clone() });
    }
    if !tree.init {
        return Err(Refusal::Init { name: name.clone() });
    }
    if !tree.unit {
        return Err(Refusal::OneWay { name: name.clone() });
    }
    if !tree.kernel {
        return Err(Refusal::Kernel { name: name.clone(), kernel: local.kernel.clone() });
    }
    let lower = place.tree(name);
    let old = &local.report;
    let report = Report {
        lower: Some(Side { source: lower.source.clone(), fs: lower.fs().to_owned(), at: RO.to_owned() }),
        moved_from: old.lower.as_ref().map(|lower| lower.source.clone()),
        // What failed at boot is still true of the layer; that of a switch which failed is not.
        failure: old.failure.clone().filter(|failure| !failure.what.starts_with(FAILED)),
        ..old.clone()
    };
    let mut steps = vec![
        make(&[NEXT.into()]),
        Boot::MountTmpfs { at: NEXT.into(), limits: TmpfsLimits::default() }.into(),
        Step::MakePrivate { at: NEXT.into() },
        make(&[at(RO), at(RW), at(UNION)]),
        Step::MountTree { tree: lower, at: at(RO) },
    ];
    let work = if old.persistent {
        // The running union still writes to it: it is only tried.
        let upper = layer_on(&at(RW)).upper;
        steps.extend([
            Step::Bind { from: RW.into(), to: at(RW) },
            Step::TryUnion { upper, lower: at(RO), at: at(UNION) },
        ]);
        let [first, second] = WORK;
        Some(if local.work == first { second } else { first }.to_owned())
    } else {
        steps.push(Boot::MountTmpfs { at: at(RW), limits: local.tmpfs }.into());
        steps.extend(stack(layer_on(&at(RW)), false));
        steps.push(Step::TryInit { root: at(UNION) });
        None
    };
    Ok(Decision::Move(Plan {
        steps,
        next: Next { to: name.clone(), from: place.running.clone(), within, work, report },
    }))
}

/// What is done when all services have stopped, for `root` to be followed by what is on the stage.
#[must_use]
pub fn finish(next: &Next) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(work) = &next.work {
        // 1. Two unions must never write to one layer.
        steps.push(Step::EndUnion { at: PathBuf::from("/") });
        let mut layer = layer_on(&at(RW));
        layer.work.set_file_name(work);
        steps.extend(stack(layer, true));
        // 2. systemd takes /run over, without what is mounted below it: the program of the shutdown is.
        let run = at(UNION).join("run");
        let program = Path::new(crate::shutdown::FOLDER);
        steps.extend([
            Step::Bind { from: "/run".into(), to: run },
            Step::Bind { from: Path::new("/").join(program), to: at(UNION).join(program) },
        ]);
    }
    // 3. Until now, the stage is nothing that systemd would enter.
    steps.push(Boot::Move { from: at(UNION), to: NEXT.into() }.into());
    steps
}

/// The new union, with both its sides in it.
fn stack(layer: LayerDirs, persistent: bool) -> Vec<Step> {
    let union = at(UNION);
    let inside = |side: &str| union.join(side.trim_start_matches('/'));
    let kind = UnionKind::Overlay;
    let steps = [
        Boot::MakeLayer { layer: layer.clone(), like: at(RO), places: &IN_UNION },
        Boot::Stack(Stack { kind, lower: at(RO), layer, persistent, at: union.clone() }),
        Boot::AdaptFstab { view: union.clone(), unions: vec!["/".to_owned()], kind },
        Boot::MakeMountPoints { at: vec![inside(RO), inside(RW)] },
        Boot::Move { from: at(RO), to: inside(RO) },
        Boot::Move { from: at(RW), to: inside(RW) },
    ];
    steps.map(Step::Boot).into()
}

/// Where the boot's `/ro`, `/rw` and `/aufs` are on the stage.
fn at(place: &str) -> PathBuf {
    Path::new(NEXT).join(place.trim_start_matches('/'))
}

fn make(at: &[PathBuf]) -> Step {
    Boot::MakeMountPoints { at: at.to_vec() }.into()
}

impl fmt::Display for Plan {
    /// One step a line, numbered.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (now, then) = (&self.steps, finish(&self.next));
        for (number, step) in (1..).zip(now) {
            writeln!(f, "{number:2}. {step}")?;
        }
        writeln!(f, "    then all services stop:")?;
        (1_usize.saturating_add(now.len())..)
            .zip(&then)
            .try_for_each(|(number, step)| writeln!(f, "{number:2}. {step}"))
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
