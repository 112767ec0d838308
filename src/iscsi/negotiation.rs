//! The operational keys of a login (RFC 7143 section 13): what is offered, and what comes of it.

use thiserror::Error;

use crate::bytes::shown;

/// A checksum over header or data (RFC 7143 section 13.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Digest {
    /// None: TCP's own checksum.
    #[default]
    None,
    /// CRC32C; where it is asked for, a login without it fails.
    Crc32c,
}

impl Digest {
    const fn text(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Crc32c => "CRC32C",
        }
    }
}

/// What this side proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// HeaderDigest.
    pub header_digest: Digest,
    /// DataDigest.
    pub data_digest: Digest,
    /// ImmediateData: data may ride on the command.
    pub immediate_data: bool,
    /// InitialR2T: each write waits for the target's invitation.
    pub initial_r2t: bool,
    /// MaxBurstLength in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength in bytes.
    pub first_burst_length: u32,
    /// MaxRecvDataSegmentLength of this side in bytes.
    pub max_recv_data: u32,
    /// DefaultTime2Wait in seconds.
    pub time2wait: u16,
    /// DefaultTime2Retain in seconds.
    pub time2retain: u16,
}

/// The values with which Linux is fast: open-iscsi's.
impl Default for Offer {
    fn default() -> Self {
        Self {
            header_digest: Digest::None,
            data_digest: Digest::None,
            immediate_data: true,
            initial_r2t: false,
            max_burst_length: 16_776_192,
            first_burst_length: 262_144,
            max_recv_data: 262_144,
            time2wait: 2,
            time2retain: 0,
        }
    }
}

/// What both sides agreed on. A key that the target leaves out has the RFC's default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// HeaderDigest.
    pub header_digest: Digest,
    /// DataDigest.
    pub data_digest: Digest,
    /// ImmediateData.
    pub immediate_data: bool,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// MaxBurstLength in bytes.
    pub max_burst_length: u32,
    /// FirstBurstLength in bytes, never above `max_burst_length`.
    pub first_burst_length: u32,
    /// MaxOutstandingR2T: 1, all that is ever offered.
    pub max_outstanding_r2t: u32,
    /// ErrorRecoveryLevel: 0, all that the kernel has.
    pub error_recovery_level: u32,
    /// MaxConnections: 1, all that is ever offered.
    pub max_connections: u32,
    /// DataPDUInOrder.
    pub data_pdu_in_order: bool,
    /// DataSequenceInOrder.
    pub data_sequence_in_order: bool,
    /// DefaultTime2Wait in seconds.
    pub time2wait: u32,
    /// DefaultTime2Retain in seconds.
    pub time2retain: u32,
    /// MaxRecvDataSegmentLength of this side: what the target may send, in bytes.
    pub max_recv_data: u32,
    /// MaxRecvDataSegmentLength of the target: what this side may send, in bytes.
    pub max_send_data: u32,
}

/// Why no agreement was reached.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NegotiationError {
    /// A value outside what the key allows.
    #[error("the target answered {key}={got:?}; {expected} was expected")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        got: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// The target takes no value of ours.
    #[error("the target rejected {key}")]
    Rejected {
        /// The key.
        key: &'static str,
    },
    /// A digest was demanded and is not granted.
    #[error("the target does not grant {key}=CRC32C: allow it there, or do not demand it here")]
    Digest {
        /// The key.
        key: &'static str,
    },
}

const NUMBERS: &str = "a number within the bounds of RFC 7143 section 13";
const MAX_24: u32 = 0x00ff_ffff;

impl Parameters {
    /// The RFC's defaults, before a word was said.
    pub const fn new(offer: &Offer) -> Self {
        Self {
            header_digest: Digest::None,
            data_digest: Digest::None,
            immediate_data: true,
            initial_r2t: true,
            max_burst_length: 262_144,
            first_burst_length: 65_536,
            max_outstanding_r2t: 1,
            error_recovery_level: 0,
            max_connections: 1,
            data_pdu_in_order: true,
            data_sequence_in_order: true,
            time2wait: 2,
            time2retain: 20,
            max_recv_data: offer.max_recv_data,
            max_send_data: 8192,
        }
    }

