use std::os::unix::fs::symlink;

use super::super::action::Action;
use super::*;

struct Stage(PathBuf);

impl Stage {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("sidus-file-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc")).unwrap();
        Self(root)
    }

    fn put(&self, path: &str, text: &str) {
        let at = within(&self.0, Path::new(path));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(at, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(within(&self.0, Path::new(path))).unwrap()
    }

    /// All names, sorted.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                names.push(path.strip_prefix(&self.0).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() {
                    folders.push(path);
                }
            }
        }
        names.sort();
        names
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn of(action: Action) -> Write {
    match action {
        Action::Write(write) => write,
        other => panic!("{other}"),
    }
}

#[test]
fn what_a_person_wrote_is_never_overwritten() {
    let stage = Stage::new("foreign");
    let marked = of(Action::write_marked("/etc/x", "#", "new\n"));
    let new = of(Action::write_new("/etc/x", "new\n".to_owned()));
    let own = Write::new("/etc/x", Content::Text("new\n".to_owned()));
    let ours = super::super::action::marked("#", "old\n");
    let same = super::super::action::marked("#", "new\n");
    let table: [(&Write, &str, Result<bool, &str>); 8] = [
        (&marked, "old\n", Err("its first line has no \"Written by sidus\"; it is left as it is: move it away")),
        (&marked, "old\n# Written by sidus\n", Err("its first line has no")),
        (&marked, &ours, Ok(false)),
        (&marked, &same, Ok(true)),
        (&new, "old\n", Err("it is there already, and other than it would be made")),
        (&new, "new\n", Ok(true)),
        (&own, "old\n", Ok(false)),
        (&own, "new\n", Ok(true)),
    ];
    for (write, there, expected) in table {
        stage.put("/etc/x", there);
        match (is_written(&stage.0, write).map_err(|error| error.to_string()), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{write:?} over {there:?}"),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{got}\n{expected}"),
            (got, expected) => panic!("{write:?} over {there:?}: {got:?}, {expected:?}"),
        }
    }
    fs::remove_file(stage.0.join("etc/x")).unwrap();
    symlink("/dev/zero", stage.0.join("etc/x")).unwrap();
    assert!(is_written(&stage.0, &own).unwrap_err().to_string().contains("no regular file is there"));
}

#[test]
fn a_file_has_its_content_and_mode_and_nothing_is_left_over() {
    let stage = Stage::new("write");
    let path = Path::new("/etc/x");
    stage.put("/etc/.x.sidus-new", "left by a crash");
    let secret = Write::secret(path, Content::Bytes(vec![1, 2]));
    write(&stage.0, &secret, Lasts::AtOnce).unwrap();
    assert!(is_written(&stage.0, &secret).unwrap());
    assert_eq!(fs::metadata(stage.0.join("etc/x")).unwrap().mode() & 0o7777, 0o600);
    assert!(!format!("{secret:?}").contains("[1, 2]"), "{secret:?}");
    let copy = Write { mode: 0o644, ..Write::new("/etc/y", Content::CopyOf(path.to_owned())) };
    assert!(!is_written(&stage.0, &copy).unwrap());
    write(&stage.0, &copy, Lasts::AtOnce).unwrap();
    assert!(is_written(&stage.0, &copy).unwrap());
    let lost = Write::new("/etc/z", Content::CopyOf("/etc/nothing".into()));
    assert_eq!(
        write(&stage.0, &lost, Lasts::AtOnce).unwrap_err().to_string(),
        "cannot write /etc/z: /etc/nothing: No such file or directory (os error 2)"
    );
    assert_eq!(stage.names(), ["etc", "etc/x", "etc/y"]);
}

#[test]
fn long_files_are_compared_to_their_end() {
    let stage = Stage::new("long");
    let text = "0123456789".repeat(5000);
    for (there, same) in [
        (text.clone(), true),
        (text.clone() + "x", false),
        (text.replacen("9", "8", 1), false),
        (text[1..].to_owned(), false),
    ] {
        stage.put("/etc/x", &there);
        assert_eq!(is_written(&stage.0, &Write::new("/etc/x", Content::Text(text.clone()))).unwrap(), same);
    }
}

