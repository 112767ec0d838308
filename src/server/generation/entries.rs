//! The PXE entries: `TFTP/pxelinux.cfg/`, which pxelinux and, with UEFI, syslinux.efi read. A node has a file of its own,
//! named after its hardware address; all other machines get `default`. Each is a pure function of the configuration and of
//! the generations that nodes boot: whatever changes one of those writes what [`entries`] says.

use std::path::PathBuf;

use super::facts::Facts;
use super::{Form, GenerationName, Places};
use crate::server::config::values::TreeName;
use crate::server::config::{Config, Folders, Node};
use crate::server::engine::Action;

/// How a generation is mounted, by klibc's nfsmount. It never changes: what a node knows of a file once, it need not ask
/// again for ten minutes, which halves the requests of a boot. Never with `noacl`: overlayfs asks for a file's ACL where another user than its owner
/// uses it, and hands on NFS's answer, that there are none (EOPNOTSUPP), as an error: root alone could run anything.
const FOLDER_OPTIONS: &str = "tcp,nolock,nocto,acregmin=600,acregmax=600,acdirmin=600,acdirmax=600";

/// Where a node's own entry is.
#[must_use]
pub fn path_of(folders: &Folders, node: &Node) -> PathBuf {
    folders.tftp.join("pxelinux.cfg").join(node.file.mac.for_pxelinux())
}

/// Where that of all other machines is.
#[must_use]
pub fn default_path(folders: &Folders) -> PathBuf {
    folders.tftp.join("pxelinux.cfg/default")
}

/// What is to be written, and what a person has to know of it.
#[must_use]
pub fn entries(config: &Config, facts: &Facts) -> (Vec<Action>, Vec<String>) {
    let folders = &config.settings.folders;
    let mut actions = vec![Action::folder(folders.tftp.join("pxelinux.cfg"))];
    let mut notes = Vec::new();
    match default_tree(config, facts) {
        Some((tree, name, form)) => {
            let words = config.settings.node.cmdline.as_ref().map_or("", |words| words.as_str());
            let entry = Entry { config, tree, name, form, archive: None, layer: Layer::Memory, words };
            actions.push(Action::write_marked(default_path(folders), "#", &entry.text()));
        }
        None => notes.push(format!(
            "{} stays as it is: say in sidus.toml, as node.tree, which tree machines boot that have no file of their own",
            default_path(folders).display()
        )),
    }
    for node in &config.nodes {
        let Some(tree) = tree_of(config, node) else {
            notes.push(format!(
                "node {0} boots nothing: say in its file, {1}, which tree, or in sidus.toml as node.tree",
                node.name,
                Node::path(&node.name).display()
            ));
            continue;
        };
        let Some((name, form)) = facts.published.get(tree).and_then(|published| published.current) else {
            notes.push(format!("node {} boots tree {tree}, which is not published: sidus publish {tree}", node.name));
            continue;
        };
        let words = node.file.cmdline.as_ref().or(config.settings.node.cmdline.as_ref());
        let entry = Entry {
            config,
            tree,
            name,
            form,
            archive: facts.archives.get(&node.name).map(String::as_str),
            layer: if node.file.persistent.is_some() { Layer::Disk } else { Layer::Memory },
            words: words.map_or("", |words| words.as_str()),
        };
        actions.push(Action::write_marked(path_of(folders, node), "#", &entry.text()));
    }
    (actions, notes)
}

/// The tree that a node boots.
#[must_use]
pub fn tree_of<'a>(config: &'a Config, node: &'a Node) -> Option<&'a TreeName> {
    node.file.tree.as_ref().or(config.settings.node.tree.as_ref())
}

/// What machines boot that have no file of their own: what the configuration says, else the only tree that there is.
fn default_tree<'a>(config: &'a Config, facts: &'a Facts) -> Option<(&'a TreeName, GenerationName, Form)> {
    let current = |tree: &'a TreeName| {
        let (name, form) = facts.published.get(tree)?.current?;
        Some((tree, name, form))
    };
    match &config.settings.node.tree {
        Some(tree) => current(tree),
        None => {
            let mut all = facts.published.keys().filter_map(current);
            all.next().filter(|_| all.next().is_none())
        }
    }
}

/// Where what is written on the node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Memory,
    Disk,
}

/// One file.
struct Entry<'a> {
    config: &'a Config,
    tree: &'a TreeName,
    name: GenerationName,
    form: Form,
    archive: Option<&'a str>,
    layer: Layer,
    words: &'a str,
}

impl Entry<'_> {
    fn text(&self) -> String {
        let server = &self.config.settings.server;
        let places = Places::of(&self.config.settings.folders, self.tree);
        let boot = format!("{}/{}", places.boot_served, self.name);
        let archive = self.archive.map(|archive| format!(",{archive}")).unwrap_or_default();
        let root = match self.form {
            Form::Folder => {
                format!(
                    "root=/dev/nfs nfsroot={}:{},{FOLDER_OPTIONS}",
                    server.address,
                    places.folder(self.name).display()
                )
            }
        };
        let layer = match self.layer {
            Layer::Memory => "aufs=tmpfs".to_owned(),
            Layer::Disk => format!("aufs=iscsi ISCSI_TARGET_IP={}", server.portal()),
        };
        let words = if self.words.is_empty() { String::new() } else { format!(" {}", self.words) };
        format!(
            "DEFAULT sidus\n\nLABEL sidus\nKERNEL {boot}/vmlinuz\n\
             APPEND initrd={boot}/initrd.img{archive} {root} ip=dhcp {layer}{words}\n"
        )
    }
}

#[cfg(test)]
#[path = "entries_tests.rs"]
mod tests;
