//! Lists of packages that have a name, so that a configuration can have all of one, and more or less than it.

use super::values::Include;

/// What the article installs from the very beginning: "a set of tools we deem necessary (such as the kernel, some firmware
/// and auditing tools)". It does not print its list. What a diskless node cannot do without comes first.
const ARTICLE: [&str; 38] = [
    "linux-image-amd64",
    "busybox",
    "initramfs-tools",
    "kmod",
    "login",
    "nfs-common",
    "open-iscsi",
    "passwd",
    "systemd-sysv",
    "udev",
    "zstd",
    // A session like that of a machine with a disk.
    "apt-utils",
    "ca-certificates",
    "console-setup",
    "dbus",
    "ifupdown",
    "iproute2",
    "iputils-ping",
    "keyboard-configuration",
    "less",
    "libpam-systemd",
    "locales",
    "nano",
    "openssh-server",
    "procps",
    "psmisc",
    "systemd-timesyncd",
    // Firmware, and looking at the hardware.
    "dmidecode",
    "ethtool",
    "firmware-linux-free",
    "hdparm",
    "lshw",
    "memtester",
    "nvme-cli",
    "pciutils",
    "smartmontools",
    "stress-ng",
    "usbutils",
];

/// The names of the lists.
const LISTS: [&str; 1] = ["@article"];

/// The packages that these mean, sorted, without what is left out.
#[must_use]
pub fn expand(include: &[Include], exclude: &[Include]) -> Vec<String> {
    let mut packages: Vec<String> = Vec::new();
    for one in include {
        if one.as_str() == "@article" {
            packages.extend(ARTICLE.map(str::to_owned));
        } else {
            packages.push(one.as_str().to_owned());
        }
    }
    packages.retain(|package| !exclude.iter().any(|left_out| left_out.as_str() == package));
    packages.sort();
    packages.dedup();
    packages
}

/// The first of these that means a list which there is not.
#[must_use]
pub fn unknown(include: &[Include]) -> Option<&Include> {
    include.iter().find(|one| one.as_str().starts_with('@') && !LISTS.contains(&one.as_str()))
}

/// The lists, for an error.
#[must_use]
pub fn lists() -> String {
    LISTS.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_become_packages() {
        let of = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Include>>();
        assert_eq!(expand(&of(&["vim", "gcc", "vim"]), &of(&["gcc"])), ["vim"]);
        let all = expand(&of(&["@article", "vim"]), &of(&["nano"]));
        for package in ["linux-image-amd64", "nfs-common", "open-iscsi", "vim"] {
            assert!(all.iter().any(|one| one == package), "{package}");
        }
        assert_eq!(all.len(), ARTICLE.len());
        assert!(ARTICLE.iter().all(|package| package.parse::<Include>().is_ok()));
        assert_eq!(unknown(&of(&["@article", "@x", "y"])).map(Include::as_str), Some("@x"));
    }
}
