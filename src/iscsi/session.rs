//! Makes the kernel's session, which becomes the disk: the thin acting part.
//!
//! The order is the kernel's: create session, create connection, bind, log in, set the parameters,
//! start. The login is the same state machine as over TCP, carried by SEND_PDU and RECV_PDU: the
//! kernel keeps the command numbers and task tags itself, and a login beside it would lose count, if
//! it did not know it as an [`errand`] does.
//! Whatever fails, what was half made is destroyed.

pub use super::session_error::SessionError;

use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::Duration;

use rustix::rand::GetRandomFlags;

use super::chap::{Algorithm, Credentials, OwnChallenge};
use super::deadline::Deadline;
use super::errand;
use super::kernel::{Kernel, KernelError};
use super::login::{Action, Config, Login, LoginError, Negotiated, Purpose};
use super::name::{InitiatorName, Iqn, Portal};
use super::negotiation::Offer;
use super::netlink::{Connection, Event, Request, Stop};
use super::params::{self, Facts, Timeouts};
use super::pdu::{Body, Isid, Pdu, DEFAULT_MAX_DATA};
use super::random::random;
use super::session_error::refused;
use super::tcp::{connect, TcpError};
use crate::guard::{Reserved, Was};

/// How long it may take to destroy what was half made.
const CLEANUP: Duration = Duration::from_secs(5);
/// The kernel knows no such parameter.
const ENOSYS: i32 = 38;
/// The first command's number: errands begin before it, and no target has to count beyond its highest number.
const INITIAL_CMD_SN: u32 = 1 + errand::COMMANDS;

/// All that a session needs to know; the same for the first login and for each later one.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where.
    pub portal: Portal,
    /// Which target.
    pub target: Iqn,
    /// Who we are.
    pub initiator: InitiatorName,
    /// How we prove it.
    pub credentials: Option<Credentials>,
    /// The digests of CHAP to offer.
    pub algorithms: Vec<Algorithm>,
    /// The operational keys to offer.
    pub offer: Offer,
    /// The kernel's time-outs.
    pub timeouts: Timeouts,
    /// How many commands may be outstanding: a power of two from 16 on, or 0 for the kernel's 128.
    pub cmds_max: u16,
    /// How many of them on one LUN, or 0 for the kernel's 32.
    pub queue_depth: u16,
    /// What has to be this node's before the session goes on.
    pub reserved: Option<Reserved>,
}

impl Plan {
    /// A session without credentials and with the usual offers and time-outs.
    pub fn new(portal: Portal, target: Iqn, initiator: InitiatorName) -> Self {
        Self {
            portal,
            target,
            initiator,
            credentials: None,
            algorithms: vec![Algorithm::Md5],
            offer: Offer::default(),
            timeouts: Timeouts::default(),
            cmds_max: 128,
            queue_depth: 32,
            reserved: None,
        }
    }
}

/// A session that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its one connection.
    pub connection: Connection,
    /// The SCSI host, as in `/sys/class/scsi_host/host<host>`.
    pub host: u32,
    /// What the last login agreed on.
    pub negotiated: Negotiated,
}

/// The ISID of a session: open-iscsi's own formula, so that either of both can log the same session
/// in again.
pub const fn isid(sid: u32) -> Isid {
    let [_, a, b, c] = sid.to_be_bytes();
    [0x00, 0x02, 0x3d, a, b, c]
}

/// Makes a session: when this returns, the kernel talks to the target, but has not scanned.
/// `challenge` is random, fresh for this login.
///
/// # Errors
/// [`SessionError`]; nothing is left then, unless it is [`SessionError::Left`].
pub fn log_in(
    kernel: &mut Kernel,
    plan: &Plan,
    challenge: OwnChallenge,
    deadline: Deadline,
) -> Result<Session, SessionError> {
    // First, for a portal that is down needs no session to find out.
    let stream = connect(plan.portal, deadline)?;
    let created = kernel.call(
        &Request::CreateSession {
            initial_cmd_sn: INITIAL_CMD_SN,
            cmds_max: plan.cmds_max,
            queue_depth: plan.queue_depth,
        },
        deadline,
    )?;
    let (sid, host) = (created.first, created.second);
    match establish(kernel, plan, challenge, sid, stream, deadline) {
        Ok((connection, negotiated)) => Ok(Session { connection, host, negotiated }),
        Err((connection, error)) => Err(match destroy(kernel, sid, connection) {
            Ok(()) => error,
            Err(left) => SessionError::Left { error: Box::new(error), left },
        }),
    }
}

