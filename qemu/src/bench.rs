//! The benchmark: `rootaufs` against shell scripts and Debian's overlayroot, booted in turn in one lab.

pub mod publish;
pub mod switch;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::lab::Lab;
use crate::node::UNCHANGING;
use crate::paths::Paths;
use crate::server::Server;
use crate::target::Target;
use crate::tree::{self, Tree};
use crate::{image, programs, readme, step};

/// What is compared.
#[derive(Debug)]
struct Contender {
    name: &'static str,
    /// The initrd's name.
    initrd: &'static str,
    /// What its boot adds to the command line; one that fails ends at once.
    cmdline: &'static str,
    /// NFS options for its root, beside Debian's defaults.
    nfs: &'static str,
}

/// Contenders that do the same; the first is held against each of the others.
#[derive(Debug)]
struct Contest {
    title: &'static str,
    contenders: &'static [Contender],
    /// Whether the layer is on a LUN.
    lun: bool,
}

const CONTESTS: [Contest; 2] = [
    Contest {
        title: "aufs=tmpfs",
        contenders: &[
            Contender { name: "rootaufs", initrd: "rootaufs", cmdline: "aufs=tmpfs panic=1", nfs: "" },
            Contender { name: "shell script", initrd: "shell", cmdline: "aufs=tmpfs panic=1", nfs: "" },
            Contender {
                name: "rootaufs, with the NFS options for a generation",
                initrd: "rootaufs",
                cmdline: "aufs=tmpfs panic=1",
                nfs: UNCHANGING,
            },
            Contender { name: "overlayroot", initrd: "overlayroot", cmdline: "overlayroot=tmpfs panic=1", nfs: "" },
        ],
        lun: false,
    },
    Contest {
        title: "aufs=iscsi (tgt, ext4 on the whole LUN)",
        contenders: &[
            Contender { name: "rootaufs", initrd: "rootaufs", cmdline: ISCSI, nfs: "" },
            Contender {
                name: "shell script with iscsistart and blkid",
                initrd: "shell-iscsi",
                cmdline: ISCSI,
                nfs: "",
            },
        ],
        lun: true,
    },
];

/// The article's words for a LUN.
const ISCSI: &str = "aufs=iscsi ISCSI_TARGET_IP=10.13.20.14 root=LABEL=ISCSI panic=1";

/// The node that boots.
const NODE: u8 = 190;

/// Where the README has its figures.
const README_MARKS: [&str; 2] = ["<!-- bench: begin -->\n", "<!-- bench: end -->\n"];

/// The time in init-bottom, of what a shell script takes for the same.
const MOST_OF_SHELL: f64 = 0.25;
/// The README's figures are of so many boots each, or more.
const FEWEST: usize = 5;
/// The program's size in bytes.
const MOST_PROGRAM: f64 = 700_000.0;
/// What the program may add to a compressed initrd, in bytes: what iscsistart with its libraries adds.
const MOST_ADDED: f64 = 194_351.0;

/// One boot's figures.
#[derive(Debug, Clone, PartialEq)]
struct Boot {
    /// In init-bottom, between the two marks, in milliseconds.
    union_ms: f64,
    /// Processes that were made between the marks, but for the contender's own script. The kernel counts threads, its own
    /// among them.
    forks: f64,
    /// From the kernel's `Run /init` to systemd's first line, in seconds.
    to_systemd_s: f64,
    /// NFS requests that the server answered, up to `running`.
    requests: f64,
    /// What the server's card sent, up to `running`, in MB.
    sent_mb: f64,
    /// The program's own account, where the contender is the program.
    status: String,
}

/// What is shown of the boots, and how.
const FIGURES: [(&str, fn(&Boot) -> f64, usize); 5] = [
    ("in init-bottom, ms", |boot| boot.union_ms, 1),
    ("processes and threads made there (rootaufs itself is one)", |boot| boot.forks, 0),
    ("Run /init to systemd, s", |boot| boot.to_systemd_s, 2),
    ("NFS requests to `running`", |boot| boot.requests, 0),
    ("sent by the server to `running`, MB", |boot| boot.sent_mb, 1),
];

