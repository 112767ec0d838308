//! The nodes' numbers, and the addresses that follow from them.

use std::ops::RangeInclusive;

/// The numbers that nodes may have.
pub const NUMBERS: RangeInclusive<u8> = 20..=219;

/// The numbers of those that the lab makes known to the server; the others' are for `sidus node add`.
pub const KNOWN: RangeInclusive<u8> = 20..=200;

/// The numbers of those whose DHCP lease is for two minutes, the shortest that dnsmasq has; the others' is for 12 hours.
pub const SHORT_LEASES: RangeInclusive<u8> = 190..=200;

/// Node `number`'s hardware address.
pub fn mac(number: u8) -> String {
    format!("52:54:00:0d:14:{number:02x}")
}

/// Node `number`'s address.
pub fn address(number: u8) -> String {
    format!("10.13.20.{number}")
}
