//! The kernel's own target. When rtslib-fb-targetctl.service starts it, it reads [`SAVED`], which targetcli(8) writes; while it
//! runs, it is told below [`CONFIGFS`] (the kernel's drivers/target/target_core_configfs.c and
//! drivers/target/iscsi/iscsi_target_configfs.c).

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{json, Value};

use super::configfs::Step;
use super::update::Decided;
use super::{Served, Session, Target, TargetError, AUTHORITY};
use crate::server::paths::{look, names, read_text, within};

/// What the service reads when it starts: all that is served, persons' targets too, with their secrets.
pub const SAVED: &str = "/etc/rtslib-fb-target/saveconfig.json";
/// Where the kernel is told.
pub const CONFIGFS: &str = "/sys/kernel/config/target";
/// What the names of this program's disks begin with.
const PREFIX: &str = "sidus-";
/// What the folders of disks begin with: those of files, and those of block devices.
const FILE: &str = "fileio_";
const BLOCK: &str = "iblock_";
/// What the links have for a name, which means nothing to the kernel.
const LINK: &str = "sidus";
/// iSCSI's own (RFC 7143, 13).
const PORT: u16 = 3260;
/// No value there is longer, in bytes.
const MAX_VALUE: u64 = 1 << 16;

/// Where a target is found, as the kernel names it.
pub(super) fn portal(target: &Target) -> String {
    format!("{}:{PORT}", target.portal)
}

fn disk(target: &Target) -> String {
    format!("{PREFIX}{}", target.node)
}

/// What [`SAVED`] has to be, from what it is. Others' parts are left as they are, and so are those of this program that
/// targetcli(8) has written again, with more in them.
///
/// # Errors
/// That it is no such file.
pub fn saved(old: Option<&str>, wanted: &[Target]) -> Result<String, serde_json::Error> {
    let mut all: Value = old.map_or_else(|| Ok(json!({ "fabric_modules": [] })), serde_json::from_str)?;
    let is_ours = |value: &Value, key: &str, prefix: &str| {
        value.get(key).and_then(Value::as_str).is_some_and(|name| name.starts_with(prefix))
    };
    for (list, key, prefix, ours) in [
        ("storage_objects", "name", PREFIX, wanted.iter().map(saved_disk).collect::<Vec<_>>()),
        ("targets", "wwn", AUTHORITY, wanted.iter().map(saved_target).collect()),
    ] {
        let known = all.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
        let (old, mut others): (Vec<_>, Vec<_>) = known.into_iter().partition(|value| is_ours(value, key, prefix));
        let kept = |new: Value| old.iter().find(|old| has(old, &new)).cloned().unwrap_or(new);
        others.extend(ours.into_iter().map(kept));
        if let Some(object) = all.as_object_mut() {
            object.insert(list.to_owned(), Value::Array(others));
        }
    }
    serde_json::to_string_pretty(&all).map(|text| text + "\n")
}

/// Whether `part` is in `whole`, which may have further keys.
fn has(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|other| has(other, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| has(whole, part))
        }
        (whole, part) => whole == part,
    }
}

fn saved_disk(target: &Target) -> Value {
    if target.is_volume {
        return json!({
            "plugin": "block", "name": disk(target), "dev": target.image, "wwn": target.serial, "readonly": false,
            "write_back": false,
        });
    }
    json!({
        "plugin": "fileio", "name": disk(target), "dev": target.image, "size": target.size, "wwn": target.serial,
        "write_back": false,
    })
}

fn saved_target(target: &Target) -> Value {
    let account = &target.account;
    json!({
        "fabric": "iscsi", "wwn": target.iqn,
        "tpgs": [{
            "tag": 1, "enable": true,
            "attributes": { "authentication": 1, "generate_node_acls": 0, "demo_mode_discovery": 0 },
            "luns": [{ "index": 0, "storage_object": format!("/backstores/{}/{}", if target.is_volume { "block" } else { "fileio" }, disk(target)) }],
            "node_acls": [{
                "node_wwn": target.initiator,
                "chap_userid": account.username, "chap_password": account.password,
                "chap_mutual_userid": account.username_in, "chap_mutual_password": account.password_in,
                "mapped_luns": [{ "index": 0, "tpg_lun": 0, "write_protect": false }],
            }],
            "portals": [{ "ip_address": target.portal.to_string(), "port": PORT, "iser": false, "offload": false }],
        }],
    })
}

