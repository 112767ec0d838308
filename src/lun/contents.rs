//! Which volume on a disk is meant: the whole disk or one of its partitions, by label, by UUID, or the only one.

use super::error::LunError;
use crate::file_error::FileError;
use crate::options::VolumeName;
use crate::partition::{self, ReadAt};
use crate::volume::{detect, Contents, FileSystem, VolumeError, PROBE};

/// A place that can hold a file system.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The partition and where it begins in bytes; `None` is the whole disk.
    pub partition: Option<(u32, u64)>,
    /// What is there.
    pub contents: Result<Contents, VolumeError>,
}

/// Looks at a disk of `size` bytes with logical sectors of `sector` bytes, which a person knows as `device`.
///
/// # Errors
/// [`LunError::Table`], and [`LunError::File`] for a disk that cannot be read.
pub fn survey(device: &str, read_at: &mut ReadAt<'_>, size: u64, sector: u32) -> Result<Vec<Place>, LunError> {
    let whole = Place { partition: None, contents: probe(device, read_at, 0, size)? };
    if whole.contents != Ok(Contents::Partitions) {
        return Ok(vec![whole]);
    }
    let table = partition::read(read_at, size, sector)
        .map_err(|source| LunError::Table { device: device.to_owned(), source })?;
    let mut places = Vec::new();
    for partition in table.map(|(_, partitions)| partitions).unwrap_or_default() {
        let contents = probe(device, read_at, partition.start, partition.length)?;
        places.push(Place { partition: Some((partition.number, partition.start)), contents });
    }
    Ok(places)
}

fn probe(
    device: &str,
    read_at: &mut ReadAt<'_>,
    start: u64,
    length: u64,
) -> Result<Result<Contents, VolumeError>, LunError> {
    let length = usize::try_from(length).unwrap_or(PROBE).min(PROBE);
    let mut first = vec![0; length];
    read_at(start, &mut first).map_err(FileError::when("read", device))?;
    Ok(detect(&first))
}

/// The file system that is meant, and the partition that it is on.
pub type Chosen = (Option<(u32, u64)>, FileSystem);

/// The file system with that name, or the only one.
///
/// # Errors
/// [`LunError::Blank`], and [`LunError::NoVolume`] with the list of what there is.
pub fn choose(device: &str, places: &[Place], wanted: Option<&VolumeName>) -> Result<Chosen, LunError> {
    let mut meant = places.iter().filter_map(|place| match &place.contents {
        Ok(Contents::FileSystem(fs)) if is_meant(fs, wanted) => Some((place.partition, fs.clone())),
        _ => None,
    });
    let several = match (meant.next(), meant.next()) {
        (Some(found), None) => return Ok(found),
        (None, _) => false,
        (Some(_), Some(_)) => true,
    };
    if matches!(places, [Place { partition: None, contents: Ok(Contents::Blank) }]) {
        return Err(LunError::Blank { device: device.to_owned() });
    }
    let wanted = match (several, wanted) {
        (false, Some(name)) => format!("no file system with {name}"),
        (false, None) => "no file system that can be mounted".to_owned(),
        (true, Some(name)) => format!("several file systems with {name}"),
        (true, None) => "several file systems, and no root=LABEL= or root=UUID=".to_owned(),
    };
    Err(LunError::NoVolume { device: device.to_owned(), wanted, found: list(places) })
}

fn is_meant(fs: &FileSystem, wanted: Option<&VolumeName>) -> bool {
    match wanted {
        None => true,
        Some(VolumeName::Label(label)) => fs.label == *label,
        Some(VolumeName::Uuid(uuid)) => fs.uuid.to_string().eq_ignore_ascii_case(uuid),
    }
}

