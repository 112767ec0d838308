//! The man pages have what there is.

use clap::CommandFactory;

use super::cli::Arguments;
use super::config::{Config, Node, NodeFile, Settings};

const CONFIGURATION: &str = include_str!("../../man/sidus.toml.5");
const PROGRAM: &str = include_str!("../../man/sidus.8");

/// A configuration that leaves nothing out.
fn whole() -> Config {
    let settings = "[server]\naddress = \"10.0.0.1\"\nsubnet = \"10.0.0.0/24\"\nportal = \"10.0.0.2\"\n\
        [services]\ndhcp = \"none\"\ntftp = \"none\"\nnfs = \"none\"\ntarget = \"lio\"\n\
        [dhcp]\nrouter = \"10.0.0.3\"\nnameservers = [\"10.0.0.3\"]\npool = [\"10.0.0.8\", \"10.0.0.9\"]\n\
        [disks]\nvolume_group = \"vg0\"\n[tree]\nmirror = \"http://x/\"\n[node]\ntree = \"t\"\ncmdline = \"quiet\"\n";
    let node =
        "mac = \"52:54:00:00:00:01\"\nip = \"10.0.0.7\"\ntree = \"t\"\npersistent = \"1G\"\nvolume_group = \"vg0\"\ncmdline = \"quiet\"\n";
    let file: NodeFile = toml::from_str(node).unwrap();
    Config { settings: Settings::parse(settings).unwrap(), nodes: vec![Node { name: "n".parse().unwrap(), file }] }
}

#[test]
fn each_key_of_the_configuration_is_documented() {
    let json = serde_json::to_value(whole()).unwrap();
    let sections = json.as_object().unwrap();
    let mut keys = 0;
    for (section, values) in sections {
        let (title, values) = match values {
            serde_json::Value::Array(nodes) => ("NODES".to_owned(), nodes.first().unwrap()),
            values => (format!("[{section}]"), values),
        };
        let (_, text) = CONFIGURATION.split_once(&format!("\n.SH \"{title}\"\n")).unwrap_or_else(|| panic!("{title}"));
        let text = text.split("\n.SH ").next().unwrap();
        for (key, value) in values.as_object().unwrap() {
            assert!(!value.is_null(), "{title} {key} is left out of this test's configuration");
            assert!(key == "name" || text.contains(&format!(".TP\n.B {key}\n")), "{title} {key}");
            keys += 1;
        }
    }
    assert!(keys > 25, "{keys}");
}

#[test]
fn each_command_and_option_is_documented() {
    let command = Arguments::command();
    command.clone().debug_assert();
    let options = |of: &clap::Command| {
        of.get_arguments().filter_map(|option| option.get_long().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut names = options(&command);
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let has_inner = verb.has_subcommands();
        assert!(has_inner || PROGRAM.contains(&format!("\n.B sidus {}\n", verb.get_name())), "{}", verb.get_name());
        names.extend(options(verb));
        for inner in verb.get_subcommands() {
            let whole = format!("{} {}", verb.get_name(), inner.get_name());
            assert!(PROGRAM.contains(&format!("\n.B sidus {whole}\n")), "{whole}");
            assert!(PROGRAM.contains(&format!("\n.B {whole}\n")), "{whole}");
            names.extend(options(inner));
        }
    }
    for name in names {
        assert!(PROGRAM.replace("\\-", "-").contains(&format!("--{name}")), "--{name}");
    }
}
