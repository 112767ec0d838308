use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::*;

/// A process that outlives its test must not inherit the lock of another test, which has one at hand while it starts one.
pub(super) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Machine(PathBuf);

impl Machine {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("sidus-engine-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc")).unwrap();
        Self(root)
    }

    fn setting(&self) -> Setting {
        Setting { root: self.0.clone(), state: "/state".into(), command: "sidus test".to_owned(), dry_run: false }
    }

    /// Another test's process has this one's lock from its fork(2) to its execve(2): that is waited for.
    fn open(&self) -> Result<Engine, EngineError> {
        let started = Instant::now();
        loop {
            match Engine::open(self.setting()) {
                Err(EngineError::Busy(_)) if started.elapsed() < Duration::from_secs(10) => {}
                opened => return opened,
            }
        }
    }

    fn journal(&self) -> Option<Phase> {
        Journal::read(&self.0, Path::new("/state")).unwrap().map(|journal| journal.phase)
    }

    fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text(path: &str) -> Action {
    Action::Write(Write::new(path, Content::Text("x".to_owned())))
}

/// A command on files that leaves a trace in the machine's /etc.
fn touch(name: &str) -> Run {
    Run::new("touch").path(format!("/etc/{name}"))
}

fn fails() -> Run {
    Run::new("false")
}

fn commit(actions: Vec<Action>, after: Vec<After>) -> Commit {
    Commit { actions, after }
}

#[test]
fn the_second_time_nothing_is_done() {
    let machine = Machine::new("twice");
    let mut engine = machine.open().unwrap();
    let told = After { runs: vec![touch("told")], on: vec!["/etc/x".into()] };
    let other = After { runs: vec![touch("other")], on: vec!["/etc/y".into()] };
    let all = commit(vec![Action::folder("/etc/d"), text("/etc/x")], vec![told, other]);
    assert!(engine.carry_out(all.clone()).unwrap());
    assert!(machine.has("etc/x") && machine.has("etc/told") && !machine.has("etc/other"));
    fs::remove_file(machine.0.join("etc/told")).unwrap();
    assert!(!engine.carry_out(all).unwrap());
    assert!(!machine.has("etc/told"));
    assert_eq!(machine.journal(), None);
}

#[test]
fn what_is_in_the_way_is_found_before_anything_is_done() {
    let machine = Machine::new("way");
    fs::write(machine.0.join("etc/y"), "a person's").unwrap();
    let mut engine = machine.open().unwrap();
    let refused = engine.carry_out(commit(vec![text("/etc/x"), Action::write_marked("/etc/y", "#", "")], vec![]));
    assert!(matches!(refused, Err(EngineError::Foreign { .. })), "{refused:?}");
    assert!(!machine.has("etc/x"));
    assert_eq!(machine.journal(), None);
}

#[test]
fn what_was_prepared_is_undone_when_it_fails() {
    let machine = Machine::new("undo");
    let mut engine = machine.open().unwrap();
    let undo = || vec![Action::remove_inside("/etc", "/etc/new")];
    let failed = engine.transact::<EngineError>(undo(), |stage| {
        stage.perform(&[Action::folder("/etc/new"), text("/etc/new/x"), Action::Run(fails())])?;
        Ok(Commit::default())
    });
    assert_eq!(failed.unwrap_err().to_string(), "false: exit status 1");
    assert!(!machine.has("etc/new"));
    assert_eq!(machine.journal(), None);

    let done = engine.transact::<EngineError>(undo(), |stage| {
        stage.perform(&[Action::folder("/etc/new"), text("/etc/new/x")])?;
        Ok(commit(vec![Action::Rename { from: "/etc/new".into(), to: "/etc/real".into() }], vec![]))
    });
    assert!(done.unwrap() && machine.has("etc/real/x") && !machine.has("etc/new"));
    let failed = engine.transact::<EngineError>(undo(), |stage| {
        stage.perform(&[Action::folder("/etc/new")])?;
        Ok(commit(vec![Action::Rename { from: "/etc/new".into(), to: "/etc/real".into() }], vec![]))
    });
    assert!(failed.unwrap_err().to_string().contains("/etc/new should get that name"));
    assert!(!machine.has("etc/new"));
}

