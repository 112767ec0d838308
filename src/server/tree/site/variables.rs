//! Names in double braces, as `{{server}}`, that stand for what the configuration says.
//!
//! Braces with anything else between them than letters and `_` (a blank, as in `{{ x }}`) are left as they are: they are
//! another program's.

use crate::server::config::values::TreeName;
use crate::server::config::Config;

/// Their names and values; without a value, where the configuration does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variables([(&'static str, Option<String>); 7]);

impl Variables {
    pub(super) fn of(config: &Config, tree: &TreeName) -> Self {
        let (server, dhcp) = (&config.settings.server, &config.settings.dhcp);
        let nameservers: Vec<_> = dhcp.nameservers.iter().map(ToString::to_string).collect();
        Self([
            ("tree", Some(tree.to_string())),
            ("server", Some(server.address.to_string())),
            ("subnet", Some(server.subnet.to_string())),
            ("netmask", Some(server.subnet.mask().to_string())),
            ("portal", Some(server.portal().to_string())),
            ("router", dhcp.router.map(|router| router.to_string())),
            ("nameservers", (!nameservers.is_empty()).then(|| nameservers.join(" "))),
        ])
    }

    /// The text with values in the place of names; or the line, counted from 1, and what is wrong there.
    pub(super) fn expand(&self, text: &str) -> Result<String, (usize, String)> {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            whole.push_str(before);
            let name = after.split_once("}}").map(|(name, _)| name).filter(|name| is_name(name));
            let Some(name) = name else {
                // One brace on: `{{{server}}` has a name, too.
                whole.push('{');
                rest = rest.get(before.len().saturating_add(1)..).unwrap_or_default();
                continue;
            };
            let so_far = text.len().saturating_sub(after.len());
            let line = text.bytes().take(so_far).filter(|byte| *byte == b'\n').count().saturating_add(1);
            whole.push_str(self.value(name).map_err(|message| (line, message))?);
            rest = after.get(name.len().saturating_add(2)..).unwrap_or_default();
        }
        whole.push_str(rest);
        Ok(whole)
    }

    fn value(&self, name: &str) -> Result<&str, String> {
        match self.0.iter().find(|(known, _)| *known == name) {
            Some((_, Some(value))) => Ok(value),
            Some((_, None)) => Err(format!("{{{{{name}}}}}: sidus.toml does not say it: dhcp.{name} does")),
            None => {
                let names: Vec<_> = self.0.iter().map(|(name, _)| *name).collect();
                Err(format!("{{{{{name}}}}}: there is no such variable; there are {}", names.join(", ")))
            }
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
}
