//! Why a login failed, for a person, and whether it makes sense to try again.

use thiserror::Error;

use super::chap::ChapError;
use super::login::MAX_ROUNDS;
use super::negotiation::NegotiationError;
use super::pdu::PduError;
use super::status::{Retry, Status};
use super::text::TextError;

/// Why a login failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    /// The target said no.
    #[error("login refused with status {status}: {words}")]
    Refused {
        /// Its status.
        status: Status,
        /// What it means and who has to change what.
        words: String,
    },
    /// A redirection without a usable address.
    #[error("the target moved (status {status}), but names no address to follow: {reason}")]
    RedirectedNowhere {
        /// 0101 or 0102.
        status: Status,
        /// What is wrong with the address.
        reason: String,
    },
    /// Bytes that are no PDU.
    #[error(transparent)]
    Pdu(#[from] PduError),
    /// A text that is none.
    #[error("bad text in a login response: {0}")]
    Text(#[from] TextError),
    /// CHAP.
    #[error("CHAP: {0}")]
    Chap(#[from] ChapError),
    /// No agreement.
    #[error(transparent)]
    Negotiation(#[from] NegotiationError),
    /// Another PDU than a login response.
    #[error("the target sent a {got}; a login response was expected")]
    Unexpected {
        /// What it sent.
        got: &'static str,
    },
    /// The target takes our PDU for nonsense.
    #[error("the target rejected the login request (reason {reason:#04x}, RFC 7143 11.17.1)")]
    Rejected {
        /// Why.
        reason: u8,
    },
    /// An answer to somebody else's question.
    #[error("the target answered task {got:#010x}; {want:#010x} was asked")]
    ForeignTag {
        /// The tag it answered.
        got: u32,
        /// The tag of this login.
        want: u32,
    },
    /// A version that does not exist.
    #[error("the target speaks iSCSI version {got}; 0 was expected")]
    Version {
        /// What it speaks.
        got: u8,
    },
    /// The target is at another point of the login.
    #[error("the target's login response has {got}; {want} was expected")]
    Stage {
        /// What it has.
        got: String,
        /// What was expected.
        want: &'static str,
    },
    /// The target does not go on.
    #[error("the login did not end within {MAX_ROUNDS} PDUs")]
    Endless,
    /// The target chose a method that was not offered.
    #[error("the target answered AuthMethod={got:?}; {want} was offered: see how it authenticates initiators")]
    AuthMethod {
        /// Its answer.
        got: String,
        /// The offer.
        want: &'static str,
    },
    /// The credentials demand that the target proves itself, and it does not.
    #[error("the target did not prove itself, but username_in and password_in demand it: set up mutual CHAP there, or remove them here")]
    NoProof,
    /// A normal session without a handle.
    #[error("the target ended the login with TSIH 0; a session's handle was expected")]
    NoSession,
    /// Called after the end.
    #[error("a PDU after the end of the login")]
    Over,
}

impl LoginError {
    /// Whether to try again.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Refused { status, .. } => status.retry(),
            Self::Negotiation(_) | Self::Version { .. } | Self::Over => Retry::Never,
            _ => Retry::FewTimes,
        }
    }
}
