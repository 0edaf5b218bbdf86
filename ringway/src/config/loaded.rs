//! A configuration: the sections of a subcommand, read through all layers.

use super::auth::Auth;
use super::environment::Environment;
use super::fault::Faults;
use super::file::{self, File};
use super::reader::{Flag, Reader, Setting};
use protocol::token::KeySource;
use std::ops::Deref;
use std::path::Path;

/// The sections that a subcommand reads.
pub(crate) trait Sections: Sized {
    /// What stands outside of sections comes first, as in a file.
    fn read(reader: &mut Reader<'_>) -> Self;
    /// The keys of tokens.
    fn auth(&self) -> &Auth;
}

/// The settings of a subcommand.
#[derive(Debug, Clone)]
pub(crate) struct Loaded<T> {
    sections: T,
    /// All of it, one by one, with where each comes from.
    pub(crate) settings: Vec<Setting>,
}

impl<T> Deref for Loaded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.sections
    }
}

impl<T: Sections> Loaded<T> {
    /// Reads and judges everything, but for the keys that `auth` names.
    pub(crate) fn load(file: Option<&Path>, flags: &[Flag]) -> Result<Self, Faults> {
        Self::of(file, &Environment::of_process(), flags)
    }

    pub(super) fn of(file: Option<&Path>, environment: &Environment, flags: &[Flag]) -> Result<Self, Faults> {
        let text = file.map(file::text).transpose()?.unwrap_or_default();
        let file = file.map(|path| File::parse(path, &text)).transpose()?;
        let mut reader = Reader::new(file.as_ref(), environment, flags);
        let sections = T::read(&mut reader);
        let settings = reader.finish(&sections.auth().variables())?;
        Ok(Self { sections, settings })
    }

    /// The keys of tokens, read from where they are.
    pub(crate) fn keys(&self) -> Result<Vec<KeySource>, Faults> {
        self.sections.auth().sources()
    }
}

/// The keys of the settings that have another value than before.
pub(crate) fn changed(now: &[Setting], then: &[Setting]) -> Vec<&'static str> {
    let pairs = now.iter().zip(then);
    pairs.filter(|(now, then)| now.value != then.value).map(|(now, _)| now.key).collect()
}
