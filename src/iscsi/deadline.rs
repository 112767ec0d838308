//! A limit for everything that waits.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
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

/// A duration as a person reads it, as in `1.5 s`.
#[derive(Clone, Copy, Debug)]
pub struct Seconds(pub Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s", self.0.as_secs(), self.0.subsec_millis() / 100)
    }
}

/// Does what can hang for ever, as a read of a dead target's disk, in a thread of its own: nothing can stop it, but nobody
/// has to wait for it. `None` when the deadline is over first.
///
/// # Errors
/// Those of starting a thread.
pub fn within<T: Send + 'static>(
    deadline: Deadline,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let outcome = Arc::new(Mutex::new(None));
    let told = Arc::clone(&outcome);
    let work = Box::new(move || {
        let result = work();
        if let Ok(mut outcome) = told.lock() {
            *outcome = Some(result);
        }
    });
    run(deadline, work, &|| outcome.lock().is_ok_and(|outcome| outcome.is_some()))?;
    Ok(outcome.lock().ok().and_then(|mut outcome| outcome.take()))
}

/// The stack of a thread: no function here has more than 6 KiB. Where all memory is locked (mlockall(2)), the kernel fills
/// all of it when the thread starts, and at a node's end that must not be the 2 MiB that std would take.
const STACK: usize = 128 * 1024;

/// Does something in a thread of its own, which nobody waits for.
///
/// # Errors
/// Those of starting a thread.
pub fn start(work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    thread::Builder::new().stack_size(STACK).spawn(work).map(drop)
}

/// The part of [`within`] that is the same for every type: a thread's code is large.
fn run(deadline: Deadline, work: Box<dyn FnOnce() + Send>, done: &dyn Fn() -> bool) -> io::Result<()> {
    let waiting = thread::current();
    start(Box::new(move || {
        work();
        waiting.unpark();
    }))?;
    while !done() {
        let Some(left) = deadline.remaining() else { break };
        thread::park_timeout(left);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hangs_is_left_behind() {
        let hung = within(Deadline::after(Duration::from_millis(50)), || thread::sleep(Duration::from_secs(5)));
        assert_eq!(hung.unwrap(), None);
        assert_eq!(within(Deadline::after(Duration::from_secs(5)), || 42).unwrap(), Some(42));
    }

    #[test]
    fn ends() {
        assert_eq!(Deadline::after(Duration::ZERO).remaining(), None);
        assert!(Deadline::after(Duration::from_secs(9)).remaining().is_some());
    }
}
