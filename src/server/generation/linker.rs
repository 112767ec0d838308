//! The cache of the dynamic linker (ld.so(8), ldconfig(8)): where it finds the library of a name.
//!
//! Each package with a library makes another cache, and each program that mkinitramfs runs has it read. Whoever has looked for
//! other libraries alone has found what it had found before. That a library was looked for is known by its file's name, which
//! the linker opens, or misses in the default folders; one that may not be there (`-z nodefaultlib`, ld(1)) is not known.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::server::tree::inside::names::Names;

/// It has some 100 kB for a thousand libraries, and no tree has ten times as many; in bytes.
pub const MAX_CACHE: u64 = 2 << 20;

/// The beginning of a file, and its version (glibc, dl-cache.h: `CACHEMAGIC_VERSION_NEW`).
const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
/// The length of `struct cache_file_new` before its entries, and that of an entry, in bytes.
const HEADER: usize = 48;
const ENTRY: usize = 24;
/// The beginning of the table of extensions, the length of that before its sections, and that of a section.
const EXTENSIONS: usize = 0xeaa4_2174;
const EXTENSIONS_HEADER: usize = 8;
const SECTION: usize = 16;
/// The section with the names of variants for better processors (`glibc-hwcaps`); so many are there, at most.
const VARIANTS: usize = 1;
const MAX_VARIANTS: usize = 64;
/// Where a header has the order of bytes, and where the extensions begin, or 0.
const FLAGS_AT: usize = 28;
const EXTENSIONS_AT: usize = 32;
/// No name or path is longer, in bytes (`PATH_MAX`).
const MAX_STRING: usize = 4096;

/// One library.
#[derive(Debug, PartialEq, Eq)]
struct Library<'a> {
    /// Its name, as programs have it.
    name: &'a [u8],
    path: &'a [u8],
    /// Of which kind it is, and for which processors.
    kind: usize,
    processors: &'a [u8],
}

/// What a cache says.
#[derive(Debug, PartialEq, Eq)]
struct Cache<'a> {
    /// The order of bytes.
    flags: u8,
    variants: Vec<&'a [u8]>,
    libraries: Vec<Library<'a>>,
}

/// Whether whoever looked for these names alone finds the same by both; `false` if that is not known.
#[must_use]
pub fn are_alike(one: &[u8], other: &[u8], names: &Names) -> bool {
    let known = |text| {
        let mut cache = Cache::parse(text)?;
        cache.libraries.retain(|library| library.may_be_among(names));
        Some(cache)
    };
    known(one).is_some_and(|one| known(other) == Some(one))
}

impl<'a> Cache<'a> {
    fn parse(text: &'a [u8]) -> Option<Self> {
        if !text.starts_with(MAGIC) {
            return None;
        }
        let count = number(text, MAGIC.len())?;
        let libraries = text.get(HEADER..)?.get(..count.checked_mul(ENTRY)?)?.chunks_exact(ENTRY);
        let variants = match number(text, EXTENSIONS_AT)? {
            0 => Vec::new(),
            at => variants(text, at)?,
        };
        Some(Self {
            flags: *text.get(FLAGS_AT)?,
            variants,
            libraries: libraries.map(|entry| Library::parse(text, entry)).collect::<Option<_>>()?,
        })
    }
}

/// What the extensions at this place name.
fn variants(text: &[u8], at: usize) -> Option<Vec<&[u8]>> {
    let table = text.get(at..)?;
    if number(table, 0)? != EXTENSIONS {
        return None;
    }
    let sections = table.get(EXTENSIONS_HEADER..)?.get(..number(table, 4)?.checked_mul(SECTION)?)?;
    let Some(section) = sections.chunks_exact(SECTION).find(|section| number(section, 0) == Some(VARIANTS)) else {
        return Some(Vec::new());
    };
    let list = text.get(number(section, 8)?..)?.get(..number(section, 12)?)?.chunks_exact(4);
    if list.len() > MAX_VARIANTS {
        return None;
    }
    list.map(|name| string(text, number(name, 0)?)).collect()
}

impl<'a> Library<'a> {
    fn parse(text: &'a [u8], entry: &'a [u8]) -> Option<Self> {
        Some(Self {
            kind: number(entry, 0)?,
            name: string(text, number(entry, 4)?)?,
            path: string(text, number(entry, 8)?)?,
            processors: entry.get(16..)?,
        })
    }

    /// Whether it may be found by who looks for these names.
    fn may_be_among(&self, names: &Names) -> bool {
        let file = Path::new(OsStr::from_bytes(self.path)).file_name().map(OsStr::as_bytes);
        // ldconfig(8) makes files of the names. The linker takes 06 in a name for 6.
        let is_plain = file == Some(self.name) && !has_zeros(self.name);
        !is_plain || names.have(OsStr::from_bytes(self.name))
    }
}

/// Whether a number in it begins with a needless zero.
fn has_zeros(name: &[u8]) -> bool {
    name.split(|byte| !byte.is_ascii_digit()).any(|number| number.len() > 1 && number.starts_with(b"0"))
}

