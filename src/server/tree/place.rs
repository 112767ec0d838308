//! Where something of a tree is for this machine. Links in a tree are meant for one whose root the tree is: `/var/run` that
//! leads to `/run` leads to the tree's, and never to the server's own.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use crate::server::paths::{look, within};

/// More links on one way are taken for a circle, as by the kernel (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// The path, as the machine whose root is `root` has it, of what has the path `inside` in the tree. Links above it are
/// followed, itself is not looked at. Folders that are missing will be where they would be made, also where a link leads to
/// one: whatever is written to the result, no link is on the way.
///
/// # Errors
/// Those of the file system.
pub fn place(root: &Path, tree: &Path, inside: &Path) -> io::Result<PathBuf> {
    if !fs::metadata(within(root, tree))?.is_dir() {
        return Err(Errno::NOTDIR.into());
    }
    // What is known, without links, and what is still to go, the next last.
    let mut known = PathBuf::new();
    let mut rest = Vec::new();
    add(&mut rest, inside);
    let mut links = 0_usize;
    while let Some(part) = rest.pop() {
        if part == ".." {
            // Above the root is the root.
            known.pop();
            continue;
        }
        known.push(part);
        let at = tree.join(&known);
        if rest.is_empty() || !look(root, &at)?.is_some_and(|found| found.is_symlink()) {
            continue;
        }
        links = links.saturating_add(1);
        if links > MAX_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = fs::read_link(within(root, &at))?;
        known.pop();
        if target.is_absolute() {
            known.clear();
        }
        add(&mut rest, &target);
    }
    Ok(tree.join(known))
}

/// Puts the parts of a path on top.
fn add(rest: &mut Vec<OsString>, path: &Path) {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    let mut parts: Vec<_> = parts.collect();
    parts.reverse();
    rest.append(&mut parts);
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn no_link_leads_out_of_a_tree() {
        let root = std::env::temp_dir().join(format!("sidus-place-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let tree = root.join("srv/t");
        for folder in ["run", "var", "usr/lib", "etc"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        for (target, link) in [
            ("/run", "var/run"),
            ("usr/lib", "lib"),
            ("../../../..", "etc/up"),
            ("nowhere", "etc/gone"),
            ("b", "a"),
            ("a", "b"),
        ] {
            symlink(target, tree.join(link)).unwrap();
        }
        // The machine has it, the tree has not.
        let outside = root.join("outside");
        fs::create_dir(&outside).unwrap();
        symlink(&outside, tree.join("var/out")).unwrap();
        symlink("out/more", tree.join("var/further")).unwrap();
        let in_tree = |path: &str| format!("/srv/t{}/{path}", outside.display());
        let (out, further) = (in_tree("x"), in_tree("more/y/x"));
        for (inside, place_is) in [
            ("/var/run/x", "/srv/t/run/x"),
            ("lib/firmware/a/b", "/srv/t/usr/lib/firmware/a/b"),
            ("/etc/up/etc/x", "/srv/t/etc/x"),
            ("/etc/x", "/srv/t/etc/x"),
            ("/etc/up", "/srv/t/etc/up"),
            ("/new/a/b", "/srv/t/new/a/b"),
            ("x", "/srv/t/x"),
            ("/etc/gone/x", "/srv/t/etc/nowhere/x"),
            ("/var/out/x", out.as_str()),
            ("/var/further/y/x", further.as_str()),
            ("/usr/lib/../../x", "/srv/t/x"),
        ] {
            assert_eq!(place(&root, Path::new("/srv/t"), Path::new(inside)).unwrap(), Path::new(place_is), "{inside}");
        }
        let error = |tree: &str, inside: &str| place(&root, Path::new(tree), Path::new(inside)).unwrap_err().kind();
        assert_eq!(error("/srv/none", "/x"), io::ErrorKind::NotFound);
        assert_eq!(error("/srv/t", "/a/x"), io::Error::from(Errno::LOOP).kind());
        fs::remove_dir_all(&root).unwrap();
    }
}
