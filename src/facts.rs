//! What the machine looks like before anything is done: the mounts, and what the kernel can mount.
//!
//! Every read goes through `root`, so that a folder of files stands for a machine.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cmdline::words;
use crate::modules::{look_up, Lookup, MODULES};
use crate::mountinfo::{self, Mount, MountInfoError};
use crate::options::{BootOptions, Layer, UnionChoice};
use crate::plan::is_virtual;
use crate::view;

/// What [`crate::plan::plan`] needs to know of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Where initramfs-tools mounted the root: `${rootmnt}`.
    pub rootmnt: PathBuf,
    /// What is mounted there.
    pub root: Mount,
    /// What is mounted below it, in the order of mounting.
    pub below: Vec<Mount>,
    /// Whether the kernel has overlayfs.
    pub overlay: FsSupport,
    /// Whether the kernel has aufs.
    pub aufs: FsSupport,
    /// What the kernel has for a LUN.
    pub lun: LunSupport,
}

/// What the kernel has for a session, its disk and what is on that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LunSupport {
    /// iSCSI over TCP, and disks.
    pub iscsi: FsSupport,
    /// ext4
    pub ext4: FsSupport,
    /// xfs
    pub xfs: FsSupport,
    /// btrfs
    pub btrfs: FsSupport,
}

impl LunSupport {
    /// The same for all of it.
    #[must_use]
    pub fn all(support: &FsSupport) -> Self {
        let [iscsi, ext4, xfs, btrfs] = [support, support, support, support].map(Clone::clone);
        Self { iscsi, ext4, xfs, btrfs }
    }
}

/// What is to be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which union.
    pub union: UnionChoice,
    /// Whether the layer is on a LUN.
    pub lun: bool,
}

impl Wanted {
    /// What these options may come to.
    #[must_use]
    pub fn by(options: &BootOptions) -> Self {
        Self { union: options.union, lun: matches!(options.layer, Layer::Iscsi(_)) }
    }
}

/// Whether the kernel can mount a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FsSupport {
    /// It is there already.
    Ready,
    /// After loading these files, in this order.
    Module(Vec<PathBuf>),
    /// It has not, and no module was found.
    Missing {
        /// Where it was looked for.
        looked_in: Vec<PathBuf>,
    },
    /// Nobody asks for it: the tree's list of modules, a megabyte over the network, was left unread.
    NotAsked,
}

/// Why the machine could not be read.
#[derive(Debug, Error)]
pub enum FactsError {
    /// A file that every Linux machine has.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The list of mounts makes no sense.
    #[error(transparent)]
    MountInfo(#[from] MountInfoError),
    /// Nothing to move to `/ro`.
    #[error("nothing is mounted on {}: the NFS root is not there, or rootaufs does not run at init-bottom", rootmnt.display())]
    NoRoot {
        /// Where it was expected.
        rootmnt: PathBuf,
    },
    /// A module index cannot be read.
    #[error("cannot look up kernel modules: {0}")]
    Modules(io::Error),
    /// A tree without a kernel.
    #[error("{} has no kernel: no modules below lib/modules", tree.display())]
    NoKernel {
        /// The tree.
        tree: PathBuf,
    },
}

impl Facts {
    /// What a person should know of the root, whatever the union will be.
    #[must_use]
    pub fn warning(&self) -> Option<&'static str> {
        self.root.is_without_acls().then_some(
            "the NFS root is mounted with noacl: overlayfs asks it for access lists, and where a user is not the owner of a \
             file, programs fail with \"Operation not supported\" (dbus is one); remove noacl from nfsroot=",
        )
    }

    /// Reads the machine that runs this program, in its initramfs.
    ///
    /// `kernel` is the release, as uname(2) tells it; only what is wanted is looked for.
    ///
    /// # Errors
    /// [`FactsError`]
    pub fn read(root: &Path, rootmnt: &Path, kernel: &str, wanted: Wanted) -> Result<Self, FactsError> {
        let mounts = mounts(root)?;
        let at_root = mountinfo::topmost(&mounts, rootmnt)
            .cloned()
            .ok_or_else(|| FactsError::NoRoot { rootmnt: rootmnt.to_owned() })?;
        let below = mounts.iter().filter(|mount| mount.at != rootmnt && mount.at.starts_with(rootmnt));
        let filesystems = read(root, "proc/filesystems")?;
        let kernel =
            Kernel { filesystems: &filesystems, trees: &[root.to_owned(), within(root, rootmnt)], release: kernel };
        let (overlay, aufs) = kernel.supports(wanted.union)?;
        let lun = kernel.lun_support(wanted)?;
        Ok(Self { rootmnt: rootmnt.to_owned(), below: below.cloned().collect(), root: at_root, overlay, aufs, lun })
    }

