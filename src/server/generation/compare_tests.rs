use super::*;
use std::os::unix::fs::{symlink, PermissionsExt};

struct Trees(PathBuf);

impl Trees {
    /// Two trees with the same in them, by links as generations have them.
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("sidus-compare-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let trees = Self(folder);
        for path in ["etc/motd", "etc/passwd", "usr/bin/ls"] {
            let (old, new) = (trees.old(path), trees.new_one(path));
            for path in [&old, &new] {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
            }
            fs::write(&old, path).unwrap();
            fs::hard_link(&old, &new).unwrap();
        }
        for side in [trees.old("bin"), trees.new_one("bin")] {
            symlink("usr/bin", side).unwrap();
        }
        trees
    }

    fn old(&self, path: &str) -> PathBuf {
        self.0.join("old").join(path)
    }

    fn new_one(&self, path: &str) -> PathBuf {
        self.0.join("new").join(path)
    }

    fn replace(&self, path: &str, text: &str) {
        fs::remove_file(self.new_one(path)).unwrap();
        fs::write(self.new_one(path), text).unwrap();
    }

    fn found(&self) -> String {
        describe(&compare(Some(&self.old("")), &self.new_one("")).unwrap().changes)
    }
}

impl Drop for Trees {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_differs_is_named() {
    let table: [(&str, fn(&Trees), &str); 11] = [
        ("nothing", |_| {}, ""),
        ("content", |trees| trees.replace("etc/motd", "other"), "~ /etc/motd\n"),
        ("content of the same length", |trees| trees.replace("etc/motd", "etc/moth"), "~ /etc/motd\n"),
        ("written again", |trees| trees.replace("etc/motd", "etc/motd"), ""),
        (
            "mode",
            |trees| {
                trees.replace("etc/motd", "etc/motd");
                fs::set_permissions(trees.new_one("etc/motd"), fs::Permissions::from_mode(0o600)).unwrap();
            },
            "~ /etc/motd\n",
        ),
        (
            "mode of a folder",
            |trees| fs::set_permissions(trees.new_one("etc"), fs::Permissions::from_mode(0o700)).unwrap(),
            "~ /etc\n",
        ),
        ("removed", |trees| fs::remove_file(trees.new_one("usr/bin/ls")).unwrap(), "- /usr/bin/ls\n"),
        (
            "a folder removed",
            |trees| fs::remove_dir_all(trees.new_one("usr")).unwrap(),
            "- /usr\n- /usr/bin\n- /usr/bin/ls\n",
        ),
        (
            "added",
            |trees| {
                fs::create_dir(trees.new_one("srv")).unwrap();
                fs::write(trees.new_one("srv/x"), "").unwrap();
            },
            "+ /srv\n+ /srv/x\n",
        ),
        (
            "a link in place of a folder",
            |trees| {
                fs::remove_dir_all(trees.new_one("usr")).unwrap();
                symlink("etc", trees.new_one("usr")).unwrap();
            },
            "~ /usr\n- /usr/bin\n- /usr/bin/ls\n",
        ),
        (
            "a link that leads elsewhere",
            |trees| {
                fs::remove_file(trees.new_one("bin")).unwrap();
                symlink("usr/sbin", trees.new_one("bin")).unwrap();
            },
            "~ /bin\n",
        ),
    ];
    for (number, (what, change, expected)) in table.into_iter().enumerate() {
        let trees = Trees::new(&number.to_string());
        change(&trees);
        assert_eq!(trees.found(), expected, "{what}");
    }
}

#[test]
fn what_differs_in_its_content_alone_is_told_apart() {
    let table: [(&str, fn(&Trees), How); 5] = [
        ("content", |trees| trees.replace("etc/motd", "other"), How::Content),
        ("content of the same length", |trees| trees.replace("etc/motd", "etc/moth"), How::Content),
        ("empty now", |trees| trees.replace("etc/motd", ""), How::Changed),
        (
            "mode as well",
            |trees| {
                trees.replace("etc/motd", "other");
                fs::set_permissions(trees.new_one("etc/motd"), fs::Permissions::from_mode(0o600)).unwrap();
            },
            How::Changed,
        ),
        (
            "a link in place of a file",
            |trees| {
                fs::remove_file(trees.new_one("etc/motd")).unwrap();
                symlink("passwd", trees.new_one("etc/motd")).unwrap();
            },
            How::Changed,
        ),
    ];
    for (what, change, how) in table {
        let trees = Trees::new("how");
        change(&trees);
        let found = compare(Some(&trees.old("")), &trees.new_one("")).unwrap().changes;
        assert_eq!(found, [Change { path: "etc/motd".into(), how }], "{what}");
    }
}

#[test]
fn what_is_shared_is_counted_once() {
    let trees = Trees::new("sizes");
    let block = fs::metadata(trees.old("etc/motd")).unwrap().blocks() * 512;
    fs::hard_link(trees.new_one("etc/motd"), trees.new_one("etc/motd.too")).unwrap();
    trees.replace("etc/passwd", "other");
    let shared = compare(Some(&trees.old("etc")), &trees.new_one("etc")).unwrap();
    assert_eq!((shared.size, shared.own), (2 * block, block));
    let alone = compare(None, &trees.new_one("etc")).unwrap();
    assert_eq!((alone.size, alone.own, alone.changes.len()), (2 * block, 2 * block, 3));
    let error = compare(None, &trees.new_one("none")).unwrap_err();
    assert!(error.to_string().contains("new/none: No such file"), "{error}");
}
