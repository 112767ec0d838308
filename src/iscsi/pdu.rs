//! Protocol data units of login, text, SCSI commands, logout and housekeeping (RFC 7143 section 11).
//!
//! A PDU is a header of 48 bytes and a data segment, padded with zeros to four bytes. Additional
//! header segments do not occur in what this program carries itself.

use thiserror::Error;

use super::header::{read_body, read_fields, write_body};

/// The length of a basic header segment in bytes.
pub const HEADER: usize = 48;
/// The longest data segment that each side must take until it has said otherwise, in bytes
/// (RFC 7143 section 13.12). It holds for the whole login.
pub const DEFAULT_MAX_DATA: usize = 8192;
/// "No tag": the reserved value of initiator and target task tags.
pub const NO_TAG: u32 = 0xffff_ffff;

pub(super) const OPCODE_MASK: u8 = 0x3f;
pub(super) const IMMEDIATE: u8 = 0x40;
pub(super) const FINAL: u8 = 0x80;
pub(super) const CONTINUE: u8 = 0x40;

/// Why bytes are no PDU.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PduError {
    /// The data segment is longer than was agreed.
    #[error("a PDU (opcode {opcode:#04x}) with {got} bytes of data; at most {limit} were agreed")]
    TooLong {
        /// Its opcode.
        opcode: u8,
        /// The length that its header tells.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// An additional header segment, which no PDU here has.
    #[error("a PDU (opcode {opcode:#04x}) with an additional header of {words} words; none was expected")]
    AdditionalHeader {
        /// Its opcode.
        opcode: u8,
        /// Its length in words of four bytes.
        words: u8,
    },
    /// An opcode that is not known here.
    #[error("a PDU with opcode {opcode:#04x}; an iSCSI login, text, SCSI, logout or housekeeping PDU was expected")]
    Opcode {
        /// The opcode.
        opcode: u8,
    },
    /// Fewer bytes than a header, or than the header tells.
    #[error("a PDU of {got} bytes; {want} were expected")]
    Short {
        /// How many bytes there are.
        got: usize,
        /// How many there should be.
        want: usize,
    },
}

/// A stage of the login phase (RFC 7143 section 11.12.3), as it stands in CSG and NSG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// 0: who are you?
    Security,
    /// 1: how shall we talk?
    Operational,
    /// 2: reserved; only a broken peer sends it.
    Reserved,
    /// 3: the login is over.
    FullFeature,
}

impl Stage {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Security,
            1 => Self::Operational,
            2 => Self::Reserved,
            _ => Self::FullFeature,
        }
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Security => 0,
            Self::Operational => 1,
            Self::Reserved => 2,
            Self::FullFeature => 3,
        }
    }
}

/// The flags byte of login PDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginFlags {
    /// T: the sender is ready for the next stage.
    pub transit: bool,
    /// C: the text goes on in the next PDU.
    pub more: bool,
    /// CSG.
    pub current: Stage,
    /// NSG; only counts with T.
    pub next: Stage,
}

impl LoginFlags {
    pub(super) const fn from_byte(byte: u8) -> Self {
        Self {
            transit: byte & FINAL != 0,
            more: byte & CONTINUE != 0,
            current: Stage::from_bits(byte >> 2),
            next: Stage::from_bits(byte),
        }
    }

    pub(super) const fn byte(self) -> u8 {
        // Without T the next stage is reserved and therefore zero.
        let next = if self.transit { self.next.bits() } else { 0 };
        flag(self.transit, FINAL) | flag(self.more, CONTINUE) | (self.current.bits() << 2) | next
    }
}

pub(super) const fn flag(set: bool, bit: u8) -> u8 {
    if set {
        bit
    } else {
        0
    }
}

/// The initiator's part of a session's identity (RFC 7143 section 11.12.5).
pub type Isid = [u8; 6];

/// What a PDU says; its text or payload is beside it in [`Pdu::data`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The fields carry the RFC's own names, section by section.
pub enum Body {
    /// RFC 7143 section 11.12.
    LoginRequest { flags: LoginFlags, isid: Isid, tsih: u16, cid: u16, cmd_sn: u32, exp_stat_sn: u32 },
    /// RFC 7143 section 11.13.
    LoginResponse {
        flags: LoginFlags,
        version_max: u8,
        version_active: u8,
        isid: Isid,
        tsih: u16,
        stat_sn: u32,
        exp_cmd_sn: u32,
        max_cmd_sn: u32,
        status_class: u8,
        status_detail: u8,
    },
    /// RFC 7143 section 11.3: a simple task. `length` bytes go to the target or come from it, as the flags say; those that
    /// go may be the data.
    ScsiCommand { read: bool, write: bool, lun: [u8; 8], length: u32, cmd_sn: u32, exp_stat_sn: u32, cdb: [u8; 16] },
    /// RFC 7143 section 11.4; response 0 means that the target has a status. The data is the sense data, after its length
    /// of two bytes.
    ScsiResponse { response: u8, status: u8, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32 },
    /// RFC 7143 section 11.7; the status counts only where it says that it has one.
    DataIn { has_status: bool, status: u8, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32 },
    /// RFC 7143 section 11.10.
    TextRequest {
        immediate: bool,
        last: bool,
        more: bool,
        lun: [u8; 8],
        target_tag: u32,
        cmd_sn: u32,
        exp_stat_sn: u32,
    },
    /// RFC 7143 section 11.11.
    TextResponse {
        last: bool,
        more: bool,
        lun: [u8; 8],
        target_tag: u32,
        stat_sn: u32,
        exp_cmd_sn: u32,
        max_cmd_sn: u32,
    },
    /// RFC 7143 section 11.14; reason 0 closes the session.
    LogoutRequest { reason: u8, cid: u16, cmd_sn: u32, exp_stat_sn: u32 },
    /// RFC 7143 section 11.15; response 0 is success, the times are seconds.
    LogoutResponse { response: u8, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32, time2wait: u16, time2retain: u16 },
    /// RFC 7143 section 11.17; the rejected header is the data.
    Reject { reason: u8, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32 },
    /// RFC 7143 section 11.18.
    NopOut { lun: [u8; 8], target_tag: u32, cmd_sn: u32, exp_stat_sn: u32 },
    /// RFC 7143 section 11.19.
    NopIn { lun: [u8; 8], target_tag: u32, stat_sn: u32, exp_cmd_sn: u32, max_cmd_sn: u32 },
    /// RFC 7143 section 11.9.
    Async {
        lun: [u8; 8],
        stat_sn: u32,
        exp_cmd_sn: u32,
        max_cmd_sn: u32,
        event: u8,
        vendor_code: u8,
        parameters: [u16; 3],
    },
}

