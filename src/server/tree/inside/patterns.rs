//! What mkinitramfs itself looks for in `/` and `/etc`.
//!
//! Whoever lists a folder may take whatever is in it: what is new there can be in what the command makes. mkinitramfs lists
//! two in which much comes and goes, but for names that begin in a certain way: `/lib*` and `/etc/ld.so.conf*`. This is
//! found out, not known beforehand. That nobody else has listed the folder is seen by [`super::names`], which stops the shell
//! that opens it by its whole path, and by [`super::opened`], which has the processes that read it by whatever path. What
//! the shell can have looked for there is what its scripts say; Debian's name these two folders where they mean them. What
//! the tree's configuration adds to the scripts (initramfs.conf(5)) has no pattern and carries out no other file, or the
//! folder counts as listed.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use super::opened::Opens;
use super::seen::TOP;

/// How a shell opens them to find the names for a pattern, and what they are in the generation.
const FOLDERS: [(&str, &str); 2] = [("/", TOP), ("/etc", "etc")];
/// What the kernel makes of a script's path and its first line (execve(2)).
const COMMANDS: [&[u8]; 2] = [b"/bin/sh\0/usr/sbin/mkinitramfs\0", b"/bin/sh\0/sbin/mkinitramfs\0"];
/// Neither is longer, in bytes.
const MAX_COMMAND: u64 = 64;
/// What it is, and what it has of itself in other files.
const SCRIPTS: [&str; 3] = [
    "/usr/sbin/mkinitramfs",
    "/usr/share/initramfs-tools/hook-functions",
    "/usr/share/initramfs-tools/scripts/functions",
];
/// What it reads as a part of itself, and is not its own: files, and all that is in folders.
const CONFIGURATION: [&str; 5] = [
    "/conf/param.conf",
    "/etc/initramfs-tools/initramfs.conf",
    "/etc/initramfs-tools/conf.d",
    "/usr/share/initramfs-tools/conf.d",
    "/usr/share/initramfs-tools/conf-hooks.d",
];
/// No script is longer, in bytes.
const MAX_SCRIPT: u64 = 1 << 20;
/// So many are there, at most.
const MAX_SCRIPTS: usize = 100;

/// What is known of the processes that have opened these folders.
#[derive(Debug, Default)]
pub(super) struct Listings {
    /// Those of mkinitramfs's own shell, for each folder.
    own: BTreeMap<&'static str, BTreeSet<i32>>,
    /// Those that are something else, or have become it.
    others: BTreeSet<i32>,
}

impl Listings {
    /// A process opens something.
    pub(super) fn open(&mut self, pid: Pid, path: &Path) {
        let Some((_, folder)) = FOLDERS.into_iter().find(|(whole, _)| path == Path::new(whole)) else { return };
        let number = pid.as_raw_nonzero().get();
        if is_own_shell(pid) {
            self.own.entry(folder).or_default().insert(number);
        } else {
            self.others.insert(number);
        }
    }

    /// A process executes something: it will not be that shell any more.
    pub(super) fn execute(&mut self, pid: Pid) {
        if is_own_shell(pid) {
            self.others.insert(pid.as_raw_nonzero().get());
        }
    }

    /// Takes the folders that nobody else has listed from what was opened; instead, the beginnings of what was looked for
    /// there. The generation is `/`.
    pub(super) fn narrow(&self, opened: &mut Opens) -> BTreeSet<PathBuf> {
        let Ok(scripts) = scripts() else { return BTreeSet::new() };
        let mut all = BTreeSet::new();
        for (folder, own) in &self.own {
            let is_own = |pid: &i32| own.contains(pid) && !self.others.contains(pid);
            if opened.folders.get(Path::new(folder)).is_some_and(|by| by.iter().all(is_own)) {
                if let Some(found) = beginnings(folder, &scripts) {
                    all.extend(found);
                    opened.folders.remove(Path::new(folder));
                }
            }
        }
        all
    }
}

