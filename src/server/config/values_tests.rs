use super::*;

fn table<T: FromStr<Err = ValueError> + fmt::Display>(good: &[(&str, &str)], bad: &[&str], expected: &str) {
    for (text, shown) in good {
        match text.parse::<T>() {
            Ok(value) => assert_eq!(value.to_string(), *shown, "{text:?}"),
            Err(error) => panic!("{text:?}: {error}"),
        }
    }
    for text in bad {
        match text.parse::<T>() {
            Ok(value) => panic!("{text:?} became {value}"),
            Err(error) => {
                assert_eq!(error.got, *text);
                assert!(error.expected.contains(expected), "{error}");
            }
        }
    }
}

#[test]
fn hardware_addresses() {
    table::<Mac>(
        &[("52:54:00:0d:14:15", "52:54:00:0d:14:15"), ("52-54-00-0D-14-15", "52:54:00:0d:14:15")],
        &[
            "",
            "52:54:00:0d:14",
            "52:54:00:0d:14:15:16",
            "5:54:00:0d:14:15",
            "+2:54:00:0d:14:15",
            "ff:ff:ff:ff:ff:ff",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "525400:0d:14:15",
        ],
        "as in 52:54:00:0d:14:15",
    );
    let mac: Mac = "52:54:00:0d:14:15".parse().unwrap();
    assert_eq!((mac.for_pxelinux().as_str(), mac.digits().as_str()), ("01-52-54-00-0d-14-15", "5254000d1415"));
}

#[test]
fn networks() {
    table::<Net>(
        &[("10.13.20.0/24", "10.13.20.0/24"), ("10.0.0.0/8", "10.0.0.0/8"), ("192.168.0.4/30", "192.168.0.4/30")],
        &[
            "",
            "10.13.20.0",
            "10.13.20.1/24",
            "10.13.20.0/31",
            "10.13.20.0/7",
            "0.0.0.0/0",
            "10.13.20.0/33",
            "fd00::/64",
        ],
        "10.13.20.0/24",
    );
    let net = Net::around(Ipv4Addr::new(10, 13, 20, 13), 24).unwrap();
    assert_eq!(
        (net.to_string().as_str(), net.mask(), net.broadcast()),
        ("10.13.20.0/24", [255, 255, 255, 0].into(), [10, 13, 20, 255].into())
    );
    for (address, inside) in
        [([10, 13, 20, 1], true), ([10, 13, 20, 0], false), ([10, 13, 20, 255], false), ([10, 13, 21, 1], false)]
    {
        assert_eq!(net.has_machine(address.into()), inside, "{address:?}");
    }
}

#[test]
fn names() {
    let long = "n".repeat(64);
    table::<NodeName>(
        &[("node21", "node21"), ("a", "a"), ("2-b", "2-b")],
        &["", "Node", "-a", "a-", "a.b", "a_b", "a b", "a/b", "..", &long],
        "a node's name",
    );
    table::<TreeName>(
        &[("bookworm", "bookworm"), ("hpc_2-x", "hpc_2-x")],
        &["", "..", ".x", "a/b", "a.b", "-x", "A"],
        "a tree's name",
    );
    table::<VolumeGroup>(
        &[("vg0", "vg0"), ("ssd_2.a+b-C", "ssd_2.a+b-C")],
        &["", ".", "..", "-x", "a/b", "a b", "é"],
        "a volume group's name",
    );
    table::<Word>(&[("non-free", "non-free")], &["", "-x", "a b", "a,b", "../x"], "apt");
    table::<Include>(&[("g++", "g++"), ("@article", "@article")], &["", "@", "--x", "a b", "a,b", "A"], "@article");
    table::<Mirror>(
        &[("http://deb.debian.org/debian", "http://deb.debian.org/debian")],
        &["", "http://", "deb.debian.org", "http://x y", "ftp://x", "http://x\ny"],
        "a mirror",
    );
    table::<Cmdline>(
        &[("", ""), ("console=ttyS0 quiet", "console=ttyS0 quiet")],
        &["a\nKERNEL x", "a\tb", "é"],
        "one line",
    );
}

#[test]
fn folders() {
    table::<Folder>(
        &[("/srv/sidus", "/srv/sidus"), ("/srv", "/srv")],
        &["", "/", "srv", "/srv/", "/srv//x", "/srv/../etc", "/srv/./x", "/srv/a b", "/srv/a,b", "/srv/é", "/srv/(ro)"],
        "an absolute path",
    );
}

#[test]
fn sizes() {
    table::<Size>(
        &[("20G", "20G"), ("1024M", "1G"), ("512", "512"), ("1536K", "1536K"), ("2T", "2T")],
        &["", "G", "0", "0G", "20g", "20GB", "-1G", "+1G", "1.5G", "100", "9999999999T", "8388608T"],
        "as in 20G",
    );
    assert_eq!("20G".parse::<Size>().unwrap().bytes(), 20 << 30);
}