#[test]
fn folders_are_made_with_those_above() {
    let stage = Stage::new("folders");
    let private = MakeFolder { path: "/srv/a/b".into(), mode: 0o700, owner: None, exact: true };
    make_folder(&stage.0, &private, Lasts::AtOnce).unwrap();
    assert!(is_made(&stage.0, &private).unwrap());
    assert_eq!(fs::metadata(stage.0.join("srv/a")).unwrap().mode() & 0o777, 0o755);
    let looser = MakeFolder { mode: 0o755, exact: false, ..private.clone() };
    assert!(is_made(&stage.0, &looser).unwrap(), "one that is there is left as it is");
    stage.put("/etc/x", "");
    let foreign = MakeFolder { path: "/etc/x".into(), ..private };
    assert!(is_made(&stage.0, &foreign).unwrap_err().to_string().contains("it is no folder"));
}

#[test]
fn links_are_switched() {
    let stage = Stage::new("links");
    let path = Path::new("/etc/current");
    for target in ["a", "b"] {
        assert!(!is_linked(&stage.0, path, Path::new(target)).unwrap());
        link(&stage.0, path, Path::new(target), Lasts::AtOnce).unwrap();
        assert!(is_linked(&stage.0, path, Path::new(target)).unwrap());
    }
    stage.put("/etc/file", "");
    assert!(is_linked(&stage.0, Path::new("/etc/file"), Path::new("a"))
        .unwrap_err()
        .to_string()
        .contains("it is no link"));
    assert_eq!(stage.names(), ["etc", "etc/current", "etc/file"]);
}

#[test]
fn only_what_is_ours_is_removed() {
    let stage = Stage::new("remove");
    stage.put("/etc/theirs", "text\n");
    stage.put("/etc/ours", &super::super::action::marked("#", ""));
    stage.put("/srv/gens/a/deep/file", "");
    stage.put("/srv/gens/.b.sidus-removed/file", "left by a crash");
    let inside = |folder: &str| Proof::Inside(folder.into());
    for (path, proof, expected) in [
        ("/etc/theirs", Proof::Marked, Err("it is not of sidus")),
        ("/srv/gens", Proof::Marked, Err("it is not of sidus")),
        ("/etc/nothing", Proof::Marked, Ok(true)),
        ("/etc/ours", Proof::Marked, Ok(false)),
        ("/srv/gens", inside("/srv/gens"), Err("it is not in /srv/gens")),
        ("/srv/gens/../../etc", inside("/srv/gens"), Err("it is not in /srv/gens")),
        ("/srv/gens2", inside("/srv/gens"), Err("it is not in /srv/gens")),
        ("/srv/gens/a", inside("/srv/gens"), Ok(false)),
        ("/srv/gens/b", inside("/srv/gens"), Ok(false)),
        ("/srv/gens/c", inside("/srv/gens"), Ok(true)),
    ] {
        match (is_removed(&stage.0, Path::new(path), &proof).map_err(|error| error.to_string()), expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected, "{path}"),
            (Err(got), Err(expected)) => assert!(got.contains(expected), "{path}: {got}"),
            (got, expected) => panic!("{path}: {got:?}, {expected:?}"),
        }
    }
    for path in ["/etc/ours", "/srv/gens/a", "/srv/gens/b"] {
        remove(&stage.0, Path::new(path), Lasts::AtOnce).unwrap();
    }
    assert_eq!(stage.names(), ["etc", "etc/theirs", "srv", "srv/gens"]);
}

#[test]
fn nothing_takes_a_name_that_is_taken() {
    let stage = Stage::new("rename");
    stage.put("/srv/a/file", "");
    let (a, b) = (Path::new("/srv/a"), Path::new("/srv/b"));
    assert!(!is_renamed(&stage.0, a, b).unwrap());
    rename(&stage.0, a, b).unwrap();
    assert!(is_renamed(&stage.0, a, b).unwrap());
    assert_eq!(stage.read("/srv/b/file"), "");
    stage.put("/srv/a/file", "");
    assert!(is_renamed(&stage.0, a, b)
        .unwrap_err()
        .to_string()
        .contains("/srv/a should get that name, but there is one"));
    assert!(rename(&stage.0, a, b).unwrap_err().to_string().starts_with("cannot rename /srv/a: "));
}
