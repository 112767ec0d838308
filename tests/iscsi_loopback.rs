//! Discovery and login against real targets on loopback: tgt and istgt. Needs no root and no disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

mod targets;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sidus::iscsi::chap::{Algorithm, Credentials};
use sidus::iscsi::deadline::Deadline;
use sidus::iscsi::discovery::choose;
use sidus::iscsi::login::{Authenticated, Config, Negotiated};
use sidus::iscsi::name::{Portal, TargetAddress};
use sidus::iscsi::negotiation::{Digest, Offer};
use sidus::iscsi::tcp::{discover, login, Carrier, TcpError};
use targets::{config, credentials, Istgt, Tgt, INITIATOR};

const LIMIT: Duration = Duration::from_secs(20);
const DISK: &str = "iqn.2026-01.org.example:10.13.20.101";

fn log_in(portal: Portal, config: Config) -> Result<Negotiated, TcpError> {
    let mut carrier = Carrier::connect(portal, Deadline::after(LIMIT)).unwrap();
    login(&mut carrier, config)
}

fn outcome(portal: Portal, target: &str, credentials: Option<Credentials>) -> Result<Authenticated, String> {
    let config = Config { credentials, ..config(Some(target)) };
    log_in(portal, config).map(|done| done.authenticated).map_err(|error| error.to_string())
}

fn refused(status: &str, words: &str) -> Result<Authenticated, String> {
    Err(format!("login refused with status {status}: {words}"))
}

#[test]
fn tgt_discovery_and_login_without_credentials() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.target(1, DISK);
    tgt.target(2, "iqn.2026-01.org.example:10.13.20.10");
    let found = discover(tgt.portal, config(None), Deadline::after(LIMIT)).unwrap();
    assert_eq!(found.ignored, Vec::<String>::new());
    let target = choose(&found.targets, "10.13.20.10".parse().unwrap()).unwrap();
    assert_eq!(target.name.as_str(), "iqn.2026-01.org.example:10.13.20.10");
    let address: TargetAddress = format!("{},1", tgt.portal).parse().unwrap();
    assert_eq!(target.addresses, [address]);

    let done = log_in(tgt.portal, config(Some(DISK))).unwrap();
    println!("tgt: {done:?}");
    assert_eq!(done.authenticated, Authenticated::No);
    assert_eq!(done.group, Some(1));
    assert_ne!(done.tsih, 0);
    assert!(done.parameters.max_send_data >= 8192 && done.parameters.immediate_data);
}

#[test]
fn tgt_chap() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.target(1, DISK);
    tgt.account(1, "node", "node-secret", false);
    let portal = tgt.portal;
    let with = |user, secret| outcome(portal, DISK, credentials((user, secret), None));
    assert_eq!(with("node", "node-secret"), Ok(Authenticated::Node));
    let words = format!(
        "the target refused the authentication for target {DISK:?}: compare username and password with its CHAP account, \
         and whether it wants CHAP at all"
    );
    assert_eq!(with("node", "wrong"), refused("0201", &words));
    assert_eq!(with("nobody", "node-secret"), refused("0201", &words));
    assert_eq!(outcome(portal, DISK, None), refused("0201", &words));
    let sha = Config {
        credentials: credentials(("node", "node-secret"), None),
        algorithms: vec![Algorithm::Md5, Algorithm::Sha256],
        ..config(Some(DISK))
    };
    assert_eq!(log_in(portal, sha).unwrap().authenticated, Authenticated::Node);
}

#[test]
fn tgt_mutual_chap() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.target(1, DISK);
    tgt.account(1, "node", "node-secret", false);
    tgt.account(1, "target", "target-secret", true);
    let with = |user, secret| outcome(tgt.portal, DISK, credentials(("node", "node-secret"), Some((user, secret))));
    assert_eq!(with("target", "target-secret"), Ok(Authenticated::Both));
    assert_eq!(
        with("target", "wrong"),
        Err("CHAP: the target proved a wrong secret; compare password_in with the outgoing account on the target"
            .into())
    );
    assert_eq!(
        with("other", "target-secret"),
        Err("CHAP: the target calls itself \"target\"; username_in says \"other\"".into())
    );
}

