use super::*;

#[test]
fn good_names() {
    let long = format!("iqn.2026-01.org.example:{}", "x".repeat(MAX_NAME - 24));
    for text in [
        "iqn.2026-01.org.example",
        "iqn.2026-01.org.example:",
        "iqn.2026-01.org.example:10.13.20.101",
        "iqn.2026-01.org.example:fd00::14",
        "iqn.1991-05.com.microsoft:win-Server-Target1",
        "iqn.2026-12.org.example:größe",
        "eui.02004567A425678D",
        "naa.52004567BA64678D",
        "naa.62004567BA64678D0123456789ABCDEF",
        long.as_str(),
    ] {
        assert_eq!(text.parse::<Iqn>().map(|n| n.to_string()), Ok(text.to_owned()), "{text}");
        assert_eq!(text.parse::<InitiatorName>().map(|n| n.to_string()), Ok(text.to_owned()));
    }
}

#[test]
fn bad_names() {
    let long = format!("iqn.2026-01.org.example:{}", "x".repeat(200));
    for (text, want) in [
        ("", "\"\": an iSCSI name begins with \"iqn.\", \"eui.\" or \"naa.\""),
        ("disk1", "\"disk1\": an iSCSI name begins with \"iqn.\", \"eui.\" or \"naa.\""),
        ("IQN.2026-01.org.example", "\"IQN.2026-01.org.example\": an iSCSI name begins with \"iqn.\", \"eui.\" or \"naa.\""),
        ("iqn.2026-13.org.example", "\"iqn.2026-13.org.example\": after \"iqn.\" a year and a month are expected, as in \"iqn.2026-01.\""),
        ("iqn.2026-00.org", "\"iqn.2026-00.org\": after \"iqn.\" a year and a month are expected, as in \"iqn.2026-01.\""),
        ("iqn.26-01.org", "\"iqn.26-01.org\": after \"iqn.\" a year and a month are expected, as in \"iqn.2026-01.\""),
        ("iqn.2026-01", "\"iqn.2026-01\": after \"iqn.\" a year and a month are expected, as in \"iqn.2026-01.\""),
        ("iqn.2026-01.", "\"iqn.2026-01.\": after the date a reversed domain name is expected, as in \"iqn.2026-01.org.example\""),
        ("iqn.2026-01.:x", "\"iqn.2026-01.:x\": after the date a reversed domain name is expected, as in \"iqn.2026-01.org.example\""),
        ("iqn.2026-01.org..example", "\"iqn.2026-01.org..example\": after the date a reversed domain name is expected, as in \"iqn.2026-01.org.example\""),
        ("iqn.2026-01.org.example:a_b", "\"iqn.2026-01.org.example:a_b\": '_' is not allowed in an iSCSI name; letters, digits, '-', '.' and ':' are (RFC 3722)"),
        ("iqn.2026-01.org.example:a b", "\"iqn.2026-01.org.example:a b\": ' ' is not allowed in an iSCSI name; letters, digits, '-', '.' and ':' are (RFC 3722)"),
        ("iqn.2026-01.org.example\n", "\"iqn.2026-01.org.example\\\\n\": '\\n' is not allowed in an iSCSI name; letters, digits, '-', '.' and ':' are (RFC 3722)"),
        ("iqn.2026-01.org.example:{ip}", "\"iqn.2026-01.org.example:{ip}\": '{' is not allowed in an iSCSI name; letters, digits, '-', '.' and ':' are (RFC 3722)"),
        ("eui.0200", "\"eui.0200\": 16 hexadecimal digits are expected after \"eui.\""),
        ("eui.02004567A425678G", "\"eui.02004567A425678G\": 16 hexadecimal digits are expected after \"eui.\""),
        ("naa.02004567A425678D0", "\"naa.02004567A425678D0\": 16 or 32 hexadecimal digits are expected after \"naa.\""),
        (long.as_str(), "iSCSI name of 224 bytes; at most 223 are allowed (RFC 7143 4.2.7)"),
    ] {
        assert_eq!(text.parse::<Iqn>().map_err(|e| e.to_string()), Err(want.to_owned()), "{text}");
    }
}

