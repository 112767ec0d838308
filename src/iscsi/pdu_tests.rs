use super::*;
use crate::iscsi::testing::Random;

fn every_kind() -> Vec<Body> {
    let flags = LoginFlags { transit: true, more: false, current: Stage::Operational, next: Stage::FullFeature };
    let (lun, target_tag, stat_sn, exp_cmd_sn, max_cmd_sn) =
        ([1, 2, 3, 4, 5, 6, 7, 8], 0x1122_3344, 0xa1a2_a3a4, 0xb1b2_b3b4, 0xc1c2_c3c4);
    let (cmd_sn, exp_stat_sn) = (0xd1d2_d3d4, 0xe1e2_e3e4);
    vec![
        Body::LoginRequest { flags, isid: [0, 2, 0x3d, 0, 0, 1], tsih: 0x0708, cid: 0x090a, cmd_sn, exp_stat_sn },
        Body::LoginResponse {
            flags,
            version_max: 0,
            version_active: 0,
            isid: [0, 2, 0x3d, 0, 0, 1],
            tsih: 0x0708,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            status_class: 2,
            status_detail: 1,
        },
        Body::ScsiCommand { read: true, write: false, lun, length: 8, cmd_sn, exp_stat_sn, cdb: *b"0123456789abcdef" },
        Body::ScsiResponse { response: 1, status: 2, stat_sn, exp_cmd_sn, max_cmd_sn },
        Body::DataIn { has_status: true, status: 2, stat_sn, exp_cmd_sn, max_cmd_sn },
        Body::TextRequest { immediate: true, last: true, more: false, lun, target_tag, cmd_sn, exp_stat_sn },
        Body::TextResponse { last: false, more: true, lun, target_tag, stat_sn, exp_cmd_sn, max_cmd_sn },
        Body::LogoutRequest { reason: 1, cid: 3, cmd_sn, exp_stat_sn },
        Body::LogoutResponse { response: 2, stat_sn, exp_cmd_sn, max_cmd_sn, time2wait: 0x0203, time2retain: 0x0405 },
        Body::Reject { reason: 4, stat_sn, exp_cmd_sn, max_cmd_sn },
        Body::NopOut { lun, target_tag, cmd_sn, exp_stat_sn },
        Body::NopIn { lun, target_tag, stat_sn, exp_cmd_sn, max_cmd_sn },
        Body::Async { lun, stat_sn, exp_cmd_sn, max_cmd_sn, event: 1, vendor_code: 2, parameters: [3, 4, 5] },
    ]
}

#[test]
fn every_kind_survives_the_wire() {
    for body in every_kind() {
        for data in [&b""[..], b"a", b"ab", b"abc", b"abcd", b"abcde"] {
            let pdu = Pdu { tag: 0x0a0b_0c0d, body, data: data.to_vec() };
            let bytes = pdu.encode().unwrap();
            assert_eq!(bytes.len() % 4, 0, "{}", body.kind());
            assert_eq!(bytes.len(), HEADER + data.len().div_ceil(4) * 4);
            assert!(bytes[HEADER + data.len()..].iter().all(|b| *b == 0));
            assert_eq!(Pdu::from_bytes(&bytes, 5), Ok(pdu), "{}", body.kind());
        }
    }
}

/// Each byte where RFC 7143 section 11 draws it.
#[test]
fn bytes_of_the_headers() {
    for (body, want) in every_kind().into_iter().zip([
        "4387000000000003 00023d0000010708 0a0b0c0d 090a0000 d1d2d3d4 e1e2e3e4 00000000 000000000000000000000000",
        "2387000000000003 00023d0000010708 0a0b0c0d 00000000 a1a2a3a4 b1b2b3b4 c1c2c3c4 020100000000000000000000",
        "01c1000000000003 0102030405060708 0a0b0c0d 00000008 d1d2d3d4 e1e2e3e4 30313233 343536373839616263646566",
        "2180010200000003 0000000000000000 0a0b0c0d 00000000 a1a2a3a4 b1b2b3b4 c1c2c3c4 000000000000000000000000",
        "2581000200000003 0000000000000000 0a0b0c0d ffffffff a1a2a3a4 b1b2b3b4 c1c2c3c4 000000000000000000000000",
        "4480000000000003 0102030405060708 0a0b0c0d 11223344 d1d2d3d4 e1e2e3e4 00000000 000000000000000000000000",
        "2440000000000003 0102030405060708 0a0b0c0d 11223344 a1a2a3a4 b1b2b3b4 c1c2c3c4 000000000000000000000000",
        "4681000000000003 0000000000000000 0a0b0c0d 00030000 d1d2d3d4 e1e2e3e4 00000000 000000000000000000000000",
        "2680020000000003 0000000000000000 0a0b0c0d 00000000 a1a2a3a4 b1b2b3b4 c1c2c3c4 000000000203040500000000",
        "3f80040000000003 0000000000000000 0a0b0c0d 00000000 a1a2a3a4 b1b2b3b4 c1c2c3c4 000000000000000000000000",
        "4080000000000003 0102030405060708 0a0b0c0d 11223344 d1d2d3d4 e1e2e3e4 00000000 000000000000000000000000",
        "2080000000000003 0102030405060708 0a0b0c0d 11223344 a1a2a3a4 b1b2b3b4 c1c2c3c4 000000000000000000000000",
        "3280000000000003 0102030405060708 0a0b0c0d 00000000 a1a2a3a4 b1b2b3b4 c1c2c3c4 010200030004000500000000",
    ]) {
        let bytes = Pdu { tag: 0x0a0b_0c0d, body, data: b"abc".to_vec() }.encode().unwrap();
        let hex: String = bytes[..HEADER].iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, want.replace(' ', ""), "{}", body.kind());
    }
}

#[test]
fn bad_headers() {
    let mut header = [0; HEADER];
    header[0] = 0x23;
    header[7] = 9;
    assert_eq!(data_length(&header, 8), Err(PduError::TooLong { opcode: 0x23, got: 9, limit: 8 }));
    assert_eq!(Pdu::from_bytes(&header, 9), Err(PduError::Short { got: 48, want: 57 }));
    assert_eq!(Pdu::from_bytes(&header[..47], 9), Err(PduError::Short { got: 47, want: 48 }));
    header[4] = 1;
    assert_eq!(data_length(&header, 9), Err(PduError::AdditionalHeader { opcode: 0x23, words: 1 }));
    let http = *b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n\r\n";
    let header = http.first_chunk::<HEADER>().unwrap();
    assert_eq!(
        data_length(header, DEFAULT_MAX_DATA).map_err(|e| e.to_string()),
        Err("a PDU (opcode 0x08) with an additional header of 47 words; none was expected".into())
    );
    assert_eq!(
        Pdu::decode(header, Vec::new()).map_err(|e| e.to_string()),
        Err("a PDU with opcode 0x08; an iSCSI login, text, SCSI, logout or housekeeping PDU was expected".into())
    );
}

#[test]
fn any_bytes_never_panic() {
    let mut random = Random::new(2);
    for _ in 0..50_000 {
        let mut bytes = random.bytes(120);
        if let Some(words) = bytes.get_mut(4) {
            *words &= 1;
        }
        if let Some([a, b, _]) = bytes.get_mut(5..8) {
            (*a, *b) = (0, 0);
        }
        if let Ok(pdu) = Pdu::from_bytes(&bytes, 64) {
            assert!(pdu.data.len() <= 64);
            let again = pdu.encode().unwrap();
            assert_eq!(Pdu::from_bytes(&again, 64).map(|p| p.data), Ok(pdu.data));
        }
    }
}
