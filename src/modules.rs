//! Kernel modules: found in `modules.dep`, loaded by finit_module(2), without modprobe.
//!
//! A compressed module is handed to the kernel as it is: a kernel that ships compressed modules unpacks them itself
//! (`CONFIG_MODULE_DECOMPRESS`), and Debian kernels without it ship plain ones.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

use crate::view;

/// Where a tree has the modules of its kernels, a folder each.
pub const MODULES: &str = "lib/modules";
/// No index of modules is longer, in bytes: Debian's has half a megabyte.
const MAX_INDEX: u64 = 16 << 20;
/// `MODULE_INIT_COMPRESSED_FILE` of init_module(2).
const INIT_COMPRESSED_FILE: i32 = 4;

/// Whether this kernel can have a module, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is part of the kernel.
    Builtin,
    /// These files, in the order of loading: what it depends on comes first.
    Files(Vec<PathBuf>),
    /// None of the trees has it.
    Missing {
        /// The folders of modules that were looked in.
        looked_in: Vec<PathBuf>,
    },
}

/// Why a module could not be loaded.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// The file cannot be read.
    #[error("cannot open kernel module {}: {source}", file.display())]
    Open {
        /// The module.
        file: PathBuf,
        /// open(2)'s answer.
        source: io::Error,
    },
    /// The kernel refuses it.
    #[error("the kernel refuses module {}: {}", file.display(), refusal(*source))]
    Refused {
        /// The module.
        file: PathBuf,
        /// finit_module(2)'s answer.
        source: Errno,
    },
}

/// What finit_module(2)'s answer means for a person.
fn refusal(errno: Errno) -> String {
    let meaning = match errno {
        Errno::OPNOTSUPP => "it cannot unpack compressed modules; rebuild the initramfs, or ship the module plain",
        Errno::NOEXEC => "it was built for another kernel; rebuild the initramfs from the tree of this kernel",
        Errno::NOENT => "it needs a symbol that no loaded module has; initramfs and kernel do not match",
        Errno::PERM => "it is blacklisted (module_blacklist=), or modules are disabled",
        Errno::KEYREJECTED | Errno::NOKEY => "its signature is not accepted",
        _ => "see dmesg",
    };
    format!("{errno} ({meaning})")
}

/// Looks `name` up for this `kernel` (as `6.1.0-37-amd64`) in each of `trees`; the first that has it wins. What a tree
/// links to is looked for in that tree.
///
/// # Errors
/// That of reading an index which exists but cannot be read.
pub fn look_up(trees: &[PathBuf], kernel: &str, name: &str) -> io::Result<Lookup> {
    let below = Path::new(MODULES).join(kernel);
    for tree in trees {
        // What has a file is not built in: the other list is mostly left unread.
        if let Some(text) = read_if_there(tree, &below.join("modules.dep"))? {
            if let Some(files) = load_order(&text, name) {
                return Ok(Lookup::Files(files.into_iter().map(|file| place(tree, &below, file)).collect()));
            }
        }
        if let Some(text) = read_if_there(tree, &below.join("modules.builtin"))? {
            if text.lines().any(|line| is_module(line, name)) {
                return Ok(Lookup::Builtin);
            }
        }
    }
    Ok(Lookup::Missing { looked_in: trees.iter().map(|tree| tree.join(&below)).collect() })
}

/// Where a file of an index is: below the index's folder, or, as modules.dep(5) allows, from the tree's root on.
fn place(tree: &Path, below: &Path, file: &str) -> PathBuf {
    tree.join(match file.strip_prefix('/') {
        Some(file) => PathBuf::from(file),
        None => below.join(file),
    })
}

fn read_if_there(tree: &Path, index: &Path) -> io::Result<Option<String>> {
    match view::read(tree, index, MAX_INDEX) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", tree.join(index).display()))),
    }
}

/// The files that `name` needs, itself last, from the text of a `modules.dep` (modules.dep(5)).
fn load_order<'a>(modules_dep: &'a str, name: &str) -> Option<Vec<&'a str>> {
    modules_dep.lines().find_map(|line| {
        let (file, needs) = line.split_once(':')?;
        is_module(file, name).then(|| {
            // The file lists what has to be there first at the end.
            needs.split_ascii_whitespace().rev().chain([file]).collect()
        })
    })
}

