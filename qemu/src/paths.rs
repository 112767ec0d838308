//! Where things are: all that the lab makes lies under `target/lab`, except sockets when that path is too long for them.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A unix socket's path has at most 107 bytes (unix(7)); this leaves room for the names in the folder.
const LONGEST_SOCKET_FOLDER: usize = 80;

/// The folders of this clone's lab.
#[derive(Debug, Clone)]
pub struct Paths {
    project: PathBuf,
    lab: PathBuf,
    sockets: PathBuf,
}

impl Paths {
    /// Finds the folders from where this crate was built, and makes them.
    pub fn open() -> Result<Self> {
        let project =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the lab's crate lies in no project")?.to_owned();
        let lab = project.join("target/lab");
        let sockets = socket_folder(&lab.join("run"));
        let paths = Self { project, lab, sockets };
        for folder in [paths.run(), paths.log(), paths.images(), paths.sockets.clone()] {
            std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        Ok(paths)
    }

    /// The project's top folder.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// A path below `qemu/`.
    pub fn source(&self, name: &str) -> PathBuf {
        self.project.join("qemu").join(name)
    }

    /// A path below `target/lab`.
    pub fn built(&self, name: &str) -> PathBuf {
        self.lab.join(name)
    }

    /// Locks, pids, and the copies that belong to running machines.
    pub fn run(&self) -> PathBuf {
        self.lab.join("run")
    }

    /// Consoles and the output of build steps.
    pub fn log(&self) -> PathBuf {
        self.lab.join("log")
    }

    /// Base trees, disks, kernels and initrds.
    pub fn images(&self) -> PathBuf {
        self.lab.join("images")
    }

    /// A unix socket's path, short enough for the kernel.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.sockets.join(name)
    }
}

fn socket_folder(run: &Path) -> PathBuf {
    if run.as_os_str().len() <= LONGEST_SOCKET_FOLDER {
        return run.to_owned();
    }
    let mut hasher = DefaultHasher::new();
    run.hash(&mut hasher);
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join(format!("sidus-lab-{}-{:x}", rustix::process::getuid().as_raw(), hasher.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_a_short_socket_folder() {
        let short = Path::new("/home/someone/sidus/target/lab/run");
        assert_eq!(socket_folder(short), short);
        let long = PathBuf::from(format!("/{}", "long/".repeat(30)));
        assert!(socket_folder(&long).as_os_str().len() <= LONGEST_SOCKET_FOLDER);
    }
}
