//! Carries a login and a discovery over a plain TCP socket, with one deadline for all of it.
//!
//! On any failure the socket is closed at once: LIO takes one login at a time on a portal, and a
//! half-open one blocks all others for about 15 seconds.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::Duration;

use thiserror::Error;

use super::crc32c::crc32c;
use super::deadline::{Deadline, Seconds};
use super::discovery::{self, DiscoveryError, Found, SendTargets};
use super::login::{self, Action, Config, Login, LoginError, Negotiated};
use super::name::{Portal, TargetAddress};
use super::negotiation::{Digest, Offer, Parameters};
use super::pdu::{data_length, padding, Pdu, PduError, DEFAULT_MAX_DATA, HEADER};
use super::status::{Retry, Status};

/// How long the target may take to answer a logout that nobody depends on.
const FAREWELL: Duration = Duration::from_millis(500);

/// Why the carrier failed.
#[derive(Debug, Error)]
pub enum TcpError {
    /// No connection.
    #[error("{portal}: no connection: {source}")]
    Connect {
        /// To where.
        portal: Portal,
        /// What the kernel said.
        source: io::Error,
    },
    /// No connection in time.
    #[error("{portal}: no connection within {}", Seconds(*after))]
    ConnectTimeout {
        /// To where.
        portal: Portal,
        /// The limit.
        after: Duration,
    },
    /// The target does not answer.
    #[error("the target is silent: no answer within {}", Seconds(*after))]
    Silent {
        /// The limit.
        after: Duration,
    },
    /// The target stopped within a PDU.
    #[error("the target stopped after {got} of {want} bytes of a PDU, and {} are over", Seconds(*after))]
    Stuck {
        /// How many bytes came.
        got: usize,
        /// How many the PDU has, as far as is known.
        want: usize,
        /// The limit.
        after: Duration,
    },
    /// The target takes nothing.
    #[error("the target takes no data within {}", Seconds(*after))]
    Full {
        /// The limit.
        after: Duration,
    },
    /// The target closed instead of answering.
    #[error("the target closed the connection in place of an answer")]
    Closed,
    /// The target closed within a PDU.
    #[error("the target closed the connection after {got} of {want} bytes of a PDU")]
    Half {
        /// How many bytes came.
        got: usize,
        /// How many the PDU has, as far as is known.
        want: usize,
    },
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// A digest that is not that of what came.
    #[error("a PDU that was damaged on its way: the CRC32C of its {0} is wrong")]
    Digest(&'static str),
    /// Another PDU than the answer.
    #[error("the target sent a {got}; the answer to a command was expected")]
    Unexpected {
        /// What it sent.
        got: &'static str,
    },
    /// Not a PDU, or too long.
    #[error(transparent)]
    Pdu(#[from] PduError),
    /// The login failed.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The discovery failed.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The target is elsewhere.
    #[error("the target moved to {address}")]
    Moved {
        /// Where.
        address: TargetAddress,
        /// Whether for good.
        permanent: bool,
    },
    /// The carrier failed before and is closed.
    #[error("the connection was closed after an earlier failure")]
    Dead,
}

impl TcpError {
    /// Whether the target refused who had proved nothing, or not what it wanted: status 0201.
    pub const fn wants_proof(&self) -> bool {
        matches!(self, Self::Login(LoginError::Refused { status: Status { class: 2, detail: 1 }, .. }))
    }

    /// Whether to try again.
    pub const fn retry(&self) -> Retry {
        match self {
            Self::Login(error) => error.retry(),
            // Something listens there, and it is no target that we understand.
            Self::Pdu(_) | Self::Discovery(_) | Self::Moved { .. } => Retry::FewTimes,
            _ => Retry::Later,
        }
    }
}

/// A connection to a portal.
#[derive(Debug)]
pub struct Carrier {
    /// `None` after the first failure.
    stream: Option<TcpStream>,
    deadline: Deadline,
    /// What this side takes in one data segment, in bytes.
    limit: usize,
    /// Of headers and of data; none before the login is over.
    digests: [Digest; 2],
}

impl Carrier {
    /// Connects; everything that follows has to be over by `deadline`.
    ///
    /// # Errors
    /// [`TcpError::Connect`] and [`TcpError::ConnectTimeout`].
    pub fn connect(portal: Portal, deadline: Deadline) -> Result<Self, TcpError> {
        let stream = connect(portal, deadline)?;
        Ok(Self { stream: Some(stream), deadline, limit: DEFAULT_MAX_DATA, digests: [Digest::None; 2] })
    }

    /// The node's own address toward the portal: what the kernel routed.
    ///
    /// # Errors
    /// [`TcpError::Io`].
    pub fn source(&self) -> Result<IpAddr, TcpError> {
        let stream = self.stream.as_ref().ok_or(TcpError::Dead)?;
        Ok(stream.local_addr()?.ip())
    }

    /// What holds once the login is over: the longest data segment that is taken, and the digests.
    fn set_parameters(&mut self, parameters: &Parameters) {
        self.limit = usize::try_from(parameters.max_recv_data).unwrap_or(DEFAULT_MAX_DATA);
        self.digests = [parameters.header_digest, parameters.data_digest];
    }

    /// Sends `pdu` and gives the next PDU that comes.
    ///
    /// # Errors
    /// [`TcpError`]; the socket is closed then.
    pub fn exchange(&mut self, pdu: &Pdu) -> Result<Pdu, TcpError> {
        let result = self.send(pdu);
        if result.is_err() {
            self.close();
        }
        result.and_then(|()| self.another())
    }

    /// The next PDU that comes.
    ///
    /// # Errors
    /// [`TcpError`]; the socket is closed then.
    pub fn another(&mut self) -> Result<Pdu, TcpError> {
        let result = self.receive();
        if result.is_err() {
            self.close();
        }
        result
    }

    /// The socket itself, for who carries on.
    ///
    /// # Errors
    /// [`TcpError::Dead`]
    pub fn into_stream(self) -> Result<TcpStream, TcpError> {
        self.stream.ok_or(TcpError::Dead)
    }

    /// Closes at once; what the target still sends is not waited for.
    pub fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            // It may be closed already, which is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn send(&mut self, pdu: &Pdu) -> Result<(), TcpError> {
        let mut bytes = pdu.encode()?;
        let [header, data] = self.digests;
        // From the end, so that what is before stays in its place.
        if data == Digest::Crc32c && bytes.len() > HEADER {
            let digest = crc32c(bytes.get(HEADER..).unwrap_or_default());
            bytes.extend(digest);
        }
        if header == Digest::Crc32c {
            let digest = crc32c(bytes.get(..HEADER).unwrap_or_default());
            bytes.splice(HEADER..HEADER, digest);
        }
        let mut rest = bytes.as_slice();
        let after = self.deadline.limit();
        let stream = self.stream.as_mut().ok_or(TcpError::Dead)?;
        while !rest.is_empty() {
            let left = self.deadline.remaining().ok_or(TcpError::Full { after })?;
            stream.set_write_timeout(Some(left))?;
            match stream.write(rest) {
                Ok(0) => return Err(TcpError::Closed),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if again(&error) => {}
                Err(error) if gone(&error) => return Err(TcpError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<Pdu, TcpError> {
        let mut header = [0; HEADER];
        self.fill(&mut header, 0, HEADER)?;
        let [of_header, of_data] = self.digests;
        self.check_digest(of_header, "header", &header)?;
        let length = data_length(&header, self.limit)?;
        let padded = length.saturating_add(padding(length));
        let mut data = vec![0; padded];
        self.fill(&mut data, HEADER, HEADER.saturating_add(padded))?;
        if !data.is_empty() {
            self.check_digest(of_data, "data", &data)?;
        }
        data.truncate(length);
        Ok(Pdu::decode(&header, data)?)
    }

    fn check_digest(&mut self, digest: Digest, what: &'static str, bytes: &[u8]) -> Result<(), TcpError> {
        if digest == Digest::None {
            return Ok(());
        }
        let mut sent = [0; 4];
        self.fill(&mut sent, bytes.len(), bytes.len().saturating_add(4))?;
        (sent == crc32c(bytes)).then_some(()).ok_or(TcpError::Digest(what))
    }

    /// Fills `buffer`; `before` bytes of the PDU's `want` are there already.
    fn fill(&mut self, buffer: &mut [u8], before: usize, want: usize) -> Result<(), TcpError> {
        let after = self.deadline.limit();
        let stream = self.stream.as_mut().ok_or(TcpError::Dead)?;
        let mut filled = 0_usize;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let got = before.saturating_add(filled);
            let Some(left) = self.deadline.remaining() else {
                return Err(match got {
                    0 => TcpError::Silent { after },
                    _ => TcpError::Stuck { got, want, after },
                });
            };
            stream.set_read_timeout(Some(left))?;
            match stream.read(rest) {
                Ok(count) if count > 0 => filled = filled.saturating_add(count),
                Err(error) if again(&error) => {}
                Err(error) if !gone(&error) => return Err(error.into()),
                _ if got == 0 => return Err(TcpError::Closed),
                _ => return Err(TcpError::Half { got, want }),
            }
        }
        Ok(())
    }
}

/// Connects a socket that sends at once: requests are small, and each waits for its answer.
///
/// # Errors
/// [`TcpError::Connect`] and [`TcpError::ConnectTimeout`].
pub fn connect(portal: Portal, deadline: Deadline) -> Result<TcpStream, TcpError> {
    let late = TcpError::ConnectTimeout { portal, after: deadline.limit() };
    let Some(left) = deadline.remaining() else {
        return Err(late);
    };
    let stream = match TcpStream::connect_timeout(&portal.socket_addr(), left) {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(late),
        Err(source) => return Err(TcpError::Connect { portal, source }),
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The wait is over or was disturbed; the deadline decides.
fn again(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// The other side is gone.
fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
    )
}

/// Carries a whole login.
///
/// # Errors
/// [`TcpError`]; the socket is closed then. [`TcpError::Moved`] if the target is elsewhere.
pub fn login(carrier: &mut Carrier, config: Config) -> Result<Negotiated, TcpError> {
    let result = drive_login(carrier, config);
    match &result {
        Ok(negotiated) => carrier.set_parameters(&negotiated.parameters),
        Err(_) => carrier.close(),
    }
    result
}

fn drive_login(carrier: &mut Carrier, config: Config) -> Result<Negotiated, TcpError> {
    let mut login = Login::new(config);
    let mut request = login.start()?;
    loop {
        let response = carrier.exchange(&request)?;
        match login.receive(&response)? {
            Action::Send(next) => request = next,
            Action::Done(negotiated) => return Ok(*negotiated),
            Action::Redirect { address, permanent } => return Err(TcpError::Moved { address, permanent }),
        }
    }
}

/// Logs in for discovery, asks for the targets, logs out.
///
/// The purpose in `config` is not looked at, and neither are digests: a list of names needs none.
///
/// # Errors
/// [`TcpError`]; the socket is closed then.
pub fn discover(portal: Portal, config: Config, deadline: Deadline) -> Result<Found, TcpError> {
    let mut carrier = Carrier::connect(portal, deadline)?;
    let config = Config {
        purpose: login::Purpose::Discovery,
        offer: Offer { header_digest: Digest::None, data_digest: Digest::None, ..config.offer },
        ..config
    };
    let tag = config.tag.wrapping_add(1);
    let negotiated = login(&mut carrier, config)?;
    let mut discovery = SendTargets::new(&negotiated, tag);
    let found = drive_discovery(&mut carrier, &mut discovery);
    if found.is_ok() {
        // Only politeness: the answer is in hand, and closing ends the session as well.
        carrier.deadline = Deadline::after(FAREWELL);
        let _ = carrier.exchange(&discovery.logout());
    }
    carrier.close();
    found
}

fn drive_discovery(carrier: &mut Carrier, discovery: &mut SendTargets) -> Result<Found, TcpError> {
    let mut request = discovery.start();
    loop {
        let response = carrier.exchange(&request)?;
        match discovery.receive(&response)? {
            discovery::Action::Send(next) => request = next,
            discovery::Action::Done(found) => return Ok(found),
        }
    }
}
