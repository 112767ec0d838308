//! What the server's machine writes to, and its state right after its boot, by which the next one is spared.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Error, Result};
use serde_json::{json, Value};

use crate::paths::Paths;
use crate::shell::quoted;
use crate::stamp::{self, Stamp};
use crate::suite::Suite;
use crate::tree::Tree;
use crate::{image, qemu, qmp};

/// How long a state of half a gigabyte may take to be written, on a machine under load.
const LIMIT: Duration = Duration::from_secs(120);

/// QEMU's own limit is for networks (128 MiB/s).
const BYTES_A_SECOND: u64 = 1 << 40;

/// The disks, each an image that stays as it is, below a file with what was written since.
pub(super) struct Disks {
    /// Serial number and image.
    images: Vec<(String, PathBuf)>,
    /// Where the files are of the machine that runs.
    run: PathBuf,
    /// Where the files are that belong to the state, and the state.
    kept: PathBuf,
}

impl Disks {
    /// All of them, from the images as they are now.
    pub(super) fn find(paths: &Paths) -> Result<Self> {
        let own = Tree::ALL.map(|tree| (tree, tree.name()));
        // The nodes' trees come twice: a scenario may change the second ones.
        let scratch = Suite::ALL.map(Tree::Node).map(|tree| (tree, format!("scratch-{}", tree.name())));
        let images: Result<_> =
            own.into_iter().chain(scratch).map(|(tree, serial)| Ok((serial, image::find(paths, tree)?.disk))).collect();
        Ok(Self { images: images?, run: run(paths), kept: paths.images().join("server.state") })
    }

    /// QEMU's arguments for them.
    pub(super) fn arguments(&self) -> Vec<String> {
        let each = |(serial, _): &(String, PathBuf)| {
            let file = qemu::escaped(&written(&self.run, serial));
            let drive = format!("if=none,id={serial},format=qcow2,cache=unsafe,file={file}");
            let device = format!("virtio-blk-pci,drive={serial},serial={serial}");
            ["-drive".to_owned(), drive, "-device".to_owned(), device]
        };
        self.images.iter().flat_map(each).collect()
    }

    /// What the state of this machine depends on: its arguments, the very files that it reads (one that is made anew of the same
    /// is another), and the version of what emulates it.
    pub(super) fn digest(&self, arguments: &[String]) -> Result<String> {
        let version = Command::new("qemu-system-x86_64").arg("--version").output().context("cannot run QEMU")?;
        let stamp = Stamp::new().text(&arguments.join("\n")).text(&String::from_utf8_lossy(&version.stdout));
        let stamp = self.images.iter().try_fold(stamp, |stamp, (_, image)| {
            let found = fs::metadata(image).with_context(|| format!("cannot look at {}", image.display()))?;
            let [inode, length] = [found.ino(), found.len()];
            Ok::<_, Error>(stamp.text(&format!("{inode} {length} {} {}", found.mtime(), found.mtime_nsec())))
        })?;
        Ok(stamp.digest())
    }

    /// Makes them as the images are.
    pub(super) fn make(&self) -> Result<()> {
        remove(&self.run)?;
        fs::create_dir_all(&self.run).with_context(|| format!("cannot make {}", self.run.display()))?;
        for (serial, image) in &self.images {
            let mut make = Command::new("qemu-img");
            make.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(image).arg(written(&self.run, serial));
            let made = make.output().context("cannot run qemu-img")?;
            if !made.status.success() {
                bail!("qemu-img, for the server's disk {serial}: {}", String::from_utf8_lossy(&made.stderr));
            }
        }
        Ok(())
    }

    /// Whether there is a state that `digest` stands for.
    pub(super) fn has_state(&self, digest: &str) -> bool {
        stamp::is_fresh(&memory(&self.kept), digest)
    }

    /// Makes them as they were when the state was kept, and says by which of QEMU's arguments a machine takes that up.
    pub(super) fn restore(&self) -> Result<[String; 2]> {
        remove(&self.run)?;
        self.copy(&self.kept, &self.run)?;
        Ok(["-incoming".to_owned(), format!("exec:exec cat {}", quoted(&memory(&self.kept)))])
    }

    /// Keeps the state of the machine behind this QMP socket. It stands still meanwhile.
    pub(super) fn keep(&self, socket: &Path, digest: &str) -> Result<()> {
        let memory = memory(&self.kept);
        remove(&self.kept)?;
        fs::create_dir_all(&self.kept).with_context(|| format!("cannot make {}", self.kept.display()))?;
        qmp::execute(socket, "migrate-set-parameters", json!({"max-bandwidth": BYTES_A_SECOND}))?;
        qmp::execute(socket, "migrate", json!({"uri": format!("exec:exec cat >{}", quoted(&memory))}))?;
        let kept = written_out(socket).and_then(|()| self.copy(&self.run, &self.kept));
        let goes_on = qmp::execute(socket, "cont", json!({}));
        kept?;
        goes_on?;
        stamp::note(&memory, digest)
    }

    /// Throws the state away.
    pub(super) fn discard(&self) -> Result<()> {
        remove(&self.kept)
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
        for (serial, _) in &self.images {
            let (from, to) = (written(from, serial), written(to, serial));
            fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(())
    }
}

/// What was written to them is gone.
pub(super) fn forget(paths: &Paths) -> Result<()> {
    remove(&run(paths))
}

fn run(paths: &Paths) -> PathBuf {
    paths.run().join("server.disks")
}

/// Waits until the state is written; the machine stands still then.
fn written_out(socket: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        let answer = qmp::execute(socket, "query-migrate", json!({}))?;
        match answer.get("status").and_then(Value::as_str) {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => bail!("QEMU cannot write the server's state: {answer}"),
            _ if started.elapsed() > LIMIT => {
                qmp::execute(socket, "migrate_cancel", json!({}))?;
                bail!("the server's state is not written after {} s", LIMIT.as_secs());
            }
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

fn written(folder: &Path, serial: &str) -> PathBuf {
    folder.join(format!("{serial}.qcow2"))
}

fn memory(kept: &Path) -> PathBuf {
    kept.join("memory")
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}
