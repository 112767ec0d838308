use super::facts::{Entry, Kind, There};
use super::*;
use crate::server::config::Settings;

fn config(dhcp: &str) -> Config {
    let text = format!(
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
         nfs = \"none\"\ntarget = \"none\"\n[dhcp]\n{dhcp}"
    );
    Config { settings: Settings::parse(&text).unwrap(), nodes: Vec::new() }
}

fn variables() -> Variables {
    Variables::of(&config("nameservers = [\"10.13.20.2\", \"10.13.20.3\"]\n"), &"hpc".parse().unwrap())
}

#[test]
fn variables_become_values() {
    for (text, expanded) in [
        ("{{server}}:/home /home nfs4 defaults 0 0\n", "10.13.20.13:/home /home nfs4 defaults 0 0\n"),
        ("{{subnet}} {{netmask}} {{portal}}", "10.13.20.0/24 255.255.255.0 10.13.20.13"),
        ("{{nameservers}}\n{{tree}}", "10.13.20.2 10.13.20.3\nhpc"),
        ("{{{server}}}", "{10.13.20.13}"),
        ("{{ server }} {{#if}} {{}} {{SERVER}} {{", "{{ server }} {{#if}} {{}} {{SERVER}} {{"),
        ("é{{tree}}é", "éhpcé"),
        ("", ""),
    ] {
        assert_eq!(variables().expand(text).as_deref(), Ok(expanded), "{text}");
    }
}

fn file(inside: &str, text: &str, mode: u32) -> Entry {
    Entry {
        inside: inside.into(),
        place: Path::new("/t").join(inside),
        mode,
        owner: (0, 42),
        kind: Kind::File(Some(text.as_bytes().to_vec())),
        there: There::Other,
    }
}

fn steps(entries: &[Entry]) -> Result<Vec<Step>, SiteError> {
    decide(Path::new("/site"), Path::new("/t"), entries, &variables())
}

#[test]
fn wrong_files_are_named_with_the_line() {
    let other = Entry { kind: Kind::Other, ..file("run/x", "", 0) };
    for (entry, expected) in [
        (
            file("etc/fstab", "# homes\n{{sever}}:/home /home\n", 0o644),
            "/site/etc/fstab:2: {{sever}}: there is no such variable; there are tree, server, subnet, netmask, portal, router, \
             nameservers",
        ),
        (file("etc/x", "\n\n{{router}}", 0o644), "/site/etc/x:3: {{router}}: sidus.toml does not say it: dhcp.router does"),
        (other, "/site/run/x: it is no file, folder or link, and cannot go into a tree"),
    ] {
        assert_eq!(steps(&[entry]).unwrap_err().to_string(), expected);
    }
}

#[test]
fn entries_become_actions() {
    let link = |inside: &str, there| Entry {
        kind: Kind::Link("/usr/share/zoneinfo/Europe/Paris".into()),
        there,
        ..file(inside, "", 0o777)
    };
    let entries = [
        Entry { kind: Kind::Folder, mode: 0o755, ..file("etc", "", 0) },
        file("etc/fstab", "{{server}}\n", 0o644),
        link("etc/localtime", There::File),
        link("etc/alternatives/x", There::Link),
        link("etc/x.d", There::Other),
        Entry { there: There::File, ..file("etc/motd", "x", 0o644) },
        Entry { there: There::Link, ..file("etc/resolv.conf", "x", 0o644) },
        file("etc/secret", "{{tree}}", 0o640),
        Entry { kind: Kind::File(None), ..file("opt/big", "", 0o755) },
        Entry { kind: Kind::File(Some(vec![0xff, b'{', b'{'])), ..file("opt/binary", "", 0o4755) },
    ];
    let steps = steps(&entries).unwrap();
    let shown: Vec<_> = steps.iter().map(|step| step.action.to_string()).collect();
    assert_eq!(
        shown,
        [
            "make folder /t/etc (0755)",
            "write /t/etc/fstab (0644)",
            "link /t/etc/localtime to /usr/share/zoneinfo/Europe/Paris",
            "link /t/etc/alternatives/x to /usr/share/zoneinfo/Europe/Paris",
            "link /t/etc/x.d to /usr/share/zoneinfo/Europe/Paris",
            "write /t/etc/motd (0644)",
            "write /t/etc/resolv.conf (0644)",
            "write /t/etc/secret (0640)",
            "copy /site/opt/big to /t/opt/big",
            "copy /site/opt/binary to /t/opt/binary",
        ]
    );
    let replaced: Vec<_> = steps.iter().filter_map(|step| step.replaces.as_ref().map(ToString::to_string)).collect();
    assert_eq!(replaced, ["remove /t/etc/localtime", "remove /t/etc/resolv.conf"]);
    let writes = steps.iter().filter_map(|step| match &step.action {
        Action::Write(write) => {
            Some((write.mode, write.owner, write.secret, write.content == Content::Text("hpc".to_owned())))
        }
        _ => None,
    });
    let owner = Some((0, 42));
    assert_eq!(
        writes.collect::<Vec<_>>(),
        [
            (0o644, owner, false, false),
            (0o644, owner, false, false),
            (0o644, owner, false, false),
            (0o640, owner, true, true),
            (0o755, owner, false, false),
            (0o4755, owner, false, false)
        ]
    );
}
