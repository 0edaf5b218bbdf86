//! The environment: `RINGWAY_ENGINE__SHARDS` for `engine.shards`, `RINGWAY_LISTEN` for `listen`.

use std::collections::BTreeMap;
use std::ffi::OsString;

const PREFIX: &str = "RINGWAY_";

/// The variables that are, or should be, settings.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment(BTreeMap<String, OsString>);

/// The variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "__").to_uppercase())
}

/// The key that a variable's name stands for, if it is one.
pub(super) fn key(name: &str) -> String {
    name.trim_start_matches(PREFIX).replace("__", ".").to_lowercase()
}

impl Environment {
    pub(super) fn of_process() -> Self {
        Self::from_iter(std::env::vars_os())
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsString> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let ours = |(name, value): (OsString, OsString)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            Some((name, value))
        };
        Self(variables.into_iter().filter_map(ours).collect())
    }
}
