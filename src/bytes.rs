//! Reads fields out of hostile bytes without an index and without a panic.

/// Takes fields from the front of a byte string; every step is `None` past its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(head)
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn be16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn be32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// In the byte order of this machine, as netlink has it.
    pub(crate) fn ne16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    pub(crate) fn ne32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// The `N` bytes at `offset`.
pub(crate) fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk::<N>().copied()
}

/// The little-endian number at `offset`.
pub(crate) fn le16(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_le_bytes)
}

/// The little-endian number at `offset`.
pub(crate) fn le32(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_le_bytes)
}

/// The little-endian number at `offset`.
pub(crate) fn le64(bytes: &[u8], offset: usize) -> Option<u64> {
    at(bytes, offset).map(u64::from_le_bytes)
}

/// Whether `magic` stands at `offset`.
pub(crate) fn has(bytes: &[u8], offset: usize, magic: &[u8]) -> bool {
    bytes.get(offset..).is_some_and(|rest| rest.starts_with(magic))
}

/// What a stranger sent, fit for one line of a log: at most 80 characters, nothing that moves a
/// terminal's cursor.
pub(crate) fn shown(bytes: &[u8]) -> String {
    const LIMIT: usize = 80;
    let mut text = String::new();
    for (count, character) in String::from_utf8_lossy(bytes.get(..512).unwrap_or(bytes)).chars().enumerate() {
        if count >= LIMIT {
            text.push('…');
            break;
        }
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_ends_without_a_panic() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5]);
        assert_eq!(reader.u8(), Some(1));
        assert_eq!(reader.be16(), Some(0x0203));
        assert_eq!(reader.be32(), None);
        assert_eq!(reader.rest(), &[4, 5]);
        assert_eq!(reader.take(usize::MAX), None);
    }

    #[test]
    fn shown_is_bounded_and_printable() {
        assert_eq!(shown(b"a\x1b[2Jb\0"), "a\\u{1b}[2Jb\\u{0}");
        assert_eq!(shown(&[b'x'; 4000]).chars().count(), 81);
        assert_eq!(shown(&[0xff, b'a']), "\u{fffd}a");
    }
}
