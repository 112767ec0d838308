//! Kernel modules: found in `modules.dep`, loaded by finit_module(2), without modprobe.
//!
//! A compressed module is handed to the kernel as it is: a kernel that ships compressed modules unpacks them itself
//! (`CONFIG_MODULE_DECOMPRESS`), and Debian kernels without it ship plain ones.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use thiserror::Error;

/// `MODULE_INIT_COMPRESSED_FILE` of init_module(2).
const INIT_COMPRESSED_FILE: i32 = 4;

/// Whether this kernel can have a module, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// It is part of the kernel.
    Builtin,
    /// These files, in the order of loading: what it depends on comes first.
    Files(Vec<PathBuf>),
    /// None of these folders has it.
    Missing {
        /// Where it was looked for.
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

/// Looks `name` up in each of `folders` (as `/lib/modules/6.1.0-37-amd64`), the first that has it wins.
///
/// # Errors
/// That of reading an index which exists but cannot be read.
pub fn look_up(folders: &[PathBuf], name: &str) -> io::Result<Lookup> {
    for folder in folders {
        // What has a file is not built in: the other list is mostly left unread.
        if let Some(text) = read_if_there(&folder.join("modules.dep"))? {
            if let Some(files) = load_order(&text, name) {
                return Ok(Lookup::Files(files.into_iter().map(|file| folder.join(file)).collect()));
            }
        }
        if let Some(text) = read_if_there(&folder.join("modules.builtin"))? {
            if text.lines().any(|line| is_module(line, name)) {
                return Ok(Lookup::Builtin);
            }
        }
    }
    Ok(Lookup::Missing { looked_in: folders.to_vec() })
}

fn read_if_there(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
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

/// Loads one module file; one that is loaded already is fine.
///
/// # Errors
/// [`ModuleError`] says which file, and what the kernel's refusal means.
pub fn load(file: &Path) -> Result<(), ModuleError> {
    let open = File::open(file).map_err(|source| ModuleError::Open { file: file.to_owned(), source })?;
    let plain = file.extension().is_some_and(|extension| extension == "ko");
    let flags = if plain { 0 } else { INIT_COMPRESSED_FILE };
    match rustix::system::finit_module(&open, c"", flags) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(source) => Err(ModuleError::Refused { file: file.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
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
    fn the_first_folder_that_has_it_wins_and_a_missing_one_names_them_all() {
        let temp = std::env::temp_dir().join(format!("sidus-modules-{}", std::process::id()));
        let (first, second) = (temp.join("a"), temp.join("b"));
        fs::create_dir_all(&first).unwrap();
        fs::create_dir_all(&second).unwrap();
        fs::write(first.join("modules.builtin"), "kernel/fs/ext4/ext4.ko\n").unwrap();
        fs::write(second.join("modules.dep"), DEP).unwrap();
        let folders = [first.clone(), second.clone(), temp.join("absent")];
        assert_eq!(look_up(&folders, "ext4").unwrap(), Lookup::Builtin);
        let overlay = second.join("kernel/fs/overlayfs/overlay.ko");
        assert_eq!(look_up(&folders, "overlay").unwrap(), Lookup::Files(vec![overlay]));
        assert_eq!(look_up(&folders, "aufs").unwrap(), Lookup::Missing { looked_in: folders.to_vec() });
        fs::remove_dir_all(&temp).unwrap();
    }
}
