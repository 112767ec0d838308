#![no_main]
use libfuzzer_sys::fuzz_target;
use sidus::{fstab, mountinfo, options::BootOptions};

// What an administrator or a tree may have written.
fuzz_target!(|bytes: &[u8]| {
    if let Some(adapted) = fstab::adapt(bytes, &["/", "/usr"], "overlay") {
        assert_eq!(fstab::adapt(&adapted, &["/", "/usr"], "overlay"), None);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = BootOptions::parse(text);
        let _ = mountinfo::parse(text);
    }
});
