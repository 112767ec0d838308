//! The kernel's command line, split the way the kernel splits it.
//!
//! Grammar (`next_arg` in the kernel's `lib/cmdline.c`): words are separated by white space; a double quote keeps
//! white space inside a word; one pair of quotes around a value, or around the whole word, is taken off; `--` ends the
//! kernel's part, and what follows belongs to init. In a key `-` and `_` are the same letter.

/// One word of the command line: `key`, or `key=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word<'a> {
    /// What stands before the first `=`, as it was written.
    pub key: &'a str,
    /// What stands after the first `=`, without its quotes; `None` where the word has no `=`.
    pub value: Option<&'a str>,
}

impl Word<'_> {
    /// Whether this word's key is `name`, with `-` and `_` taken as the same letter.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        same_key(self.key, name)
    }
}

/// Whether two keys are the same to the kernel: equal but for `-` and `_`.
#[must_use]
pub fn same_key(a: &str, b: &str) -> bool {
    let fold = |byte: u8| if byte == b'-' { b'_' } else { byte };
    a.len() == b.len() && a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// Splits a command line into its words, in order, up to `--`.
#[must_use]
pub fn words(line: &str) -> Vec<Word<'_>> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, tail) = split_word(rest);
        if word == "--" {
            break;
        }
        found.push(parse_word(word));
        rest = tail.trim_start();
    }
    found
}

/// Cuts the first word off `text`: up to the first white space that stands outside quotes.
fn split_word(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let end = text.find(|c: char| {
        if c == '"' {
            quoted = !quoted;
        }
        c.is_ascii_whitespace() && !quoted
    });
    text.split_at(end.unwrap_or(text.len()))
}

fn parse_word(word: &str) -> Word<'_> {
    let whole = match word.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
        None => word,
    };
    match whole.split_once('=') {
        None => Word { key: whole, value: None },
        Some((key, value)) => {
            let value = match value.strip_prefix('"') {
                Some(inner) => inner.strip_suffix('"').unwrap_or(inner),
                None => value,
            };
            Word { key, value: Some(value) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_the_kernel_does() {
        let table: &[(&str, &[(&str, Option<&str>)])] = &[
            ("", &[]),
            ("  \n", &[]),
            ("quiet", &[("quiet", None)]),
            ("aufs=tmpfs\n", &[("aufs", Some("tmpfs"))]),
            ("a=b=c", &[("a", Some("b=c"))]),
            ("a= b", &[("a", Some("")), ("b", None)]),
            ("a=\"b c\" d", &[("a", Some("b c")), ("d", None)]),
            ("\"a=b c\" d", &[("a", Some("b c")), ("d", None)]),
            ("a=\"never closed d", &[("a", Some("never closed d"))]),
            ("root=/dev/nfs root=LABEL=ISCSI", &[("root", Some("/dev/nfs")), ("root", Some("LABEL=ISCSI"))]),
            ("a -- aufs=tmpfs", &[("a", None)]),
            ("--x y", &[("--x", None), ("y", None)]),
        ];
        for (line, expected) in table {
            let got: Vec<_> = words(line).into_iter().map(|word| (word.key, word.value)).collect();
            assert_eq!(&got, expected, "command line {line:?}");
        }
    }

    #[test]
    fn dash_and_underscore_are_one_letter() {
        assert!(same_key("sidus.on-failure", "sidus.on_failure"));
        assert!(!same_key("sidus.on-failure", "sidus.onfailure"));
        assert!(!same_key("Sidus.debug", "sidus.debug"));
    }
}
