//! The files that this program writes for other programs, as the configuration asks for them: a pure function of it and
//! of what is installed. Whatever changes the configuration calls it, and writes what is other than before.

mod dhcpd;
mod dnsmasq;
mod facts;

use std::path::{Path, PathBuf};

pub use facts::{Disk, Facts, Program};

use super::config::{Config, DhcpService, Folders, NfsService, Services, TargetService, TftpService};
use super::engine::{Action, After, Commit, Content, MakeFolder, Run, Write};
use super::target::tgt;

/// What a node is told to load first: with a BIOS, with UEFI. Relative to the TFTP folder.
pub const BIOS_LOADER: &str = "pxelinux.0";
/// As [`BIOS_LOADER`].
pub const EFI_LOADER: &str = "syslinux.efi";
/// The types of client (RFC 4578) that get [`EFI_LOADER`]: x86-64, by two numbers that firmware has for it.
const EFI_ARCHITECTURES: [u16; 2] = [7, 9];

/// How the NFS server names the export of the generations where their file system has no number of its own.
const FSID: &str = "73696475-7300-4000-8000-67656e657261";

const EXPORTS: &str = "/etc/exports.d/sidus.exports";
const TGT: &str = "/etc/systemd/system/tgt.service.d/sidus.conf";

/// The loaders and where Debian's packages have them: name, file, package.
pub const LOADERS: [(&str, &str, &str); 4] = [
    (BIOS_LOADER, "/usr/lib/PXELINUX/pxelinux.0", "pxelinux"),
    ("ldlinux.c32", "/usr/lib/syslinux/modules/bios/ldlinux.c32", "syslinux-common"),
    (EFI_LOADER, "/usr/lib/SYSLINUX.EFI/efi64/syslinux.efi", "syslinux-efi"),
    ("ldlinux.e64", "/usr/lib/syslinux/modules/efi64/ldlinux.e64", "syslinux-common"),
];

/// Where dnsmasq finds the nodes. It reads it as a user of its own.
#[must_use]
pub fn hosts(folders: &Folders) -> PathBuf {
    folders.state.join("dhcp-hosts")
}

/// What nobody but root may read: accounts, and what has them.
#[must_use]
pub fn secrets(folders: &Folders) -> PathBuf {
    folders.state.join("secrets")
}

/// What tgtd has to serve, a file for each target.
#[must_use]
pub fn tgt_targets(folders: &Folders) -> PathBuf {
    secrets(folders).join("tgt")
}

/// The packages that the chosen services need and this machine has not, with what they are for.
#[must_use]
pub fn missing(services: Services, facts: &Facts) -> Vec<(&'static str, &'static str)> {
    let dhcp = match services.dhcp {
        DhcpService::Dnsmasq => Some(("DHCP", Program::Dnsmasq)),
        DhcpService::IscDhcpServer => Some(("DHCP", Program::Dhcpd)),
        DhcpService::None => None,
    };
    let tftp = match services.tftp {
        TftpService::Dnsmasq => Some(("TFTP", Program::Dnsmasq)),
        TftpService::TftpdHpa => Some(("TFTP", Program::Tftpd)),
        TftpService::None => None,
    };
    let nfs = match services.nfs {
        NfsService::NfsKernelServer => Some(("NFS", Program::Exportfs)),
        NfsService::None => None,
    };
    let target = match services.target {
        TargetService::Lio => Some(("iSCSI", Program::Targetcli)),
        TargetService::Tgt => Some(("iSCSI", Program::Tgtd)),
        TargetService::None => None,
    };
    let mut missing: Vec<_> = [dhcp, tftp, nfs, target]
        .into_iter()
        .flatten()
        .filter(|(_, program)| !facts.has(*program))
        .map(|(what, program)| (what, program.package()))
        .collect();
    if services.tftp != TftpService::None {
        // A person's own copy will do.
        let there =
            |name| facts.served.iter().any(|served| served == name) || facts.loaders.iter().any(|known| known == name);
        missing.extend(LOADERS.iter().filter(|(name, ..)| !there(name)).map(|(name, _, package)| (*name, *package)));
    }
    missing
}

