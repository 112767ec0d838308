//! Boots a diskless node: the NFS root read-only below, a writable layer above.
#![warn(missing_docs)]

mod bytes;
pub mod iscsi;
pub mod partition;
pub mod volume;
