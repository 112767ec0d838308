//! `sidus check` and DHCP servers: real ones, in network namespaces of their own.
//! Needs unshare(1), ip(8) and dnsmasq(8); what is missing is said loudly: `cargo test --features server --test sidus_dhcp`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // A test may fail by a panic.

mod machine;

use std::process::Command;
use std::time::{Duration, Instant};

use machine::{said, Machine};

/// Makes the nodes' network with the server's DHCP server, and beyond the cable another machine, with one of its own where
/// `$2` is `yes`; then runs what follows. The logs are in `$1`.
const NETWORK: &str = r#"
set -e
logs=$1 second=$2
shift 2
serve='exec dnsmasq --no-daemon --conf-file=/dev/null --port=0 --bind-interfaces --dhcp-leasefile=/dev/null --pid-file='
ip link add nodes type veth peer name far
ip addr add 10.13.20.13/24 dev nodes
ip link set nodes up
sh -c "$serve --interface=nodes --dhcp-range=10.13.20.200,10.13.20.210" 2>"$logs/own" &
unshare --net sh -c '
	while ! ip link show far; do sleep 0.05; done >/dev/null 2>&1
	ip addr add 10.13.20.66/24 dev far
	ip link set far up
	[ "$2" = yes ] || exec sleep 30
	eval "$1 --interface=far --dhcp-range=10.13.20.150,10.13.20.160"
' sh "$serve" "$second" 2>"$logs/other" &
# When it has one of its own.
while [ "$(readlink /proc/$!/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
ip link set far netns $!
for log in own other; do
	[ "$log$second" = otherno ] || while ! grep -q 'DHCP, IP range' "$logs/$log"; do sleep 0.05; done
done
"$@"
"#;

fn check(name: &str, second: &str, more: &[&str]) -> (String, Duration) {
    let machine = Machine::new(&format!("dhcp-{name}"));
    machine.put(
        "etc/sidus/sidus.toml",
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"dnsmasq\"\n\
         tftp = \"none\"\nnfs = \"none\"\ntarget = \"none\"\n",
    );
    let logs = machine.root().join("var/log");
    std::fs::create_dir_all(&logs).unwrap();
    let wrapper =
        ["timeout", "60", "unshare", "--net", "--", "sh", "-c", NETWORK, "sh", logs.to_str().unwrap(), second];
    let started = Instant::now();
    let said = said(&machine.sidus_by(&wrapper, &[&["check"], more].concat()));
    (said, started.elapsed())
}

#[test]
fn another_server_in_the_nodes_network_is_found() {
    if !["ip", "dnsmasq"].iter().all(|program| Command::new(program).arg("--help").output().is_ok()) {
        println!("NOT TESTED: there is no ip(8) or no dnsmasq(8) in PATH");
        return;
    }
    std::thread::scope(|scope| {
        let alone = scope.spawn(|| check("alone", "no", &[]).0);
        let patient = scope.spawn(|| check("patient", "yes", &["--patient"]).0);
        // It looks for three seconds whether anybody has the address; what needs none is answered at once.
        let (text, took) = check("second", "yes", &[]);
        println!("asking, it took {took:?} with all that stands around it");
        assert_eq!(text.matches("answers DHCP").count(), 1, "{text}");
        let (before, after) = text.split_once(" answers DHCP in 10.13.20.0/24 as well: a node obeys").unwrap();
        assert!(before.contains("\n10.13.20.66 (") && after.contains("--no-dhcp\n"), "{text}");
        let text = patient.join().unwrap();
        assert_eq!(text.matches("answers DHCP").count(), 1, "{text}");
        let (before, after) = text.split_once(" answers DHCP in 10.13.20.0/24 as well, and offers 10.13.20.1").unwrap();
        assert!(before.contains("\n10.13.20.66 (") && after.contains("--no-dhcp\n"), "{text}");
        let text = alone.join().unwrap();
        assert!(!text.contains("DHCP in") && !text.contains("not looked for"), "{text}");
    });
    let (text, took) = check("not-asked", "yes", &["--no-dhcp"]);
    assert!(!text.contains("DHCP in") && !text.contains("not looked for"), "{text}");
    println!("without asking, it took {took:?}");
    let machine = Machine::new("dhcp-none");
    machine.put(
        "etc/sidus/sidus.toml",
        "[server]\naddress = \"192.0.2.13\"\nsubnet = \"192.0.2.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
         nfs = \"none\"\ntarget = \"none\"\n",
    );
    let text = said(&machine.sidus(&["check"]));
    let note = "note: other DHCP servers are not looked for: no interface of this machine has 192.0.2.13\n";
    assert!(text.contains(note), "{text}");
}