/// From a session without a connection to one that runs; on failure, which connection there is.
fn establish(
    kernel: &mut Kernel,
    plan: &Plan,
    challenge: OwnChallenge,
    sid: u32,
    stream: TcpStream,
    deadline: Deadline,
) -> Result<(Connection, Negotiated), (Option<Connection>, SessionError)> {
    let connection = Connection { sid, cid: 0 };
    kernel.call(&Request::CreateConnection(connection), deadline).map_err(|error| (None, error.into()))?;
    bring_up(kernel, plan, challenge, connection, 0, stream, deadline)
        .map(|(negotiated, _)| (connection, negotiated))
        .map_err(|error| (Some(connection), error))
}

/// How long a portal that is there may take to answer: with one that is not, the next attempt has its turn.
const CONNECT: Duration = Duration::from_millis(1500);

/// Logs a session in again whose connection failed: what its disks were asked meanwhile waits and
/// is then done. `exp_stat_sn` is what sysfs says. Says how it stood with the reservation, where there has to be one.
///
/// # Errors
/// [`SessionError`]; the session is still there, stopped, and may be tried again.
pub fn log_in_again(
    kernel: &mut Kernel,
    plan: &Plan,
    challenge: OwnChallenge,
    connection: Connection,
    exp_stat_sn: u32,
    deadline: Deadline,
) -> Result<Option<Was>, SessionError> {
    let stop = Request::Stop { connection, how: Stop::Recover };
    // Until it is stopped, everything on this connection is refused.
    kernel.call(&stop, deadline)?;
    // What is still there speaks of the connection that failed, or to other processes.
    kernel.drain()?;
    let stream = connect(plan.portal, deadline.part(CONNECT))?;
    match bring_up(kernel, plan, challenge, connection, exp_stat_sn, stream, deadline) {
        Ok((_, was)) => Ok(was),
        Err(error) => match kernel.call(&stop, Deadline::after(CLEANUP)) {
            // The socket is closed: LIO would hold others up for a half-open login.
            Ok(_) => Err(error),
            Err(left) => Err(SessionError::Left { error: Box::new(error), left }),
        },
    }
}

/// Bind, login, errand, parameters, start: the same for the first login and for each later one.
fn bring_up(
    kernel: &mut Kernel,
    plan: &Plan,
    challenge: OwnChallenge,
    connection: Connection,
    exp_stat_sn: u32,
    stream: TcpStream,
    deadline: Deadline,
) -> Result<(Negotiated, Option<Was>), SessionError> {
    bind(kernel, connection, stream, deadline)?;
    let (mut negotiated, next) =
        carry_login(kernel, Login::new(config(plan, connection, challenge, exp_stat_sn)), connection, deadline)?;
    let mut was = None;
    if let Some(reserved) = &plan.reserved {
        // It has told the number that the kernel goes on with.
        kernel.call(&Request::Stop { connection, how: Stop::Recover }, deadline)?;
        let (challenge, _) = random(GetRandomFlags::empty()).map_err(TcpError::Io)?;
        let config = config(plan, connection, challenge, 0);
        let (stream, agreed, found) = errand::run(plan.portal, config, next, reserved, deadline)?;
        // A target that closed the first login's connection before it was stopped: that is no fault of the next one.
        kernel.drain()?;
        bind(kernel, connection, stream, deadline)?;
        (negotiated, was) = (agreed, Some(found));
    }
    let facts = Facts {
        negotiated: &negotiated,
        target: &plan.target,
        initiator: &plan.initiator,
        portal: plan.portal,
        credentials: plan.credentials.as_ref(),
        timeouts: plan.timeouts,
    };
    for (param, value) in params::all(&facts) {
        let request = Request::SetParam { connection, param, value: value.as_bytes() };
        match kernel.call(&request, deadline) {
            Err(error) if error.errno() == Some(ENOSYS) && param.may_be_missing() => {}
            result => {
                result.map_err(refused)?;
            }
        }
    }
    kernel.call(&Request::Start(connection), deadline).map_err(refused)?;
    Ok((negotiated, was))
}

/// A login for this session. `exp_stat_sn` is 0 on a connection of its own.
fn config(plan: &Plan, connection: Connection, challenge: OwnChallenge, exp_stat_sn: u32) -> Config {
    Config {
        credentials: plan.credentials.clone(),
        algorithms: plan.algorithms.clone(),
        offer: plan.offer,
        exp_stat_sn,
        ..Config::new(plan.initiator.clone(), Purpose::Normal(plan.target.clone()), isid(connection.sid), challenge)
    }
}

fn bind(
    kernel: &mut Kernel,
    connection: Connection,
    stream: TcpStream,
    deadline: Deadline,
) -> Result<(), SessionError> {
    let fd = u32::try_from(stream.as_raw_fd()).unwrap_or(u32::MAX);
    kernel.call(&Request::Bind { connection, fd }, deadline).map_err(refused)?;
    // The kernel has its own reference now, and must be the only one who can close it.
    drop(stream);
    Ok(())
}

