//! When the keeper tries again, and when it says so: pure rules.

use std::time::Duration;

/// For so long it hurries: somebody restarts the target, or plugs the cable in again.
const HURRY: Duration = Duration::from_secs(600);
/// For so long it hurries though the target says no: one that is being set up may do so before it is ready.
const HURRY_REFUSED: Duration = Duration::from_secs(60);
/// From the start of one attempt to that of the next, while it hurries and later.
const EVERY: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(10)];
/// The shortest pause: an attempt may fail at once.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long a login may take: one that a target took while it was starting may never be answered, and one that is slow
/// must have its time in the end.
const LOGIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];
/// How often a fault that lasts is said again.
const REMIND: Duration = Duration::from_secs(60);

/// How long to wait before the next attempt: `blocked` since the fault, of which the last attempt took `attempt`;
/// `refused` for so long with what a person has to change.
#[must_use]
pub fn pause(blocked: Duration, refused: Option<Duration>, attempt: Duration) -> Duration {
    let [fast, slow] = EVERY;
    let hurry = blocked < HURRY && refused.is_none_or(|refused| refused < HURRY_REFUSED);
    let every = if hurry { fast } else { slow };
    every.saturating_sub(attempt).max(SHORTEST)
}

/// How long the next login may take, after `late` of them that were not over in time.
#[must_use]
pub fn login(late: u32) -> Duration {
    let [first, longest] = LOGIN;
    first.saturating_mul(1 << late.min(8)).min(longest)
}

/// So many reasons are known at a time: while a cable is out, two take turns.
const REASONS: usize = 4;

/// What was said of a fault, and when; the oldest first.
#[derive(Debug, Default)]
pub struct Said(Vec<(Duration, String)>);

impl Said {
    /// Whether `why` is to be said now: when it was not said within the last minute.
    pub fn is_news(&mut self, blocked: Duration, why: &str) -> bool {
        self.0.retain(|(when, _)| blocked.saturating_sub(*when) < REMIND);
        if self.0.iter().any(|(_, what)| what == why) {
            return false;
        }
        if self.0.len() >= REASONS {
            self.0.remove(0);
        }
        self.0.push((blocked, why.to_owned()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_hurries_for_ten_minutes_but_not_where_a_person_has_to_act() {
        let seconds = Duration::from_secs;
        for (blocked, refused, attempt, expected) in [
            (seconds(0), None, seconds(0), seconds(1)),
            (seconds(0), None, Duration::from_millis(400), Duration::from_millis(600)),
            (seconds(5), None, seconds(10), SHORTEST),
            (seconds(599), None, seconds(0), seconds(1)),
            (seconds(600), None, seconds(0), seconds(10)),
            (seconds(86_400), None, seconds(4), seconds(6)),
            (seconds(100), Some(seconds(59)), seconds(0), seconds(1)),
            (seconds(100), Some(seconds(60)), seconds(0), seconds(10)),
        ] {
            assert_eq!(pause(blocked, refused, attempt), expected, "{blocked:?}, {refused:?}, {attempt:?}");
        }
    }

    #[test]
    fn a_login_that_is_not_answered_is_tried_again_soon_and_gets_more_time() {
        assert_eq!([0, 1, 2, 3, 99].map(|late| login(late).as_secs()), [2, 4, 8, 10, 10]);
    }

    #[test]
    fn what_is_news_is_said_once_a_minute() {
        let mut said = Said::default();
        for (second, why, expected) in [
            (1, "down", true),
            (2, "down", false),
            (3, "silent", true),
            (4, "down", false),
            (5, "silent", false),
            (60, "down", false),
            (61, "down", true),
            (62, "silent", false),
            (63, "silent", true),
        ] {
            assert_eq!(said.is_news(Duration::from_secs(second), why), expected, "{second} s: {why}");
        }
        for number in 0..100 {
            assert!(said.is_news(Duration::from_secs(70), &number.to_string()));
        }
        assert_eq!(said.0.len(), REASONS);
    }
}