impl Body {
    /// What this PDU is called.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::LoginRequest { .. } => "login request",
            Self::LoginResponse { .. } => "login response",
            Self::ScsiCommand { .. } => "SCSI command",
            Self::ScsiResponse { .. } => "SCSI response",
            Self::DataIn { .. } => "SCSI data-in",
            Self::TextRequest { .. } => "text request",
            Self::TextResponse { .. } => "text response",
            Self::LogoutRequest { .. } => "logout request",
            Self::LogoutResponse { .. } => "logout response",
            Self::Reject { .. } => "reject",
            Self::NopOut { .. } => "NOP-out",
            Self::NopIn { .. } => "NOP-in",
            Self::Async { .. } => "asynchronous message",
        }
    }
}

/// A PDU: header and data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    /// The initiator task tag: ties an answer to its request.
    pub tag: u32,
    /// The rest of the header.
    pub body: Body,
    /// The data segment without its padding.
    pub data: Vec<u8>,
}

/// How many bytes of padding follow `length` bytes.
pub const fn padding(length: usize) -> usize {
    // In 0..4, and nothing overflows: 4 - (0..4), again modulo 4.
    match length % 4 {
        1 => 3,
        2 => 2,
        3 => 1,
        _ => 0,
    }
}

/// The length of the data segment that follows `header`, without padding, in bytes.
///
/// # Errors
/// [`PduError::TooLong`] beyond `limit`, [`PduError::AdditionalHeader`] if there is one.
pub fn data_length(header: &[u8; HEADER], limit: usize) -> Result<usize, PduError> {
    let [opcode, _, _, _, words, a, b, c, ..] = *header;
    let opcode = opcode & OPCODE_MASK;
    if words != 0 {
        return Err(PduError::AdditionalHeader { opcode, words });
    }
    let got = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap_or(usize::MAX);
    if got > limit {
        return Err(PduError::TooLong { opcode, got, limit });
    }
    Ok(got)
}

impl Pdu {
    /// Reads a whole PDU from the front of `bytes`, as the kernel hands one over; padding and what
    /// follows it is not looked at.
    ///
    /// # Errors
    /// [`PduError`].
    pub fn from_bytes(bytes: &[u8], limit: usize) -> Result<Self, PduError> {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(PduError::Short { got: bytes.len(), want: HEADER });
        };
        let length = data_length(header, limit)?;
        let data =
            rest.get(..length).ok_or(PduError::Short { got: bytes.len(), want: length.saturating_add(HEADER) })?;
        Self::decode(header, data.to_vec())
    }

    /// Reads a header; `data` is what [`data_length`] told to read, without padding.
    ///
    /// # Errors
    /// [`PduError::Opcode`].
    pub fn decode(header: &[u8; HEADER], data: Vec<u8>) -> Result<Self, PduError> {
        let (tag, fields) = read_fields(header).ok_or(PduError::Short { got: HEADER, want: HEADER })?;
        let body = read_body(header, &fields).ok_or(PduError::Opcode { opcode: fields.opcode & OPCODE_MASK })?;
        Ok(Self { tag, body, data })
    }

    /// The bytes of the wire, padding included.
    ///
    /// # Errors
    /// [`PduError::TooLong`] if the data is longer than the 24 bits of its length field.
    pub fn encode(&self) -> Result<Vec<u8>, PduError> {
        const LIMIT: usize = 0x00ff_ffff;
        let fields = write_body(&self.body);
        let length = u32::try_from(self.data.len())
            .ok()
            .filter(|_| self.data.len() <= LIMIT)
            .ok_or(PduError::TooLong { opcode: fields.opcode, got: self.data.len(), limit: LIMIT })?;
        let [_, a, b, c] = length.to_be_bytes();
        let pad = padding(self.data.len());
        let mut bytes = Vec::with_capacity(HEADER.saturating_add(self.data.len()).saturating_add(pad));
        bytes.extend([fields.opcode, fields.flags, fields.byte2, fields.byte3]);
        bytes.extend([0, a, b, c]);
        bytes.extend(fields.wide);
        for word in [self.tag, fields.word20, fields.word24, fields.word28, fields.word32] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend(fields.tail);
        bytes.extend(&self.data);
        bytes.extend([0; 3].iter().take(pad));
        Ok(bytes)
    }
}

#[cfg(test)]
#[path = "pdu_tests.rs"]
mod tests;
