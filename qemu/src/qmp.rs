//! QEMU's machine protocol (QMP): links up and down, power, the end.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

use crate::socket::connect;

/// QEMU answers at once, or something is wrong.
const LIMIT: Duration = Duration::from_secs(10);

/// Connects, executes one command, and returns its answer.
pub fn execute(socket: &Path, command: &str, arguments: Value) -> Result<Value> {
    let what = || format!("QMP {command} at {}", socket.display());
    let stream = connect(socket, LIMIT).with_context(what)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    read(&mut reader).with_context(what)?; // the greeting
    let requests =
        [json!({"execute": "qmp_capabilities"}), json!({"execute": command, "arguments": arguments, "id": "lab"})];
    for request in requests {
        writeln!(writer, "{request}").with_context(what)?;
    }
    // Events and the first command's answer come in between.
    loop {
        let answer = read(&mut reader).with_context(what)?;
        if let Some(error) = answer.get("error") {
            bail!("{}: {error}", what());
        }
        if answer.get("id").is_some() {
            return Ok(answer.get("return").cloned().unwrap_or(Value::Null));
        }
    }
}

fn read(reader: &mut impl BufRead) -> Result<Value> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        bail!("QEMU closed the connection");
    }
    Ok(serde_json::from_str(&line)?)
}
