//! A command of another program: always its arguments one by one, never a shell.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A command that is to be run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The program's name, looked for in the system's own folders; or its path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// What its environment has besides the little that each command gets.
    pub environment: Vec<(String, String)>,
    /// What it reads: never shown.
    pub input: Option<Vec<u8>>,
    /// What becomes of what it writes.
    pub output: Output,
    /// What it acts on.
    pub scope: Scope,
    /// Exit statuses that are none of a failure, besides 0.
    pub also_good: Vec<i32>,
    /// What it does, in a few words, where that takes long.
    pub does: Option<String>,
    /// The Debian package that has the program.
    pub package: Option<String>,
}

/// An argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Argument {
    /// As it stands.
    Text(String),
    /// A path of the machine, between a prefix as `--link-dest=` and a suffix as `/`.
    Path(String, PathBuf, String),
}

/// What becomes of what a command writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// It is kept: the end of it is a part of the error, if there is one.
    Kept,
    /// And shown as progress: a line of a terminal, or a line now and then.
    Progress,
    /// The command has the terminal, for reading too.
    Terminal,
}

/// What a command acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// Files, whose paths are arguments.
    Files,
    /// What runs on this machine. With `--root` it is left out, and it may start what outlives it.
    Services,
}

impl Run {
    /// A command on files that keeps what it writes.
    #[must_use]
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: None,
            output: Output::Kept,
            scope: Scope::Files,
            also_good: Vec::new(),
            does: None,
            package: None,
        }
    }

    /// systemctl(1), which acts on services.
    #[must_use]
    pub fn systemctl(arguments: &[&str]) -> Self {
        Self::new("systemctl").args(arguments).on_services()
    }

    /// With one more argument.
    #[must_use]
    pub fn arg(mut self, text: impl Into<String>) -> Self {
        self.arguments.push(Argument::Text(text.into()));
        self
    }

    /// With more arguments.
    #[must_use]
    pub fn args<T: AsRef<str>>(mut self, texts: &[T]) -> Self {
        self.arguments.extend(texts.iter().map(|text| Argument::Text(text.as_ref().to_owned())));
        self
    }

    /// With a path of the machine as the next argument.
    #[must_use]
    pub fn path(self, path: impl Into<PathBuf>) -> Self {
        self.path_after("", path)
    }

    /// With a path of the machine after `prefix`, as in `--link-dest=`.
    #[must_use]
    pub fn path_after(self, prefix: &str, path: impl Into<PathBuf>) -> Self {
        self.path_between(prefix, path, "")
    }

    /// With a path of the machine between `prefix` and `suffix`.
    #[must_use]
    pub fn path_between(mut self, prefix: &str, path: impl Into<PathBuf>, suffix: &str) -> Self {
        self.arguments.push(Argument::Path(prefix.to_owned(), path.into(), suffix.to_owned()));
        self
    }

    /// With a variable in its environment. Never a secret: /proc shows it.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With this to read: the way for secrets.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// Says what it does while it does it: it takes long.
    #[must_use]
    pub fn does(mut self, what: impl Into<String>) -> Self {
        self.does = Some(what.into());
        self.output = Output::Progress;
        self
    }

    /// Gives it the terminal.
    #[must_use]
    pub const fn on_terminal(mut self) -> Self {
        self.output = Output::Terminal;
        self
    }

    /// It acts on what runs on this machine.
    #[must_use]
    pub const fn on_services(mut self) -> Self {
        self.scope = Scope::Services;
        self
    }

    /// This exit status is no failure.
    #[must_use]
    pub fn or_status(mut self, status: i32) -> Self {
        self.also_good.push(status);
        self
    }

    /// Names the package that has the program.
    #[must_use]
    pub fn from_package(mut self, package: &str) -> Self {
        self.package = Some(package.to_owned());
        self
    }
}

/// As one would type it.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quoted(value))?;
        }
        f.write_str(&quoted(&self.program))?;
        for argument in &self.arguments {
            match argument {
                Argument::Text(text) => write!(f, " {}", quoted(text))?,
                Argument::Path(prefix, path, suffix) => {
                    write!(f, " {}", quoted(&format!("{prefix}{}{suffix}", path.display())))?;
                }
            }
        }
        if let Some(input) = &self.input {
            write!(f, " (which reads {} bytes)", input.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({self})")
    }
}

fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%^".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    // Control characters would end up on a terminal.
    let shown: String =
        text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
    format!("'{}'", shown.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it_but_for_its_input() {
        let run = Run::new("rsync")
            .args(&["-a", "it's", ""])
            .path_after("--link-dest=", "/srv/a b")
            .env("A", "x y")
            .input("secret");
        assert_eq!(run.to_string(), "A='x y' rsync -a 'it'\\''s' '' '--link-dest=/srv/a b' (which reads 6 bytes)");
        assert_eq!(Run::new("a").arg("b\nc").to_string(), "a 'b\\nc'");
        assert!(!format!("{run:?}").contains("secret"));
    }
}
