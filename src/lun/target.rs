//! Finds the target that is this node's, and logs in to it.

use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use rustix::rand::GetRandomFlags;

use super::error::LunError;
use super::node;
use crate::file_error::FileError;
use crate::iscsi::chap::Credentials;
use crate::iscsi::credentials::{check_mode, CredentialsFile, MAX_FILE};
use crate::iscsi::deadline::Deadline;
use crate::iscsi::discovery::{self, choose, Target};
use crate::iscsi::identity::{expand, initiator};
use crate::iscsi::kernel::Kernel;
use crate::iscsi::login::{Config, Purpose};
use crate::iscsi::name::{InitiatorName, Iqn, Portal, TargetAddress};
use crate::iscsi::negotiation::Offer;
use crate::iscsi::params::Timeouts;
use crate::iscsi::random::random;
use crate::iscsi::session::{self, Session, SessionError};
use crate::iscsi::tcp::{discover, TcpError};
use crate::kmsg::{Level, Log};
use crate::options::IscsiOptions;
use crate::view;

/// The credentials, below `/` of the initramfs.
pub const CREDENTIALS: &str = "etc/sidus/iscsi.conf";
/// How many redirections in a row are followed.
const MAX_MOVES: u32 = 4;

/// A target, and who this node is to it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The target.
    pub name: Iqn,
    /// Where it is, in the order of trying.
    pub portals: Vec<Portal>,
    /// The name that this node logs in with.
    pub initiator: InitiatorName,
    /// The hardware address of the interface toward it, where that is known.
    pub mac: Option<[u8; 6]>,
}

/// Reads the file of credentials at `path` below `root`; `None` where there is none.
///
/// # Errors
/// [`LunError::Credentials`], [`LunError::File`]; no error has any of its values.
pub fn read_credentials(root: &Path, path: &Path) -> Result<Option<CredentialsFile>, LunError> {
    let shown = root.join(path);
    let failed = |source| LunError::from(FileError::when("read", &shown)(source));
    let file = match view::open_regular(root, path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let wrong = |source| LunError::Credentials { path: shown.clone(), source };
    check_mode(file.metadata().map_err(failed)?.mode()).map_err(wrong)?;
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX).saturating_add(1);
    let mut contents = Vec::new();
    file.take(limit).read_to_end(&mut contents).map_err(failed)?;
    let parsed = CredentialsFile::parse(&contents).map_err(wrong);
    contents.fill(0);
    parsed.map(Some)
}

/// Asks the portals in turn, until one has the target; without a discovery where its name is given.
///
/// # Errors
/// [`LunError`] of the portal that may have it later, else of the last one.
pub fn find(
    root: &Path,
    options: &IscsiOptions,
    credentials: &CredentialsFile,
    log: &Log,
    deadline: Deadline,
) -> Result<Found, LunError> {
    in_turn(&options.portals, deadline, |portal, deadline| {
        let ip = node::source_address(portal).map_err(|source| LunError::NoRoute { portal, source })?;
        let facts = node::facts(root, ip);
        let initiator = initiator(options.initiator.as_deref(), &facts)?;
        if let Some(template) = &options.target {
            let name = expand(template, &facts)?.parse()?;
            return Ok(Found { name, portals: options.portals.clone(), initiator, mac: facts.mac });
        }
        // A discovery has no target whose proof could be asked for: the login that follows demands it.
        let credentials = options.credentials.as_ref().or(credentials.default_credentials());
        let credentials = credentials.map(|credentials| Credentials { target: None, ..credentials.clone() });
        let target = find_at(portal, ip, &initiator, credentials.as_ref(), log, deadline)?;
        Ok(Found { portals: addresses(&target, portal, log), name: target.name, initiator, mac: facts.mac })
    })
}

/// One portal's answer.
fn find_at(
    portal: Portal,
    ip: IpAddr,
    initiator: &InitiatorName,
    credentials: Option<&Credentials>,
    log: &Log,
    deadline: Deadline,
) -> Result<Target, LunError> {
    follow(portal, |portal| {
        // The credentials may be meant for the target alone, and LIO takes CHAP where it is offered: they are sent only
        // to a portal that refuses to answer without.
        let found = match ask(portal, initiator, None, deadline)? {
            Err(error) if error.wants_proof() && credentials.is_some() => {
                log.say(Level::Debug, &format!("{portal} answers nobody without credentials"));
                ask(portal, initiator, credentials, deadline)?
            }
            found => found,
        };
        let found = match found {
            Ok(found) => found,
            Err(TcpError::Moved { address, .. }) => return Ok(Either::Moved(address)),
            Err(source) => return Err(LunError::Discovery { portal, source: Box::new(source) }),
        };
        found.ignored.iter().for_each(|what| log.say(Level::Warning, &format!("{portal} offers, ignored: {what}")));
        let target = choose(&found.targets, ip).map_err(|source| LunError::Choose { portal, source })?;
        Ok(Either::Here(target.clone()))
    })
}

