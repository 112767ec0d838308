//! `rootaufs`: what an administrator calls about the root of a diskless node. See rootaufs(8).
//! What makes that root at boot is `rootaufs-initramfs`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use sidus::cli::{parse, Verb, USAGE};
use sidus::iscsi::credentials::CredentialsFile;
use sidus::keeper::report::KeeperReport;
use sidus::keeper::{self, Task};
use sidus::lun::read_credentials;
use sidus::network::lease;
use sidus::preview::preview;
use sidus::report::{Report, REPORT};
use sidus::status::{describe, Now};
use sidus::switch::come_up;
use sidus::switch::finish::{finish, try_init};
use sidus::switch::switch;
use sidus::watch::watch;

/// Tells a script that the node gets to the generation by a reboot alone.
const NEEDS_REBOOT: u8 = 3;

fn main() -> ExitCode {
    let root = Path::new("/");
    let verb = match parse(std::env::args_os().skip(1)) {
        Ok(verb) => verb,
        Err(error) => return complain(&format!("{error} (rootaufs --help says what there is)"), 2),
    };
    match verb {
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
        Verb::Keep { session } => match keep(root, session) {
            Ok(text) => print(&text),
            Err(error) => complain(&error, 1),
        },
        Verb::Lease { device } => match lease::keep(root, &device) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string(), 1),
        },
        Verb::Switch(request) => match switch(root, &request) {
            Ok(text) => print(&text),
            Err(error) => complain(&error.to_string(), if error.needs_reboot() { NEEDS_REBOOT } else { 1 }),
        },
        Verb::FinishSwitch => match finish(root) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        },
        Verb::EnterSwitch(trial) => match come_up::enter(root, &trial) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&error.to_string(), 1),
        },
        Verb::WatchSwitch(trial) => {
            come_up::watch(root, &trial);
            ExitCode::SUCCESS
        }
        Verb::TryInit { root } => match try_init(&root) {
            Err(error) => complain(&error.to_string(), 1),
        },
        Verb::Watch => match watch(root) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("cannot watch this node: {error}"), 1),
        },
        Verb::CheckCredentials { file } => match check_credentials(root, &file) {
            Ok(Some(_)) => ExitCode::SUCCESS,
            Ok(None) => complain(&format!("{}: no such file", file.display()), 1),
            Err(error) => complain(&error, 1),
        },
        Verb::Version => print(concat!("rootaufs ", env!("CARGO_PKG_VERSION"), "\n")),
        Verb::Help => print(USAGE),
    }
}

fn status(root: &Path, json: bool) -> std::io::Result<String> {
    if json {
        return std::fs::read_to_string(root.join(REPORT));
    }
    let report = Report::read(root)?;
    let now = Now::look(root, &report)?;
    Ok(describe(&report, &now))
}

/// Reads the file as the initramfs will; a relative path begins where this program was called.
fn check_credentials(root: &Path, file: &Path) -> Result<Option<CredentialsFile>, String> {
    let file = std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))?;
    read_credentials(root, &file).map_err(|error| error.to_string())
}

/// Starts a keeper, where none is at work.
fn keep(root: &Path, session: Option<u32>) -> Result<String, String> {
    let kept = KeeperReport::read(root).map_err(|error| format!("/run/sidus/keeper.json: {error}"))?;
    if let Some(report) = kept.filter(|report| report.is_kept(root)) {
        return Err(format!("session {} has a keeper already, process {}", report.session, report.pid));
    }
    let own = match Report::read(root) {
        Ok(report) => report.iscsi,
        Err(_) if session.is_some() => None,
        Err(error) => return Err(format!("/run/sidus/report.json: {error}")),
    };
    let session = match session.or_else(|| own.as_ref().map(|lun| lun.session)) {
        Some(session) => session,
        None => return Err("this node has no iSCSI session of rootaufs: --session names another".to_owned()),
    };
    // What the session of the boot has to keep reserved.
    let reserved = own.filter(|lun| lun.session == session).and_then(|lun| lun.guard.parse().ok());
    let task = Task { session, reserved };
    let pid = keeper::start_another(root, &task).map_err(|error| error.to_string())?;
    Ok(format!("session {session} has a keeper, process {}\n", pid.as_raw_nonzero()))
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