#[test]
fn the_next_start_goes_on_from_the_middle() {
    let _alone = alone();
    let machine = Machine::new("recover");
    let write = |phase| {
        let journal = Journal {
            phase,
            commit: vec![text("/etc/x"), text("/etc/y")],
            after: vec![vec![touch("told")]],
            ..Journal::new("sidus earlier", vec![Action::remove_inside("/etc", "/etc/x")])
        };
        fs::create_dir_all(machine.0.join("state")).unwrap();
        journal.write(&machine.0, Path::new("/state")).unwrap();
    };
    // What is told after an undoing, an earlier command owes.
    for (phase, x, y, told) in
        [(Phase::Prepare, false, false, true), (Phase::Commit, true, true, true), (Phase::After, true, false, true)]
    {
        for name in ["y", "told"] {
            let _ = fs::remove_file(machine.0.join("etc").join(name));
        }
        fs::write(machine.0.join("etc/x"), "half").unwrap();
        write(phase);
        drop(machine.open().unwrap());
        assert_eq!((machine.has("etc/x"), machine.has("etc/y"), machine.has("etc/told")), (x, y, told), "{phase:?}");
        assert_eq!(machine.journal(), None, "{phase:?}");
    }
}

#[test]
fn what_cannot_be_finished_keeps_everyone_out_and_says_the_way() {
    let machine = Machine::new("stuck");
    let mut engine = machine.open().unwrap();
    let half =
        engine.carry_out(commit(vec![text("/etc/x"), text("/etc/no-folder/y"), text("/etc/z")], vec![])).unwrap_err();
    assert_eq!(
        half.to_string(),
        "sidus test is half done; `sidus recover` finishes it, when this is mended: cannot write /etc/no-folder/y: No such file or \
         directory (os error 2)"
    );
    drop(engine);
    let stuck = machine.open().unwrap_err().to_string();
    assert!(
        stuck.contains("ended in the middle. `sidus recover` has to see it finished, when this is mended"),
        "{stuck}"
    );
    assert!(stuck.contains("remove /state/journal.json: cannot write /etc/no-folder/y: No such file"), "{stuck}");
    fs::create_dir(machine.0.join("etc/no-folder")).unwrap();
    machine.open().unwrap();
    assert!(machine.has("etc/no-folder/y") && machine.has("etc/z"));
}

#[test]
fn what_could_not_be_told_is_told_later() {
    let _alone = alone();
    let machine = Machine::new("owed");
    let mut engine = machine.open().unwrap();
    let tell = |runs| After { runs, on: vec!["/etc/x".into()] };
    let fragile = Run::new("ls").path("/etc/service");
    let late = engine
        .carry_out(commit(vec![text("/etc/x")], vec![tell(vec![fragile, touch("then")]), tell(vec![touch("told")])]))
        .unwrap_err();
    assert!(
        late.to_string()
            .starts_with("everything is written, but not all was told; `sidus recover` tries it again: ls "),
        "{late}"
    );
    assert!(machine.has("etc/told"), "the others are told");
    assert!(!machine.has("etc/then"), "what would follow is not done");
    assert_eq!(machine.journal(), Some(Phase::After));
    drop(engine);
    let mut engine = machine.open().expect("it keeps nobody out");
    assert!(matches!(engine.not_told(), Some(EngineError::NotTold { .. })));
    assert_eq!(machine.journal(), Some(Phase::After));
    fs::write(machine.0.join("etc/service"), "").unwrap();
    engine.carry_out(commit(vec![text("/etc/y")], vec![])).unwrap();
    assert_eq!(machine.journal(), None);
    assert!(machine.has("etc/then"));
}

