//! What a keeper is told when it is started: arguments of `rootaufs-initramfs`.

use std::ffi::OsString;
use std::time::Duration;

use crate::guard::Reserved;

/// The verb before the rest.
const VERB: &str = "keep-here";
/// Stands for what is not given.
const NONE: &str = "-";

/// What a keeper has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The session to keep.
    pub session: u32,
    /// How long its disk may wait; else what the session has been told.
    pub recovery: Option<Duration>,
    /// What has to be this node's whenever the session goes on.
    pub reserved: Option<Reserved>,
}

impl Task {
    /// As arguments: `keep-here SESSION RECOVERY RESERVED`.
    #[must_use]
    pub fn arguments(&self) -> [String; 4] {
        let recovery = self.recovery.map_or_else(|| NONE.to_owned(), |recovery| recovery.as_secs().to_string());
        let reserved = self.reserved.map_or_else(|| NONE.to_owned(), |reserved| reserved.to_string());
        [VERB.to_owned(), self.session.to_string(), recovery, reserved]
    }

    /// Reads [`Task::arguments`]; `None` where they are something else.
    #[must_use]
    pub fn parse(arguments: &[OsString]) -> Option<Self> {
        let [verb, session, recovery, reserved] = arguments else { return None };
        let recovery = match recovery.to_str()? {
            NONE => None,
            seconds => Some(Duration::from_secs(seconds.parse().ok()?)),
        };
        let reserved = match reserved.to_str()? {
            NONE => None,
            reserved => Some(reserved.parse().ok()?),
        };
        (verb == VERB).then_some(())?;
        Some(Self { session: session.to_str()?.parse().ok()?, recovery, reserved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        for (recovery, reserved) in
            [(None, None), (Some(Duration::from_secs(90)), Some("5344525400010203@1".parse().unwrap()))]
        {
            let task = Task { session: 3, recovery, reserved };
            assert_eq!(Task::parse(&task.arguments().map(OsString::from)), Some(task));
        }
        for line in [
            "",
            "keep-here",
            "keep-here 1 -",
            "keep 1 - -",
            "keep-here x - -",
            "keep-here 1 x -",
            "keep-here 1 - x",
            "keep-here 1 - - -",
        ] {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(Task::parse(&words), None, "{line:?}");
        }
    }
}
