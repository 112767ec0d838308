//! Where a tree's packages come from: where this machine's do, but of the tree's release; or one mirror.

use crate::server::config::values::{Mirror, Word};

/// How apt-get(8), `indextargets`, is asked for this machine's sources: a line each, with who makes it, address,
/// suite and component.
pub(super) const ASK: [&str; 4] =
    ["indextargets", "--format", "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"];

/// What a suite's name may have after that of the release.
const PARTS: [&str; 3] = ["", "-updates", "-security"];

/// The release that this machine runs, if it is a Debian: os-release(5).
pub(super) fn release(os_release: &str) -> Option<String> {
    let value = |key: &str| {
        os_release
            .lines()
            .find_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.trim_matches('"').to_owned()))
    };
    value("ID").filter(|id| id == "debian").and_then(|_| value("VERSION_CODENAME"))
}

/// Lines for sources.list(5). Without a mirror, those of the machine: of `release`, as `apt` lists them, made those of
/// `suite`. None where the machine has none.
pub(super) fn lines(
    mirror: Option<&Mirror>,
    machine: (Option<&str>, &str),
    suite: &Word,
    components: &[Word],
) -> Vec<String> {
    let components: Vec<_> = components.iter().map(Word::as_str).collect();
    let line = |uri: &str, suite: &str| format!("deb {uri} {suite} {}", components.join(" "));
    if let Some(mirror) = mirror {
        return vec![line(mirror.as_str(), suite.as_str())];
    }
    let (release, apt) = machine;
    let mut lines = Vec::new();
    for source in apt.lines() {
        let ["Debian", uri, its_suite, "main"] = source.split(' ').collect::<Vec<_>>()[..] else { continue };
        let names = release.into_iter().chain(["stable", "oldstable", "testing"]);
        let part = names.filter_map(|name| its_suite.strip_prefix(name)).find(|part| PARTS.contains(part));
        // Unstable has nothing but itself.
        let is_rolling = ["sid", "unstable"].contains(&suite.as_str());
        if let Some(part) = part.filter(|part| !is_rolling || part.is_empty()) {
            lines.push(line(uri, &format!("{suite}{part}")));
        }
    }
    lines.sort_by_key(|line| (line.contains("-updates "), line.contains("-security "), line.clone()));
    lines.dedup();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const APT: &str = "Debian http://deb.example/debian/ bookworm main\nDebian http://deb.example/debian/ bookworm non-free\n\
        Debian http://deb.example/debian-security/ bookworm-security main\n\
        Debian http://deb.example/debian/ bookworm-updates main\nDebian http://deb.example/debian/ bookworm-backports main\n\
        Some One https://packages.example/ bookworm main\nSomeone https://packages.example/ bookworm main\n\
        Debian http://deb.example/debian/ bookworm main\nDebian http://other.example/ focal main\n";

    #[test]
    fn a_tree_has_the_machines_sources_of_its_own_release() {
        let word = |text: &str| text.parse::<Word>().unwrap();
        let (main, mirror) = ([word("main"), word("contrib")], "http://m.example/debian".parse().unwrap());
        let table: [(Option<&Mirror>, &str, &str, &[&str]); 5] = [
            (
                None,
                APT,
                "trixie",
                &[
                    "deb http://deb.example/debian/ trixie main contrib",
                    "deb http://deb.example/debian-security/ trixie-security main contrib",
                    "deb http://deb.example/debian/ trixie-updates main contrib",
                ],
            ),
            (None, APT, "sid", &["deb http://deb.example/debian/ sid main contrib"]),
            (None, "Debian http://x/ stable main\n", "trixie", &["deb http://x/ trixie main contrib"]),
            (Some(&mirror), APT, "trixie", &["deb http://m.example/debian trixie main contrib"]),
            (None, "", "trixie", &[]),
        ];
        for (mirror, apt, suite, expected) in table {
            assert_eq!(lines(mirror, (Some("bookworm"), apt), &word(suite), &main), expected, "{suite} {apt}");
        }
    }

    #[test]
    fn the_machine_tells_its_release() {
        for (text, release_is) in [
            ("PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=bookworm\n", Some("bookworm")),
            ("ID=ubuntu\nVERSION_CODENAME=noble\nID_LIKE=debian\n", None),
            ("ID=debian\n", None),
            ("", None),
        ] {
            assert_eq!(release(text).as_deref(), release_is, "{text}");
        }
    }
}
