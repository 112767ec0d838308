//! Why there is no volume on a LUN, and what a person can do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::file_error::FileError;
use crate::guard::GuardError;
use crate::iscsi::credentials::CredentialsError;
use crate::iscsi::discovery::ChooseError;
use crate::iscsi::disks::DisksError;
use crate::iscsi::identity::IdentityError;
use crate::iscsi::kernel::KernelError;
use crate::iscsi::name::{Iqn, NameError, Portal, PortalError};
use crate::iscsi::session::SessionError;
use crate::iscsi::status::Retry;
use crate::iscsi::tcp::TcpError;
use crate::keeper::StartError;
use crate::modules::ModuleError;
use crate::mount::MountError;
use crate::partition::TableError;

/// The remedy where the target itself said what is wrong.
const AS_IT_SAYS: &str = "do on the iSCSI server, or in /etc/sidus/iscsi.conf of the initramfs, what the message says";

/// Why there is no volume.
#[derive(Debug, Error)]
pub enum LunError {
    /// What has to log the session in again after a fault.
    #[error(transparent)]
    Keeper(#[from] StartError),
    /// The kernel knows no way to the portal.
    #[error("no route to the portal {portal}: {source}")]
    NoRoute {
        /// Where to.
        portal: Portal,
        /// What the kernel said.
        source: io::Error,
    },
    /// The discovery.
    #[error("discovery at {portal}: {source}")]
    Discovery {
        /// At which portal.
        portal: Portal,
        /// What failed.
        source: Box<TcpError>,
    },
    /// No target, or several.
    #[error("discovery at {portal}: {source}")]
    Choose {
        /// At which portal.
        portal: Portal,
        /// What it offers.
        source: ChooseError,
    },
    /// The login.
    #[error("login to {target} at {portal}, with{} CHAP: {source}", if *chap { "" } else { "out" })]
    LogIn {
        /// Which target.
        target: Iqn,
        /// Whether there are credentials for it.
        chap: bool,
        /// At which portal.
        portal: Portal,
        /// What failed.
        source: Box<SessionError>,
    },
    /// The logout.
    #[error("logout from {target} at {portal}: {source}")]
    LogOut {
        /// Which target.
        target: Iqn,
        /// At which portal.
        portal: Portal,
        /// What failed.
        source: Box<SessionError>,
    },
    /// The target sends us from one place to the next.
    #[error("{portal} redirected, more than {limit} times in a row")]
    Redirected {
        /// The last one that did.
        portal: Portal,
        /// The limit.
        limit: u32,
    },
    /// A redirection that cannot be followed.
    #[error("{portal} redirected to an address that cannot be used: {source}")]
    RedirectedTo {
        /// Which portal did.
        portal: Portal,
        /// What is wrong with the address.
        source: PortalError,
    },
    /// The name of the initiator or the target.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The name that was given for the target.
    #[error("the target's name: {0}")]
    Name(#[from] NameError),
    /// The file of credentials.
    #[error("{}: {source}", path.display())]
    Credentials {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: CredentialsError,
    },
    /// A file or device that cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A socket, or the kernel's random numbers.
    #[error("cannot {doing}: {source}")]
    Kernel {
        /// As in `listen to uevents`.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The kernel's iSCSI.
    #[error(transparent)]
    Iscsi(#[from] KernelError),
    /// What sysfs says of the session.
    #[error(transparent)]
    Disks(#[from] DisksError),
    /// No disk that could be meant.
    #[error("{wanted}: the target offers {offered}")]
    NoDisk {
        /// `no disk`, `no disk with LUN 3`, or `several disks`.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// A wait that is over.
    #[error("{what} did not come within {after} s")]
    Timeout {
        /// What was waited for.
        what: String,
        /// In seconds.
        after: u64,
    },
    /// The partition table.
    #[error("{device}: {source}")]
    Table {
        /// On which disk.
        device: String,
        /// What is wrong with it.
        source: TableError,
    },
    /// Nothing at all is on the LUN.
    #[error("{device} is blank: no file system, no partition table")]
    Blank {
        /// The disk.
        device: String,
    },
    /// No file system that could be meant.
    #[error("{device}: {wanted}; it has {found}")]
    NoVolume {
        /// The disk.
        device: String,
        /// As in `no file system with LABEL=ISCSI`.
        wanted: String,
        /// What there is.
        found: String,
    },
    /// The kernel sees another partition than the table says.
    #[error("{device}: the kernel says that it begins at byte {kernel}, the partition table says {table}")]
    Moved {
        /// The partition.
        device: String,
        /// What sysfs says.
        kernel: u64,
        /// What the table says.
        table: u64,
    },
    /// Another node has it, or the target cannot say.
    #[error("{device}: {source}")]
    Guard {
        /// The disk.
        device: String,
        /// Why.
        source: GuardError,
    },
    /// Nothing would keep a second node from it.
    #[error(
        "{device}: nothing would keep a second node from writing to it: the target has no persistent reservations, and the \
         file system no multiple mount protection (ext4's feature mmp)"
    )]
    Unguarded {
        /// The disk.
        device: String,
    },
    /// No name for a reservation.
    #[error("the hardware address of this node's interface toward the target is not known: no reservation without it")]
    NoKey,
    /// The file system's driver.
    #[error("this kernel has no {fs}: not in /proc/filesystems, and no module of that name")]
    NoDriver {
        /// Which file system.
        fs: &'static str,
    },
    /// The file system's driver.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Tried again in vain.
    #[error("{error} (given up after {tries} tries in {after} s)")]
    GaveUp {
        /// What went wrong last.
        error: Box<LunError>,
        /// How often it was tried.
        tries: u32,
        /// In seconds.
        after: u64,
    },
    /// The plan has its steps in another order than this program can carry out.
    #[error("{missing} is a step that has to come before")]
    Order {
        /// What is missing.
        missing: &'static str,
    },
}

impl LunError {
    /// Whether to try again.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            // A link that is not up yet.
            Self::NoRoute { .. } => Retry::Later,
            Self::Discovery { source, .. } => source.retry(),
            Self::LogIn { source, .. } => source.retry(),
            Self::Choose { .. } | Self::Redirected { .. } | Self::RedirectedTo { .. } => Retry::FewTimes,
            _ => Retry::Never,
        }
    }

    /// Of several errors, the one with most of it counts.
    pub(super) fn hope(&self) -> u8 {
        match self.retry() {
            Retry::Later => 2,
            Retry::FewTimes => 1,
            Retry::Never => 0,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NoRoute { .. } => "check the node's address (ip=) and ISCSI_TARGET_IP=",
            Self::Discovery { source, .. } if matches!(**source, TcpError::Login(_)) => AS_IT_SAYS,
            Self::LogIn { source, .. } if matches!(**source, SessionError::Login(_)) => AS_IT_SAYS,
            Self::Discovery { .. } | Self::LogIn { .. } | Self::LogOut { .. } => {
                "check that the iSCSI server runs and listens on that address, that the network lets this node through, \
                 and ISCSI_TARGET_IP="
            }
            Self::Choose { .. } => {
                "make one target on the iSCSI server whose name ends in a colon and this node's address, let this \
                 initiator see it, or name one with sidus.iscsi.target="
            }
            Self::Redirected { .. } | Self::RedirectedTo { .. } => "mend the redirection on the iSCSI server",
            Self::Identity(_) | Self::Name(_) => "mend ISCSI_INITIATOR= or sidus.iscsi.target= in the node's PXE entry",
            Self::Credentials { .. } => {
                "mend /etc/sidus/iscsi.conf in the tree and rebuild the initramfs (sidus publish, or update-initramfs -u), or mend the \
                 archive that is appended to it"
            }
            Self::File(_) | Self::Kernel { .. } | Self::Timeout { .. } | Self::Disks(_) | Self::Table { .. } => {
                "read the kernel's messages (dmesg) and those of the iSCSI server"
            }
            Self::Iscsi(_) | Self::NoDriver { .. } | Self::Module(_) => {
                "rebuild the initramfs: by sidus publish, or by update-initramfs -u in the tree, and copy it to the TFTP server with its kernel"
            }
            Self::NoDisk { .. } => {
                "give the target one LUN with a disk, let this initiator see it, or name one with sidus.iscsi.lun="
            }
            Self::Blank { .. } => {
                "make a file system on the iSCSI server, as mkfs.ext4 -L ISCSI does: nothing is ever formatted here"
            }
            Self::NoVolume { .. } => "name the file system with root=LABEL= or root=UUID=, or make one with that name",
            Self::Moved { .. } => "have the kernel read the partition table again: boot again",
            Self::Mount(_) => {
                "check the file system on the iSCSI server while no node uses it (fsck); the kernel's messages say more"
            }
            Self::Keeper(_) => "read the kernel's messages (dmesg), and give the node more memory if they say so",
            Self::Guard { source: GuardError::Taken(_), .. } => {
                "shut that node down, which gives the LUN back; where it is dead for good, boot once with \
                 sidus.iscsi.guard=take: whatever it still writes is then refused"
            }
            Self::Guard { .. } | Self::Unguarded { .. } | Self::NoKey => {
                "give the LUN a target with persistent reservations (LIO and tgt have them) or its ext4 the feature mmp; where \
                 no second node can ever reach it, sidus.iscsi.guard=off"
            }
            Self::GaveUp { error, .. } => error.remedy(),
            Self::Order { .. } => "tell the authors of this program",
        }
    }
}
