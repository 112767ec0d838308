use super::work::Work;
use super::*;

#[test]
fn work_in_a_tree_is_commands_in_namespaces() {
    let contained =
        "setpriv --pdeathsig KILL -- unshare --mount --ipc --uts --pid --fork --kill-child=KILL -- /usr/sbin/sidus \
                     inside --tree=/srv/t --";
    let apt = format!(
        "DEBIAN_FRONTEND=noninteractive INITRD=No {contained} apt-get --yes --option=Dpkg::Options::=--force-confdef \
         --option=Dpkg::Options::=--force-confold --quiet --option=Dpkg::Use-Pty=0"
    );
    let finish = format!(
        "DEBIAN_FRONTEND=noninteractive INITRD=No {contained} dpkg --force-confdef --force-confold --configure --pending"
    );
    let packages = || vec!["vim".parse().unwrap(), "libc6:i386=2.36-9".parse().unwrap()];
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    for (work, commands) in [
        (Work::Command(words(&["ls", "-l", "a b"])), vec![format!("{contained} ls -l 'a b'")]),
        (
            Work::Install(packages()),
            vec![finish.clone(), format!("{apt} update"), format!("{apt} install -- vim libc6:i386=2.36-9")],
        ),
        (Work::Upgrade, vec![finish.clone(), format!("{apt} update"), format!("{apt} upgrade --with-new-pkgs")]),
        (Work::Purge(packages()), vec![finish.clone(), format!("{apt} purge -- vim libc6:i386=2.36-9")]),
    ] {
        let runs = work.runs("/usr/sbin/sidus", &"hpc".parse().unwrap(), Path::new("/srv/t"));
        assert_eq!(runs.iter().map(ToString::to_string).collect::<Vec<_>>(), commands, "{work:?}");
    }
}

#[test]
fn packages_are_words_that_are_no_options() {
    for good in
        ["vim", "g++", "libc6:i386", "slurmd=22.05.8-4", "vim/trixie-backports", "science-*", "^linux-.*", "nano-"]
    {
        assert!(good.parse::<Package>().is_ok(), "{good}");
    }
    for bad in ["", "-y", "--purge", "a b", "a;b", "vim\n"] {
        let error = bad.parse::<Package>().unwrap_err().to_string();
        assert_eq!(error, format!("{bad:?} is not a package; a name is, as in slurmd or slurmd=22.05.8-4"));
    }
}
