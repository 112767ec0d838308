use super::*;
use crate::server::config::{Node, NodeFile, Settings};
use crate::server::engine::action::marked;

fn config(dhcp: &str, tftp: &str, target: &str, more: &str) -> Config {
    let text = format!(
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"{dhcp}\"\ntftp = \"{tftp}\"\n\
         nfs = \"nfs-kernel-server\"\ntarget = \"{target}\"\n{more}"
    );
    let file = NodeFile {
        mac: "52:54:00:0d:14:15".parse().unwrap(),
        ip: [10, 13, 20, 21].into(),
        tree: None,
        volume_group: None,
        persistent: None,
        cmdline: None,
    };
    Config { settings: Settings::parse(&text).unwrap(), nodes: vec![Node { name: "node21".parse().unwrap(), file }] }
}

fn facts() -> Facts {
    Facts { loaders: LOADERS.iter().map(|(name, ..)| *name).collect(), ..Facts::default() }
}

/// The files that are written, and the commands that are run where each of them changes.
fn written(config: &Config, facts: &Facts) -> (Vec<(String, String)>, Vec<String>) {
    let commit = commit(config, facts);
    let files = commit.actions.iter().filter_map(|action| match action {
        Action::Write(write) => {
            let Content::Text(text) = &write.content else {
                return Some((write.path.display().to_string(), format!("{:?}", write.content)));
            };
            Some((write.path.display().to_string(), text.clone()))
        }
        _ => None,
    });
    let runs = |after: &After| after.runs.iter().map(Run::to_string).collect::<Vec<_>>().join(" && ");
    let after = commit.after.iter().map(|after| format!("{} <- {}", runs(after), after.on[0].display()));
    (files.collect(), after.collect())
}

#[test]
fn dnsmasq_serves_the_nodes_network_alone() {
    let (files, after) = written(&config("dnsmasq", "dnsmasq", "lio", ""), &facts());
    let expected = marked(
        "#",
        "dhcp-authoritative\n\
         dhcp-range=set:sidus,10.13.20.0,static,255.255.255.0,12h\n\
         dhcp-hostsfile=/var/lib/sidus/dhcp-hosts\n\
         dhcp-option=tag:sidus,option:router\n\
         dhcp-match=set:sidus-efi,option:client-arch,7\n\
         dhcp-match=set:sidus-efi,option:client-arch,9\n\
         dhcp-boot=tag:sidus,tag:!sidus-efi,pxelinux.0,,10.13.20.13\n\
         dhcp-boot=tag:sidus,tag:sidus-efi,syslinux.efi,,10.13.20.13\n\
         enable-tftp\n\
         tftp-root=/srv/tftp\n",
    );
    assert_eq!(files[0], ("/var/lib/sidus/dhcp-hosts".to_owned(), "52:54:00:0d:14:15,10.13.20.21,node21\n".to_owned()));
    assert_eq!(files[1], ("/etc/dnsmasq.d/sidus.conf".to_owned(), expected));
    assert_eq!(
        after,
        [
            "dnsmasq --test --conf-dir=/etc/dnsmasq.d,.dpkg-dist,.dpkg-old,.dpkg-new && systemctl restart dnsmasq.service <- /etc/dnsmasq.d/sidus.conf",
            "systemctl reload dnsmasq.service <- /var/lib/sidus/dhcp-hosts",
            "systemctl start nfs-server.service && exportfs -r <- /etc/exports.d/sidus.exports",
        ]
    );
    let more = "[dhcp]\nrouter = \"10.13.20.1\"\nnameservers = [\"10.13.20.2\", \"10.13.20.3\"]\npool = [\"10.13.20.200\", \"10.13.20.250\"]\n";
    let (files, _) = written(&config("dnsmasq", "dnsmasq", "lio", more), &facts());
    for line in [
        "dhcp-range=set:sidus,10.13.20.200,10.13.20.250,255.255.255.0,12h\n",
        "dhcp-option=tag:sidus,option:router,10.13.20.1\n",
        "dhcp-option=tag:sidus,option:dns-server,10.13.20.2,10.13.20.3\n",
    ] {
        assert!(files[1].1.contains(line), "{line} {}", files[1].1);
    }
    let (files, after) = written(&config("none", "dnsmasq", "lio", ""), &facts());
    assert_eq!(files[0].1, marked("#", "enable-tftp\ntftp-root=/srv/tftp\n"));
    assert!(!after.iter().any(|after| after.contains("dhcp-hosts")), "{after:?}");
}

