//! `sidus tree create`: mmdebstrap(1) or debootstrap(8) makes a tree, in a folder of another name until it is whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use rustix::fs::statvfs;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::contain::{self, Where};
use super::{sources, TreeError};
use crate::server::cli::Common;
use crate::server::config::values::{Include, Mirror, TreeName, Word};
use crate::server::config::{packages, Arch, Config, ConfigError};
use crate::server::engine::command::{self, Around};
use crate::server::engine::{Action, Commit, Content, EngineError, Run, Write};
use crate::server::{self, begin, paths};

/// What is asked for; the rest is in `sidus.toml`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// The tree
    pub name: TreeName,
    /// Debian's release [default: tree.suite]
    #[arg(long)]
    pub suite: Option<Word>,
    /// Where the packages come from [default: tree.mirror, or from where this machine's do]
    #[arg(long, value_name = "URL")]
    pub mirror: Option<Mirror>,
    /// Parts of the archive [default: tree.components]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub components: Option<Vec<Word>>,
    /// Packages, and lists of them as @article [default: tree.include]
    #[arg(long, value_delimiter = ',', value_name = "PACKAGE,…")]
    pub include: Option<Vec<Include>>,
    /// Packages that are left out of these [default: tree.exclude]
    #[arg(long, value_delimiter = ',', value_name = "PACKAGE,…")]
    pub exclude: Option<Vec<Include>>,
    /// The nodes' processors [default: tree.arch]
    #[arg(long)]
    pub arch: Option<Arch>,
}

/// Why there is no new tree.
#[derive(Debug, Error)]
pub enum CreateError {
    /// There is one.
    #[error("{}: there is such a tree already, {how}: choose another name, or change it by `sidus tree install` and its like",
            tree.display())]
    Exists {
        /// Where.
        tree: PathBuf,
        /// What it is made of.
        how: String,
    },
    /// Nodes could not boot.
    #[error("a tree for {} cannot be booted: the programs that sidus brings into each generation are for amd64, which no kernel for {0} runs. \
             Make one for amd64 (--arch, or tree.arch in sidus.toml): 32-bit programs run there, too, once `dpkg --add-architecture i386` \
             was run in it", word(*arch))]
    OtherArch {
        /// The processors.
        arch: Arch,
    },
    /// Neither program is there.
    #[error("neither mmdebstrap nor debootstrap is installed: apt-get install mmdebstrap")]
    NoProgram,
    /// Nobody says where packages are.
    #[error("this machine does not say where packages of Debian {suite} come from: say it by --mirror, or tree.mirror in sidus.toml")]
    NoMirror {
        /// The release.
        suite: Word,
    },
    /// It will not fit.
    #[error("{}: {} MiB are free where it is, and a tree with {packages} packages asked for may need {} MiB: make room, or move that folder to \
             another disk (folders.trees in sidus.toml)", folder.display(), free >> 20, needed >> 20)]
    NoRoom {
        /// Where trees are.
        folder: PathBuf,
        /// How many bytes there are.
        free: u64,
        /// How many are needed.
        needed: u64,
        /// For so many.
        packages: usize,
    },
}

/// What a tree is made of, as `STATE/trees/NAME.json` remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// Debian's release.
    pub suite: Word,
    /// Lines of its sources.list(5).
    pub sources: Vec<String>,
    /// The nodes' processors.
    pub arch: Arch,
    /// What was asked for, besides what each Debian has.
    pub packages: Vec<String>,
}

/// Which program makes trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Mmdebstrap,
    Debootstrap,
}

/// What `decide` has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    /// The path of this program.
    sidus: String,
    program: Option<Program>,
    /// Whether there is such a tree.
    exists: bool,
    /// What was made of that name, if it is known.
    made: Option<Made>,
    /// This machine's release.
    release: Option<String>,
    /// Its sources, as apt lists them.
    apt: String,
    /// How many bytes are free for trees.
    free: u64,
}

/// What is done.
#[derive(Debug, PartialEq, Eq)]
struct Decided {
    undo: Vec<Action>,
    prepare: Vec<Action>,
    commit: Vec<Action>,
}

/// An estimate on the high side, in bytes: the least Debian with what apt keeps, and a package with what it needs.
const BASE: u64 = 400 << 20;
const PACKAGE: u64 = 24 << 20;

