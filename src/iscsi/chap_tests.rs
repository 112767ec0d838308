use super::*;

const OWN: OwnChallenge = OwnChallenge { id: 9, challenge: *b"0123456789abcdef" };

fn account(name: &str, secret: &str) -> Account {
    Account { name: name.into(), secret: Secret::new(secret) }
}

fn mutual() -> Credentials {
    Credentials { own: account("node", "node-secret"), target: Some(account("target", "target-secret")) }
}

fn text(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in pairs {
        crate::iscsi::text::push(&mut text, key, value);
    }
    text
}

/// Computed with: printf '\x01secret\x00\x01\x02' | md5sum; … | sha256sum
#[test]
fn responses() {
    assert_eq!(hex(&respond(Algorithm::Md5, 1, b"secret", &[0, 1, 2])), MD5_OF_ONE_SECRET);
    assert_eq!(hex(&respond(Algorithm::Sha256, 1, b"secret", &[0, 1, 2])), SHA256_OF_ONE_SECRET);
}
pub(in crate::iscsi) const MD5_OF_ONE_SECRET: &str = "0xc4081e0c9f89346155ddb08f0bf91611";
const SHA256_OF_ONE_SECRET: &str = "0xcffc5dcbdadd7e87012032080d10cda0a807686f84bc2a2d72ab2ad4f1552626";

#[test]
fn binary_values() {
    for (text, want) in [
        ("0x00ff", Some(vec![0, 0xff])),
        ("0XaBc", Some(vec![0x0a, 0xbc])),
        ("0bAP8=", Some(vec![0, 0xff])),
        ("0bAP8B", Some(vec![0, 0xff, 1])),
        ("0BAA==", Some(vec![0])),
        ("", None),
        ("0x", None),
        ("0b", None),
        ("00ff", None),
        ("0x0g", None),
        ("0x+1", None),
        ("0bAP8", None),
        ("0bA===", None),
        ("0b====", None),
        ("0bAA=A", None),
        ("0bAA==AAAA", None),
        ("0bA*8=", None),
        ("ä0", None),
    ] {
        assert_eq!(binary(text), want, "{text}");
    }
    assert_eq!(binary(&hex(&[7; MAX_BINARY])), Some(vec![7; MAX_BINARY]));
    assert_eq!(binary(&hex(&[7; MAX_BINARY + 1])), None);
    assert_eq!(binary(&format!("0b{}", "AAAA".repeat(342))), None, "1026 bytes");
    assert_eq!(binary(&format!("0b{}", "A".repeat(8000))), None);
}

#[test]
fn bad_challenges() {
    for (pairs, want) in [
        (&[][..], "the target's answer has no CHAP_A"),
        (&[("CHAP_A", "7")], "the target wants CHAP algorithm \"7\"; \"5\" was offered"),
        (&[("CHAP_A", "Reject")], "the target wants CHAP algorithm \"Reject\"; \"5\" was offered"),
        (&[("CHAP_A", "5")], "the target's answer has no CHAP_I"),
        (&[("CHAP_A", "5"), ("CHAP_I", "256")], "CHAP_I=\"256\"; a number from 0 to 255 was expected"),
        (&[("CHAP_A", "5"), ("CHAP_I", "+1")], "CHAP_I=\"+1\"; a number from 0 to 255 was expected"),
        (&[("CHAP_A", "5"), ("CHAP_I", "1")], "the target's answer has no CHAP_C"),
        (
            &[("CHAP_A", "5"), ("CHAP_I", "0x1"), ("CHAP_C", "0x")],
            "CHAP_C is neither hexadecimal (0x…) nor base64 (0b…) of 1 to 1024 bytes",
        ),
        (
            &[("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0x30313233343536373839616263646566")],
            "the target reflected this node's own challenge; it does not know its secret, or somebody stands in between",
        ),
    ] {
        let text = text(pairs);
        let keys = Keys::parse(&text).unwrap();
        assert_eq!(
            answer(&mutual(), &[Algorithm::Md5], &OWN, &keys).map_err(|e| e.to_string()),
            Err(want.to_owned())
        );
    }
}

#[test]
fn mutual_proofs() {
    let challenge = text(&[("CHAP_A", "5"), ("CHAP_I", "1"), ("CHAP_C", "0b3q2+7w==")]);
    let (sent, expected) = answer(&mutual(), &[Algorithm::Md5], &OWN, &Keys::parse(&challenge).unwrap()).unwrap();
    let expected = expected.unwrap();
    let keys: Vec<_> = sent.iter().map(|(key, _)| *key).collect();
    assert_eq!(keys, ["CHAP_N", "CHAP_R", "CHAP_I", "CHAP_C"]);
    let right = hex(&respond(Algorithm::Md5, 9, b"target-secret", &OWN.challenge));
    let mirror = hex(&respond(Algorithm::Md5, 9, b"node-secret", &OWN.challenge));
    for (pairs, want) in [
        (&[("CHAP_N", "target"), ("CHAP_R", right.as_str())][..], Ok(())),
        (
            &[("CHAP_N", "other"), ("CHAP_R", &right)],
            Err("the target calls itself \"other\"; username_in says \"target\""),
        ),
        (
            &[("CHAP_N", "target"), ("CHAP_R", "0x00")],
            Err("the target proved a wrong secret; compare password_in with the outgoing account on the target"),
        ),
        (
            &[("CHAP_N", "target"), ("CHAP_R", &mirror)],
            Err("the target proved the node's secret in place of its own; both must differ (RFC 7143 12.1.3)"),
        ),
        (
            &[("CHAP_I", "9"), ("CHAP_C", &hex(&OWN.challenge))],
            Err("the target reflected this node's own challenge; it does not know its secret, or somebody stands in between"),
        ),
        (&[("CHAP_N", "target")], Err("the target's answer has no CHAP_R")),
        (&[], Err("the target's answer has no CHAP_N")),
    ] {
        let text = text(pairs);
        assert_eq!(
            verify(&expected, &Keys::parse(&text).unwrap()).map_err(|e| e.to_string()),
            want.map_err(str::to_owned),
            "{pairs:?}"
        );
    }
}

#[test]
fn secrets_are_not_shown() {
    let shown = format!("{:?} {OWN:?}", mutual());
    assert!(!shown.contains("secret\"") && !shown.contains("-secret"), "{shown}");
}

#[test]
fn any_text_never_panics() {
    let mut random = crate::iscsi::testing::Random::new(4);
    for _ in 0..50_000 {
        let value = random.text(b"0xXbB+/=AZaz09\xc3\xa4", 30);
        if let Some(bytes) = binary(&value) {
            assert_eq!(binary(&hex(&bytes)), Some(bytes));
        }
    }
}