    /// Supposes the machine that a kernel command line would boot, for `rootaufs plan`.
    ///
    /// With `tree`, its newest kernel's modules say what it can have; without, all is taken for granted.
    ///
    /// # Errors
    /// [`FactsError::NoKernel`], [`FactsError::Modules`]
    pub fn suppose(line: &str, tree: Option<&Path>, wanted: Wanted) -> Result<Self, FactsError> {
        let words = words(line);
        let nfsroot = words.iter().find(|word| word.is("nfsroot")).and_then(|word| word.value).unwrap_or("nfs root");
        let source = nfsroot.split(',').next().unwrap_or(nfsroot);
        let read_only = if words.iter().any(|word| word.key == "rw") { "rw" } else { "ro" };
        let rootmnt = PathBuf::from("/root");
        let root = Mount {
            at: rootmnt.clone(),
            fs: "nfs".to_owned(),
            source: source.to_owned(),
            options: read_only.to_owned(),
            super_options: read_only.to_owned(),
        };
        let ((overlay, aufs), lun) = match tree {
            None => ((FsSupport::Ready, FsSupport::Ready), LunSupport::all(&FsSupport::Ready)),
            Some(tree) => {
                let release = newest_kernel(tree)?;
                let kernel = Kernel { filesystems: "", trees: &[tree.to_owned()], release: &release };
                (kernel.supports(wanted.union)?, kernel.lun_support(wanted)?)
            }
        };
        Ok(Self { rootmnt, root, below: Vec::new(), overlay, aufs, lun })
    }
}

/// The root, and what is mounted below it, but for what holds nothing to protect.
///
/// # Errors
/// [`FactsError`]
pub fn to_protect(root: &Path, rootmnt: &Path) -> Result<Vec<Mount>, FactsError> {
    let mut all = mounts(root)?;
    all.retain(|mount| mount.at == rootmnt || mount.at.starts_with(rootmnt) && !is_virtual(&mount.fs));
    Ok(all)
}

/// Whether this program has run before, on the machine whose root is `root`.
///
/// # Errors
/// [`FactsError`]
pub fn is_union(root: &Path, rootmnt: &Path) -> Result<bool, FactsError> {
    let mounts = mounts(root)?;
    Ok(mountinfo::topmost(&mounts, &rootmnt.join("ro")).is_some())
}

/// The release of the newest kernel in a tree.
fn newest_kernel(tree: &Path) -> Result<String, FactsError> {
    let folder = view::open_folder(tree, Path::new(MODULES));
    let names = folder.and_then(|folder| folder.names());
    let mut kernels = names.map_err(|source| FactsError::Read { path: tree.join(MODULES), source })?;
    kernels.retain(|name| view::open_regular(tree, &Path::new(MODULES).join(name).join("modules.dep")).is_ok());
    kernels.into_iter().max_by_key(|name| numbers(name)).ok_or_else(|| FactsError::NoKernel { tree: tree.to_owned() })
}

/// The numbers in a kernel's release, so that 6.12 is newer than 6.1.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// A kernel, and where its modules are.
struct Kernel<'a> {
    /// `/proc/filesystems`
    filesystems: &'a str,
    trees: &'a [PathBuf],
    /// As uname(2) tells it.
    release: &'a str,
}

