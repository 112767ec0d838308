//! What a command line says that cannot be obeyed, and would be passed over: each is an error, never a guess.

use super::error::OptionError;
use super::given::{shown, Given};
use super::keys::KEYS;
use super::VolumeName;
use crate::cmdline::{same_key, Word};

/// Where keys that are new with this program live, however they are written.
const NAMESPACE: &str = "sidus.";
/// How the keys of open-iscsi begin, of which some are known here.
const OPEN_ISCSI: &str = "iscsi_";
/// What the key of a secret has in it, however that is misspelt: no error may show the value.
const SECRET: [&str; 4] = ["pas", "pw", "word", "secret"];
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
                    word: whole(word),
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
                    self.problems.push(OptionError::Conflict { key: "root", first, second, accepts: VOLUMES });
                    return None;
                }
                _ => found = Some(name),
            }
        }
        found
    }
}

/// A word whose key is not known, as an error may show it.
fn whole(word: &Word<'_>) -> String {
    // Not by the search of std, which is larger than what it is wanted for.
    let has = |part: &str| word.key.as_bytes().windows(part.len()).any(|it| it.eq_ignore_ascii_case(part.as_bytes()));
    let secret = SECRET.iter().any(|part| has(part));
    word.value.map_or_else(|| word.key.to_owned(), |value| [word.key, "=", &shown(secret, value)].concat())
}
