use super::*;
use crate::server::config::Settings;

fn config(tree: &str) -> Config {
    let text = format!(
        "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\ntftp = \"none\"\n\
         nfs = \"none\"\ntarget = \"none\"\n[tree]\n{tree}"
    );
    Config { settings: Settings::parse(&text).unwrap(), nodes: Vec::new() }
}

fn options() -> Options {
    Options {
        name: "hpc".parse().unwrap(),
        suite: None,
        mirror: None,
        components: None,
        include: Some(vec!["vim".parse().unwrap(), "nano".parse().unwrap()]),
        exclude: None,
        arch: None,
    }
}

fn facts() -> Facts {
    Facts {
        sidus: "/usr/sbin/sidus".to_owned(),
        program: Some(Program::Mmdebstrap),
        exists: false,
        made: None,
        release: Some("bookworm".to_owned()),
        apt:
            "Debian http://deb.example/debian/ bookworm main\nDebian http://deb.example/debian/ bookworm-updates main\n"
                .to_owned(),
        free: 20 << 30,
    }
}

fn shown(actions: &[Action]) -> Vec<String> {
    actions.iter().map(ToString::to_string).collect()
}

fn made(decided: &Decided) -> Made {
    let text = decided.commit.iter().find_map(|action| match action {
        Action::Write(write) => match &write.content {
            Content::Text(text) => Some(text),
            _ => None,
        },
        _ => None,
    });
    serde_json::from_str(text.unwrap()).unwrap()
}

const CONTAINED: &str =
    "run INITRD=No setpriv --pdeathsig KILL -- unshare --mount --ipc --uts --pid --fork --kill-child=KILL -- /usr/sbin/sidus inside --";

#[test]
fn a_tree_is_made_under_another_name() {
    let decided = decide(&config(""), &options(), &facts()).unwrap().unwrap();
    let run = format!(
        "{CONTAINED} mmdebstrap --mode=root --format=directory --variant=minbase --architectures=amd64 --include=nano,vim trixie \
         /srv/sidus/trees/.hpc.new 'deb http://deb.example/debian/ trixie main' 'deb http://deb.example/debian/ trixie-updates main'"
    );
    assert_eq!(
        shown(&decided.prepare),
        [
            "make folder /srv/sidus/trees (0700)",
            run.as_str(),
            "remove /srv/sidus/trees/.hpc.new/etc/hostname",
            "remove /srv/sidus/trees/.hpc.new/etc/resolv.conf",
        ]
    );
    assert_eq!(shown(&decided.undo), ["remove /srv/sidus/trees/.hpc.new"]);
    assert_eq!(
        shown(&decided.commit),
        [
            "make folder /var/lib/sidus/trees (0755)",
            "write /var/lib/sidus/trees/hpc.json (0644)",
            "rename /srv/sidus/trees/.hpc.new to /srv/sidus/trees/hpc"
        ]
    );
}

#[test]
fn debootstrap_makes_the_same() {
    let facts = Facts { program: Some(Program::Debootstrap), ..facts() };
    let config = config("suite = \"bookworm\"\ncomponents = [\"main\", \"non-free-firmware\"]\narch = \"amd64\"\n");
    let decided = decide(&config, &options(), &facts).unwrap().unwrap();
    let run = format!(
        "{CONTAINED} debootstrap --variant=minbase --arch=amd64 --components=main,non-free-firmware --include=nano,vim bookworm \
         /srv/sidus/trees/.hpc.new http://deb.example/debian/"
    );
    assert_eq!(
        shown(&decided.prepare)[1..3],
        [run, "write /srv/sidus/trees/.hpc.new/etc/apt/sources.list (0644)".to_owned()]
    );
}

