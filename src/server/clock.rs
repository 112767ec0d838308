//! Times for people, in UTC, and for names.

use std::time::{SystemTime, UNIX_EPOCH};

/// A day and a time of it, in the Gregorian calendar and UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time {
    year: u64,
    month: u64,
    day: u64,
    second_of_day: u64,
}

impl Time {
    /// Now.
    #[must_use]
    pub fn now() -> Self {
        Self::of(SystemTime::now())
    }

    /// That of a file, say; nothing here is older than 1970.
    #[must_use]
    pub fn of(time: SystemTime) -> Self {
        Self::after(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
    }

    /// So many seconds after the beginning of 1970.
    #[must_use]
    pub fn after(seconds: u64) -> Self {
        let (mut days, second_of_day) = (seconds / 86_400, seconds % 86_400);
        let mut year = 1970;
        while days >= days_of(year) {
            days = days.saturating_sub(days_of(year));
            year += 1;
        }
        let february = days_of(year).saturating_sub(337);
        let mut month = 1;
        for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
            if days < length {
                break;
            }
            days = days.saturating_sub(length);
            month += 1;
        }
        Self { year, month, day: days.saturating_add(1), second_of_day }
    }

    /// As in `20260714`.
    #[must_use]
    pub fn date_digits(&self) -> String {
        format!("{:04}{:02}{:02}", self.year, self.month, self.day)
    }
}

impl std::fmt::Display for Time {
    /// As in `2026-07-14 18:05:09 UTC`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (hour, minute, second) = (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60);
        write!(f, "{:04}-{:02}-{:02} {hour:02}:{minute:02}:{second:02} UTC", self.year, self.month, self.day)
    }
}

const fn days_of(year: u64) -> u64 {
    if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) {
        366
    } else {
        365
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_become_days() {
        // date -u -d @SECONDS
        for (seconds, shown) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_800, "2000-03-01 00:00:00 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (1_784_052_309, "2026-07-14 18:05:09 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(Time::after(seconds).to_string(), shown);
        }
        assert_eq!(Time::after(1_784_052_309).date_digits(), "20260714");
    }
}
