use super::*;
use crate::iscsi::chap::{Account, Secret};
use crate::iscsi::negotiation::Digest;
use crate::iscsi::status::Retry;

fn config() -> Config {
    Config {
        tag: 5,
        ..Config::new(
            "iqn.2026-01.org.example:node".parse().unwrap(),
            Purpose::Normal("iqn.2026-01.org.example:disk".parse().unwrap()),
            [0, 2, 0x3d, 0, 0, 9],
            OwnChallenge { id: 9, challenge: *b"0123456789abcdef" },
        )
    }
}

/// What a request says: flags and text, `|` for NUL.
fn said(pdu: &Pdu) -> String {
    let Body::LoginRequest { flags, .. } = pdu.body else {
        panic!("{pdu:?}");
    };
    format!(
        "{:?}{} {}",
        flags.current,
        if flags.transit { " T" } else { "" },
        String::from_utf8_lossy(&pdu.data).replace('\0', "|")
    )
}

/// `flags`: `s` security, `o` operational, `T` transit, `C` continue.
fn response(flags: &str, stat_sn: u32, text: &str) -> Pdu {
    let current = if flags.contains('s') { Stage::Security } else { Stage::Operational };
    let next = if current == Stage::Security { Stage::Operational } else { Stage::FullFeature };
    Pdu {
        tag: 5,
        body: Body::LoginResponse {
            flags: LoginFlags { transit: flags.contains('T'), more: flags.contains('C'), current, next },
            version_max: 0,
            version_active: 0,
            isid: [0; 6],
            tsih: 0x1234,
            stat_sn,
            exp_cmd_sn: 1,
            max_cmd_sn: 1,
            status_class: 0,
            status_detail: 0,
        },
        data: text.replace('|', "\0").into_bytes(),
    }
}

fn next(login: &mut Login, response: &Pdu) -> String {
    match login.receive(response) {
        Ok(Action::Send(pdu)) => said(&pdu),
        other => panic!("{other:?}; something to send was expected"),
    }
}

fn done(login: &mut Login, response: &Pdu) -> Negotiated {
    match login.receive(response) {
        Ok(Action::Done(negotiated)) => *negotiated,
        other => panic!("{other:?}; the end was expected"),
    }
}

const OFFER: &str = "HeaderDigest=None|DataDigest=None|DefaultTime2Wait=2|DefaultTime2Retain=0|ErrorRecoveryLevel=0|\
    MaxRecvDataSegmentLength=262144|ImmediateData=Yes|InitialR2T=No|MaxBurstLength=16776192|FirstBurstLength=262144|\
    MaxOutstandingR2T=1|MaxConnections=1|DataPDUInOrder=Yes|DataSequenceInOrder=Yes|";

#[test]
fn without_credentials() {
    let mut login = Login::new(config());
    assert_eq!(
        said(&login.start().unwrap()),
        format!("Operational T InitiatorName=iqn.2026-01.org.example:node|SessionType=Normal|TargetName=iqn.2026-01.org.example:disk|{OFFER}")
    );
    let end = done(
        &mut login,
        &response(
            "oT",
            0xffff_ffff,
            "TargetPortalGroupTag=3|TargetAlias=lun|InitialR2T=No|MaxBurstLength=65536|FirstBurstLength=131072|MaxRecvDataSegmentLength=0x10000|",
        ),
    );
    assert_eq!((end.tsih, end.exp_stat_sn, end.group), (0x1234, 0, Some(3)));
    assert_eq!(end.alias.as_deref(), Some("lun"));
    assert_eq!(end.authenticated, Authenticated::No);
    assert_eq!(
        end.parameters,
        Parameters {
            initial_r2t: false,
            max_burst_length: 65_536,
            first_burst_length: 65_536,
            max_send_data: 65_536,
            ..Parameters::new(&Offer::default())
        }
    );
    assert_eq!(
        login.receive(&response("oT", 0, "")),
        Err(LoginError::Stage { got: "stage Operational".into(), want: "the security stage" })
    );
}

#[test]
fn what_the_target_proposes_is_answered() {
    let mut login = Login::new(config());
    login.start().unwrap();
    assert_eq!(
        next(&mut login, &response("o", 1, "ImmediateData=Yes|IFMarker=No|OFMarkInt=1~2|X-a=b|")),
        "Operational T IFMarker=No|OFMarkInt=Reject|X-a=NotUnderstood|"
    );
    done(&mut login, &response("oT", 2, "InitialR2T=Yes|"));
}