/// The folders, the drop-ins of the services, and whom to tell of which.
#[must_use]
pub fn commit(config: &Config, facts: &Facts) -> Commit {
    let (folders, services) = (&config.settings.folders, config.settings.services);
    let mut commit = Commit { actions: own_folders(folders), after: Vec::new() };
    if services.dhcp == DhcpService::Dnsmasq || services.tftp == TftpService::Dnsmasq {
        dnsmasq::add(config, &mut commit);
    }
    if services.dhcp == DhcpService::IscDhcpServer {
        dhcpd::add(config, &mut commit);
    }
    if services.tftp != TftpService::None {
        // Those that are there may be a person's: they are left as they are.
        let wanted = LOADERS.iter().filter(|(name, ..)| facts.loaders.iter().any(|known| known == name));
        for (name, from, _) in wanted.filter(|(name, ..)| !facts.served.iter().any(|served| served == name)) {
            commit.actions.push(Action::Write(Write::new(folders.tftp.join(name), Content::CopyOf(from.into()))));
        }
    }
    if services.nfs == NfsService::NfsKernelServer {
        let line = format!(
            "{} {}(ro,no_subtree_check,async,no_root_squash{}{})\n",
            folders.generations,
            config.settings.server.subnet,
            if facts.disk.has_others { ",crossmnt" } else { "" },
            if facts.disk.is_nameless { format!(",fsid={FSID}") } else { String::new() }
        );
        drop_in(&mut commit, EXPORTS, &line);
        let export = Run::new("exportfs").arg("-r").on_services().from_package("nfs-kernel-server");
        tell(&mut commit, EXPORTS, [Run::systemctl(&["start", "nfs-server.service"]), export]);
    }
    if services.target == TargetService::Tgt {
        commit.actions.push(Action::private_folder(tgt_targets(folders)));
        drop_in(&mut commit, TGT, tgt::UNIT);
        tell(&mut commit, TGT, [Run::systemctl(&["daemon-reload"])]);
    }
    commit
}

/// What people have to do themselves, since it is in a file of theirs.
#[must_use]
pub fn notes(config: &Config, facts: &Facts) -> Vec<String> {
    let (folders, services) = (&config.settings.folders, config.settings.services);
    let mut notes = Vec::new();
    if services.dhcp == DhcpService::IscDhcpServer && !facts.dhcpd_includes {
        notes.push(format!(
            "{} is a person's file: add the line\n  include \"{}\";\nto it, then run systemctl restart isc-dhcp-server",
            dhcpd::MAIN,
            dhcpd::DROP_IN
        ));
    }
    if services.tftp == TftpService::TftpdHpa && facts.tftpd_folder.as_deref() != Some(folders.tftp.path()) {
        notes.push(format!(
            "{} is a person's file: TFTP_DIRECTORY has to be {} there, or folders.tftp in sidus.toml what it is there",
            facts::TFTPD,
            folders.tftp
        ));
    }
    notes
}

fn own_folders(folders: &Folders) -> Vec<Action> {
    // The disks are the nodes', each with its secrets.
    let luns = MakeFolder { path: folders.luns.path().to_owned(), mode: 0o700, owner: None, exact: false };
    let open = [&folders.trees, &folders.generations, &folders.tftp, &folders.site, &folders.state];
    let mut actions: Vec<_> = open.into_iter().map(|folder| Action::folder(folder.path())).collect();
    actions.extend([Action::Folder(luns), Action::private_folder(secrets(folders))]);
    actions
}

/// A file of this program in a folder of another's.
fn drop_in(commit: &mut Commit, path: &str, text: &str) {
    commit.actions.extend(Path::new(path).parent().map(Action::folder));
    commit.actions.push(Action::write_marked(path, "#", text));
}

/// Runs these, one after the other, where that file was changed.
fn tell<const N: usize>(commit: &mut Commit, path: impl Into<PathBuf>, runs: [Run; N]) {
    commit.after.push(After { runs: runs.into(), on: vec![path.into()] });
}

#[cfg(test)]
#[path = "services_tests.rs"]
mod tests;