fn list(places: &[Place]) -> String {
    let mut text = String::new();
    for place in places {
        if !text.is_empty() {
            text.push_str("; ");
        }
        if let Some((number, _)) = place.partition {
            text.push_str(&format!("partition {number}: "));
        }
        match &place.contents {
            Ok(Contents::FileSystem(fs)) => {
                // A label is what somebody wrote.
                let label = crate::bytes::shown(fs.label.as_bytes());
                text.push_str(&format!("{} LABEL={label} UUID={}", fs.kind.name(), fs.uuid));
            }
            Ok(Contents::Blank) => text.push_str("nothing"),
            Ok(Contents::Partitions) => text.push_str("a partition table"),
            Ok(Contents::Foreign(name)) => text.push_str(name),
            Ok(Contents::Unknown) => text.push_str("something unknown"),
            Err(error) => text.push_str(&error.to_string()),
        }
    }
    if text.is_empty() {
        text.push_str("a partition table without partitions");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::{Kind, Uuid};

    fn fs(label: &str, last: u8) -> Contents {
        let mut uuid = [0xab; 16];
        uuid[15] = last;
        Contents::FileSystem(FileSystem {
            kind: Kind::Ext4,
            label: label.to_owned(),
            uuid: Uuid(uuid),
            protected: false,
        })
    }

    const UUID: &str = "abababab-abab-abab-abab-ababababab01";

    #[test]
    fn the_one_that_is_named_or_the_only_one() {
        let whole = |contents| vec![Place { partition: None, contents: Ok(contents) }];
        let parts = |list: &[Contents]| {
            (1..)
                .zip(list)
                .map(|(number, contents)| Place { partition: Some((number, 1 << 20)), contents: Ok(contents.clone()) })
                .collect::<Vec<_>>()
        };
        let label = |text: &str| Some(VolumeName::Label(text.to_owned()));
        let uuid = Some(VolumeName::Uuid(UUID.to_ascii_uppercase()));
        let error = |text: &str| Err(format!("/dev/sda{text}"));
        let table = [
            (whole(fs("ISCSI", 1)), label("ISCSI"), Ok(None)),
            (whole(fs("ISCSI", 1)), None, Ok(None)),
            (whole(fs("ISCSI", 1)), uuid.clone(), Ok(None)),
            (parts(&[fs("a", 1), fs("b", 2)]), label("b"), Ok(Some(2))),
            (parts(&[fs("a", 1), fs("b", 2)]), uuid, Ok(Some(1))),
            (parts(&[Contents::Blank, fs("b", 2), Contents::Foreign("swap space")]), None, Ok(Some(2))),
            (whole(Contents::Blank), label("ISCSI"), error(" is blank: no file system, no partition table")),
            (
                whole(fs("iscsi", 1)),
                label("ISCSI"),
                error(&format!(": no file system with LABEL=ISCSI; it has ext4 LABEL=iscsi UUID={UUID}")),
            ),
            (
                parts(&[fs("a", 1), fs("a", 1), Contents::Blank]),
                label("a"),
                error(&format!(
                    ": several file systems with LABEL=a; it has partition 1: ext4 LABEL=a UUID={UUID}; \
                     partition 2: ext4 LABEL=a UUID={UUID}; partition 3: nothing"
                )),
            ),
            (
                parts(&[]),
                None,
                error(": no file system that can be mounted; it has a partition table without partitions"),
            ),
            (
                whole(Contents::Foreign("LVM2 physical volume")),
                None,
                error(": no file system that can be mounted; it has LVM2 physical volume"),
            ),
        ];
        for (places, wanted, expected) in table {
            let got = choose("/dev/sda", &places, wanted.as_ref())
                .map(|(partition, _)| partition.map(|(number, _)| number))
                .map_err(|error| error.to_string());
            assert_eq!(got, expected, "{places:?}, {wanted:?}");
        }
    }

    #[test]
    fn a_disk_without_a_table_is_one_place() {
        let mut read = |_: u64, buffer: &mut [u8]| {
            buffer.fill(0);
            Ok(())
        };
        let places = survey("/dev/sda", &mut read, 1 << 20, 512).unwrap();
        assert_eq!(places, [Place { partition: None, contents: Ok(Contents::Blank) }]);
    }
}
