//! `sidus node list`

use serde::Serialize;

use super::disk::Disk;
use super::NodeError;
use crate::server::cli::Common;
use crate::server::config::Config;
use crate::server::generation::entries::tree_of;
use crate::server::generation::facts::Facts;
use crate::server::{output, Error};

/// A node, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    name: String,
    mac: String,
    ip: String,
    tree: Option<String>,
    /// What it boots next.
    generation: Option<String>,
    /// The size of its disk.
    persistent: Option<String>,
    /// Where that is; none where it is missing.
    disk: Option<String>,
    cmdline: Option<String>,
}

pub(super) fn run(common: &Common, json: bool) -> Result<(), Error> {
    let config = Config::read(&common.root)?;
    let generations = Facts::read(&common.root, &config)?;
    let rows = rows(common, &config, &generations).map_err(NodeError::Facts)?;
    if json {
        return output::print_json(&rows).map_err(Error::Print);
    }
    output::print(&table(&rows));
    Ok(())
}

fn rows(common: &Common, config: &Config, generations: &Facts) -> std::io::Result<Vec<Row>> {
    let folders = &config.settings.folders;
    let row = |node: &crate::server::config::Node| {
        let tree = tree_of(config, node);
        let current = tree.and_then(|tree| generations.published.get(tree)?.current);
        let disk = Disk::of_node(folders, node);
        let has_disk = node.file.persistent.is_some() && disk.is_there(&common.root)?;
        Ok(Row {
            name: node.name.to_string(),
            mac: node.file.mac.to_string(),
            ip: node.file.ip.to_string(),
            tree: tree.map(ToString::to_string),
            generation: current.map(|(name, _)| name.to_string()),
            persistent: node.file.persistent.map(|size| size.to_string()),
            disk: has_disk.then(|| disk.path().display().to_string()),
            cmdline: node.file.cmdline.as_ref().or(config.settings.node.cmdline.as_ref()).map(ToString::to_string),
        })
    };
    config.nodes.iter().map(row).collect()
}

fn table(rows: &[Row]) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let cells = rows.iter().map(|row| {
        let disk = match (&row.persistent, &row.disk) {
            (Some(size), None) => format!("{size} (missing)"),
            (size, _) => text(size),
        };
        [row.name.clone(), row.ip.clone(), row.mac.clone(), text(&row.tree), text(&row.generation), disk]
    });
    let head = ["NODE", "ADDRESS", "MAC", "TREE", "NEXT BOOT", "DISK"].map(str::to_owned);
    output::table(&std::iter::once(head).chain(cells).collect::<Vec<_>>())
}
