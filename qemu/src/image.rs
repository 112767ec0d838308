//! Disks: a base tree, dressed with the lab's files and the program, as an ext4 image, with its kernels and initrds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};

use crate::address;
use crate::kernel::Kernel;
use crate::paths::Paths;
use crate::served::Served;
use crate::stamp::{self, Stamp};
use crate::tree::{self, Tree};
use crate::{programs, qemu, step};

/// What a machine boots from.
#[derive(Debug, Clone)]
pub struct Image {
    /// The ext4 image.
    pub disk: PathBuf,
    /// What it was built from.
    pub(crate) digest: String,
    boot: PathBuf,
}

impl Image {
    /// The kernel.
    pub fn kernel(&self, kernel: Kernel) -> PathBuf {
        self.boot.join(format!("vmlinuz-{kernel}"))
    }

    /// Its initrd.
    pub fn initrd(&self, kernel: Kernel) -> PathBuf {
        self.boot.join(format!("initrd-{kernel}"))
    }
}

/// Builds what is missing or out of date: the programs, the trees, the disks.
pub fn build_all(paths: &Paths, mirror: Option<&str>) -> Result<()> {
    let _alone = crate::lock::lock_one_of(&[paths.run().join("build.lock")], "the build", Duration::from_secs(1800))?;
    std::thread::scope(|scope| {
        // A download and a compiler wait for different things.
        let bases = Tree::ALL.map(|tree| (tree, scope.spawn(move || tree::base(paths, tree, mirror))));
        let programs = programs::build(paths)?;
        let made = bases.map(|(tree, base)| {
            let programs = programs.clone();
            scope.spawn(move || {
                // The nodes' images do not wait for it.
                if tree == Tree::Server {
                    programs::build_server(paths)?;
                }
                let tarball =
                    base.join().map_err(|_| anyhow!("the thread that makes a tree of its packages ended"))??;
                build(paths, tree, &tarball, &programs, mirror)
            })
        });
        for (tree, made) in Tree::ALL.into_iter().zip(made) {
            made.join()
                .map_err(|_| anyhow!("the thread that makes it ended"))
                .and_then(std::convert::identity)
                .with_context(|| format!("the {} disk", tree.name()))?;
        }
        Ok(())
    })
}

/// The image as it was last built.
pub fn find(paths: &Paths, tree: Tree) -> Result<Image> {
    let disk = disk(paths, tree);
    let digest = stamp::read(&disk).with_context(|| {
        format!("the {} disk is not built: ./qemu/lab server builds what is missing and starts the server", tree.name())
    })?;
    Ok(Image { boot: work(paths, tree).join("boot"), disk, digest })
}

/// What `sidus` said while it made the server's disk one of a server.
pub fn set_up(paths: &Paths) -> Result<String> {
    let path = work(paths, Tree::Server).join("set-up");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

fn disk(paths: &Paths, tree: Tree) -> PathBuf {
    paths.images().join(format!("{}.ext4", tree.name()))
}

fn work(paths: &Paths, tree: Tree) -> PathBuf {
    paths.images().join(format!("{}.work", tree.name()))
}

fn build(paths: &Paths, tree: Tree, tarball: &Path, programs: &Path, mirror: Option<&str>) -> Result<()> {
    let (disk, work) = (disk(paths, tree), work(paths, tree));
    let served = (tree == Tree::Server).then(|| Served::find(paths, mirror)).transpose()?;
    let digest = digest(paths, tree, tarball, programs, served.as_ref())?;
    if stamp::is_fresh(&disk, &digest) {
        return Ok(());
    }
    stamp::forget(&disk)?;
    // A running server keeps the old image's file open: a new one takes its name.
    let unfinished = disk.with_extension("new");
    let mut command = in_a_namespace();
    command.arg(paths.source("dress")).arg(tree.kind()).arg(tarball).arg(&work).arg(&unfinished);
    let size = if tree == Tree::Server { "5000M" } else { "2500M" };
    command.arg(size).arg(format!("lab-{}", tree.name())).arg(programs);
    if let Some(served) = &served {
        let extra = work.join("files/etc/dnsmasq.d-lab");
        std::fs::create_dir_all(&extra).with_context(|| format!("cannot make {}", extra.display()))?;
        std::fs::write(extra.join("nodes"), known_nodes())
            .with_context(|| format!("cannot write into {}", extra.display()))?;
        command.args(served.arguments()?);
    }
    let log = paths.log().join(format!("{}-image.log", tree.name()));
    step::run(&format!("the {} tree's initrds and disk", tree.name()), &mut command, &log, Duration::from_secs(1800))?;
    if let Some(served) = &served {
        served.note()?;
    }
    std::fs::rename(&unfinished, &disk).with_context(|| format!("cannot rename {}", unfinished.display()))?;
    stamp::note(&disk, &digest)
}

/// All that an image is made of.
fn digest(paths: &Paths, tree: Tree, tarball: &Path, programs: &Path, served: Option<&Served>) -> Result<String> {
    let mut stamp = Stamp::new().text(&stamp::read(tarball)?);
    let trees = paths.source("trees");
    let mut inputs = vec![trees.join("both"), trees.join(tree.kind()), paths.source("dress")];
    inputs.push(paths.source(&format!("configure-{}", tree.kind())));
    inputs.push(paths.project().join("initramfs-hooks"));
    inputs.extend(programs::ALL.map(|program| programs.join(program)));
    if let Some(served) = served {
        inputs.extend([trees.join("node"), paths.source("configure-node")]);
        inputs.extend([paths.source("serve"), paths.source("install-sidus")]);
        inputs.push(programs.join(programs::SERVER));
        stamp = stamp.text(&served.digest).text(qemu::CMDLINE);
    }
    for input in inputs {
        stamp = stamp.path(&input)?;
    }
    Ok(stamp.text(&known_nodes()).digest())
}

/// unshare(1): root inside, mounts that end with the command.
pub(crate) fn in_a_namespace() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.args(["--map-auto", "--map-root-user"]);
    }
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    command
}

/// dnsmasq's list of the nodes: MAC address, address, name, and for some the lease's time.
fn known_nodes() -> String {
    address::KNOWN.fold(String::new(), |mut list, number| {
        let lease = if address::SHORT_LEASES.contains(&number) { ",2m" } else { "" };
        let _ = writeln!(list, "{},{},node{number}{lease}", address::mac(number), address::address(number));
        list
    })
}