impl Kernel<'_> {
    /// overlayfs and aufs, as far as the choice makes them matter.
    fn supports(&self, choice: UnionChoice) -> Result<(FsSupport, FsSupport), FactsError> {
        let overlay = match choice {
            UnionChoice::Aufs => FsSupport::NotAsked,
            UnionChoice::Auto | UnionChoice::Overlay => self.support("overlay")?,
        };
        let aufs = match (choice, &overlay) {
            (UnionChoice::Aufs, _) | (UnionChoice::Auto, FsSupport::Missing { .. }) => self.support("aufs")?,
            _ => FsSupport::NotAsked,
        };
        Ok((overlay, aufs))
    }

    /// What a LUN needs, where there is to be one.
    fn lun_support(&self, wanted: Wanted) -> Result<LunSupport, FactsError> {
        if !wanted.lun {
            return Ok(LunSupport::all(&FsSupport::NotAsked));
        }
        let mut files: Vec<PathBuf> = Vec::new();
        let mut add = |more: Vec<PathBuf>| {
            for file in more {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        };
        // Every connection makes a crc32c, also without digests, and no module names it as a dependency. Newer kernels
        // have no module of that name: then it is built in.
        if let Lookup::Files(more) = self.look_up("crc32c_generic")? {
            add(more);
        }
        let mut missing = None;
        for name in ["iscsi_tcp", "sd_mod"] {
            match self.look_up(name)? {
                Lookup::Builtin => {}
                Lookup::Files(more) => add(more),
                Lookup::Missing { looked_in } => missing = Some(looked_in),
            }
        }
        Ok(LunSupport {
            iscsi: missing.map_or(FsSupport::Module(files), |looked_in| FsSupport::Missing { looked_in }),
            ext4: self.support("ext4")?,
            xfs: self.support("xfs")?,
            btrfs: self.support("btrfs")?,
        })
    }

    fn support(&self, name: &str) -> Result<FsSupport, FactsError> {
        if self.filesystems.lines().any(|line| line.split('\t').next_back() == Some(name)) {
            return Ok(FsSupport::Ready);
        }
        Ok(match self.look_up(name)? {
            Lookup::Builtin => FsSupport::Ready,
            Lookup::Files(files) => FsSupport::Module(files),
            Lookup::Missing { looked_in } => FsSupport::Missing { looked_in },
        })
    }

    fn look_up(&self, name: &str) -> Result<Lookup, FactsError> {
        look_up(self.trees, self.release, name).map_err(FactsError::Modules)
    }
}

fn mounts(root: &Path) -> Result<Vec<Mount>, FactsError> {
    Ok(mountinfo::parse(&read(root, "proc/self/mountinfo")?)?)
}

fn read(root: &Path, path: &str) -> Result<String, FactsError> {
    let path = root.join(path);
    fs::read_to_string(&path).map_err(|source| FactsError::Read { path, source })
}

