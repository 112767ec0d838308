//! An errand before a session goes on: makes sure of the reservation, on the very connection that the kernel then gets.
//!
//! It cannot be done later, for with START the kernel sends what the disk was asked meanwhile, at once; nor on another
//! connection, for some targets (tgt) tie a registration to the login that it was made in. And the kernel sends no SCSI
//! command for others before START. So the login is carried by TCP, the commands follow, and the socket is handed over.
//!
//! The kernel counts its commands itself and tells nobody how many: a connection on which the target expects another number
//! starts and then hangs. But the target tells what it expects after a login that the kernel has sent. This login begins so
//! many numbers earlier as there are commands, and what is not needed of them is spent on TEST UNIT READY. The commands are
//! numbered ones, for LIO rejects immediate ones.

use std::net::TcpStream;

use super::deadline::Deadline;
use super::login::{Config, Negotiated};
use super::name::Portal;
use super::pdu::{Body, Pdu};
use super::session::SessionError;
use super::tcp::{self, Carrier, TcpError};
use crate::guard::{hold, GuardError, Moment, Reserved, Was};
use crate::scsi::{Answer, Command, Sense, Transfer, MAX_DATA};

/// How many commands there are: less than any target's window. Four are needed, and each may be answered by a unit
/// attention first.
pub const COMMANDS: u32 = 12;

/// Logs in and makes sure of the reservation. After it the target expects the command number `next`, as the kernel will
/// send it; gives the socket, what was agreed on, and how it stood with the reservation.
///
/// # Errors
/// [`SessionError`]; the connection is closed then.
pub fn run(
    portal: Portal,
    config: Config,
    next: u32,
    reserved: &Reserved,
    deadline: Deadline,
) -> Result<(TcpStream, Negotiated, Was), SessionError> {
    let mut carrier = Carrier::connect(portal, deadline)?;
    let config = Config { cmd_sn: next.wrapping_sub(COMMANDS), ..config };
    let mut negotiated = tcp::login(&mut carrier, config)?;
    let mut errand = Errand {
        carrier,
        lun: logical_unit(reserved.lun),
        immediate_data: negotiated.parameters.immediate_data,
        left: COMMANDS,
        cmd_sn: negotiated.cmd_sn,
        exp_stat_sn: negotiated.exp_stat_sn,
    };
    let was = hold(reserved.key, Moment::Recovery, &mut |command| errand.send(command))?;
    while errand.left > 0 {
        errand.send(&Command::TestUnitReady)?;
    }
    negotiated.exp_stat_sn = errand.exp_stat_sn;
    negotiated.cmd_sn = errand.cmd_sn;
    Ok((errand.carrier.into_stream()?, negotiated, was))
}

/// A connection on which commands are sent.
struct Errand {
    carrier: Carrier,
    lun: [u8; 8],
    immediate_data: bool,
    /// How many commands there still are.
    left: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
}

impl Errand {
    fn send(&mut self, command: &Command) -> Result<Answer, GuardError> {
        self.left = self.left.checked_sub(1).ok_or(GuardError::Busy)?;
        let (read, data) = match command.transfer() {
            Transfer::None => (false, Vec::new()),
            Transfer::In => (true, Vec::new()),
            Transfer::Out(_) if !self.immediate_data => return Err(GuardError::NoImmediateData),
            Transfer::Out(parameters) => (false, parameters.to_vec()),
        };
        let mut cdb = [0; 16];
        cdb.iter_mut().zip(command.cdb()).for_each(|(to, from)| *to = from);
        let length = if read { u32::from(MAX_DATA) } else { u32::try_from(data.len()).unwrap_or(0) };
        let body = Body::ScsiCommand {
            read,
            write: !data.is_empty(),
            lun: self.lun,
            length,
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb,
        };
        // A tag of its own for each.
        let tag = self.cmd_sn;
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        let mut pdu = self.carrier.exchange(&Pdu { tag, body, data })?;
        let mut answer = Answer::default();
        loop {
            if pdu.tag != tag {
                return Err(unexpected(&pdu));
            }
            match pdu.body {
                // Data comes in order: that is what the login agreed on.
                Body::DataIn { has_status, status, stat_sn, .. } => {
                    answer.data.append(&mut pdu.data);
                    if answer.data.len() > usize::from(MAX_DATA) {
                        return Err(GuardError::Answer(command.name(), answer.data.len()));
                    }
                    if has_status {
                        self.exp_stat_sn = stat_sn.wrapping_add(1);
                        answer.status = status;
                        return Ok(answer);
                    }
                }
                Body::ScsiResponse { response: 0, status, stat_sn, .. } => {
                    self.exp_stat_sn = stat_sn.wrapping_add(1);
                    answer.status = status;
                    // After two bytes of length.
                    answer.sense = Sense::decode(pdu.data.get(2..).unwrap_or_default());
                    return Ok(answer);
                }
                _ => return Err(unexpected(&pdu)),
            }
            pdu = self.carrier.another()?;
        }
    }
}

/// A ping or a message of the target: with the next login it has nothing more to say.
fn unexpected(pdu: &Pdu) -> GuardError {
    GuardError::Tcp(TcpError::Unexpected { got: pdu.body.kind() })
}

/// A LUN as SCSI has it (SAM-5 4.7): one byte, or flat space addressing.
fn logical_unit(number: u64) -> [u8; 8] {
    let [.., high, low] = number.to_be_bytes();
    let high = if number < 256 { high } else { 0x40 | high };
    [high, low, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luns() {
        for (number, expected) in [(0, [0, 0]), (1, [0, 1]), (255, [0, 255]), (256, [0x41, 0]), (16_383, [0x7f, 0xff])]
        {
            assert_eq!(logical_unit(number)[..2], expected, "{number}");
        }
    }
}
