//! What a node needs of this server: a kernel with its modules, an export, and its disk at its target.

use std::fs;
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Finding;
use crate::server::config::{Config, NfsService};
use crate::server::generation::{facts::record, kernel, Places};
use crate::server::node::disk::Disk;
use crate::server::node::facts::Facts as Nodes;
use crate::server::paths::{has_same_bytes, look, read_text, within};
use crate::server::target::{self, Served, Target};

/// What is exported now (exportfs(8)).
const ETAB: &str = "/var/lib/nfs/etab";
/// It is no longer than this, in bytes.
const MAX_ETAB: u64 = 16 << 20;

/// What there is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// The disks that there are not, with their nodes.
    pub(super) no_disk: Vec<(String, PathBuf)>,
    /// The nodes with a disk that have no account.
    pub(super) no_account: Vec<String>,
    /// What a generation that nodes boot has not.
    pub(super) no_file: Vec<(String, PathBuf)>,
    /// The kernels that TFTP serves and that are not those of their generations, with these and their trees.
    pub(super) other_kernel: Vec<(String, PathBuf, PathBuf)>,
    /// Whether the generations are exported; where they are not to be, they are.
    pub(super) is_exported: bool,
    /// The targets that are to be.
    pub(super) wanted: Vec<Target>,
    /// Those that there are, or why that is not known; nothing where another machine's are meant.
    pub(super) served: Option<Result<Vec<Served>, String>>,
}

impl Facts {
    pub(super) fn read(root: &Path, config: &Config, nodes: &Nodes) -> io::Result<Self> {
        let folders = &config.settings.folders;
        let here = root == Path::new("/");
        let mut facts = Self { is_exported: true, wanted: nodes.targets(config), ..Self::default() };
        for node in config.nodes.iter().filter(|node| node.file.persistent.is_some()) {
            let disk = Disk::of_node(folders, node);
            if !disk.is_there(root)? {
                facts.no_disk.push((node.name.to_string(), disk.path()));
            }
            if !nodes.accounts.contains_key(&node.name) {
                facts.no_account.push(node.name.to_string());
            }
        }
        for (tree, published) in &nodes.generations.published {
            let Some((name, _)) = published.current else { continue };
            let places = Places::of(folders, tree);
            let boot = places.boot(name);
            let served = boot.join("vmlinuz");
            let mut needed = vec![served.clone(), boot.join("initrd.img")];
            let known = record(root, &places, name).map_err(io::Error::other)?;
            if let Some(record) = known {
                let folder = places.folder(name);
                let own = kernel::path(&folder, &record.kernel);
                needed.push(folder.join("usr/lib/modules").join(record.kernel));
                if is_other(root, &served, &own)? {
                    facts.other_kernel.push((tree.to_string(), served, own));
                }
            }
            for path in needed {
                if look(root, &path)?.is_none() {
                    facts.no_file.push((tree.to_string(), path));
                }
            }
        }
        if here && config.settings.services.nfs == NfsService::NfsKernelServer {
            let text = read_text(root, Path::new(ETAB), MAX_ETAB)?.unwrap_or_default();
            facts.is_exported = is_exported(&text, folders.generations.path());
        }
        if here && !facts.wanted.is_empty() {
            let served = target::served(root, config.settings.services.target);
            facts.served = Some(served.map_err(|error| error.to_string()));
        }
        Ok(facts)
    }
}

/// Whether both are files, and not the same. Others than their own are mostly of another length: few are read.
fn is_other(root: &Path, served: &Path, own: &Path) -> io::Result<bool> {
    let named = |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    // TFTP follows links; a generation's could lead to this server's own files.
    let found = match fs::metadata(within(root, served)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        found => found.map_err(|error| named(served, error))?,
    };
    let Some(expected) = look(root, own).map_err(|error| named(own, error))? else { return Ok(false) };
    if !found.is_file() || !expected.is_file() || (found.dev(), found.ino()) == (expected.dev(), expected.ino()) {
        return Ok(false);
    }
    if found.len() != expected.len() {
        return Ok(true);
    }
    let open = |path| fs::File::open(within(root, path)).map_err(|error| named(path, error));
    has_same_bytes(BufReader::new(open(served)?), BufReader::new(open(own)?)).map(|same| !same)
}

/// A line is a folder, and after a tab a network with its options in parentheses.
fn is_exported(etab: &str, folder: &Path) -> bool {
    etab.lines().any(|line| line.split_whitespace().next().is_some_and(|path| Path::new(path) == folder))
}

