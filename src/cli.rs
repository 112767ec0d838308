//! The command line of `rootaufs`, see rootaufs(8).

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::prelude::*;
use lexopt::Parser;

use crate::switch::come_up::{Trial, WITHIN};
use crate::switch::Request;

/// What `rootaufs --help` prints.
pub const USAGE: &str = "\
rootaufs makes the root of a diskless node: the NFS root read-only, a writable layer over it.

  rootaufs plan [--cmdline LINE] [--root TREE]   print what a boot would do; needs no root, does nothing
  rootaufs status [--json]                       on a running node: what its root is made of
  rootaufs keep [--session N]                    start what logs the iSCSI session in again, where that has ended
  rootaufs lease DEVICE                          renew the DHCP lease of a network interface (run by systemd)
  rootaufs switch [--dry-run] [--within SECONDS] [GENERATION]
                                                 move the node to another generation of its tree, else the newest
  rootaufs watch                                 tell what goes wrong on a running node (run by systemd)
  rootaufs check-credentials FILE                whether a file can be /etc/sidus/iscsi.conf
  rootaufs --version | --help

See rootaufs(8) for the keys of the kernel's command line.
";

/// What the program is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verb {
    /// Print what would be done.
    Plan {
        /// A command line; else that of this machine.
        cmdline: Option<String>,
        /// A tree, whose newest kernel's modules are looked at.
        tree: Option<PathBuf>,
    },
    /// Print the report.
    Status {
        /// As it is.
        json: bool,
    },
    /// Start a keeper.
    Keep {
        /// The session's number; else that of the report.
        session: Option<u32>,
    },
    /// Renew a DHCP lease.
    Lease {
        /// The network interface.
        device: String,
    },
    /// Move the node to another generation of its tree.
    Switch(Request),
    /// What a switch leaves for its end.
    FinishSwitch,
    /// Wait until systemd has entered the next root.
    EnterSwitch(Trial),
    /// See whether it comes up.
    WatchSwitch(Trial),
    /// Become the init of a tree, to see whether it can run.
    TryInit {
        /// The tree.
        root: PathBuf,
    },
    /// Watch the node.
    Watch,
    /// Check a file of CHAP credentials.
    CheckCredentials {
        /// The file.
        file: PathBuf,
    },
    /// Print the version.
    Version,
    /// Print [`USAGE`].
    Help,
}

/// Parses the arguments, the program's own name not among them.
///
/// # Errors
/// [`lexopt::Error`] says which argument is wrong.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Verb, lexopt::Error> {
    let mut parser = Parser::from_args(arguments);
    let mut verb = match parser.next()? {
        None | Some(Short('h') | Long("help")) => return Ok(Verb::Help),
        Some(Short('V') | Long("version")) => return Ok(Verb::Version),
        Some(Value(name)) => match name.to_str() {
            Some("plan") => Verb::Plan { cmdline: None, tree: None },
            Some("keep") => Verb::Keep { session: None },
            Some("status") => Verb::Status { json: false },
            Some("lease") => Verb::Lease { device: parser.value()?.string()? },
            Some("watch") => Verb::Watch,
            Some("switch") => Verb::Switch(Request { generation: None, dry_run: false, within: WITHIN }),
            Some("switch-finish") => Verb::FinishSwitch,
            Some("switch-enter") => Verb::EnterSwitch(trial(&mut parser)?),
            Some("switch-watch") => Verb::WatchSwitch(trial(&mut parser)?),
            Some("switch-try") => Verb::TryInit { root: parser.value()?.into() },
            Some("check-credentials") => Verb::CheckCredentials { file: parser.value()?.into() },
            _ => return Err(format!("no such command: {}", name.to_string_lossy()).into()),
        },
        Some(other) => return Err(other.unexpected()),
    };
    while let Some(argument) = parser.next()? {
        match (argument, &mut verb) {
            (Long("cmdline"), Verb::Plan { cmdline, .. }) => *cmdline = Some(parser.value()?.string()?),
            (Long("root"), Verb::Plan { tree, .. }) => *tree = Some(parser.value()?.into()),
            (Long("session"), Verb::Keep { session }) => *session = Some(parser.value()?.parse()?),
            (Long("dry-run"), Verb::Switch(request)) => request.dry_run = true,
            (Long("within"), Verb::Switch(request)) => request.within = parser.value()?.parse()?,
            (Value(name), Verb::Switch(request)) if request.generation.is_none() => {
                request.generation = Some(name.string()?);
            }
            (Long("json"), Verb::Status { json }) => *json = true,
            (Short('h') | Long("help"), _) => return Ok(Verb::Help),
            (other, _) => return Err(other.unexpected()),
        }
    }
    Ok(verb)
}

fn trial(parser: &mut Parser) -> Result<Trial, lexopt::Error> {
    let from = parser.value()?.string()?;
    let to = parser.value()?.string()?;
    Ok(Trial { from, to, within: parser.value()?.parse()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(line: &str) -> Result<Verb, String> {
        parse(line.split_whitespace().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_verbs() {
        let table = [
            ("", Verb::Help),
            ("status -h", Verb::Help),
            ("--version", Verb::Version),
            ("plan", Verb::Plan { cmdline: None, tree: None }),
            (
                "plan --cmdline aufs=off --root=/srv/tree",
                Verb::Plan { cmdline: Some("aufs=off".to_owned()), tree: Some(PathBuf::from("/srv/tree")) },
            ),
            ("watch", Verb::Watch),
            ("switch", Verb::Switch(Request { generation: None, dry_run: false, within: 300 })),
            (
                "switch 20261126-1 --dry-run --within=0",
                Verb::Switch(Request { generation: Some("20261126-1".to_owned()), dry_run: true, within: 0 }),
            ),
            ("switch-watch a b 60", Verb::WatchSwitch(Trial { from: "a".to_owned(), to: "b".to_owned(), within: 60 })),
            ("switch-finish", Verb::FinishSwitch),
            ("switch-try /run/nextroot/aufs", Verb::TryInit { root: PathBuf::from("/run/nextroot/aufs") }),
            ("check-credentials x", Verb::CheckCredentials { file: PathBuf::from("x") }),
            ("lease eth0", Verb::Lease { device: "eth0".to_owned() }),
            ("keep", Verb::Keep { session: None }),
            ("keep --session 3", Verb::Keep { session: Some(3) }),
            ("status --json", Verb::Status { json: true }),
        ];
        for (line, verb) in table {
            assert_eq!(parse_words(line), Ok(verb), "{line:?}");
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let table = [
            ("init", "no such command: init"),
            ("keep --json", "invalid option '--json'"),
            ("plan --cmdline", "missing argument for option '--cmdline'"),
            ("switch a b", "unexpected argument \"b\""),
            ("switch --within soon", "cannot parse argument \"soon\": invalid digit found in string"),
            ("switch --json", "invalid option '--json'"),
            ("status x", "unexpected argument \"x\""),
            ("-x", "invalid option '-x'"),
        ];
        for (line, error) in table {
            assert_eq!(parse_words(line), Err(error.to_owned()), "{line:?}");
        }
    }
}