/// `None` where there is such a tree already.
fn decide(config: &Config, options: &Options, facts: &Facts) -> Result<Option<Decided>, CreateError> {
    let (defaults, folders) = (&config.settings.tree, &config.settings.folders);
    let suite = options.suite.as_ref().unwrap_or(&defaults.suite);
    let arch = options.arch.unwrap_or(defaults.arch);
    if arch != Arch::Amd64 {
        return Err(CreateError::OtherArch { arch });
    }
    let list = |option: &Option<Vec<_>>, default: &Vec<_>| option.as_ref().unwrap_or(default).clone();
    let (include, exclude) = (list(&options.include, &defaults.include), list(&options.exclude, &defaults.exclude));
    let made = Made {
        suite: suite.clone(),
        sources: sources::lines(
            options.mirror.as_ref().or(defaults.mirror.as_ref()),
            (facts.release.as_deref(), &facts.apt),
            suite,
            options.components.as_ref().unwrap_or(&defaults.components),
        ),
        arch,
        packages: packages::expand(&include, &exclude),
    };
    let tree = folders.trees.join(options.name.as_str());
    if facts.exists {
        let how = match &facts.made {
            Some(known) if *known == made => return Ok(None),
            Some(known) => format!("of {} for {}, made of other packages or sources", known.suite, word(known.arch)),
            None => "which `sidus tree create` has not made".to_owned(),
        };
        return Err(CreateError::Exists { tree, how });
    }
    let program = facts.program.ok_or(CreateError::NoProgram)?;
    let Some(first) = made.sources.first() else {
        return Err(CreateError::NoMirror { suite: suite.clone() });
    };
    let count = made.packages.len();
    let needed = u64::try_from(count).unwrap_or(u64::MAX).saturating_mul(PACKAGE).saturating_add(BASE);
    if facts.free < needed {
        let folder = folders.trees.path().to_owned();
        return Err(CreateError::NoRoom { folder, free: facts.free, needed, packages: count });
    }
    let new = folders.trees.join(format!(".{}.new", options.name));
    let undo = vec![Action::remove_inside(folders.trees.path(), &new)];
    let (before, after) = command(program, &made, first);
    let (variable, value) = contain::NO_INITRD;
    let run = contain::contained(&facts.sidus, Where::Here, &before)
        .env(variable, value)
        .path(&new)
        .args(&after)
        .does(format!("makes the tree {}, {count} packages and what they need", options.name))
        .from_package("util-linux");
    // Programs of trees may have set-user-id, and holes that this machine's have no longer: users cannot reach them.
    let mut prepare = vec![Action::private_folder(folders.trees.path()), Action::Run(run)];
    if program == Program::Debootstrap {
        let text = made.sources.iter().map(|line| format!("{line}\n")).collect();
        prepare.push(Action::Write(Write::new(new.join("etc/apt/sources.list"), Content::Text(text))));
    }
    // Both programs take these of this server, so that names are resolved while they work.
    for copied in ["etc/hostname", "etc/resolv.conf"] {
        prepare.push(Action::remove_inside(&new, new.join(copied)));
    }
    let records = folders.state.join("trees");
    let mut record = serde_json::to_string_pretty(&made).unwrap_or_default();
    record.push('\n');
    let commit = vec![
        Action::folder(&records),
        Action::Write(Write::new(record_of(&records, &options.name), Content::Text(record))),
        Action::Rename { from: new, to: tree },
    ];
    Ok(Some(Decided { undo, prepare, commit }))
}

/// What a command has before the path of the tree, and after it. Without what Debian only recommends: what a tree has is what
/// was asked for.
fn command(program: Program, made: &Made, first: &str) -> (Vec<String>, Vec<String>) {
    let packages = made.packages.join(",");
    let include = (!packages.is_empty()).then(|| format!("--include={packages}"));
    let (arch, suite) = (word(made.arch), made.suite.to_string());
    match program {
        Program::Mmdebstrap => {
            let mut before =
                ["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase"].map(str::to_owned).to_vec();
            before.push(format!("--architectures={arch}"));
            before.extend(include);
            before.push(suite);
            (before, made.sources.clone())
        }
        Program::Debootstrap => {
            // It knows one source, in another form: deb URL SUITE COMPONENT …
            let mut parts = first.split(' ').skip(1);
            let url = parts.next().unwrap_or_default().to_owned();
            let components: Vec<_> = parts.skip(1).collect();
            let mut before = ["debootstrap", "--variant=minbase"].map(str::to_owned).to_vec();
            before.push(format!("--arch={arch}"));
            before.push(format!("--components={}", components.join(",")));
            before.extend(include);
            before.push(suite);
            (before, vec![url])
        }
    }
}

