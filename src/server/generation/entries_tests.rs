use super::super::facts::Published;
use super::*;
use crate::server::config::{NodeFile, Settings};
use crate::server::engine::action::marked;
use crate::server::engine::{Content, Write};

const OPTIONS: &str = "tcp,nolock,nocto,acregmin=600,acregmax=600,acdirmin=600,acdirmax=600";

fn config(more: &str, nodes: Vec<Node>) -> Config {
    let text = format!(
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\nportal = \"10.13.20.14\"\n[services]\ndhcp = \"none\"\n\
         tftp = \"none\"\nnfs = \"none\"\ntarget = \"lio\"\n{more}"
    );
    Config { settings: Settings::parse(&text).unwrap(), nodes }
}

fn node(name: &str, number: u8, more: &str) -> Node {
    let text = format!("mac = \"52:54:00:0d:14:{number:02}\"\nip = \"10.13.20.{number}\"\n{more}");
    let file: NodeFile = toml::from_str(&text).unwrap();
    Node { name: name.parse().unwrap(), file }
}

fn facts(currents: &[(&str, &str)], archives: &[&str]) -> Facts {
    let published = currents.iter().map(|(tree, name)| {
        let name: GenerationName = name.parse().unwrap();
        let published = Published { generations: vec![name], boot: vec![name], current: Some((name, Form::Folder)) };
        (tree.parse().unwrap(), published)
    });
    let archives = archives.iter().map(|name| (name.parse().unwrap(), format!("secret/{name}.cpio"))).collect();
    Facts { published: published.collect(), working: Vec::new(), archives }
}

fn written(config: &Config, facts: &Facts) -> (Vec<(String, String)>, Vec<String>) {
    let (actions, notes) = entries(config, facts);
    let files = actions.into_iter().filter_map(|action| match action {
        Action::Write(Write { path, content: Content::Text(text), .. }) => Some((path.display().to_string(), text)),
        _ => None,
    });
    (files.collect(), notes)
}

#[test]
fn kernel_initrd_and_root_are_of_one_generation() {
    let nodes = vec![
        node("a", 21, "cmdline = \"quiet\"\n"),
        node("b", 22, "tree = \"hpc\"\npersistent = \"1G\"\n"),
        node("c", 23, "persistent = \"1G\"\n"),
    ];
    let config = config("[node]\ntree = \"desk\"\ncmdline = \"console=ttyS0\"\n", nodes);
    let (files, notes) = written(&config, &facts(&[("desk", "20261126-2"), ("hpc", "20261125-7")], &["b"]));
    let desk = "DEFAULT sidus\n\nLABEL sidus\nKERNEL sidus/desk/20261126-2/vmlinuz\nAPPEND initrd=sidus/desk/20261126-2/initrd.img \
                root=/dev/nfs nfsroot=10.13.20.13:/srv/sidus/generations/desk/20261126-2,OPTIONS ip=dhcp aufs=tmpfs WORDS\n";
    let text = |words: &str| marked("#", &desk.replace("OPTIONS", OPTIONS).replace("WORDS", words));
    let with_disk = |tree: &str, name: &str, archive: &str| {
        let boot = format!("sidus/{tree}/{name}");
        marked(
            "#",
            &format!(
                "DEFAULT sidus\n\nLABEL sidus\nKERNEL {boot}/vmlinuz\nAPPEND initrd={boot}/initrd.img{archive} root=/dev/nfs \
                 nfsroot=10.13.20.13:/srv/sidus/generations/{tree}/{name},{OPTIONS} ip=dhcp aufs=iscsi \
                 ISCSI_TARGET_IP=10.13.20.14 console=ttyS0\n"
            ),
        )
    };
    let file = |name: &str| format!("/srv/tftp/pxelinux.cfg/{name}");
    assert_eq!(
        files,
        [
            (file("default"), text("console=ttyS0")),
            (file("01-52-54-00-0d-14-21"), text("quiet")),
            (file("01-52-54-00-0d-14-22"), with_disk("hpc", "20261125-7", ",secret/b.cpio")),
            (file("01-52-54-00-0d-14-23"), with_disk("desk", "20261126-2", "")),
        ]
    );
    assert_eq!(notes, Vec::<String>::new());
}

#[test]
fn what_cannot_be_booted_has_no_entry_but_a_note() {
    let nodes = || vec![node("a", 21, ""), node("b", 22, "tree = \"hpc\"\n")];
    let says_nothing = config("", nodes());
    let says_desk = config("[node]\ntree = \"desk\"\n", nodes());
    let table: [(&Config, &[(&str, &str)], &[&str], &[&str]); 4] = [
        (
            &says_nothing,
            &[("desk", "20261126-1")],
            &["default"],
            &["node a boots nothing", "node b boots tree hpc, which is not published: sidus publish hpc"],
        ),
        (
            &says_nothing,
            &[("desk", "20261126-1"), ("hpc", "20261126-1")],
            &["01-52-54-00-0d-14-22"],
            &["/srv/tftp/pxelinux.cfg/default stays as it is", "node a boots nothing"],
        ),
        (
            &says_desk,
            &[("hpc", "20261126-1")],
            &["01-52-54-00-0d-14-22"],
            &["default stays as it is", "node a boots tree desk, which is not"],
        ),
        (
            &says_desk,
            &[("desk", "20261126-1"), ("hpc", "20261126-1")],
            &["default", "01-52-54-00-0d-14-21", "01-52-54-00-0d-14-22"],
            &[],
        ),
    ];
    for (config, currents, expected, notes_expected) in table {
        let (files, notes) = written(config, &facts(currents, &[]));
        let names: Vec<_> = files.iter().map(|(path, _)| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, expected, "{currents:?}");
        assert_eq!(notes.len(), notes_expected.len(), "{notes:?}");
        assert!(notes.iter().zip(notes_expected).all(|(note, expected)| note.contains(expected)), "{notes:?}");
    }
}
