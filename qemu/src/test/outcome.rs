//! What libtest says of the tests that it ran.

/// So many of the first and of the last lines that a failed test said are shown once more at the end.
const SAID: (usize, usize) = (12, 28);

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Passed.
    pub passed: u64,
    /// Failed.
    pub failed: u64,
}

impl Count {
    pub(super) fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
    }

    pub(super) fn one(passed: bool) -> Self {
        Self { passed: passed.into(), failed: (!passed).into() }
    }
}

/// What ran.
#[derive(Debug, Default)]
pub(super) struct Ran {
    pub(super) count: Count,
    /// The names of the tests.
    pub(super) seen: Vec<String>,
    pub(super) failed: Vec<Failed>,
}

/// A test that failed.
#[derive(Debug)]
pub(super) struct Failed {
    /// What was run: its file, most often.
    title: String,
    name: String,
    /// What libtest shows of it, line by line.
    said: Vec<String>,
}

impl Failed {
    /// What has no tests of its own, and what it said.
    pub(super) fn whole(name: &str, said: &str) -> Self {
        let said = said.lines().map(str::to_owned).collect();
        Self { title: "what looks at the source".to_owned(), name: name.to_owned(), said }
    }

    /// The name, and of what was said the beginning and the end.
    pub(super) fn show(&self) {
        println!("{}: {}", self.title, self.name);
        let (first, last) = SAID;
        let cut = first..self.said.len().saturating_sub(last).max(first);
        for (at, line) in self.said.iter().enumerate() {
            if !cut.contains(&at) {
                println!("    {line}");
            } else if at == cut.start {
                println!("    … {} lines, which stand above", cut.len());
            }
        }
    }
}

impl Ran {
    pub(super) fn add(&mut self, other: Self) {
        self.count.add(other.count);
        self.seen.extend(other.seen);
        self.failed.extend(other.failed);
    }
}

/// Reads what libtest prints, line by line.
#[derive(Debug, Default)]
pub(super) struct Reader {
    ran: Ran,
    /// Whose output it shows.
    speaker: Option<String>,
}

impl Reader {
    /// Takes the next line of the tests in `title`.
    pub(super) fn line(&mut self, title: &str, line: String) {
        if let Some(counted) = parse(&line) {
            self.ran.count.add(counted);
        }
        if let Some((name, passed)) = test_of(&line) {
            self.ran.seen.push(name.to_owned());
            if !passed {
                self.ran.failed.push(Failed { title: title.to_owned(), name: name.to_owned(), said: Vec::new() });
            }
        }
        if let Some(name) = speaker_of(&line) {
            self.speaker = Some(name.to_owned());
        } else if line == "failures:" {
            self.speaker = None;
        } else if let Some(failed) = self.speaking() {
            failed.said.push(line);
        }
    }

    fn speaking(&mut self) -> Option<&mut Failed> {
        let speaker = self.speaker.as_ref()?;
        self.ran.failed.iter_mut().rfind(|failed| failed.name == *speaker)
    }

    /// What ran.
    pub(super) fn end(self) -> Ran {
        self.ran
    }
}

/// `test result: ok. 3 passed; 0 failed; …`
fn parse(line: &str) -> Option<Count> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let number = |what: &str| {
        counts.split("; ").find_map(|part| part.strip_suffix(what)).and_then(|number| number.trim().parse().ok())
    };
    Some(Count { passed: number("passed")?, failed: number("failed")? })
}

/// `test boot::plain ... ok`: the test, and whether it passed.
fn test_of(line: &str) -> Option<(&str, bool)> {
    let (name, outcome) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name, outcome != "FAILED"))
}

/// `---- boot::plain stdout ----`: the test whose output follows.
fn speaker_of(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_is_counted() {
        for (line, passed, failed) in [
            ("test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 1 filtered out; finished in 0.00s", 3, 0),
            (
                "test result: FAILED. 12 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
                12,
                1,
            ),
        ] {
            assert_eq!(parse(line), Some(Count { passed, failed }), "{line}");
        }
        assert_eq!(parse("test boot::plain ... ok"), None);
        assert_eq!(test_of("test boot::plain ... ok"), Some(("boot::plain", true)));
        assert_eq!(test_of("test boot::plain ... FAILED"), Some(("boot::plain", false)));
        assert_eq!(test_of("test result: ok. 3 passed; 0 failed"), None);
        assert_eq!(speaker_of("---- boot::plain stdout ----"), Some("boot::plain"));
        assert_eq!(speaker_of("---- a rule ----"), None);
    }
    #[test]
    fn what_a_failed_test_said_is_kept() {
        let mut reader = Reader::default();
        for line in [
            "test one ... ok",
            "test two ... FAILED",
            "failures:",
            "---- two stdout ----",
            "the node is off",
            "failures:",
            "    two",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s",
        ] {
            reader.line("boot", line.to_owned());
        }
        let ran = reader.end();
        assert_eq!((ran.count, ran.seen.len()), (Count { passed: 1, failed: 1 }, 2));
        let said: Vec<_> = ran.failed.iter().map(|failed| (failed.name.as_str(), failed.said.join("|"))).collect();
        assert_eq!(said, [("two", "the node is off".to_owned())]);
    }
}
