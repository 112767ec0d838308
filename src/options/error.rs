//! What is wrong with a command line.

use thiserror::Error;

use super::BootOptions;

/// Why the command line cannot be obeyed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OptionError {
    /// A known key with a value that it does not accept.
    #[error("{key}={value}: not a value of {key}; accepted: {accepts}")]
    Value {
        /// As it was written.
        key: String,
        /// As it was written.
        value: String,
        /// What the key accepts.
        accepts: &'static str,
    },
    /// A key below `sidus.` that does not exist.
    #[error("{word}: no such key; accepted: {accepts}")]
    UnknownKey {
        /// As it was written, with its value.
        word: String,
        /// All keys of its kind.
        accepts: String,
    },
    /// A key with two values.
    #[error("{key}: given twice, as {first:?} and as {second:?}; give it once; accepted: {accepts}")]
    Conflict {
        /// The key.
        key: &'static str,
        /// Its first value.
        first: String,
        /// A later, different one.
        second: String,
        /// What the key accepts.
        accepts: &'static str,
    },
    /// A key without which another one makes no sense.
    #[error("{key} is missing: {because}; accepted: {accepts}")]
    Missing {
        /// The key.
        key: &'static str,
        /// What asks for it.
        because: &'static str,
        /// What it accepts.
        accepts: &'static str,
    },
    /// Both directions of CHAP have one secret: it would prove nothing.
    #[error("sidus.iscsi.password and sidus.iscsi.password_in are the same; they must differ (RFC 7143 12.1.3)")]
    SameSecret,
}

/// All that is wrong with a command line, and what it says beside that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadOptions {
    /// Everything that was found, in the order of [`KEYS`]; never empty.
    pub problems: Vec<OptionError>,
    /// What could be understood, without a layer: `sidus.on_failure=` says what follows, the others how that is done.
    pub options: BootOptions,
    /// Whether the plain root is asked for all the same: `aufs=off`, or no `aufs=` at all.
    pub off: bool,
}
