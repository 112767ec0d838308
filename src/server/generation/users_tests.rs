use super::*;

fn rmtab(lines: &[&str]) -> BTreeMap<String, Counts> {
    counts(&lines.join("\n"), Path::new("/srv/gens"))
}

fn on(seen: &Seen, address: &str) -> Vec<String> {
    seen.latest.get(address).into_iter().flatten().cloned().collect()
}

#[test]
fn mountd_s_list_has_generations_and_other_things() {
    let found = rmtab(&[
        "10.0.0.1:/srv/gens/hpc/20261126-1:0x00000002",
        "10.0.0.1:/srv/gens/hpc/20261126-1/usr:0x00000001",
        "fd00::7:/srv/gens/desk/20261126-10:0x0000000a",
        "10.0.0.2:/home:0x00000001",
        "10.0.0.2:/srv/gens/hpc/current:0x00000001",
        "10.0.0.2:/srv/gens/hpc:0x00000001",
        "10.0.0.3:/srv/gens/hpc/20261126-1:0xffffffffffffffff",
        "10.0.0.3:/srv/gens/hpc/20261126-1/usr:0x2",
        "10.0.0.3:/srv/gens/hpc/20261126-1:0x1ffffffffffffffff",
        "nonsense",
        "",
    ]);
    let one = |path: &str, count| Counts::from([(path.to_owned(), count)]);
    assert_eq!(
        found,
        BTreeMap::from([
            ("10.0.0.1".to_owned(), one("hpc/20261126-1", 3)),
            // The sum has no room: nobody panics.
            ("10.0.0.3".to_owned(), one("hpc/20261126-1", 1)),
            ("fd00::7".to_owned(), one("desk/20261126-10", 10)),
        ])
    );
}

#[test]
fn the_latest_boot_is_the_one_whose_count_changed() {
    let (a, b, c) = ("n:/srv/gens/t/20261126-1", "n:/srv/gens/t/20261126-2", "n:/srv/gens/t/20261126-3");
    let line = |path: &str, count: u64| format!("{path}:0x{count:08x}");
    let see = |seen: Seen, lines: &[(&str, u64)]| {
        let lines: Vec<_> = lines.iter().map(|(path, count)| line(path, *count)).collect();
        seen.and(counts(&lines.join("\n"), Path::new("/srv/gens")))
    };
    let first = see(Seen::default(), &[(a, 1)]);
    assert_eq!(on(&first, "n"), ["t/20261126-1"]);
    let table: [(&str, &[(&str, u64)], &[&str]); 6] = [
        ("nothing happened", &[(a, 1)], &["t/20261126-1"]),
        ("mountd's list is gone", &[], &["t/20261126-1"]),
        ("another one was booted", &[(a, 1), (b, 1)], &["t/20261126-2"]),
        ("the same again", &[(a, 2)], &["t/20261126-1"]),
        ("two since: nobody can tell", &[(a, 1), (b, 1), (c, 1)], &["t/20261126-2", "t/20261126-3"]),
        ("the list was begun anew", &[(b, 1)], &["t/20261126-1", "t/20261126-2"]),
    ];
    for (what, lines, expected) in table {
        assert_eq!(on(&see(first.clone(), lines), "n"), expected, "{what}");
    }
    // A move that failed: the generation that it went to, then the one that it is on again. Whenever it is looked, none of
    // both is one that nobody needs.
    let needed = |seen: &Seen| {
        let users = Users { seen: seen.clone(), ..Users::default() };
        ["20261126-1", "20261126-2", "20261126-3"]
            .map(|name| users.may_need(&"t".parse().unwrap(), name.parse().unwrap()))
    };
    assert_eq!(needed(&first), [true, false, false]);
    let moving = see(first.clone(), &[(a, 1), (b, 1)]);
    assert_eq!((on(&moving, "n"), needed(&moving)), (vec!["t/20261126-2".to_owned()], [true, true, false]));
    let stays = see(moving, &[(a, 2), (b, 1)]);
    assert_eq!((on(&stays, "n"), needed(&stays)), (vec!["t/20261126-1".to_owned()], [true, true, false]));
    let booted = see(see(stays, &[(a, 2), (b, 2)]), &[(a, 2), (b, 2), (c, 1)]);
    assert_eq!((on(&booted, "n"), needed(&booted)), (vec!["t/20261126-3".to_owned()], [false, true, true]));
    // Back and forth.
    let later = see(see(first, &[(a, 1), (b, 1)]), &[(a, 2), (b, 1)]);
    assert_eq!(on(&later, "n"), ["t/20261126-1"]);
}

#[test]
fn clients_have_addresses() {
    for (info, expected) in [
        ("clientid: 0x1\naddress: \"10.13.20.21:787\"\nstatus: confirmed\n", Some("10.13.20.21")),
        ("address: \"[fd00::1]:787\"\n", Some("fd00::1")),
        ("name: \"x\"\n", None),
    ] {
        assert_eq!(address(info).as_deref(), expected, "{info}");
    }
}
