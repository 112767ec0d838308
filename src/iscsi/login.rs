//! The login phase as a state machine: a PDU in, an action out (RFC 7143 sections 6.3, 11.12, 11.13).
//!
//! Without credentials it starts at the operational stage; with them it first proves the node by
//! CHAP. Names go into the first PDU only. All operational keys are offered: LIO proposes each one
//! that is left out and waits for an answer.

pub use super::login_error::LoginError;

use super::chap::{self, Algorithm, ChapError, Credentials, Expected, OwnChallenge};
use super::name::{InitiatorName, Iqn, PortalError, TargetAddress};
use super::negotiation::{self, NegotiationError, Offer, Parameters};
use super::pdu::{Body, Isid, LoginFlags, Pdu, PduError, Stage, DEFAULT_MAX_DATA};
use super::status::Status;
use super::text::{self, Joined, Keys};
use crate::bytes::shown;

/// How many PDUs a target may take for one login; eight are a lot.
pub const MAX_ROUNDS: u32 = 64;
/// How long the text of one answer may be, over all its PDUs, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// How much of the target's alias is kept, in characters.
const MAX_ALIAS: usize = 255;

/// What the session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To ask for the portal's targets.
    Discovery,
    /// To use this target's disks.
    Normal(Iqn),
}

/// All that a login needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub initiator: InitiatorName,
    /// What for.
    pub purpose: Purpose,
    /// How we prove it, if at all.
    pub credentials: Option<Credentials>,
    /// The digests of CHAP to offer, in this order. `[Md5]` unless somebody asks for more: tgt
    /// refuses `7,5`, and some targets take 7 for SHA-1.
    pub algorithms: Vec<Algorithm>,
    /// Random bytes, fresh for each login.
    pub challenge: OwnChallenge,
    /// The initiator's part of the session's identity.
    pub isid: Isid,
    /// The operational keys.
    pub offer: Offer,
    /// The initiator task tag of all PDUs of this login.
    pub tag: u32,
    /// CmdSN; a login does not advance it.
    pub cmd_sn: u32,
    /// ExpStatSN: 0 for a new connection.
    pub exp_stat_sn: u32,
}

impl Config {
    /// A login without credentials and with the usual offers.
    pub fn new(initiator: InitiatorName, purpose: Purpose, isid: Isid, challenge: OwnChallenge) -> Self {
        Self {
            initiator,
            purpose,
            credentials: None,
            algorithms: vec![Algorithm::Md5],
            challenge,
            isid,
            offer: Offer::default(),
            tag: 0,
            cmd_sn: 1,
            exp_stat_sn: 0,
        }
    }

    fn target(&self) -> Option<&str> {
        match &self.purpose {
            Purpose::Discovery => None,
            Purpose::Normal(iqn) => Some(iqn.as_str()),
        }
    }
}

/// How sure each side is of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authenticated {
    /// Nobody proved anything.
    No,
    /// The node proved itself.
    Node,
    /// Both did.
    Both,
}

/// The outcome of a login: all that the kernel or a discovery has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The operational parameters.
    pub parameters: Parameters,
    /// The target's part of the session's identity.
    pub tsih: u16,
    /// The status number to expect next.
    pub exp_stat_sn: u32,
    /// The command number to use next.
    pub cmd_sn: u32,
    /// The portal group tag, where the target tells it.
    pub group: Option<u16>,
    /// What the target calls itself for people.
    pub alias: Option<String>,
    /// What was proved.
    pub authenticated: Authenticated,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this and wait for the answer.
    Send(Pdu),
    /// Logged in.
    Done(Box<Negotiated>),
    /// The target is elsewhere: close, and log in there.
    Redirect {
        /// Where.
        address: TargetAddress,
        /// Whether for good.
        permanent: bool,
    },
}

/// What was asked last.
#[derive(Debug)]
enum State {
    /// AuthMethod.
    Method,
    /// CHAP_A.
    Algorithm,
    /// CHAP_N and CHAP_R; for mutual CHAP, what the target has to prove.
    Proof(Option<Expected>),
    /// Only to leave the security stage.
    Leaving,
    /// The operational keys.
    Operational,
    /// Nothing more.
    Over,
}

