//! `rootaufs`: makes the root of a diskless node. See rootaufs(8).

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use sidus::boot::{boot, Machine, Next, REBOOT_DELAY};
use sidus::cli::{parse, Verb, USAGE};
use sidus::keeper::report::{KeeperReport, Kept};
use sidus::keeper::{self, Keeper, KeeperError};
use sidus::lun::read_credentials;
use sidus::preview::preview;
use sidus::report::{Report, REPORT};
use sidus::status::{describe, Usage};

/// Tells the init-bottom script to call `panic` without the kernel's `panic=`.
const WANTS_SHELL: u8 = 3;

fn main() -> ExitCode {
    let verb = match parse(std::env::args_os().skip(1)) {
        Ok(verb) => verb,
        Err(error) => return complain(&format!("{error} (rootaufs --help says what there is)"), 2),
    };
    let root = Path::new("/");
    match verb {
        Verb::Init { rootmnt } => match boot(&Machine { root: root.to_owned(), rootmnt }) {
            Next::Boot => ExitCode::SUCCESS,
            Next::Panic => ExitCode::FAILURE,
            Next::Shell => ExitCode::from(WANTS_SHELL),
            Next::Reboot => {
                std::thread::sleep(REBOOT_DELAY);
                let refused = rustix::system::reboot(rustix::system::RebootCommand::Restart);
                complain(&format!("the kernel refuses to reboot: {refused:?}"), 1)
            }
        },
        Verb::Plan { cmdline, tree } => match preview(root, cmdline, tree.as_deref()) {
            Ok(text) => print(&text),
            Err(error) => complain(&error.to_string(), 1),
        },
        Verb::Status { json } => match status(root, json) {
            Ok(text) => print(&text),
            Err(error) => {
                complain(&format!("/run/sidus/report.json: {error}: this machine did not boot by rootaufs"), 1)
            }
        },
        Verb::Keep { session, recovery, here: true } => {
            keep_here(root, session.unwrap_or_default(), recovery.map(Duration::from_secs))
        }
        Verb::Keep { session, recovery, here: false } => match keep(root, session, recovery.map(Duration::from_secs)) {
            Ok(text) => print(&text),
            Err(error) => complain(&error, 1),
        },
        Verb::CheckCredentials { file } => match read_credentials(&file) {
            Ok(Some(_)) => ExitCode::SUCCESS,
            Ok(None) => complain(&format!("{}: no such file", file.display()), 1),
            Err(error) => complain(&error.to_string(), 1),
        },
        Verb::Version => print(concat!("rootaufs ", env!("CARGO_PKG_VERSION"), "\n")),
        Verb::Help => print(USAGE),
    }
}

fn status(root: &Path, json: bool) -> std::io::Result<String> {
    if json {
        return std::fs::read_to_string(root.join(REPORT));
    }
    let (report, kept) = (Report::read(root)?, Kept::look(root)?);
    Ok(describe(&report, Usage::of_layer(), kept.as_ref()))
}

/// Starts a keeper, where none is at work.
fn keep(root: &Path, session: Option<u32>, recovery: Option<Duration>) -> Result<String, String> {
    let kept = KeeperReport::read(root).map_err(|error| format!("/run/sidus/keeper.json: {error}"))?;
    if let Some(report) = kept.filter(|report| report.is_kept(root)) {
        return Err(format!("session {} has a keeper already, process {}", report.session, report.pid));
    }
    let session = match session {
        Some(session) => session,
        None => {
            let report = Report::read(root).map_err(|error| format!("/run/sidus/report.json: {error}"))?;
            report.iscsi.ok_or("this node has no iSCSI session of rootaufs: --session names another")?.session
        }
    };
    let pid = keeper::start(session, recovery).map_err(|error| error.to_string())?;
    Ok(format!("session {session} has a keeper, process {pid}\n"))
}

/// Is the keeper, until the session is ended.
fn keep_here(root: &Path, session: u32, recovery: Option<Duration>) -> ExitCode {
    let keeper = Keeper::new(root, session, recovery).and_then(|mut keeper| keeper.settle().map(|()| keeper));
    let failure = keeper.as_ref().err().map(ToString::to_string);
    if keeper::answer(failure.as_deref()).is_err() {
        return ExitCode::FAILURE;
    }
    match keeper.map(|mut keeper| keeper.keep()) {
        Ok(KeeperError::Ended { .. }) => ExitCode::SUCCESS,
        Ok(_) | Err(_) => ExitCode::FAILURE,
    }
}

fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    eprintln!("rootaufs: {text}");
    ExitCode::from(code)
}
