//! The configuration: `/etc/sidus/sidus.toml`, and `/etc/sidus/nodes.d/NAME.toml` for each node. See sidus.toml(5).
//!
//! A node has a file of its own so that to add one is to make a file and to remove one is to remove it: both are atomic,
//! and what a person wrote into the others, comments too, is never touched. A file's name is the node's, so no two nodes
//! can have one name.

mod check;
mod error;
pub mod packages;
pub mod values;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use error::ConfigError;
use values::{Cmdline, Folder, Include, Mac, Mirror, Net, NodeName, Size, TreeName, VolumeGroup, Word};

use super::paths;

/// Where the configuration is.
pub const CONFIG: &str = "/etc/sidus/sidus.toml";
/// Where the nodes' files are.
pub const NODES: &str = "/etc/sidus/nodes.d";
/// Longer files are not read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// All of it, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Config {
    /// What `sidus.toml` says.
    #[serde(flatten)]
    pub settings: Settings,
    /// The nodes, by their names.
    pub nodes: Vec<Node>,
}

/// `sidus.toml`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// This machine, as the nodes see it.
    pub server: Server,
    /// Where things are.
    #[serde(default)]
    pub folders: Folders,
    /// Which programs serve.
    pub services: Services,
    /// What DHCP says.
    #[serde(default)]
    pub dhcp: Dhcp,
    /// Where `sidus node add` makes disks.
    #[serde(default)]
    pub disks: Disks,
    /// What `sidus tree create` does unless told otherwise.
    #[serde(default)]
    pub tree: TreeDefaults,
    /// What holds for a node whose file does not say otherwise.
    #[serde(default)]
    pub node: NodeDefaults,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its address in the nodes' network: of DHCP, TFTP and NFS.
    pub address: Ipv4Addr,
    /// The nodes' network.
    pub subnet: Net,
    /// Where the iSCSI targets are found, if not at `address`.
    pub portal: Option<Ipv4Addr>,
}

/// `[folders]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Folders {
    /// Working trees: what an administrator changes, and no node mounts.
    pub trees: Folder,
    /// What nodes mount: it never changes.
    pub generations: Folder,
    /// What TFTP serves.
    pub tftp: Folder,
    /// The nodes' disks.
    pub luns: Folder,
    /// Files that go into each tree.
    pub site: Folder,
    /// What `sidus` has to remember.
    pub state: Folder,
}

impl Folders {
    /// With the keys that they have in the file.
    #[must_use]
    pub const fn all(&self) -> [(&'static str, &Folder); 6] {
        [
            ("trees", &self.trees),
            ("generations", &self.generations),
            ("tftp", &self.tftp),
            ("luns", &self.luns),
            ("site", &self.site),
            ("state", &self.state),
        ]
    }
}

impl Default for Folders {
    fn default() -> Self {
        let folder = Folder::known;
        Self {
            trees: folder("/srv/sidus/trees"),
            generations: folder("/srv/sidus/generations"),
            tftp: folder("/srv/tftp"),
            luns: folder("/srv/sidus/luns"),
            site: folder("/etc/sidus/site"),
            state: folder("/var/lib/sidus"),
        }
    }
}

/// `[services]`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Services {
    /// Who answers DHCP.
    pub dhcp: DhcpService,
    /// Who answers TFTP.
    pub tftp: TftpService,
    /// Who exports the generations.
    pub nfs: NfsService,
    /// Who serves the nodes' disks.
    pub target: TargetService,
}

/// Who answers DHCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DhcpService {
    /// dnsmasq(8)
    Dnsmasq,
    /// dhcpd(8) of isc-dhcp-server
    IscDhcpServer,
    /// Another machine, or a person looks after it.
    None,
}

/// Who answers TFTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TftpService {
    /// dnsmasq(8)
    Dnsmasq,
    /// in.tftpd(8) of tftpd-hpa
    TftpdHpa,
    /// A person looks after it.
    None,
}

/// Who exports the generations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum NfsService {
    /// The kernel, exports(5)
    NfsKernelServer,
    /// A person looks after it.
    None,
}

/// Who serves the nodes' disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TargetService {
    /// The kernel, by targetcli(8)
    Lio,
    /// tgtd(8)
    Tgt,
    /// No node has a disk.
    None,
}

/// `[dhcp]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dhcp {
    /// The way out of the network.
    pub router: Option<Ipv4Addr>,
    /// Who answers DNS.
    pub nameservers: Vec<Ipv4Addr>,
    /// The first and the last address for machines that are no nodes yet; without it, they get none.
    pub pool: Option<(Ipv4Addr, Ipv4Addr)>,
}

/// `[disks]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Disks {
    /// In this group, as volumes; without it, in [`Folders::luns`], as files.
    pub volume_group: Option<VolumeGroup>,
}

/// `[tree]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TreeDefaults {
    /// Debian's release.
    pub suite: Word,
    /// Where its packages come from; without it, from where this machine's do.
    pub mirror: Option<Mirror>,
    /// Its parts.
    pub components: Vec<Word>,
    /// The nodes' processors.
    pub arch: Arch,
    /// What is installed: packages, and with `@` lists of them.
    pub include: Vec<Include>,
    /// What is not.
    pub exclude: Vec<Include>,
}

