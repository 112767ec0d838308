//! A machine's console as a person sees it: a file that QEMU writes, read and searched here.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How many lines of a console an error shows.
const TAIL_LINES: usize = 40;

/// What a machine has written, and how far it was looked at.
#[derive(Debug)]
pub struct Console {
    path: PathBuf,
    seen: u64,
}

impl Console {
    /// The console kept in `path`, looked at from its start.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: 0 }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks for `text` after what was looked at before; once found, the next search begins behind it.
    pub fn find(&mut self, text: &str) -> Result<bool> {
        let new = self.read_from(self.seen)?;
        let found = position(&new, text.as_bytes());
        if let Some(at) = found {
            self.seen = self.seen.saturating_add(u64::try_from(at.saturating_add(text.len()))?);
        }
        Ok(found.is_some())
    }

    /// How long it is so far, in bytes.
    pub(crate) fn length(&self) -> Result<u64> {
        let file = std::fs::metadata(&self.path);
        file.map(|file| file.len()).with_context(|| format!("cannot look at the console {}", self.path.display()))
    }

    /// Whether `text` came after the first `offset` bytes, whatever was looked at before.
    pub(crate) fn has_after(&self, offset: u64, text: &str) -> Result<bool> {
        Ok(position(&self.read_from(offset)?, text.as_bytes()).is_some())
    }

    /// All of it so far.
    pub fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.read_from(0)?).into_owned())
    }

    /// What came since the last call of this function; then it counts as looked at.
    pub fn take_new(&mut self) -> Result<Vec<u8>> {
        let new = self.read_from(self.seen)?;
        self.seen = self.seen.saturating_add(u64::try_from(new.len())?);
        Ok(new)
    }

    /// The last lines, for an error.
    pub fn tail(&self) -> String {
        match self.read_from(0) {
            Ok(bytes) => format!("the console's end ({}):\n{}", self.path.display(), tail(&bytes)),
            Err(error) => format!("(the console cannot be shown: {error:#})"),
        }
    }

    fn read_from(&self, offset: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path)
            .and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.read_to_end(&mut bytes)
            })
            .with_context(|| format!("cannot read the console {}", self.path.display()))?;
        Ok(bytes)
    }
}

fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    if needle.is_empty() {
        return Some(0);
    }
    hay.windows(needle.len()).position(|window| window == needle)
}

/// The last lines of `bytes`, indented, without control sequences.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let text = plain(&String::from_utf8_lossy(bytes));
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let start = lines.len().saturating_sub(TAIL_LINES);
    lines.iter().skip(start).map(|line| format!("    | {line}\n")).collect()
}

/// Text without the control sequences that terminals obey (ECMA-48).
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars().peekable();
    while let Some(char) = rest.next() {
        match char {
            '\u{1b}' if rest.next_if_eq(&'[').is_some() => {
                // Parameters, then one final byte.
                while rest.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                rest.next();
            }
            '\u{1b}' => {
                rest.next();
            }
            '\n' | '\t' => plain.push(char),
            c if c.is_control() => {}
            c => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_go() {
        assert_eq!(plain("[\u{1b}[0;32m  OK  \u{1b}[0m] Started\r\n\u{1b}c\u{1b}[?7lx"), "[  OK  ] Started\nx");
    }

    #[test]
    fn the_tail_is_short() {
        let long: String = (0..100).map(|n| format!("line {n}\n\n")).collect();
        let tail = tail(long.as_bytes());
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("| line 99\n"));
    }

    #[test]
    fn a_search_goes_on_behind_what_was_found() {
        let path = std::env::temp_dir().join(format!("sidus-lab-console-{}", std::process::id()));
        std::fs::write(&path, "login: root\nlogin: ").unwrap();
        let mut console = Console::new(&path);
        assert!(console.find("login:").unwrap());
        assert!(console.find("login:").unwrap());
        assert!(!console.find("login:").unwrap());
        std::fs::remove_file(path).unwrap();
    }
}
