//! Base trees: what mmdebstrap makes of a list of packages, kept as a tarball.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::mirror::Mirror;
use crate::paths::Paths;
use crate::stamp::{self, Stamp};
use crate::step;
use crate::suite::Suite;

/// A tree that the lab makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The server's own.
    Server,
    /// What nodes of this release boot.
    Node(Suite),
    /// What the benchmark makes its initrds in.
    Bench,
}

impl Tree {
    /// Every tree that a machine boots from.
    pub const ALL: [Self; 3] = [Self::Server, Self::Node(Suite::Bookworm), Self::Node(Suite::Trixie)];

    /// The name of its files.
    pub fn name(self) -> String {
        match self {
            Self::Server => "server".to_owned(),
            Self::Node(suite) => suite.to_string(),
            Self::Bench => "bench".to_owned(),
        }
    }

    /// `server` or `node`.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Node(_) | Self::Bench => "node",
        }
    }

    fn suite(self) -> Suite {
        match self {
            Self::Server | Self::Bench => Suite::Bookworm,
            Self::Node(suite) => suite,
        }
    }

    /// What lies ready below [`READY`], with what it needs: scenarios install it.
    fn ready_packages(self) -> &'static [&'static str] {
        match self {
            Self::Node(Suite::Bookworm) => &["network-manager"],
            Self::Server => &["isc-dhcp-server", "tftpd-hpa"],
            _ => &[],
        }
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Server => &SERVER_PACKAGES,
            Self::Node(_) => &NODE_PACKAGES,
            Self::Bench => &BENCH_PACKAGES,
        }
    }
}

/// What a node has, besides what each Debian has.
pub(crate) const NODE_PACKAGES: [&str; 16] = [
    "busybox",
    "dbus",
    "ifupdown",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-amd64",
    "linux-image-cloud-amd64",
    "login",
    "nfs-common",
    "open-iscsi",
    "passwd",
    "procps",
    "systemd-sysv",
    "udev",
    "zstd",
];

/// A node's, but with one kernel, and with the contenders that Debian has.
const BENCH_PACKAGES: [&str; 9] = [
    "busybox",
    "initramfs-tools",
    "kmod",
    "linux-image-cloud-amd64",
    "nfs-common",
    "open-iscsi",
    "overlayroot",
    "udev",
    "zstd",
];

const SERVER_PACKAGES: [&str; 24] = [
    "btrfs-progs",
    "dbus",
    "dnsmasq",
    "e2fsprogs",
    "fdisk",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "login",
    "lvm2",
    "nfs-kernel-server",
    "passwd",
    "procps",
    "pxelinux",
    "rsync",
    "strace",
    "syslinux-common",
    "syslinux-efi",
    "systemd-sysv",
    "targetcli-fb",
    "tgt",
    "udev",
    "xfsprogs",
];

/// Where packages lie ready in a tree that are not installed.
pub const READY: &str = "/srv/packages";

/// For the hook of initramfs-tools, which makes none then: they are made when the tree is dressed.
const NO_INITRD: (&str, &str) = ("INITRD", "No");

/// Nobody reads these in the lab.
const LEFT_OUT: [&str; 3] = ["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"];

/// The base tree's tarball as it was last made.
pub(crate) fn find(paths: &Paths, tree: Tree) -> Result<PathBuf> {
    let path = tarball(paths, tree);
    stamp::read(&path)
        .with_context(|| format!("the {} tree is not built: ./qemu/lab server builds what is missing", tree.name()))?;
    Ok(path)
}

/// mmdebstrap's option that downloads packages into the tree, and does not install them.
fn download(packages: &[&str]) -> Option<String> {
    (!packages.is_empty()).then(|| {
        format!(
            "--customize-hook=mkdir -p \"$1{READY}/partial\" && APT_CONFIG=\"$MMDEBSTRAP_APT_CONFIG\" apt-get install --yes \
             --no-install-recommends --download-only -o Dir::Cache::archives=\"$1{READY}\" {} && rm -r \"$1{READY}/partial\" \"$1{READY}/lock\"",
            packages.join(" ")
        )
    })
}

fn tarball(paths: &Paths, tree: Tree) -> PathBuf {
    paths.images().join(format!("{}.tar", tree.name()))
}

/// Makes the base tree's tarball if it is not there yet, and says where it is.
pub(crate) fn base(paths: &Paths, tree: Tree, mirror: Option<&str>) -> Result<PathBuf> {
    let tarball = tarball(paths, tree);
    let digest = Stamp::new()
        .text(&[tree.packages(), tree.ready_packages()].concat().join(","))
        .text(&LEFT_OUT.join(","))
        .text(&format!("{}={}", NO_INITRD.0, NO_INITRD.1))
        .text(mirror.unwrap_or("as this machine"))
        .digest();
    if stamp::is_fresh(&tarball, &digest) {
        return Ok(tarball);
    }
    stamp::forget(&tarball)?;
    let mirror = mirror.map_or_else(Mirror::of_this_machine, |address| Ok(Mirror::at(address)))?;
    let unfinished = paths.images().join(format!("{}.new.tar", tree.name()));
    let mode = if rustix::process::getuid().is_root() { "root" } else { "unshare" };
    // Several are made at a time, and nothing waits for them as long as for the programs.
    let mut command = Command::new("nice");
    command
        .args(["-n", "5", "mmdebstrap"])
        .env(NO_INITRD.0, NO_INITRD.1)
        .args(["--variant=minbase", &format!("--mode={mode}"), &format!("--include={}", tree.packages().join(","))])
        .args(LEFT_OUT.map(|pattern| format!("--dpkgopt=path-exclude={pattern}")))
        .args(download(tree.ready_packages()))
        .arg(tree.suite().to_string())
        .arg(&unfinished)
        .args(mirror.sources(tree.suite()));
    let what = format!("Debian packages for the {} tree", tree.name());
    let log = paths.log().join(format!("{}-packages.log", tree.name()));
    step::run(&what, &mut command, &log, Duration::from_secs(1200))?;
    std::fs::rename(&unfinished, &tarball).with_context(|| format!("cannot rename {}", unfinished.display()))?;
    stamp::note(&tarball, &digest)?;
    Ok(tarball)
}
