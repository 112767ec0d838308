//! What is installed on this machine, and what persons' files say.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::{dhcpd, LOADERS};
use crate::server::config::Folders;
use crate::server::paths::{look, names, read_text, within};

pub(super) const TFTPD: &str = "/etc/default/tftpd-hpa";
/// No such file is longer, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A program that serves, or tells the kernel to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// dnsmasq(8)
    Dnsmasq,
    /// dhcpd(8)
    Dhcpd,
    /// in.tftpd(8)
    Tftpd,
    /// exportfs(8)
    Exportfs,
    /// targetcli(8)
    Targetcli,
    /// tgtd(8)
    Tgtd,
}

impl Program {
    const ALL: [Self; 6] = [Self::Dnsmasq, Self::Dhcpd, Self::Tftpd, Self::Exportfs, Self::Targetcli, Self::Tgtd];

    const fn path(self) -> &'static str {
        match self {
            // The program alone is in dnsmasq-base, which virtual machines' hosts have; nothing starts it there.
            Self::Dnsmasq => "/usr/lib/systemd/system/dnsmasq.service",
            Self::Dhcpd => "/usr/sbin/dhcpd",
            Self::Tftpd => "/usr/sbin/in.tftpd",
            Self::Exportfs => "/usr/sbin/exportfs",
            Self::Targetcli => "/usr/bin/targetcli",
            Self::Tgtd => "/usr/sbin/tgtd",
        }
    }

    /// Debian's package that has it.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Dnsmasq => "dnsmasq",
            Self::Dhcpd => "isc-dhcp-server",
            Self::Tftpd => "tftpd-hpa",
            Self::Exportfs => "nfs-kernel-server",
            Self::Targetcli => "targetcli-fb",
            Self::Tgtd => "tgt",
        }
    }
}

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The programs.
    pub programs: Vec<Program>,
    /// The loaders that packages have, by their names.
    pub loaders: Vec<&'static str>,
    /// The loaders that the TFTP folder has.
    pub served: Vec<&'static str>,
    /// What in.tftpd serves.
    pub tftpd_folder: Option<PathBuf>,
    /// Whether dhcpd reads what this program writes.
    pub dhcpd_includes: bool,
    /// What exports(5) has to be told of the disk that the generations are on.
    pub disk: Disk,
}

/// The disk that the generations are on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// Whether it has no number of its own that the NFS server could name it by: a tmpfs, say.
    pub is_nameless: bool,
    /// Whether those of a tree are on another one, or in a subvolume of btrfs.
    pub has_others: bool,
}

impl Facts {
    /// Looks at the machine whose root is `root`.
    ///
    /// # Errors
    /// Those of the file system, with the path.
    pub fn read(root: &Path, folders: &Folders) -> io::Result<Self> {
        let is_there = |path: &Path| within(root, path).exists();
        let programs = Program::ALL.into_iter().filter(|program| is_there(Path::new(program.path())));
        let loaders = LOADERS.iter().filter(|(_, path, _)| is_there(Path::new(path)));
        let mut served = Vec::new();
        for (name, ..) in LOADERS {
            if look(root, &folders.tftp.join(name))?.is_some() {
                served.push(name);
            }
        }
        let text = |path: &str| {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{path}: {error}"));
            read_text(root, Path::new(path), MAX_FILE).map(Option::unwrap_or_default).map_err(named)
        };
        Ok(Self {
            programs: programs.collect(),
            loaders: loaders.map(|(name, ..)| *name).collect(),
            served,
            tftpd_folder: tftpd_folder(&text(TFTPD)?),
            dhcpd_includes: includes(&text(dhcpd::MAIN)?),
            disk: Disk::read(root, folders.generations.path())?,
        })
    }

    /// Whether the program is there.
    #[must_use]
    pub fn has(&self, program: Program) -> bool {
        self.programs.contains(&program)
    }
}

impl Disk {
    /// Of a folder that is not there yet, that of the one that it will be in.
    fn read(root: &Path, folder: &Path) -> io::Result<Self> {
        let there = folder.ancestors().map(|folder| within(root, folder)).find(|at| at.is_dir());
        let Some(at) = there else { return Ok(Self::default()) };
        let is_nameless = statvfs(&at)?.f_fsid == 0;
        let device = fs::metadata(&at)?.dev();
        let mut has_others = false;
        for name in names(root, folder)? {
            has_others |= look(root, &folder.join(name))?.is_some_and(|found| found.is_dir() && found.dev() != device);
        }
        Ok(Self { is_nameless, has_others })
    }
}

/// `TFTP_DIRECTORY="/srv/tftp"`
fn tftpd_folder(text: &str) -> Option<PathBuf> {
    let value = text.lines().filter_map(|line| line.trim().strip_prefix("TFTP_DIRECTORY=")).next_back()?;
    Some(PathBuf::from(value.trim_matches(['"', '\''])))
}

/// `include "/etc/dhcp/sidus.conf";`
fn includes(text: &str) -> bool {
    let without_comments = text.lines().filter_map(|line| line.split('#').next());
    without_comments
        .into_iter()
        .any(|line| line.contains("include") && line.contains(&format!("\"{}\"", dhcpd::DROP_IN)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_persons_files_say() {
        for (text, folder) in [
            ("", None),
            ("TFTP_USERNAME=\"tftp\"\nTFTP_DIRECTORY=\"/srv/tftp\"\n", Some("/srv/tftp")),
            ("#TFTP_DIRECTORY=/a\nTFTP_DIRECTORY=/b", Some("/b")),
        ] {
            assert_eq!(tftpd_folder(text), folder.map(PathBuf::from), "{text:?}");
        }
        for (text, expected) in [
            ("", false),
            ("include \"/etc/dhcp/sidus.conf\";", true),
            ("  include  \"/etc/dhcp/sidus.conf\" ;", true),
            ("# include \"/etc/dhcp/sidus.conf\";", false),
            ("include \"/etc/dhcp/other.conf\";", false),
        ] {
            assert_eq!(includes(text), expected, "{text:?}");
        }
    }
}
