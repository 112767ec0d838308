//! What happens to the server, under a node that writes all the while. Every node feels it: no other runs
//! beside this one. `./qemu/lab test faults` runs them.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod victim;

/// Their names begin with this module's.
mod server_faults {
    use std::time::Duration;

    use sidus_lab::target::{initiator, Target};
    use sidus_lab::{Lab, Result};

    use crate::victim::Victim;

    #[test]
    fn nfs_is_gone_and_comes_back_and_then_the_whole_server_is_reset() -> Result<()> {
        let lab = Lab::open()?;
        let target = Target::new(&lab, 145).by_lio(3345)?;
        let mut victim = Victim::boot(&lab, target, 145, 3345)?;
        let absences: &[u64] = if std::env::var_os("SIDUS_LAB_FAULTS").is_some() { &[0, 60] } else { &[10] };
        for seconds in absences {
            victim.survive(
                &format!("NFS server stopped, back after {seconds} s"),
                Duration::from_secs(*seconds),
                |_, _| lab.server().run("systemctl stop nfs-server.service").map(drop),
                |_, _| lab.server().run("systemctl start nfs-server.service").map(drop),
            )?;
        }
        victim.survive(
            "server reset: NFS and target are gone while it boots",
            Duration::ZERO,
            |_, _| lab.server().reset(),
            |_, target| target.serve_by_lio(3345, &initiator(145)),
        )?;
        victim.has_recovered(1)?;
        let target = victim.target.clone();
        victim.finish()?;
        target.remove_from_lio()
    }
}
