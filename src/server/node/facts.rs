//! What is known of the nodes besides their files, and what was written for them.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::account::{self, Account};
use crate::server::config::values::NodeName;
use crate::server::config::{Config, TargetService, TftpService};
use crate::server::engine::action::MARK;
use crate::server::generation::{self, entries};
use crate::server::paths::{names, read_text};
use crate::server::target::lio;
use crate::server::{services, target};

/// No file that is read here is longer, in bytes.
const MAX_FILE: u64 = 64 << 20;

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What serves.
    pub services: services::Facts,
    /// The accounts of the nodes that have one.
    pub accounts: BTreeMap<NodeName, Account>,
    /// What nodes can boot.
    pub generations: generation::facts::Facts,
    /// The files that this program has written for nodes, those that are no more too: with secrets.
    pub secrets: Vec<PathBuf>,
    /// And those that boot them.
    pub entries: Vec<PathBuf>,
    /// What the kernel's target serves after a restart.
    pub saved: Option<String>,
    /// As whom the TFTP server reads.
    pub tftp_user: Option<u32>,
}

impl Facts {
    /// Looks at the machine whose root is `root`.
    ///
    /// # Errors
    /// Those of the file system, with the path.
    pub fn read(root: &Path, config: &Config) -> io::Result<Self> {
        let folders = &config.settings.folders;
        let mut secrets = Vec::new();
        for folder in [account::folder(folders), services::tgt_targets(folders), folders.tftp.join(account::ARCHIVES)] {
            // What begins with a dot is being written.
            let found = named(&folder, names(root, &folder))?.into_iter().filter(|name| !name.starts_with('.'));
            secrets.extend(found.map(|name| folder.join(name)));
        }
        let mut entries = Vec::new();
        let default = entries::default_path(folders);
        let folder = default.parent().unwrap_or(folders.tftp.path());
        for name in named(folder, names(root, folder))?.into_iter().filter(|name| name.starts_with("01-")) {
            let path = folder.join(name);
            // What is no text is no file of this program's.
            let text = read_text(root, &path, MAX_FILE).ok().flatten().unwrap_or_default();
            if text.lines().next().is_some_and(|line| line.contains(MARK)) {
                entries.push(path);
            }
        }
        let accounts = accounts(root, config)?;
        let saved = Path::new(lio::SAVED);
        let is_lio = config.settings.services.target == TargetService::Lio;
        Ok(Self {
            services: services::Facts::read(root, folders)?,
            accounts,
            generations: generation::facts::Facts::read(root, config).map_err(io::Error::other)?,
            secrets,
            entries,
            saved: if is_lio { named(saved, read_text(root, saved, MAX_FILE))? } else { None },
            tftp_user: match config.settings.services.tftp {
                TftpService::Dnsmasq => user(root, "dnsmasq")?,
                TftpService::TftpdHpa => user(root, "tftp")?,
                TftpService::None => None,
            },
        })
    }

    /// The targets of all nodes.
    #[must_use]
    pub fn targets(&self, config: &Config) -> Vec<target::Target> {
        target::wanted(config, &self.accounts)
    }
}

fn named<T>(path: &Path, read: io::Result<T>) -> io::Result<T> {
    read.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The accounts of all nodes that have one.
///
/// # Errors
/// Those of [`Account::read`]
pub fn accounts(root: &Path, config: &Config) -> io::Result<BTreeMap<NodeName, Account>> {
    let mut accounts = BTreeMap::new();
    for node in config.nodes.iter().filter(|node| node.file.persistent.is_some()) {
        let account = Account::read(root, &config.settings.folders, &node.name)?;
        accounts.extend(account.map(|account| (node.name.clone(), account)));
    }
    Ok(accounts)
}

/// The number of that user (passwd(5)).
fn user(root: &Path, name: &str) -> io::Result<Option<u32>> {
    let path = Path::new("/etc/passwd");
    let text = named(path, read_text(root, path, MAX_FILE))?.unwrap_or_default();
    let number = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok()).flatten()
    };
    Ok(text.lines().find_map(number))
}
