//! The command line of `rootaufs` in the initramfs: what its init-bottom script and a person in its shell call, and what
//! the program calls itself.

use std::ffi::OsString;
use std::path::PathBuf;

use rustix::system::RebootCommand;

use crate::keeper::Task;
use crate::shutdown::command;

/// What is said where nothing is understood.
pub const USAGE: &str = "\
rootaufs init [--rootmnt DIR]   makes the union on the root that is mounted on DIR (/root)
All else that rootaufs(8) tells of is in the tree, not in the initramfs.";

/// What the program is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Make the union.
    Init {
        /// Where initramfs-tools mounted the root.
        rootmnt: PathBuf,
    },
    /// Be the keeper.
    Keep(Task),
    /// Watch the session while the node goes down.
    Watch(RebootCommand),
    /// End the machine, as systemd-shutdown(8) asks for it: the options after the verb are systemd's own.
    End(RebootCommand),
}

/// Parses the arguments, the program's own name not among them; `None` where they are not understood.
#[must_use]
pub fn parse(arguments: &[OsString]) -> Option<Verb> {
    let rootmnt = match arguments {
        [verb] if verb == "init" => PathBuf::from("/root"),
        [verb, option, rootmnt] if verb == "init" && option == "--rootmnt" => PathBuf::from(rootmnt),
        [verb, how] if verb == "shutdown-watch" => return command(how).map(Verb::Watch),
        [verb, ..] => return command(verb).map(Verb::End).or_else(|| Task::parse(arguments).map(Verb::Keep)),
        [] => return None,
    };
    Some(Verb::Init { rootmnt })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_verbs() {
        let init = |rootmnt: &str| Some(Verb::Init { rootmnt: PathBuf::from(rootmnt) });
        let table = [
            ("init", init("/root")),
            ("init --rootmnt /sysroot", init("/sysroot")),
            ("keep-here 1 - -", Some(Verb::Keep(Task { session: 1, recovery: None, reserved: None }))),
            ("shutdown-watch kexec", Some(Verb::Watch(RebootCommand::Kexec))),
            ("poweroff --log-level 6 --timeout 90000000us", Some(Verb::End(RebootCommand::PowerOff))),
            ("shutdown-watch exit", None),
            ("exit", None),
            ("", None),
            ("init --rootmnt", None),
            ("init /sysroot", None),
            ("status", None),
        ];
        for (line, verb) in table {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(parse(&words), verb, "{line:?}");
        }
    }
}
