//! Disks: a base tree, dressed with the lab's files and the program, as an ext4 image, with its kernels and initrds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{anyhow, Context, Result};

use crate::address;
use crate::kernel::Kernel;
use crate::paths::Paths;
use crate::stamp::{self, Stamp};
use crate::tree::{self, Tree};
use crate::{programs, step};

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
        for (tree, base) in bases {
            let tarball =
                base.join().map_err(|_| anyhow!("the {} tree: the thread that makes it ended", tree.name()))??;
            build(paths, tree, &tarball, &programs)?;
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

fn disk(paths: &Paths, tree: Tree) -> PathBuf {
    paths.images().join(format!("{}.ext4", tree.name()))
}

fn work(paths: &Paths, tree: Tree) -> PathBuf {
    paths.images().join(format!("{}.work", tree.name()))
}

fn build(paths: &Paths, tree: Tree, tarball: &Path, programs: &Path) -> Result<()> {
    let (disk, work) = (disk(paths, tree), work(paths, tree));
    let configure = paths.source(&format!("configure-{}", tree.kind()));
    let dress = paths.source("dress");
    let mut stamp = Stamp::new().text(&stamp::read(tarball)?);
    let trees = paths.source("trees");
    for input in [trees.join("both"), trees.join(tree.kind()), configure, dress.clone()] {
        stamp = stamp.path(&input)?;
    }
    if let Tree::Node(_) = tree {
        for program in programs::ALL {
            stamp = stamp.path(&programs.join(program))?;
        }
        stamp = stamp.path(&paths.project().join("initramfs-hooks"))?;
    }
    let nodes = known_nodes();
    let digest = stamp.text(&nodes).digest();
    if stamp::is_fresh(&disk, &digest) {
        return Ok(());
    }
    stamp::forget(&disk)?;
    let extra = work.join("files/etc/dnsmasq.d-lab");
    if tree == Tree::Server {
        std::fs::create_dir_all(&extra).with_context(|| format!("cannot make {}", extra.display()))?;
        std::fs::write(extra.join("nodes"), nodes).with_context(|| format!("cannot write into {}", extra.display()))?;
    }
    // A running server keeps the old image's file open: a new one takes its name.
    let unfinished = disk.with_extension("new");
    let mut command = in_a_namespace();
    command.arg(dress).arg(tree.kind()).arg(tarball).arg(&work).arg(&unfinished);
    command.arg("2500M").arg(format!("lab-{}", tree.name()));
    if let Tree::Node(_) = tree {
        command.arg(programs);
    }
    let log = paths.log().join(format!("{}-image.log", tree.name()));
    step::run(&format!("the {} tree's initrds and disk", tree.name()), &mut command, &log, Duration::from_secs(600))?;
    std::fs::rename(&unfinished, &disk).with_context(|| format!("cannot rename {}", unfinished.display()))?;
    stamp::note(&disk, &digest)
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
    address::NUMBERS.fold(String::new(), |mut list, number| {
        let lease = if address::SHORT_LEASES.contains(&number) { ",2m" } else { "" };
        let _ = writeln!(list, "{},{},node{number}{lease}", address::mac(number), address::address(number));
        list
    })
}
