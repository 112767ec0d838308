//! The digest of headers and data (RFC 7143 section 13.1): a CRC with Castagnoli's polynomial.

/// The polynomial, bit by bit reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The digest as it is sent. Bit by bit, without a table: what is carried here is short and rare.
pub fn crc32c(bytes: &[u8]) -> [u8; 4] {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
    });
    (!crc).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7143 appendix A.4.
    #[test]
    fn digests_of_the_rfc() {
        let up: Vec<u8> = (0..32).collect();
        let down: Vec<u8> = (0..32).rev().collect();
        for (bytes, expected) in [
            (vec![0; 32], [0xaa, 0x36, 0x91, 0x8a]),
            (vec![0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (up, [0x4e, 0x79, 0xdd, 0x46]),
            (down, [0x5c, 0xdb, 0x3f, 0x11]),
        ] {
            assert_eq!(crc32c(&bytes), expected, "{bytes:x?}");
        }
    }
}
