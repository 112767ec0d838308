#![no_main]
use libfuzzer_sys::fuzz_target;
use sidus::iscsi::pdu::{Pdu, DEFAULT_MAX_DATA};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(pdu) = Pdu::from_bytes(bytes, DEFAULT_MAX_DATA) {
        assert!(pdu.data.len() <= DEFAULT_MAX_DATA);
        assert!(pdu.encode().is_ok());
    }
});
