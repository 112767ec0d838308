//! Why there is no keeper, and why an attempt of one failed.

use std::io;

use thiserror::Error;

use super::sysfs::SysfsError;
use crate::file_error::FileError;
use crate::guard::GuardError;
use crate::iscsi::disks::DisksError;
use crate::iscsi::kernel::KernelError;
use crate::iscsi::name::Portal;
use crate::iscsi::session::SessionError;

/// Why there is no keeper, or not any more.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// A file or folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The session's own facts.
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    /// The session's disks.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// The kernel's iSCSI.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The process cannot be made fit for its work.
    #[error("cannot {doing}: {source}")]
    Process {
        /// As in `lock the memory`.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The LUN is another node's: the session was ended, so that nothing more is written.
    #[error("{0}")]
    Lost(GuardError),
    /// The session was ended by somebody: there is nothing left to keep.
    #[error("session {sid} was ended")]
    Ended {
        /// Its number.
        sid: u32,
    },
}

/// Why an attempt failed: never the end.
#[derive(Debug, Error)]
pub(super) enum AttemptError {
    #[error("login at {portal}: {source}")]
    Session { portal: Portal, source: SessionError },
    #[error(transparent)]
    Sysfs(#[from] SysfsError),
    #[error("cannot get random numbers: {0}")]
    Random(io::Error),
}