/// What the kernel serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub(super) targets: Vec<Known>,
    /// This program's disks.
    pub(super) disks: Vec<Disk>,
    /// The folders of disks of files and of block devices, others' too, and how many each has.
    pub(super) adapters: Vec<(String, usize)>,
    /// The folders that there are not, in the last of which the kernel would note who has reserved a disk. Without it, it
    /// refuses each reservation that is to outlive it (`core_scsi3_update_and_write_aptpl` in its
    /// drivers/target/target_core_pr.c), and nothing makes it.
    pub(super) no_notes: Vec<PathBuf>,
}

/// A disk of this program's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disk {
    /// The folder that its own is in.
    pub(super) adapter: String,
    /// That.
    pub(super) name: String,
    /// Where the kernel has noted who has reserved it. The kernel itself never reads that again, nor removes it.
    pub(super) notes: Option<PathBuf>,
}

/// A target, with all that has to be removed before it can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub(super) served: Served,
    /// Its portal groups, each with what is in it.
    pub(super) groups: Vec<Group>,
}

/// A portal group: names of folders, and of the links in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    pub(super) name: String,
    pub(super) portals: Vec<String>,
    pub(super) luns: Vec<(String, Vec<String>)>,
    pub(super) rules: Vec<(String, Vec<(String, Vec<String>)>)>,
}

impl Found {
    /// Looks. Where the kernel has no targets, there are none.
    ///
    /// # Errors
    /// [`TargetError::NoService`]
    pub fn read(root: &Path) -> Result<Self, TargetError> {
        let lost = |source| TargetError::NoService {
            service: "the kernel's target",
            unit: "rtslib-fb-targetctl.service",
            source,
        };
        let base = Path::new(CONFIGFS);
        if look(root, base).map_err(lost)?.is_none() {
            return Err(lost(io::Error::new(io::ErrorKind::NotFound, format!("{CONFIGFS}: there is no such folder"))));
        }
        Self::look(root, base).map_err(lost)
    }

    fn look(root: &Path, base: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let notes = Some(value(root, &base.join("dbroot"))?).filter(|notes| !notes.is_empty()).map(PathBuf::from);
        let reservations = notes.as_ref().map(|notes| notes.join("pr"));
        let core = base.join("core");
        for adapter in folders(root, &core)?.into_iter().filter(|name| adapter_number(name).is_some()) {
            let disks = folders(root, &core.join(&adapter))?;
            found.adapters.push((adapter.clone(), disks.len()));
            for name in disks.into_iter().filter(|name| name.starts_with(PREFIX)) {
                let serial = value(root, &core.join(&adapter).join(&name).join("wwn/vpd_unit_serial"))?;
                let notes = reservations.as_ref().zip(note_name(&serial)).map(|(folder, name)| folder.join(name));
                let notes = notes.filter(|notes| within(root, notes).is_file());
                found.disks.push(Disk { adapter: adapter.clone(), name, notes });
            }
        }
        for folder in notes.into_iter().chain(reservations) {
            if look(root, &folder)?.is_none() {
                found.no_notes.push(folder);
            }
        }
        let iscsi = base.join("iscsi");
        for iqn in folders(root, &iscsi)?.into_iter().filter(|iqn| iqn.starts_with(AUTHORITY)) {
            found.targets.push(Known::look(root, &iscsi, iqn)?);
        }
        Ok(found)
    }
}

impl Known {
    fn look(root: &Path, iscsi: &Path, iqn: String) -> io::Result<Self> {
        let at = iscsi.join(&iqn);
        let mut served = Served {
            iqn,
            images: Vec::new(),
            initiators: Vec::new(),
            addresses: None,
            accounts: Vec::new(),
            sessions: Vec::new(),
            portals: Some(Vec::new()),
        };
        let mut groups = Vec::new();
        for name in folders(root, &at)?.into_iter().filter(|name| name.starts_with("tpgt_")) {
            let at = at.join(&name);
            let group = Group::look(root, &at, name)?;
            for (lun, links) in &group.luns {
                for link in links {
                    let image = value(root, &at.join("lun").join(lun).join(link).join("udev_path"))?;
                    served.images.push(PathBuf::from(image));
                }
            }
            for (initiator, _) in &group.rules {
                let at = at.join("acls").join(initiator);
                served.initiators.push(initiator.clone());
                for key in ["userid", "userid_mutual"] {
                    served.accounts.push(value(root, &at.join("auth").join(key))?);
                }
                served.sessions.extend(session(&value(root, &at.join("info"))?));
            }
            if value(root, &at.join("enable"))? == "1" {
                served.portals.get_or_insert_default().extend(group.portals.iter().cloned());
            }
            groups.push(group);
        }
        Ok(Self { served, groups })
    }
}

