//! Superblocks and partition tables as the real tools write them, over image files.
//!
//! Uses mke2fs, mkfs.xfs, mkfs.btrfs, mkswap, sfdisk and sgdisk as far as they are in PATH, and
//! says loudly which are not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sidus::partition::{read, Partition, Table};
use sidus::volume::{detect, Contents, FileSystem, Kind, PROBE};

const UUID: &str = "0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d";
const MIB: u64 = 1024 * 1024;

struct Image(PathBuf);

impl Image {
    fn new(size: u64) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("sidus-volume-{}-{number}", std::process::id()));
        File::create(&path).unwrap().set_len(size).unwrap();
        Self(path)
    }

    /// Runs a tool on the image, with text for its standard input; false if there is no such tool.
    fn run(&self, tool: &str, words: &[&str], input: &str) -> bool {
        let spawned = Command::new(tool)
            .args(words)
            .arg(&self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else {
            println!("NOT TESTED: {tool} is not in PATH");
            return false;
        };
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
        println!("tested: {tool} {}", words.join(" "));
        true
    }

    fn contents(&self) -> Contents {
        let mut first = Vec::new();
        File::open(&self.0).unwrap().take(PROBE as u64).read_to_end(&mut first).unwrap();
        detect(&first).unwrap()
    }

    fn table(&self) -> (Table, Vec<Partition>) {
        read_table(&self.0).expect("no table")
    }
}

fn read_table(path: &Path) -> Option<(Table, Vec<Partition>)> {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    read(&mut |offset, buffer| file.read_exact_at(buffer, offset), size, 512).unwrap()
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn file_system(kind: Kind, label: &str) -> Contents {
    let uuid: Vec<u8> = UUID
        .replace('-', "")
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    let uuid = sidus::volume::Uuid(uuid.try_into().unwrap());
    assert_eq!(uuid.to_string(), UUID);
    Contents::FileSystem(FileSystem { kind, label: label.into(), uuid, protected: false })
}

#[test]
fn file_systems() {
    let uuid = format!("uuid={UUID}");
    for (tool, words, size, want) in [
        ("mke2fs", vec!["-q", "-t", "ext4", "-L", "ISCSI", "-U", UUID], 16, file_system(Kind::Ext4, "ISCSI")),
        ("mke2fs", vec!["-q", "-t", "ext2", "-b", "1024", "-U", UUID], 16, file_system(Kind::Ext4, "")),
        (
            "mke2fs",
            vec!["-q", "-t", "ext4", "-b", "4096", "-L", "sixteen-bytes-ab", "-U", UUID],
            16,
            file_system(Kind::Ext4, "sixteen-bytes-ab"),
        ),
        ("mkfs.xfs", vec!["-q", "-L", "twelve-bytes", "-m", &uuid], 512, file_system(Kind::Xfs, "twelve-bytes")),
        (
            "mkfs.btrfs",
            vec!["-q", "-L", "größer als sonst etwas", "-U", UUID],
            256,
            file_system(Kind::Btrfs, "größer als sonst etwas"),
        ),
        ("mkswap", vec!["-q"], 16, Contents::Foreign("swap space")),
    ] {
        let image = Image::new(size * MIB);
        assert_eq!(image.contents(), Contents::Blank);
        if image.run(tool, &words, "") {
            assert_eq!(image.contents(), want, "{tool} {words:?}");
            assert_eq!(read_table(&image.0), None, "{tool}: a table where there is none");
        }
    }
}

#[test]
fn a_journal_is_no_file_system() {
    let image = Image::new(16 * MIB);
    if image.run("mke2fs", &["-q", "-O", "journal_dev", "-b", "4096"], "") {
        let mut first = vec![0; PROBE];
        File::open(&image.0).unwrap().read_exact(&mut first).unwrap();
        assert!(detect(&first).is_err());
    }
}

fn spans(partitions: &[Partition]) -> Vec<(u32, u64, u64)> {
    partitions.iter().map(|p| (p.number, p.start / 512, p.length / 512)).collect()
}

#[test]
fn gpt_by_sfdisk() {
    let image = Image::new(64 * MIB);
    let script = format!("label: gpt\n,8M,L\nstart=32768,size=4096,uuid={UUID},name=\"rw\"\n");
    if image.run("sfdisk", &["-q"], &script) {
        assert_eq!(image.contents(), Contents::Partitions);
        let (table, partitions) = image.table();
        assert_eq!((table, spans(&partitions)), (Table::Gpt, vec![(1, 2048, 16_384), (2, 32_768, 4096)]));
        assert_eq!(partitions[1].name, "rw");
        assert_eq!(partitions[1].uuid.unwrap().to_string(), UUID);
    }
}

#[test]
fn gpt_by_sgdisk() {
    let image = Image::new(64 * MIB);
    let typed = format!("7:{UUID}");
    if image.run("sgdisk", &["-n", "7:40960:49151", "-u", &typed, "-c", "7:data größe"], "") {
        assert_eq!(image.contents(), Contents::Partitions);
        let (table, partitions) = image.table();
        assert_eq!((table, spans(&partitions)), (Table::Gpt, vec![(7, 40_960, 8192)]));
        assert_eq!(partitions[0].name, "data größe");
        assert_eq!(partitions[0].uuid.unwrap().to_string(), UUID);
    }
}

#[test]
fn mbr_by_sfdisk() {
    let image = Image::new(64 * MIB);
    let script = "label: dos\nstart=2048,size=4096,type=83\nstart=8192,size=65536,type=5\nstart=10240,size=4096\nstart=20480,size=8192\n";
    if image.run("sfdisk", &["-q"], script) {
        assert_eq!(image.contents(), Contents::Partitions);
        let (table, partitions) = image.table();
        assert_eq!(table, Table::Mbr);
        assert_eq!(spans(&partitions), [(1, 2048, 4096), (5, 10_240, 4096), (6, 20_480, 8192)]);
    }
}

#[test]
fn an_empty_table_is_a_table() {
    let image = Image::new(64 * MIB);
    if image.run("sfdisk", &["-q"], "label: gpt\n") {
        assert_eq!(image.contents(), Contents::Partitions);
        assert_eq!(image.table(), (Table::Gpt, vec![]));
    }
}
