//! What the kernel has to know about a session after the login (SET_PARAM), as data.
//!
//! All of it is set again after each login: stopping a connection clears the digests.

use std::fmt;
use std::time::Duration;

use super::chap::Credentials;
use super::login::Negotiated;
use super::name::{InitiatorName, Iqn, Portal};
use super::negotiation::Digest;

/// A parameter of the kernel's `enum iscsi_param` (Linux: `include/scsi/iscsi_if.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The kernel's own names.
pub enum Param {
    MaxRecvDlength,
    MaxXmitDlength,
    HdrDgst,
    DataDgst,
    InitialR2t,
    MaxR2t,
    ImmData,
    FirstBurst,
    MaxBurst,
    PduInorder,
    DataseqInorder,
    Erl,
    ExpStatSn,
    TargetName,
    Tpgt,
    PersistentAddress,
    PersistentPort,
    SessRecoveryTmo,
    Username,
    UsernameIn,
    Password,
    PasswordIn,
    FastAbort,
    AbortTmo,
    LuResetTmo,
    PingTmo,
    RecvTmo,
    IfaceName,
    InitiatorName,
    TgtResetTmo,
}

impl Param {
    const fn table(self) -> (u32, &'static str) {
        match self {
            Self::MaxRecvDlength => (0, "set MAX_RECV_DLENGTH"),
            Self::MaxXmitDlength => (1, "set MAX_XMIT_DLENGTH"),
            Self::HdrDgst => (2, "set HDRDGST"),
            Self::DataDgst => (3, "set DATADGST"),
            Self::InitialR2t => (4, "set INITIAL_R2T"),
            Self::MaxR2t => (5, "set MAX_R2T"),
            Self::ImmData => (6, "set IMM_DATA"),
            Self::FirstBurst => (7, "set FIRST_BURST"),
            Self::MaxBurst => (8, "set MAX_BURST"),
            Self::PduInorder => (9, "set PDU_INORDER"),
            Self::DataseqInorder => (10, "set DATASEQ_INORDER"),
            Self::Erl => (11, "set ERL"),
            Self::ExpStatSn => (14, "set EXP_STATSN"),
            Self::TargetName => (15, "set TARGET_NAME"),
            Self::Tpgt => (16, "set TPGT"),
            Self::PersistentAddress => (17, "set PERSISTENT_ADDRESS"),
            Self::PersistentPort => (18, "set PERSISTENT_PORT"),
            Self::SessRecoveryTmo => (19, "set SESS_RECOVERY_TMO"),
            Self::Username => (22, "set USERNAME"),
            Self::UsernameIn => (23, "set USERNAME_IN"),
            Self::Password => (24, "set PASSWORD"),
            Self::PasswordIn => (25, "set PASSWORD_IN"),
            Self::FastAbort => (26, "set FAST_ABORT"),
            Self::AbortTmo => (27, "set ABORT_TMO"),
            Self::LuResetTmo => (28, "set LU_RESET_TMO"),
            Self::PingTmo => (30, "set PING_TMO"),
            Self::RecvTmo => (31, "set RECV_TMO"),
            Self::IfaceName => (32, "set IFACE_NAME"),
            Self::InitiatorName => (34, "set INITIATOR_NAME"),
            Self::TgtResetTmo => (35, "set TGT_RESET_TMO"),
        }
    }

    /// The kernel's number.
    pub const fn number(self) -> u32 {
        self.table().0
    }

    /// For an error: what was to be set, without its value.
    pub const fn name(self) -> &'static str {
        self.table().1
    }

    /// Whether an older kernel may not know it (-ENOSYS) without harm: what only open-iscsi reads,
    /// and time-outs that have a default.
    pub const fn may_be_missing(self) -> bool {
        matches!(
            self,
            Self::FastAbort
                | Self::AbortTmo
                | Self::LuResetTmo
                | Self::TgtResetTmo
                | Self::IfaceName
                | Self::InitiatorName
        )
    }
}

/// The kernel's time-outs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long commands wait for a new login before they fail. Finite: without an end a shutdown
    /// would hang for ever on a session that failed.
    pub recovery: Duration,
    /// After how much silence the target is pinged; zero together with `ping_answer` pings never.
    pub ping_after: Duration,
    /// How long the target may take to answer a ping.
    pub ping_answer: Duration,
    /// How long an abort may take.
    pub abort: Duration,
    /// How long a reset of a LUN may take.
    pub lun_reset: Duration,
    /// How long a reset of a target may take.
    pub target_reset: Duration,
}

/// open-iscsi's values, but for the first: a server has to be able to start anew meanwhile.
impl Default for Timeouts {
    fn default() -> Self {
        Self {
            recovery: Duration::from_secs(600),
            ping_after: Duration::from_secs(5),
            ping_answer: Duration::from_secs(5),
            abort: Duration::from_secs(15),
            lun_reset: Duration::from_secs(30),
            target_reset: Duration::from_secs(30),
        }
    }
}

/// All that the parameters are made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The login's outcome.
    pub negotiated: &'a Negotiated,
    /// The target.
    pub target: &'a Iqn,
    /// Who we are.
    pub initiator: &'a InitiatorName,
    /// Where to log in again; iscsid dials it.
    pub portal: Portal,
    /// With what; iscsid needs them, and sysfs shows them to root alone.
    pub credentials: Option<&'a Credentials>,
    /// The time-outs.
    pub timeouts: Timeouts,
}

