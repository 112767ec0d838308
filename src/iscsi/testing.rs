//! Random bytes that are the same on every run.

/// xorshift64*: small, and a failing case fails again.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from((self.next() >> 33) % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    /// At most `limit` bytes.
    pub(crate) fn bytes(&mut self, limit: usize) -> Vec<u8> {
        let length = self.below(limit.saturating_add(1));
        (0..length).map(|_| self.next().to_be_bytes()[0]).collect()
    }

    /// At most `limit` bytes out of an alphabet that makes interesting cases likely.
    pub(crate) fn of(&mut self, alphabet: &[u8], limit: usize) -> Vec<u8> {
        let length = self.below(limit.saturating_add(1));
        (0..length).map(|_| alphabet[self.below(alphabet.len())]).collect()
    }

    /// The same as text.
    pub(crate) fn text(&mut self, alphabet: &[u8], limit: usize) -> String {
        String::from_utf8_lossy(&self.of(alphabet, limit)).into_owned()
    }
}
