//! What the scenarios that boot nodes share.
#![allow(dead_code)] // Each of them is a crate of its own, and needs a part.

use std::time::Duration;

use sidus_lab::{Node, Result};

/// Until init-bottom is reached, with another machine on the same processor.
pub const INITRAMFS: Duration = Duration::from_secs(300);

/// What everyone must find on a node that runs from memory.
pub fn check_union(node: &mut Node) -> Result<()> {
    node.wait_running()?;
    assert_eq!(node.run("findmnt -no FSTYPE,SOURCE /")?.split_whitespace().collect::<Vec<_>>(), ["overlay", "overlay"]);
    assert_eq!(node.run("findmnt -no FSTYPE /rw")?.trim(), "tmpfs");
    assert!(node.run("findmnt -no FSTYPE /ro")?.starts_with("nfs"));
    let refused = node.output("touch /ro/x", Duration::from_secs(60))?;
    assert!(refused.text.contains("Read-only file system"), "{}", refused.text);
    assert_eq!(
        node.run("setpriv --reuid 65534 --clear-groups ls /rw/sidus 2>&1 || true")?.trim(),
        "ls: cannot open directory '/rw/sidus': Permission denied"
    );
    assert_eq!(node.run("stat -c %a:%u:%g / /ro")?.trim(), "755:0:0\n755:0:0");
    let status = node.run("rootaufs status")?;
    assert!(status.starts_with("root        a union; what is written here is GONE AFTER A REBOOT\n"), "{status}");
    Ok(())
}

/// A power-off that no unit held up; says how long it took.
pub fn power_off(mut node: Node) -> Result<Duration> {
    let took = node.power_off()?;
    trouble_on_console(&mut node)?;
    Ok(took)
}

/// The console since the initramfs began: the firmware has time-outs of its own.
pub fn since_boot(node: &mut Node) -> Result<String> {
    let console = node.console().text()?;
    let (_, console) = console.rsplit_once("Run /init as init process").unwrap_or_default();
    assert!(!console.is_empty(), "the console does not show how the node booted");
    Ok(console.to_owned())
}

/// Demands that no unit failed or held the end up.
pub fn trouble_on_console(node: &mut Node) -> Result<()> {
    let console = since_boot(node)?;
    trouble_in(&console, node);
    Ok(())
}

/// As [`power_off`], of a node on whose console other trouble is already.
pub fn power_off_after_trouble(node: &mut Node) -> Result<()> {
    let before = node.console().text()?.len();
    node.power_off()?;
    let console = node.console().text()?;
    trouble_in(console.get(before..).unwrap_or_default(), node);
    Ok(())
}

fn trouble_in(console: &str, node: &mut Node) {
    for trouble in ["timed out", "Timed out", "Failed to unmount", "Failed unmounting", "FAILED"] {
        assert!(!console.contains(trouble), "{trouble:?} is on the console:\n{}", node.console().tail());
    }
}
