//! The command line of `rootaufs` in the initramfs: what its init-bottom script and a person in its shell call.

use std::ffi::OsString;
use std::path::PathBuf;

/// What is said where nothing is understood.
pub const USAGE: &str = "\
rootaufs init [--rootmnt DIR]   makes the union on the root that is mounted on DIR (/root)
All else that rootaufs(8) tells of is in the tree, not in the initramfs.";

/// Parses the arguments, the program's own name not among them: where initramfs-tools mounted the root that is to become
/// a union. `None` where they are not understood.
#[must_use]
pub fn parse(arguments: &[OsString]) -> Option<PathBuf> {
    match arguments {
        [verb] if verb == "init" => Some(PathBuf::from("/root")),
        [verb, option, rootmnt] if verb == "init" && option == "--rootmnt" => Some(PathBuf::from(rootmnt)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_verb() {
        let table = [
            ("init", Some("/root")),
            ("init --rootmnt /sysroot", Some("/sysroot")),
            ("", None),
            ("init --rootmnt", None),
            ("init /sysroot", None),
            ("status", None),
            ("keep-here 1 - -", None),
        ];
        for (line, rootmnt) in table {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(parse(&words), rootmnt.map(PathBuf::from), "{line:?}");
        }
    }
}
