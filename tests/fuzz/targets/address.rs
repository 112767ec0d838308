#![no_main]
use libfuzzer_sys::fuzz_target;
use sidus::iscsi::name::{Iqn, Portal, TargetAddress};

fuzz_target!(|text: &str| {
    let _ = text.parse::<Iqn>();
    let _ = text.parse::<Portal>();
    if let Ok(address) = text.parse::<TargetAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
});
