//! The benchmark: `rootaufs` against a shell script and Debian's overlayroot, booted in turn in one lab.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::lab::Lab;
use crate::paths::Paths;
use crate::server::Server;
use crate::tree::{self, Tree};
use crate::{binary, image, step};

/// What is compared: the initrd's name, and what its boot adds to the command line.
const CONTENDERS: [(&str, &str); 3] =
    [("rootaufs", "aufs=tmpfs"), ("shell", "aufs=tmpfs"), ("overlayroot", "overlayroot=tmpfs")];

/// Which contender the others are held against.
const REFERENCE: &str = "shell";

/// The node that boots.
const NODE: u8 = 190;

/// Where the README has its figures.
const README_MARKS: [&str; 2] = ["<!-- bench: begin -->\n", "<!-- bench: end -->\n"];

/// One boot's figures.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Boot {
    /// In init-bottom, between the two marks, in milliseconds.
    union_ms: f64,
    /// Processes that were made between the marks, but for the contender's own script and the second mark.
    forks: f64,
    /// From the kernel's `Run /init` to systemd's first line, in seconds.
    to_systemd_s: f64,
    /// NFS requests that the server answered, up to `running`.
    requests: f64,
    /// What the server's card sent, up to `running`, in MB.
    sent_mb: f64,
}

/// What is shown of the boots, and how.
const FIGURES: [(&str, fn(&Boot) -> f64, usize); 5] = [
    ("in init-bottom, ms", |boot| boot.union_ms, 1),
    ("processes made there", |boot| boot.forks, 0),
    ("Run /init to systemd, s", |boot| boot.to_systemd_s, 2),
    ("NFS requests to `running`", |boot| boot.requests, 0),
    ("sent by the server to `running`, MB", |boot| boot.sent_mb, 1),
];

/// Boots each contender `rounds` times, in turn, and prints the figures; into the README as well, where asked.
pub fn run(paths: &Paths, mirror: Option<&str>, rounds: usize, readme: bool) -> Result<()> {
    image::build_all(paths, mirror)?;
    let binary = binary::build(paths)?;
    let work = make_initrds(paths, mirror, &binary)?;
    let server = Server::at(paths);
    let ran = server.running()?.is_some();
    server.start()?;
    let boots = same_kernel(&server, &work).and_then(|()| boot_all(rounds, &work));
    if !ran {
        server.stop()?;
    }
    let text = format!("{}\n{}", figures(&boots?)?, sizes(&work, &binary)?);
    println!("\n{text}");
    if readme {
        write_readme(&paths.project().join("README.md"), &text)?;
    }
    Ok(())
}

fn make_initrds(paths: &Paths, mirror: Option<&str>, binary: &Path) -> Result<PathBuf> {
    let tarball = tree::base(paths, Tree::Bench, mirror)?;
    let work = paths.images().join("bench.work");
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let mut command = image::in_a_namespace();
    command.arg(paths.source("bench/initrds")).arg(tarball).arg(&work).arg(binary);
    let log = paths.log().join("bench-initrds.log");
    step::run("the benchmark's initrds", &mut command, &log, Duration::from_secs(900))?;
    Ok(work)
}

/// The initrds' modules must be of the kernel that the lab boots.
fn same_kernel(server: &Server, work: &Path) -> Result<()> {
    let path = work.join("version");
    let ours = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let booted = server.run("basename /srv/nfsroot/sidus/lib/modules/*cloud*")?;
    if ours != booted {
        bail!(
            "the benchmark's initrds are of kernel {}, the nodes boot {}: remove the older .tar in {}",
            ours.trim(),
            booted.trim(),
            work.parent().unwrap_or(work).display()
        );
    }
    Ok(())
}

fn boot_all(rounds: usize, work: &Path) -> Result<BTreeMap<&'static str, Vec<Boot>>> {
    let lab = Lab::open()?;
    let mut boots: BTreeMap<&str, Vec<Boot>> = BTreeMap::new();
    for round in 1..=rounds {
        for (contender, cmdline) in CONTENDERS {
            let boot = boot(&lab, contender, cmdline, work).with_context(|| format!("{contender}, round {round}"))?;
            eprintln!("  round {round} of {rounds}: {contender}: {:.1} ms in init-bottom", boot.union_ms);
            boots.entry(contender).or_default().push(boot);
        }
    }
    Ok(boots)
}

fn boot(lab: &Lab, contender: &str, cmdline: &str, work: &Path) -> Result<Boot> {
    let before = ServerCost::now(lab)?;
    let initrd = work.join(format!("{contender}.initrd"));
    let mut node = lab.node(NODE).scenario(&format!("bench-{contender}")).cmdline(cmdline).initrd(&initrd).boot()?;
    node.wait_running()?;
    let cost = ServerCost::now(lab)?;
    if node.run("findmnt -no FSTYPE /")?.trim() != "overlay" {
        bail!("its root is no overlay");
    }
    let log = node.run("dmesg")?;
    let begin = mark(&log, "bench: begin")?;
    let end = mark(&log, "bench: end")?;
    let seconds = |what| at(&log, what).map(|(seconds, _)| seconds);
    Ok(Boot {
        union_ms: (end.seconds - begin.seconds) * 1000.0,
        // The contender's script is one process, the second mark another.
        forks: end.processes - begin.processes - 2.0,
        to_systemd_s: seconds("systemd[1]: systemd ")? - seconds("Run /init")?,
        requests: cost.requests - before.requests,
        sent_mb: (cost.sent - before.sent) / 1e6,
    })
}

/// What the server has done so far.
struct ServerCost {
    requests: f64,
    sent: f64,
}