    /// Takes one key of the target, be it an answer or a proposal: the outcome is the same function
    /// of both values. Gives the key's value after it, for the answer to a proposal; `None` if the
    /// key is a declaration that wants no answer.
    ///
    /// # Errors
    /// [`NegotiationError`] if the value breaks the RFC.
    pub fn take(&mut self, offer: &Offer, key: &str, value: &str) -> Result<Option<String>, NegotiationError> {
        // No digest is agreed by a target that does not understand the key; `finish` looks.
        if matches!(value, "Irrelevant" | "NotUnderstood") {
            return Ok(None);
        }
        let text = match key {
            "HeaderDigest" => digest("HeaderDigest", value, offer.header_digest, &mut self.header_digest)?,
            "DataDigest" => digest("DataDigest", value, offer.data_digest, &mut self.data_digest)?,
            "ImmediateData" => {
                self.immediate_data = boolean("ImmediateData", value)? && offer.immediate_data;
                yes_no(self.immediate_data)
            }
            "InitialR2T" => {
                self.initial_r2t = boolean("InitialR2T", value)? || offer.initial_r2t;
                yes_no(self.initial_r2t)
            }
            "DataPDUInOrder" => {
                // OR with the Yes that is offered: the kernel can do nothing else.
                boolean("DataPDUInOrder", value)?;
                "Yes".to_owned()
            }
            "DataSequenceInOrder" => {
                boolean("DataSequenceInOrder", value)?;
                "Yes".to_owned()
            }
            "MaxBurstLength" => {
                self.max_burst_length = number("MaxBurstLength", value, 512, MAX_24)?.min(offer.max_burst_length);
                self.max_burst_length.to_string()
            }
            "FirstBurstLength" => {
                self.first_burst_length = number("FirstBurstLength", value, 512, MAX_24)?.min(offer.first_burst_length);
                self.first_burst_length.to_string()
            }
            "MaxOutstandingR2T" => {
                // The least of both; these three are offered with the least there is.
                number("MaxOutstandingR2T", value, 1, 65_535)?;
                "1".to_owned()
            }
            "ErrorRecoveryLevel" => {
                number("ErrorRecoveryLevel", value, 0, 2)?;
                "0".to_owned()
            }
            "MaxConnections" => {
                number("MaxConnections", value, 1, 65_535)?;
                "1".to_owned()
            }
            "DefaultTime2Wait" => {
                self.time2wait = number("DefaultTime2Wait", value, 0, 3600)?.max(u32::from(offer.time2wait));
                self.time2wait.to_string()
            }
            "DefaultTime2Retain" => {
                self.time2retain = number("DefaultTime2Retain", value, 0, 3600)?.min(u32::from(offer.time2retain));
                self.time2retain.to_string()
            }
            "MaxRecvDataSegmentLength" => {
                self.max_send_data = number("MaxRecvDataSegmentLength", value, 512, MAX_24)?;
                return Ok(None);
            }
            // RFC 7143 section 13.25: gone, but never "NotUnderstood".
            "IFMarker" | "OFMarker" => "No".to_owned(),
            "IFMarkInt" | "OFMarkInt" => "Reject".to_owned(),
            "TaskReporting" => "RFC3720".to_owned(),
            "iSCSIProtocolLevel" => "1".to_owned(),
            _ => "NotUnderstood".to_owned(),
        };
        Ok(Some(text))
    }

    /// The last look, when the target has said all.
    ///
    /// # Errors
    /// [`NegotiationError::Digest`] if one was demanded and not granted.
    pub fn finish(mut self, offer: &Offer) -> Result<Self, NegotiationError> {
        for (key, want, got) in [
            ("HeaderDigest", offer.header_digest, self.header_digest),
            ("DataDigest", offer.data_digest, self.data_digest),
        ] {
            if want != got {
                return Err(NegotiationError::Digest { key });
            }
        }
        // The kernel refuses to start such a session, and targets that answer the two keys one by
        // one do agree on it.
        self.first_burst_length = self.first_burst_length.min(self.max_burst_length);
        Ok(self)
    }
}

/// The keys to offer. A discovery moves no data; the rest is irrelevant there.
pub fn offered(offer: &Offer, discovery: bool) -> Vec<(&'static str, String)> {
    let mut pairs = vec![
        ("HeaderDigest", offer.header_digest.text().to_owned()),
        ("DataDigest", offer.data_digest.text().to_owned()),
        ("DefaultTime2Wait", offer.time2wait.to_string()),
        ("DefaultTime2Retain", offer.time2retain.to_string()),
        ("ErrorRecoveryLevel", "0".to_owned()),
        ("MaxRecvDataSegmentLength", offer.max_recv_data.to_string()),
    ];
    if !discovery {
        pairs.extend([
            ("ImmediateData", yes_no(offer.immediate_data)),
            ("InitialR2T", yes_no(offer.initial_r2t)),
            ("MaxBurstLength", offer.max_burst_length.to_string()),
            ("FirstBurstLength", offer.first_burst_length.to_string()),
            ("MaxOutstandingR2T", "1".to_owned()),
            ("MaxConnections", "1".to_owned()),
            ("DataPDUInOrder", "Yes".to_owned()),
            ("DataSequenceInOrder", "Yes".to_owned()),
        ]);
    }
    pairs
}

fn yes_no(value: bool) -> String {
    if value { "Yes" } else { "No" }.to_owned()
}

fn boolean(key: &'static str, value: &str) -> Result<bool, NegotiationError> {
    match value {
        "Yes" => Ok(true),
        "No" => Ok(false),
        _ => Err(bad(key, value, "Yes or No")),
    }
}

fn bad(key: &'static str, value: &str, expected: &'static str) -> NegotiationError {
    if value == "Reject" {
        return NegotiationError::Rejected { key };
    }
    NegotiationError::Value { key, got: shown(value.as_bytes()), expected }
}

fn number(key: &'static str, value: &str, low: u32, high: u32) -> Result<u32, NegotiationError> {
    parse_number(value).filter(|number| (low..=high).contains(number)).ok_or_else(|| bad(key, value, NUMBERS))
}

/// Decimal, or hexadecimal behind `0x` (RFC 7143 section 6.1).
pub(super) fn parse_number(value: &str) -> Option<u32> {
    match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(digits, 16).ok(),
        None if value.bytes().all(|b| b.is_ascii_digit()) => value.parse().ok(),
        _ => None,
    }
}

/// A target that answers chooses one; one that proposes lists what it can.
fn digest(key: &'static str, value: &str, offer: Digest, result: &mut Digest) -> Result<String, NegotiationError> {
    if value == "Reject" && offer == Digest::Crc32c {
        return Err(NegotiationError::Digest { key });
    }
    let mut listed = value.split(',').take(16);
    if listed.any(|word| word == offer.text()) {
        *result = offer;
        return Ok(offer.text().to_owned());
    }
    match (value, offer) {
        ("None", _) | (_, Digest::Crc32c) => Err(NegotiationError::Digest { key }),
        _ => Err(bad(key, value, "None")),
    }
}

#[cfg(test)]
#[path = "negotiation_tests.rs"]
mod tests;
