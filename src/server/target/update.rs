//! `sidus target update`: has what serves the disks serve those that are to be. Others' targets are left alone.
//!
//! Commands of `sidus` run it when they have written what is to be, and under their lock, which it cannot take. It has one of
//! its own: of two that begin the same target, one would take back what the other has made.

use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::configfs::{self, Step};
use super::{iqn, lio, tgt, wanted, InUse, Served, Target, TargetError, AUTHORITY};
use crate::server::cli::Common;
use crate::server::config::{Config, TargetService};
use crate::server::engine::Lock;
use crate::server::{node, output, Error};

/// How long another one may take: it waits for the target service.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done with targets.
#[derive(Debug, Subcommand)]
pub enum TargetVerb {
    /// Have the target service serve what the nodes' files say; other commands do that by themselves
    Update(Options),
}

/// How.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Options {
    /// Make the target of the node with this address anew, since its disk is another one
    #[arg(long, value_name = "IP")]
    pub renew: Vec<Ipv4Addr>,
    /// Do so though that node is logged in
    #[arg(long, requires = "renew")]
    pub force: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decided<'a> {
    /// These end, by their places in the list of what is served.
    pub(super) end: Vec<usize>,
    /// Then these begin.
    pub(super) begin: Vec<&'a Target>,
    /// These would have to end, but a node is logged in.
    pub(super) in_use: Vec<InUse>,
}

/// Decides. A target that is in use ends only where `options` name it and say so.
pub(super) fn decide<'a>(wanted: &'a [Target], served: &[Served], options: &Options) -> Decided<'a> {
    let renewed: Vec<_> = options.renew.iter().map(|ip| iqn(*ip)).collect();
    let mut decided = Decided { end: Vec::new(), begin: Vec::new(), in_use: Vec::new() };
    for (place, found) in served.iter().enumerate().filter(|(_, found)| found.iqn.starts_with(AUTHORITY)) {
        let named = renewed.contains(&found.iqn);
        if !named && wanted.iter().any(|target| target.iqn == found.iqn && found.is(target)) {
            continue;
        }
        if found.sessions.is_empty() || named && options.force {
            decided.end.push(place);
        } else {
            decided.in_use.push(InUse { iqn: found.iqn.clone(), sessions: found.sessions.clone() });
        }
    }
    let ends = |found: &Served| {
        decided.end.iter().filter_map(|place| served.get(*place)).any(|ending| ending.iqn == found.iqn)
    };
    let stays: Vec<_> = served.iter().filter(|found| !ends(found)).map(|found| found.iqn.as_str()).collect();
    decided.begin = wanted.iter().filter(|target| !stays.contains(&target.iqn.as_str())).collect();
    decided
}

impl Decided<'_> {
    /// Leaves alone what is served and is none of these.
    fn spare_all_but(&mut self, these: &[Target], served: &[Served]) {
        let is_one = |iqn: &str| these.iter().any(|target| target.iqn == iqn);
        self.end.retain(|place| served.get(*place).is_some_and(|found| is_one(&found.iqn)));
        self.in_use.retain(|found| is_one(&found.iqn));
    }
}

/// Why that is not all: a node has a disk and an account, and no file says so. One of an earlier version has none.
fn without_file(wanted: &[Target], saved: &[Target]) -> Option<io::Error> {
    let target = wanted.iter().find(|target| saved.iter().all(|saved| saved.iqn != target.iqn))?;
    Some(io::Error::other(format!("no file says what tgtd has to serve to {}: sidus init writes it", target.node)))
}

/// Does it: all that can be done, before an error says what cannot.
///
/// # Errors
/// [`TargetError`]
pub fn run(common: &Common, options: &Options) -> Result<(), Error> {
    let state = Config::read(&common.root)?.settings.folders.state;
    let lock = || Lock::wait(&common.root, &state.join("target.lock"), "sidus target update", PATIENCE);
    let _nobody_else = (!common.dry_run).then(lock).transpose()?;
    let config = Config::read(&common.root)?;
    let all = || node::facts::accounts(&common.root, &config).map(|accounts| wanted(&config, &accounts));
    let in_use = match config.settings.services.target {
        TargetService::None => return Ok(()),
        TargetService::Tgt => {
            let (saved, bad) = tgt::saved(&common.root, &config.settings.folders).map_err(TargetError::Facts)?;
            let bad = bad.or_else(|| all().map_or_else(Some, |wanted| without_file(&wanted, &saved)));
            let service = tgt::Tgt::at(&common.root);
            let known = service.served()?;
            let served: Vec<_> = known.iter().map(|known| known.served.clone()).collect();
            let mut decided = decide(&saved, &served, options);
            if bad.is_some() {
                // What no file names may be what the bad one does.
                decided.spare_all_but(&saved, &served);
            }
            if common.dry_run {
                output::print(&shown(&decided, &served, &[]));
            } else {
                service.carry_out(&known, &decided)?;
            }
            if let Some(bad) = bad {
                return Err(TargetError::Facts(bad).into());
            }
            decided.in_use
        }
        TargetService::Lio => {
            let wanted = all().map_err(TargetError::Facts)?;
            let found = lio::Found::read(&common.root)?;
            let served: Vec<_> = found.targets.iter().map(|known| known.served.clone()).collect();
            let decided = decide(&wanted, &served, options);
            let steps = lio::steps(&found, &wanted, &decided);
            if common.dry_run {
                output::print(&shown(&decided, &served, &steps));
            } else {
                configfs::carry_out(&common.root, &steps)?;
            }
            decided.in_use
        }
    };
    match in_use.into_iter().next() {
        Some(in_use) => Err(TargetError::InUse(in_use).into()),
        None => Ok(()),
    }
}

