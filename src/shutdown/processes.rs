//! Who still runs when all services are stopped.

use rustix::process::{getpid, kill_process, Pid, Signal};

use crate::folder::Folder;
use crate::keeper::report::NAME;

/// A process, by its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// The kernel's own: without arguments.
    Kernel,
    /// A keeper.
    Keeper,
    /// What else of this project stays to the end.
    Ours,
    /// Anything else.
    Other,
}

/// Whose `arguments` these are, as in `/proc/<pid>/cmdline`.
fn who(arguments: &str) -> Who {
    let mut words = arguments.split('\0');
    match (words.next(), words.next()) {
        (None | Some(""), _) => Who::Kernel,
        (Some(NAME), Some("keep-here")) => Who::Keeper,
        (Some(NAME), _) => Who::Ours,
        _ => Who::Other,
    }
}

/// Ends the keepers, as `/proc` has them: the session that they would keep is to end.
pub fn kill_keepers(proc: &Folder) {
    kill(proc, Who::Keeper);
}

/// Ends all that are none of ours: systemd spares whoever has a name that begins with `@`.
pub fn kill_others(proc: &Folder) {
    kill(proc, Who::Other);
}

/// Whoever has gone meanwhile, or cannot be asked, is none.
fn kill(proc: &Folder, whom: Who) {
    for name in proc.names().unwrap_or_default() {
        let Some(pid) = name.parse().ok().and_then(Pid::from_raw) else { continue };
        if pid != getpid() && proc.read(&format!("{name}/cmdline")).is_ok_and(|arguments| who(&arguments) == whom) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart() {
        for (arguments, expected) in [
            ("", Who::Kernel),
            ("@rootaufs\0keep-here\0-\0", Who::Keeper),
            ("@rootaufs\0shutdown-watch\0reboot\0", Who::Ours),
            ("rootaufs\0keep\0", Who::Other),
            ("@plymouthd\0keep\0", Who::Other),
        ] {
            assert_eq!(who(arguments), expected, "{arguments:?}");
        }
    }
}
