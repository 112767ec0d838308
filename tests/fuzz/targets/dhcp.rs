#![no_main]
use libfuzzer_sys::fuzz_target;
use sidus::network::dhcp::{parse, Answer, Times};

fuzz_target!(|bytes: &[u8]| {
    // The transaction and the card that the message itself names: so its options are looked at.
    let part = |at: std::ops::Range<usize>| bytes.get(at).unwrap_or_default();
    let (Ok(xid), Ok(card)) = (part(4..8).try_into(), part(28..34).try_into()) else {
        return;
    };
    if let Some(Answer::Ack { times: Times { renew, rebind, end }, .. }) = parse(bytes, xid, card) {
        assert!(renew <= rebind && rebind <= end);
    }
});