/// A login. [`Login::start`] gives the first PDU; each answer goes to [`Login::receive`].
#[derive(Debug)]
pub struct Login {
    config: Config,
    state: State,
    joined: Joined,
    rounds: u32,
    exp_stat_sn: u32,
    parameters: Parameters,
    /// Keys that were offered and have no answer yet.
    asked: Vec<&'static str>,
    sent_transit: bool,
    group: Option<u16>,
    alias: Option<String>,
    authenticated: Authenticated,
}

impl Login {
    /// Nothing is sent yet.
    pub fn new(config: Config) -> Self {
        Self {
            state: State::Over,
            joined: Joined::new(MAX_TEXT),
            rounds: 0,
            exp_stat_sn: config.exp_stat_sn,
            parameters: Parameters::new(&config.offer),
            asked: Vec::new(),
            sent_transit: false,
            group: None,
            alias: None,
            authenticated: Authenticated::No,
            config,
        }
    }

    /// The first PDU.
    ///
    /// # Errors
    /// [`LoginError::Pdu`] if names and keys do not fit into one PDU.
    pub fn start(&mut self) -> Result<Pdu, LoginError> {
        let mut pairs = vec![("InitiatorName", self.config.initiator.to_string())];
        match &self.config.purpose {
            Purpose::Discovery => pairs.push(("SessionType", "Discovery".to_owned())),
            Purpose::Normal(iqn) => {
                pairs.push(("SessionType", "Normal".to_owned()));
                pairs.push(("TargetName", iqn.to_string()));
            }
        }
        if self.config.credentials.is_some() {
            self.state = State::Method;
            pairs.push(("AuthMethod", self.methods().to_owned()));
            return self.request(&pairs, false);
        }
        self.state = State::Operational;
        pairs.extend(self.offer());
        self.request(&pairs, true)
    }

    /// Takes the target's answer.
    ///
    /// # Errors
    /// [`LoginError`]; the login is over then.
    pub fn receive(&mut self, pdu: &Pdu) -> Result<Action, LoginError> {
        let action = self.answer(pdu);
        if !matches!(action, Ok(Action::Send(_))) {
            self.state = State::Over;
        }
        action
    }

