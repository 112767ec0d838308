#![no_main]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = sidus::iscsi::credentials::CredentialsFile::parse(bytes);
});
