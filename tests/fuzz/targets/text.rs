#![no_main]
use libfuzzer_sys::fuzz_target;
use sidus::iscsi::{discovery, text::Keys};

fuzz_target!(|bytes: &[u8]| {
    let _ = Keys::parse(bytes);
    let _ = discovery::parse(bytes);
});