impl ServerCost {
    fn now(lab: &Lab) -> Result<Self> {
        let text = lab
            .server()
            .run("awk '/^rpc/ {print $2}' /proc/net/rpc/nfsd; cat /sys/class/net/e*/statistics/tx_bytes")?;
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [requests, sent] => Ok(Self { requests: *requests, sent: *sent }),
            _ => bail!("expected the server's NFS requests and sent bytes, found {text:?}"),
        }
    }
}

/// A mark in the kernel's log.
struct Mark {
    seconds: f64,
    processes: f64,
}

fn mark(log: &str, what: &str) -> Result<Mark> {
    let (seconds, line) = at(log, what)?;
    let (_, processes) = line.rsplit_once("processes=").with_context(|| format!("{line:?} has no count"))?;
    Ok(Mark { seconds, processes: processes.trim().parse().with_context(|| format!("{line:?} has no count"))? })
}

/// The first line of the kernel's log that has `what`, and its time in seconds.
fn at<'a>(log: &'a str, what: &str) -> Result<(f64, &'a str)> {
    let line = log.lines().find(|line| line.contains(what));
    let line = line.with_context(|| format!("the kernel's log has no {what:?}"))?;
    let time = line.split(['[', ']']).nth(1).unwrap_or_default();
    Ok((time.trim().parse().with_context(|| format!("{line:?} has no time"))?, line))
}

fn figures(boots: &BTreeMap<&str, Vec<Boot>>) -> Result<String> {
    let mut text = String::new();
    let rounds = boots.values().map(Vec::len).min().unwrap_or(0);
    writeln!(
        text,
        "{}, {}. {rounds} boots each, in turn; median (least to most), and the median as a ratio to the shell script's.\n",
        today()?,
        machine()
    )?;
    writeln!(text, "| |{} |", CONTENDERS.map(|(name, _)| format!(" {name}")).join(" |"))?;
    writeln!(text, "|---|---|---|---|")?;
    for (name, figure, digits) in FIGURES {
        write!(text, "| {name} |")?;
        let of = |contender| Spread::of(boots.get(contender).into_iter().flatten().map(figure));
        let reference = of(REFERENCE)?.median;
        for (contender, _) in CONTENDERS {
            let Spread { least, median, most } = of(contender)?;
            write!(text, " {median:.digits$} ({least:.digits$} to {most:.digits$})")?;
            if contender != REFERENCE && reference > 0.0 {
                write!(text, ", {:.2}", median / reference)?;
            }
            write!(text, " |")?;
        }
        writeln!(text)?;
    }
    Ok(text)
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Result<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        match (values.first(), values.get(values.len() / 2), values.last()) {
            (Some(least), Some(median), Some(most)) => Ok(Self { least: *least, median: *median, most: *most }),
            _ => bail!("no boot, no figure"),
        }
    }
}

fn sizes(work: &Path, binary: &Path) -> Result<String> {
    let size = |name: &str| -> Result<u64> {
        let path = work.join(format!("{name}.initrd"));
        Ok(std::fs::metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?.len())
    };
    let (stock, with_module) = (size("stock")?, size("overlay-module")?);
    let with_hooks_modules = size("rootaufs-modules")?;
    let beyond = |name: &str| size(name).map(|size| size.saturating_sub(with_module));
    let program = std::fs::metadata(binary).with_context(|| format!("cannot look at {}", binary.display()))?.len();
    let mut text = String::new();
    writeln!(text, "| size | bytes |\n|---|---|")?;
    for (what, bytes) in [
        ("Debian's stock initrd (cloud kernel, MODULES=most)", stock),
        ("the overlay module adds", with_module.saturating_sub(stock)),
        ("beyond both, the modules for iSCSI, ext4, XFS and Btrfs add", beyond("rootaufs-modules")?),
        ("beyond all modules, rootaufs adds", size("rootaufs")?.saturating_sub(with_hooks_modules)),
        ("beyond both, the shell script adds", beyond("shell")?),
        ("beyond both, overlayroot adds", beyond("overlayroot")?),
        ("the program rootaufs, uncompressed", program),
    ] {
        writeln!(text, "| {what} | {bytes} |")?;
    }
    Ok(text)
}

fn today() -> Result<String> {
    let output = Command::new("date").arg("+%F").output().context("cannot run date")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.split_once(": ").map(|(_, v)| v));
    let cores = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    format!("{} with {cores} cores, QEMU without KVM", field("model name").unwrap_or("an unknown processor"))
}

fn write_readme(path: &Path, text: &str) -> Result<()> {
    let readme = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let [begin, end] = README_MARKS;
    let place = readme.split_once(begin).and_then(|(before, rest)| Some((before, rest.split_once(end)?.1)));
    let (before, after) = place.with_context(|| format!("{} has no {begin:?} and {end:?}", path.display()))?;
    std::fs::write(path, format!("{before}{begin}{text}{end}{after}"))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_from_the_kernels_log() {
        let log = "[    2.500000] Run /init as init process\n[    7.250125] bench: begin processes=120\n";
        let begin = mark(log, "bench: begin").unwrap();
        assert!((begin.seconds - 7.250_125).abs() < 1e-9 && (begin.processes - 120.0).abs() < 1e-9);
        assert_eq!(at(log, "bench: end").unwrap_err().to_string(), "the kernel's log has no \"bench: end\"");
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        let spread = Spread::of([5.0, 1.0, 3.0].into_iter()).unwrap();
        assert!(
            (spread.median - 3.0).abs() < 1e-9 && (spread.least - 1.0).abs() < 1e-9 && (spread.most - 5.0).abs() < 1e-9
        );
    }
}
