//! The merged view's `/etc/fstab`: what the tree's says, made true for a root that is a union.
//!
//! - The line of every union (`/`, and a `/usr` with its own) becomes `overlay / overlay defaults 0 0`: systemd
//!   remounts `/` with it, and with the tree's own line that fails, or turns the union read-only.
//! - A line of a local disk or of swap stays the tree's choice, but may not stop the boot of a node that lacks the
//!   disk: it gains `nofail` and a short `x-systemd.device-timeout=`.
//!
//! See fstab(5) and systemd.mount(5).

/// How long systemd waits for a local disk that may not be there.
const DEVICE_TIMEOUT: &str = "x-systemd.device-timeout=10s";

/// The adapted text, or `None` where the tree's own is right as it is.
///
/// `unions` are the mount points that are unions, as `/`; `fs` is their type, as `overlay`.
///
/// What is in no field that matters here may be in any encoding: each byte is a character (Latin-1), there and back.
#[must_use]
pub fn adapt(fstab: &[u8], unions: &[&str], fs: &str) -> Option<Vec<u8>> {
    let text: String = fstab.iter().copied().map(char::from).collect();
    let adapted: String = text.split_inclusive('\n').map(|line| adapt_line(line, unions, fs)).collect();
    (adapted != text).then(|| adapted.chars().filter_map(|c| u8::try_from(c).ok()).collect())
}

fn adapt_line(line: &str, unions: &[&str], fs: &str) -> String {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [spec, file, vfstype, rest @ ..] = fields.as_slice() else {
        return line.to_owned();
    };
    if spec.starts_with('#') {
        return line.to_owned();
    }
    if unions.contains(file) {
        return format!("{fs} {file} {fs} defaults 0 0\n");
    }
    let options = rest.first().copied().unwrap_or("defaults");
    let forgiving = options.split(',').any(|option| matches!(option, "nofail" | "noauto"));
    if !is_local_disk(spec) || forgiving {
        return line.to_owned();
    }
    let waits_already = options.split(',').any(|option| option.starts_with("x-systemd.device-timeout="));
    let timeout = if waits_already { String::new() } else { format!(",{DEVICE_TIMEOUT}") };
    let dump = rest.get(1).copied().unwrap_or("0");
    let pass = rest.get(2).copied().unwrap_or("0");
    format!("{spec} {file} {vfstype} {options},nofail{timeout} {dump} {pass}\n")
}

/// Whether fstab(5)'s first field names a block device of this machine.
fn is_local_disk(spec: &str) -> bool {
    let tags = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID="];
    let device = spec.starts_with("/dev/") && spec != "/dev/nfs";
    device || tags.iter().any(|tag| spec.starts_with(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_a_union_makes_wrong_are_mended_and_all_others_kept() {
        let table: &[(&str, Option<&str>)] = &[
            ("", None),
            ("# UNCONFIGURED FSTAB FOR BASE SYSTEM\n", None),
            ("proc /proc proc defaults 0 0\n10.13.20.15:/home /home nfs4 defaults 0 0\n", None),
            ("/dev/nfs / nfs defaults 0 0\n", Some("overlay / overlay defaults 0 0\n")),
            ("/dev/nfs / nfs ro,nolock\n", Some("overlay / overlay defaults 0 0\n")),
            (
                "UUID=0a34 / ext4 errors=remount-ro 0 1\ntmpfs /tmp tmpfs defaults 0 0",
                Some("overlay / overlay defaults 0 0\ntmpfs /tmp tmpfs defaults 0 0"),
            ),
            ("overlay / overlay defaults 0 0\n", None),
            ("#/dev/sda1 / ext4 defaults 0 1\n", None),
            ("/dev/sda2 none swap sw 0 0\n", Some("/dev/sda2 none swap sw,nofail,x-systemd.device-timeout=10s 0 0\n")),
            (
                "LABEL=SCRATCH /scratch ext4\n",
                Some("LABEL=SCRATCH /scratch ext4 defaults,nofail,x-systemd.device-timeout=10s 0 0\n"),
            ),
            (
                "UUID=1 /scratch xfs rw,x-systemd.device-timeout=1min 0 2\n",
                Some("UUID=1 /scratch xfs rw,x-systemd.device-timeout=1min,nofail 0 2\n"),
            ),
            ("UUID=1 /scratch xfs nofail 0 2\n/dev/sr0 /media/cdrom udf,iso9660 user,noauto 0 0\n", None),
            ("10.13.20.13:/usr /usr nfs ro 0 0\n", Some("overlay /usr overlay defaults 0 0\n")),
            ("not a line\n", None),
        ];
        for (text, expected) in table {
            let adapted = adapt(text.as_bytes(), &["/", "/usr"], "overlay");
            assert_eq!(adapted, expected.map(|text| text.as_bytes().to_vec()), "fstab {text:?}");
        }
    }

    #[test]
    fn an_adapted_table_needs_no_further_change() {
        let text = "UUID=0a34 / ext4 errors=remount-ro 0 1\n/dev/sda2 none swap sw 0 0\n";
        let once = adapt(text.as_bytes(), &["/"], "overlay").unwrap();
        assert_eq!(adapt(&once, &["/"], "overlay"), None);
    }

    #[test]
    fn other_encodings_are_kept() {
        let text = b"# B\xfcro\n/dev/nfs / nfs ro 0 0\nLABEL=\xe4 /x ext4 nofail 0 0\n";
        let adapted = b"# B\xfcro\noverlay / overlay defaults 0 0\nLABEL=\xe4 /x ext4 nofail 0 0\n";
        assert_eq!(adapt(text, &["/"], "overlay").as_deref(), Some(&adapted[..]));
    }
}
