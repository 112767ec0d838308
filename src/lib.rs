//! Boots a diskless node: its NFS root read-only below, a writable layer above.
//!
//! [`boot`] tells the story: read the [options] from the kernel's [command line](cmdline), read the [facts], [plan],
//! [apply], [report]. What decides is pure; what acts is thin.

pub mod apply;
pub mod boot;
mod bytes;
pub mod cli;
pub mod cmdline;
pub mod early;
pub mod facts;
pub mod file_error;
pub mod folder;
pub mod fstab;
pub mod generation;
pub mod guard;
pub mod iscsi;
pub mod keeper;
pub mod kmsg;
pub mod late;
pub mod layer;
pub mod lower;
pub mod lun;
pub mod modules;
pub mod mount;
pub mod mountinfo;
pub mod network;
pub mod nfs;
pub mod options;
pub mod partition;
pub mod plan;
pub mod preview;
pub mod report;
pub mod scsi;
#[cfg(feature = "server")]
pub mod server;
pub mod shutdown;
pub mod status;
pub mod switch;
pub mod view;
pub mod volume;
pub mod watch;
