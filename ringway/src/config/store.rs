//! `[store]`: how messages are kept.

use super::kind::Choice;
use super::reader::Reader;
use logic::store::sqlite::Synchronous;

/// How messages are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    pub(crate) synchronous: Synchronous,
}

impl Store {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let synchronous = Choice(&[("full", Synchronous::Full), ("normal", Synchronous::Normal)]);
        Self { synchronous: reader.key("store.synchronous", synchronous, Synchronous::Full) }
    }
}
