//! What a keeper is told when it is started: arguments of `rootaufs-initramfs`.

use std::ffi::OsString;

use crate::guard::Reserved;

/// The verb before the rest.
const VERB: &str = "keep-here";
/// Stands for no reservation.
const NONE: &str = "-";

/// What a keeper has to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The session to keep.
    pub session: u32,
    /// What has to be this node's whenever the session goes on.
    pub reserved: Option<Reserved>,
}

impl Task {
    /// As arguments: `keep-here SESSION RESERVED`.
    #[must_use]
    pub fn arguments(&self) -> [String; 3] {
        let reserved = self.reserved.map_or_else(|| NONE.to_owned(), |reserved| reserved.to_string());
        [VERB.to_owned(), self.session.to_string(), reserved]
    }

    /// Reads [`Task::arguments`]; `None` where they are something else.
    #[must_use]
    pub fn parse(arguments: &[OsString]) -> Option<Self> {
        let [verb, session, reserved] = arguments else { return None };
        let reserved = match reserved.to_str()? {
            NONE => None,
            reserved => Some(reserved.parse().ok()?),
        };
        (verb == VERB).then_some(())?;
        Some(Self { session: session.to_str()?.parse().ok()?, reserved })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        for reserved in [None, Some("5344525400010203@1".parse().unwrap())] {
            let task = Task { session: 3, reserved };
            assert_eq!(Task::parse(&task.arguments().map(OsString::from)), Some(task));
        }
        for line in ["", "keep-here", "keep-here 1", "keep 1 -", "keep-here x -", "keep-here 1 x", "keep-here 1 - -"] {
            let words: Vec<_> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(Task::parse(&words), None, "{line:?}");
        }
    }
}
