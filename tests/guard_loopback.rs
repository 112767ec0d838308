//! The reservation of a LUN, as a keeper makes sure of it, against tgt and istgt on loopback. Needs no root and no disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

mod targets;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sidus::guard::{Key, Reserved, Was};
use sidus::iscsi::deadline::Deadline;
use sidus::iscsi::errand;
use sidus::iscsi::login::{Config, Negotiated};
use sidus::iscsi::name::Portal;
use sidus::iscsi::negotiation::{Digest, Offer};
use sidus::iscsi::pdu::{data_length, padding, Body, Pdu};
use targets::{config, credentials, Istgt, Tgt};

const DISK: &str = "iqn.2026-01.org.example:10.13.20.101";
const A: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
const B: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];

/// What the kernel counts, as the target tells it.
const NEXT: u32 = 40;

fn run(portal: Portal, config: Config, mac: [u8; 6], lun: u64) -> Result<(TcpStream, Negotiated, Was), String> {
    let reserved = Reserved { key: Key::new(mac), lun };
    let deadline = Deadline::after(Duration::from_secs(20));
    errand::run(portal, config, NEXT, &reserved, deadline).map_err(|error| error.to_string())
}

/// The status of a TEST UNIT READY, sent as the kernel goes on.
fn go_on(stream: &mut TcpStream, agreed: &Negotiated) -> u8 {
    let lun = [0, 1, 0, 0, 0, 0, 0, 0];
    let (cmd_sn, exp_stat_sn, cdb) = (NEXT, agreed.exp_stat_sn, [0; 16]);
    let body = Body::ScsiCommand { read: false, write: false, lun, length: 0, cmd_sn, exp_stat_sn, cdb };
    stream.write_all(&Pdu { tag: 77, body, data: Vec::new() }.encode().unwrap()).unwrap();
    let mut header = [0; 48];
    stream.read_exact(&mut header).unwrap();
    let length = data_length(&header, 8192).unwrap();
    let mut data = vec![0; length + padding(length)];
    stream.read_exact(&mut data).unwrap();
    match Pdu::decode(&header, data).unwrap() {
        Pdu { tag: 77, body: Body::ScsiResponse { status, stat_sn, .. }, .. } if stat_sn == exp_stat_sn => status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reservation_by_tgt_goes_with_its_node_and_the_connection_goes_on() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.target(1, DISK);
    tgt.disk(1, 1);
    let (mut stream, agreed, was) = run(tgt.portal, config(Some(DISK)), A, 1).unwrap();
    assert_eq!((was, agreed.cmd_sn), (Was::Free, NEXT));
    assert_eq!(go_on(&mut stream, &agreed), 0);
    drop(stream);
    // Another login of the same node, to which tgt is as to a stranger.
    let (mut stream, agreed, was) = run(tgt.portal, config(Some(DISK)), A, 1).unwrap();
    assert_eq!(was, Was::Own);
    assert_eq!(go_on(&mut stream, &agreed), 0);
    // Another node, under the same name and under one of its own.
    let refused = "the node 52:54:00:00:00:01 has reserved the LUN, and may be writing to it";
    assert_eq!(run(tgt.portal, config(Some(DISK)), B, 1).unwrap_err(), refused);
    let other = Config { initiator: "iqn.2026-01.org.example:other".parse().unwrap(), ..config(Some(DISK)) };
    assert_eq!(run(tgt.portal, other, B, 1).unwrap_err(), refused);
}

#[test]
fn a_reservation_with_chap_by_tgt() {
    let tgt = Tgt::start("127.0.0.1");
    tgt.target(1, DISK);
    tgt.disk(1, 1);
    tgt.account(1, "node", "node-secret", false);
    let config = Config { credentials: credentials(("node", "node-secret"), None), ..config(Some(DISK)) };
    let (mut stream, agreed, _) = run(tgt.portal, config, A, 1).unwrap();
    assert_eq!(go_on(&mut stream, &agreed), 0);
}

#[test]
fn a_reservation_with_digests_by_istgt() {
    let istgt = Istgt::start("127.0.0.1");
    let offer = Offer { header_digest: Digest::Crc32c, data_digest: Digest::Crc32c, ..Offer::default() };
    let config = || Config { offer, ..config(Some("iqn.2026-01.org.example:open")) };
    let (_, agreed, was) = run(istgt.portal, config(), A, 0).unwrap();
    assert_eq!((was, agreed.cmd_sn), (Was::Free, NEXT));
    assert_eq!(agreed.parameters.header_digest, Digest::Crc32c);
    assert_eq!(
        run(istgt.portal, config(), B, 0).unwrap_err(),
        "the node 52:54:00:00:00:01 has reserved the LUN, and may be writing to it"
    );
}