/// What an earlier command owes is in the journal, whatever becomes of the next one.
#[test]
fn what_is_owed_outlasts_what_is_undone() {
    let _alone = alone();
    let owes = |name: &str| {
        let machine = Machine::new(name);
        let fragile = vec![Run::new("ls").path("/etc/service"), touch("then")];
        let late = machine.open().unwrap().carry_out(commit(vec![text("/etc/x")], vec![tell(fragile)]));
        assert!(matches!(late, Err(EngineError::NotTold { .. })), "{late:?}");
        machine
    };
    fn tell(runs: Vec<Run>) -> After {
        After { runs, on: Vec::new() }
    }
    let undo = || vec![Action::remove_inside("/etc", "/etc/new")];
    let foreign = || Action::write_marked("/etc/passwd", "#", "");
    let ways: [(&str, fn(&mut Engine, Vec<Action>, Action) -> EngineError); 3] = [
        ("owed-fails", |engine, undo, _| {
            let fails = |stage: &mut Stage<'_>| {
                stage.perform(&[Action::folder("/etc/new"), Action::Run(fails())])?;
                Ok(Commit::default())
            };
            engine.transact::<EngineError>(undo, fails).unwrap_err()
        }),
        ("owed-in-the-way", |engine, undo, foreign| {
            let fails = |stage: &mut Stage<'_>| {
                stage.perform(&[Action::folder("/etc/new")])?;
                Ok(commit(vec![foreign], vec![]))
            };
            engine.transact::<EngineError>(undo, fails).unwrap_err()
        }),
        ("owed-nothing-prepared", |engine, _, foreign| engine.carry_out(commit(vec![foreign], vec![])).unwrap_err()),
    ];
    for (name, fail) in ways {
        let machine = owes(name);
        fs::write(machine.0.join("etc/passwd"), "a person's").unwrap();
        let mut engine = machine.open().unwrap();
        fail(&mut engine, undo(), foreign());
        assert!(!machine.has("etc/new"), "{name}");
        assert_eq!(machine.journal(), Some(Phase::After), "{name}");
        fs::write(machine.0.join("etc/service"), "").unwrap();
        // By the same program, and by the next one.
        if name == "owed-fails" {
            assert!(engine.carry_out(Commit::default()).unwrap());
        } else {
            drop(engine);
            assert!(!machine.open().unwrap().has_finished_this(), "{name}: it is undone");
        }
        assert!(machine.has("etc/then"), "{name}");
        assert_eq!(machine.journal(), None, "{name}");
    }

    // Killed while it prepares.
    let machine = owes("owed-killed");
    let mut engine = machine.open().unwrap();
    let killed = engine.transact::<EngineError>(undo(), |stage| {
        stage.perform(&[Action::folder("/etc/new")])?;
        fs::copy(machine.0.join("state/journal.json"), machine.0.join("etc/journal")).unwrap();
        Ok(Commit::default())
    });
    assert!(matches!(killed, Err(EngineError::NotTold { .. })), "{killed:?}");
    drop(engine);
    fs::copy(machine.0.join("etc/journal"), machine.0.join("state/journal.json")).unwrap();
    assert_eq!(machine.journal(), Some(Phase::Prepare));
    let mut engine = machine.open().unwrap();
    assert!(engine.not_told().is_some() && !machine.has("etc/new"));
    assert_eq!(machine.journal(), Some(Phase::After));
    drop(engine);
    fs::copy(machine.0.join("etc/journal"), machine.0.join("state/journal.json")).unwrap();
    fs::write(machine.0.join("etc/service"), "").unwrap();
    let mut engine = machine.open().unwrap();
    assert!(engine.not_told().is_none() && machine.has("etc/then"));
    assert_eq!(machine.journal(), None);
    // It is told once.
    fs::remove_file(machine.0.join("etc/then")).unwrap();
    assert!(!engine.carry_out(Commit::default()).unwrap());
    assert!(!machine.has("etc/then"));
}

#[test]
fn a_command_knows_that_it_was_given_before_and_is_finished() {
    let _alone = alone();
    let machine = Machine::new("before");
    fs::create_dir_all(machine.0.join("state")).unwrap();
    for (phase, command, told, is_finished) in [
        (Phase::Prepare, "sidus test", true, false),
        (Phase::Commit, "sidus test", true, true),
        (Phase::Commit, "sidus test x", true, false),
        (Phase::After, "sidus test", true, true),
        (Phase::After, "sidus test", false, true),
        (Phase::After, "sidus recover", true, false),
    ] {
        let after = vec![vec![if told { touch("told") } else { fails() }]];
        let journal = Journal { phase, after, ..Journal::new(command, Vec::new()) };
        journal.write(&machine.0, Path::new("/state")).unwrap();
        let dry_run = Engine::open(Setting { dry_run: true, ..machine.setting() }).unwrap();
        assert_eq!(dry_run.has_finished_this(), is_finished, "{phase:?} {command}");
        let mut engine = machine.open().unwrap();
        assert_eq!(engine.has_finished_this(), is_finished, "{phase:?} {command}");
        assert_eq!(engine.not_told().is_none(), told, "{phase:?} {command}");
    }
    // Until it has said that it is done, it is to be found.
    let _ = fs::remove_file(machine.0.join("state/journal.json"));
    let mut engine = machine.open().unwrap();
    engine.once();
    assert!(engine.carry_out(commit(vec![text("/etc/x")], vec![])).unwrap());
    assert_eq!(machine.journal(), Some(Phase::Commit));
    engine.end().unwrap();
    assert_eq!(machine.journal(), None);
}

