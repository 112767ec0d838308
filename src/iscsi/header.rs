//! The headers of PDUs, byte by byte (RFC 7143 section 11).
//!
//! They all have one shape; what a byte means depends on the opcode.

use super::pdu::{flag, Body, Isid, LoginFlags, CONTINUE, FINAL, HEADER, IMMEDIATE, NO_TAG, OPCODE_MASK};
use crate::bytes::Reader;

/// R, W and ATTR of a SCSI command (RFC 7143 section 11.3.1), S of data-in (section 11.7).
const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const SIMPLE: u8 = 0x01;
const STATUS: u8 = 0x01;

/// The header's fields by their place: bytes 8 to 15, the words at 20, 24, 28, 32, and the end.
pub(super) struct Fields {
    pub(super) opcode: u8,
    pub(super) flags: u8,
    pub(super) byte2: u8,
    pub(super) byte3: u8,
    pub(super) wide: [u8; 8],
    pub(super) word20: u32,
    pub(super) word24: u32,
    pub(super) word28: u32,
    pub(super) word32: u32,
    pub(super) tail: [u8; 12],
}

pub(super) fn read_fields(header: &[u8; HEADER]) -> Option<(u32, Fields)> {
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

pub(super) fn read_body(header: &[u8; HEADER], f: &Fields) -> Option<Body> {
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
        0x01 => {
            let [a, b, c, d] = f.word32.to_be_bytes();
            let [e, g, h, i, j, k, l, m, n, o, p, q] = f.tail;
            Body::ScsiCommand {
                read: f.flags & READ != 0,
                write: f.flags & WRITE != 0,
                lun,
                length: f.word20,
                cmd_sn,
                exp_stat_sn,
                cdb: [a, b, c, d, e, g, h, i, j, k, l, m, n, o, p, q],
            }
        }
        0x21 => Body::ScsiResponse { response: f.byte2, status: f.byte3, stat_sn, exp_cmd_sn, max_cmd_sn },
        0x25 => Body::DataIn { has_status: f.flags & STATUS != 0, status: f.byte3, stat_sn, exp_cmd_sn, max_cmd_sn },
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

pub(super) fn write_body(body: &Body) -> Fields {
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
        Body::ScsiCommand { read, write, lun, length, cmd_sn, exp_stat_sn, cdb } => {
            f.opcode = 0x01;
            f.flags = FINAL | flag(read, READ) | flag(write, WRITE) | SIMPLE;
            (f.wide, f.word20, f.word24, f.word28) = (lun, length, cmd_sn, exp_stat_sn);
            let [a, b, c, d, tail @ ..] = cdb;
            (f.word32, f.tail) = (u32::from_be_bytes([a, b, c, d]), tail);
        }
        Body::ScsiResponse { response, status, stat_sn, exp_cmd_sn, max_cmd_sn } => {
            f.opcode = 0x21;
            (f.byte2, f.byte3) = (response, status);
            (f.word24, f.word28, f.word32) = (stat_sn, exp_cmd_sn, max_cmd_sn);
        }
        Body::DataIn { has_status, status, stat_sn, exp_cmd_sn, max_cmd_sn } => {
            f.opcode = 0x25;
            f.flags = FINAL | flag(has_status, STATUS);
            f.byte3 = status;
            (f.word20, f.word24, f.word28, f.word32) = (NO_TAG, stat_sn, exp_cmd_sn, max_cmd_sn);
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
