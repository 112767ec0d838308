//! The records of `trees/node/usr/local/sbin/lab-writer`: each synced before the next was written.

use std::fmt::Write as _;

use anyhow::{bail, Context, Result};
use sha2::{Digest, Sha256};

/// Checks the file as it is found on the disk: record after record is whole, and the first `synced` are all there. Says
/// how many there are. What was written last and never synced may be missing, or be cut off.
pub fn check(text: &str, synced: usize) -> Result<usize> {
    let mut whole = 0_usize;
    for line in text.lines() {
        let number = whole.saturating_add(1);
        let sound = line.split_once(' ').is_some_and(|(data, sum)| {
            data.split_once('-').is_some_and(|(first, _)| first == number.to_string()) && sum == hex(data)
        });
        if sound {
            whole = number;
        } else if number <= synced {
            bail!("record {number} of {synced} synced ones is damaged: {line:?}");
        } else {
            break;
        }
    }
    if whole < synced {
        bail!("{synced} records were synced, {whole} are on the disk");
    }
    Ok(whole)
}

/// What lab-writer says of itself: how many records are synced, and how many milliseconds the slowest took.
pub fn progress(text: &str) -> Result<(usize, u64)> {
    let (synced, slowest) = text.trim().split_once(' ').with_context(|| format!("lab-writer says {text:?}"))?;
    Ok((synced.parse()?, slowest.parse()?))
}

fn hex(data: &str) -> String {
    Sha256::digest(data.as_bytes()).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize) -> String {
        let data = format!("{number}-17.5-42");
        format!("{data} {}\n", hex(&data))
    }

    #[test]
    fn what_was_synced_must_be_there_and_whole() {
        let three: String = (1..=3).map(record).collect();
        let damaged = three.replace("2-17.5-42", "2-17.5-43");
        let missing = format!("{}{}", record(1), record(3));
        for (text, synced, expected) in [
            (three.as_str(), 3, Ok(3)),
            (&three, 2, Ok(3)),
            (&three, 4, Err("4 records were synced, 3 are on the disk")),
            (&format!("{three}4-17.5-42 0a"), 3, Ok(3)),
            (&damaged, 1, Ok(1)),
            (&damaged, 2, Err("record 2 of 2 synced ones is damaged: \"2-17.5-43 ")),
            (&missing, 3, Err("record 2 of 3 synced ones is damaged: \"3-17.5-42 ")),
            ("", 0, Ok(0)),
            ("", 1, Err("1 records were synced, 0 are on the disk")),
        ] {
            let got = check(text, synced).map_err(|error| error.to_string());
            match (&got, expected) {
                (Err(got), Err(start)) => assert!(got.starts_with(start), "{got}"),
                _ => assert_eq!(got, expected.map_err(str::to_owned), "{text:?}, {synced}"),
            }
        }
    }

    #[test]
    fn progress_is_two_numbers() {
        assert_eq!(progress("12 340\n").unwrap(), (12, 340));
        assert!(progress("12\n").is_err());
    }
}
