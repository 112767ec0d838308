use super::*;
use crate::server::config::Settings;

fn config() -> Config {
    let text = "[server]\naddress = \"10.13.20.13\"\nsubnet = \"10.13.20.0/24\"\n[services]\ndhcp = \"none\"\n\
        tftp = \"none\"\nnfs = \"none\"\ntarget = \"none\"\n";
    Config { settings: Settings::parse(text).unwrap(), nodes: Vec::new() }
}

fn plan(current: Option<&str>, how: How) -> Result<Plan, GenerationError> {
    let names = ["20261125-1", "20261126-1"].map(|name| name.parse::<GenerationName>().unwrap());
    let mut facts = Facts { working: vec!["hpc".parse().unwrap(), "old".parse().unwrap()], ..Facts::default() };
    if let Some(current) = current {
        let current = Some((current.parse().unwrap(), Form::Folder));
        let published = Published { generations: names.to_vec(), boot: names.to_vec(), current };
        facts.published.insert("hpc".parse().unwrap(), published);
    }
    // 2026-11-26
    Plan::new(&config(), &facts, &"hpc".parse().unwrap(), how, Time::after(1_795_651_200))
}

fn lines(actions: &[Action]) -> Vec<String> {
    actions.iter().map(ToString::to_string).collect()
}

#[test]
fn the_first_generation_shares_nothing() {
    let plan = plan(None, How::Bytes).unwrap();
    assert_eq!(
        lines(&plan.copy()),
        [
            "make folder /srv/sidus/generations/hpc (0755)",
            "make folder /srv/tftp/sidus/hpc/.new (0755)",
            "run rsync -aHAX --numeric-ids --modify-window=-1 --delete /srv/sidus/trees/hpc/ /srv/sidus/generations/hpc/.new/",
        ]
    );
    assert_eq!(
        lines(&plan.boot("6.1", &BTreeSet::new())),
        [
            "copy /srv/sidus/generations/hpc/.new/boot/vmlinuz-6.1 to /srv/tftp/sidus/hpc/.new/vmlinuz",
            "copy /srv/sidus/generations/hpc/.initrd/results/initrd.img to /srv/tftp/sidus/hpc/.new/initrd.img",
        ]
    );
}

#[test]
fn a_later_one_takes_its_name_after_it_is_whole() {
    let plan = plan(Some("20261126-1"), How::Reflink).unwrap();
    assert_eq!(
        lines(&plan.boot("6.1", &BTreeSet::from(["vmlinuz", "initrd.img"]))),
        [
            "run ln -f -T /srv/tftp/sidus/hpc/20261126-1/vmlinuz /srv/tftp/sidus/hpc/.new/vmlinuz",
            "run ln -f -T /srv/tftp/sidus/hpc/20261126-1/initrd.img /srv/tftp/sidus/hpc/.new/initrd.img",
        ]
    );
    let record = Record { form: Form::Folder, kernel: "6.1".to_owned(), size: 2, own: 1 };
    let (commit, _) = plan.commit(&config(), &Facts::default(), &record, true).unwrap();
    assert_eq!(
        lines(&commit.actions),
        [
            "write /srv/sidus/generations/hpc/.20261126-2.json (0644)",
            "put /srv/sidus/generations/hpc/.initrd/seen in place of /srv/sidus/generations/hpc/.20261126-2.seen, which is gone",
            "rename /srv/tftp/sidus/hpc/.new to /srv/tftp/sidus/hpc/20261126-2",
            "rename /srv/sidus/generations/hpc/.new to /srv/sidus/generations/hpc/20261126-2",
            "link /srv/sidus/generations/hpc/current to 20261126-2",
            "make folder /srv/tftp/pxelinux.cfg (0755)",
            "write /srv/tftp/pxelinux.cfg/default (0644)",
            "remove /srv/sidus/generations/hpc/.initrd",
        ]
    );
}

#[test]
fn a_tree_that_is_not_there_is_named_with_those_that_are() {
    let facts = Facts { working: vec!["a".parse().unwrap(), "b".parse().unwrap()], ..Facts::default() };
    let error = Plan::new(&config(), &facts, &"x".parse().unwrap(), How::Bytes, Time::after(0)).unwrap_err();
    assert_eq!(error.to_string(), "there is no tree x in /srv/sidus/trees; there is a, b");
    let error = Plan::new(&config(), &Facts::default(), &"x".parse().unwrap(), How::Bytes, Time::after(0)).unwrap_err();
    assert_eq!(error.to_string(), "there is no tree x in /srv/sidus/trees; `sidus tree create` makes one");
}
