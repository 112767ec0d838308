//! The command line of `rootaufs` in the initramfs: what its init-bottom script and a person in its shell call, and what
//! it starts itself as, to stay behind.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::keeper::Task;

/// What is said where nothing is understood.
pub const USAGE: &str = "\
rootaufs init [--rootmnt DIR]   makes the union on the root that is mounted on DIR (/root)
All else that rootaufs(8) tells of is in the tree, not in the initramfs.";

/// What the program is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Make the root a union that initramfs-tools mounted here.
    Init(PathBuf),
    /// Be the keeper.
    Keep(Task),
}

/// Parses the arguments, the program's own name not among them; `None` where they are not understood.
#[must_use]
pub fn parse(arguments: &[OsString]) -> Option<Verb> {
    match arguments {
        [verb] if verb == "init" => Some(Verb::Init(PathBuf::from("/root"))),
        [verb, option, rootmnt] if verb == "init" && option == "--rootmnt" => Some(Verb::Init(PathBuf::from(rootmnt))),
        _ => Task::parse(arguments).map(Verb::Keep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_verbs() {
        let init = |rootmnt: &str| Some(Verb::Init(PathBuf::from(rootmnt)));
        let table = [
            ("init", init("/root")),
            ("init --rootmnt /sysroot", init("/sysroot")),
            ("keep-here 1 -", Some(Verb::Keep(Task { session: 1, reserved: None }))),
            ("", None),
            ("init --rootmnt", None),
            ("init /sysroot", None),
            ("status", None),
            ("keep-here 1", None),
        ];
        for (line, verb) in table {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(parse(&words), verb, "{line:?}");
        }
    }
}
