//! Where packages come from: what apt on this machine is configured for, unless told otherwise.

use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::suite::Suite;

/// The archive, and the one with its security updates where apt knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    main: String,
    security: Option<String>,
}

impl Mirror {
    /// A mirror given by its address; updates then come from nowhere else.
    pub fn at(address: &str) -> Self {
        Self { main: address.to_owned(), security: None }
    }

    /// Asks this machine's apt.
    pub fn of_this_machine() -> Result<Self> {
        let output = Command::new("apt-get")
            .args(["indextargets", "--format", "$(CREATED_BY) $(LABEL) $(SITE)"])
            .output()
            .context("cannot ask apt-get for its mirrors")?;
        Self::parse(&String::from_utf8_lossy(&output.stdout))
    }

    fn parse(targets: &str) -> Result<Self> {
        let find = |label: &str| {
            targets.lines().find_map(|line| match line.split_whitespace().collect::<Vec<_>>().as_slice() {
                ["Packages", at, site] if *at == label => Some((*site).to_owned()),
                _ => None,
            })
        };
        let Some(main) = find("Debian") else {
            bail!("apt on this machine knows no Debian archive: run apt-get update, or give one with --mirror ADDRESS");
        };
        Ok(Self { main, security: find("Debian-Security") })
    }

    /// The archive's address.
    pub fn main(&self) -> &str {
        &self.main
    }

    /// The lines of a sources.list for `suite`.
    pub fn sources(&self, suite: Suite) -> Vec<String> {
        let mut lines = vec![format!("deb {} {suite} main", self.main)];
        lines.extend(self.security.iter().map(|address| format!("deb {address} {suite}-security main")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_names_the_archives() {
        let targets = "Packages Else http://else.example\nDEP-11 Debian http://x.example\n\
                       Packages Debian http://a.example/debian\nPackages Debian-Security http://a.example/security\n";
        let mirror = Mirror::parse(targets).unwrap();
        assert_eq!(
            mirror.sources(Suite::Bookworm),
            ["deb http://a.example/debian bookworm main", "deb http://a.example/security bookworm-security main"]
        );
    }

    #[test]
    fn without_an_archive_the_error_says_what_to_do() {
        let error = Mirror::parse("").unwrap_err().to_string();
        assert!(error.contains("--mirror"), "{error}");
    }
}
