//! The lab as a scenario sees it.

use std::fs::File;
use std::path::PathBuf;

use anyhow::{bail, Context, Result};

use crate::kernel::Kernel;
use crate::node::NodeBuilder;
use crate::paths::Paths;
use crate::server::Server;
use crate::suite::Suite;
use crate::tree::Tree;
use crate::{image, initrd};

/// The running lab.
#[derive(Debug, Clone)]
pub struct Lab {
    paths: Paths,
    server: Server,
}

impl Lab {
    /// Finds the running server, or says how to start it.
    pub fn open() -> Result<Self> {
        let server = Server::at(&Paths::open()?);
        if server.running()?.is_none() {
            bail!("the lab's server is not running: start it with ./qemu/lab server");
        }
        Ok(Self { paths: server.paths().clone(), server })
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The lab's folders.
    pub fn paths(&self) -> &Paths {
        &self.paths
    }

    /// A node, 20 to 219: its number is the last byte of its MAC and IP address.
    pub fn node(&self, number: u8) -> NodeBuilder {
        NodeBuilder::new(&self.server, number)
    }

    /// A tree of this release that a scenario may change, by its path on the server: `/etc` is its own, what is replaced
    /// elsewhere as well; the rest are files that it shares with others. Another one of this name is gone.
    pub fn own_tree(&self, suite: Suite, name: &str) -> Result<String> {
        let scratch = suite.scratch();
        let tree = format!("{scratch}/srv/{name}");
        self.server.run(&format!(
            "set -e; rm -rf {tree}; mkdir -p {tree}/srv; cd {scratch}
             for entry in *; do
                 case $entry in srv) ;; etc) cp -a etc {tree}/ ;; *) cp -al $entry {tree}/ ;; esac
             done"
        ))?;
        Ok(tree)
    }

    /// A new local disk of `size` bytes for a node: an empty file under this name.
    pub fn new_disk(&self, name: &str, size: u64) -> Result<PathBuf> {
        let path = self.paths.run().join(format!("{name}.disk"));
        File::create(&path)
            .and_then(|file| file.set_len(size))
            .with_context(|| format!("cannot make the disk {}", path.display()))?;
        Ok(path)
    }

    /// The initrd of a node's tree with files of one's own in place of its: (path in the initramfs, text).
    pub fn initrd_with(&self, suite: Suite, kernel: Kernel, files: &[(&str, &str)]) -> Result<PathBuf> {
        let initrd = image::find(&self.paths, Tree::Node(suite))?.initrd(kernel);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("lab").replace("::", "-");
        initrd::with_files(&initrd, files, &self.paths.run().join(name))
    }
}
