//! Which targets a portal has (SendTargets, RFC 7143 appendix C), and which of them is this node's.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;

use super::login::Negotiated;
use super::name::{Iqn, NameError, PortalError, TargetAddress};
use super::pdu::{Body, Pdu, NO_TAG};
use super::text::{self, Joined, TextError};
use crate::bytes::shown;

/// How many targets an answer may name.
pub const MAX_TARGETS: usize = 4096;
/// How many addresses one target may have.
pub const MAX_ADDRESSES: usize = 64;
/// How long the whole answer may be, in bytes.
pub const MAX_TEXT: usize = 1024 * 1024;
/// How many PDUs an answer may take.
pub const MAX_ROUNDS: u32 = 4096;
/// How many names an error lists.
const MAX_LISTED: usize = 16;
/// How many unusable names and addresses are kept for the log.
const MAX_IGNORED: usize = 16;

/// A target that the portal offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: Iqn,
    /// Where it is; empty means: at the portal that was asked.
    pub addresses: Vec<TargetAddress>,
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The targets in the portal's order.
    pub targets: Vec<Target>,
    /// What could not be used (a name against RFC 3722, an address with a zone), and why; bounded.
    pub ignored: Vec<String>,
}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DiscoveryError {
    /// A text that is none, or too much of it.
    #[error("bad text in the answer to SendTargets: {0}")]
    Text(#[from] TextError),
    /// Another PDU than a text response.
    #[error("the target sent a {got}; a text response was expected")]
    Unexpected {
        /// What it sent.
        got: &'static str,
    },
    /// The target takes our PDU for nonsense.
    #[error("the target rejected SendTargets (reason {reason:#04x}, RFC 7143 11.17.1)")]
    Rejected {
        /// Why.
        reason: u8,
    },
    /// The target wants to end the session.
    #[error("the target ended the discovery (asynchronous event {event}, RFC 7143 11.9.1)")]
    Ended {
        /// Its event.
        event: u8,
    },
    /// An answer to somebody else's question.
    #[error("the target answered task {got:#010x}; {want:#010x} was asked")]
    ForeignTag {
        /// The tag it answered.
        got: u32,
        /// The tag of this question.
        want: u32,
    },
    /// There is more, but no tag to ask for it.
    #[error("the answer to SendTargets goes on (F=0), but has no target transfer tag to ask for the rest")]
    NoContinuation,
    /// The target does not come to an end.
    #[error("the answer to SendTargets did not end within {MAX_ROUNDS} PDUs")]
    Endless,
    /// More targets than anybody has.
    #[error("more than {MAX_TARGETS} targets")]
    TooManyTargets,
    /// More addresses than anybody has.
    #[error("target {name}: more than {MAX_ADDRESSES} addresses")]
    TooManyAddresses {
        /// The target.
        name: Iqn,
    },
    /// An address that belongs to no target.
    #[error("TargetAddress={got:?} stands before any TargetName")]
    Homeless {
        /// The address.
        got: String,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this and wait for the answer.
    Send(Pdu),
    /// The whole answer.
    Done(Found),
}

/// SendTargets=All, without I/O: a PDU in, an action out.
#[derive(Debug)]
pub struct SendTargets {
    tag: u32,
    cmd_sn: u32,
    exp_stat_sn: u32,
    rounds: u32,
    joined: Joined,
}

impl SendTargets {
    /// After the login with this outcome; `tag` is the initiator task tag to use.
    pub const fn new(login: &Negotiated, tag: u32) -> Self {
        Self { tag, cmd_sn: login.cmd_sn, exp_stat_sn: login.exp_stat_sn, rounds: 0, joined: Joined::new(MAX_TEXT) }
    }

    /// The question.
    pub fn start(&mut self) -> Pdu {
        let mut data = Vec::new();
        text::push(&mut data, "SendTargets", "All");
        self.request(NO_TAG, [0; 8], data)
    }

    /// Takes the target's answer.
    ///
    /// # Errors
    /// [`DiscoveryError`]; the discovery is over then.
    pub fn receive(&mut self, pdu: &Pdu) -> Result<Action, DiscoveryError> {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MAX_ROUNDS {
            return Err(DiscoveryError::Endless);
        }
        match pdu.body {
            Body::TextResponse { last, more, lun, target_tag, stat_sn, .. } => {
                if pdu.tag != self.tag {
                    return Err(DiscoveryError::ForeignTag { got: pdu.tag, want: self.tag });
                }
                self.exp_stat_sn = stat_sn.wrapping_add(1);
                self.joined.push(&pdu.data)?;
                if last && !more {
                    return parse(&self.joined.take()).map(Action::Done);
                }
                if target_tag == NO_TAG {
                    return Err(DiscoveryError::NoContinuation);
                }
                Ok(Action::Send(self.request(target_tag, lun, Vec::new())))
            }
            // The target asks whether we are alive; an answer keeps the number of our question, and has no data
            // (RFC 7143 11.18, 11.19): whatever came with it is not carried back.
            Body::NopIn { lun, target_tag, .. } if pdu.tag == NO_TAG && target_tag != NO_TAG => Ok(Action::Send(Pdu {
                tag: NO_TAG,
                body: Body::NopOut { lun, target_tag, cmd_sn: self.cmd_sn, exp_stat_sn: self.exp_stat_sn },
                data: Vec::new(),
            })),
            Body::Reject { reason, .. } => Err(DiscoveryError::Rejected { reason }),
            Body::Async { event, .. } => Err(DiscoveryError::Ended { event }),
            _ => Err(DiscoveryError::Unexpected { got: pdu.body.kind() }),
        }
    }

    /// The farewell: closes the session.
    pub const fn logout(&self) -> Pdu {
        Pdu {
            tag: self.tag,
            body: Body::LogoutRequest { reason: 0, cid: 0, cmd_sn: self.cmd_sn, exp_stat_sn: self.exp_stat_sn },
            data: Vec::new(),
        }
    }

    fn request(&mut self, target_tag: u32, lun: [u8; 8], data: Vec<u8>) -> Pdu {
        let cmd_sn = self.cmd_sn;
        // Not immediate: each question takes a number.
        self.cmd_sn = cmd_sn.wrapping_add(1);
        Pdu {
            tag: self.tag,
            body: Body::TextRequest {
                immediate: false,
                last: true,
                more: false,
                lun,
                target_tag,
                cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            },
            data,
        }
    }
}

/// Reads a whole answer, joined from all its PDUs. Keys other than `TargetName` and `TargetAddress`
/// are not looked at. A target that is named again gets the further addresses.
///
/// # Errors
/// [`DiscoveryError`] on bad text and beyond the limits. A single bad name or address is none: it
/// stands in [`Found::ignored`].
pub fn parse(text: &[u8]) -> Result<Found, DiscoveryError> {
    let mut found = Found::default();
    // Whose addresses follow; `None` after a name that could not be used.
    let mut current: Option<usize> = None;
    let mut named = false;
    for pair in text::pairs(text) {
        match pair? {
            ("TargetName", value) => {
                named = true;
                current = match value.parse::<Iqn>() {
                    Ok(name) => Some(add(&mut found.targets, name)?),
                    Err(error) => {
                        ignore(&mut found.ignored, &error);
                        None
                    }
                };
            }
            ("TargetAddress", value) if !named => {
                return Err(DiscoveryError::Homeless { got: shown(value.as_bytes()) });
            }
            ("TargetAddress", value) => {
                let Some(target) = current.and_then(|index| found.targets.get_mut(index)) else {
                    continue;
                };
                match value.parse::<TargetAddress>() {
                    Ok(_) if target.addresses.len() >= MAX_ADDRESSES => {
                        return Err(DiscoveryError::TooManyAddresses { name: target.name.clone() });
                    }
                    Ok(address) => target.addresses.push(address),
                    Err(error) => {
                        ignore_address(&mut found.ignored, &target.name, &error);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

fn add(targets: &mut Vec<Target>, name: Iqn) -> Result<usize, DiscoveryError> {
    if let Some(index) = targets.iter().position(|target| target.name == name) {
        return Ok(index);
    }
    if targets.len() >= MAX_TARGETS {
        return Err(DiscoveryError::TooManyTargets);
    }
    let index = targets.len();
    targets.push(Target { name, addresses: Vec::new() });
    Ok(index)
}

fn ignore(ignored: &mut Vec<String>, error: &NameError) {
    if ignored.len() < MAX_IGNORED {
        ignored.push(error.to_string());
    }
}

fn ignore_address(ignored: &mut Vec<String>, name: &Iqn, error: &PortalError) {
    if ignored.len() < MAX_IGNORED {
        ignored.push(format!("address of {name}: {error}"));
    }
}

/// Names for an error: how many there are, which a line that is cut still says, and the first [`MAX_LISTED`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    names: Vec<Iqn>,
    total: usize,
}

impl Listed {
    fn new<'a>(names: impl Iterator<Item = &'a Target>) -> Self {
        let mut listed = Self { names: Vec::new(), total: 0 };
        for target in names {
            if listed.names.len() < MAX_LISTED {
                listed.names.push(target.name.clone());
            }
            listed.total = listed.total.saturating_add(1);
        }
        listed
    }
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = match self.total {
            0 => return f.write_str("no targets"),
            1 => "1 target: ",
            total => {
                write!(f, "{total} targets")?;
                ": "
            }
        };
        for name in &self.names {
            f.write_str(between)?;
            name.fmt(f)?;
            between = ", ";
        }
        match self.total.saturating_sub(self.names.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Why no target is this node's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChooseError {
    /// None bears the address.
    #[error("no target's name ends in \":{ip}\"; the portal offers this initiator {offered}")]
    None {
        /// The node's address.
        ip: IpAddr,
        /// What there is.
        offered: Listed,
    },
    /// Several do.
    #[error("exactly one target may bear the address {ip}; {matching}")]
    Several {
        /// The node's address.
        ip: IpAddr,
        /// Which.
        matching: Listed,
    },
}

/// The target that bears the node's address.
///
/// The rule: for each `:` of the name, from the left, take all that follows it. The first such
/// ending that is an IP address in full is the address that the target bears; it has to be the
/// node's. Addresses are compared as addresses: `fd00:0::A` is `fd00::a`, and an IPv4 address is
/// its IPv4-mapped IPv6 address.
///
/// So `…:10.13.20.101` is not the target of 10.13.20.10, and neither is `…:x10.13.20.10`,
/// `…:10.13.20.10.bak` or `…:010.13.20.10`. Of an IPv6 address the longest ending counts:
/// `…example:cafe:fd00::2` bears cafe:fd00::2, not fd00::2; write `…example:cafe.x:fd00::2`.
///
/// # Errors
/// [`ChooseError`] if none or several match; it lists what there is.
pub fn choose(targets: &[Target], ip: IpAddr) -> Result<&Target, ChooseError> {
    let ip = ip.to_canonical();
    let mut matching = targets.iter().filter(|target| borne_address(&target.name) == Some(ip));
    match (matching.next(), matching.next()) {
        (Some(target), None) => Ok(target),
        (None, _) => Err(ChooseError::None { ip, offered: Listed::new(targets.iter()) }),
        (Some(_), Some(_)) => Err(ChooseError::Several {
            ip,
            matching: Listed::new(targets.iter().filter(|target| borne_address(&target.name) == Some(ip))),
        }),
    }
}

/// The address that a target's name ends in, by the rule of [`choose`].
pub fn borne_address(name: &Iqn) -> Option<IpAddr> {
    let mut rest = name.as_str();
    while let Some((_, ending)) = rest.split_once(':') {
        if let Ok(ip) = ending.parse::<IpAddr>() {
            return Some(ip.to_canonical());
        }
        rest = ending;
    }
    None
}

#[cfg(test)]
#[path = "discovery_tests.rs"]
mod tests;
