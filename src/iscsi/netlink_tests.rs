use super::*;
use crate::iscsi::pdu::Body;
use crate::iscsi::testing::Random;

const AT: Connection = Connection { sid: 0x0102_0304, cid: 0x0506_0708 };
const HANDLE: u64 = 0xffff_ffff_c0de_c0de;

/// The fields in their places: payload offsets, then what stands there.
fn check(request: &Request<'_>, event: u16, fields: &[(usize, u32)], data: &[u8]) {
    let bytes = request.encode(HANDLE).unwrap();
    let mut want = Vec::new();
    want.extend(u32::try_from(72 + data.len()).unwrap().to_ne_bytes());
    want.extend(event.to_ne_bytes());
    want.extend([0; 10]);
    let mut payload = vec![0; 56];
    payload[0..4].copy_from_slice(&u32::from(event).to_ne_bytes());
    payload[8..16].copy_from_slice(&HANDLE.to_ne_bytes());
    for (offset, number) in fields {
        payload[*offset..offset + 4].copy_from_slice(&number.to_ne_bytes());
    }
    want.extend(payload);
    want.extend(data);
    assert_eq!(bytes, want, "{}", request.name());
}

#[test]
fn requests() {
    let pair = [(16, AT.sid), (20, AT.cid)];
    let with = |more: &[(usize, u32)]| [&pair[..], more].concat();
    let shorts = u32::from_ne_bytes([[128, 0], [32, 0]].concat().try_into().unwrap());
    check(
        &Request::CreateSession {
            initial_cmd_sn: 9,
            cmds_max: u16::from_ne_bytes([128, 0]),
            queue_depth: u16::from_ne_bytes([32, 0]),
        },
        11,
        &[(16, 9), (20, shorts)],
        b"",
    );
    check(&Request::DestroySession { sid: 7 }, 12, &[(16, 7)], b"");
    check(&Request::CreateConnection(AT), 13, &pair, b"");
    check(&Request::DestroyConnection(AT), 14, &pair, b"");
    // A little-endian u64 has its number in the first half.
    let halves = |number: u64| {
        let bytes = number.to_ne_bytes();
        [0, 4].map(|at| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()))
    };
    let [low, high] = halves(5);
    check(&Request::Bind { connection: AT, fd: 5 }, 15, &with(&[(24, low), (28, high), (32, 1)]), b"");
    check(
        &Request::SetParam { connection: AT, param: Param::MaxBurst, value: b"262144" },
        16,
        &with(&[(24, 8), (28, 7)]),
        b"262144\0",
    );
    check(&Request::Start(AT), 17, &pair, b"");
    check(&Request::Stop { connection: AT, how: Stop::Terminate }, 18, &with(&[(32, 1)]), b"");
    check(&Request::Stop { connection: AT, how: Stop::Recover }, 18, &with(&[(32, 3)]), b"");
    check(&Request::UnbindSession { sid: 7 }, 27, &[(16, 7)], b"");
    let pdu = Pdu {
        tag: 1,
        body: Body::LogoutRequest { reason: 0, cid: 0, cmd_sn: 0, exp_stat_sn: 0 },
        data: b"abcde".to_vec(),
    };
    check(&Request::SendPdu { connection: AT, pdu: &pdu }, 19, &with(&[(24, 48), (28, 8)]), &pdu.encode().unwrap());
    let long = Pdu { data: vec![0; MAX_MESSAGE], ..pdu };
    assert!(matches!(Request::SendPdu { connection: AT, pdu: &long }.encode(0), Err(NetlinkError::TooLong { .. })));
}

/// A message of the kernel.
fn message(kind: u16, event: u32, iferror: i32, r: [u32; 3], data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(72 + data.len()).unwrap().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(event.to_ne_bytes());
    bytes.extend(iferror.to_ne_bytes());
    bytes.extend([0xee; 32]);
    for number in r {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend([0; 4]);
    bytes.extend(data);
    bytes
}

#[test]
fn what_the_kernel_says() {
    let connection = Connection { sid: 1, cid: 0 };
    for (bytes, want) in [
        (message(11, 11, 0, [1, 4, 0], b""), Event::Reply(Reply { event: 11, first: 1, second: 4 })),
        (message(16, 103, -107, [0; 3], b""), Event::Failed { event: 16, errno: 107 }),
        (message(0, 101, 0, [1, 0, 0], b"pdu"), Event::Pdu { connection, bytes: b"pdu".to_vec() }),
        (message(0, 102, 0, [1, 0, 1020], b""), Event::ConnectionError { connection, error: 1020 }),
        (message(0, 104, 0, [4, 1, 0], b""), Event::SessionDestroyed { sid: 1 }),
        (message(0, 105, 0, [1, 4, 0], b""), Event::SessionUnbound { sid: 1 }),
        (message(0, 106, 0, [1, 4, 0], b""), Event::SessionCreated { sid: 1 }),
        (message(0, 110, 0, [0; 3], b""), Event::Other { event: 110 }),
    ] {
        assert_eq!(decode(&bytes), Ok(vec![want]));
    }
    let two = [message(0, 101, 0, [1, 0, 0], b"abc"), vec![0], message(17, 17, 0, [0; 3], b"")].concat();
    assert_eq!(decode(&two).unwrap().len(), 2);
    let bind = Reply { event: 15, first: u32::MAX - 16, second: 0 };
    assert_eq!(bind.retcode(), Some(17), "EEXIST");
    assert_eq!(Reply { first: 0, ..bind }.retcode(), None);
}

#[test]
fn bad_messages() {
    let good = message(11, 11, 0, [1, 4, 0], b"");
    for (bytes, want) in [
        (&good[..71], "a netlink message of 71 bytes; at least 72 were expected"),
        (&good[..3], "a netlink message of 3 bytes; at least 16 were expected"),
        (&[0; 16], "a netlink message of 0 bytes; at least 72 were expected"),
        (&[0; MAX_MESSAGE + 1], "a netlink message of 16385 bytes; at most 16384 were expected"),
    ] {
        assert_eq!(decode(bytes).map_err(|e| e.to_string()), Err(want.to_owned()));
    }
    assert_eq!(decode(&good.repeat(65)), Err(NetlinkError::TooMany));
    assert_eq!(decode(b""), Ok(vec![]));
}

#[test]
fn any_bytes_never_panic() {
    let mut random = Random::new(6);
    for _ in 0..50_000 {
        let data = random.bytes(40);
        let kind = u16::try_from(random.below(30)).unwrap();
        let event = u32::try_from(random.below(120)).unwrap();
        let mut bytes = message(kind, event, -1, [1, 2, 3], &data);
        for _ in 0..random.below(4) {
            let place = random.below(bytes.len());
            bytes[place] = random.next().to_be_bytes()[0];
        }
        bytes.truncate(random.below(bytes.len() * 2));
        let _ = decode(&bytes);
        let _ = decode(&random.bytes(200));
    }
}