/// `path`, which is absolute, as a path below `root`.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KERNEL: &str = "6.1.0-37-amd64";

    /// A folder that stands for an initramfs.
    struct Machine(PathBuf);

    impl Machine {
        fn new(name: &str, mountinfo: &str, filesystems: &str) -> Self {
            let root = std::env::temp_dir().join(format!("sidus-facts-{name}-{}", std::process::id()));
            let machine = Self(root);
            machine.write("proc/self/mountinfo", mountinfo);
            machine.write("proc/filesystems", filesystems);
            machine
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn facts(&self) -> Result<Facts, FactsError> {
            self.facts_for(UnionChoice::Auto)
        }

        fn facts_for(&self, choice: UnionChoice) -> Result<Facts, FactsError> {
            Facts::read(&self.0, Path::new("/root"), KERNEL, Wanted { union: choice, lun: false })
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const ROOT: &str = "20 1 0:20 / / rw - rootfs rootfs rw\n\
                        21 20 0:21 / /root ro,relatime - nfs 10.13.20.13:/srv/nfsroot/sidus ro,vers=3\n";

    #[test]
    fn a_node_at_init_bottom() {
        let mountinfo =
            format!("{ROOT}22 21 0:5 / /root/dev rw - devtmpfs udev rw\n23 20 0:6 / /rootless rw - tmpfs t rw\n");
        let machine = Machine::new("node", &mountinfo, "nodev\ttmpfs\nnodev\toverlay\n\text4\n");
        machine.write(&format!("root/lib/modules/{KERNEL}/modules.dep"), "extra/aufs.ko:\n");
        let facts = machine.facts().unwrap();
        assert_eq!(facts.root.source, "10.13.20.13:/srv/nfsroot/sidus");
        assert_eq!(facts.below.iter().map(|mount| mount.at.as_path()).collect::<Vec<_>>(), [Path::new("/root/dev")]);
        assert_eq!(facts.overlay, FsSupport::Ready);
        assert_eq!(facts.aufs, FsSupport::NotAsked);
        let aufs = machine.0.join("root/lib/modules").join(KERNEL).join("extra/aufs.ko");
        assert_eq!(machine.facts_for(UnionChoice::Aufs).unwrap().aufs, FsSupport::Module(vec![aufs]));
    }

    #[test]
    fn the_root_is_protected_with_what_is_mounted_below_it() {
        let mountinfo = format!(
            "{ROOT}22 21 0:5 / /root/dev rw - devtmpfs udev rw\n23 21 0:6 / /root/usr rw - nfs x rw\n\
             24 22 0:7 / /root/dev/pts rw - devpts d rw\n25 20 0:8 / /rootless rw - nfs x rw\n"
        );
        let machine = Machine::new("protect", &mountinfo, "");
        let mounts = to_protect(&machine.0, Path::new("/root")).unwrap();
        assert_eq!(
            mounts.iter().map(|mount| mount.at.as_path()).collect::<Vec<_>>(),
            ["/root", "/root/usr"].map(Path::new)
        );
    }

    #[test]
    fn a_missing_file_system_says_where_it_was_looked_for() {
        let machine = Machine::new("bare", ROOT, "nodev\toverlayfs2\n");
        let places = ["lib/modules", "root/lib/modules"].map(|place| machine.0.join(place).join(KERNEL));
        assert_eq!(machine.facts().unwrap().overlay, FsSupport::Missing { looked_in: places.to_vec() });
    }

    #[test]
    fn a_machine_without_a_root_and_one_that_is_done_are_told_apart() {
        let none = Machine::new("none", "20 1 0:20 / / rw - rootfs rootfs rw\n", "");
        assert!(matches!(none.facts(), Err(FactsError::NoRoot { .. })), "{:?}", none.facts());
        let done = Machine::new("done", &format!("{ROOT}22 21 0:5 / /root/ro rw - nfs x rw\n"), "");
        assert!(is_union(&done.0, Path::new("/root")).unwrap());
        assert!(!is_union(&none.0, Path::new("/root")).unwrap());
    }

    #[test]
    fn the_newest_kernel_of_a_tree_is_taken() {
        let machine = Machine::new("tree", "", "");
        machine.write("lib/modules/6.1.0-9-amd64/modules.dep", "");
        machine.write("lib/modules/6.12.1-amd64/modules.dep", "kernel/fs/overlayfs/overlay.ko.xz:\n");
        let facts = Facts::suppose(
            "nfsroot=10.0.0.1:/srv/tree,tcp",
            Some(&machine.0),
            Wanted { union: UnionChoice::Auto, lun: false },
        )
        .unwrap();
        assert_eq!(facts.root.source, "10.0.0.1:/srv/tree");
        let overlay = machine.0.join("lib/modules/6.12.1-amd64/kernel/fs/overlayfs/overlay.ko.xz");
        assert_eq!(facts.overlay, FsSupport::Module(vec![overlay]));
    }

    #[test]
    fn what_a_lun_needs_is_looked_for_where_there_is_to_be_one() {
        let machine = Machine::new("lun", ROOT, "nodev\ttmpfs\n\text4\n");
        let wanted = Wanted { union: UnionChoice::Aufs, lun: true };
        let read = || Facts::read(&machine.0, Path::new("/root"), KERNEL, wanted).map(|facts| facts.lun);
        let folder = machine.0.join("lib/modules").join(KERNEL);
        let index = format!("lib/modules/{KERNEL}/modules.dep");
        machine.write(&index, "a/sd_mod.ko:\na/libiscsi.ko: a/sti.ko\na/xfs.ko: a/libcrc32c.ko\n");
        assert!(matches!(read().unwrap().iscsi, FsSupport::Missing { .. }), "{:?}", read());
        machine.write(&index, "a/sd_mod.ko:\na/iscsi_tcp.ko: a/libiscsi.ko a/sti.ko\na/xfs.ko: a/libcrc32c.ko\n");
        let files = |names: &[&str]| FsSupport::Module(names.iter().map(|name| folder.join(name)).collect());
        let lun = read().unwrap();
        assert_eq!(lun.iscsi, files(&["a/sti.ko", "a/libiscsi.ko", "a/iscsi_tcp.ko", "a/sd_mod.ko"]));
        assert_eq!((lun.ext4, lun.xfs), (FsSupport::Ready, files(&["a/libcrc32c.ko", "a/xfs.ko"])));
        assert!(matches!(lun.btrfs, FsSupport::Missing { .. }), "{:?}", lun.btrfs);
        machine.write(&index, "a/crc32c_generic.ko.xz:\na/sd_mod.ko:\n");
        machine.write(&format!("lib/modules/{KERNEL}/modules.builtin"), "a/iscsi_tcp.ko\n");
        assert_eq!(read().unwrap().iscsi, files(&["a/crc32c_generic.ko.xz", "a/sd_mod.ko"]));
    }
}
