//! What `sidus` publishes boots: on the lab's server, which `sidus` itself has made one, with its real services.
//! `./qemu/lab test sidus_boot` runs these.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use common::check_union;
use sidus_lab::{Firmware, Lab, Node, Result};

/// The generations of the tree that the lab's server has.
const GENERATIONS: &str = "/srv/sidus/generations/hpc";

/// A node that runs on this generation, and mounts it as what never changes.
fn runs_on(node: &mut Node, generation: &str) -> Result<()> {
    assert_eq!(node.run("findmnt -no SOURCE /ro")?.trim(), format!("10.13.20.13:{GENERATIONS}/{generation}"));
    let options = node.run("findmnt -no OPTIONS /ro")?;
    let options: Vec<_> = options.trim().split(',').collect();
    for option in ["ro", "nocto", "acregmin=600", "acregmax=600", "acdirmin=600", "acdirmax=600"] {
        assert!(options.contains(&option), "{option} is not in {options:?}");
    }
    Ok(())
}

#[test]
fn a_machine_that_is_no_node_boots_the_default_entry_by_uefi() -> Result<()> {
    let lab = Lab::open()?;
    let current = lab.server().run(&format!("readlink {GENERATIONS}/current"))?;
    let mut node = lab.node(65).pxe(Firmware::Uefi).boot()?;
    check_union(&mut node)?;
    runs_on(&mut node, current.trim())
}
