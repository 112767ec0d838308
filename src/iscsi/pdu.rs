//! Protocol data units of login, text, logout and housekeeping (RFC 7143 section 11).
//!
//! A PDU is a header of 48 bytes and a data segment, padded with zeros to four bytes. Additional
//! header segments and digests do not occur in the phases that this program carries itself.

use thiserror::Error;

use crate::bytes::Reader;

/// The length of a basic header segment in bytes.
pub const HEADER: usize = 48;
/// The longest data segment that each side must take until it has said otherwise, in bytes
/// (RFC 7143 section 13.12). It holds for the whole login.
pub const DEFAULT_MAX_DATA: usize = 8192;
/// "No tag": the reserved value of initiator and target task tags.
pub const NO_TAG: u32 = 0xffff_ffff;

const OPCODE_MASK: u8 = 0x3f;
const IMMEDIATE: u8 = 0x40;
const FINAL: u8 = 0x80;
const CONTINUE: u8 = 0x40;

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
    #[error("a PDU with opcode {opcode:#04x}; an iSCSI login, text, logout or housekeeping PDU was expected")]
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
    const fn from_byte(byte: u8) -> Self {
        Self {
            transit: byte & FINAL != 0,
            more: byte & CONTINUE != 0,
            current: Stage::from_bits(byte >> 2),
            next: Stage::from_bits(byte),
        }
    }

    const fn byte(self) -> u8 {
        // Without T the next stage is reserved and therefore zero.
        let next = if self.transit { self.next.bits() } else { 0 };
        flag(self.transit, FINAL) | flag(self.more, CONTINUE) | (self.current.bits() << 2) | next
    }
}