#[test]
fn tgt_credentials_where_none_are_wanted() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.target(1, DISK);
    assert_eq!(outcome(tgt.portal, DISK, credentials(("node", "node-secret"), None)), Ok(Authenticated::No));
    let mutual = credentials(("node", "node-secret"), Some(("target", "target-secret")));
    println!("{:?}", outcome(tgt.portal, DISK, mutual));
    let found = discover(
        tgt.portal,
        Config { credentials: credentials(("node", "node-secret"), None), ..config(None) },
        Deadline::after(LIMIT),
    );
    assert_eq!(found.unwrap().targets.len(), 1);
}

#[test]
fn tgt_unknown_target_and_forbidden_initiator() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.admin(&format!("--op new --mode target --tid 1 -T {DISK}"));
    let none = "iqn.2026-01.org.example:none";
    for target in [none, DISK] {
        let words = format!(
            "the portal has no target {target:?}, or not for initiator {INITIATOR:?}: create it there, or correct its name here"
        );
        assert_eq!(outcome(tgt.portal, target, None), refused("0203", &words));
    }
    let found = discover(tgt.portal, config(None), Deadline::after(LIMIT)).unwrap();
    assert_eq!(
        choose(&found.targets, "10.13.20.101".parse().unwrap()).map_err(|e| e.to_string()),
        Err("no target's name ends in \":10.13.20.101\"; the portal offers this initiator no targets".into())
    );
}

#[test]
fn tgt_digests() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.target(1, DISK);
    let with = |header_digest, data_digest| {
        let offer = Offer { header_digest, data_digest, ..Offer::default() };
        log_in(tgt.portal, Config { offer, ..config(Some(DISK)) })
            .map(|done| (done.parameters.header_digest, done.parameters.data_digest))
            .map_err(|error| error.to_string())
    };
    // tgt grants none by default.
    let refusal =
        |key: &str| Err(format!("the target does not grant {key}=CRC32C: allow it there, or do not demand it here"));
    assert_eq!(with(Digest::Crc32c, Digest::None), refusal("HeaderDigest"));
    assert_eq!(with(Digest::None, Digest::Crc32c), refusal("DataDigest"));
    for key in ["HeaderDigest", "DataDigest"] {
        tgt.admin(&format!("--op update --mode target --tid 1 --name {key} --value CRC32C,None"));
    }
    for (header, data) in [
        (Digest::None, Digest::None),
        (Digest::Crc32c, Digest::None),
        (Digest::None, Digest::Crc32c),
        (Digest::Crc32c, Digest::Crc32c),
    ] {
        assert_eq!(with(header, data), Ok((header, data)));
    }
}

#[test]
fn tgt_500_targets_span_pdus() {
    let tgt = Tgt::start("127.0.0.1");
    for number in 1..=500 {
        tgt.target(
            number,
            &format!("iqn.2026-01.org.example:{}:10.13.{}.{}", "x".repeat(60), number / 200, number % 200),
        );
    }
    let started = Instant::now();
    for max_recv_data in [512, 8192, 262_144] {
        let offer = Offer { max_recv_data, ..Offer::default() };
        let found = discover(tgt.portal, Config { offer, ..config(None) }, Deadline::after(LIMIT)).unwrap();
        assert_eq!(found.targets.len(), 500, "{max_recv_data}");
        assert!(found.targets.iter().all(|target| target.addresses.len() == 1));
        let ours = choose(&found.targets, "10.13.2.99".parse().unwrap()).unwrap();
        assert!(ours.name.as_str().ends_with(":10.13.2.99"));
    }
    println!("500 targets, three times: {:?}", started.elapsed());
}

