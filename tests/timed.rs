//! Whole boots that are held to a time limit: the lab runs them after all others.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod common;

use std::time::Duration;

use common::{check_union, power_off};
use sidus_lab::{Lab, Result, Suite};

/// What a power-off may take, from the request to the machine's end.
const POWER_OFF: Duration = Duration::from_secs(15);

fn is_off_in_time(suite: Suite, number: u8) -> Result<()> {
    let mut node = Lab::open()?.node(number).suite(suite).cmdline("aufs=tmpfs").boot()?;
    check_union(&mut node)?;
    let took = power_off(node)?;
    println!("Debian {suite}: off after {took:.1?}");
    assert!(took <= POWER_OFF, "the power-off took {took:?}");
    Ok(())
}

#[test]
fn debian_12_is_off_within_15_s() -> Result<()> {
    is_off_in_time(Suite::Bookworm, 44)
}

#[test]
fn debian_13_is_off_within_15_s() -> Result<()> {
    is_off_in_time(Suite::Trixie, 45)
}
