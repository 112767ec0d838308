//! A target that means harm, or is broken: each way has its own error, within the limit, and the
//! socket is closed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

mod targets;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{spawn, JoinHandle};
use std::time::{Duration, Instant};

use sidus::iscsi::chap::hex;
use sidus::iscsi::deadline::Deadline;
use sidus::iscsi::login::{Config, Login};
use sidus::iscsi::name::Portal;
use sidus::iscsi::pdu::{Body, LoginFlags, Pdu, Stage, HEADER, NO_TAG};
use sidus::iscsi::tcp::{discover, login, Carrier};
use targets::{config, credentials};

/// A host that is busy answers within it.
const LIMIT: Duration = Duration::from_secs(2);
const DISK: &str = "iqn.2026-01.org.example:disk";

/// One connection, as the target sees it.
struct Peer(TcpStream);

impl Peer {
    fn read(&mut self) -> Pdu {
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header).unwrap();
        let length = sidus::iscsi::pdu::data_length(&header, 8192).unwrap();
        let mut data = vec![0; length.div_ceil(4) * 4];
        self.0.read_exact(&mut data).unwrap();
        data.truncate(length);
        Pdu::decode(&header, data).unwrap()
    }

    fn write(&mut self, pdu: &Pdu) {
        self.0.write_all(&pdu.encode().unwrap()).unwrap();
    }

    /// A response that agrees to whatever was asked, with this text.
    fn agree(&mut self, request: &Pdu, text: &str) {
        self.write(&response(request, text));
    }

    /// Reads until the other side closes, and says how long that took.
    fn closed_after(mut self) -> Duration {
        let started = Instant::now();
        self.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        let ended = self.0.read_to_end(&mut rest);
        assert!(
            ended.is_ok() || ended.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset),
            "not closed: {ended:?}"
        );
        started.elapsed()
    }
}

fn response(request: &Pdu, text: &str) -> Pdu {
    let Body::LoginRequest { flags, isid, cmd_sn, exp_stat_sn, .. } = request.body else {
        panic!("{request:?}; a login request was expected");
    };
    Pdu {
        tag: request.tag,
        body: Body::LoginResponse {
            flags,
            version_max: 0,
            version_active: 0,
            isid,
            tsih: 1,
            stat_sn: exp_stat_sn,
            exp_cmd_sn: cmd_sn,
            max_cmd_sn: cmd_sn,
            status_class: 0,
            status_detail: 0,
        },
        data: text.replace('|', "\0").into_bytes(),
    }
}

fn text_response(request: &Pdu, last: bool, target_tag: u32, data: &[u8]) -> Pdu {
    let Body::TextRequest { lun, cmd_sn, exp_stat_sn, .. } = request.body else {
        panic!("{request:?}; a text request was expected");
    };
    Pdu {
        tag: request.tag,
        body: Body::TextResponse {
            last,
            more: false,
            lun,
            target_tag,
            stat_sn: exp_stat_sn,
            exp_cmd_sn: cmd_sn,
            max_cmd_sn: cmd_sn,
        },
        data: data.to_vec(),
    }
}

/// Serves one connection; the thread ends when the socket was closed, and says how long it took.
fn serve(behave: impl FnOnce(&mut Peer) + Send + 'static) -> (Portal, JoinHandle<Duration>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = spawn(move || {
        let mut peer = Peer(listener.accept().unwrap().0);
        behave(&mut peer);
        peer.closed_after()
    });
    (Portal { ip: address.ip(), port: address.port() }, thread)
}

/// Logs in to a target that behaves like this; gives the error and checks limit and socket.
fn login_error(config: Config, behave: impl FnOnce(&mut Peer) + Send + 'static) -> String {
    let (portal, thread) = serve(behave);
    let started = Instant::now();
    let mut carrier = Carrier::connect(portal, Deadline::after(LIMIT)).unwrap();
    let error = login(&mut carrier, config).expect_err("a login with such a target succeeded");
    assert!(started.elapsed() < LIMIT * 2, "{error}: after {:?}", started.elapsed());
    // The carrier still lives: it is the failure that closed the socket.
    thread.join().unwrap();
    drop(carrier);
    error.to_string()
}

fn plain(behave: impl FnOnce(&mut Peer) + Send + 'static) -> String {
    login_error(config(Some(DISK)), behave)
}