#[test]
fn tgt_ipv6() {
    let has_v6 = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default().contains(" lo\n");
    if !has_v6 {
        println!("NOT TESTED: this host has no ::1 (see /proc/net/if_inet6)");
        return;
    }
    let tgt = Tgt::start("::1");
    tgt.target(1, "iqn.2026-01.org.example:fd00::14");
    let found = discover(tgt.portal, config(None), Deadline::after(LIMIT)).unwrap();
    let target = choose(&found.targets, "fd00:0:0::14".parse().unwrap()).unwrap();
    assert_eq!(target.addresses[0].portal(), Ok(tgt.portal));
    assert_eq!(outcome(tgt.portal, "iqn.2026-01.org.example:fd00::14", None), Ok(Authenticated::No));
    let carrier = Carrier::connect(tgt.portal, Deadline::after(LIMIT)).unwrap();
    assert_eq!(carrier.source().unwrap().to_string(), "::1");
}

#[test]
fn istgt_discovery_and_login() {
    let istgt = Istgt::start("127.0.0.1");
    let found = discover(istgt.portal, config(None), Deadline::after(LIMIT)).unwrap();
    let names: Vec<_> = found.targets.iter().map(|target| target.name.as_str()).collect();
    let [open, chap, mutual] = ["open", "chap", "mutual"].map(|name| format!("iqn.2026-01.org.example:{name}"));
    assert_eq!(names, [&open, &chap, &mutual]);
    println!("istgt: {:?}", log_in(istgt.portal, config(Some(&open))).unwrap());

    let right = ("node", "node-secret-1");
    let with = |target: &str, own, other| outcome(istgt.portal, target, credentials(own, other));
    assert_eq!(outcome(istgt.portal, &open, None), Ok(Authenticated::No));
    assert_eq!(with(&chap, right, None), Ok(Authenticated::Node));
    assert_eq!(with(&mutual, right, Some(("target", "target-secret-1"))), Ok(Authenticated::Both));
    for (result, want) in [
        (with(&chap, ("node", "wrong"), None), "login refused with status 0201: "),
        (with(&chap, ("nobody", "node-secret-1"), None), "login refused with status 0201: "),
        (
            with(&mutual, right, Some(("target", "wrong"))),
            "CHAP: the target proved a wrong secret; compare password_in",
        ),
        (outcome(istgt.portal, "iqn.2026-01.org.example:none", None), "login refused with status 0203: "),
    ] {
        let error = result.unwrap_err();
        assert!(error.starts_with(want), "{error}; {want} was expected");
    }
    let offer = Offer { header_digest: Digest::Crc32c, data_digest: Digest::Crc32c, ..Offer::default() };
    let done = log_in(istgt.portal, Config { offer, ..config(Some(&open)) }).unwrap();
    assert_eq!(done.parameters.header_digest, Digest::Crc32c);
}

/// Of two targets at one port, one would answer for both.
#[test]
fn no_port_is_given_to_two_targets() {
    const MANY: usize = 2000;
    let ip = [127, 0, 0, 1].into();
    let ports: BTreeSet<_> = (0..MANY).map(|_| targets::free_port(ip)).collect();
    assert_eq!(ports.len(), MANY);
}

#[test]
fn nobody_listens() {
    let ip = "127.0.0.1".parse().unwrap();
    let portal = Portal { ip, port: targets::free_port(ip) };
    let error = discover(portal, config(None), Deadline::after(LIMIT)).unwrap_err().to_string();
    assert_eq!(error, format!("{portal}: no connection: Connection refused (os error 111)"));
}

#[test]
fn a_discovery_that_wants_proof_says_so() {
    let istgt = Istgt::with_discovery("127.0.0.1", "CHAP");
    let deadline = || Deadline::after(LIMIT);
    let error = discover(istgt.portal, config(None), deadline()).unwrap_err();
    assert!(error.wants_proof(), "{error}");
    let credentials = credentials(("node", "node-secret-1"), None);
    let found = discover(istgt.portal, Config { credentials, ..config(None) }, deadline()).unwrap();
    assert_eq!(found.targets.len(), 3);
}
