//! How `./qemu/lab` installs what it misses: apt and dpkg with a machine and a mirror that are folders.
//! Needs unshare(1), apt-get(8), dpkg-deb(1): `cargo test --test lab_packages`.
#![allow(clippy::unwrap_used)] // A test may fail by a panic.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Installs what is there at first and runs the lab, on a /usr/sbin of its own: the lab keeps services from starting by a file
/// that it puts there for as long as it installs. Nothing of this machine's settings for dpkg is obeyed, its log among them.
const RUN: &str = "
    PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
    mount --bind /usr/sbin real
    mount -t tmpfs sbin /usr/sbin
    ln -s \"$PWD\"/real/* /usr/sbin/
    rm -f /usr/sbin/policy-rc.d
    mount -t tmpfs dpkg /etc/dpkg
    [ -z \"$(ls installed)\" ] || dpkg -i installed/*.deb >/dev/null
    status=0
    project/qemu/lab || status=$?
    [ ! -e /usr/sbin/policy-rc.d ] || echo 'services do not start any more'
    ls tmp
    exit $status";

/// What apt.conf(5) says besides where all is. The machine's own wishes must not count for the lab.
const APT_CONF: &str = "\
APT::Sandbox::User \"root\";
APT::Get::Purge \"true\";
DPkg::Pre-Invoke { \"test -x /usr/sbin/policy-rc.d\"; };
";

/// A package that does not go with versions of `lab-system` before 2.
const PICKY: &str = "Breaks: lab-system (<< 2)\n";

/// What is said where `lab-utils` is there in a version that is [`PICKY`], and gives way.
const SWAPPED: &str = "Installing what the lab misses: lab-system\n\
                       apt removes these for it; they come back in Debian's version:\nlab-utils\n\
                       Installing what the lab misses: lab-utils\n";

/// What there is on it; without most of these apt says more than it would on a Debian.
const FOLDERS: [&str; 9] = [
    "real",
    "tmp",
    "installed",
    "mirror",
    "etc/apt/apt.conf.d",
    "etc/apt/preferences.d",
    "var/cache/apt/archives/partial",
    "var/lib/apt/lists/partial",
    "var/log/apt",
];

struct Machine(PathBuf);

impl Machine {
    /// One where nothing is installed, with a lab that needs `packages`, and a mirror that has them in version 1.
    fn new(name: &str, packages: &[&str]) -> Self {
        Self::with(name, &packages.iter().map(|package| (*package, "")).collect::<Vec<_>>())
    }

    /// The same, with what else the packages say of themselves.
    fn with(name: &str, packages: &[(&str, &str)]) -> Self {
        let machine = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lab-packages-{name}")));
        let _ = fs::remove_dir_all(&machine.0);
        for folder in FOLDERS {
            fs::create_dir_all(machine.0.join(folder)).unwrap();
        }
        machine.put("var/lib/dpkg/status", "");
        let mut index = String::new();
        for (package, more) in packages {
            index += &machine.package("mirror", package, "1", more);
        }
        machine.put("mirror/Packages", &index);
        let at = machine.0.display();
        machine.put("etc/apt/sources.list", &format!("deb [trusted=yes] file:{at}/mirror ./\n"));
        machine
            .put("apt.conf", &format!("Dir \"{at}\";\nDir::State::status \"{at}/var/lib/dpkg/status\";\n{APT_CONF}"));
        let list: String = packages.iter().map(|(package, _)| format!("{package}   # a reason\n")).collect();
        machine.put("project/qemu/packages", &format!("# What the lab needs\n{list}"));
        machine.put(
            "project/Cargo.toml",
            "[package]\nname = \"sidus-lab\"\nedition = \"2021\"\n[[bin]]\nname = \"lab\"\npath = \"lab.rs\"\n[workspace]\n",
        );
        machine.put("project/lab.rs", "fn main() { println!(\"the lab runs\"); }\n");
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("qemu/lab"), machine.0.join("project/qemu/lab")).unwrap();
        machine
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes a package without files. Returns what an index says of it.
    fn package(&self, folder: &str, name: &str, version: &str, more: &str) -> String {
        let control = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: the lab\n{more}Description: for a test\n"
        );
        self.put("made/DEBIAN/control", &control);
        fs::set_permissions(self.0.join("made/DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
        let deb = self.0.join(format!("{folder}/{name}.deb"));
        let made = Command::new("dpkg-deb")
            .args(["--build", "--root-owner-group"])
            .arg(self.0.join("made"))
            .arg(&deb)
            .output();
        let made = made.unwrap();
        assert!(made.status.success(), "{made:?}");
        let sum = String::from_utf8(Command::new("sha256sum").arg(&deb).output().unwrap().stdout).unwrap();
        let sum = sum.split_whitespace().next().unwrap();
        let size = fs::metadata(&deb).unwrap().len();
        format!("{control}Filename: ./{name}.deb\nSize: {size}\nSHA256: {sum}\n\n")
    }

    fn installs(&self, name: &str, version: &str, more: &str) {
        self.package("installed", name, version, more);
    }

    /// Runs the lab. What it prints, with its status.
    fn lab(&self) -> (String, Option<i32>) {
        let Output { status, stdout, stderr } = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-euc", RUN])
            .current_dir(&self.0)
            .env("APT_CONFIG", self.0.join("apt.conf"))
            .env("DPKG_ROOT", &self.0)
            .env("DPKG_ADMINDIR", self.0.join("var/lib/dpkg"))
            .env("CARGO_TARGET_DIR", self.0.join("target"))
            .env("CARGO_TERM_QUIET", "true")
            .env_remove("http_proxy")
            .env("TMPDIR", self.0.join("tmp"))
            .output()
            .unwrap();
        (String::from_utf8(stderr).unwrap() + &String::from_utf8(stdout).unwrap(), status.code())
    }

    /// What is installed.
    fn installed(&self) -> String {
        let query = Command::new("dpkg-query")
            .args(["-W", "-f", "${Package} ${Version} ${db:Status-Status}\n"])
            .env("DPKG_ADMINDIR", self.0.join("var/lib/dpkg"))
            .output()
            .unwrap();
        String::from_utf8(query.stdout).unwrap()
    }
}

#[test]
fn a_package_of_the_list_that_apt_removes_for_another_comes_back() {
    let machine = Machine::new("back", &["lab-system", "lab-utils"]);
    machine.installs("lab-utils", "2", PICKY);
    assert_eq!(machine.lab(), (format!("{SWAPPED}the lab runs\n"), Some(0)));
    assert_eq!(machine.installed(), "lab-system 1 installed\nlab-utils 1 installed\n");
}

#[test]
fn what_goes_with_no_other_on_the_list_is_told() {
    let machine = Machine::with("never", &[("lab-system", ""), ("lab-utils", PICKY)]);
    machine.installs("lab-utils", "2", PICKY);
    let never = "apt removes these for it; they come back in Debian's version:\nlab-system\n\
                 apt removes for others what the lab needs as well: lab-system\n";
    assert_eq!(machine.lab(), (format!("{SWAPPED}{never}"), Some(1)));
}

/// For apt-get(8) that is no error when it updates; the one that follows from it says nothing of the mirror.
#[test]
fn a_mirror_that_does_not_answer_is_told() {
    let machine = Machine::new("silent", &["lab-system"]);
    machine.put("etc/apt/sources.list", "deb [trusted=yes] http://127.0.0.1:1/mirror ./\n");
    let (said, status) = machine.lab();
    assert!(
        said.contains("http://127.0.0.1:1/mirror/./InRelease  Could not connect to 127.0.0.1:1 (127.0.0.1)"),
        "{said}"
    );
    assert!(said.ends_with("E: Unable to locate package lab-system\n"), "{said}");
    assert_eq!(status, Some(1));
}

#[test]
fn no_package_is_removed_that_is_not_on_the_list() {
    let machine = Machine::new("others", &["lab-system", "lab-utils"]);
    machine.installs("lab", "2", PICKY);
    machine.installs("lab-utils", "2", PICKY);
    let (said, status) = machine.lab();
    assert_eq!(
        said,
        "Installing what the lab misses: lab-system\n\
         apt would remove these, which do not go with them:\nlab\n\
         If they may go, remove them, and try again.\n"
    );
    assert_eq!(status, Some(1));
    assert_eq!(machine.installed(), "lab 2 installed\nlab-utils 2 installed\n");
}
