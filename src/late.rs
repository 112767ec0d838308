//! The command line of `rootaufs-shutdown`: what systemd calls. No person does.

use std::ffi::OsString;

use rustix::system::RebootCommand;

use crate::shutdown::command;

/// What is said where nothing is understood: who started it is another version of this project.
pub const MISMATCH: &str =
    "rootaufs-shutdown does not know these arguments: install the same version of rootaufs into \
                            initramfs and tree";

/// What the program is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Watch the session while the node goes down.
    Watch(RebootCommand),
    /// End the machine, as systemd-shutdown(8) asks for it: the options after the verb are systemd's own.
    End(RebootCommand),
}

/// Parses the arguments, the program's own name not among them; `None` where they are not understood.
#[must_use]
pub fn parse(arguments: &[OsString]) -> Option<Verb> {
    match arguments {
        [verb, how] if verb == "shutdown-watch" => command(how).map(Verb::Watch),
        [verb, ..] => command(verb).map(Verb::End),
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_become_verbs() {
        let table = [
            ("keep-here 1 -", None),
            ("shutdown-watch kexec", Some(Verb::Watch(RebootCommand::Kexec))),
            ("poweroff --log-level 6 --timeout 90000000us", Some(Verb::End(RebootCommand::PowerOff))),
            ("shutdown-watch exit", None),
            ("exit", None),
            ("init", None),
            ("", None),
        ];
        for (line, verb) in table {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(parse(&words), verb, "{line:?}");
        }
    }
}
