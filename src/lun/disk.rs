//! Which disk of a session is meant.

use super::error::LunError;
use crate::iscsi::disks::Unit;

/// SPC-4, peripheral device type: a direct access block device.
const DISK: u8 = 0;

/// A disk of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The logical unit's number.
    pub lun: u64,
    /// The kernel's name, as in `/dev/<name>`.
    pub name: String,
}

/// The unit with the number that is wanted, or the only disk; `None` where its driver has not bound yet.
///
/// # Errors
/// [`LunError::NoDisk`] with the list of what there is.
pub fn choose(units: &[Unit], wanted: Option<u64>) -> Result<Option<Disk>, LunError> {
    let mut meant = units.iter().filter(|unit| unit.kind == DISK && wanted.is_none_or(|lun| unit.lun == lun));
    let error = match (meant.next(), meant.next(), wanted) {
        (Some(unit), None, _) => {
            return Ok(unit.disk.as_ref().map(|name| Disk { lun: unit.lun, name: name.clone() }));
        }
        (Some(_), Some(_), _) => "several disks, and no sidus.iscsi.lun=".to_owned(),
        (None, _, Some(lun)) => format!("no disk with LUN {lun}"),
        (None, _, None) => "no disk".to_owned(),
    };
    Err(LunError::NoDisk { wanted: error, offered: list(units) })
}

fn list(units: &[Unit]) -> String {
    let mut text = String::new();
    for unit in units {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str("LUN ");
        text.push_str(&unit.lun.to_string());
        text.push_str(match unit.kind {
            DISK => " (disk)",
            1 => " (tape)",
            5 => " (CD)",
            12 => " (controller)",
            _ => " (other device)",
        });
    }
    if text.is_empty() {
        text.push_str("nothing");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_is_wanted_or_the_only_one() {
        let unit = |lun, kind, disk: &str| Unit { lun, kind, disk: (!disk.is_empty()).then(|| disk.to_owned()) };
        let controller = unit(0, 12, "");
        let disk = |lun, name: &str| Ok(Some(Disk { lun, name: name.to_owned() }));
        let error = |text: &str| Err(text.to_owned());
        let table = [
            (vec![], None, error("no disk: the target offers nothing")),
            (vec![controller.clone()], None, error("no disk: the target offers LUN 0 (controller)")),
            (vec![controller.clone(), unit(1, 0, "sda")], None, disk(1, "sda")),
            (vec![controller.clone(), unit(1, 0, "")], None, Ok(None)),
            (vec![unit(1, 0, "sda"), unit(2, 0, "")], Some(2), Ok(None)),
            (vec![unit(1, 0, "sda"), unit(2, 0, "sdb")], Some(2), disk(2, "sdb")),
            (
                vec![unit(1, 0, "sda"), unit(2, 0, "sdb")],
                None,
                error("several disks, and no sidus.iscsi.lun=: the target offers LUN 1 (disk), LUN 2 (disk)"),
            ),
            (
                vec![controller, unit(1, 0, "sda")],
                Some(0),
                error("no disk with LUN 0: the target offers LUN 0 (controller), LUN 1 (disk)"),
            ),
        ];
        for (units, wanted, expected) in table {
            let got = choose(&units, wanted).map_err(|error| error.to_string());
            assert_eq!(got, expected, "{units:?}, sidus.iscsi.lun={wanted:?}");
        }
    }
}