#[test]
fn carrier_faults() {
    for (name, behave, want) in [
        (
            "closes at once",
            Box::new(|peer: &mut Peer| {
                peer.read();
                peer.0.shutdown(std::net::Shutdown::Write).unwrap();
            }) as Box<dyn FnOnce(&mut Peer) + Send>,
            "the target closed the connection in place of an answer",
        ),
        (
            "resets",
            Box::new(|peer: &mut Peer| {
                // Unread data turns the close into a reset.
                let clone = peer.0.try_clone().unwrap();
                std::thread::sleep(Duration::from_millis(50));
                let _ = clone.shutdown(std::net::Shutdown::Both);
            }),
            "the target closed the connection in place of an answer",
        ),
        (
            "hangs",
            Box::new(|peer: &mut Peer| {
                peer.read();
            }),
            "the target is silent: no answer within 2.0 s",
        ),
        (
            "hangs within the header",
            Box::new(|peer: &mut Peer| {
                peer.read();
                peer.0.write_all(&[0x23; 20]).unwrap();
            }),
            "the target stopped after 20 of 48 bytes of a PDU, and 2.0 s are over",
        ),
        (
            "one byte at a time, for ever",
            Box::new(|peer: &mut Peer| {
                peer.read();
                let mut header = [0; 48];
                (header[0], header[6]) = (0x23, 4);
                for byte in header.iter().chain(&[0; 1024]) {
                    std::thread::sleep(Duration::from_millis(10));
                    if peer.0.write_all(&[*byte]).is_err() {
                        break;
                    }
                }
            }),
            "the target stopped after ",
        ),
        (
            "half a header",
            Box::new(|peer: &mut Peer| {
                peer.read();
                peer.0.write_all(&[0x23; 20]).unwrap();
                peer.0.shutdown(std::net::Shutdown::Write).unwrap();
            }),
            "the target closed the connection after 20 of 48 bytes of a PDU",
        ),
        (
            "half a data segment",
            Box::new(|peer: &mut Peer| {
                let request = peer.read();
                let bytes = response(&request, "TargetAlias=abcdefghij|").encode().unwrap();
                peer.0.write_all(&bytes[..60]).unwrap();
                peer.0.shutdown(std::net::Shutdown::Write).unwrap();
            }),
            "the target closed the connection after 60 of 72 bytes of a PDU",
        ),
        (
            "a web server",
            Box::new(|peer: &mut Peer| {
                peer.read();
                peer.0.write_all(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\nConnection: close\r\n\r\n").unwrap();
            }),
            "a PDU (opcode 0x08) with an additional header of 47 words; none was expected",
        ),
        (
            "a PDU too long",
            Box::new(|peer: &mut Peer| {
                peer.read();
                let mut header = [0; 48];
                header[0] = 0x23;
                header[5..8].copy_from_slice(&[0xff; 3]);
                peer.0.write_all(&header).unwrap();
            }),
            "a PDU (opcode 0x23) with 16777215 bytes of data; at most 8192 were agreed",
        ),
        (
            "an unknown opcode",
            Box::new(|peer: &mut Peer| {
                peer.read();
                let mut header = [0; 48];
                header[0] = 0x3c;
                peer.0.write_all(&header).unwrap();
            }),
            "a PDU with opcode 0x3c; an iSCSI login, text, SCSI, logout or housekeeping PDU was expected",
        ),
    ] {
        let error = plain(behave);
        println!("{name}: {error}");
        let exact = error == want || (want.ends_with(' ') && error.starts_with(want));
        assert!(exact, "{name}: {error:?}; {want:?} was expected");
    }
}

#[test]
fn login_faults() {
    type Change = fn(&mut Pdu);
    fn status(pdu: &mut Pdu, class: u8, detail: u8) {
        if let Body::LoginResponse { status_class, status_detail, .. } = &mut pdu.body {
            (*status_class, *status_detail) = (class, detail);
        }
    }
    fn set_flags(pdu: &mut Pdu, change: fn(&mut LoginFlags)) {
        if let Body::LoginResponse { flags, .. } = &mut pdu.body {
            change(flags);
        }
    }
    let cases: [(&str, Change); 14] = [
        ("the target answered task 0xdeadbeef; 0x00000000 was asked", |pdu| pdu.tag = 0xdead_beef),
        ("the target speaks iSCSI version 2; 0 was expected", |pdu| {
            if let Body::LoginResponse { version_active, .. } = &mut pdu.body {
                *version_active = 2;
            }
        }),
        ("the target's login response has stage Security; the operational stage was expected", |pdu| {
            set_flags(pdu, |flags| flags.current = Stage::Security)
        }),
        ("the target's login response has T=1 to Operational, C=0; T=1 to the next stage only, without C was expected", |pdu| {
            set_flags(pdu, |flags| flags.next = Stage::Operational)
        }),
        ("the target's login response has T=1 to FullFeature, C=1; T=1 to the next stage only, without C was expected", |pdu| {
            set_flags(pdu, |flags| flags.more = true)
        }),
        ("the target ended the login with TSIH 0; a session's handle was expected", |pdu| {
            if let Body::LoginResponse { tsih, .. } = &mut pdu.body {
                *tsih = 0;
            }
        }),
        ("the target answered MaxBurstLength=\"x\"; a number within the bounds of RFC 7143 section 13 was expected", |pdu| {
            pdu.data = b"MaxBurstLength=x\0".to_vec()
        }),
        ("bad text in a login response: TargetAlias stands twice in one answer", |pdu| {
            pdu.data = b"TargetAlias=x\0TargetAlias=y\0".to_vec()
        }),
        ("bad text in a login response: \"TargetAlias=x\": the text ends without a NUL", |pdu| {
            pdu.data = b"TargetAlias=x".to_vec()
        }),
        ("the target rejected the login request (reason 0x04, RFC 7143 11.17.1)", |pdu| {
            pdu.body = Body::Reject { reason: 4, stat_sn: 0, exp_cmd_sn: 0, max_cmd_sn: 0 }
        }),
        ("the target sent a NOP-in; a login response was expected", |pdu| {
            pdu.body = Body::NopIn { lun: [0; 8], target_tag: NO_TAG, stat_sn: 0, exp_cmd_sn: 0, max_cmd_sn: 0 }
        }),
        ("the target moved (status 0101), but names no address to follow: no TargetAddress", |pdu| {
            pdu.data.clear();
            status(pdu, 1, 1);
        }),
        ("the target moved to 10.13.20.15:3260", |pdu| {
            pdu.data = b"TargetAddress=10.13.20.15\0".to_vec();
            status(pdu, 1, 2);
        }),
        ("login refused with status 0302: the target is out of resources: too many sessions, or too little memory", |pdu| {
            status(pdu, 3, 2)
        }),
    ];
    for (want, change) in cases {
        let error = plain(move |peer| {
            let request = peer.read();
            let mut answer = response(&request, "TargetPortalGroupTag=1|");
            change(&mut answer);
            peer.write(&answer);
        });
        assert_eq!(error, want);
    }
}

#[test]
fn endless_logins() {
    let never = plain(|peer| loop {
        let Ok(()) = peer.0.peek(&mut [0]).map(|_| ()) else {
            return;
        };
        let mut header = [0; HEADER];
        if peer.0.read_exact(&mut header).is_err() {
            return;
        }
        let mut data = vec![0; sidus::iscsi::pdu::data_length(&header, 8192).unwrap().div_ceil(4) * 4];
        peer.0.read_exact(&mut data).unwrap();
        let mut answer = response(&Pdu::decode(&header, data).unwrap(), "");
        if let Body::LoginResponse { flags, .. } = &mut answer.body {
            flags.transit = false;
        }
        peer.write(&answer);
    });
    assert_eq!(never, "the login did not end within 64 PDUs");

    let long = plain(|peer| {
        for _ in 0..9 {
            let mut answer = response(&peer.read(), "");
            if let Body::LoginResponse { flags, .. } = &mut answer.body {
                (flags.transit, flags.more) = (false, true);
            }
            answer.data = vec![b'A'; 8192];
            peer.write(&answer);
        }
    });
    assert_eq!(long, "bad text in a login response: a text of more than 65536 bytes in the PDUs of one answer");
}

#[test]
fn chap_faults() {
    let mutual = || Config {
        credentials: credentials(("node", "node-secret"), Some(("target", "target-secret"))),
        ..config(Some(DISK))
    };
    let own = hex(&mutual().challenge.challenge);
    let challenge = "CHAP_A=5|CHAP_I=1|CHAP_C=0x000102030405060708090a0b0c0d0e0f|";
    let reflection = "CHAP: the target reflected this node's own challenge; it does not know its secret, or somebody stands in between";
    for (answers, want) in [
        (
            vec!["AuthMethod=CHAP|".to_owned(), format!("CHAP_A=5|CHAP_I=1|CHAP_C={own}|")],
            reflection,
        ),
        (
            vec!["AuthMethod=CHAP|".into(), challenge.into(), format!("CHAP_I=7|CHAP_C={own}|")],
            reflection,
        ),
        (
            vec!["AuthMethod=CHAP|".into(), challenge.into(), "CHAP_N=target|CHAP_R=0x00112233445566778899aabbccddeeff|".into()],
            "CHAP: the target proved a wrong secret; compare password_in with the outgoing account on the target",
        ),
        (
            vec!["AuthMethod=CHAP|".into(), challenge.into(), String::new()],
            "the target did not prove itself, but username_in and password_in demand it: set up mutual CHAP there, or remove them here",
        ),
        (
            vec!["AuthMethod=None|".into()],
            "the target did not prove itself, but username_in and password_in demand it: set up mutual CHAP there, or remove them here",
        ),
        (
            vec!["AuthMethod=Reject|".into()],
            "the target answered AuthMethod=\"Reject\"; CHAP was offered: see how it authenticates initiators",
        ),
        (vec![String::new()], "CHAP: the target's answer has no AuthMethod"),
        (
            vec!["AuthMethod=CHAP|".into(), "CHAP_A=7|CHAP_I=1|CHAP_C=0x00|".into()],
            "CHAP: the target wants CHAP algorithm \"7\"; \"5\" was offered",
        ),
        (
            vec!["AuthMethod=CHAP|".into(), format!("CHAP_A=5|CHAP_I=1|CHAP_C=0x{}|", "00".repeat(1025))],
            "CHAP: CHAP_C is neither hexadecimal (0x…) nor base64 (0b…) of 1 to 1024 bytes",
        ),
    ] {
        let error = login_error(mutual(), move |peer| {
            for answer in answers {
                let request = peer.read();
                peer.agree(&request, &answer);
            }
        });
        assert_eq!(error, want);
        assert!(!error.contains("-secret"), "{error}");
    }
}

fn discovery_error(limit: Duration, behave: impl FnOnce(&mut Peer) + Send + 'static) -> String {
    let (portal, thread) = serve(move |peer| {
        let request = peer.read();
        peer.agree(&request, "");
        behave(peer);
    });
    let started = Instant::now();
    let error = discover(portal, config(None), Deadline::after(limit)).unwrap_err();
    assert!(started.elapsed() < limit * 2, "{error}");
    thread.join().unwrap();
    error.to_string()
}

#[test]
fn discovery_faults() {
    for (name, want, answer) in [
        (
            "foreign tag",
            "the target answered task 0x00000063; 0x00000001 was asked",
            (|request| Pdu { tag: 99, ..text_response(request, true, NO_TAG, b"") }) as fn(&Pdu) -> Pdu,
        ),
        (
            "no tag",
            "the answer to SendTargets goes on (F=0), but has no target transfer tag to ask for the rest",
            |request| text_response(request, false, NO_TAG, b"TargetName=iqn.2026"),
        ),
        (
            "cut",
            "bad text in the answer to SendTargets: \"TargetName=iqn.2026\": the text ends without a NUL",
            |request| text_response(request, true, NO_TAG, b"TargetName=iqn.2026"),
        ),
        ("homeless", "TargetAddress=\"10.0.0.1,1\" stands before any TargetName", |request| {
            text_response(request, true, NO_TAG, b"TargetAddress=10.0.0.1,1\0")
        }),
        ("reject", "the target rejected SendTargets (reason 0x09, RFC 7143 11.17.1)", |request| {
            let mut pdu = text_response(request, true, NO_TAG, b"");
            pdu.body = Body::Reject { reason: 9, stat_sn: 0, exp_cmd_sn: 0, max_cmd_sn: 0 };
            pdu
        }),
        ("async", "the target ended the discovery (asynchronous event 1, RFC 7143 11.9.1)", |request| {
            let mut pdu = text_response(request, true, NO_TAG, b"");
            pdu.body = Body::Async {
                lun: [0; 8],
                stat_sn: 0,
                exp_cmd_sn: 0,
                max_cmd_sn: 0,
                event: 1,
                vendor_code: 0,
                parameters: [0; 3],
            };
            pdu
        }),
    ] {
        let error = discovery_error(LIMIT, move |peer| {
            let request = peer.read();
            peer.write(&answer(&request));
        });
        assert_eq!(error, want, "{name}");
    }
}

/// Answers every question and promises more, until the socket is closed.
fn forever(peer: &mut Peer, data: &[u8]) {
    loop {
        let mut header = [0; HEADER];
        if peer.0.read_exact(&mut header).is_err() {
            return;
        }
        let mut rest = vec![0; sidus::iscsi::pdu::data_length(&header, 8192).unwrap().div_ceil(4) * 4];
        peer.0.read_exact(&mut rest).unwrap();
        let request = Pdu::decode(&header, rest).unwrap();
        let bytes = text_response(&request, false, 5, data).encode().unwrap();
        if peer.0.write_all(&bytes).is_err() {
            return;
        }
    }
}

#[test]
fn endless_discoveries() {
    let limit = Duration::from_secs(10);
    assert_eq!(
        discovery_error(limit, |peer| forever(peer, b"")),
        "the answer to SendTargets did not end within 4096 PDUs"
    );
    assert_eq!(
        discovery_error(limit, |peer| forever(peer, &[b'x'; 8192])),
        "bad text in the answer to SendTargets: a text of more than 1048576 bytes in the PDUs of one answer"
    );
    assert_eq!(
        discovery_error(LIMIT, |peer| {
            let request = peer.read();
            peer.write(&text_response(&request, false, 5, b"TargetName="));
            peer.read();
        }),
        "the target is silent: no answer within 2.0 s"
    );
}

#[test]
fn names_that_span_pdus_and_a_ping_in_between() {
    let (portal, thread) = serve(|peer| {
        let request = peer.read();
        peer.agree(&request, "");
        let question = peer.read();
        peer.write(&text_response(&question, false, 5, b"TargetName=iqn.2026-01.org.exam"));
        let question = peer.read();
        let ping = Pdu {
            tag: NO_TAG,
            body: Body::NopIn { lun: [1; 8], target_tag: 77, stat_sn: 3, exp_cmd_sn: 0, max_cmd_sn: 0 },
            data: b"ping".to_vec(),
        };
        peer.write(&ping);
        let pong = peer.read();
        assert!(matches!(pong.body, Body::NopOut { lun: [1, 1, 1, 1, 1, 1, 1, 1], target_tag: 77, .. }), "{pong:?}");
        // RFC 7143 11.18: without a tag of the initiator there are no data.
        assert_eq!((pong.tag, pong.data.as_slice()), (NO_TAG, &b""[..]));
        peer.write(&text_response(
            &question,
            true,
            NO_TAG,
            b"ple:10.0.0.1\0TargetAddress=10.0.0.9,1\0TargetName=bad_\0TargetAddress=x y\0",
        ));
    });
    let found = discover(portal, config(None), Deadline::after(LIMIT)).unwrap();
    thread.join().unwrap();
    assert_eq!(found.targets.len(), 1);
    assert_eq!(found.targets[0].name.as_str(), "iqn.2026-01.org.example:10.0.0.1");
    assert_eq!(
        found.ignored,
        ["\"bad_\": '_' is not allowed in an iSCSI name; letters, digits, '-', '.' and ':' are (RFC 3722)"]
    );
}

#[test]
fn nothing_answers_a_connection() {
    use rustix::net::{bind, listen, socket, AddressFamily, SocketType};
    // A queue for one connection that nobody accepts: the next ones get no answer at all.
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let listener = TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let portal = Portal { ip: address.ip(), port: address.port() };
    let waiting: Vec<_> = (0..3).map(|_| TcpStream::connect_timeout(&address, LIMIT / 4)).collect();
    let started = Instant::now();
    let error = Carrier::connect(portal, Deadline::after(LIMIT)).unwrap_err().to_string();
    assert!(started.elapsed() < LIMIT * 2, "{error}");
    assert_eq!(error, format!("{portal}: no connection within 2.0 s"));
    drop(waiting);
}

/// The PDUs of a hostile target, without a socket: no panic, and an end, on any bytes.
#[test]
fn any_answer_ends_a_login() {
    let mut seed = 1_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 20) as usize
    };
    let words = [
        "AuthMethod=CHAP|",
        "AuthMethod=None|",
        "CHAP_A=5|",
        "CHAP_I=1|",
        "CHAP_C=0x01|",
        "CHAP_N=target|",
        "CHAP_R=0b|",
        "InitialR2T=Yes|",
        "MaxBurstLength=512|",
        "HeaderDigest=None|",
        "X-y=1|",
        "TargetPortalGroupTag=1|",
        "junk",
        "|",
    ];
    for round in 0..5_000 {
        let mut login = Login::new(Config {
            credentials: if round % 2 == 0 { None } else { credentials(("n", "s"), Some(("target", "t"))) },
            ..config(Some(DISK))
        });
        let mut request = login.start().unwrap();
        let mut pdus = 0;
        loop {
            let text: String = (0..next() % 4).map(|_| words[next() % words.len()]).collect();
            let mut answer = response(&request, &text);
            if next() % 3 == 0 {
                if let Body::LoginResponse { flags, .. } = &mut answer.body {
                    (flags.transit, flags.more) = (false, next() % 2 == 0);
                }
            }
            pdus += 1;
            assert!(pdus <= 65);
            match login.receive(&answer) {
                Ok(sidus::iscsi::login::Action::Send(pdu)) => request = pdu,
                _ => break,
            }
        }
    }
}
