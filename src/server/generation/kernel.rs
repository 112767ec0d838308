//! The newest kernel of a tree.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use super::{looking, GenerationError};
use crate::server::config::values::TreeName;
use crate::server::paths::{look, names};

/// The version of the newest kernel that has its modules.
///
/// # Errors
/// [`GenerationError::NoKernel`], [`GenerationError::Link`]; those of the file system
pub fn newest(root: &Path, folder: &Path, tree: &TreeName) -> Result<String, GenerationError> {
    let boot = folder.join("boot");
    let looked_at = |path: &Path| look(root, path).map_err(looking(path));
    if looked_at(&boot)?.is_some_and(|found| found.is_symlink()) {
        return Err(GenerationError::Link { path: boot });
    }
    let mut versions = Vec::new();
    for name in names(root, &boot).map_err(looking(&boot))? {
        let Some(version) = name.strip_prefix("vmlinuz-") else { continue };
        // TFTP serves it to everyone: not what a link leads to, which may be this server's.
        let is_file = looked_at(&boot.join(&name))?.is_some_and(|found| found.is_file());
        let modules = folder.join("usr/lib/modules").join(version);
        if is_file && looked_at(&modules)?.is_some_and(|found| found.is_dir()) {
            versions.push(version.to_owned());
        }
    }
    let newest = versions.into_iter().max_by(|a, b| compare(a, b));
    newest.ok_or_else(|| GenerationError::NoKernel { boot, tree: tree.clone() })
}

/// Where the kernel is in the tree.
#[must_use]
pub fn path(folder: &Path, version: &str) -> PathBuf {
    folder.join("boot").join(format!("vmlinuz-{version}"))
}

/// As dpkg compares versions (deb-version(7)): what is between numbers by letters, `~` before the end, and numbers as
/// such.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        let (a_text, a_rest) = a.split_at(a.iter().take_while(|byte| !byte.is_ascii_digit()).count());
        let (b_text, b_rest) = b.split_at(b.iter().take_while(|byte| !byte.is_ascii_digit()).count());
        let longest = a_text.len().max(b_text.len());
        let by_text =
            (0..longest).map(|at| weight(a_text.get(at)).cmp(&weight(b_text.get(at)))).find(|one| one.is_ne());
        if let Some(order) = by_text {
            return order;
        }
        let (a_number, a_rest) = a_rest.split_at(a_rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
        let (b_number, b_rest) = b_rest.split_at(b_rest.iter().take_while(|byte| byte.is_ascii_digit()).count());
        let order = number(a_number).cmp(&number(b_number));
        if order.is_ne() {
            return order;
        }
        (a, b) = (a_rest, b_rest);
    }
    Ordering::Equal
}

/// A number of any length: without zeros before it, the longer one is greater.
fn number(digits: &[u8]) -> (usize, &[u8]) {
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let digits = digits.get(zeros..).unwrap_or_default();
    (digits.len(), digits)
}

fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        Some(b'~') => -1,
        None => 0,
        Some(byte) if byte.is_ascii_alphabetic() => i32::from(*byte),
        Some(byte) => i32::from(*byte).saturating_add(256),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_dpkg_does() {
        for (smaller, greater) in [
            ("6.1.0-9-amd64", "6.1.0-10-amd64"),
            ("6.1.0-42-amd64", "6.12.57+deb13-amd64"),
            ("6.12~rc7-amd64", "6.12-amd64"),
            ("6.1.0-9-amd64", "6.1.0-9-cloud-amd64"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+"),
            ("1.9", "1.10"),
        ] {
            assert_eq!(compare(smaller, greater), Ordering::Less, "{smaller} {greater}");
            assert_eq!(compare(greater, smaller), Ordering::Greater, "{smaller} {greater}");
        }
        assert_eq!(compare("1.01", "1.1"), Ordering::Equal);
    }
}
