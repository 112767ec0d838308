//! A person at a node's console: the terminal's keys go there, what it writes comes here.

use std::io::{IsTerminal, Read, Write};
use std::sync::mpsc::{channel, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use rustix::termios::{tcgetattr, tcsetattr, OptionalActions, Termios};

use crate::console::plain;
use crate::node::Node;

/// Ctrl-], as telnet(1) has it.
const LEAVE: u8 = 0x1d;

/// Shows the console as it comes, each line with `prefix`, until the node is off.
pub fn show_until_end(node: &mut Node, prefix: &str, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut lines = Lines::new(prefix);
    loop {
        let ended = node.has_ended()?.is_some();
        lines.show(&node.console().take_new()?);
        if ended {
            lines.finish();
            return Ok(());
        }
        if started.elapsed() > limit {
            lines.finish();
            bail!("node{} is still on after {} s", node.number(), limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Shows the console as it comes until `text` is in it; says whether it came.
pub fn show_until(node: &mut Node, prefix: &str, text: &str, limit: Duration) -> Result<()> {
    let started = Instant::now();
    let mut lines = Lines::new(prefix);
    let mut seen = Vec::new();
    loop {
        let ended = node.has_ended()?;
        let new = node.console().take_new()?;
        lines.show(&new);
        seen.extend_from_slice(&new);
        if String::from_utf8_lossy(&seen).contains(text) {
            lines.finish();
            return Ok(());
        }
        if let Some(status) = ended {
            lines.finish();
            bail!("node{} ended ({status}) before {text:?} came on its console", node.number());
        }
        if started.elapsed() > limit {
            lines.finish();
            bail!("{text:?} did not come on node{}'s console in {} s", node.number(), limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Console output, cut into lines with a prefix that says which machine talks.
struct Lines {
    prefix: String,
    rest: Vec<u8>,
}

impl Lines {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), rest: Vec::new() }
    }

    fn show(&mut self, new: &[u8]) {
        self.rest.extend_from_slice(new);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.print(&line);
        }
    }

    fn finish(&mut self) {
        let rest = std::mem::take(&mut self.rest);
        self.print(&rest);
    }

    fn print(&self, line: &[u8]) {
        let line = plain(&String::from_utf8_lossy(line));
        if !line.trim().is_empty() {
            println!("{} | {}", self.prefix, line.trim_end());
        }
    }
}

/// Hands the console over until the node is off or Ctrl-] is typed.
pub fn hand_over(node: &mut Node) -> Result<()> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("--interactive wants a terminal");
    }
    println!("This is node{}'s console now; log in as root, without a password. Ctrl-] leaves.", node.number());
    let terminal = RawTerminal::new()?;
    let (sender, keys) = channel();
    std::thread::spawn(move || {
        let mut key = [0];
        while matches!(std::io::stdin().read(&mut key), Ok(1)) && sender.send(key).is_ok() {}
    });
    loop {
        let ended = node.has_ended()?.is_some();
        let mut output = std::io::stdout();
        output.write_all(&node.console().take_new()?).and_then(|()| output.flush())?;
        if ended {
            break;
        }
        match keys.try_recv() {
            Ok([LEAVE]) | Err(TryRecvError::Disconnected) => break,
            // A letter may be several bytes, which come one by one.
            Ok(key) => node.type_on_console(key)?,
            Err(TryRecvError::Empty) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
    drop(terminal);
    println!();
    Ok(())
}

/// The terminal in raw mode, until dropped.
struct RawTerminal(Termios);

impl RawTerminal {
    fn new() -> Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("cannot ask for the terminal's mode")?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).context("cannot set the terminal's mode")?;
        Ok(Self(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        if let Err(error) = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0) {
            eprintln!("the terminal stays in raw mode ({error}): run reset");
        }
    }
}
