//! An initrd with further files: the kernel unpacks archives that are put together one after the other, the later one's
//! files in place of the earlier one's (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{bail, Context, Result};

/// Archives begin at multiples of this.
const ALIGNMENT: usize = 512;

/// Writes `WORK.initrd`: `initrd` with these files (path in the initramfs, text), staged in the folder `work`.
pub(crate) fn with_files(initrd: &Path, files: &[(&str, &str)], work: &Path) -> Result<PathBuf> {
    if work.exists() {
        fs::remove_dir_all(work).with_context(|| format!("cannot empty {}", work.display()))?;
    }
    let mut names = String::new();
    for (path, text) in files {
        let file = work.join(path);
        let folder = file.parent().unwrap_or(work);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        // It may be a secret; in the initramfs all is root's.
        let mode = if text.starts_with("#!") { 0o700 } else { 0o600 };
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        // The kernel makes no folders by itself: a file whose folder is missing is dropped without a word.
        let mut names_of: Vec<&Path> =
            Path::new(path).ancestors().filter(|name| !name.as_os_str().is_empty()).collect();
        names_of.reverse();
        names_of.iter().for_each(|name| names.push_str(&format!("{}\n", name.display())));
    }
    let mut cpio = Command::new("cpio")
        .args(["--quiet", "-o", "-H", "newc", "-R", "0:0"])
        .current_dir(work)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run cpio")?;
    cpio.stdin.take().context("cpio has no input")?.write_all(names.as_bytes())?;
    let archive = cpio.wait_with_output()?;
    if !archive.status.success() {
        bail!("cpio ended with {} on {names:?}", archive.status);
    }
    let mut whole = fs::read(initrd).with_context(|| format!("cannot read {}", initrd.display()))?;
    whole.resize(whole.len().next_multiple_of(ALIGNMENT), 0);
    whole.extend(archive.stdout);
    let path = work.with_extension("initrd");
    File::create(&path)
        .and_then(|mut file| file.write_all(&whole))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
