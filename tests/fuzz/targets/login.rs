#![no_main]
use libfuzzer_sys::fuzz_target;
use sidus::iscsi::chap::{Account, Credentials, OwnChallenge, Secret};
use sidus::iscsi::login::{Action, Config, Login, Purpose, MAX_ROUNDS};
use sidus::iscsi::pdu::{Pdu, DEFAULT_MAX_DATA, HEADER};

// The answers of a target, back to back; the first byte says with which credentials.
fuzz_target!(|bytes: &[u8]| {
    let Some((first, mut rest)) = bytes.split_first() else {
        return;
    };
    let account = |name: &str| Account {
        name: name.into(),
        secret: Secret::new(name),
    };
    let challenge = OwnChallenge {
        id: 1,
        challenge: [7; 16],
    };
    let (Ok(node), Ok(disk)) = (
        "iqn.2026-01.org.example:n".parse(),
        "iqn.2026-01.org.example:d".parse(),
    ) else {
        return;
    };
    let mut config = Config::new(node, Purpose::Normal(disk), [0; 6], challenge);
    config.credentials = match first % 3 {
        0 => None,
        1 => Some(Credentials {
            own: account("n"),
            target: None,
        }),
        _ => Some(Credentials {
            own: account("n"),
            target: Some(account("t")),
        }),
    };
    let mut login = Login::new(config);
    assert!(login.start().is_ok());
    let mut rounds = 0;
    while let Ok(pdu) = Pdu::from_bytes(rest, DEFAULT_MAX_DATA) {
        rounds += 1;
        assert!(rounds <= MAX_ROUNDS + 1);
        rest = rest
            .get(HEADER + pdu.data.len().div_ceil(4) * 4..)
            .unwrap_or_default();
        if !matches!(login.receive(&pdu), Ok(Action::Send(_))) {
            return;
        }
    }
});