/// Boots each contender `rounds` times, in turn, and prints the figures; into the README as well, where asked.
pub fn run(paths: &Paths, mirror: Option<&str>, rounds: usize, readme: bool) -> Result<()> {
    if readme && rounds < FEWEST {
        bail!("--rounds {rounds}: the README has figures of at least {FEWEST} rounds");
    }
    image::build_all(paths, mirror)?;
    let programs = programs::build(paths)?;
    let work = make_initrds(paths, mirror, &programs)?;
    let server = Server::at(paths);
    let ran = server.running()?.is_some();
    server.start()?;
    let boots = same_kernel(&server, &work).and_then(|()| boot_all(rounds, &work));
    if !ran {
        server.stop()?;
    }
    let (boots, sizes) = (boots?, Sizes::of(&work, &programs)?);
    let text = format!("{}{sizes}\n{}", figures(&boots)?, targets(&boots, &sizes)?);
    println!("\n{text}");
    if readme {
        readme::fill(paths, &README_MARKS, &text)?;
    }
    Ok(())
}

fn make_initrds(paths: &Paths, mirror: Option<&str>, programs: &Path) -> Result<PathBuf> {
    let tarball = tree::base(paths, Tree::Bench, mirror)?;
    let work = paths.images().join("bench.work");
    std::fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let mut command = image::in_a_namespace();
    command.arg(paths.source("bench/initrds")).arg(tarball).arg(&work).arg(programs);
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

fn boot_all(rounds: usize, work: &Path) -> Result<Vec<Vec<Vec<Boot>>>> {
    let lab = Lab::open()?;
    let mut all = Vec::new();
    for contest in &CONTESTS {
        let mut boots: Vec<Vec<Boot>> = contest.contenders.iter().map(|_| Vec::new()).collect();
        for round in 1..=rounds {
            for (contender, boots) in contest.contenders.iter().zip(&mut boots) {
                let boot = boot(&lab, contest, contender, work)
                    .with_context(|| format!("{}: {}, round {round}", contest.title, contender.name))?;
                eprintln!(
                    "  {}, round {round} of {rounds}: {}: {:.1} ms in init-bottom",
                    contest.title, contender.name, boot.union_ms
                );
                boots.push(boot);
            }
        }
        all.push(boots);
    }
    Ok(all)
}

fn boot(lab: &Lab, contest: &Contest, contender: &Contender, work: &Path) -> Result<Boot> {
    if contest.lun {
        // A new file system each time: none finds what another left.
        Target::new(lab, NODE).by_tgt()?;
    }
    let before = ServerCost::now(lab)?;
    let initrd = work.join(format!("{}.initrd", contender.initrd));
    let scenario = format!("bench-{}", contender.initrd);
    let node = lab.node(NODE).scenario(&scenario).nfs_options(contender.nfs).cmdline(contender.cmdline);
    let mut node = node.measured().initrd(&initrd).boot()?;
    node.wait_running()?;
    let cost = ServerCost::now(lab)?;
    let upper = if contest.lun { "ext4" } else { "tmpfs" };
    let found = node.run("findmnt -no FSTYPE /; findmnt -no FSTYPE /rw || findmnt -no FSTYPE /media/root-rw")?;
    if found.split_whitespace().collect::<Vec<_>>() != ["overlay", upper] {
        bail!("its root is no overlay over {upper}: {found:?}");
    }
    let log = node.run("dmesg")?;
    let seconds = |what| at(&log, what).map(|(seconds, _)| seconds);
    let status = if contender.initrd == "rootaufs" { node.run("rootaufs status")? } else { String::new() };
    Ok(Boot {
        union_ms: (seconds("bench: end")? - seconds("bench: begin")?) * 1000.0,
        // The contender's script is one process.
        forks: processes(&log, "after")? - processes(&log, "before")? - 1.0,
        to_systemd_s: seconds("systemd[1]: systemd ")? - seconds("Run /init")?,
        requests: cost.requests - before.requests,
        sent_mb: (cost.sent - before.sent) / 1e6,
        status,
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

/// How many processes had been made `before` or `after`, as the marks say.
fn processes(log: &str, when: &str) -> Result<f64> {
    let (_, line) = at(log, &format!("bench: processes {when}="))?;
    let (_, count) = line.rsplit_once('=').unwrap_or_default();
    count.trim().parse().with_context(|| format!("{line:?} has no count"))
}

/// The first line of the kernel's log that has `what`, and its time in seconds.
fn at<'a>(log: &'a str, what: &str) -> Result<(f64, &'a str)> {
    let line = log.lines().find(|line| line.contains(what));
    let line = line.with_context(|| format!("the kernel's log has no {what:?}"))?;
    let time = line.split(['[', ']']).nth(1).unwrap_or_default();
    Ok((time.trim().parse().with_context(|| format!("{line:?} has no time"))?, line))
}

fn figures(all: &[Vec<Vec<Boot>>]) -> Result<String> {
    let mut text = String::new();
    let rounds = all.iter().flatten().map(Vec::len).min().unwrap_or(0);
    writeln!(
        text,
        "{}, {}, QEMU without KVM. {rounds} boots each, in turn; median (least to most), and rootaufs' median as a ratio to the other's.\n",
        readme::today()?,
        readme::machine()
    )?;
    for (contest, boots) in CONTESTS.iter().zip(all) {
        write!(text, "| {} |", contest.title)?;
        for contender in contest.contenders {
            write!(text, " {} |", contender.name)?;
        }
        writeln!(text, "\n|---|{}", "---|".repeat(contest.contenders.len()))?;
        for (name, figure, digits) in FIGURES {
            let spreads: Result<Vec<Spread>> = boots.iter().map(|boots| Spread::of(boots.iter().map(figure))).collect();
            let spreads = spreads?;
            write!(text, "| {name} |")?;
            for (index, Spread { least, median, most }) in spreads.iter().enumerate() {
                write!(text, " {median:.digits$} ({least:.digits$} to {most:.digits$})")?;
                match spreads.first() {
                    Some(ours) if index > 0 && *median > 0.0 => write!(text, ", ratio {:.2}", ours.median / median)?,
                    _ => {}
                }
                write!(text, " |")?;
            }
            writeln!(text)?;
        }
        writeln!(text)?;
        if let Some(last) = boots.first().and_then(|boots| boots.last()) {
            writeln!(text, "Where the time goes, in rootaufs' last boot:\n\n```\n{}```\n", steps(&last.status))?;
        }
    }
    Ok(text)
}

/// The steps of `rootaufs status`.
fn steps(status: &str) -> String {
    let from = status.lines().skip_while(|line| !line.starts_with("took "));
    from.map(|line| format!("{line}\n")).collect()
}

/// Of several figures.
struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { least, median, most } = self;
        write!(f, "{median:.2} ({least:.2} to {most:.2})")
    }
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

/// What the initrds and the programs weigh, in bytes.
struct Sizes {
    /// What, how much, and whether rootaufs' own is a matter of ratio to it.
    rows: Vec<(&'static str, u64, bool)>,
    /// What rootaufs adds to an initrd that has its modules.
    added: u64,
    /// The largest one of the programs.
    program: u64,
}

impl Sizes {
    fn of(work: &Path, programs: &Path) -> Result<Self> {
        let size = |name: &str| -> Result<u64> {
            let path = work.join(format!("{name}.size"));
            let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            text.trim().parse().with_context(|| format!("{}: {text:?} is no size", path.display()))
        };
        let (stock, with_module, with_iscsi) = (size("stock")?, size("overlay-module")?, size("iscsi-modules")?);
        let weight = |name: &str| {
            let path = programs.join(name);
            Ok::<_, anyhow::Error>(path.metadata().with_context(|| format!("cannot look at {}", path.display()))?.len())
        };
        let [program, early, late] = [programs::COMMAND, programs::EARLY, programs::LATE].map(weight);
        let (program, early, late) = (program?, early?, late?);
        let added = size("rootaufs")?.saturating_sub(with_iscsi);
        let with_open_iscsi = size("shell-iscsi")?.saturating_sub(with_iscsi);
        let rows = vec![
            ("Debian's stock initrd (cloud kernel, MODULES=netboot)", stock, false),
            ("the overlay module adds", with_module.saturating_sub(stock), false),
            ("the modules for iSCSI, ext4, XFS and Btrfs add", with_iscsi.saturating_sub(with_module), false),
            ("beyond these, rootaufs adds", added, false),
            ("beyond these, the shell script with Debian's open-iscsi adds", with_open_iscsi, true),
            (
                "beyond the overlay module, the shell script for tmpfs adds",
                size("shell")?.saturating_sub(with_module),
                true,
            ),
            ("beyond the overlay module, overlayroot adds", size("overlayroot")?.saturating_sub(with_module), true),
            ("the program in the initramfs, uncompressed", early, false),
            ("the program in the tree", program, false),
            ("the program for the shutdown of a node with a LUN", late, false),
        ];
        Ok(Self { rows, added, program: program.max(early).max(late) })
    }
}

impl std::fmt::Display for Sizes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "| size | bytes |\n|---|---|")?;
        self.rows.iter().try_for_each(|(what, bytes, is_other)| {
            write!(f, "| {what} | {bytes}")?;
            if *is_other {
                write!(f, ", ratio {}", ratio(self.added, *bytes))?;
            }
            writeln!(f, " |")
        })
    }
}