#[test]
fn good_portals() {
    for (text, want) in [
        ("10.13.20.14", "10.13.20.14:3260"),
        ("10.13.20.14:3261", "10.13.20.14:3261"),
        ("fd00::14", "[fd00::14]:3260"),
        ("::1", "[::1]:3260"),
        ("[fd00::14]", "[fd00::14]:3260"),
        ("[fd00::14]:65535", "[fd00::14]:65535"),
        ("fd00::14:3261", "[fd00::14:3261]:3260"),
    ] {
        assert_eq!(text.parse::<Portal>().map(|p| p.to_string()), Ok(want.to_owned()), "{text}");
    }
}

#[test]
fn bad_portals() {
    for (text, want) in [
        ("", "empty; an IP address is expected, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260"),
        ("san", "\"san\" is a host name; an IP address is expected (a node resolves no names this early)"),
        (
            "san.example:3260",
            "\"san.example\" is a host name; an IP address is expected (a node resolves no names this early)",
        ),
        ("10.13.20", "\"10.13.20\" is no IP address"),
        ("10.13.20.256", "\"10.13.20.256\" is no IP address"),
        ("010.13.20.14", "\"010.13.20.14\" is no IP address"),
        ("10.13.20.14:", "\"\" is no port; 1 to 65535 is expected"),
        ("10.13.20.14:0", "\"0\" is no port; 1 to 65535 is expected"),
        ("10.13.20.14:65536", "\"65536\" is no port; 1 to 65535 is expected"),
        ("10.13.20.14:+80", "\"+80\" is no port; 1 to 65535 is expected"),
        (":3260", "\"\" is no IP address"),
        ("[fd00::14", "\"[fd00::14\": an IPv6 address with a port is written [address]:port"),
        ("[fd00::14]3260", "\"[fd00::14]3260\": an IPv6 address with a port is written [address]:port"),
        ("[10.0.0.1]:3260", "\"[10.0.0.1]:3260\" is no IP address"),
        ("fd00:::14", "\"fd00:::14\" is no IP address"),
        (
            "[fe80::1%eth0]:3260",
            "\"[fe80::1%eth0]:3260\": an address with a zone (%) cannot be a portal; use a global or unique local one",
        ),
        ("10.13.20.14,10.13.20.15", "\"10.13.20.14,10.13.20.15\" is no IP address"),
        (" 10.13.20.14", "\" 10.13.20.14\" is no IP address"),
    ] {
        assert_eq!(text.parse::<Portal>().map_err(|e| e.to_string()), Err(want.to_owned()), "{text}");
    }
}

#[test]
fn target_addresses() {
    for (text, want) in [
        ("10.13.20.14:3260,1", Ok("10.13.20.14:3260,1")),
        ("10.13.20.14,1", Ok("10.13.20.14:3260,1")),
        ("[fd00::14]:3261,65535", Ok("[fd00::14]:3261,65535")),
        ("[fd00::14]", Ok("[fd00::14]:3260")),
        ("san.example:3260,1", Ok("san.example:3260,1")),
        ("10.13.20.14,", Err("\"\" is no portal group tag; 0 to 65535 is expected after the comma")),
        ("10.13.20.14,65536", Err("\"65536\" is no portal group tag; 0 to 65535 is expected after the comma")),
        ("10.13.20.14,-1", Err("\"-1\" is no portal group tag; 0 to 65535 is expected after the comma")),
        (",1", Err("empty; an IP address is expected, as in 10.13.20.14, 10.13.20.14:3260 or [fd00::14]:3260")),
        ("a b,1", Err("\"a b\" is no IP address")),
    ] {
        assert_eq!(
            text.parse::<TargetAddress>().map(|a| a.to_string()).map_err(|e| e.to_string()),
            want.map(str::to_owned).map_err(str::to_owned),
            "{text}"
        );
    }
    let named: TargetAddress = "san.example:3260,1".parse().unwrap();
    assert_eq!(named.portal(), Err(PortalError::HostName { got: "san.example".into() }));
}

#[test]
fn any_bytes_never_panic() {
    let mut random = crate::iscsi::testing::Random::new(1);
    for _ in 0..20_000 {
        let text = random.text(b"[]:,.%-0123456789abcdef\xc3\xa4 \0iqnue", 40);
        let _ = text.parse::<Iqn>();
        let _ = text.parse::<Portal>();
        if let Ok(address) = text.parse::<TargetAddress>() {
            assert_eq!(address.to_string().parse::<TargetAddress>().as_ref(), Ok(&address), "{text}");
        }
    }
}
