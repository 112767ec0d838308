use super::*;

fn shown_for(file: &CredentialsFile, target: &str) -> String {
    let account = |a: &Account| format!("{}/{}", a.name, String::from_utf8_lossy(a.secret.reveal()));
    match file.credentials_for(&target.parse().unwrap()) {
        None => "none".into(),
        Some(c) => format!("{} {}", account(&c.own), c.target.as_ref().map_or(String::new(), account)),
    }
}

#[test]
fn the_file_of_the_documentation() {
    let file = CredentialsFile::parse(
        b"# x\n; y\n\n username    = node\r\npassword=\"a secret = with # \"spaces\" \"\nusername_in = target\npassword_in = another-secret\n\
          [target \"iqn.2026-01.org.example:10.13.20.101\"]\nusername = node101\npassword = its-own-secret\n\
          [target \"iqn.2026-01.org.example:open\"]\n",
    )
    .unwrap();
    for (target, want) in [
        ("iqn.2026-01.org.example:10.13.20.101", "node101/its-own-secret "),
        ("iqn.2026-01.org.example:10.13.20.10", "node/a secret = with # \"spaces\"  target/another-secret"),
        ("iqn.2026-01.org.example:open", "none"),
    ] {
        assert_eq!(shown_for(&file, target), want, "{target}");
    }
    assert!(file.default_credentials().is_some());
    let debug = format!("{file:?}");
    assert!(!debug.contains("secret\"") && !debug.contains("own-secret"), "{debug}");
    assert_eq!(CredentialsFile::parse(b""), Ok(CredentialsFile::default()));
}

#[test]
fn bad_files() {
    let long = format!("username = {}\n", "x".repeat(256));
    let value = |line: usize, key: &str| {
        format!("line {line}: the value of {key}: 1 to 255 bytes were expected, with a closing quote if there is an opening one")
    };
    let syntax = |line: usize| format!("line {line}: key = value or [target \"iqn…\"] was expected");
    for (text, want) in [
        ("hunter2\n", syntax(1)),
        ("\n[hunter2]\n", syntax(2)),
        ("[target iqn.2026-01.org.example]", syntax(1)),
        ("[target \"iqn.2026-01.org.example\"", syntax(1)),
        ("hunter2 hunter3 = x\n", syntax(1)),
        ("hunter2=\n", syntax(1)),
        ("user = hunter2\n", "line 1: \"user\" is no key; username, password, username_in and password_in are".into()),
        ("Password = hunter2\n", "line 1: \"Password\" is no key; username, password, username_in and password_in are".into()),
        ("[target \"disk\"]\n", "line 1: \"disk\": an iSCSI name begins with \"iqn.\", \"eui.\" or \"naa.\"".into()),
        ("username = a\nusername = b\n", "line 2: username stands a second time in this section".into()),
        ("username =\n", value(1, "username")),
        ("password = \"\"\n", value(1, "password")),
        ("password = \"hunter2\n", value(1, "password")),
        ("password = \"\n", value(1, "password")),
        ("password = hunter2\0\n", value(1, "password")),
        (&long, value(1, "username")),
        ("username = a\n", "section of line 1: username without password".into()),
        ("password = hunter2\n", "section of line 1: password without username".into()),
        ("username = a\npassword = b\nusername_in = c\n", "section of line 1: username_in without password_in".into()),
        ("username = a\npassword = b\npassword_in = hunter2\n", "section of line 1: password_in without username_in".into()),
        ("username_in = a\npassword_in = hunter2\n", "section of line 1: username_in without username".into()),
        (
            "\n[target \"iqn.2026-01.org\"]\nusername = a\npassword = hunter2\nusername_in = b\npassword_in = hunter2\n",
            "section of line 2: password and password_in are the same; they must differ (RFC 7143 12.1.3)".into(),
        ),
        (
            "[target \"iqn.2026-01.org\"]\n[target \"iqn.2026-01.org\"]\n",
            "line 2: a second section for iqn.2026-01.org; the first begins on line 1".into(),
        ),
    ] {
        let error = CredentialsFile::parse(text.as_bytes()).map_err(|e| e.to_string());
        assert_eq!(error, Err(want), "{text}");
        assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
    }
    assert_eq!(CredentialsFile::parse(b"a = b\n\xff"), Err(CredentialsError::Key { line: 1, got: "a".into() }));
    assert_eq!(CredentialsFile::parse(b"\n\xff"), Err(CredentialsError::Encoding { line: 2 }));
    assert_eq!(CredentialsFile::parse(&[b'#'; MAX_FILE + 1]), Err(CredentialsError::TooLong { got: MAX_FILE + 1 }));
}

#[test]
fn modes() {
    for (mode, want) in [(0o100_600, Ok(())), (0o400, Ok(()))] {
        assert_eq!(check_mode(mode), want);
    }
    for mode in [0o100_644, 0o640, 0o700, 0o4600, 0] {
        let got = mode & 0o7777;
        assert_eq!(check_mode(mode), Err(CredentialsError::Mode { got }), "{mode:o}");
    }
    assert_eq!(
        check_mode(0o100_644).map_err(|e| e.to_string()),
        Err("mode 0644; 0600 was expected, for it holds secrets (chmod 0600)".into())
    );
}

#[test]
fn any_text_never_panics() {
    let mut random = crate::iscsi::testing::Random::new(9);
    let words = ["username", "password", "_in", "=", "\n", "\"", "[target \"", "iqn.2026-01.org", "\"]", "#", " ", "x"];
    for _ in 0..20_000 {
        let text: String = (0..random.below(20)).map(|_| words[random.below(words.len())]).collect();
        let _ = CredentialsFile::parse(text.as_bytes());
    }
}
