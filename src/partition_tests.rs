use super::*;
use crate::iscsi::testing::Random;

const SECTORS: usize = 4096;

fn image() -> Vec<u8> {
    vec![0; SECTORS * 512]
}

fn read_image(image: &[u8]) -> Result<Option<(Table, Vec<Partition>)>, String> {
    let mut reads = 0;
    let result = read(
        &mut |offset, buffer| {
            reads += 1;
            let start = usize::try_from(offset).unwrap();
            buffer.copy_from_slice(&image[start..start + buffer.len()]);
            Ok(())
        },
        u64::try_from(image.len()).unwrap(),
        512,
    );
    assert!(reads <= 66, "{reads} reads");
    result.map_err(|error| error.to_string())
}

fn entry(image: &mut [u8], sector: usize, index: usize, kind: u8, first: u32, count: u32) {
    let at = sector * 512;
    image[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
    let at = at + 446 + index * 16;
    image[at + 4] = kind;
    image[at + 8..at + 12].copy_from_slice(&first.to_le_bytes());
    image[at + 12..at + 16].copy_from_slice(&count.to_le_bytes());
}

fn spans(image: &[u8]) -> Vec<(u32, u64, u64)> {
    let (_, partitions) = read_image(image).unwrap().unwrap();
    partitions.iter().map(|p| (p.number, p.start / 512, p.length / 512)).collect()
}

#[test]
fn check_value_of_crc32() {
    assert_eq!(!crc32(u32::MAX, b"123456789"), 0xcbf4_3926);
}

#[test]
fn mbr_with_logical_partitions() {
    let mut disk = image();
    entry(&mut disk, 0, 0, 0x83, 64, 100);
    entry(&mut disk, 0, 2, 0x05, 1000, 2000);
    entry(&mut disk, 1000, 0, 0x83, 10, 90);
    entry(&mut disk, 1000, 1, 0x05, 500, 200);
    entry(&mut disk, 1500, 0, 0x82, 1, 150);
    assert_eq!(spans(&disk), [(1, 64, 100), (5, 1010, 90), (6, 1501, 150)]);
}

#[test]
fn no_table() {
    assert_eq!(read_image(&image()), Ok(None));
    assert_eq!(read_image(&[]), Ok(None));
    let mut disk = image();
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(read_image(&disk), Ok(None), "a boot sector without entries");
    entry(&mut disk, 0, 0, 0x83, 64, 100);
    disk[462] = b'x';
    assert_eq!(read_image(&disk), Ok(None), "code where the entries would be");
}

#[test]
fn bad_mbr() {
    type Make = fn(&mut Vec<u8>);
    let cases: [(&str, Make); 6] = [
        ("a partition lies beyond the end of the disk", |d| entry(d, 0, 0, 0x83, 4000, 97)),
        ("two extended partitions", |d| {
            entry(d, 0, 0, 0x05, 64, 100);
            entry(d, 0, 1, 0x0f, 264, 100);
        }),
        ("a link of the extended partition has no signature", |d| entry(d, 0, 0, 0x05, 64, 100)),
        ("more logical partitions than anybody has, or a circle of them", |d| {
            entry(d, 0, 0, 0x05, 64, 100);
            entry(d, 64, 0, 0x83, 1, 10);
            entry(d, 64, 1, 0x05, 0, 10);
        }),
        ("a link lies outside of the extended partition", |d| {
            entry(d, 0, 0, 0x05, 64, 100);
            entry(d, 64, 1, 0x05, u32::MAX, 10);
        }),
        ("a logical partition lies outside of the extended one", |d| {
            entry(d, 0, 0, 0x05, 64, 100);
            entry(d, 64, 0, 0x83, 1, 100);
        }),
    ];
    for (want, make) in cases {
        let mut disk = image();
        make(&mut disk);
        assert_eq!(read_image(&disk), Err(format!("damaged partition table (MBR): {want}")));
    }
}

fn gpt() -> Vec<u8> {
    let mut disk = image();
    entry(&mut disk, 0, 0, 0xee, 1, 4095);
    let entries = &mut disk[1024..1024 + 128 * 128];
    entries[128..144].fill(0x11);
    entries[144..160].copy_from_slice(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    entries[160..168].copy_from_slice(&100_u64.to_le_bytes());
    entries[168..176].copy_from_slice(&199_u64.to_le_bytes());
    for (at, unit) in "rw ü".encode_utf16().enumerate() {
        entries[184 + at * 2..186 + at * 2].copy_from_slice(&unit.to_le_bytes());
    }
    let sum = !crc32(u32::MAX, entries);
    let header = &mut disk[512..1024];
    header[..8].copy_from_slice(b"EFI PART");
    header[12..16].copy_from_slice(&92_u32.to_le_bytes());
    header[24..32].copy_from_slice(&1_u64.to_le_bytes());
    header[72..80].copy_from_slice(&2_u64.to_le_bytes());
    header[80..84].copy_from_slice(&128_u32.to_le_bytes());
    header[84..88].copy_from_slice(&128_u32.to_le_bytes());
    header[88..92].copy_from_slice(&sum.to_le_bytes());
    seal(&mut disk);
    disk
}

fn seal(disk: &mut [u8]) {
    disk[528..532].fill(0);
    let sum = !crc32(u32::MAX, &disk[512..604]);
    disk[528..532].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn a_gpt() {
    let (table, partitions) = read_image(&gpt()).unwrap().unwrap();
    assert_eq!(table, Table::Gpt);
    let [partition] = partitions.as_slice() else { panic!("{partitions:?}") };
    assert_eq!((partition.number, partition.start, partition.length), (2, 51_200, 51_200));
    assert_eq!(partition.name, "rw ü");
    assert_eq!(partition.uuid.unwrap().to_string(), "03020100-0504-0706-0809-0a0b0c0d0e0f");
}

#[test]
fn bad_gpt() {
    type Make = fn(&mut Vec<u8>);
    let cases: [(&str, Make); 8] = [
        ("the MBR announces one, but there is no header", |d| d[512] = 0),
        ("the checksum of the header", |d| d[560] ^= 1),
        ("the checksum of the entries", |d| d[1024] ^= 1),
        ("the size of the header", |d| d[524] = 91),
        ("the size of the header", |d| d[527] = 0xff),
        ("the header says that it stands elsewhere", |d| {
            d[536] = 2;
            seal(d);
        }),
        ("the number or the size of the entries", |d| {
            d[592..596].fill(0xff);
            seal(d);
        }),
        ("the entries lie beyond the end of the disk", |d| {
            d[584..592].fill(0xff);
            seal(d);
        }),
    ];
    for (want, make) in cases {
        let mut disk = gpt();
        make(&mut disk);
        assert_eq!(
            read_image(&disk),
            Err(format!("damaged GPT: {want} (gdisk or sfdisk can restore it from its backup)"))
        );
    }
}

#[test]
fn any_bytes_never_panic() {
    let mut random = Random::new(8);
    for round in 0..1_000 {
        let mut disk = if round % 2 == 0 { gpt() } else { image() };
        for _ in 0..4 {
            let (sector, kind) = ([0, 64, 100][random.below(3)], [0x83, 0x05, 0xee][random.below(3)]);
            let [first, count] = [0, 1].map(|_| u32::try_from(random.below(300)).unwrap());
            if round % 2 == 1 {
                entry(&mut disk, sector, random.below(4), kind, first, count);
            }
        }
        for _ in 0..random.below(6) {
            let place = random.below(if round % 3 == 0 { 4096 } else { 1024 });
            disk[place] = random.next().to_be_bytes()[0];
        }
        if round % 4 == 0 {
            seal(&mut disk);
        }
        let _ = read_image(&disk);
    }
}
