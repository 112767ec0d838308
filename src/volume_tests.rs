use super::*;
use crate::iscsi::testing::Random;

fn with(parts: &[(usize, &[u8])]) -> Vec<u8> {
    let mut first = vec![0; PROBE];
    for (offset, bytes) in parts {
        first[*offset..*offset + bytes.len()].copy_from_slice(bytes);
    }
    first
}

const EXT4: [(usize, &[u8]); 2] = [(1024, &[1, 0, 0, 0]), (1080, &[0x53, 0xef])];

#[test]
fn what_is_there() {
    for (parts, want) in [
        (vec![], Ok(Contents::Blank)),
        (vec![(PROBE - 1, &[1_u8][..])], Ok(Contents::Unknown)),
        (vec![(510, &[0x55, 0xaa])], Ok(Contents::Unknown)),
        (vec![(510, &[0x55, 0xaa]), (450, &[0x83])], Ok(Contents::Partitions)),
        (vec![(510, &[0x55, 0xaa]), (450, &[0x83]), (446, &[0x41])], Ok(Contents::Unknown)),
        (vec![(512, b"EFI PART")], Ok(Contents::Partitions)),
        (vec![(4096, b"EFI PART")], Ok(Contents::Partitions)),
        (vec![(4086, b"SWAPSPACE2")], Ok(Contents::Foreign("swap space"))),
        (vec![(0, b"LUKS\xba\xbe\0\x02")], Ok(Contents::Foreign("LUKS (an encrypted volume)"))),
        (vec![(512, b"LABELONE"), (0x218, b"LVM2 001")], Ok(Contents::Foreign("LVM2 physical volume"))),
        (vec![(510, &[0x55, 0xaa]), (450, &[0x83]), (82, b"FAT32   ")], Ok(Contents::Foreign("FAT"))),
        (vec![(65_600, b"_BHRfS_M"), (65_672, &[2])], Err(VolumeError::SeveralDevices { devices: 2 })),
        (vec![(0, b"XFSB\0\0\x10\x01")], Err(VolumeError::Damaged { kind: "xfs", what: "the block size" })),
        (vec![(1080, &[0x53, 0xef])], Err(VolumeError::Damaged { kind: "ext4", what: "no inodes" })),
        (vec![EXT4[0], EXT4[1], (0, b"XFSB\0\0\x10\0")], Err(VolumeError::Ambiguous { first: "ext4", second: "xfs" })),
        (
            vec![EXT4[0], EXT4[1], (512, b"EFI PART")],
            Err(VolumeError::Ambiguous { first: "ext4", second: "a partition table" }),
        ),
    ] {
        assert_eq!(detect(&with(&parts)), want, "{parts:?}");
    }
    assert_eq!(detect(&[0; 511]), Err(VolumeError::Short { got: 511 }));
}

#[test]
fn names() {
    let first = with(&[EXT4[0], EXT4[1], (1144, b"0123456789abcdef"), (1128, &[0xab; 16])]);
    let Ok(Contents::FileSystem(found)) = detect(&first) else { panic!() };
    assert_eq!(found.label, "0123456789abcdef", "all 16 bytes, no NUL");
    assert_eq!(found.uuid.to_string(), "abababab-abab-abab-abab-abababababab");
}

#[test]
fn any_bytes_never_panic() {
    let mut random = Random::new(7);
    let magics: [(usize, &[u8]); 5] =
        [(1080, &[0x53, 0xef]), (0, b"XFSB"), (65_600, b"_BHRfS_M"), (510, &[0x55, 0xaa]), (512, b"EFI PART")];
    for _ in 0..2_000 {
        let mut first = with(&[magics[random.below(5)]]);
        for _ in 0..random.below(200) {
            let bound = [2048, PROBE][random.below(2)];
            let place = random.below(bound);
            first[place] = random.next().to_be_bytes()[0];
        }
        first.truncate(random.below(PROBE * 2));
        let _ = detect(&first);
    }
}
