//! Names that are different on each node: placeholders in the names of initiator and target.

use std::net::IpAddr;

use thiserror::Error;

use super::name::{InitiatorName, NameError};
use crate::bytes::shown;

/// The initiator's name where none is configured: two nodes with one name are a known disaster, and
/// no two nodes have one MAC address.
///
/// The authority stands for this program. A site that has a domain name uses its own, e.g.
/// `ISCSI_INITIATOR=iqn.2026-01.org.example:{hostname}`.
pub const DEFAULT_INITIATOR: &str = "iqn.2026-01.io.sidus:node-{mac}";

/// What a node knows of itself.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Its address toward the portal.
    pub ip: Option<IpAddr>,
    /// The MAC address of the interface to the portal.
    pub mac: Option<[u8; 6]>,
    /// Its host name.
    pub hostname: Option<String>,
    /// Its machine's UUID (DMI).
    pub uuid: Option<String>,
}

/// Why a name cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not a placeholder.
    #[error("{template:?}: {{{got}}} is no placeholder; {{ip}}, {{mac}}, {{hostname}} and {{uuid}} are")]
    Unknown {
        /// The whole name.
        template: String,
        /// What stands in the braces.
        got: String,
    },
    /// A brace that is not closed or not opened.
    #[error("{template:?}: {{ and }} enclose a placeholder, as in {{ip}}")]
    Braces {
        /// The whole name.
        template: String,
    },
    /// The node does not know this of itself.
    #[error("{template:?}: this node has no {fact} to put in the place of {{{placeholder}}}")]
    Missing {
        /// The whole name.
        template: String,
        /// What is missing.
        fact: &'static str,
        /// The placeholder.
        placeholder: &'static str,
    },
    /// What came of it is no iSCSI name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// Puts the node's facts in the place of the placeholders.
///
/// ```text
/// {ip}        10.13.20.101, or fd00::14
/// {mac}       525400123456: lower case, without colons
/// {hostname}  node14, in lower case
/// {uuid}      0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d, in lower case
/// ```
/// Good: `iqn.2026-01.org.example:{ip}`. Bad: `iqn.2026-01.org.example:{IP}`, `…:{ip`.
///
/// # Errors
/// [`IdentityError`].
pub fn expand(template: &str, facts: &Facts) -> Result<String, IdentityError> {
    let whole = || shown(template.as_bytes());
    let braces = || IdentityError::Braces { template: whole() };
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, behind) = after.split_once('}').ok_or_else(braces)?;
        if before.contains('}') {
            return Err(braces());
        }
        name.push_str(before);
        let missing = |fact, placeholder| IdentityError::Missing { template: whole(), fact, placeholder };
        match placeholder {
            "ip" => name.push_str(&facts.ip.ok_or_else(|| missing("IP address toward the portal", "ip"))?.to_string()),
            "mac" => {
                for byte in facts.mac.ok_or_else(|| missing("MAC address", "mac"))? {
                    name.push_str(&format!("{byte:02x}"));
                }
            }
            "hostname" => name.push_str(&fact(&facts.hostname).ok_or_else(|| missing("host name", "hostname"))?),
            "uuid" => name.push_str(&fact(&facts.uuid).ok_or_else(|| missing("UUID in its firmware", "uuid"))?),
            got => {
                return Err(IdentityError::Unknown { template: whole(), got: shown(got.as_bytes()) });
            }
        }
        rest = behind;
    }
    if rest.contains('}') {
        return Err(braces());
    }
    name.push_str(rest);
    Ok(name)
}

fn fact(text: &Option<String>) -> Option<String> {
    text.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_ascii_lowercase)
}

/// The initiator's name: `template`, or [`DEFAULT_INITIATOR`] without one.
///
/// # Errors
/// [`IdentityError`].
pub fn initiator(template: Option<&str>, facts: &Facts) -> Result<InitiatorName, IdentityError> {
    Ok(expand(template.unwrap_or(DEFAULT_INITIATOR), facts)?.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            ip: Some("10.13.20.101".parse().unwrap()),
            mac: Some([0x52, 0x54, 0, 0x12, 0x34, 0xab]),
            hostname: Some("Node14\n".into()),
            uuid: Some("0A1B2C3D-4E5F-4A6B-8C7D-9E0F1A2B3C4D".into()),
        }
    }

    #[test]
    fn good() {
        for (template, want) in [
            ("", ""),
            ("iqn.2026-01.org.example:disk", "iqn.2026-01.org.example:disk"),
            ("iqn.2026-01.org.example:{ip}", "iqn.2026-01.org.example:10.13.20.101"),
            ("{mac}{mac}", "5254001234ab5254001234ab"),
            ("{hostname}-{uuid}.", "node14-0a1b2c3d-4e5f-4a6b-8c7d-9e0f1a2b3c4d."),
        ] {
            assert_eq!(expand(template, &facts()), Ok(want.to_owned()), "{template}");
        }
        let name = initiator(None, &facts()).map(|name| name.to_string());
        assert_eq!(name, Ok("iqn.2026-01.io.sidus:node-5254001234ab".into()));
    }

    #[test]
    fn bad() {
        for (template, want) in [
            ("x{IP}", "\"x{IP}\": {IP} is no placeholder; {ip}, {mac}, {hostname} and {uuid} are"),
            ("{}", "\"{}\": {} is no placeholder; {ip}, {mac}, {hostname} and {uuid} are"),
            ("{ip", "\"{ip\": { and } enclose a placeholder, as in {ip}"),
            ("ip}", "\"ip}\": { and } enclose a placeholder, as in {ip}"),
            ("a}{ip}", "\"a}{ip}\": { and } enclose a placeholder, as in {ip}"),
        ] {
            assert_eq!(expand(template, &facts()).map_err(|e| e.to_string()), Err(want.to_owned()), "{template}");
        }
        for (template, want) in [
            ("{ip}", "\"{ip}\": this node has no IP address toward the portal to put in the place of {ip}"),
            ("{mac}", "\"{mac}\": this node has no MAC address to put in the place of {mac}"),
            ("{hostname}", "\"{hostname}\": this node has no host name to put in the place of {hostname}"),
            ("{uuid}", "\"{uuid}\": this node has no UUID in its firmware to put in the place of {uuid}"),
        ] {
            let none = Facts { hostname: Some(" \n".into()), ..Facts::default() };
            assert_eq!(expand(template, &none).map_err(|e| e.to_string()), Err(want.to_owned()), "{template}");
        }
        assert_eq!(
            initiator(Some("node"), &facts()).map_err(|e| e.to_string()),
            Err("\"node\": an iSCSI name begins with \"iqn.\", \"eui.\" or \"naa.\"".into())
        );
    }
}