fn word(arch: Arch) -> &'static str {
    match arch {
        Arch::Amd64 => "amd64",
        Arch::I386 => "i386",
    }
}

fn record_of(records: &Path, name: &TreeName) -> PathBuf {
    records.join(format!("{name}.json"))
}

impl Made {
    /// What is remembered of a tree; `None` of one that was not made by this program.
    ///
    /// # Errors
    /// Those of the file system, and one for what is no such record.
    pub fn read(root: &Path, config: &Config, name: &TreeName) -> io::Result<Option<Self>> {
        let path = record_of(&config.settings.folders.state.join("trees"), name);
        let text = paths::read_text(root, &path, 1 << 20)?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }
}

impl Facts {
    fn read(root: &Path, config: &Config, options: &Options) -> Result<Self, server::Error> {
        let folders = &config.settings.folders;
        // It is this machine's that is run, whichever is meant.
        let here = Path::new("/");
        let has = |program: &str| -> io::Result<bool> {
            for folder in ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"] {
                if paths::look(here, &Path::new(folder).join(program))?.is_some() {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        let look = |program| has(program).map_err(TreeError::at("cannot look for programs"));
        let program = match (look("mmdebstrap")?, look("debootstrap")?) {
            (true, _) => Some(Program::Mmdebstrap),
            (false, true) => Some(Program::Debootstrap),
            (false, false) => None,
        };
        let tree = folders.trees.join(options.name.as_str());
        let os_release = paths::read_text(root, Path::new("/etc/os-release"), 1 << 16)
            .map_err(TreeError::at("/etc/os-release"))?
            .unwrap_or_default();
        let release = sources::release(&os_release);
        let asks = release.is_some() && options.mirror.is_none() && config.settings.tree.mirror.is_none();
        let apt = if asks { ask(root)? } else { String::new() };
        Ok(Self {
            sidus: contain::sidus().map_err(TreeError::at("find this program"))?,
            program,
            exists: paths::look(root, &tree).map_err(TreeError::at(tree.display()))?.is_some(),
            made: Made::read(root, config, &options.name).map_err(TreeError::at("what is known of the tree"))?,
            release,
            apt,
            free: free(root, folders.trees.path()).map_err(TreeError::at(&folders.trees))?,
        })
    }
}

fn ask(root: &Path) -> Result<String, EngineError> {
    let run = Run::new("apt-get").path_after("--option=Dir=", "/").args(&sources::ASK);
    let written = command::run(Around::question(root), &run)?;
    Ok(String::from_utf8_lossy(&written).into_owned())
}

/// How many bytes are free where the folder is, or will be.
fn free(root: &Path, folder: &Path) -> io::Result<u64> {
    let there = folder.ancestors().map(|folder| paths::within(root, folder)).find(|at| fs::metadata(at).is_ok());
    let found = statvfs(there.as_deref().unwrap_or(root))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

pub(super) fn run(common: &Common, options: &Options) -> Result<(), server::Error> {
    check(options)?;
    let (mut engine, config) = begin(common)?;
    let facts = Facts::read(&common.root, &config, options)?;
    let Some(decided) = decide(&config, options, &facts).map_err(TreeError::from)? else {
        eprintln!("sidus: the tree {} is there already, made as asked", options.name);
        return Ok(());
    };
    engine.transact(decided.undo, |stage| {
        stage.perform(&decided.prepare)?;
        Ok::<_, server::Error>(Commit { actions: decided.commit, after: Vec::new() })
    })?;
    Ok(())
}

/// As for the configuration's own lists.
fn check(options: &Options) -> Result<(), ConfigError> {
    let wrong = |message| Err(ConfigError::At { file: "the command line".into(), line: None, message });
    if let Some(list) = options.include.as_deref().and_then(packages::unknown) {
        return wrong(format!("--include: {list}: there is no such list of packages; {} is", packages::lists()));
    }
    let lists = |package: &&Include| package.as_str().starts_with('@');
    match options.exclude.iter().flatten().find(lists) {
        Some(list) => wrong(format!("--exclude: {list}: packages alone can be left out, not a list")),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "create_tests.rs"]
mod tests;
