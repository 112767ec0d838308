//! When to try again: a pure rule, and the loop that obeys it.

use std::time::{Duration, Instant};

use super::error::LunError;
use crate::iscsi::deadline::Deadline;
use crate::iscsi::status::Retry;
use crate::kmsg::{Level, Log};

/// How often what most likely a person has to change is tried.
const FEW_TRIES: u32 = 3;
/// The pause before such a try: a target that is being set up may need a moment.
const FEW_PAUSE: Duration = Duration::from_secs(2);
/// The first pause and the longest one, where the other side may not be ready yet.
const PAUSES: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(4)];
/// How long one attempt may take: with a portal that swallows everything, the next one has its turn.
const ATTEMPT: Duration = Duration::from_secs(10);
/// How often a person is told what is waited for.
const REMIND: Duration = Duration::from_secs(10);

/// The pauses between attempts.
#[derive(Debug, Default)]
struct Backoff {
    few: u32,
    later: u32,
}

impl Backoff {
    /// How long to wait before the next attempt; `None` where there is to be none.
    fn pause(&mut self, retry: Retry) -> Option<Duration> {
        let [first, longest] = PAUSES;
        match retry {
            Retry::Never => None,
            Retry::FewTimes => {
                self.few = self.few.saturating_add(1);
                (self.few < FEW_TRIES).then_some(FEW_PAUSE)
            }
            Retry::Later => {
                let factor = 1_u32.checked_shl(self.later).unwrap_or(u32::MAX);
                self.later = self.later.saturating_add(1);
                Some(first.saturating_mul(factor).min(longest))
            }
        }
    }
}

/// Tries until it succeeds, cannot, or the deadline is over; says every ten seconds what it waits for.
///
/// # Errors
/// The last attempt's, with how often and how long it was tried.
pub fn persist<T>(
    deadline: Deadline,
    log: &Log,
    attempt: &mut dyn FnMut(Deadline) -> Result<T, LunError>,
) -> Result<T, LunError> {
    let started = Instant::now();
    let mut backoff = Backoff::default();
    let mut tries: u32 = 0;
    let mut said: Option<Instant> = None;
    loop {
        tries = tries.saturating_add(1);
        let error = match attempt(deadline.part(ATTEMPT)) {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some((pause, left)) = backoff.pause(error.retry()).zip(deadline.remaining()) else {
            return Err(if tries > 1 {
                LunError::GaveUp { error: Box::new(error), tries, after: started.elapsed().as_secs() }
            } else {
                error
            });
        };
        if said.is_none_or(|said| said.elapsed() >= REMIND) {
            said = Some(Instant::now());
            let words =
                format!("waiting ({} of {} s): {error}", deadline.elapsed().as_secs(), deadline.limit().as_secs());
            log.say(Level::Warning, &words);
        }
        std::thread::sleep(pause.min(left));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_where_a_person_has_to_act() {
        use Retry::{FewTimes, Later, Never};
        let table: &[(&[Retry], &[Option<u64>])] = &[
            (&[Never], &[None]),
            (&[FewTimes, FewTimes, FewTimes], &[Some(2000), Some(2000), None]),
            (&[Later; 7], &[Some(250), Some(500), Some(1000), Some(2000), Some(4000), Some(4000), Some(4000)]),
            (&[Later, FewTimes, Later, FewTimes, FewTimes], &[Some(250), Some(2000), Some(500), Some(2000), None]),
        ];
        for (outcomes, pauses) in table {
            let mut backoff = Backoff::default();
            let got: Vec<_> = outcomes
                .iter()
                .map(|retry| backoff.pause(*retry).map(|pause| u64::try_from(pause.as_millis()).unwrap()))
                .collect();
            assert_eq!(&got, pauses, "{outcomes:?}");
        }
        let mut backoff = Backoff { few: 0, later: u32::MAX };
        assert_eq!(backoff.pause(Later), Some(PAUSES[1]));
    }
}