    fn answer(&mut self, pdu: &Pdu) -> Result<Action, LoginError> {
        let (flags, tsih) = match self.check(pdu)? {
            Checked::Answer(flags, tsih) => (flags, tsih),
            Checked::Moved(status) => return redirect(status, &pdu.data),
        };
        self.joined.push(&pdu.data)?;
        if flags.more {
            return self.send(&[], false);
        }
        let text = self.joined.take();
        let keys = Keys::parse(&text)?;
        let replies = self.take_keys(&keys)?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Method => self.take_method(&keys, replies),
            State::Algorithm => self.take_challenge(&keys, replies),
            State::Proof(expected) => {
                let expected = take_proof(expected, &keys)?;
                if flags.transit {
                    if expected.is_some() {
                        return Err(LoginError::NoProof);
                    }
                    // The target has seen a right answer to its challenge, or would have said 0201.
                    let proof = self.config.credentials.as_ref().map(|c| c.target.is_some());
                    self.authenticated = match proof {
                        Some(true) => Authenticated::Both,
                        Some(false) => Authenticated::Node,
                        None => Authenticated::No,
                    };
                    return self.go_operational(replies);
                }
                self.state = State::Proof(expected);
                self.send(&replies, true)
            }
            State::Leaving if flags.transit => self.go_operational(replies),
            State::Leaving => {
                self.state = State::Leaving;
                self.send(&replies, true)
            }
            State::Operational if flags.transit => self.finish(tsih),
            State::Operational => {
                self.state = State::Operational;
                self.send(&replies, true)
            }
            State::Over => Err(LoginError::Over),
        }
    }

    /// All that must hold whatever the text says.
    fn check(&mut self, pdu: &Pdu) -> Result<Checked, LoginError> {
        let Body::LoginResponse { flags, version_active, tsih, stat_sn, status_class, status_detail, .. } = pdu.body
        else {
            return Err(match pdu.body {
                Body::Reject { reason, .. } => LoginError::Rejected { reason },
                _ => LoginError::Unexpected { got: pdu.body.kind() },
            });
        };
        if pdu.tag != self.config.tag {
            return Err(LoginError::ForeignTag { got: pdu.tag, want: self.config.tag });
        }
        let status = Status { class: status_class, detail: status_detail };
        match status.class {
            0 => {}
            1 => return Ok(Checked::Moved(status)),
            _ => {
                return Err(LoginError::Refused {
                    status,
                    words: status.explain(self.config.initiator.as_str(), self.config.target()),
                })
            }
        }
        if version_active != 0 {
            return Err(LoginError::Version { got: version_active });
        }
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds > MAX_ROUNDS {
            return Err(LoginError::Endless);
        }
        let (current, next, name) = self.stages();
        if flags.current != current {
            return Err(LoginError::Stage { got: format!("stage {:?}", flags.current), want: name });
        }
        if flags.transit && (flags.more || !self.sent_transit || flags.next != next) {
            return Err(LoginError::Stage {
                got: format!("T=1 to {:?}, C={}", flags.next, u8::from(flags.more)),
                want: if self.sent_transit { "T=1 to the next stage only, without C" } else { "T=0" },
            });
        }
        self.exp_stat_sn = stat_sn.wrapping_add(1);
        Ok(Checked::Answer(flags, tsih))
    }

    const fn stages(&self) -> (Stage, Stage, &'static str) {
        match self.state {
            State::Operational => (Stage::Operational, Stage::FullFeature, "the operational stage"),
            _ => (Stage::Security, Stage::Operational, "the security stage"),
        }
    }

    const fn methods(&self) -> &'static str {
        match &self.config.credentials {
            // Who wants a proof of the target cannot go without one.
            Some(Credentials { target: Some(_), .. }) => "CHAP",
            _ => "CHAP,None",
        }
    }

    fn offer(&mut self) -> Vec<(&'static str, String)> {
        let pairs = negotiation::offered(&self.config.offer, self.config.purpose == Purpose::Discovery);
        self.asked = pairs.iter().map(|(key, _)| *key).collect();
        pairs
    }

    /// Takes what may come at any stage; gives what the target's own proposals are answered with.
    fn take_keys<'a>(&mut self, keys: &Keys<'a>) -> Result<Vec<(&'a str, String)>, LoginError> {
        let mut replies = Vec::new();
        for (key, value) in keys.iter() {
            match key {
                "TargetPortalGroupTag" => {
                    self.group = Some(
                        negotiation::parse_number(value).and_then(|number| u16::try_from(number).ok()).ok_or_else(
                            || NegotiationError::Value {
                                key: "TargetPortalGroupTag",
                                got: shown(value.as_bytes()),
                                expected: "a number from 0 to 65535",
                            },
                        )?,
                    );
                }
                "TargetAlias" => self.alias = Some(value.chars().take(MAX_ALIAS).collect()),
                "TargetAddress" | "AuthMethod" | "CHAP_A" | "CHAP_I" | "CHAP_C" | "CHAP_N" | "CHAP_R" => {}
                _ => {
                    let reply = self.parameters.take(&self.config.offer, key, value)?;
                    let answered = self.asked.iter().position(|asked| *asked == key);
                    match (answered, reply) {
                        (Some(place), _) => {
                            self.asked.swap_remove(place);
                        }
                        (None, Some(reply)) => replies.push((key, reply)),
                        (None, None) => {}
                    }
                }
            }
        }
        Ok(replies)
    }

    fn take_method(&mut self, keys: &Keys<'_>, mut replies: Vec<(&str, String)>) -> Result<Action, LoginError> {
        let wants_proof = self.methods() == "CHAP";
        match keys.get("AuthMethod") {
            Some("CHAP") => {
                self.state = State::Algorithm;
                replies.push(("CHAP_A", chap::offer(&self.config.algorithms)));
                self.send(&replies, false)
            }
            Some("None") if wants_proof => Err(LoginError::NoProof),
            Some("None") => {
                self.state = State::Leaving;
                self.send(&replies, true)
            }
            Some(got) => Err(LoginError::AuthMethod { got: shown(got.as_bytes()), want: self.methods() }),
            None => Err(ChapError::Missing { key: "AuthMethod" }.into()),
        }
    }

    fn take_challenge(&mut self, keys: &Keys<'_>, replies: Vec<(&str, String)>) -> Result<Action, LoginError> {
        let Some(credentials) = &self.config.credentials else {
            return Err(LoginError::Over);
        };
        let (mut pairs, expected) = chap::answer(credentials, &self.config.algorithms, &self.config.challenge, keys)?;
        self.state = State::Proof(expected);
        let mut all = replies;
        all.append(&mut pairs);
        self.send(&all, true)
    }

    fn go_operational(&mut self, mut replies: Vec<(&str, String)>) -> Result<Action, LoginError> {
        self.state = State::Operational;
        let mut pairs = self.offer();
        // What the target proposed early is answered by the offer itself.
        replies.retain(|(key, _)| !self.asked.contains(key));
        replies.append(&mut pairs);
        self.send(&replies, true)
    }

    fn finish(&mut self, tsih: u16) -> Result<Action, LoginError> {
        if tsih == 0 && self.config.purpose != Purpose::Discovery {
            return Err(LoginError::NoSession);
        }
        let parameters = self.parameters.finish(&self.config.offer)?;
        Ok(Action::Done(Box::new(Negotiated {
            parameters,
            tsih,
            exp_stat_sn: self.exp_stat_sn,
            cmd_sn: self.config.cmd_sn,
            group: self.group,
            alias: self.alias.take(),
            authenticated: self.authenticated,
        })))
    }

    fn send(&mut self, pairs: &[(&str, String)], transit: bool) -> Result<Action, LoginError> {
        self.request(pairs, transit).map(Action::Send)
    }

    fn request(&mut self, pairs: &[(&str, String)], transit: bool) -> Result<Pdu, LoginError> {
        let mut data = Vec::new();
        for (key, value) in pairs {
            text::push(&mut data, key, value);
        }
        if data.len() > DEFAULT_MAX_DATA {
            return Err(PduError::TooLong { opcode: 0x03, got: data.len(), limit: DEFAULT_MAX_DATA }.into());
        }
        self.sent_transit = transit;
        let (current, next, _) = self.stages();
        Ok(Pdu {
            tag: self.config.tag,
            body: Body::LoginRequest {
                flags: LoginFlags { transit, more: false, current, next },
                isid: self.config.isid,
                tsih: 0,
                cid: 0,
                cmd_sn: self.config.cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            },
            data,
        })
    }
}