/// Asks a portal for its targets.
fn ask(
    portal: Portal,
    initiator: &InitiatorName,
    credentials: Option<&Credentials>,
    deadline: Deadline,
) -> Result<Result<discovery::Found, TcpError>, LunError> {
    // The target proves nothing to a discovery: no challenge is sent.
    let (challenge, [a, b, c]) = random(GetRandomFlags::INSECURE).map_err(no_random)?;
    let config = Config {
        credentials: credentials.cloned(),
        // A random ISID (RFC 7143 11.12.5): a discovery is no session that anybody could want back.
        ..Config::new(initiator.clone(), Purpose::Discovery, [0x80, a, b, c, 0, 0], challenge)
    };
    Ok(discover(portal, config, deadline))
}

/// Where a target is: the portal that was asked first, if it has it, then the others.
fn addresses(target: &Target, asked: Portal, log: &Log) -> Vec<Portal> {
    let mut portals = Vec::new();
    for address in &target.addresses {
        match address.portal() {
            // What a target says that listens everywhere.
            Ok(portal) if portal.ip.is_unspecified() => {}
            Ok(portal) if portal == asked => portals.insert(0, portal),
            Ok(portal) => portals.push(portal),
            Err(error) => log.say(Level::Warning, &format!("{asked} offers, ignored: {error}")),
        }
    }
    if portals.is_empty() {
        portals.push(asked);
    }
    portals
}

/// Logs in at the first of the target's portals that lets us.
///
/// # Errors
/// As [`find`]; no session is left.
pub fn log_in(
    kernel: &mut Kernel,
    found: &Found,
    credentials: Option<&Credentials>,
    offer: Offer,
    recovery: Duration,
    deadline: Deadline,
) -> Result<(Portal, Session), LunError> {
    // Early in a boot good random numbers may take a second to come: only a challenge is worth that.
    let mutual = credentials.is_some_and(|credentials| credentials.target.is_some());
    let secure = if mutual { GetRandomFlags::empty() } else { GetRandomFlags::INSECURE };
    let timeouts = Timeouts { recovery, ..Timeouts::default() };
    in_turn(&found.portals, deadline, |portal, deadline| {
        follow(portal, |portal| {
            let plan = session::Plan {
                credentials: credentials.cloned(),
                offer,
                timeouts,
                ..session::Plan::new(portal, found.name.clone(), found.initiator.clone())
            };
            match session::log_in(kernel, &plan, random(secure).map_err(no_random)?.0, deadline) {
                Ok(session) => Ok(Either::Here((portal, session))),
                Err(SessionError::Moved { address, .. }) => Ok(Either::Moved(address)),
                Err(source) => Err(LunError::LogIn {
                    target: found.name.clone(),
                    portal,
                    chap: credentials.is_some(),
                    source: Box::new(source),
                }),
            }
        })
    })
}

fn no_random(source: io::Error) -> LunError {
    LunError::Kernel { doing: "get random numbers", source }
}

/// Tries one portal after the other, each with an equal share of the time that is left: one that swallows everything
/// leaves the others theirs. Of the errors, the one counts that promises most.
fn in_turn<T>(
    portals: &[Portal],
    deadline: Deadline,
    mut attempt: impl FnMut(Portal, Deadline) -> Result<T, LunError>,
) -> Result<T, LunError> {
    let mut worst: Option<LunError> = None;
    for (portal, waiting) in portals.iter().zip((1..=u32::try_from(portals.len()).unwrap_or(u32::MAX)).rev()) {
        let share = deadline.remaining().unwrap_or_default() / waiting;
        match attempt(*portal, deadline.part(share)) {
            Ok(value) => return Ok(value),
            Err(error) if worst.as_ref().is_none_or(|worst| error.hope() >= worst.hope()) => worst = Some(error),
            Err(_) => {}
        }
    }
    Err(worst.unwrap_or(LunError::Order { missing: "a portal" }))
}

/// What a portal has, or where it sends us.
enum Either<T> {
    Here(T),
    Moved(TargetAddress),
}

