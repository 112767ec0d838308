//! Which generation of its tree a node runs on, and which one is out: `SERVER:GENERATIONS/TREE/NAME` is one of those in
//! `SERVER:GENERATIONS/TREE`, where the link `current` leads to the newest that was published.
//!
//! A tree that is not served so is nobody's concern: nothing is said of it.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use miniserde::{json, Deserialize, Serialize};
use rustix::fs::readlinkat;
use rustix::io::Errno;
use thiserror::Error;

use crate::folder::Folder;
use crate::iscsi::deadline::{within, Deadline};
use crate::mount::MountError;
use crate::mountinfo;
use crate::nfs::Tree;
use crate::plan::RO;
use crate::report::Report;

/// The link to the newest one.
const CURRENT: &str = "current";
/// How long a look at the server may take.
const LIMIT: Duration = Duration::from_secs(60);
/// What `rootaufs watch` saw, in `/run/sidus`.
const FILE: &str = "generation.json";
/// What is said at login, in `/run/motd.d`: pam_motd(8).
const MOTD: &str = "sidus-generation";

/// Why it is not known which generations there are.
#[derive(Debug, Error)]
pub enum LookError {
    /// What is mounted.
    #[error("cannot read {0}")]
    Mounts(String),
    /// The root is no tree of an NFS server, or lies in no folder there.
    #[error("the node's tree, {0}, lies in no folder of an NFS server")]
    NoFolder(String),
    /// The server refuses it.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// There is no link.
    #[error("{folder} holds no generations: no link named current is in it")]
    NoCurrent {
        /// SERVER:PATH
        folder: String,
    },
    /// The link.
    #[error("{folder}/current: {source}")]
    Link {
        /// SERVER:PATH
        folder: String,
        /// Why it cannot be read.
        source: Errno,
    },
    /// What it leads to.
    #[error("{folder}/current leads to {to:?}, which is no name of a generation beside it")]
    Stray {
        /// SERVER:PATH
        folder: String,
        /// What it says.
        to: String,
    },
    /// No answer.
    #[error("the NFS server did not answer for {} s", LIMIT.as_secs())]
    Silent,
    /// The look itself.
    #[error("cannot look at the NFS server: {0}")]
    Thread(#[from] io::Error),
}

impl LookError {
    /// Whether the server has said that there is nothing to look for.
    fn is_final(&self) -> bool {
        match self {
            Self::NoCurrent { .. } => true,
            Self::Mount(error) => matches!(error.errno, Errno::ACCESS | Errno::PERM | Errno::NOENT | Errno::INVAL),
            _ => false,
        }
    }
}

/// Where a node's tree is among its generations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// SERVER:GENERATIONS/TREE, to be mounted as the node's tree is.
    pub folder: Tree,
    /// The generation that the node runs on.
    pub running: String,
}

impl Place {
    /// That of the machine whose root is `root`.
    ///
    /// # Errors
    /// [`LookError::Mounts`], [`LookError::NoFolder`]
    pub fn read(root: &Path) -> Result<Self, LookError> {
        let path = root.join("proc/self/mountinfo");
        let said = |why: &dyn std::fmt::Display| LookError::Mounts(format!("{}: {why}", path.display()));
        let text = fs::read_to_string(&path).map_err(|error| said(&error))?;
        let mounts = mountinfo::parse(&text).map_err(|error| said(&error))?;
        let lower = mountinfo::topmost(&mounts, Path::new(RO)).ok_or_else(|| said(&"nothing is mounted on /ro"))?;
        let tree = Tree::of(lower);
        tree.as_ref().and_then(Self::of).ok_or_else(|| LookError::NoFolder(lower.source.clone()))
    }

    /// That of a tree.
    #[must_use]
    pub fn of(tree: &Tree) -> Option<Self> {
        let (folder, running) = tree.source.rsplit_once('/')?;
        // Of SERVER:/TREE the folder would be the server itself.
        let (_, path) = folder.split_once(":/")?;
        (!path.is_empty() && is_name(running)).then(|| Self { folder: tree.at(folder), running: running.to_owned() })
    }

    /// A generation, to be mounted as the node's own is.
    #[must_use]
    pub fn tree(&self, name: &str) -> Tree {
        self.folder.at(&format!("{}/{name}", self.folder))
    }

    /// Looks at the server.
    ///
    /// # Errors
    /// [`LookError`]
    pub fn look(&self) -> Result<Generations, LookError> {
        let folder = self.folder.for_a_look();
        in_time(move || Generations::look(&folder, None))
    }