#[test]
fn chap_and_an_answer_in_pieces() {
    let credentials = Credentials { own: Account { name: "node".into(), secret: Secret::new("secret") }, target: None };
    let mut login = Login::new(Config { credentials: Some(credentials), ..config() });
    assert_eq!(
        said(&login.start().unwrap()),
        "Security InitiatorName=iqn.2026-01.org.example:node|SessionType=Normal|TargetName=iqn.2026-01.org.example:disk|AuthMethod=CHAP,None|"
    );
    assert_eq!(next(&mut login, &response("s", 1, "AuthMethod=CHAP|")), "Security CHAP_A=5|");
    assert_eq!(next(&mut login, &response("sC", 2, "CHAP_A=5|CHAP_I=1|CHA")), "Security ");
    // md5(01 "secret" 00 01 02), as md5sum has it in chap_tests.rs.
    assert_eq!(
        next(&mut login, &response("s", 3, "P_C=0x000102|")),
        format!("Security T CHAP_N=node|CHAP_R={}|", crate::iscsi::chap::tests::MD5_OF_ONE_SECRET)
    );
    assert_eq!(next(&mut login, &response("sT", 4, "")), format!("Operational T {OFFER}"));
    let end = done(&mut login, &response("oT", 5, ""));
    assert_eq!((end.authenticated, end.exp_stat_sn), (Authenticated::Node, 6));
}

#[test]
fn credentials_that_nobody_wants() {
    let account = |name: &str| Account { name: name.into(), secret: Secret::new(name) };
    let mut login =
        Login::new(Config { credentials: Some(Credentials { own: account("node"), target: None }), ..config() });
    login.start().unwrap();
    assert_eq!(next(&mut login, &response("s", 1, "AuthMethod=None|")), "Security T ");
    assert_eq!(next(&mut login, &response("sT", 2, "")), format!("Operational T {OFFER}"));
    assert_eq!(done(&mut login, &response("oT", 3, "")).authenticated, Authenticated::No);
}

#[test]
fn a_digest_is_demanded() {
    let offer = Offer { header_digest: Digest::Crc32c, ..Offer::default() };
    let mut login = Login::new(Config { offer, ..config() });
    assert!(said(&login.start().unwrap()).contains("HeaderDigest=CRC32C|DataDigest=None|"));
    let error = login.receive(&response("oT", 1, "")).unwrap_err();
    assert_eq!(error, NegotiationError::Digest { key: "HeaderDigest" }.into());
    assert_eq!(error.retry(), Retry::Never);
}

#[test]
fn a_discovery_offers_what_matters_there() {
    let mut login = Login::new(Config { purpose: Purpose::Discovery, ..config() });
    let said = said(&login.start().unwrap());
    assert!(
        said.contains("SessionType=Discovery|") && !said.contains("TargetName") && !said.contains("MaxBurst"),
        "{said}"
    );
}

#[test]
fn secrets_are_in_no_debug_output() {
    let account = Account { name: "node".into(), secret: Secret::new("hunter2") };
    let login = Login::new(Config { credentials: Some(Credentials { own: account, target: None }), ..config() });
    assert!(!format!("{login:?}").contains("hunter2"));
    // Nor as a list of its bytes.
    assert!(!format!("{login:?}").contains("104, 117"));
}

#[test]
fn any_answers_end_without_a_panic() {
    use crate::iscsi::testing::Random;
    let account = |name: &str| Account { name: name.into(), secret: Secret::new(name) };
    let accounts = [
        None,
        Some(Credentials { own: account("node"), target: None }),
        Some(Credentials { own: account("node"), target: Some(account("san")) }),
    ];
    let texts = [
        "AuthMethod=CHAP|",
        "AuthMethod=None|",
        "CHAP_A=5|",
        "CHAP_I=1|CHAP_C=0x00|",
        "CHAP_C=0x30313233343536373839616263646566|",
        "CHAP_N=san|CHAP_R=0x00|",
        "MaxBurstLength=512|",
        "FirstBurstLength=16777215|",
        "HeaderDigest=CRC32C,None|",
        "TargetPortalGroupTag=1|",
        "TargetAddress=10.0.0.1|",
        "MaxRecvData",
        "X-unknown=1|",
        "=|",
    ];
    let mut random = Random::new(10);
    let mut ends = [0; 3];
    for round in 0..20_000 {
        let mut login = Login::new(Config { credentials: accounts[round % 3].clone(), ..config() });
        login.start().unwrap();
        let mut answers = 0;
        loop {
            answers += 1;
            assert!(answers <= MAX_ROUNDS + 1, "a login that does not end");
            let flags: String = "soTC".chars().filter(|_| random.below(2) == 0).collect();
            let text: String = (0..random.below(5)).map(|_| texts[random.below(texts.len())]).collect();
            let mut answer = response(&flags, answers, &text);
            if let Body::LoginResponse { status_class, status_detail, .. } = &mut answer.body {
                *status_class = u8::from(random.below(20) == 0);
                *status_detail = u8::try_from(random.below(4)).unwrap();
            }
            match login.receive(&answer) {
                Ok(Action::Send(_)) => {}
                Ok(Action::Done(end)) => {
                    // Who demands a proof of the target gets it, or no session.
                    assert_ne!((round % 3, end.authenticated), (2, Authenticated::No));
                    assert_ne!((round % 3, end.authenticated), (2, Authenticated::Node));
                    ends[0] += 1;
                    break;
                }
                Ok(Action::Redirect { .. }) => {
                    ends[1] += 1;
                    break;
                }
                Err(_) => {
                    ends[2] += 1;
                    break;
                }
            }
        }
    }
    assert!(ends.iter().all(|count| *count > 0), "{ends:?}: one end was never reached");
}