fn is_own_shell(pid: Pid) -> bool {
    let mut line = Vec::new();
    let file = File::open(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
    let read = file.and_then(|file| file.take(MAX_COMMAND).read_to_end(&mut line));
    read.is_ok() && COMMANDS.iter().any(|command| line.starts_with(command))
}

/// A part of what the shell has carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Configuration,
}

/// All that the shell can have carried out.
///
/// # Errors
/// Where it is not known.
fn scripts() -> io::Result<Vec<(Whose, Vec<u8>)>> {
    let mut scripts = Vec::new();
    for script in SCRIPTS.map(Path::new) {
        scripts.push((Whose::Own, text(script)?));
    }
    for path in CONFIGURATION.map(Path::new) {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => {
                for entry in fs::read_dir(path)? {
                    scripts.push((Whose::Configuration, text(&entry?.path())?));
                    if scripts.len() > MAX_SCRIPTS {
                        return Err(io::ErrorKind::InvalidData.into());
                    }
                }
            }
            Ok(_) => scripts.push((Whose::Configuration, text(path)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(scripts)
}

/// What a regular file has.
fn text(path: &Path) -> io::Result<Vec<u8>> {
    let found = fs::metadata(path)?;
    if !found.is_file() || found.len() > MAX_SCRIPT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    fs::read(path)
}

/// The beginnings of all that these scripts can look for in a folder by patterns, with the folder. `None` if that is not known.
fn beginnings(folder: &str, scripts: &[(Whose, Vec<u8>)]) -> Option<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for (whose, text) in scripts {
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii_start();
            if line.starts_with(b"#") {
                continue;
            }
            // What is quoted is taken for a pattern, too.
            let line: Vec<u8> = line.iter().copied().filter(|byte| !matches!(byte, b'"' | b'\'')).collect();
            if *whose == Whose::Configuration && (has_pattern(&line) || has_more(&line)) {
                return None;
            }
            for word in paths(&line) {
                found.extend(beginning(folder, word)?.map(<[u8]>::to_vec));
            }
        }
    }
    let folder = Path::new(if folder == TOP { "" } else { folder });
    // It was listed for something, and not for all.
    (!found.is_empty() && !found.contains(&b""[..]))
        .then(|| found.iter().map(|name| folder.join(OsStr::from_bytes(name))).collect())
}

/// What may be a path from `/` in a line of a script, each without that `/`.
fn paths(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..line.len()).filter_map(|at| {
        let before = at.checked_sub(1).and_then(|before| line.get(before));
        let is_within = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.}*?]%/@~\\$^!".contains(byte);
        let rest = line.get(at..)?.strip_prefix(b"/")?;
        (!before.is_some_and(is_within)).then(|| rest.split(|byte| b" \t;|&()<>".contains(byte)).next())?
    })
}

/// How a name begins that is looked for in the folder where a path, from `/`, is a pattern for names in it. `None` if that is
/// not known.
fn beginning<'a>(folder: &str, path: &'a [u8]) -> Option<Option<&'a [u8]>> {
    let mut parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    let Some(mut name) = parts.next() else { return Some(None) };
    if folder != TOP {
        let Some(next) = parts.next() else { return Some(None) };
        if name != folder.as_bytes() {
            let may_be_it = is_pattern(name) && folder.as_bytes().starts_with(plain(name));
            return (!may_be_it).then_some(None);
        }
        name = next;
    }
    Some(Some(plain(name)).filter(|_| is_pattern(name)))
}

/// How a name begins: what a variable has is not known, and what a backslash takes away neither.
fn plain(name: &[u8]) -> &[u8] {
    name.split(|byte| b"*?[$\\`".contains(byte)).next().unwrap_or_default()
}

fn is_pattern(name: &[u8]) -> bool {
    name.iter().any(|byte| b"*?[".contains(byte))
}

