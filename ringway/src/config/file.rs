//! The file, with the place of everything in it.

use super::fault::{Fault, Place};
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A file that was read and is TOML.
pub(super) struct File<'a> {
    path: &'a Path,
    text: &'a str,
    table: DeTable<'a>,
}

/// The text of the file.
pub(super) fn text(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path)
        .map_err(|error| Fault { text: format!("cannot read {}: {error}", path.display()), place: None })
}

impl<'a> File<'a> {
    pub(super) fn parse(path: &'a Path, text: &'a str) -> Result<Self, Fault> {
        DeTable::parse(text).map(|table| Self { path, text, table: table.into_inner() }).map_err(|error| {
            let at = error.span().unwrap_or_default().start;
            Fault { text: format!("not TOML: {}", error.message()), place: Some(place(path, text, at)) }
        })
    }

    /// The value of `key`, which is `name` or `section.name`.
    pub(super) fn get(&self, key: &str) -> Option<&Spanned<DeValue<'a>>> {
        match key.split_once('.') {
            None => self.table.get(key),
            Some((section, name)) => self.table.get(section)?.get_ref().as_table()?.get(name),
        }
    }

    /// What no key of `known` reads, each with its place: a key, or a section as a whole.
    pub(super) fn unknown(&self, known: &[&str]) -> Vec<(String, Place)> {
        let is_section = |name: &str| {
            known.iter().any(|key| key.split_once('.').is_some_and(|(section, _)| section == name))
        };
        let mut unknown = Vec::new();
        for (name, value) in &self.table {
            let at = name.span().start;
            let name = name.get_ref();
            match value.get_ref().as_table() {
                Some(section) if is_section(name) => {
                    let keys =
                        section.keys().map(|key| (format!("{name}.{}", key.get_ref()), key.span().start));
                    unknown.extend(keys.filter(|(key, _)| !known.contains(&key.as_str())));
                }
                _ if known.contains(&name.as_ref()) => {}
                _ => unknown.push((name.to_string(), at)),
            }
        }
        unknown.sort_by_key(|(_, at)| *at);
        unknown.into_iter().map(|(key, at)| (key, self.place(at))).collect()
    }

    pub(super) fn place(&self, at: usize) -> Place {
        place(self.path, self.text, at)
    }

    /// What is written there.
    pub(super) fn source(&self, span: Range<usize>) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }
}

fn place(path: &Path, text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place::File { path: path.to_owned(), line, column }
}
