//! Reads each setting through its layers, and knows afterwards what was not a setting.

use super::environment::{self, Environment, variable};
use super::fault::{Fault, Faults, Place};
use super::file::File;
use super::kind::{Kind, Raw, Wrong};
use toml::Value;

/// Characters of a wrong value that a message repeats.
const GOT_CHARS_MAX: usize = 60;

/// A flag that is a setting, and what was given with it.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) value: Option<String>,
}

/// A setting as it is in force.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Setting {
    /// `name`, or `section.name`.
    pub(crate) key: &'static str,
    /// In force.
    pub(super) value: Value,
    /// Where that comes from.
    pub(super) place: Place,
    /// In words where it depends on the machine.
    pub(super) default: String,
    /// What it may be.
    pub(super) range: String,
    /// Whether the environment can hold it.
    pub(super) is_text: bool,
}

/// The layers of one configuration, lowest first: file, environment, flags.
pub(crate) struct Reader<'a> {
    file: Option<&'a File<'a>>,
    environment: &'a Environment,
    flags: &'a [Flag],
    settings: Vec<Setting>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: Option<&'a File<'a>>, environment: &'a Environment, flags: &'a [Flag]) -> Self {
        Self { file, environment, flags, settings: Vec::new(), faults: Vec::new() }
    }

    /// The value of `key`: the highest layer's that has one. A layer below is judged all the same.
    pub(super) fn key<K: Kind>(&mut self, key: &'static str, kind: K, default: K::Value) -> K::Value {
        let said = kind.show(&default).to_string();
        self.key_said(key, kind, default, &said)
    }

    /// The same, with the default in words.
    pub(super) fn key_said<K: Kind>(
        &mut self,
        key: &'static str,
        kind: K,
        default: K::Value,
        said: &str,
    ) -> K::Value {
        let mut setting = Setting {
            key,
            value: kind.show(&default),
            place: Place::Default,
            default: said.to_owned(),
            range: kind.range(),
            is_text: K::IS_TEXT,
        };
        let mut value = default;
        for (raw, place) in self.given(key) {
            match kind.read(&raw) {
                Ok(read) => {
                    setting.value = kind.show(&read);
                    setting.place = place;
                    value = read;
                }
                Err(wrong) => self.wrong(key, &raw, place, wrong),
            }
        }
        self.settings.push(setting);
        value
    }

    fn given(&mut self, key: &'static str) -> Vec<(Raw<'a>, Place)> {
        let mut given = Vec::new();
        if let Some(file) = self.file
            && let Some(value) = file.get(key)
        {
            given.push((Raw::Toml(value), file.place(value.span().start)));
        }
        let name = variable(key);
        if let Some(value) = self.environment.get(&name) {
            match value.to_str() {
                Some(text) => given.push((Raw::Text(text), Place::Environment(name))),
                None => self.fault(format!("{key}: expected text in UTF-8"), Place::Environment(name)),
            }
        }
        for flag in self.flags.iter().filter(|flag| flag.key == key) {
            given.extend(flag.value.as_deref().map(|text| (Raw::Text(text), Place::Flag(flag.name))));
        }
        given
    }

    fn wrong(&mut self, key: &str, raw: &Raw<'_>, place: Place, wrong: Wrong) {
        let mut place = place;
        let mut got = wrong.got.unwrap_or_default();
        if let (Raw::Toml(value), Some(file)) = (raw, self.file) {
            let span = wrong.span.unwrap_or_else(|| value.span());
            place = file.place(span.start);
            if got.is_empty() {
                got = file.source(span).lines().next().unwrap_or_default().to_owned();
            }
        }
        if got.chars().count() > GOT_CHARS_MAX {
            got = got.chars().take(GOT_CHARS_MAX).chain(['…']).collect();
        }
        self.fault(format!("{key}: expected {}, got {got}", wrong.expected), place);
    }

    fn fault(&mut self, text: String, place: Place) {
        self.faults.push(Fault { text, place: Some(place) });
    }

    /// Two settings that do not go together: `key` is where to change it.
    pub(super) fn require(&mut self, good: bool, key: &str, expected: &str) {
        let Some(setting) = self.settings.iter().find(|setting| setting.key == key).filter(|_| !good) else {
            return;
        };
        let text = format!("{key}: expected {expected}, got {}", setting.value);
        let place = setting.place.clone();
        self.fault(text, place);
    }

    /// Where the value of `key` comes from.
    pub(super) fn place(&self, key: &str) -> Place {
        let setting = self.settings.iter().find(|setting| setting.key == key);
        setting.map_or(Place::Default, |setting| setting.place.clone())
    }

    /// Once every setting was asked for: what is left in file and environment is a mistake, but for
    /// the variables that a setting names.
    pub(super) fn finish(mut self, named: &[&str]) -> Result<Vec<Setting>, Faults> {
        let keys: Vec<_> = self.settings.iter().map(|setting| setting.key).collect();
        for (key, place) in self.file.map_or_else(Vec::new, |file| file.unknown(&keys)) {
            let near = nearest(&key, &keys);
            self.fault(format!("{key}: there is no such setting; the nearest is {near}"), place);
        }
        let is_known = |name: &str| named.contains(&name) || keys.iter().any(|key| variable(key) == name);
        for name in self.environment.names().filter(|name| !is_known(name)) {
            let near = variable(nearest(&environment::key(name), &keys));
            let text = format!(
                "{name}: there is no such setting; the nearest is {near} (what begins with RINGWAY_ is a setting)"
            );
            self.faults.push(Fault { text, place: None });
        }
        if self.faults.is_empty() { Ok(self.settings) } else { Err(Faults(self.faults)) }
    }
}

/// The key that was probably meant: by few letters, or by the right name in another section.
fn nearest<'k>(given: &str, keys: &[&'k str]) -> &'k str {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let distance = |key: &str| {
        let by_name = 1 + strsim::damerau_levenshtein(&name(given), &name(key));
        by_name.min(strsim::damerau_levenshtein(given, key))
    };
    keys.iter().min_by_key(|key| distance(key)).copied().unwrap_or_default()
}
