//! The room that generations take, on file systems where files can share blocks: real ones, in image files.
//! Needs root (to mount them), mkfs.btrfs, mkfs.xfs, unshare(1) and rsync(1); what is missing is said loudly:
//! `cargo test --features server,root --test sidus_space`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // A test may fail by a panic.

mod machine;
mod published;

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use machine::Machine;
use published::{current, GENERATIONS, TREE};
use rustix::mount::{mount_change, unmount, MountPropagationFlags, UnmountFlags};

const MIB: u64 = 1 << 20;

/// A file system in an image, mounted in this thread's own namespace.
struct Mounted(PathBuf);

impl Mounted {
    fn new(mkfs: &[&str], at: PathBuf) -> Option<Self> {
        let image = at.with_extension("img");
        fs::create_dir_all(&at).unwrap();
        fs::File::create(&image).unwrap().set_len(400 * MIB).unwrap();
        let (program, words) = mkfs.split_first().unwrap();
        let mut make = Command::new(program);
        let Ok(made) = make.args(words).arg(&image).output() else {
            println!("NOT TESTED: there is no {program}");
            return None;
        };
        assert!(made.status.success(), "{made:?}");
        let mounted = Command::new("mount").args(["-o", "loop"]).args([&image, &at]).output().unwrap();
        // The loop device has it open.
        fs::remove_file(&image).unwrap();
        assert!(mounted.status.success(), "{mounted:?}");
        Some(Self(at))
    }

    /// What is taken, in bytes, when all is written.
    fn used(&self) -> u64 {
        rustix::fs::syncfs(fs::File::open(&self.0).unwrap()).unwrap();
        let found = rustix::fs::statvfs(&self.0).unwrap();
        (found.f_blocks - found.f_bfree) * found.f_frsize
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// So many bytes that cannot be compressed.
fn random(length: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    fs::File::open("/dev/urandom").unwrap().take(length).read_to_end(&mut bytes).unwrap();
    bytes
}

fn generations_share_their_blocks(name: &str, mkfs: &[&str]) {
    let machine = Machine::new(&format!("space-{name}"));
    let Some(disk) = Mounted::new(mkfs, machine.root().join("srv")) else { return };
    published::server(&machine);
    let at = |path: &str| machine.root().join(path);
    let big = at(&format!("{TREE}/usr/lib/big"));
    let first_big = random(24 * MIB);
    fs::write(&big, &first_big).unwrap();
    for number in 0..100 {
        fs::write(at(&format!("{TREE}/usr/lib/file{number}")), random(MIB / 10)).unwrap();
    }
    let publish = |what: &str, most: u64, change: &dyn Fn()| -> String {
        let before = disk.used();
        change();
        machine.succeeds(&["publish", "hpc"]);
        let grown = disk.used().saturating_sub(before);
        println!("{name}: {what}: {} KiB more", grown >> 10);
        assert!(grown < most, "{name}: {what}: {grown} bytes more");
        current(&machine)
    };
    let of = |generation: &str, path: &str| at(&format!("{GENERATIONS}/{generation}/{path}"));
    let first = publish("the first generation", 8 * MIB, &|| {});
    let written = |offset: u64| {
        let mut file = fs::OpenOptions::new().write(true).open(&big).unwrap();
        file.seek(SeekFrom::Start(offset)).unwrap();
        file.write_all(&[7; 4096]).unwrap();
    };
    let second = publish("4 KiB in 24 MiB are written", 2 * MIB, &|| written(8 * MIB));
    let third = publish("a file of 8 MiB is new", 10 * MIB, &|| {
        fs::write(at(&format!("{TREE}/usr/lib/new")), random(8 * MIB)).unwrap();
    });
    // Nobody sees that blocks are shared, whatever becomes of the tree.
    written(16 * MIB);
    fs::remove_file(at(&format!("{TREE}/usr/lib/new"))).unwrap();
    let second_big = [&first_big[..8 << 20], &[7; 4096], &first_big[(8 << 20) + 4096..]].concat();
    assert!(fs::read(of(&first, "usr/lib/big")).unwrap() == first_big);
    assert!(fs::read(of(&second, "usr/lib/big")).unwrap() == second_big);
    assert!(fs::read(of(&third, "usr/lib/big")).unwrap() == second_big);
    assert_eq!(fs::metadata(of(&third, "usr/lib/new")).unwrap().len(), 8 * MIB);
    drop(disk);
}

#[test]
fn on_btrfs_and_xfs_a_generation_takes_the_room_of_what_changed() {
    let alone = std::thread::spawn(|| {
        in_own_namespace();
        generations_share_their_blocks("btrfs", &["mkfs.btrfs", "-q"]);
        generations_share_their_blocks("xfs", &["mkfs.xfs", "-q", "-m", "reflink=1"]);
    });
    if let Err(panic) = alone.join() {
        std::panic::resume_unwind(panic);
    }
}

#[allow(unsafe_code)]
fn in_own_namespace() {
    use rustix::thread::UnshareFlags;
    // SAFETY: this thread alone gets a mount namespace and a root directory of its own; it shares no descriptor table that
    // is unshared here (FILES is not among the flags).
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
    mount_change(Path::new("/"), MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
}