/// All that is wrong with it.
pub(super) fn findings(config: &Config, facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (tree, path) in &facts.no_file {
        findings.push(Finding::new(
            format!("{}: tree {tree}'s generation needs it, and it is not there", path.display()),
            format!("sidus publish {tree}, or sidus rollback {tree}"),
        ));
    }
    for (tree, served, own) in &facts.other_kernel {
        let (served, own) = (served.display(), own.display());
        findings.push(Finding::new(
            format!("{served}: it is not the kernel of tree {tree}'s generation, whose modules may not fit it"),
            format!("install -m 644 {own} {served}"),
        ));
    }
    if !facts.is_exported {
        let folder = &config.settings.folders.generations;
        findings.push(Finding::new(format!("{folder}: it is not exported"), "exportfs -r; exportfs -v shows what is"));
    }
    for (node, path) in &facts.no_disk {
        findings.push(Finding::new(
            format!("node {node}: its disk, {}, is not there", path.display()),
            format!("bring it back, or make an empty one: sidus node reset {node}"),
        ));
    }
    for node in &facts.no_account {
        findings.push(Finding::new(
            format!("node {node}: it has no account at its target"),
            "sidus node add, with what its file says, makes one",
        ));
    }
    match &facts.served {
        None => {}
        Some(Err(why)) => findings.push(Finding::new("the targets are not known", why.clone())),
        Some(Ok(served)) => {
            for target in &facts.wanted {
                let what = match served.iter().find(|found| found.iqn == target.iqn) {
                    Some(found) if found.is(target) => continue,
                    Some(_) => "serves another disk, or lets in another initiator than its own",
                    None => "is not served",
                };
                let text = format!("node {}: its target, {}, {what}", target.node, target.iqn);
                findings.push(Finding::new(text, "sidus target update"));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Settings;
    use crate::server::target::tests::target;

    #[test]
    fn each_finding_has_a_remedy() {
        let text = "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
            nfs = \"none\"\ntarget = \"tgt\"\n";
        let config = Config { settings: Settings::parse(text).unwrap(), nodes: Vec::new() };
        let one = target(21);
        let served = Served {
            iqn: one.iqn.clone(),
            images: vec![one.image.clone()],
            initiators: vec![one.initiator.clone()],
            addresses: Some(vec!["10.13.20.21".to_owned()]),
            accounts: vec!["node21".to_owned(), "target.node21".to_owned()],
            sessions: Vec::new(),
            portals: None,
        };
        let wrong = Served { initiators: vec!["iqn.x:y".to_owned()], ..served.clone() };
        let good = Facts { is_exported: true, wanted: vec![one], served: Some(Ok(vec![served])), ..Facts::default() };
        assert_eq!(findings(&config, &good), []);
        let with = |served| Facts { served: Some(served), ..good.clone() };
        for (facts, what, remedy) in [
            (
                Facts { no_disk: vec![("n".into(), "/x".into())], ..good.clone() },
                "disk, /x, is not there",
                "sidus node reset n",
            ),
            (Facts { no_account: vec!["n".into()], ..good.clone() }, "node n: it has no account", "sidus node add"),
            (
                Facts { no_file: vec![("t".into(), "/m".into())], ..good.clone() },
                "/m: tree t's generation",
                "sidus publish t",
            ),
            (
                Facts { other_kernel: vec![("t".into(), "/k".into(), "/g".into())], ..good.clone() },
                "/k: it is not the kernel of tree t's generation",
                "install -m 644 /g /k",
            ),
            (Facts { is_exported: false, ..good.clone() }, "/srv/sidus/generations: it is not exported", "exportfs -r"),
            (with(Ok(Vec::new())), "10.13.20.21, is not served", "sidus target update"),
            (with(Ok(vec![wrong])), "lets in another initiator", "sidus target update"),
            (with(Err("no".to_owned())), "the targets are not known", "no"),
        ] {
            let [found] = <[Finding; 1]>::try_from(findings(&config, &facts)).unwrap();
            assert!(found.what.contains(what) && found.remedy.contains(remedy), "{found}");
        }
        assert!(is_exported("/home\t*(ro)\n/srv/x\t10.0.0.0/24(ro)\n", Path::new("/srv/x")));
        assert!(!is_exported("/srv/xy\t10.0.0.0/24(ro)\n", Path::new("/srv/x")));
    }

    #[test]
    fn another_kernel_is_told_from_the_generations_own() {
        let root = std::env::temp_dir().join(format!("sidus-check-kernel-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("folder")).unwrap();
        for (name, text) in [("own", "one"), ("same", "one"), ("as-long", "two"), ("longer", "three")] {
            fs::write(root.join(name), text).unwrap();
        }
        fs::hard_link(root.join("own"), root.join("itself")).unwrap();
        for (target, link) in [("own", "link"), ("as-long", "other-link"), ("nowhere", "to-nothing")] {
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        for (served, own, expected) in [
            ("itself", "own", false),
            ("same", "own", false),
            ("link", "own", false),
            ("as-long", "own", true),
            ("longer", "own", true),
            ("other-link", "own", true),
            // Others tell of these.
            ("folder", "own", false),
            ("none", "own", false),
            ("to-nothing", "own", false),
            ("as-long", "none", false),
            ("as-long", "link", false),
        ] {
            let found = is_other(&root, &Path::new("/").join(served), &Path::new("/").join(own)).unwrap();
            assert_eq!(found, expected, "{served} {own}");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
