//! Debian's releases.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Result};

/// A Debian release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 12.
    Bookworm,
    /// Debian 13.
    Trixie,
}

impl Suite {
    /// Every release that the nodes run.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// Where the server exports the release's node tree.
    pub fn export(self) -> &'static str {
        match self {
            Self::Bookworm => "/srv/nfsroot/sidus",
            Self::Trixie => "/srv/nfsroot/trixie",
        }
    }

    /// Where it has the same tree once more, for [`Lab::own_tree`](crate::Lab::own_tree).
    pub fn scratch(self) -> &'static str {
        match self {
            Self::Bookworm => "/srv/nfsroot/scratch",
            Self::Trixie => "/srv/nfsroot/scratch-trixie",
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        })
    }
}

impl FromStr for Suite {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "bookworm" => Ok(Self::Bookworm),
            "trixie" => Ok(Self::Trixie),
            _ => bail!("suite {text:?}: expected bookworm or trixie"),
        }
    }
}
