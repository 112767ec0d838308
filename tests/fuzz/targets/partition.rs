#![no_main]
use std::io;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut read_at = |offset: u64, buffer: &mut [u8]| {
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let source = bytes.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(source.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    };
    for sector in [512, 4096] {
        let _ = sidus::partition::read(&mut read_at, bytes.len() as u64, sector);
    }
});