#[test]
fn dhcpd_gets_a_file_to_include() {
    let config = config("isc-dhcp-server", "tftpd-hpa", "tgt", "");
    let (files, after) = written(&config, &facts());
    let expected = marked(
        "#",
        "option sidus-client-arch code 93 = unsigned integer 16;\n\
         subnet 10.13.20.0 netmask 255.255.255.0 {\n  next-server 10.13.20.13;\n  deny unknown-clients;\n  \
         if option sidus-client-arch = 00:07 or option sidus-client-arch = 00:09 { filename \"syslinux.efi\"; } \
         else { filename \"pxelinux.0\"; }\n}\n\
         host node21 { hardware ethernet 52:54:00:0d:14:15; fixed-address 10.13.20.21; option host-name \"node21\"; }\n",
    );
    assert_eq!(files[0], ("/etc/dhcp/sidus.conf".to_owned(), expected));
    assert_eq!(
        after[0],
        "dhcpd -t -q -cf /etc/dhcp/dhcpd.conf && systemctl restart isc-dhcp-server.service <- /etc/dhcp/sidus.conf"
    );
    assert!(files.contains(&(
        "/etc/systemd/system/tgt.service.d/sidus.conf".to_owned(),
        marked("#", "[Service]\nExecStartPost=-sidus target update\nExecReload=-sidus target update\n")
    )));
    let notes_of = |includes, folder: Option<&str>| {
        notes(&config, &Facts { dhcpd_includes: includes, tftpd_folder: folder.map(PathBuf::from), ..facts() })
    };
    assert_eq!(notes_of(true, Some("/srv/tftp")), Vec::<String>::new());
    let [dhcpd, tftpd] = <[String; 2]>::try_from(notes_of(false, Some("/var/tftp"))).unwrap();
    assert!(dhcpd.contains("include \"/etc/dhcp/sidus.conf\";"), "{dhcpd}");
    assert!(tftpd.contains("TFTP_DIRECTORY has to be /srv/tftp there"), "{tftpd}");
}

#[test]
fn trees_are_exported_and_loaders_served() {
    let config =
        config("dnsmasq", "dnsmasq", "none", "[folders]\ntftp = \"/srv/boot\"\ngenerations = \"/data/gens\"\n");
    let (files, _) = written(&config, &Facts { served: vec!["pxelinux.0"], ..facts() });
    let expected = marked("#", "/data/gens 10.13.20.0/24(ro,no_subtree_check,async,no_root_squash)\n");
    assert!(files.contains(&("/etc/exports.d/sidus.exports".to_owned(), expected)), "{files:?}");
    let copies: Vec<_> = files.iter().map(|(path, _)| path).filter(|path| path.starts_with("/srv/boot/")).collect();
    assert_eq!(copies, ["/srv/boot/ldlinux.c32", "/srv/boot/syslinux.efi", "/srv/boot/ldlinux.e64"]);
}

#[test]
fn disks_that_need_it_are_told_of() {
    let config = config("none", "none", "none", "");
    for (is_nameless, has_others, expected) in [
        (false, false, ""),
        (false, true, ",crossmnt"),
        (true, false, ",fsid=73696475-7300-4000-8000-67656e657261"),
        (true, true, ",crossmnt,fsid=73696475-7300-4000-8000-67656e657261"),
    ] {
        let (files, _) = written(&config, &Facts { disk: Disk { is_nameless, has_others }, ..facts() });
        let line =
            format!("/srv/sidus/generations 10.13.20.0/24(ro,no_subtree_check,async,no_root_squash{expected})\n");
        assert_eq!(files, [("/etc/exports.d/sidus.exports".to_owned(), marked("#", &line))]);
    }
}
