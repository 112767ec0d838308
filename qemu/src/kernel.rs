//! Debian's kernels.

use std::fmt;
use std::str::FromStr;

use anyhow::{bail, Error, Result};

/// Which of Debian's kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// `linux-image-cloud-amd64`.
    Cloud,
    /// `linux-image-amd64`.
    Generic,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cloud => "cloud",
            Self::Generic => "generic",
        })
    }
}

impl FromStr for Kernel {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cloud" => Ok(Self::Cloud),
            "generic" => Ok(Self::Generic),
            _ => bail!("kernel {text:?}: expected cloud or generic"),
        }
    }
}
