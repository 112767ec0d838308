//! The command channel: runs a command in a machine over its second serial line and brings back output and status.
//!
//! The other side is `trees/both/usr/local/sbin/lab-shell`, which says what goes over the line.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::lock::{lock_one_of, Lock};
use crate::socket;

/// The line has no flow control: the kernel keeps 64 KiB of what nobody has read yet, and drops the rest.
const LONGEST_COMMAND: usize = 32 * 1024;

/// How long after its own limit a command's answer may still take: megabytes of output go over a serial line.
const ANSWER: Duration = Duration::from_secs(90);

/// How long another process's command may keep the channel.
const BUSY: Duration = Duration::from_secs(1200);

/// How long a channel that is up may take to say so, on a machine under load.
const PONG: Duration = Duration::from_secs(30);

/// What a command left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit status; 124 when its time limit ended it.
    pub status: i32,
    /// What it wrote to stdout and stderr.
    pub text: String,
}

/// What systemctl says of a systemd that begins on a busy host, and takes longer to answer than it is waited for: that is no
/// state.
pub(crate) fn is_too_busy(systemctl: &Output) -> bool {
    systemctl.text.contains("Connection timed out")
}

/// A path as a word of sh(1).
pub(crate) fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

/// The way to a machine's command channel.
#[derive(Debug, Clone)]
pub struct Shell {
    socket: PathBuf,
    lock: PathBuf,
}

impl Shell {
    /// The channel behind `socket`.
    pub fn new(socket: &Path) -> Self {
        // Under the socket's whole name: node21.lock is the machine's own.
        Self { socket: socket.to_owned(), lock: socket.with_extension("shell.lock") }
    }

    /// Whether the channel answers now: asks once and waits `limit` for the answer.
    pub fn answers(&self, limit: Duration) -> Result<bool> {
        Ok(self.connect(limit, limit)?.is_some())
    }

    /// Runs `command` by bash as root. It may take `limit`; then it is ended and its status is 124.
    pub fn run(&self, command: &str, limit: Duration) -> Result<Output> {
        let request = base64(command.as_bytes());
        if request.len() > LONGEST_COMMAND {
            bail!("a command of {} bytes is too long for the serial line", command.len());
        }
        let Some(mut line) = self.connect(BUSY, PONG)? else {
            bail!("the command channel {} did not answer within {} s", self.socket.display(), PONG.as_secs());
        };
        let nonce = line.nonce.clone();
        line.send(&format!("run {nonce} {} {request}\n", limit.as_secs().max(1)))?;
        let limit = limit.saturating_add(ANSWER);
        let what = || format!("the command {command:?}");
        if line.until(&format!("begin {nonce}"), limit)?.is_none() {
            bail!("{} did not end within {} s", what(), limit.as_secs());
        }
        let mut encoded = String::new();
        let started = Instant::now();
        loop {
            let Some(received) = line.line(limit.saturating_sub(started.elapsed()))? else {
                bail!("{}: its output stopped in the middle", what());
            };
            match received.strip_prefix(&format!("end {nonce} ")) {
                Some(status) => {
                    let status = status.trim().parse().with_context(|| format!("{}: status {status:?}", what()))?;
                    let bytes = from_base64(&encoded).with_context(what)?;
                    return Ok(Output { status, text: String::from_utf8_lossy(&bytes).into_owned() });
                }
                None => encoded.push_str(received.trim()),
            }
        }
    }

    fn connect(&self, busy: Duration, limit: Duration) -> Result<Option<Line>> {
        let (_, lock) = lock_one_of(&[&self.lock], "the command channel", busy)?;
        let stream = socket::connect(&self.socket, limit).context("the machine's command channel")?;
        let nonce = nonce();
        let mut line = Line { stream, nonce: nonce.clone(), received: Vec::new(), _lock: lock };
        let started = Instant::now();
        // Nobody hears what is said before the channel is up, and what ran before us may have left half a line.
        while started.elapsed() < limit {
            line.send(&format!("\nping {nonce}\n"))?;
            let wait = Duration::from_secs(1).min(limit.saturating_sub(started.elapsed()));
            if line.until(&format!("pong {nonce}"), wait)?.is_some() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }
}

/// One conversation.
struct Line {
    stream: UnixStream,
    nonce: String,
    received: Vec<u8>,
    _lock: Lock,
}

impl Line {
    fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes()).context("the command channel broke off: did the machine end?")
    }

    /// Reads until a line equals `wanted`.
    fn until(&mut self, wanted: &str, limit: Duration) -> Result<Option<()>> {
        let started = Instant::now();
        while let Some(line) = self.line(limit.saturating_sub(started.elapsed()))? {
            if line.trim() == wanted {
                return Ok(Some(()));
            }
        }
        Ok(None)
    }

    /// The next line, or none when it does not come within `limit`.
    fn line(&mut self, limit: Duration) -> Result<Option<String>> {
        let started = Instant::now();
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 65536];
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("the command channel was closed: the machine has ended"),
                Ok(count) => self.received.extend(chunk.iter().take(count)),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("the command channel broke off: did the machine end?"),
            }
        }
    }
}

/// A word that no other conversation uses.
fn nonce() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", std::process::id(), now.as_nanos())
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | group.get(at).map_or(0, |byte| u32::from(*byte)));
        for at in 0..4_usize {
            let index = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            let letter = if at <= group.len() { ALPHABET.get(index).copied() } else { None };
            text.push(char::from(letter.unwrap_or(b'=')));
        }
    }
    text
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut bits = 0_u32;
    let mut count = 0_u32;
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let Some(value) = ALPHABET.iter().position(|known| *known == letter) else {
            bail!("the answer is garbled: {:?} is no base64", char::from(letter));
        };
        bits = bits << 6 | u32::try_from(value)?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.extend((bits >> count).to_be_bytes().last());
            bits &= (1 << count) - 1;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word() {
        let path = "/home/o'brien/the lab";
        let print = format!("printf %s {}", quoted(Path::new(path)));
        let said = std::process::Command::new("sh").arg("-c").arg(print).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), path);
    }

    #[test]
    fn base64_goes_there_and_back() {
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob\u{fc}", "Zm9vYsO8")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
            assert_eq!(from_base64(encoded).unwrap(), plain.as_bytes());
        }
        assert!(from_base64("a b").unwrap_err().to_string().contains("garbled"));
    }
}