impl Group {
    fn look(root: &Path, at: &Path, name: String) -> io::Result<Self> {
        let with_links = |folder: &Path| -> io::Result<Vec<(String, Vec<String>)>> {
            let luns = folders(root, folder)?.into_iter().filter(|name| name.starts_with("lun_"));
            luns.map(|lun| links(root, &folder.join(&lun)).map(|links| (lun, links))).collect()
        };
        let mut rules = Vec::new();
        for initiator in folders(root, &at.join("acls"))? {
            let mapped = with_links(&at.join("acls").join(&initiator))?;
            rules.push((initiator, mapped));
        }
        Ok(Self { name, portals: folders(root, &at.join("np"))?, luns: with_links(&at.join("lun"))?, rules })
    }
}

fn folders(root: &Path, at: &Path) -> io::Result<Vec<String>> {
    let is_folder = |name: &String| within(root, &at.join(name)).symlink_metadata().is_ok_and(|found| found.is_dir());
    Ok(names(root, at)?.into_iter().filter(is_folder).collect())
}

fn links(root: &Path, at: &Path) -> io::Result<Vec<String>> {
    let is_link = |name: &String| within(root, &at.join(name)).is_symlink();
    Ok(names(root, at)?.into_iter().filter(is_link).collect())
}

fn value(root: &Path, path: &Path) -> io::Result<String> {
    Ok(read_text(root, path, MAX_VALUE)?.unwrap_or_default().trim().to_owned())
}

/// The name that the kernel's notes of a disk have, of what it says of that disk's serial number.
fn note_name(serial: &str) -> Option<String> {
    let (_, serial) = serial.rsplit_once(": ")?;
    (!serial.contains('/')).then(|| format!("aptpl_{serial}"))
}

/// What the kernel says of an initiator: who has logged in, or that nobody has.
fn session(info: &str) -> Option<Session> {
    let mut words = info.split_whitespace();
    let initiator = info.lines().next()?.strip_prefix("InitiatorName: ")?.split_whitespace().next()?.to_owned();
    let address = words.by_ref().find(|word| *word == "Address").and_then(|_| words.next()).map(str::to_owned);
    Some(Session { initiator, address })
}

/// What brings the kernel there.
pub(super) fn steps(found: &Found, wanted: &[Target], decided: &Decided<'_>) -> Vec<Step> {
    let base = Path::new(CONFIGFS);
    let mut steps = Vec::new();
    if !wanted.is_empty() {
        steps.extend(found.no_notes.iter().cloned().map(Step::Make));
    }
    for known in decided.end.iter().filter_map(|place| found.targets.get(*place)) {
        end(base, known, &mut steps);
    }
    let keeps = |name: &String| {
        let begins = decided.begin.iter().any(|target| disk(target) == *name);
        // What a target that stays has cannot be removed, wanted or not.
        let ends = |known: &Known| {
            decided
                .end
                .iter()
                .filter_map(|place| found.targets.get(*place))
                .any(|ending| ending.served.iqn == known.served.iqn)
        };
        let is_served = found.targets.iter().any(|known| !ends(known) && serves(known, name));
        is_served || wanted.iter().any(|target| disk(target) == *name) && !begins
    };
    let core = base.join("core");
    for Disk { adapter, name, notes } in found.disks.iter().filter(|disk| !keeps(&disk.name)) {
        // First: without the disk, nobody would find them again.
        steps.extend(notes.iter().cloned().map(Step::Forget));
        steps.push(Step::Unmake(core.join(adapter).join(name)));
        // One of this program's has one disk; another's may have more.
        if found.adapters.contains(&(adapter.clone(), 1)) {
            steps.push(Step::Unmake(core.join(adapter)));
        }
    }
    let number = |(name, _): &(String, usize)| adapter_number(name);
    let mut next = found.adapters.iter().filter_map(number).max().map_or(0, |number| number.saturating_add(1));
    for target in &decided.begin {
        let kind = if target.is_volume { BLOCK } else { FILE };
        begin(base, &core.join(format!("{kind}{next}")), target, &mut steps);
        next = next.saturating_add(1);
    }
    steps
}