/// Of two sizes, with two digits.
fn ratio(ours: u64, other: u64) -> String {
    let hundredths = ours.saturating_mul(100).checked_div(other).unwrap_or_default();
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// What the project promises of itself, and what was found.
fn targets(all: &[Vec<Vec<Boot>>], sizes: &Sizes) -> Result<String> {
    let mut text = String::from("| target | at most | found | |\n|---|---|---|---|\n");
    let mut row = |what: &str, most: f64, found: f64, digits: usize| {
        let verdict = if found <= most { "held" } else { "MISSED" };
        writeln!(text, "| {what} | {most:.digits$} | {found:.digits$} | {verdict} |")
    };
    for (contest, boots) in CONTESTS.iter().zip(all) {
        let [ours, shell, ..] = boots.as_slice() else { bail!("{}: no shell script to compare with", contest.title) };
        let median =
            |boots: &[Boot]| Ok::<_, anyhow::Error>(Spread::of(boots.iter().map(|boot| boot.union_ms))?.median);
        let what = format!("{}: time in init-bottom, of the shell script's", contest.title);
        row(&what, MOST_OF_SHELL, median(ours)? / median(shell)?, 2)?;
    }
    // Sizes below 2^53: a float has them whole.
    let bytes = |size: u64| size.to_string().parse::<f64>();
    row("the largest program, bytes", MOST_PROGRAM, bytes(sizes.program)?, 0)?;
    row("what the initrd gains by it, bytes", MOST_ADDED, bytes(sizes.added)?, 0)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_from_the_kernels_log() {
        let log = "[    7.125000] bench: processes before=120\n[    7.250125] bench: begin\n";
        let (seconds, _) = at(log, "bench: begin").unwrap();
        assert!((seconds - 7.250_125).abs() < 1e-9);
        assert!((processes(log, "before").unwrap() - 120.0).abs() < 1e-9);
        assert_eq!(at(log, "bench: end").unwrap_err().to_string(), "the kernel's log has no \"bench: end\"");
    }

    #[test]
    fn sizes_have_a_ratio() {
        for (ours, other, expected) in [(190_340, 182_900, "1.04"), (5, 100, "0.05"), (1, 0, "0.00")] {
            assert_eq!(ratio(ours, other), expected, "{ours} {other}");
        }
    }

    #[test]
    fn the_median_stands_in_the_middle() {
        let spread = Spread::of([5.0, 1.0, 3.0].into_iter()).unwrap();
        assert!(
            (spread.median - 3.0).abs() < 1e-9 && (spread.least - 1.0).abs() < 1e-9 && (spread.most - 5.0).abs() < 1e-9
        );
    }
}