/// What [`Login::check`] found.
enum Checked {
    /// Go on with these flags; the TSIH counts at the end.
    Answer(LoginFlags, u16),
    /// The target is elsewhere.
    Moved(Status),
}

/// What is still to be proved after this answer.
fn take_proof(expected: Option<Expected>, keys: &Keys<'_>) -> Result<Option<Expected>, LoginError> {
    let Some(expected) = expected else {
        return Ok(None);
    };
    if !["CHAP_N", "CHAP_R", "CHAP_C"].iter().any(|key| keys.get(key).is_some()) {
        return Ok(Some(expected));
    }
    chap::verify(&expected, keys)?;
    Ok(None)
}

/// RFC 7143 section 11.13.5: 0101 moved for now, 0102 for good.
fn redirect(status: Status, data: &[u8]) -> Result<Action, LoginError> {
    let nowhere = |reason: String| LoginError::RedirectedNowhere { status, reason };
    let keys = Keys::parse(data)?;
    let address = keys
        .get("TargetAddress")
        .ok_or_else(|| nowhere("no TargetAddress".to_owned()))?
        .parse::<TargetAddress>()
        .map_err(|error: PortalError| nowhere(error.to_string()))?;
    match status.detail {
        1 => Ok(Action::Redirect { address, permanent: false }),
        2 => Ok(Action::Redirect { address, permanent: true }),
        _ => Err(nowhere("0101 or 0102 was expected".to_owned())),
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