#[test]
fn what_the_command_says_comes_before_the_configuration() {
    let config = config("suite = \"bookworm\"\nmirror = \"http://a.example/debian\"\nexclude = [\"nano\"]\n");
    let decided = decide(&config, &options(), &facts()).unwrap().unwrap();
    assert_eq!(made(&decided).packages, ["vim"]);
    assert_eq!(made(&decided).sources, ["deb http://a.example/debian bookworm main"]);
    let options = Options {
        suite: Some("sid".parse().unwrap()),
        mirror: Some("http://b.example/debian".parse().unwrap()),
        components: Some(vec!["main".parse().unwrap(), "contrib".parse().unwrap()]),
        include: None,
        exclude: Some(vec!["memtester".parse().unwrap()]),
        arch: Some(Arch::Amd64),
        ..options()
    };
    let made = made(&decide(&config, &options, &facts()).unwrap().unwrap());
    assert_eq!(made.sources, ["deb http://b.example/debian sid main contrib"]);
    let has = |package: &str| made.packages.iter().any(|one| one == package);
    assert!(has("linux-image-amd64") && has("nano") && !has("memtester"), "{made:?}");
}

/// Wherever it is said, and whether there is one already.
#[test]
fn what_cannot_boot_is_not_made() {
    let said = Options { arch: Some(Arch::I386), ..options() };
    let elsewhere = Facts { program: None, exists: true, ..facts() };
    for (config, options, facts) in [
        (config(""), &said, &facts()),
        (config("arch = \"i386\"\n"), &options(), &facts()),
        (config("arch = \"i386\"\n"), &options(), &elsewhere),
    ] {
        assert_eq!(
            decide(&config, options, facts).unwrap_err().to_string(),
            "a tree for i386 cannot be booted: the programs that sidus brings into each generation are for amd64, which no kernel for i386 \
             runs. Make one for amd64 (--arch, or tree.arch in sidus.toml): 32-bit programs run there, too, once `dpkg \
             --add-architecture i386` was run in it"
        );
    }
    let amd64 = Options { arch: Some(Arch::Amd64), ..options() };
    assert!(decide(&config("arch = \"i386\"\n"), &amd64, &facts()).unwrap().is_some());
}

#[test]
fn what_is_there_is_left_as_it_is() {
    let config = config("");
    let made = made(&decide(&config, &options(), &facts()).unwrap().unwrap());
    let there = |made| Facts { exists: true, made, ..facts() };
    assert_eq!(decide(&config, &options(), &there(Some(made.clone()))).unwrap(), None);
    let end = ": choose another name, or change it by `sidus tree install` and its like";
    for (made, how) in [
        (None, "which `sidus tree create` has not made"),
        (Some(Made { packages: Vec::new(), ..made }), "of trixie for amd64, made of other packages or sources"),
    ] {
        let error = decide(&config, &options(), &there(made)).unwrap_err().to_string();
        assert_eq!(error, format!("/srv/sidus/trees/hpc: there is such a tree already, {how}{end}"));
    }
}

#[test]
fn what_is_missing_is_named() {
    for (facts, expected) in [
        (
            Facts { program: None, ..facts() },
            "neither mmdebstrap nor debootstrap is installed: apt-get install mmdebstrap",
        ),
        (
            Facts { apt: String::new(), ..facts() },
            "this machine does not say where packages of Debian trixie come from: say it by --mirror, or tree.mirror in sidus.toml",
        ),
        (
            Facts { free: 100 << 20, ..facts() },
            "/srv/sidus/trees: 100 MiB are free where it is, and a tree with 2 packages asked for may need 448 MiB: make room, or \
             move that folder to another disk (folders.trees in sidus.toml)",
        ),
    ] {
        assert_eq!(decide(&config(""), &options(), &facts).unwrap_err().to_string(), expected);
    }
}

#[test]
fn lists_on_the_command_line_are_checked() {
    let list = |text: &str| Some(vec![text.parse().unwrap()]);
    for (options, expected) in [
        (
            Options { include: list("@x"), ..options() },
            "the command line: --include: @x: there is no such list of packages; @article is",
        ),
        (
            Options { exclude: list("@article"), ..options() },
            "the command line: --exclude: @article: packages alone can be left out, not a list",
        ),
    ] {
        assert_eq!(check(&options).unwrap_err().to_string(), expected);
    }
}