/// Whether the file at `path` (as `kernel/fs/overlayfs/overlay.ko.xz`) is the module `name`. Without a search: the lists
/// have thousands of lines.
fn is_module(path: &str, name: &str) -> bool {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.get(name.len()..).is_some_and(|suffix| suffix.starts_with(".ko"))
        && file.get(..name.len()).is_some_and(|stem| crate::cmdline::same_key(stem, name))
}

/// Loads one module file, of `tree` or of the initramfs; one that is loaded already is fine.
///
/// # Errors
/// [`ModuleError`] says which file, and what the kernel's refusal means.
pub fn load(file: &Path, tree: &Path) -> Result<(), ModuleError> {
    let (root, below) = file.strip_prefix(tree).map_or((Path::new("/"), file), |below| (tree, below));
    let open = view::open_regular(root, below).map_err(|source| ModuleError::Open { file: file.to_owned(), source })?;
    let plain = file.extension().is_some_and(|extension| extension == "ko");
    let flags = if plain { 0 } else { INIT_COMPRESSED_FILE };
    match rustix::system::finit_module(&open, c"", flags) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(source) => Err(ModuleError::Refused { file: file.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const DEP: &str = "kernel/fs/overlayfs/overlay.ko:\n\
        kernel/drivers/scsi/iscsi_tcp.ko.xz: kernel/drivers/scsi/libiscsi_tcp.ko.xz kernel/drivers/scsi/libiscsi.ko.xz\n\
        kernel/drivers/scsi/libiscsi.ko.xz:\n\
        kernel/arch/x86/crypto/crc32c-intel.ko.zst:\n";

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let table: &[(&str, Option<&[&str]>)] = &[
            ("overlay", Some(&["kernel/fs/overlayfs/overlay.ko"])),
            (
                "iscsi_tcp",
                Some(&[
                    "kernel/drivers/scsi/libiscsi.ko.xz",
                    "kernel/drivers/scsi/libiscsi_tcp.ko.xz",
                    "kernel/drivers/scsi/iscsi_tcp.ko.xz",
                ]),
            ),
            ("crc32c_intel", Some(&["kernel/arch/x86/crypto/crc32c-intel.ko.zst"])),
            ("over", None),
            ("aufs", None),
            ("", None),
        ];
        for (name, expected) in table {
            assert_eq!(load_order(DEP, name).as_deref(), *expected, "module {name:?}");
        }
    }

    #[test]
    fn the_first_tree_that_has_it_wins_and_a_missing_one_names_them_all() {
        let temp = std::env::temp_dir().join(format!("sidus-modules-{}", std::process::id()));
        let trees = ["a", "b", "absent"].map(|name| temp.join(name));
        let [first, second, _] = trees.each_ref().map(|tree| tree.join("lib/modules/6.1"));
        fs::create_dir_all(&first).unwrap();
        // A tree may keep them elsewhere: its link, which begins with a slash, leads into the tree.
        fs::create_dir_all(trees[1].join("lib")).unwrap();
        fs::create_dir_all(trees[1].join("srv/6.1")).unwrap();
        std::os::unix::fs::symlink("/srv", trees[1].join("lib/modules")).unwrap();
        fs::write(first.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        fs::write(trees[1].join("srv/6.1/modules.dep"), format!("{DEP}/lib/x/absolute.ko:\n")).unwrap();
        let find = |name| look_up(&trees, "6.1", name).unwrap();
        assert_eq!(find("ext4"), Lookup::Builtin);
        assert_eq!(find("overlay"), Lookup::Files(vec![second.join("kernel/fs/overlayfs/overlay.ko")]));
        assert_eq!(find("absolute"), Lookup::Files(vec![trees[1].join("lib/x/absolute.ko")]));
        let looked_in = trees.iter().map(|tree| tree.join("lib/modules/6.1")).collect();
        assert_eq!(find("aufs"), Lookup::Missing { looked_in });
        fs::remove_dir_all(&temp).unwrap();
    }

    #[test]
    fn an_index_that_is_no_file_is_an_error_and_no_wait() {
        let temp = std::env::temp_dir().join(format!("sidus-modules-fifo-{}", std::process::id()));
        let folder = temp.join("lib/modules/6.1");
        fs::create_dir_all(&folder).unwrap();
        let index = folder.join("modules.dep");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &index, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let error = look_up(std::slice::from_ref(&temp), "6.1", "overlay").unwrap_err().to_string();
        assert_eq!(error, format!("{}: it is no regular file", index.display()));
        assert!(matches!(load(&index, &temp), Err(ModuleError::Open { .. })));
        fs::remove_dir_all(&temp).unwrap();
    }
}
