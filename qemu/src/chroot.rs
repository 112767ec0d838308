//! A node's tree on this machine, for what an administrator does in one before any node boots it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::image::in_a_namespace;
use crate::paths::Paths;
use crate::shell::Output;
use crate::suite::Suite;
use crate::tree::Tree;
use crate::{programs, tree};

/// Unpacking and removing a tree.
const LIMIT: Duration = Duration::from_secs(300);

/// A base tree, unpacked, with `rootaufs` installed; removed when dropped.
#[derive(Debug)]
pub struct Chroot {
    paths: Paths,
    tree: PathBuf,
}

impl Chroot {
    /// Unpacks the release's node tree, which the lab has built, and installs the program in it.
    pub fn unpack(suite: Suite) -> Result<Self> {
        let paths = Paths::open()?;
        let tarball = tree::find(&paths, Tree::Node(suite))?;
        let programs = programs::folder(&paths);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("lab").replace("::", "-");
        let chroot = Self { tree: paths.run().join(format!("{name}.tree")), paths };
        chroot.remove()?;
        chroot.script("unpack", &[&tarball, &programs], LIMIT)?;
        Ok(chroot)
    }

    /// Runs a command of sh(1) in the tree, as root there. Its mounts and processes end with it.
    pub fn output(&self, command: &str, limit: Duration) -> Result<Output> {
        self.command("run", &[Path::new(command)], limit)
    }

    /// As [`Chroot::output`], of a command that must succeed.
    pub fn run(&self, command: &str) -> Result<String> {
        let output = self.output(command, LIMIT)?;
        if output.status != 0 {
            bail!("{command}: exit status {} in {}\n{}", output.status, self.tree.display(), output.text);
        }
        Ok(output.text)
    }

    fn remove(&self) -> Result<()> {
        self.script("remove", &[], LIMIT)
    }

    fn script(&self, verb: &str, arguments: &[&Path], limit: Duration) -> Result<()> {
        let output = self.command(verb, arguments, limit)?;
        if output.status != 0 {
            bail!("cannot {verb} {}: exit status {}\n{}", self.tree.display(), output.status, output.text);
        }
        Ok(())
    }

    fn command(&self, verb: &str, arguments: &[&Path], limit: Duration) -> Result<Output> {
        let mut command = Command::new("timeout");
        let inner = in_a_namespace();
        command.arg("--kill-after=5").arg(limit.as_secs().to_string()).arg(inner.get_program()).args(inner.get_args());
        command.arg(self.paths.source("chroot")).arg(verb).arg(&self.tree).args(arguments);
        let output = command.stdin(Stdio::null()).output().context("cannot run timeout(1)")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Output { status: output.status.code().unwrap_or(-1), text })
    }
}

impl Drop for Chroot {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("{error:#}");
        }
    }
}
