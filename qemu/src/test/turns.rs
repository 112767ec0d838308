//! Which tests that boot nodes run beside which.

/// A file of tests that need the lab, and how they are run: its machines share two processors.
pub(super) struct Booted {
    pub(super) title: &'static str,
    /// `tests/<file>.rs`.
    pub(super) file: &'static str,
    /// So many of its tests at a time.
    pub(super) at_once: &'static str,
    pub(super) turn: Turn,
    /// Which of the turn's [`LANES`].
    pub(super) lane: u8,
}

/// So many files are run at a time, at most. The longest of a turn begin first, each in a lane of its own.
pub(super) const LANES: u8 = 3;

/// When the files are run: one turn after the other, and in each turn its lanes side by side, each of one file after the
/// other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// What needs no iSCSI target, or has all of them for itself.
    First,
    /// What shares the targets.
    Second,
    /// What does something to the server that every node feels, a file at a time, in the first lane. What that leaves of the
    /// processors is for what needs no server.
    Server,
    /// What measures time, and nothing beside it.
    Timed,
}

impl Turn {
    pub(super) const ALL: [Self; 4] = [Self::First, Self::Second, Self::Server, Self::Timed];
}

/// Each of them.
pub(super) const BOOTED: [Booted; 14] = [
    Booted { title: "whole boots", file: "boot", at_once: "2", turn: Turn::First, lane: 0 },
    Booted { title: "disks of nodes", file: "sidus_disk_boot", at_once: "1", turn: Turn::First, lane: 1 },
    Booted { title: "generations", file: "sidus_boot", at_once: "2", turn: Turn::Second, lane: 0 },
    Booted { title: "whole boots", file: "guard_boot", at_once: "2", turn: Turn::Second, lane: 0 },
    Booted { title: "whole boots", file: "iscsi_boot", at_once: "2", turn: Turn::Second, lane: 1 },
    Booted { title: "whole boots", file: "switch_boot", at_once: "2", turn: Turn::Second, lane: 1 },
    // One of its nodes does nothing for five minutes.
    Booted { title: "network managers", file: "network_boot", at_once: "2", turn: Turn::Second, lane: 2 },
    Booted { title: "faults", file: "faults", at_once: "2", turn: Turn::Second, lane: 2 },
    Booted { title: "other services", file: "services_boot", at_once: "1", turn: Turn::Server, lane: 0 },
    Booted { title: "faults of the server", file: "server_faults", at_once: "1", turn: Turn::Server, lane: 0 },
    Booted { title: "the lab's server", file: "server_state", at_once: "1", turn: Turn::Server, lane: 0 },
    Booted { title: "initramfs", file: "initramfs", at_once: "1", turn: Turn::Server, lane: 1 },
    Booted { title: "whole boots against the clock", file: "timed", at_once: "2", turn: Turn::Timed, lane: 0 },
    Booted { title: "shutdowns against the clock", file: "timed_shutdown", at_once: "2", turn: Turn::Timed, lane: 0 },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_needs_the_lab_has_its_turn() {
        let manifest = include_str!("../../../Cargo.toml");
        let targets = manifest.split("[[test]]").skip(1).filter(|target| target.contains("[\"lab\"]"));
        let mut needed: Vec<_> = targets.filter_map(|target| target.split('"').nth(1)).collect();
        let mut run: Vec<_> = BOOTED.iter().map(|booted| booted.file).collect();
        needed.sort_unstable();
        run.sort_unstable();
        assert_eq!(needed, run);
    }
}