impl Default for TreeDefaults {
    fn default() -> Self {
        Self {
            suite: Word::known("trixie"),
            mirror: None,
            components: vec![Word::known("main")],
            arch: Arch::Amd64,
            include: vec![Include::known("@article")],
            exclude: Vec::new(),
        }
    }
}

/// The processors that a tree is for. For others than the first, none is made any more: what nodes need is for these alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Arch {
    /// x86-64
    Amd64,
    /// 32-bit x86
    #[value(hide = true)]
    I386,
}

/// `[node]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeDefaults {
    /// The tree that it boots.
    pub tree: Option<TreeName>,
    /// What its kernel's command line has besides what `sidus` writes there.
    pub cmdline: Option<Cmdline>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Node {
    /// Its name: its file's.
    pub name: NodeName,
    /// The rest.
    #[serde(flatten)]
    pub file: NodeFile,
}

/// `nodes.d/NAME.toml`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// Its network card, which DHCP knows it by.
    pub mac: Mac,
    /// Its address, which its target's name ends in.
    pub ip: Ipv4Addr,
    /// The tree that it boots, if not that of `[node]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<TreeName>,
    /// The size of its disk; without one, its layer is in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub persistent: Option<Size>,
    /// The group that its disk is a volume of; without one, that is a file. No default, so that no disk is looked for
    /// elsewhere because new ones are made there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_group: Option<VolumeGroup>,
    /// In place of that of `[node]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmdline: Option<Cmdline>,
}

impl Config {
    /// Reads it from the machine whose root is `root`. `None` where there is no `sidus.toml`.
    ///
    /// # Errors
    /// [`ConfigError`] with file and line.
    pub fn find(root: &Path) -> Result<Option<Self>, ConfigError> {
        let Some(text) = paths::read_text(root, Path::new(CONFIG), MAX_FILE).map_err(error::unreadable(CONFIG))? else {
            return Ok(None);
        };
        let settings = Settings::parse(&text)?;
        let mut nodes = Vec::new();
        let names = paths::names(root, Path::new(NODES)).map_err(error::unreadable(NODES))?;
        // As editors leave them behind: .x.toml.swp, x.toml~
        for name in names.iter().filter(|name| !name.starts_with('.') && name.ends_with(".toml")) {
            let path = PathBuf::from(NODES).join(name);
            let text = paths::read_text(root, &path, MAX_FILE).map_err(error::unreadable(&path))?;
            nodes.extend(text.map(|text| Node::parse(name, &text).map(|node| (node, text))).transpose()?);
        }
        check::nodes(&settings, &nodes)?;
        Ok(Some(Self { settings, nodes: nodes.into_iter().map(|(node, _)| node).collect() }))
    }

    /// As [`Config::find`], where there must be one.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn read(root: &Path) -> Result<Self, ConfigError> {
        Self::find(root)?.ok_or(ConfigError::Missing)
    }

    /// All of it, as the files would have it.
    #[must_use]
    pub fn describe(&self) -> String {
        let file = |path: String, text: Result<String, toml::ser::Error>| match text {
            Ok(text) => format!("# {path}\n{text}\n"),
            Err(error) => format!("# {path}: {error}\n"),
        };
        let nodes = self
            .nodes
            .iter()
            .map(|node| file(Node::path(&node.name).display().to_string(), toml::to_string(&node.file)));
        let settings = file(CONFIG.to_owned(), toml::to_string(&self.settings));
        std::iter::once(settings).chain(nodes).collect()
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// This configuration with one more node, or with another of its name, if that is right.
    ///
    /// # Errors
    /// [`ConfigError`] names the file of the new node.
    pub fn with(&self, node: Node) -> Result<Self, ConfigError> {
        let mut nodes = self.nodes.clone();
        nodes.retain(|known| known.name != node.name);
        // Last, so that it is the one that errors name.
        nodes.push(node);
        let texts: Vec<_> = nodes.into_iter().map(|node| (node, String::new())).collect();
        check::nodes(&self.settings, &texts)?;
        let mut nodes: Vec<_> = texts.into_iter().map(|(node, _)| node).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { settings: self.settings.clone(), nodes })
    }
}

impl Settings {
    /// Reads the text of `sidus.toml`.
    ///
    /// # Errors
    /// [`ConfigError`] with the line.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let settings: Self = toml::from_str(text).map_err(error::at(Path::new(CONFIG), text))?;
        check::settings(&settings, text)?;
        Ok(settings)
    }
}

impl Server {
    /// Where the iSCSI targets are found.
    #[must_use]
    pub fn portal(&self) -> Ipv4Addr {
        self.portal.unwrap_or(self.address)
    }
}

impl Node {
    /// Where its file is.
    #[must_use]
    pub fn path(name: &NodeName) -> PathBuf {
        Path::new(NODES).join(format!("{name}.toml"))
    }

    fn parse(file_name: &str, text: &str) -> Result<Self, ConfigError> {
        let path = Path::new(NODES).join(file_name);
        let name =
            file_name.strip_suffix(".toml").unwrap_or(file_name).parse().map_err(|why: values::ValueError| {
                ConfigError::At { file: path.clone(), line: None, message: format!("the file's name: {why}") }
            })?;
        Ok(Self { name, file: toml::from_str(text).map_err(error::at(&path, text))? })
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
