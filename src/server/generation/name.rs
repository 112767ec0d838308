//! The names of generations.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::server::clock::Time;
use crate::server::config::values::ValueError;

/// The day that it was published on, and the how manieth of that day it was: `20261126-1`. Later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GenerationName {
    date: u32,
    number: u32,
}

impl GenerationName {
    /// The one that comes after all of these.
    #[must_use]
    pub fn next(existing: &[Self], now: Time) -> Self {
        let date = now.date_digits().parse().unwrap_or(0);
        let latest = existing.iter().max();
        match latest {
            // A clock that went back makes no generation look older than it is.
            Some(latest) if latest.date >= date => Self { number: latest.number.saturating_add(1), ..*latest },
            _ => Self { date, number: 1 },
        }
    }

    /// As in `2026-11-26`.
    #[must_use]
    pub fn date(self) -> String {
        format!("{:04}-{:02}-{:02}", self.date / 10_000, self.date / 100 % 100, self.date % 100)
    }
}

impl FromStr for GenerationName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let expected = "the name of a generation; its date and a number are, as in 20261126-1";
        let refused = || ValueError { got: text.to_owned(), expected };
        let (date, number) = text.split_once('-').ok_or_else(refused)?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if date.len() != 8 || number.len() > 6 || number.starts_with('0') || !is_number(date) || !is_number(number) {
            return Err(refused());
        }
        let name = date.parse().ok().zip(number.parse().ok()).map(|(date, number)| Self { date, number });
        name.ok_or_else(refused)
    }
}

impl fmt::Display for GenerationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}-{}", self.date, self.number)
    }
}

impl TryFrom<String> for GenerationName {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

impl From<GenerationName> for String {
    fn from(name: GenerationName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_a_date_and_a_number() {
        for text in ["20261126-1", "20261126-12", "19700101-999999"] {
            assert_eq!(text.parse::<GenerationName>().unwrap().to_string(), text);
        }
        for text in ["", "current", "20261126", "20261126-", "20261126-0", "20261126-01", "2026112-1", "20261126-+1"] {
            let error = text.parse::<GenerationName>().unwrap_err();
            let expected = "is not the name of a generation; its date and a number are, as in 20261126-1";
            assert_eq!(error.to_string(), format!("{text:?} {expected}"));
        }
        assert_eq!("20261126-1".parse::<GenerationName>().unwrap().date(), "2026-11-26");
    }

    #[test]
    fn the_next_one_is_later_than_all() {
        let now = Time::after(1_784_052_309); // 2026-07-14
        for (existing, next) in [
            (&[][..], "20260714-1"),
            (&["20260713-9"], "20260714-1"),
            (&["20260714-9", "20260714-10", "20260713-11"], "20260714-11"),
            (&["20270101-3", "20260714-1"], "20270101-4"),
        ] {
            let existing: Vec<_> = existing.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(GenerationName::next(&existing, now).to_string(), next);
        }
    }
}
