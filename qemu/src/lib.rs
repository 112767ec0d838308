//! The QEMU lab: a real server (DHCP, TFTP, NFS) boots real diskless nodes, headlessly, without root, KVM or a network.
//!
//! A scenario reads like this:
//!
//! ```no_run
//! # fn main() -> sidus_lab::Result<()> {
//! let lab = sidus_lab::Lab::open()?;
//! let mut node = lab.node(21).cmdline("aufs=tmpfs").boot()?;
//! node.wait_running()?;
//! assert_eq!(node.run("findmnt -no FSTYPE /")?.trim(), "overlay");
//! node.power_off()?;
//! # Ok(())
//! # }
//! ```
#![warn(missing_docs)]

pub mod address;
pub mod bench;
pub mod chroot;
pub mod console;
pub mod demo;
pub mod ethernet;
pub mod faults;
pub mod image;
mod initrd;
pub mod interactive;
pub mod kernel;
pub mod lab;
mod lock;
pub mod mirror;
pub mod node;
pub mod paths;
pub mod programs;
pub mod qemu;
pub mod qmp;
mod readme;
pub mod records;
mod schedule;
pub mod served;
pub mod server;
pub mod shell;
mod socket;
mod stamp;
mod step;
pub mod suite;
pub mod target;
pub mod test;
pub mod tree;

pub use anyhow::{Error, Result};
pub use chroot::Chroot;
pub use kernel::Kernel;
pub use lab::Lab;
pub use node::{Firmware, Node, NodeBuilder};
pub use server::Server;
pub use suite::Suite;
