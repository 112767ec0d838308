//! The first `sidus.toml`: what was found, and what else may stand there, for a person to go on with.

use super::decide::name;
use crate::server::config::{Folders, Settings};

pub(super) fn text(settings: &Settings) -> String {
    let Settings { server, folders, services, dhcp, tree, .. } = settings;
    let default = Folders::default();
    let folder = |key: &str, folder: &dyn std::fmt::Display, is_default: bool| {
        format!("{}{key} = \"{folder}\"\n", if is_default { "# " } else { "" })
    };
    let folders: String = folders
        .all()
        .into_iter()
        .zip(default.all())
        .map(|((key, chosen), (_, default))| folder(key, chosen, chosen == default))
        .collect();
    let router = match dhcp.router {
        Some(router) => format!("router = \"{router}\"\n"),
        None => "# router = \"…\"\n".to_owned(),
    };
    format!(
        "\
# What sidus serves, and how: see sidus.toml(5). It was written once by `sidus init`, and is yours now: after a change,
# `sidus init` brings the services up to date. Each node has a file of its own in nodes.d beside this one.

[server]
address = \"{}\"
subnet = \"{}\"
# The address of the iSCSI targets, if it is another one:
# portal = \"…\"

[services]
# dnsmasq, isc-dhcp-server, or none: then something else answers
dhcp = \"{}\"
# dnsmasq, tftpd-hpa or none
tftp = \"{}\"
# nfs-kernel-server or none
nfs = \"{}\"
# lio, tgt or none
target = \"{}\"

[dhcp]
{router}# nameservers = [\"…\"]
# The first and the last address for machines that are no nodes yet; without it, they get none:
# pool = [\"…\", \"…\"]

[disks]
# The volume group that node add makes disks in; without it, they are files in folders.luns:
# volume_group = \"…\"

[folders]
{folders}
[tree]
# What `sidus tree create` does unless told otherwise.
# suite = \"{}\"
# components = [\"main\"]
# include = [\"@article\"]

[node]
# What holds for a node whose file does not say otherwise.
# tree = \"…\"
# cmdline = \"…\"
",
        server.address,
        server.subnet,
        name(services.dhcp),
        name(services.tftp),
        name(services.nfs),
        name(services.target),
        tree.suite,
    )
}