/// A parameter's value: not shown, for it may be a password; overwritten when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Value(Vec<u8>);

impl Value {
    /// The text without a NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value")
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

/// All parameters, in the order in which they are set.
pub fn all(facts: &Facts<'_>) -> Vec<(Param, Value)> {
    let p = &facts.negotiated.parameters;
    let flag = |set: bool| u32::from(set);
    let seconds = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let timeouts = &facts.timeouts;
    // Pings need both times; with one alone the kernel pings never.
    let (ping_after, ping_answer) = match (seconds(timeouts.ping_after), seconds(timeouts.ping_answer)) {
        (0, _) | (_, 0) => (0, 0),
        both => both,
    };
    let mut list: Vec<(Param, Value)> = [
        (Param::MaxRecvDlength, p.max_recv_data),
        (Param::MaxXmitDlength, p.max_send_data),
        (Param::HdrDgst, flag(p.header_digest == Digest::Crc32c)),
        (Param::DataDgst, flag(p.data_digest == Digest::Crc32c)),
        (Param::InitialR2t, flag(p.initial_r2t)),
        (Param::MaxR2t, p.max_outstanding_r2t),
        (Param::ImmData, flag(p.immediate_data)),
        (Param::FirstBurst, p.first_burst_length),
        (Param::MaxBurst, p.max_burst_length),
        (Param::PduInorder, flag(p.data_pdu_in_order)),
        (Param::DataseqInorder, flag(p.data_sequence_in_order)),
        (Param::Erl, p.error_recovery_level),
        (Param::ExpStatSn, facts.negotiated.exp_stat_sn),
        (Param::SessRecoveryTmo, seconds(timeouts.recovery)),
        (Param::FastAbort, 1),
        (Param::AbortTmo, seconds(timeouts.abort)),
        (Param::LuResetTmo, seconds(timeouts.lun_reset)),
        (Param::TgtResetTmo, seconds(timeouts.target_reset)),
        (Param::RecvTmo, ping_after),
        (Param::PingTmo, ping_answer),
        (Param::PersistentPort, u32::from(facts.portal.port)),
    ]
    .into_iter()
    .map(|(param, number)| (param, Value(number.to_string().into_bytes())))
    .collect();
    let mut text = |param, value: &[u8]| list.push((param, Value(value.to_vec())));
    text(Param::TargetName, facts.target.as_str().as_bytes());
    text(Param::PersistentAddress, facts.portal.ip.to_string().as_bytes());
    text(Param::IfaceName, b"default");
    text(Param::InitiatorName, facts.initiator.as_str().as_bytes());
    // Without a tag iscsid takes 1, as targets with a single group do.
    text(Param::Tpgt, facts.negotiated.group.unwrap_or(1).to_string().as_bytes());
    if let Some(credentials) = facts.credentials {
        text(Param::Username, credentials.own.name.as_bytes());
        text(Param::Password, credentials.own.secret.reveal());
        if let Some(target) = &credentials.target {
            text(Param::UsernameIn, target.name.as_bytes());
            text(Param::PasswordIn, target.secret.reveal());
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iscsi::chap::{Account, Secret};
    use crate::iscsi::login::Authenticated;
    use crate::iscsi::negotiation::{Offer, Parameters};

    fn shown(credentials: Option<&Credentials>, timeouts: Timeouts) -> Vec<String> {
        let negotiated = Negotiated {
            parameters: Parameters {
                header_digest: Digest::Crc32c,
                initial_r2t: false,
                max_send_data: 65_536,
                ..Parameters::new(&Offer::default())
            },
            tsih: 1,
            exp_stat_sn: u32::MAX,
            cmd_sn: 1,
            group: Some(3),
            alias: None,
            authenticated: Authenticated::No,
        };
        let facts = Facts {
            negotiated: &negotiated,
            target: &"iqn.2026-01.org.example:disk".parse().unwrap(),
            initiator: &"iqn.2026-01.org.example:node".parse().unwrap(),
            portal: "[fd00::14]:3261".parse().unwrap(),
            credentials,
            timeouts,
        };
        all(&facts)
            .iter()
            .map(|(param, value)| format!("{}={}", param.number(), String::from_utf8_lossy(value.as_bytes())))
            .collect()
    }

    #[test]
    fn all_parameters() {
        let account = |name: &str| Account { name: name.into(), secret: Secret::new(format!("{name}-secret")) };
        let credentials = Credentials { own: account("node"), target: Some(account("target")) };
        let want = "0=262144 1=65536 2=1 3=0 4=0 5=1 6=1 7=65536 8=262144 9=1 10=1 11=0 14=4294967295 19=600 26=1 27=15 28=30 \
                    35=30 31=5 30=5 18=3261 15=iqn.2026-01.org.example:disk 17=fd00::14 32=default \
                    34=iqn.2026-01.org.example:node 16=3";
        let with = format!("{want} 22=node 24=node-secret 23=target 25=target-secret");
        assert_eq!(shown(None, Timeouts::default()).join(" "), want);
        assert_eq!(shown(Some(&credentials), Timeouts::default()).join(" "), with);
    }

    #[test]
    fn pings_need_both_times() {
        let timeouts = Timeouts { ping_after: Duration::ZERO, ..Timeouts::default() };
        let shown = shown(None, timeouts);
        assert!(shown.contains(&"30=0".into()) && shown.contains(&"31=0".into()), "{shown:?}");
    }
}
