//! What a target says when it refuses a login (RFC 7143 section 11.13.5), for a person.

use std::fmt;

/// Whether it makes sense to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The other side may not be ready yet: again and again, with growing pauses.
    Later,
    /// Most likely a person has to change something; three tries at most.
    FewTimes,
    /// Nothing changes by itself.
    Never,
}

/// Status-Class and Status-Detail of a login response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// 0 success, 1 redirection, 2 the initiator is at fault, 3 the target is.
    pub class: u8,
    /// What exactly.
    pub detail: u8,
}

impl Status {
    /// Whether to try again.
    pub const fn retry(self) -> Retry {
        match (self.class, self.detail) {
            // 0206: an older session of this node may still have to time out.
            (2, 0x06) | (3, _) => Retry::Later,
            (2, 0x00..=0x04 | 0x08 | 0x0a) => Retry::FewTimes,
            _ => Retry::Never,
        }
    }

    /// What it means and who has to change what. `initiator` and `target` are the names that were
    /// sent; a discovery has no target.
    pub fn explain(self, initiator: &str, target: Option<&str>) -> String {
        let whom = match target {
            Some(name) => format!("target {name:?}"),
            None => "the discovery".to_owned(),
        };
        match (self.class, self.detail) {
            (2, 0x00) => "the target found fault with the login request and does not say which; its log may".into(),
            (2, 0x01) => format!(
                "the target refused the authentication for {whom}: compare username and password with its CHAP account, \
                 and whether it wants CHAP at all"
            ),
            (2, 0x02) => format!("the target knows no initiator {initiator:?}: add it to the ACL of {whom}"),
            (2, 0x03) => format!(
                "the portal has no {whom}, or not for initiator {initiator:?}: create it there, or correct its name here"
            ),
            (2, 0x04) => format!("{whom} was removed from this portal for good: give the node another one"),
            (2, 0x05) => "the target speaks no iSCSI version 0, the only one there is: another server listens there".into(),
            (2, 0x06) => format!(
                "too many connections from {initiator:?}: another node with the same name, or an old session that the \
                 target has not given up yet"
            ),
            (2, 0x07) => "the target misses a parameter in the login request: tell the authors of this program, with the target's name".into(),
            (2, 0x08) => "the target cannot take this connection into the session that was named".into(),
            (2, 0x09) => format!("the target does not support this type of session for {whom}"),
            (2, 0x0a) => "the target no longer knows the session that was named".into(),
            (2, 0x0b) => "the target calls a request invalid during login: tell the authors of this program, with the target's name".into(),
            (3, 0x00) => "the target has an error of its own; its log may say which".into(),
            (3, 0x01) => format!(
                "the target does not serve {whom} at the moment: it is starting, disabled, or (LIO) has no such target on \
                 this portal"
            ),
            (3, 0x02) => "the target is out of resources: too many sessions, or too little memory".into(),
            (2, _) => "the target blames this node for something that RFC 7143 does not know".into(),
            (3, _) => "the target has an error that RFC 7143 does not know".into(),
            _ => "a status that RFC 7143 does not know".into(),
        }
    }
}

/// `0202`, as in the RFC's table.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}", self.class, self.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_status_has_its_own_words() {
        let mut known = Vec::new();
        for (class, details) in [(2, 0..=0x0c), (3, 0..=3), (4, 0..=0)] {
            for detail in details {
                let status = Status { class, detail };
                let words = status.explain("iqn.2026-01.org.example:node", Some("iqn.2026-01.org.example:disk"));
                assert!(!known.contains(&words), "{status}: {words}");
                known.push(words);
            }
        }
    }

    #[test]
    fn words_for_a_person() {
        let say = |class, detail| Status { class, detail }.explain("iqn.n", Some("iqn.t"));
        assert_eq!(say(2, 2), "the target knows no initiator \"iqn.n\": add it to the ACL of target \"iqn.t\"");
        assert_eq!(
            Status { class: 2, detail: 2 }.explain("iqn.n", None),
            "the target knows no initiator \"iqn.n\": add it to the ACL of the discovery"
        );
        assert_eq!(Status { class: 2, detail: 0x0b }.to_string(), "020b");
    }

    #[test]
    fn retries() {
        for (class, detail, want) in [
            (2, 1, Retry::FewTimes),
            (2, 3, Retry::FewTimes),
            (2, 6, Retry::Later),
            (2, 9, Retry::Never),
            (3, 1, Retry::Later),
            (9, 9, Retry::Never),
        ] {
            assert_eq!(Status { class, detail }.retry(), want, "{class} {detail}");
        }
    }
}
