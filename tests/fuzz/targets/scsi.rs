#![no_main]
use libfuzzer_sys::fuzz_target;
use sidus::scsi::{holder, keys, Sense};

fuzz_target!(|bytes: &[u8]| {
    let _ = (Sense::decode(bytes), holder(bytes));
    if let Some(keys) = keys(bytes) {
        assert!(keys.keys.len() * 8 <= bytes.len());
    }
});
