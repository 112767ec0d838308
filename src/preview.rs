//! `rootaufs plan`: what `init` would do, on any machine, without root and without doing it.

use std::fs;
use std::path::Path;

use thiserror::Error;

use crate::facts::{Facts, FactsError, Wanted};
use crate::options::BootOptions;
use crate::plan::{plan, Plan, PlanError, UnionKind};
use crate::shutdown::{self, PrepareError};

/// Why there is nothing to print.
#[derive(Debug, Error)]
pub enum PreviewError {
    /// The command line is wrong: every reason on a line of its own.
    #[error("the kernel's command line cannot be obeyed:\n  {}", .0.join("\n  "))]
    Options(Vec<String>),
    /// The machine's own command line.
    #[error("cannot read /proc/cmdline: {0}")]
    Cmdline(std::io::Error),
    /// The tree.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// What is asked for cannot be had.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The tree has not all that a node with a LUN takes from it.
    #[error("{_0}: {}", _0.remedy())]
    Tree(#[from] PrepareError),
}

/// The plan for a command line (else this machine's own) as text; with `tree`, for the newest kernel in it.
///
/// # Errors
/// [`PreviewError`]
pub fn preview(root: &Path, cmdline: Option<String>, tree: Option<&Path>) -> Result<String, PreviewError> {
    let line = match cmdline {
        Some(line) => line,
        None => fs::read_to_string(root.join("proc/cmdline")).map_err(PreviewError::Cmdline)?,
    };
    let options = BootOptions::parse(&line)
        .map_err(|bad| PreviewError::Options(bad.problems.iter().map(ToString::to_string).collect()))?;
    let facts = Facts::suppose(&line, tree, Wanted::by(&options))?;
    let plan = plan(&options, &facts)?;
    if let (Plan::Union(union), Some(tree)) = (&plan, tree) {
        if union.upper.is_persistent() {
            shutdown::program(tree)?;
        }
    }
    let supposed = match (&plan, tree) {
        (Plan::Plain, _) => String::new(),
        (_, Some(tree)) => format!("supposed: the newest kernel of {} boots\n", tree.display()),
        (Plan::Union(union), None) => {
            let kind = match union.kind {
                UnionKind::Overlay => "overlayfs",
                UnionKind::Aufs => "aufs",
            };
            format!("supposed: the kernel has {kind} (--root TREE looks into a tree for it)\n")
        }
    };
    Ok(format!("{supposed}{plan}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_told() {
        let line = "aufs=ramfs sidus.debug=yes".to_owned();
        assert_eq!(
            preview(Path::new("/nonexistent"), Some(line), None).unwrap_err().to_string(),
            "the kernel's command line cannot be obeyed:\n  \
             aufs=ramfs: not a value of aufs; accepted: tmpfs, iscsi or off\n  \
             sidus.debug=yes: not a value of sidus.debug; accepted: nothing, 1 or 0"
        );
    }

    #[test]
    fn a_tree_that_lacks_the_program_of_the_shutdown_is_told() {
        let tree = std::env::temp_dir().join(format!("sidus-preview-{}", std::process::id()));
        let modules = tree.join("lib/modules/6.1");
        fs::create_dir_all(&modules).unwrap();
        let dep = "overlay.ko:\niscsi_tcp.ko:\nsd_mod.ko:\next4.ko:\nxfs.ko:\nbtrfs.ko:\n";
        fs::write(modules.join("modules.dep"), dep).unwrap();
        let preview = |line: &str| preview(Path::new("/"), Some(line.to_owned()), Some(&tree));
        let iscsi = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14";
        let error = preview(iscsi).unwrap_err().to_string();
        let file = tree.join(shutdown::IN_TREE);
        assert!(error.starts_with(&format!("cannot read {}: No such file", file.display())), "{error}");
        assert!(error.contains("install rootaufs into the tree"), "{error}");
        assert!(preview("aufs=tmpfs").is_ok());
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "").unwrap();
        assert!(preview(iscsi).unwrap().ends_with("keep the network below the root from all others\n"));
        fs::remove_dir_all(&tree).unwrap();
    }

    #[test]
    fn what_is_supposed_is_said() {
        for (line, has) in [("aufs=tmpfs", "overlayfs"), ("aufs=tmpfs sidus.union=aufs", "aufs")] {
            let text = preview(Path::new("/"), Some(line.to_owned()), None).unwrap();
            let said = format!("supposed: the kernel has {has} (--root TREE looks into a tree for it)\n");
            assert!(text.starts_with(&said), "{line}: {text}");
        }
        let text = preview(Path::new("/"), Some("aufs=off".to_owned()), None).unwrap();
        assert_eq!(text, "nothing to do: the plain root boots, untouched\n");
    }
}