/// Follows redirections.
fn follow<T>(portal: Portal, mut attempt: impl FnMut(Portal) -> Result<Either<T>, LunError>) -> Result<T, LunError> {
    let mut portal = portal;
    for _ in 0..=MAX_MOVES {
        match attempt(portal)? {
            Either::Here(value) => return Ok(value),
            Either::Moved(address) => {
                portal = address.portal().map_err(|source| LunError::RedirectedTo { portal, source })?;
            }
        }
    }
    Err(LunError::Redirected { portal, limit: MAX_MOVES })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn portal(text: &str) -> Portal {
        text.parse().unwrap()
    }

    #[test]
    fn the_portal_that_was_asked_comes_first() {
        let log = Log::open(Path::new("/nonexistent"));
        let asked = portal("10.13.20.14");
        for (offered, expected) in [
            (vec![], vec!["10.13.20.14:3260"]),
            (vec!["0.0.0.0:3260,1"], vec!["10.13.20.14:3260"]),
            (vec!["10.13.20.13:3260,1", "10.13.20.14:3260,1"], vec!["10.13.20.14:3260", "10.13.20.13:3260"]),
            (vec!["10.13.20.13:3260,1", "[fd00::14]:3261,2"], vec!["10.13.20.13:3260", "[fd00::14]:3261"]),
        ] {
            let target = Target {
                name: "iqn.2026-01.org.example:disk".parse().unwrap(),
                addresses: offered.iter().map(|address| address.parse().unwrap()).collect(),
            };
            let got: Vec<_> = addresses(&target, asked, &log).iter().map(ToString::to_string).collect();
            assert_eq!(got, expected, "{offered:?}");
        }
    }

    #[test]
    fn redirections_are_followed_and_end() {
        let moved = |to: &str| Ok(Either::Moved(to.parse().unwrap()));
        let there = follow(portal("10.0.0.1"), |at| match at.to_string().as_str() {
            "10.0.0.1:3260" => moved("10.0.0.2:3261"),
            other => Ok(Either::Here(other.to_owned())),
        });
        assert_eq!(there.unwrap(), "10.0.0.2:3261");
        let circle = follow::<String>(portal("10.0.0.1"), |_| moved("10.0.0.1"));
        assert_eq!(circle.unwrap_err().to_string(), "10.0.0.1:3260 redirected, more than 4 times in a row");
        let nowhere = follow::<String>(portal("10.0.0.1"), |_| moved("san.example"));
        assert!(nowhere.unwrap_err().to_string().contains("10.0.0.1:3260 redirected to an address"));
    }

    #[test]
    fn every_portal_has_its_turn() {
        let portals = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(portal);
        let (down, deadline) =
            (|portal| LunError::NoRoute { portal, source: io::ErrorKind::NotFound.into() }, Deadline::after(HOUR));
        let second = in_turn(&portals, deadline, |at, _| if at == portals[1] { Ok(at) } else { Err(down(at)) });
        assert_eq!(second.unwrap(), portals[1]);
        // One that may come up later counts for more than one that says no.
        let error = in_turn::<()>(&portals, deadline, |at, _| {
            Err(if at == portals[0] { down(at) } else { LunError::Redirected { portal: at, limit: 0 } })
        });
        assert!(matches!(error, Err(LunError::NoRoute { portal, .. }) if portal == portals[0]), "{error:?}");
    }

    #[test]
    fn a_silent_portal_leaves_the_others_their_share_of_the_time() {
        let portals = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(portal);
        let mut shares = Vec::new();
        let error = in_turn::<()>(&portals, Deadline::after(HOUR), |portal, deadline| {
            shares.push(deadline.limit().as_secs_f64() / HOUR.as_secs_f64());
            Err(LunError::NoRoute { portal, source: io::ErrorKind::TimedOut.into() })
        });
        assert!(error.is_err());
        for (share, expected) in shares.iter().zip([1.0 / 3.0, 1.0 / 2.0, 1.0]) {
            assert!((share - expected).abs() < 0.01, "{shares:?}");
        }
        assert_eq!(shares.len(), 3);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::fs;
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("sidus-credentials-{}", std::process::id()));
        let read_credentials = |path: &Path| super::read_credentials(Path::new("/"), path);
        assert_eq!(read_credentials(&path).unwrap(), None);
        fs::write(&path, "username = a\npassword = b\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let open = read_credentials(&path).unwrap_err().to_string();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let closed = read_credentials(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(
            open,
            format!("{}: mode 0644; 0600 was expected, for it holds secrets (chmod 0600)", path.display())
        );
        assert!(closed.unwrap().default_credentials().is_some());
    }
}