/// Whether the target serves the disk of that name: from a file that has the node's name, or a volume that has its own.
fn serves(known: &Known, disk: &str) -> bool {
    let node = disk.strip_prefix(PREFIX).unwrap_or(disk);
    let is_it = |image: &PathBuf| image.file_stem().is_some_and(|stem| stem == node || stem == disk);
    known.served.images.iter().any(is_it)
}

fn adapter_number(name: &str) -> Option<u32> {
    [FILE, BLOCK].into_iter().find_map(|kind| name.strip_prefix(kind)?.parse().ok())
}

fn end(base: &Path, known: &Known, steps: &mut Vec<Step>) {
    let at = base.join("iscsi").join(&known.served.iqn);
    for group in &known.groups {
        let at = at.join(&group.name);
        // Ends the sessions.
        steps.push(Step::Set(at.join("enable"), "0".to_owned()));
        steps.extend(group.portals.iter().map(|portal| Step::Unmake(at.join("np").join(portal))));
        let remove = |folder: PathBuf, luns: &[(String, Vec<String>)], steps: &mut Vec<Step>| {
            for (lun, links) in luns {
                steps.extend(links.iter().map(|link| Step::Unlink(folder.join(lun).join(link))));
                steps.push(Step::Unmake(folder.join(lun)));
            }
        };
        for (initiator, luns) in &group.rules {
            let rule = at.join("acls").join(initiator);
            remove(rule.clone(), luns, steps);
            steps.push(Step::Unmake(rule));
        }
        remove(at.join("lun"), &group.luns, steps);
        steps.push(Step::Unmake(at));
    }
    steps.push(Step::Unmake(at));
}

fn begin(base: &Path, adapter: &Path, target: &Target, steps: &mut Vec<Step>) {
    let set = |path: PathBuf, value: &str| Step::Set(path, value.to_owned());
    let secret = |path: PathBuf, value: &str| Step::SetSecret(path, value.to_owned());
    let (disk, image) = (adapter.join(disk(target)), target.image.display().to_string());
    // A block device has a size of its own.
    let control = match target.is_volume {
        true => format!("udev_path={image},readonly=0"),
        false => format!("fd_dev_name={image},fd_dev_size={}", target.size),
    };
    let (iscsi, account) = (base.join("iscsi"), &target.account);
    let iqn = iscsi.join(&target.iqn);
    let group = iqn.join("tpgt_1");
    let (lun, rule) = (group.join("lun/lun_0"), group.join("acls").join(&target.initiator));
    let (mapped, auth) = (rule.join("lun_0"), rule.join("auth"));
    steps.extend([
        Step::Make(adapter.to_owned()),
        Step::Make(disk.clone()),
        set(disk.join("control"), &control),
        // Where rtslib and `sidus` find again what it serves.
        set(disk.join("udev_path"), &image),
        set(disk.join("enable"), "1"),
        set(disk.join("wwn/vpd_unit_serial"), &target.serial),
        Step::Make(iscsi),
        Step::Make(iqn),
        Step::Make(group.clone()),
        Step::Make(lun.clone()),
        Step::Link(lun.join(LINK), disk),
        set(group.join("attrib/authentication"), "1"),
        set(group.join("attrib/generate_node_acls"), "0"),
        set(group.join("attrib/demo_mode_discovery"), "0"),
        Step::Make(rule),
        Step::Make(mapped.clone()),
        Step::Link(mapped.join(LINK), lun),
        secret(auth.join("userid"), &account.username),
        secret(auth.join("password"), &account.password),
        secret(auth.join("userid_mutual"), &account.username_in),
        secret(auth.join("password_mutual"), &account.password_in),
        Step::Make(group.join("np").join(portal(target))),
        set(group.join("enable"), "1"),
    ]);
}

#[cfg(test)]
#[path = "lio_tests.rs"]
mod tests;
