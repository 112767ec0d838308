//! The nodes' tree that `sidus` has made, published and serves on the lab's server: a Debian 13.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::mirror::Mirror;
use crate::paths::Paths;
use crate::qemu;
use crate::stamp::{self, Stamp};
use crate::tree::NODE_PACKAGES;

/// The one that each node of the lab can do without: these boot the cloud kernel.
const SPARED: &str = "linux-image-amd64";

/// Those parts of `sidus` that decide what is made. Whatever else of it changes, the tree is the same.
const MAKERS: [&str; 4] = ["tree/create.rs", "tree/contain.rs", "tree/sources.rs", "config/packages.rs"];

/// What is in it, besides what each Debian has: what the lab's other nodes have.
fn packages() -> String {
    let packages: Vec<_> = NODE_PACKAGES.into_iter().filter(|package| *package != SPARED).collect();
    packages.join(",")
}

/// As `sidus tree create` made it, kept as a tarball.
#[derive(Debug)]
pub(crate) struct Served {
    tarball: PathBuf,
    mirror: Option<String>,
    /// What it is made of.
    pub(crate) digest: String,
}

impl Served {
    /// Finds it; one that was made of other things than it would be now is forgotten.
    pub(crate) fn find(paths: &Paths, mirror: Option<&str>) -> Result<Self> {
        let mut stamp = Stamp::new().text(&packages()).text(mirror.unwrap_or("as this machine"));
        for file in MAKERS {
            let path = paths.project().join("src/server").join(file);
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            stamp = stamp.text(&text);
        }
        let tarball = paths.images().join("hpc.tar");
        let served = Self { digest: stamp.digest(), mirror: mirror.map(str::to_owned), tarball };
        if !stamp::is_fresh(&served.tarball, &served.digest) {
            stamp::forget(&served.tarball)?;
            if served.tarball.exists() {
                std::fs::remove_file(&served.tarball)
                    .with_context(|| format!("cannot remove {}", served.tarball.display()))?;
            }
        }
        Ok(served)
    }

    /// The tarball; there when the server's image has been made.
    pub(crate) fn tarball(&self) -> &Path {
        &self.tarball
    }

    /// What `serve` is told of it.
    pub(crate) fn arguments(&self) -> Result<[String; 4]> {
        let mirror = match &self.mirror {
            Some(address) => address.clone(),
            None => Mirror::of_this_machine()?.main().to_owned(),
        };
        Ok([self.tarball.display().to_string(), mirror, packages(), qemu::CMDLINE.to_owned()])
    }

    /// Notes what it was made of, when it is there.
    pub(crate) fn note(&self) -> Result<()> {
        stamp::note(&self.tarball, &self.digest)
    }
}
