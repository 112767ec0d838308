//! Why there is no session, for a person, and whether it makes sense to try again.

use thiserror::Error;

use super::kernel::KernelError;
use super::login::LoginError;
use super::name::TargetAddress;
use super::pdu::PduError;
use super::status::Retry;
use super::tcp::TcpError;
use crate::guard::GuardError;

/// The connection broke.
const ENOTCONN: i32 = 107;
/// libiscsi's "TCP connection closed" (Linux: `enum iscsi_err`).
const ERR_TCP_CLOSED: u32 = 1020;
/// libiscsi's "connection failed": what a request is refused for that comes after the connection broke.
const ERR_CONN_FAILED: u32 = 1011;

/// Why there is no session.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The connection.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// The login.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// Not a PDU.
    #[error(transparent)]
    Pdu(#[from] PduError),
    /// The reservation.
    #[error("{0}")]
    Guard(GuardError),
    /// The connection broke during login or logout.
    #[error("{} (kernel error {error})", broken(*error))]
    Broken {
        /// Linux: `enum iscsi_err`.
        error: u32,
    },
    /// The target is elsewhere: make a session there.
    #[error("the target moved to {address}")]
    Moved {
        /// Where.
        address: TargetAddress,
        /// Whether for good.
        permanent: bool,
    },
    /// The logout was refused.
    #[error("the target refused the logout (response {response}, RFC 7143 11.15.1)")]
    Logout {
        /// Why.
        response: u8,
    },
    /// Something is left behind that could not be destroyed.
    #[error("{error}; and what was half made is still there: {left}")]
    Left {
        /// What went wrong first.
        error: Box<SessionError>,
        /// What went wrong then.
        left: KernelError,
    },
}

fn broken(error: u32) -> &'static str {
    match error {
        ERR_TCP_CLOSED => "the target closed the connection",
        _ => "the connection broke",
    }
}

/// A request on a connection: one that comes too late for the connection is refused with ENOTCONN (Linux:
/// `scsi_transport_iscsi.c`), and that is no fault of the kernel's.
pub(super) fn refused(error: KernelError) -> SessionError {
    match error.errno() {
        Some(ENOTCONN) => SessionError::Broken { error: ERR_CONN_FAILED },
        _ => SessionError::Kernel(error),
    }
}

impl From<GuardError> for SessionError {
    fn from(error: GuardError) -> Self {
        match error {
            GuardError::Tcp(error) => Self::Tcp(error),
            error => Self::Guard(error),
        }
    }
}

impl SessionError {
    /// Whether to try again.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Kernel(KernelError::Timeout { .. } | KernelError::Socket { .. })
            | Self::Broken { .. }
            | Self::Logout { .. } => Retry::Later,
            Self::Kernel(_) => Retry::Never,
            Self::Tcp(error) => error.retry(),
            Self::Login(error) => error.retry(),
            Self::Pdu(_) | Self::Moved { .. } | Self::Guard(_) => Retry::FewTimes,
            Self::Left { error, .. } => error.retry(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_closes_early_is_tried_again() {
        let refusal = |errno| {
            let source = std::io::Error::from_raw_os_error(errno);
            refused(KernelError::Refused { what: "send a PDU", source })
        };
        assert_eq!(refusal(ENOTCONN).to_string(), "the connection broke (kernel error 1011)");
        assert_eq!(refusal(ENOTCONN).retry(), Retry::Later);
        assert_eq!(refusal(22).to_string(), "the kernel could not send a PDU: Invalid argument (os error 22)");
        assert_eq!(refusal(22).retry(), Retry::Never);
    }
}
