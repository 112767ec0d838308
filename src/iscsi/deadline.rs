//! A limit for everything that waits.

use std::time::{Duration, Instant};

/// The shortest wait that is still one: sockets take no time-out of zero.
const SHORTEST: Duration = Duration::from_millis(1);

/// The end of all waits of one undertaking.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    started: Instant,
    limit: Duration,
}

impl Deadline {
    /// `limit` from now on.
    pub fn after(limit: Duration) -> Self {
        Self { started: Instant::now(), limit }
    }

    /// What is left; `None` when nothing is.
    pub fn remaining(&self) -> Option<Duration> {
        self.limit.checked_sub(self.started.elapsed()).filter(|left| *left >= SHORTEST)
    }

    /// A part of what is left: at most `limit`, so that one attempt does not use it all up.
    pub fn part(&self, limit: Duration) -> Self {
        Self::after(self.remaining().unwrap_or_default().min(limit))
    }

    /// How long it has run.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The whole limit: for the message that it is over.
    pub const fn limit(&self) -> Duration {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends() {
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), None);
        assert!(Deadline::after(Duration::from_secs(9)).remaining().is_some());
    }
}
