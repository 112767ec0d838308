//! What was built from what: a digest of the inputs beside each output, so that only what changed is built again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The inputs of one output.
pub(crate) struct Stamp(Sha256);

impl Stamp {
    pub(crate) fn new() -> Self {
        Self(Sha256::new())
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.update(text.len().to_le_bytes());
        self.0.update(text);
        self
    }

    /// A file, or a folder with all that is in it.
    pub(crate) fn path(mut self, path: &Path) -> Result<Self> {
        let mut files = Vec::new();
        collect(path, &mut files)?;
        files.sort();
        for file in files {
            let content = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            self = self.text(&file.to_string_lossy());
            self.0.update(content.len().to_le_bytes());
            self.0.update(content);
        }
        Ok(self)
    }

    /// The digest, in hexadecimal.
    pub(crate) fn digest(self) -> String {
        self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Whether `output` exists and was built from what `digest` stands for.
pub(crate) fn is_fresh(output: &Path, digest: &str) -> bool {
    output.exists() && read(output).is_ok_and(|known| known == digest)
}

/// What `output` was built from.
pub(crate) fn read(output: &Path) -> Result<String> {
    let stamp = beside(output);
    std::fs::read_to_string(&stamp).with_context(|| format!("cannot read {}", stamp.display()))
}

/// Forgets what `output` was built from: to be called before it is built again.
pub(crate) fn forget(output: &Path) -> Result<()> {
    match std::fs::remove_file(beside(output)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", beside(output).display()))
        }
        _ => Ok(()),
    }
}

/// Notes what `output` was built from.
pub(crate) fn note(output: &Path, digest: &str) -> Result<()> {
    std::fs::write(beside(output), digest).with_context(|| format!("cannot write {}", beside(output).display()))
}

fn beside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(".stamp");
    PathBuf::from(name)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let at = || format!("cannot look into {}", path.display());
    if !path.symlink_metadata().with_context(at)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).with_context(at)? {
        collect(&entry.with_context(at)?.path(), files)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_counts() {
        let digest = |parts: &[&str]| parts.iter().fold(Stamp::new(), |stamp, part| stamp.text(part)).digest();
        assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
        assert_ne!(digest(&["a", "b"]), digest(&["ab", ""]));
        assert_ne!(digest(&["a", "b"]), digest(&["b", "a"]));
    }
}