/// What was agreed on, and the command number that the target expects next: the kernel's.
fn carry_login(
    kernel: &mut Kernel,
    mut login: Login,
    connection: Connection,
    deadline: Deadline,
) -> Result<(Negotiated, u32), SessionError> {
    let mut request = login.start()?;
    loop {
        let mut response = exchange(kernel, connection, &request, "receive the target's login response", deadline)?;
        let mut next = 0;
        if let Body::LoginResponse { exp_cmd_sn, .. } = response.body {
            // The kernel set a tag of its own and has matched it already.
            response.tag = request.tag;
            next = exp_cmd_sn;
        }
        match login.receive(&response)? {
            Action::Send(next) => request = next,
            Action::Done(negotiated) => return Ok((*negotiated, next)),
            Action::Redirect { address, permanent } => return Err(SessionError::Moved { address, permanent }),
        }
    }
}

/// Sends a PDU and gives the next one that comes on this connection.
fn exchange(
    kernel: &mut Kernel,
    connection: Connection,
    request: &Pdu,
    what: &'static str,
    deadline: Deadline,
) -> Result<Pdu, SessionError> {
    kernel.call(&Request::SendPdu { connection, pdu: request }, deadline).map_err(refused)?;
    kernel.wait(what, deadline, |event| match event {
        Event::Pdu { connection: from, bytes } if *from == connection => {
            Some(Pdu::from_bytes(bytes, DEFAULT_MAX_DATA).map_err(SessionError::from))
        }
        Event::ConnectionError { connection: from, error } if *from == connection => {
            Some(Err(SessionError::Broken { error: *error }))
        }
        _ => None,
    })?
}

/// Ends a session whose disk must not be written to any more: what it is asked fails from now on.
///
/// # Errors
/// [`KernelError`] of the first step that failed; all are tried.
pub fn end(kernel: &mut Kernel, connection: Connection) -> Result<(), KernelError> {
    destroy(kernel, connection.sid, Some(connection))
}

/// Destroys what was half made. Each step is tried; the first error is told.
fn destroy(kernel: &mut Kernel, sid: u32, connection: Option<Connection>) -> Result<(), KernelError> {
    let deadline = Deadline::after(CLEANUP);
    let mut result = Ok(());
    let mut step = |request: &Request<'_>| {
        let done = kernel.call(request, deadline).map(|_| ());
        if result.is_ok() {
            result = done;
        }
    };
    if let Some(connection) = connection {
        step(&Request::Stop { connection, how: Stop::Terminate });
        step(&Request::DestroyConnection(connection));
    }
    step(&Request::DestroySession { sid });
    result
}

/// Ends a session: its disks go, the target is told, and nothing is left. Nothing may be mounted.
///
/// # Errors
/// [`SessionError`] of the first step that failed; the session is destroyed all the same.
pub fn log_out(kernel: &mut Kernel, connection: Connection, deadline: Deadline) -> Result<(), SessionError> {
    let result = say_goodbye(kernel, connection, deadline);
    let destroyed = destroy(kernel, connection.sid, Some(connection));
    match (result, destroyed) {
        (Err(error), Err(left)) => Err(SessionError::Left { error: Box::new(error), left }),
        (result, destroyed) => {
            result?;
            Ok(destroyed?)
        }
    }
}

fn say_goodbye(kernel: &mut Kernel, connection: Connection, deadline: Deadline) -> Result<(), SessionError> {
    let sid = connection.sid;
    kernel.call(&Request::UnbindSession { sid }, deadline)?;
    kernel.wait("unbind the session's disks", deadline, |event| {
        matches!(event, Event::SessionUnbound { sid: unbound } if *unbound == sid).then_some(())
    })?;
    let logout =
        Pdu { tag: 0, body: Body::LogoutRequest { reason: 0, cid: 0, cmd_sn: 0, exp_stat_sn: 0 }, data: Vec::new() };
    // A ping of the target may come first; the kernel answers it.
    let response = exchange(kernel, connection, &logout, "receive the target's logout response", deadline)?;
    match response.body {
        Body::LogoutResponse { response: 0, .. } => Ok(()),
        Body::LogoutResponse { response, .. } => Err(SessionError::Logout { response }),
        body => Err(LoginError::Unexpected { got: body.kind() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isids_are_open_iscsi_s() {
        assert_eq!(isid(1), [0x00, 0x02, 0x3d, 0, 0, 1]);
        assert_eq!(isid(0xff01_0203), [0x00, 0x02, 0x3d, 1, 2, 3]);
    }
}