#[test]
fn one_at_a_time() {
    let machine = Machine::new("lock");
    let engine = machine.open().unwrap();
    // Whoever can open it can hold it.
    assert_eq!(fs::metadata(machine.0.join("state/lock")).unwrap().permissions().mode() & 0o7777, 0o600);
    let busy = Engine::open(machine.setting()).unwrap_err().to_string();
    assert!(
        busy.contains("runs `sidus test` since 20") && busy.contains(&format!("(process {})", std::process::id())),
        "{busy}"
    );
    drop(engine);
    machine.open().unwrap();
    let journal = machine.0.join("state/journal.json");
    for (text, why) in [("{", "EOF while parsing"), ("{}", "missing field")] {
        fs::write(&journal, text).unwrap();
        let garbled = machine.open().unwrap_err().to_string();
        assert!(garbled.starts_with("/state/journal.json: ") && garbled.contains(why), "{garbled}");
    }
}

#[test]
fn a_lock_may_be_waited_for() {
    let machine = Machine::new("wait");
    let path = Path::new("/x.lock");
    let wait = |limit| Lock::wait(&machine.0, path, "sidus second", limit);
    let first = Lock::take(&machine.0, path, "sidus first").unwrap();
    let busy = wait(Duration::ZERO).unwrap_err().to_string();
    assert!(busy.contains("runs `sidus first` since 20"), "{busy}");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            drop(first);
        });
        wait(Duration::from_secs(20)).unwrap();
    });
}

#[test]
fn what_a_command_left_running_keeps_the_lock() {
    let _alone = alone();
    let machine = Machine::new("left");
    let mut engine = machine.open().unwrap();
    let left = machine.0.join("left");
    let leaves = |scope| {
        // Its output goes nowhere: what is read by this program is not waited for either way.
        let script = format!("sleep 1000 >/dev/null 2>&1 & echo $! >{}", left.display());
        let run = Run::new("sh").args(&["-c", &script]);
        commit(vec![Action::Run(Run { scope, ..run })], vec![])
    };
    engine.carry_out(leaves(Scope::Files)).unwrap();
    drop(engine);
    let pid: i32 = fs::read_to_string(&left).unwrap().trim().parse().unwrap();
    // At first it is a shell, too.
    while fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
        std::thread::sleep(Duration::from_millis(10));
    }
    let busy = Engine::open(machine.setting()).unwrap_err().to_string();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
    assert!(
        busy.contains("was killed, but what it had started still runs: process ") && busy.contains("(sleep)"),
        "{busy}"
    );
    machine.open().unwrap();
}

#[test]
fn who_wishes_to_leave_leaves_nothing_behind() {
    let _alone = alone();
    let machine = Machine::new("leave");
    let mut engine = machine.open().unwrap();
    let flag = Arc::clone(&engine.interrupted);
    let started = Instant::now();
    let left = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !machine.has("etc/new/begun") {
                std::thread::sleep(Duration::from_millis(10));
            }
            flag.store(true, Ordering::Relaxed);
        });
        engine.transact::<EngineError>(vec![Action::remove_inside("/etc", "/etc/new")], |stage| {
            stage.perform(&[
                Action::folder("/etc/new"),
                text("/etc/new/begun"),
                Action::Run(Run::new("sleep").arg("60")),
            ])?;
            Ok(Commit::default())
        })
    });
    assert!(left.unwrap_err().is_interruption());
    assert!(!machine.has("etc/new"));
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(machine.journal(), None);
}

#[test]
fn a_dry_run_does_nothing() {
    let machine = Machine::new("dry");
    let mut engine = Engine::open(Setting { dry_run: true, ..machine.setting() }).unwrap();
    engine.carry_out(commit(vec![text("/etc/x")], vec![After { runs: vec![touch("told")], on: vec![] }])).unwrap();
    engine.end().unwrap();
    assert!(!machine.has("etc/x") && !machine.has("etc/told") && !machine.has("state"));
    fs::write(machine.0.join("etc/x"), "a\nb\n").unwrap();
    let write = Action::Write(Write::new("/etc/x", Content::Text("a\nc\n".to_owned())));
    let shown = show::describe(&machine.0, &write);
    assert!(shown.starts_with("write /etc/x (0644)\n    --- /etc/x\n    +++ /etc/x\n"), "{shown}");
    assert!(shown.ends_with("     a\n    -b\n    +c\n"), "{shown}");
    let secret = show::describe(&machine.0, &Action::Write(Write::secret("/etc/x", Content::Text("psst".to_owned()))));
    assert_eq!(secret, "write /etc/x (0600)\n    (a secret, not shown)\n");
}
