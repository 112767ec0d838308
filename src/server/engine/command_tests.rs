use super::super::tests::alone;
use super::*;

fn around<'a>() -> Around<'a> {
    Around { root: Path::new("/"), lock: None, interrupted: None, limit: None }
}

fn shell(script: &str) -> Run {
    Run::new("sh").args(&["-c", script])
}

fn error(of: &Run) -> String {
    run(around(), of).unwrap_err().to_string()
}

#[test]
fn what_a_command_writes_is_returned() {
    assert_eq!(run(around(), &shell("printf 'a\\nb'; echo noise >&2")).unwrap(), b"a\nb");
    assert_eq!(run(around(), &Run::new("cat").input("secret")).unwrap(), b"secret");
    // More than a pipe has room for, either way.
    let long = "x".repeat(1 << 20);
    assert_eq!(run(around(), &Run::new("cat").input(long.as_bytes())).unwrap(), long.as_bytes());
    assert_eq!(run(around(), &Run::new("cat")).unwrap(), b"", "without input there is nothing to read");
}

#[test]
fn the_environment_is_clean() {
    let run_it = |run_it: Run| String::from_utf8(run(around(), &run_it).unwrap()).unwrap();
    let environment = run_it(Run::new("env").env("MORE", "x"));
    let mut names: Vec<_> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.retain(|name| !PASSED_ON.contains(name));
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LC_ALL", "MORE", "PATH"]);
    assert_eq!(run_it(Run::new("pwd")), "/\n");
}

#[test]
fn paths_are_those_of_the_machine() {
    let root = Around { root: Path::new("/some/root"), ..around() };
    let printed = run(root, &Run::new("echo").path("/srv/a").path_after("--to=", "/srv/b").arg("/srv/c")).unwrap();
    assert_eq!(String::from_utf8(printed).unwrap(), "/some/root/srv/a --to=/some/root/srv/b /srv/c\n");
}

#[test]
fn failures_say_which_command_and_why() {
    assert_eq!(
        error(&shell("echo out; echo why >&2; exit 3")),
        "sh -c 'echo out; echo why >&2; exit 3': exit status 3\n  why"
    );
    assert_eq!(error(&shell("echo out; exit 3")), "sh -c 'echo out; exit 3': exit status 3\n  out");
    assert_eq!(error(&shell("kill -9 $$")), "sh -c 'kill -9 $$': ended by signal 9");
    assert_eq!(
        error(&Run::new("no-such-program").arg("x").from_package("that-package")),
        "no-such-program x: there is no program no-such-program: apt-get install that-package"
    );
    assert!(run(around(), &shell("exit 3").or_status(3)).is_ok());
    let long = error(&shell("seq 1000 >&2; printf '\\033[2J' >&2; exit 1"));
    assert!(long.ends_with("\n  999\n  1000\n  [2J"), "{long:?}");
    assert!(long.lines().count() <= LAST_LINES + 2, "{long}");
}

#[test]
fn what_outlives_a_command_is_not_waited_for() {
    let _alone = alone();
    let started = Instant::now();
    assert_eq!(run(around(), &shell("echo x; sleep 20 &")).unwrap(), b"x\n");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_command_is_ended_with_all_that_it_started() {
    let flag = AtomicBool::new(true);
    let started = Instant::now();
    let around = Around { interrupted: Some(&flag), ..around() };
    let ended = run(around, &shell("sleep 30; echo not reached")).unwrap_err().to_string();
    assert!(ended.ends_with(": interrupted"), "{ended}");
    assert!(started.elapsed() < PATIENCE);
}

#[test]
fn a_question_is_not_waited_for_forever() {
    let started = Instant::now();
    let around = Around { limit: Some(Duration::from_secs(1)), ..Around::question(Path::new("/")) };
    let ended = run(around, &shell("sleep 30; echo not reached")).unwrap_err().to_string();
    assert_eq!(
        ended,
        "sh -c 'sleep 30; echo not reached': no answer within 1 s; run it by hand to see what it waits for"
    );
    assert!(started.elapsed() < PATIENCE);
}

/// Whoever writes without end is neither waited for when the command has ended, nor keeps it from being ended.
#[test]
fn a_flood_is_left_when_it_is_time() {
    let _alone = alone();
    let started = Instant::now();
    run(around(), &shell("yes & sleep 0.2")).unwrap();
    let interrupted = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(300));
            interrupted.store(true, Ordering::Relaxed);
        });
        let yes = Run::new("timeout").args(&["20", "yes"]);
        let ended = run(Around { interrupted: Some(&interrupted), ..around() }, &yes).unwrap_err();
        assert!(matches!(ended, CommandError::Interrupted { .. }), "{ended}");
    });
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