/// Whether a line may have a pattern anywhere: `[` by itself is test(1), and `$?` a status.
fn has_pattern(line: &[u8]) -> bool {
    line.iter().enumerate().any(|(at, byte)| {
        let before = at.checked_sub(1).and_then(|before| line.get(before));
        let after = at.checked_add(1).and_then(|after| line.get(after));
        match byte {
            b'*' => true,
            b'?' => before != Some(&b'$'),
            b'[' => after.is_some_and(|after| *after != b' '),
            _ => false,
        }
    })
}

/// Whether a line may have the shell carry out what is not there to be read.
fn has_more(line: &[u8]) -> bool {
    let mut words = line.split(|byte| b" \t;|&(){}`".contains(byte));
    words.any(|word| matches!(word, b"." | b"eval" | b"source"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(folder: &str, scripts: &[(Whose, &str)]) -> Option<Vec<String>> {
        let scripts: Vec<_> = scripts.iter().map(|(whose, text)| (*whose, text.as_bytes().to_vec())).collect();
        let found = beginnings(folder, &scripts)?;
        Some(found.iter().map(|path| path.to_str().unwrap().to_owned()).collect())
    }

    #[test]
    fn scripts_say_what_they_look_for() {
        for (text, top, etc) in [
            ("for d in /bin /lib* /sbin; do", Some(&["lib"][..]), None),
            ("cp -pPr /etc/ld.so.conf* \"$DESTDIR\"/etc/", None, Some(&["etc/ld.so.conf"][..])),
            ("a=/etc/x*; ls '/etc/'y?/z `/etc/z[!a]`", None, Some(&["etc/x", "etc/y", "etc/z"])),
            ("ls /etc/x* /etc/[!a] /lib* /*", None, None),
            ("ls ${x:-/etc/a*} ${x+/lib*}", Some(&["lib"]), Some(&["etc/a"])),
            ("ls //lib* /./usr* /etc//a* //etc/./b*", Some(&["lib", "usr"]), Some(&["etc/a", "etc/b"])),
            // What may be the folder.
            ("ls /etc/a* /e*/b* /lib*", Some(&["e", "lib"]), None),
            ("ls /etc/a* /?tc/b* /lib*", None, None),
            ("ls /etc/a*; sed -n -e '/^[^\\t]/d' /lib*/x", Some(&["^", "lib"]), Some(&["etc/a"])),
            // A folder there is not the folder.
            ("ls /etc/modprobe.d/*.conf /lib/modules/*", None, None),
            ("ls /etc/a$name* /etc/b`name`? /a\\${name}[b] /etc/name /$name", Some(&["a"]), Some(&["etc/a", "etc/b"])),
            ("ls /etc/a* /etc/$name* /a* /`name`*", None, None),
            // Other folders, and what is no path.
            ("ls \"${CONFDIR}\"/* $x/etc/* ${path%/*} *//etc/* [^/]*/x [!/]* # /lib*", Some(&["lib"]), None),
            ("# ls /etc/* /*", None, None),
            ("  # ls /etc/* /*", None, None),
            ("", None, None),
        ] {
            let owned = |expected: Option<&[&str]>| {
                expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>())
            };
            assert_eq!(found(TOP, &[(Whose::Own, text)]), owned(top), "{text}");
            assert_eq!(found("etc", &[(Whose::Own, text)]), owned(etc), "{text}");
        }
    }

    #[test]
    fn configuration_with_patterns_makes_it_unknown() {
        let own = (Whose::Own, "ls /lib*\n");
        for (text, is_known) in [
            ("MODULES=most\nCOMPRESS=zstd\n", true),
            ("# for all of /etc/*\n[ ! -e /etc/x ] || UMASK=0077; x=$?", true),
            ("for file in $folder/*; do :; done", false),
            ("ls $folder/x?", false),
            ("ls $folder/[ab]", false),
            (". /etc/more", false),
            ("true;. /etc/more", false),
            ("x=`. /etc/more`", false),
            ("eval $more", false),
            ("x=./more", true),
        ] {
            assert_eq!(found(TOP, &[own, (Whose::Configuration, text)]).is_some(), is_known, "{text}");
        }
    }
}
