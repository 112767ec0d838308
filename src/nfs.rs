//! A tree on an NFS server, mounted again as the one that runs is: nfs(5) has the options.

use std::fmt;
use std::os::fd::OwnedFd;

use crate::mount::{open_tree_of, MountError, MountOption};
use crate::mountinfo::Mount;

/// What is taken over from a mount. What the kernel tells beside these (`namlen=`, `mountport=`) it finds out anew.
const KEPT: [&str; 28] = [
    "acdirmax",
    "acdirmin",
    "acregmax",
    "acregmin",
    "addr",
    "clientaddr",
    "hard",
    "local_lock",
    "lookupcache",
    "minorversion",
    "noac",
    "noacl",
    "nocto",
    "nolock",
    "nordirplus",
    "noresvport",
    "nosharecache",
    "port",
    "proto",
    "retrans",
    "rsize",
    "sec",
    "soft",
    "softerr",
    "softreval",
    "timeo",
    "vers",
    "wsize",
];

/// What a mount has in place of its own options where only a look is wanted: nothing is remembered, and a server that is
/// away is an error after some seconds (`timeo` is in tenths).
const LOOK: [(&str, Option<&str>); 6] = [
    ("soft", None),
    ("noac", None),
    ("nosharecache", None),
    ("timeo", Some("50")),
    ("retrans", Some("2")),
    ("lookupcache", Some("none")),
];

/// A tree as NFS has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// `nfs` or `nfs4`.
    fs: &'static str,
    /// SERVER:PATH
    pub source: String,
    options: Vec<MountOption>,
}

impl Tree {
    /// That of a mount; `None` where that is no NFS.
    #[must_use]
    pub fn of(mount: &Mount) -> Option<Self> {
        let fs = ["nfs", "nfs4"].into_iter().find(|fs| *fs == mount.fs)?;
        let options = mount.super_options.split(',').filter_map(|option| {
            let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
            KEPT.into_iter().find(|kept| *kept == key).map(|key| (key, value.map(str::to_owned)))
        });
        Some(Self { fs, source: mount.source.clone(), options: options.collect() })
    }

    /// Another tree of the same server.
    #[must_use]
    pub fn at(&self, source: &str) -> Self {
        Self { source: source.to_owned(), ..self.clone() }
    }

    /// The same for a look: what is found is what the server has now.
    #[must_use]
    pub fn for_a_look(&self) -> Self {
        let replaced = |key: &str| key == "hard" || key.starts_with("ac") || LOOK.iter().any(|(own, _)| *own == key);
        let kept = self.options.iter().filter(|(key, _)| !replaced(key)).cloned();
        let options = kept.chain(LOOK.map(|(key, value)| (key, value.map(str::to_owned)))).collect();
        Self { options, ..self.clone() }
    }

    /// The type of its file system.
    #[must_use]
    pub const fn fs(&self) -> &'static str {
        self.fs
    }

    /// Mounts it read-only, and nowhere. It waits as long as its options say.
    ///
    /// # Errors
    /// [`MountError`]
    pub fn open(&self) -> Result<OwnedFd, MountError> {
        open_tree_of(self.fs, &self.source, &self.options)
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn mount(fs: &str, options: &str) -> Mount {
        Mount {
            at: PathBuf::from("/ro"),
            fs: fs.to_owned(),
            source: "10.13.20.13:/srv/sidus/debian/20261126-1".to_owned(),
            options: "ro,relatime".to_owned(),
            super_options: options.to_owned(),
        }
    }

    fn words(tree: &Tree) -> String {
        let word =
            |(key, value): &MountOption| value.as_ref().map_or((*key).to_owned(), |value| format!("{key}={value}"));
        tree.options.iter().map(word).collect::<Vec<_>>().join(",")
    }

    #[test]
    fn a_tree_is_mounted_as_the_one_that_runs() {
        let klibc = "ro,vers=3,rsize=8192,wsize=8192,namlen=255,acregmin=600,acdirmax=600,hard,nocto,nolock,noacl,proto=tcp,\
                     timeo=7,retrans=3,sec=sys,mountaddr=10.13.20.13,mountvers=3,mountport=0,local_lock=all,addr=10.13.20.13";
        let tree = Tree::of(&mount("nfs", klibc)).unwrap().at("10.13.20.13:/srv/sidus/debian/20261126-2");
        assert_eq!(
            words(&tree),
            "vers=3,rsize=8192,wsize=8192,acregmin=600,acdirmax=600,hard,nocto,nolock,noacl,proto=tcp,timeo=7,retrans=3,\
             sec=sys,local_lock=all,addr=10.13.20.13"
        );
        assert_eq!((tree.fs(), tree.to_string().as_str()), ("nfs", "10.13.20.13:/srv/sidus/debian/20261126-2"));
        assert_eq!(
            words(&tree.for_a_look()),
            "vers=3,rsize=8192,wsize=8192,nocto,nolock,noacl,proto=tcp,sec=sys,local_lock=all,addr=10.13.20.13,soft,noac,\
             nosharecache,timeo=50,retrans=2,lookupcache=none"
        );
        let newer = "rw,vers=4.2,rsize=1048576,soft,clientaddr=10.13.20.101,addr=10.13.20.13,unheard_of=1";
        let tree = Tree::of(&mount("nfs4", newer)).unwrap();
        assert_eq!(words(&tree), "vers=4.2,rsize=1048576,soft,clientaddr=10.13.20.101,addr=10.13.20.13");
        assert_eq!(words(&tree.for_a_look()).matches("soft").count(), 1);
        assert_eq!(Tree::of(&mount("tmpfs", "rw,size=5k")), None);
    }
}