const fn flag(set: bool, bit: u8) -> u8 {
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

/// The header's fields by their place: bytes 8 to 15, the words at 20, 24, 28, 32, and the end.
struct Fields {
    opcode: u8,
    flags: u8,
    byte2: u8,
    byte3: u8,
    wide: [u8; 8],
    word20: u32,
    word24: u32,
    word28: u32,
    word32: u32,
    tail: [u8; 12],
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

fn read_fields(header: &[u8; HEADER]) -> Option<(u32, Fields)> {
    let mut reader = Reader::new(header);
    let [opcode, flags, byte2, byte3] = reader.array()?;
    reader.take(4)?;
    let wide = reader.array()?;
    let tag = reader.be32()?;
    let fields = Fields {
        opcode,
        flags,
        byte2,
        byte3,
        wide,
        word20: reader.be32()?,
        word24: reader.be32()?,
        word28: reader.be32()?,
        word32: reader.be32()?,
        tail: reader.array()?,
    };
    Some((tag, fields))
}

fn read_body(header: &[u8; HEADER], f: &Fields) -> Option<Body> {
    let [i0, i1, i2, i3, i4, i5, t0, t1] = f.wide;
    let [c0, c1, _, _] = f.word20.to_be_bytes();
    let (isid, tsih, cid) = ([i0, i1, i2, i3, i4, i5], u16::from_be_bytes([t0, t1]), u16::from_be_bytes([c0, c1]));
    let (lun, target_tag, last, more) = (f.wide, f.word20, f.flags & FINAL != 0, f.flags & CONTINUE != 0);
    // Requests carry CmdSN and ExpStatSN where responses carry StatSN, ExpCmdSN and MaxCmdSN.
    let (cmd_sn, exp_stat_sn) = (f.word24, f.word28);
    let (stat_sn, exp_cmd_sn, max_cmd_sn) = (f.word24, f.word28, f.word32);
    let mut tail = Reader::new(header);
    tail.take(36)?;
    Some(match f.opcode & OPCODE_MASK {
        0x00 => Body::NopOut { lun, target_tag, cmd_sn, exp_stat_sn },
        0x03 => Body::LoginRequest { flags: LoginFlags::from_byte(f.flags), isid, tsih, cid, cmd_sn, exp_stat_sn },
        0x04 => {
            Body::TextRequest { immediate: f.opcode & IMMEDIATE != 0, last, more, lun, target_tag, cmd_sn, exp_stat_sn }
        }
        0x06 => Body::LogoutRequest { reason: f.flags & !FINAL, cid, cmd_sn, exp_stat_sn },
        0x20 => Body::NopIn { lun, target_tag, stat_sn, exp_cmd_sn, max_cmd_sn },
        0x23 => Body::LoginResponse {
            flags: LoginFlags::from_byte(f.flags),
            version_max: f.byte2,
            version_active: f.byte3,
            isid,
            tsih,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            status_class: tail.u8()?,
            status_detail: tail.u8()?,
        },
        0x24 => Body::TextResponse { last, more, lun, target_tag, stat_sn, exp_cmd_sn, max_cmd_sn },
        0x26 => {
            tail.take(4)?;
            Body::LogoutResponse {
                response: f.byte2,
                stat_sn,
                exp_cmd_sn,
                max_cmd_sn,
                time2wait: tail.be16()?,
                time2retain: tail.be16()?,
            }
        }
        0x32 => Body::Async {
            lun,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            event: tail.u8()?,
            vendor_code: tail.u8()?,
            parameters: [tail.be16()?, tail.be16()?, tail.be16()?],
        },
        0x3f => Body::Reject { reason: f.byte2, stat_sn, exp_cmd_sn, max_cmd_sn },
        _ => return None,
    })
}

fn write_body(body: &Body) -> Fields {
    let mut f = Fields {
        opcode: 0,
        flags: FINAL,
        byte2: 0,
        byte3: 0,
        wide: [0; 8],
        word20: 0,
        word24: 0,
        word28: 0,
        word32: 0,
        tail: [0; 12],
    };
    match *body {
        Body::NopOut { lun, target_tag, cmd_sn, exp_stat_sn } => {
            f.opcode = IMMEDIATE;
            (f.wide, f.word20, f.word24, f.word28) = (lun, target_tag, cmd_sn, exp_stat_sn);
        }
        Body::LoginRequest { flags, isid, tsih, cid, cmd_sn, exp_stat_sn } => {
            f.opcode = 0x03 | IMMEDIATE;
            f.flags = flags.byte();
            f.wide = wide(isid, tsih);
            f.word20 = u32::from(cid) << 16;
            (f.word24, f.word28) = (cmd_sn, exp_stat_sn);
        }
        Body::TextRequest { immediate, last, more, lun, target_tag, cmd_sn, exp_stat_sn } => {
            f.opcode = 0x04 | flag(immediate, IMMEDIATE);
            f.flags = flag(last, FINAL) | flag(more, CONTINUE);
            (f.wide, f.word20, f.word24, f.word28) = (lun, target_tag, cmd_sn, exp_stat_sn);
        }
        Body::LogoutRequest { reason, cid, cmd_sn, exp_stat_sn } => {
            f.opcode = 0x06 | IMMEDIATE;
            f.flags = FINAL | (reason & !FINAL);
            f.word20 = u32::from(cid) << 16;
            (f.word24, f.word28) = (cmd_sn, exp_stat_sn);
        }
        Body::NopIn { lun, target_tag, stat_sn, exp_cmd_sn, max_cmd_sn } => {
            f.opcode = 0x20;
            (f.wide, f.word20) = (lun, target_tag);
            (f.word24, f.word28, f.word32) = (stat_sn, exp_cmd_sn, max_cmd_sn);
        }
        Body::LoginResponse {
            flags,
            version_max,
            version_active,
            isid,
            tsih,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            status_class,
            status_detail,
        } => {
            f.opcode = 0x23;
            f.flags = flags.byte();
            (f.byte2, f.byte3) = (version_max, version_active);
            f.wide = wide(isid, tsih);
            (f.word24, f.word28, f.word32) = (stat_sn, exp_cmd_sn, max_cmd_sn);
            f.tail = [status_class, status_detail, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        }
        Body::TextResponse { last, more, lun, target_tag, stat_sn, exp_cmd_sn, max_cmd_sn } => {
            f.opcode = 0x24;
            f.flags = flag(last, FINAL) | flag(more, CONTINUE);
            (f.wide, f.word20) = (lun, target_tag);
            (f.word24, f.word28, f.word32) = (stat_sn, exp_cmd_sn, max_cmd_sn);
        }
        Body::LogoutResponse { response, stat_sn, exp_cmd_sn, max_cmd_sn, time2wait, time2retain } => {
            f.opcode = 0x26;
            f.byte2 = response;
            (f.word24, f.word28, f.word32) = (stat_sn, exp_cmd_sn, max_cmd_sn);
            let ([w0, w1], [r0, r1]) = (time2wait.to_be_bytes(), time2retain.to_be_bytes());
            f.tail = [0, 0, 0, 0, w0, w1, r0, r1, 0, 0, 0, 0];
        }
        Body::Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn } => {
            f.opcode = 0x3f;
            f.byte2 = reason;
            (f.word24, f.word28, f.word32) = (stat_sn, exp_cmd_sn, max_cmd_sn);
        }
        Body::Async { lun, stat_sn, exp_cmd_sn, max_cmd_sn, event, vendor_code, parameters } => {
            f.opcode = 0x32;
            f.wide = lun;
            (f.word24, f.word28, f.word32) = (stat_sn, exp_cmd_sn, max_cmd_sn);
            let [[a, b], [c, d], [e, g]] = parameters.map(u16::to_be_bytes);
            f.tail = [event, vendor_code, a, b, c, d, e, g, 0, 0, 0, 0];
        }
    }
    f
}

fn wide(isid: Isid, tsih: u16) -> [u8; 8] {
    let ([a, b, c, d, e, f], [g, h]) = (isid, tsih.to_be_bytes());
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
#[path = "pdu_tests.rs"]
mod tests;
