//! What a command line says that cannot be obeyed, and would be passed over: each is an error, never a guess.

use super::error::OptionError;
use super::given::Given;
use super::keys::KEYS;
use super::VolumeName;
use crate::cmdline::same_key;

/// Where keys that are new with this program live, however they are written.
const NAMESPACE: &str = "sidus.";
/// How the keys of open-iscsi begin, of which some are known here.
const OPEN_ISCSI: &str = "iscsi_";
/// What `root=` may be on a node whose root comes by NFS.
const VOLUMES: &str = "/dev/nfs for the NFS root; LABEL= or UUID=, with a name, for the file system on the LUN";

impl Given<'_> {
    /// Refuses keys below `sidus.` that there are not; with a LUN, also those of open-iscsi that are not known here, as a
    /// misspelt account would be a login without CHAP.
    pub(super) fn refuse_unknown_keys(&mut self, with_lun: bool) {
        let starts = |key: &str, start: &str| key.get(..start.len()).is_some_and(|key| key.eq_ignore_ascii_case(start));
        for word in &self.words {
            let spaces = [(NAMESPACE, true), (OPEN_ISCSI, with_lun)];
            let Some((space, _)) = spaces.into_iter().find(|(space, on)| *on && starts(word.key, space)) else {
                continue;
            };
            let names = || KEYS.iter().flat_map(|key| key.names);
            if !names().any(|name| same_key(word.key, name)) {
                let accepted = names().copied().filter(|name| name.starts_with(space));
                self.problems.push(OptionError::UnknownKey {
                    key: word.key.to_owned(),
                    accepts: accepted.collect::<Vec<_>>().join(", "),
                });
            }
        }
    }

    /// The `root=` that names the file system on the LUN. The NFS root, which comes first, is no name of one; several
    /// names, and a name of a kind that is not looked for, are refused where there is a LUN.
    pub(super) fn volume(&mut self, with_lun: bool) -> Option<VolumeName> {
        let mut found: Option<VolumeName> = None;
        for word in self.words.iter().filter(|word| word.key == "root") {
            let value = word.value.unwrap_or("");
            let name = match value.split_once('=') {
                Some(("LABEL", name)) if !name.is_empty() => VolumeName::Label(name.to_owned()),
                Some(("UUID", name)) if !name.is_empty() => VolumeName::Uuid(name.to_owned()),
                None if value == "/dev/nfs" || !value.starts_with("/dev/") => continue,
                _ => {
                    if with_lun {
                        self.problems.push(OptionError::Value {
                            key: "root".to_owned(),
                            value: value.to_owned(),
                            accepts: VOLUMES,
                        });
                    }
                    continue;
                }
            };
            match &found {
                Some(first) if *first != name && with_lun => {
                    let (first, second) = (first.to_string(), name.to_string());
                    self.problems.push(OptionError::Conflict { key: "root", first, second });
                    return None;
                }
                _ => found = Some(name),
            }
        }
        found
    }
}
