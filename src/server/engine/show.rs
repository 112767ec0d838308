//! `--dry-run`: what would be done, with the lines that would change.

use std::path::Path;

use similar::TextDiff;

use super::action::{Action, Content, Write};
use crate::server::paths;

/// Longer files are not compared, in bytes.
const MAX_TEXT: u64 = 1 << 20;

/// An action for people.
#[must_use]
pub fn describe(root: &Path, action: &Action) -> String {
    match action {
        Action::Write(write) => format!("{action}\n{}", changes(root, write)),
        _ => format!("{action}\n"),
    }
}

fn changes(root: &Path, write: &Write) -> String {
    let new = match &write.content {
        _ if write.secret => return "    (a secret, not shown)\n".to_owned(),
        Content::CopyOf(_) => return String::new(),
        Content::Bytes(bytes) => return format!("    ({} bytes)\n", bytes.len()),
        Content::Text(text) => text,
    };
    match paths::read_text(root, &write.path, MAX_TEXT) {
        Ok(old) => diff(&write.path, old.as_deref(), new),
        Err(error) => format!("    (in place of what is there: {error})\n"),
    }
}

/// The lines that two texts do not share, as diff -u has them, indented.
#[must_use]
pub fn diff(path: &Path, old: Option<&str>, new: &str) -> String {
    let name = path.display().to_string();
    let from = if old.is_some() { name.as_str() } else { "/dev/null" };
    let diff = TextDiff::from_lines(old.unwrap_or_default(), new);
    let text = diff.unified_diff().context_radius(3).header(from, &name).to_string();
    text.lines().map(|line| format!("    {line}\n")).collect()
}