/// What a dry run tells: what becomes of which target, and each step of that where there are any. Steps show no secrets.
fn shown(decided: &Decided<'_>, served: &[Served], steps: &[Step]) -> String {
    let end = decided.end.iter().filter_map(|place| served.get(*place)).map(|found| ("end", found.iqn.as_str()));
    let begin = decided.begin.iter().map(|target| ("begin", target.iqn.as_str()));
    let targets = end.chain(begin).map(|(verb, iqn)| format!("{verb} target {iqn}\n"));
    targets.chain(steps.iter().map(|step| format!("  {step}\n"))).collect()
}

/// The sessions of these nodes' targets, before anything is done that would end them.
///
/// # Errors
/// [`TargetError::InUse`]; that nothing serves is none: then nobody is logged in.
pub fn check_unused(common: &Common, service: TargetService, ip: Ipv4Addr) -> Result<(), TargetError> {
    if common.root != std::path::Path::new("/") {
        return Ok(());
    }
    let served = match super::served(&common.root, service) {
        Ok(served) => served,
        Err(TargetError::NoService { source, .. })
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
        {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    match served.into_iter().find(|found| found.iqn == iqn(ip) && !found.sessions.is_empty()) {
        Some(found) => Err(TargetError::InUse(InUse { iqn: found.iqn, sessions: found.sessions })),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::target::{tests::target, Session};

    fn served(target: &Target, sessions: usize) -> Served {
        let session = Session { initiator: target.initiator.clone(), address: None };
        Served {
            iqn: target.iqn.clone(),
            images: vec![target.image.clone()],
            initiators: vec![target.initiator.clone()],
            addresses: None,
            accounts: vec![target.account.username.clone(), target.account.username_in.clone()],
            sessions: vec![session; sessions],
            portals: None,
        }
    }

    #[test]
    fn a_dry_run_shows_each_step_but_no_secret() {
        let wanted = [target(21)];
        let gone = Served { accounts: Vec::new(), ..served(&target(22), 0) };
        let served = [gone];
        let decided = decide(&wanted, &served, &Options::default());
        let targets = "end target iqn.2026-01.io.sidus.target:10.13.20.22\n\
            begin target iqn.2026-01.io.sidus.target:10.13.20.21\n";
        assert_eq!(shown(&decided, &served, &[]), targets);
        let steps = lio::steps(&lio::Found::default(), &wanted, &decided);
        let text = shown(&decided, &served, &steps);
        let rest = text.strip_prefix(targets).unwrap();
        assert_eq!(rest.lines().count(), steps.len());
        assert!(rest.starts_with("  make /sys/kernel/config/target/core/fileio_0\n"), "{text}");
        assert!(rest.contains("/auth/password\n") && !text.contains("own-secret"), "{text}");
        // What is left of an earlier try goes, too: no target tells of that.
        let left = [Step::Unmake("/x".into())];
        assert_eq!(shown(&decide(&[], &[], &Options::default()), &[], &left), "  remove /x\n");
    }

    #[test]
    fn what_differs_is_made_anew_unless_a_node_is_logged_in() {
        let (one, two) = (target(21), target(22));
        let other = Served { iqn: "iqn.2001-01.org.example:10.13.20.23".to_owned(), ..served(&one, 0) };
        let changed = |sessions| Served { initiators: vec!["ALL".to_owned()], ..served(&one, sessions) };
        let renew = Options { renew: vec![[10, 13, 20, 21].into()], force: false };
        let force = Options { force: true, ..renew.clone() };
        let none = Options::default();
        // What is wanted, what is served, how it is asked; what ends, what begins, what is in use.
        let table: [(&[&Target], &[Served], &Options, &[usize], &[&str], usize); 10] = [
            (&[&one], &[], &none, &[], &["10.13.20.21"], 0),
            (&[&one, &two], &[served(&one, 1)], &none, &[], &["10.13.20.22"], 0),
            (&[], std::slice::from_ref(&other), &none, &[], &[], 0),
            (&[], &[other.clone(), served(&one, 0)], &none, &[1], &[], 0),
            (&[], &[served(&one, 1)], &none, &[], &[], 1),
            (&[], &[served(&one, 1)], &force, &[0], &[], 0),
            (&[&one], &[changed(0)], &none, &[0], &["10.13.20.21"], 0),
            (&[&one], &[changed(1)], &none, &[], &[], 1),
            (&[&one], &[served(&one, 0)], &renew, &[0], &["10.13.20.21"], 0),
            (&[&one], &[served(&one, 1)], &renew, &[], &[], 1),
        ];
        for (at, (wanted, served, options, end, begin, in_use)) in table.into_iter().enumerate() {
            let wanted: Vec<_> = wanted.iter().map(|target| (*target).clone()).collect();
            let decided = decide(&wanted, served, options);
            assert_eq!(decided.end, end, "{at}");
            let names: Vec<_> = decided.begin.iter().map(|target| target.iqn.rsplit(':').next().unwrap()).collect();
            assert_eq!(names, begin, "{at}");
            assert_eq!(decided.in_use.len(), in_use, "{at}");
        }
    }
}