    /// The folder of the generations. Whoever knows which one he wants needs no link to the newest.
    ///
    /// # Errors
    /// [`LookError::Mount`], [`LookError::Silent`]
    pub fn open(&self) -> Result<OwnedFd, LookError> {
        let folder = self.folder.for_a_look();
        in_time(move || Ok(folder.open()?))
    }
}

fn in_time<T: Send + 'static>(look: impl FnOnce() -> Result<T, LookError> + Send + 'static) -> Result<T, LookError> {
    within(Deadline::after(LIMIT), look)?.unwrap_or(Err(LookError::Silent))
}

/// Whether this can be the name of a generation: one folder, that is not hidden.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+:".contains(&byte);
    !name.is_empty() && !name.starts_with(['.', '-']) && name != CURRENT && name.bytes().all(plain)
}

/// The generations of a tree, as the server has them now.
#[derive(Debug)]
pub struct Generations {
    /// The folder that they are in.
    pub folder: OwnedFd,
    /// The newest one.
    pub current: String,
}

impl Generations {
    /// Looks into the `folder`, which may be mounted already.
    fn look(folder: &Tree, mounted: Option<OwnedFd>) -> Result<Self, LookError> {
        let mounted = mounted.map_or_else(|| folder.open(), Ok)?;
        let name = || folder.to_string();
        let to = match readlinkat(&mounted, CURRENT, Vec::new()) {
            Ok(to) => to.to_string_lossy().into_owned(),
            Err(Errno::NOENT | Errno::INVAL) => return Err(LookError::NoCurrent { folder: name() }),
            Err(source) => return Err(LookError::Link { folder: name(), source }),
        };
        match to.trim_end_matches('/') {
            current if is_name(current) => Ok(Self { folder: mounted, current: current.to_owned() }),
            _ => Err(LookError::Stray { folder: name(), to }),
        }
    }
}

/// What `rootaufs watch` saw: another generation than the one that the node runs on is the newest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newer {
    /// The one that the node runs on.
    pub running: String,
    /// The newest.
    pub current: String,
}

impl Newer {
    /// What the watch of the machine whose root is `root` saw last; `None` where the node runs on the newest one, or that
    /// is not known. What was said of another generation than that of the `report` counts no more.
    ///
    /// # Errors
    /// Those of the file system; [`io::ErrorKind::InvalidData`].
    pub fn look(root: &Path, report: &Report) -> io::Result<Option<Self>> {
        let newer: Self = match fs::read_to_string(root.join("run/sidus").join(FILE)) {
            Ok(text) => json::from_str(&text)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not what the watch of generations writes"))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let source = report.lower.as_ref().map_or("", |lower| &lower.source);
        let is_this = source.rsplit('/').next() == Some(&newer.running);
        Ok(Some(newer).filter(|newer| is_this && newer.running != newer.current))
    }

    /// Writes it for `rootaufs status`, and for who logs in. `run` is `/run`.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write(&self, run: &Folder) -> io::Result<()> {
        run.replace("sidus", FILE, &(json::to_string(self) + "\n"))?;
        let said = if self.running == self.current { String::new() } else { format!("{}.\n", self.words()) };
        run.replace("motd.d", MOTD, &said)
    }

    /// What a person has to know.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { running, current } = self;
        format!("{current} is out, and this node runs on {running}: \"rootaufs switch\" moves it, and so does a reboot")
    }
}

