//! Sends a SCSI command to a disk by ioctl(2) SG_IO (Linux: `include/scsi/sg.h`).

use std::fs::File;
use std::io;
use std::ptr::null_mut;
use std::time::Duration;

use rustix::ioctl::{ioctl, Opcode, Updater};

use super::{Answer, Command, Sense, Transfer, MAX_DATA, MAX_SENSE};

/// `SG_IO`
const SG_IO: Opcode = 0x2285;
/// `SG_DXFER_NONE`, `SG_DXFER_TO_DEV`, `SG_DXFER_FROM_DEV`
const DIRECTIONS: [i32; 3] = [-1, -2, -3];

/// `struct sg_io_hdr`
#[repr(C)]
struct Header {
    interface: i32,
    direction: i32,
    cdb_length: u8,
    sense_room: u8,
    vectors: u16,
    data_length: u32,
    data: *mut u8,
    cdb: *mut u8,
    sense: *mut u8,
    /// In milliseconds.
    timeout: u32,
    flags: u32,
    pack_id: i32,
    user: *mut u8,
    status: u8,
    masked_status: u8,
    message_status: u8,
    sense_length: u8,
    host_status: u16,
    driver_status: u16,
    residual: i32,
    duration: u32,
    info: u32,
}

/// Sends `command`, which may take `limit` from when the disk's queue lets it go.
///
/// # Errors
/// ioctl(2); [`io::ErrorKind::Other`] where the transport did not deliver it.
pub fn send(disk: &File, command: &Command, limit: Duration) -> io::Result<Answer> {
    let mut cdb = command.cdb();
    let mut sense = [0_u8; MAX_SENSE];
    let [none, to_device, from_device] = DIRECTIONS;
    let (direction, mut data) = match command.transfer() {
        Transfer::None => (none, Vec::new()),
        Transfer::In => (from_device, vec![0; usize::from(MAX_DATA)]),
        Transfer::Out(parameters) => (to_device, parameters.to_vec()),
    };
    let mut header = Header {
        interface: i32::from(b'S'),
        direction,
        cdb_length: length(cdb.len()),
        sense_room: length(sense.len()),
        vectors: 0,
        data_length: u32::try_from(data.len()).unwrap_or(0),
        data: data.as_mut_ptr(),
        cdb: cdb.as_mut_ptr(),
        sense: sense.as_mut_ptr(),
        timeout: u32::try_from(limit.as_millis()).unwrap_or(u32::MAX),
        flags: 0,
        pack_id: 0,
        user: null_mut(),
        status: 0,
        masked_status: 0,
        message_status: 0,
        sense_length: 0,
        host_status: 0,
        driver_status: 0,
        residual: 0,
        duration: 0,
        info: 0,
    };
    // SAFETY: SG_IO takes a pointer to a `struct sg_io_hdr`, which `Header` is, field by field. Its three pointers are to
    // buffers that live until the call returns, each with the length that stands beside it.
    #[allow(unsafe_code)]
    unsafe {
        ioctl(disk, Updater::<SG_IO, Header>::new(&mut header))?;
    }
    if header.host_status != 0 {
        return Err(io::Error::other("the command did not reach the target"));
    }
    if direction == from_device {
        data.truncate(data.len().saturating_sub(usize::try_from(header.residual).unwrap_or(0)));
    }
    let sense = sense.get(..usize::from(header.sense_length)).unwrap_or_default();
    Ok(Answer { status: header.status, sense: Sense::decode(sense), data })
}

fn length(bytes: usize) -> u8 {
    u8::try_from(bytes).unwrap_or(0)
}
