//! `[logic]`: the worker.

use super::kind::Number;
use super::reader::Reader;
use protocol::limits::LARGE_GROUP_MEMBERS;

/// The worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Logic {
    pub(crate) large_group_members: u32,
}

impl Logic {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let members = Number(1..=1_000_000);
        Self { large_group_members: reader.key("logic.large_group_members", members, LARGE_GROUP_MEMBERS) }
    }
}