/// Takes back what was said at login: it is of another generation.
///
/// # Errors
/// Those of the file system.
pub fn forget(root: &Path) -> io::Result<()> {
    match fs::remove_file(root.join("run/motd.d").join(MOTD)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Looks again and again, for as long as the node runs.
#[derive(Debug)]
pub struct Watcher {
    /// `None` where there is nothing to look for.
    place: Option<Place>,
    /// The folder, which stays mounted between two looks: a mount costs the server more than a look.
    mounted: Option<OwnedFd>,
    /// Held by a look that goes on.
    looking: Arc<()>,
    told: Option<Newer>,
}

impl Watcher {
    /// One for the machine whose root is `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { place: Place::read(root).ok(), mounted: None, looking: Arc::new(()), told: None }
    }

    /// Looks; what was not told yet is written, and a line for the log returned where another generation is the newest. A
    /// server that is away is no news; one that has no generations is not asked again.
    ///
    /// # Errors
    /// Those of `/run`.
    pub fn look(&mut self, run: &Folder) -> io::Result<Option<String>> {
        let Some(place) = &self.place else { return Ok(None) };
        // One that still waits for the server is enough.
        if Arc::strong_count(&self.looking) > 1 {
            return Ok(None);
        }
        let (folder, mounted, looking) = (place.folder.for_a_look(), self.mounted.take(), Arc::clone(&self.looking));
        let found = within(Deadline::after(LIMIT), move || {
            let found = Generations::look(&folder, mounted);
            drop(looking);
            found
        })?;
        match found {
            Some(Ok(Generations { folder, current })) => {
                let newer = Newer { running: place.running.clone(), current };
                self.mounted = Some(folder);
                self.tell(newer, run)
            }
            Some(Err(error)) => {
                if error.is_final() {
                    self.place = None;
                }
                Ok(None)
            }
            None => Ok(None),
        }
    }

    fn tell(&mut self, newer: Newer, run: &Folder) -> io::Result<Option<String>> {
        if self.told.as_ref() == Some(&newer) {
            return Ok(None);
        }
        newer.write(run)?;
        let words = (newer.running != newer.current).then(|| newer.words());
        self.told = Some(newer);
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Side;

    #[test]
    fn a_tree_is_a_generation_of_the_folder_that_it_is_in() {
        let tree = |source: &str| {
            let line = format!("21 1 0:21 / /ro ro - nfs {source} ro,vers=3,addr=10.13.20.13\n");
            Tree::of(&mountinfo::parse(&line).unwrap()[0]).unwrap()
        };
        let table = [
            ("10.13.20.13:/srv/sidus/debian/20261126-1", Some(("10.13.20.13:/srv/sidus/debian", "20261126-1"))),
            ("[fd00::13]:/g/t/20261126-1", Some(("[fd00::13]:/g/t", "20261126-1"))),
            ("10.13.20.13:/trees/debian", Some(("10.13.20.13:/trees", "debian"))),
            ("10.13.20.13:/debian", None),
            ("10.13.20.13:/", None),
            ("10.13.20.13:/srv/sidus/debian/", None),
            ("10.13.20.13:/srv/sidus/debian/current", None),
        ];
        for (source, expected) in table {
            let place = Place::of(&tree(source));
            let found = place.as_ref().map(|place| (place.folder.source.as_str(), place.running.as_str()));
            assert_eq!(found, expected, "{source}");
        }
        let place = Place::of(&tree("10.13.20.13:/g/t/a")).unwrap();
        assert_eq!(place.tree("b").source, "10.13.20.13:/g/t/b");
    }

    #[test]
    fn names_are_one_folder_each() {
        for (name, good) in [
            ("20261126-1", true),
            ("a.b_c+d:e", true),
            ("", false),
            ("..", false),
            (".staging", false),
            ("-x", false),
            ("a/b", false),
            ("a b", false),
            ("a\u{1b}", false),
            ("current", false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }

    #[test]
    fn what_is_out_is_told_until_the_node_runs_on_it() {
        let root = std::env::temp_dir().join(format!("sidus-generation-{}", std::process::id()));
        fs::create_dir_all(root.join("run")).unwrap();
        let run = Folder::open(&root.join("run")).unwrap();
        let report = |name: &str| Report {
            lower: Some(Side { source: format!("s:/g/t/{name}"), fs: "nfs".to_owned(), at: RO.to_owned() }),
            ..Report::new("tmpfs")
        };
        assert_eq!(Newer::look(&root, &report("a")).unwrap(), None);
        let newer = |current: &str| Newer { running: "a".to_owned(), current: current.to_owned() };
        newer("b").write(&run).unwrap();
        let motd = root.join("run/motd.d").join(MOTD);
        let said = "b is out, and this node runs on a: \"rootaufs switch\" moves it, and so does a reboot.\n";
        assert_eq!(fs::read_to_string(&motd).unwrap(), said);
        assert_eq!(Newer::look(&root, &report("a")).unwrap(), Some(newer("b")));
        assert_eq!(Newer::look(&root, &report("b")).unwrap(), None);
        // What was published is taken back.
        newer("a").write(&run).unwrap();
        assert_eq!(fs::read_to_string(&motd).unwrap(), "");
        assert_eq!(Newer::look(&root, &report("a")).unwrap(), None);
        forget(&root).unwrap();
        forget(&root).unwrap();
        assert!(!motd.exists());
        fs::write(root.join("run/sidus").join(FILE), "{").unwrap();
        let error = Newer::look(&root, &report("a")).unwrap_err();
        assert_eq!(error.to_string(), "not what the watch of generations writes");
        fs::remove_dir_all(&root).unwrap();
    }
}