/// Four bytes at this place, least first.
fn number(text: &[u8], at: usize) -> Option<usize> {
    let bytes = text.get(at..)?.first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

/// What is at this place, up to a NUL.
fn string(text: &[u8], at: usize) -> Option<&[u8]> {
    let rest = text.get(at..)?;
    rest.get(..rest.iter().take(MAX_STRING).position(|byte| *byte == 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of names, paths and processors; and of names of variants.
    fn cache(libraries: &[(&str, &str, u64)], variants: &[&str]) -> Vec<u8> {
        let u32 = |number: usize| u32::try_from(number).unwrap().to_le_bytes();
        let mut strings: Vec<u8> = Vec::new();
        let strings_at = HEADER + ENTRY * libraries.len();
        let mut add = |text: &str| {
            let at = strings_at + strings.len();
            strings.extend([text.as_bytes(), b"\0"].concat());
            u32(at)
        };
        let mut entries: Vec<u8> = Vec::new();
        for (name, path, processors) in libraries {
            entries.extend([u32(0x303), add(name), add(path), u32(0)].concat());
            entries.extend(processors.to_le_bytes());
        }
        let named: Vec<u8> = variants.iter().flat_map(|name| add(name)).collect();
        while (strings_at + strings.len()) % 4 != 0 {
            strings.push(0);
        }
        let at = strings_at + strings.len();
        let section = [u32(VARIANTS), u32(0), u32(at + EXTENSIONS_HEADER + SECTION), u32(named.len())].concat();
        [MAGIC, &u32(libraries.len()), &u32(strings.len()), &u32(2), &u32(at), &[0; 12], &entries, &strings]
            .concat()
            .into_iter()
            .chain([u32(EXTENSIONS), u32(1)].concat())
            .chain(section)
            .chain(named)
            .collect()
    }

    fn names(names: &[&str]) -> Names {
        Names(names.iter().map(Into::into).collect())
    }

    const C: (&str, &str, u64) = ("libc.so.6", "/lib/libc.so.6", 0);
    const Z: (&str, &str, u64) = ("libz.so.1", "/lib/libz.so.1", 0);

    #[test]
    fn other_libraries_than_those_looked_for_do_not_matter() {
        let looked_for = names(&["libc.so.6", "lib"]);
        let one = cache(&[C], &["x86-64-v3"]);
        for (other, expected) in [
            (cache(&[C], &["x86-64-v3"]), true),
            (cache(&[Z, C], &["x86-64-v3"]), true),
            (cache(&[C, Z], &["x86-64-v3"]), true),
            (cache(&[], &["x86-64-v3"]), false),
            (cache(&[C, C], &["x86-64-v3"]), false),
            (cache(&[C, ("libc.so.6", "/opt/libc.so.6", 0)], &["x86-64-v3"]), false),
            (cache(&[("libc.so.6", "/opt/libc.so.6", 0)], &["x86-64-v3"]), false),
            (cache(&[("libc.so.6", "/lib/libc.so.6", 1 << 62)], &["x86-64-v3"]), false),
            (cache(&[C], &["x86-64-v4"]), false),
            (cache(&[C], &[]), false),
            // Names that are not those of their files, or equal to others.
            (cache(&[C, ("libx.so.1", "/lib/libc.so.6", 0)], &["x86-64-v3"]), false),
            (cache(&[C, ("libx.so.1", "/lib/libx.so.1.2", 0)], &["x86-64-v3"]), false),
            (cache(&[C, ("libc.so.06", "/lib/libc.so.06", 0)], &["x86-64-v3"]), false),
            (cache(&[C, ("libx-2.0.so.0", "/lib/libx-2.0.so.0", 0)], &["x86-64-v3"]), true),
        ] {
            assert_eq!(are_alike(&one, &other, &looked_for), expected, "{:?}", Cache::parse(&other));
        }
        let both = names(&["libc.so.6", "libz.so.1"]);
        assert!(!are_alike(&cache(&[C, Z], &[]), &cache(&[Z, C], &[]), &both), "the first is taken");
    }

    #[test]
    fn what_is_no_cache_is_like_none() {
        let whole = cache(&[C, Z], &["x86-64-v3"]);
        assert!(
            Cache::parse(&whole).is_some_and(|cache| cache.libraries.len() == 2 && cache.variants == [b"x86-64-v3"])
        );
        for length in 0..whole.len() {
            assert_eq!(Cache::parse(&whole[..length]), None, "{length}");
        }
        let none = names(&[]);
        for text in [&b""[..], b"ld.so-1.7.0", &whole[..HEADER]] {
            assert!(!are_alike(text, text, &none), "{text:?}");
        }
        let long = "x".repeat(MAX_STRING);
        assert_eq!(Cache::parse(&cache(&[(&long, "/lib/x", 0)], &[])), None);
        assert_eq!(Cache::parse(&cache(&[], &["x"; MAX_VARIANTS + 1])), None);
        // Any byte may be any other.
        for at in 0..whole.len() {
            for byte in [0, 1, 0x7f, 0xff] {
                let mut spoilt = whole.clone();
                spoilt[at] = byte;
                let _ = are_alike(&spoilt, &whole, &none);
            }
        }
    }

    #[test]
    fn this_machines_cache_is_read() {
        let Ok(text) = std::fs::read("/etc/ld.so.cache") else { return };
        let cache = Cache::parse(&text).unwrap();
        let found = cache.libraries.iter().find(|library| library.name == b"libc.so.6").unwrap();
        assert!(found.path.ends_with(b"/libc.so.6"), "{found:?}");
        let odd: Vec<_> = cache.libraries.iter().filter(|library| library.may_be_among(&names(&[]))).collect();
        assert!(odd.len() < cache.libraries.len() / 4, "{odd:?}");
    }
}
