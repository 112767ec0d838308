//! `sidus`, killed at each of its writes and commands in turn, and run again: the end is always the same.
//! Needs unshare(1), overlayfs in a user namespace, and strace: `cargo test --features server --test sidus_crash`.

mod machine;
mod published;

use machine::{survives_each, survives_everything, Machine};

fn bare(machine: &Machine) {
    machine.install_services();
}

#[test]
fn init() {
    survives_everything("init", bare, &["init", "--address", "10.13.20.13", "--subnet", "10.13.20.0/24"]);
}

#[test]
fn init_after_a_change() {
    let prepare = |machine: &Machine| {
        bare(machine);
        machine.succeeds(&["init", "--address", "10.13.20.13", "--subnet", "10.13.20.0/24"]);
        let text = machine.read("etc/sidus/sidus.toml");
        machine.put("etc/sidus/sidus.toml", &text.replace("# router = \"…\"", "router = \"10.13.20.1\""));
        machine.put("etc/sidus/nodes.d/n1.toml", "mac = \"52:54:00:0d:14:15\"\nip = \"10.13.20.21\"\n");
        machine.put("var/log/calls", "");
    };
    survives_everything("init-again", prepare, &["init"]);
}

#[test]
fn publish() {
    // Each time it waits for the disk, some three hundred and fifty calls long.
    survives_each(9, "publish", published::server, &["publish", "hpc"]);
}
