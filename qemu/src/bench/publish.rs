//! What `sidus publish` costs beside a bare rsync(1), which makes the same copy of a real Debian tree on the same disk, and
//! where another initrd is due, beside that and a bare mkinitramfs(8).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::Spread;
use crate::paths::Paths;
use crate::served::Served;
use crate::{image, programs, readme, step};

/// Where the README has its figures.
const README_MARKS: [&str; 2] = ["<!-- bench of publish: begin -->\n", "<!-- bench of publish: end -->\n"];

/// The tree that is published, and where its generations are.
const TREE: &str = "srv/sidus/trees/hpc";
const GENERATIONS: &str = "srv/sidus/generations/hpc";

/// A publication, of what the bare copy takes.
const MOST: f64 = 1.5;

/// What changes between two publications.
struct Change {
    what: &'static str,
    /// Makes it in the tree `$1`, in round `$2`.
    how: &'static str,
    /// What is done by hand then.
    beside: Beside,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Copy,
    CopyAndInitrd,
}

/// mkinitramfs obeys it.
const READ: &str = r#"echo ": $2" >"$1/etc/initramfs-tools/conf.d/changed""#;
/// One of a name of its own, which the linker is told.
const LIBRARY: &str = r#"name=$(printf 'lib9%04d.so.1' "$2")
    sed "s/libcrypt\.so\.1/$name/g" "$1"/usr/lib/*-linux-gnu/libcrypt.so.1 >"$1/usr/local/lib/$name"
    ldconfig -r "$1""#;

const CHANGES: [Change; 7] = [
    Change { what: "documentation", how: r#"echo ": $2" >"$1/usr/share/doc/changed""#, beside: Beside::Copy },
    Change {
        what: "`/etc/motd`, which mkinitramfs does not open",
        how: r#"echo ": $2" >"$1/etc/motd""#,
        beside: Beside::Copy,
    },
    Change {
        what: "a new program in `/usr/bin`, which mkinitramfs does not look for",
        how: r#"echo ": $2" >"$1/usr/bin/new-$2""#,
        beside: Beside::Copy,
    },
    Change {
        what: "a new file in `/etc`, a new folder in `/`",
        how: r#"echo ": $2" >"$1/etc/new-$2"; mkdir "$1/new-$2""#,
        beside: Beside::Copy,
    },
    Change { what: "a new library in `/usr/local/lib`, and `ld.so.cache`", how: LIBRARY, beside: Beside::Copy },
    Change { what: "what mkinitramfs reads: another initrd", how: READ, beside: Beside::Copy },
    Change { what: "the same", how: READ, beside: Beside::CopyAndInitrd },
];

/// Publishes `rounds` times after each kind of change, in turn with the bare copy, and prints the figures; into the README
/// as well, where asked.
pub fn run(paths: &Paths, mirror: Option<&str>, rounds: usize, readme: bool) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("lab bench publish: the kernel tells only root what mkinitramfs opens; run it as root");
    }
    image::build_all(paths, mirror)?;
    let server = Server::make(paths, mirror)?;
    server.publish()?;
    let mut text = format!(
        "{}, {}. {rounds} times each, in turn; median (least to most), in seconds.\n\n\
         | what has changed | `sidus publish` | by hand | | ratio | at most | |\n\
         |---|---|---|---|---|---|---|\n",
        readme::today()?,
        readme::machine()
    );
    for Change { what, how, beside } in CHANGES {
        // What is there only from now on is another thing than a change of it.
        server.change(how, 0)?;
        server.publish()?;
        let (mut publications, mut copies) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            server.change(how, round)?;
            let copy = server.copy(beside)?;
            let publication = server.publish()?;
            eprintln!("  {what}, round {round} of {rounds}: publish {publication:.2} s, by hand {copy:.2} s");
            copies.push(copy);
            publications.push(publication);
        }
        let (publication, copy) = (Spread::of(publications.into_iter())?, Spread::of(copies.into_iter())?);
        let ratio = publication.median / copy.median;
        let verdict = if ratio <= MOST { "held" } else { "MISSED" };
        let by = match beside {
            Beside::Copy => "`rsync -aHAX --delete --link-dest`",
            Beside::CopyAndInitrd => "the same, and `mkinitramfs` in the copy",
        };
        writeln!(text, "| {what} | {publication} | {copy} | {by} | {ratio:.2} | {MOST} | {verdict} |")?;
    }
    server.remove()?;
    println!("\n{text}");
    if readme {
        readme::fill(paths, &README_MARKS, &text)?;
    }
    Ok(())
}

/// As an administrator makes an initrd in a tree, `$3`.
const INITRD: &str = "mount --rbind /dev \"$3/dev\"
    mount -t proc proc \"$3/proc\"
    chroot \"$3\" mkinitramfs -o /boot/initrd.bare \"$(ls \"$3/lib/modules\" | sort -V | tail -n 1)\"
    umount -R \"$3/dev\" \"$3/proc\"";

/// A server's files, in a folder.
struct Server {
    root: PathBuf,
    sidus: PathBuf,
    log: PathBuf,
}

impl Server {
    fn make(paths: &Paths, mirror: Option<&str>) -> Result<Self> {
        let programs = programs::build(paths)?;
        let sidus = programs::build_server(paths)?;
        let server =
            Self { root: paths.images().join("bench-publish"), sidus, log: paths.log().join("bench-publish.log") };
        let mut command = image::in_a_namespace();
        command.arg(paths.source("bench/server")).arg(&server.root).arg(programs);
        command.arg(Served::find(paths, mirror)?.tarball());
        step::run("the files of a server", &mut command, &server.log, Duration::from_secs(300))?;
        Ok(server)
    }

    fn change(&self, how: &str, round: usize) -> Result<()> {
        // In the namespace, whose root owns the tree.
        let round = round.to_string();
        self.runs(&["sh", "-euc", how, "sh"], &[&self.root.join(TREE), Path::new(&round)]).map(drop)
    }

    fn publish(&self) -> Result<f64> {
        let before = self.current();
        let sidus = self.sidus.display().to_string();
        let root = self.root.display().to_string();
        let took = self.runs(&[&sidus, "--root", &root, "publish", "hpc"], &[])?;
        if self.current() == before {
            bail!("sidus publish made no generation: see {}", self.log.display());
        }
        Ok(took)
    }

    fn copy(&self, beside: Beside) -> Result<f64> {
        let generations = self.root.join(GENERATIONS);
        let copy = generations.join(".bare");
        let last = generations.join(self.current().context("no generation is current")?);
        let link = format!("--link-dest={}", last.display());
        let from = format!("{}/", self.root.join(TREE).display());
        let initrd = if beside == Beside::CopyAndInitrd { INITRD } else { "" };
        let script = format!("rsync -aHAX --delete \"$1\" \"$2\" \"$3\"\n{initrd}");
        let took = self.runs(&["sh", "-euc", &script, "sh", &link, &from], &[&copy])?;
        self.runs(&["rm", "-r"], &[&copy])?;
        Ok(took)
    }

    fn remove(&self) -> Result<()> {
        self.runs(&["rm", "-r"], &[&self.root]).map(drop)
    }

    /// The generation that nodes boot.
    fn current(&self) -> Option<PathBuf> {
        std::fs::read_link(self.root.join(GENERATIONS).join("current")).ok()
    }

    /// Runs a command on these files; how many seconds it took. Before that the disk has nothing left to do.
    fn runs(&self, words: &[&str], paths: &[&Path]) -> Result<f64> {
        rustix::fs::sync();
        let mut command: Command = image::in_a_namespace();
        command.args(words).args(paths);
        let started = Instant::now();
        let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
        let took = started.elapsed().as_secs_f64();
        if !output.status.success() {
            bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        Ok(took)
    }
}
