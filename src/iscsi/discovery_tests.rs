use super::*;
use crate::iscsi::testing::Random;

fn targets(endings: &[&str]) -> Vec<Target> {
    endings
        .iter()
        .map(|ending| Target {
            name: format!("iqn.2026-01.org.example{ending}").parse().unwrap(),
            addresses: Vec::new(),
        })
        .collect()
}

#[test]
fn addresses_that_names_bear() {
    for (ending, want) in [
        (":10.13.20.101", Some("10.13.20.101")),
        (":node:10.13.20.101", Some("10.13.20.101")),
        ("", None),
        (":", None),
        (":disk", None),
        (":10.13.20.101:", None),
        (":10.13.20.101:data", None),
        (":10.13.20.101.bak", None),
        (":x10.13.20.101", None),
        (":10.13.20", None),
        (":010.13.20.101", None),
        (":1.10.13.20.101", None),
        (".10.13.20.101", None),
        (":fd00::2", Some("fd00::2")),
        (":FD00:0:0::2", Some("fd00::2")),
        (":fd00:0:0:0:0:0:0:2", Some("fd00::2")),
        (":node:fd00::2", Some("fd00::2")),
        (":cafe:fd00::2", Some("cafe:fd00::2")),
        (":cafe.x:fd00::2", Some("fd00::2")),
        (":::1", Some("::1")),
        (":fd00:::2", Some("::2")),
        (":::ffff:10.13.20.101", Some("10.13.20.101")),
        // Seven groups are no address, eight are.
        (":2:3:4:5:6:7:8", None),
        (":1:2:3:4:5:6:7:8", Some("1:2:3:4:5:6:7:8")),
    ] {
        let name = format!("iqn.2026-01.org.example{ending}").parse().unwrap();
        assert_eq!(borne_address(&name).map(|ip| ip.to_string()), want.map(str::to_owned), "{ending}");
    }
    assert_eq!(borne_address(&"eui.0102030405060708".parse().unwrap()), None);
}

#[test]
fn the_choice_is_exact() {
    let offered = targets(&[":10.13.20.10", ":10.13.20.101", ":x:fd00::2", ":10.13.20.10.bak"]);
    for (ip, want) in [
        ("10.13.20.10", Ok("iqn.2026-01.org.example:10.13.20.10")),
        ("10.13.20.101", Ok("iqn.2026-01.org.example:10.13.20.101")),
        ("::ffff:10.13.20.101", Ok("iqn.2026-01.org.example:10.13.20.101")),
        ("fd00:0::2", Ok("iqn.2026-01.org.example:x:fd00::2")),
        (
            "10.13.20.1",
            Err("no target's name ends in \":10.13.20.1\"; the portal offers this initiator 4 targets: iqn.2026-01.org.example:10.13.20.10, \
                 iqn.2026-01.org.example:10.13.20.101, iqn.2026-01.org.example:x:fd00::2, iqn.2026-01.org.example:10.13.20.10.bak"),
        ),
    ] {
        assert_eq!(
            choose(&offered, ip.parse().unwrap()).map(|t| t.name.as_str()).map_err(|e| e.to_string()),
            want.map_err(str::to_owned),
            "{ip}"
        );
    }
    assert_eq!(
        choose(&targets(&[":a:10.0.0.1", ":b:10.0.0.1"]), "10.0.0.1".parse().unwrap()).map_err(|e| e.to_string()),
        Err("exactly one target may bear the address 10.0.0.1; 2 targets: iqn.2026-01.org.example:a:10.0.0.1, \
             iqn.2026-01.org.example:b:10.0.0.1"
            .into())
    );
    let endings: Vec<String> = (0..100).map(|n| format!(":{n}")).collect();
    let many = targets(&endings.iter().map(String::as_str).collect::<Vec<_>>());
    let error = choose(&many, "10.0.0.1".parse().unwrap()).unwrap_err().to_string();
    let start = "no target's name ends in \":10.0.0.1\"; the portal offers this initiator 100 targets: iqn";
    assert!(error.starts_with(start) && error.ends_with(":15 and 84 more"), "{error}");
    let one = choose(&many[..1], "10.0.0.1".parse().unwrap()).unwrap_err().to_string();
    assert!(one.ends_with("the portal offers this initiator 1 target: iqn.2026-01.org.example:0"), "{one}");
}

#[test]
fn answers() {
    let found = parse(
        b"TargetName=iqn.2026-01.org.example:a\0TargetAddress=10.0.0.1:3260,1\0TargetAddress=[fd00::1],2\0\
          TargetName=iqn.2026-01.org.example:b\0X-vendor=1\0TargetName=iqn.2026-01.org.example:a\0TargetAddress=10.0.0.2,3\0\
          TargetName=nonsense\0TargetAddress=10.0.0.3,1\0TargetName=iqn.2026-01.org.example:c\0TargetAddress=[fe80::1%2],1\0",
    )
    .unwrap();
    let listed: Vec<String> = found
        .targets
        .iter()
        .map(|t| format!("{} {}", t.name, t.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(
        listed,
        [
            "iqn.2026-01.org.example:a 10.0.0.1:3260,1 [fd00::1]:3260,2 10.0.0.2:3260,3",
            "iqn.2026-01.org.example:b ",
            "iqn.2026-01.org.example:c ",
        ]
    );
    assert_eq!(found.ignored.len(), 2, "{:?}", found.ignored);
    assert_eq!(parse(b""), Ok(Found::default()));
}

#[test]
fn limits() {
    let names = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|n| format!("TargetName=iqn.2026-01.org.example:{n}\0").into_bytes()).collect()
    };
    assert_eq!(parse(&names(MAX_TARGETS)).unwrap().targets.len(), MAX_TARGETS);
    assert_eq!(parse(&names(MAX_TARGETS + 1)), Err(DiscoveryError::TooManyTargets));
    let mut text = names(1);
    text.extend(b"TargetAddress=10.0.0.1,1\0".repeat(MAX_ADDRESSES + 1));
    assert!(matches!(parse(&text), Err(DiscoveryError::TooManyAddresses { .. })));
    let bad = b"TargetName=x\0".repeat(1000);
    assert_eq!(parse(&bad).unwrap().ignored.len(), MAX_IGNORED);
}

#[test]
fn any_bytes_never_panic() {
    let mut random = Random::new(5);
    let words: [&[u8]; 9] = [
        b"TargetName=",
        b"TargetAddress=",
        b"iqn.2026-01.org.example:",
        b"\0",
        b"10.0.0.1",
        b",1",
        b"[::1]",
        b":",
        b"\xff",
    ];
    for _ in 0..20_000 {
        let text: Vec<u8> = (0..random.below(20)).flat_map(|_| words[random.below(words.len())].to_vec()).collect();
        if let Ok(found) = parse(&text) {
            let _ = choose(&found.targets, "10.0.0.1".parse().unwrap());
        }
    }
}
