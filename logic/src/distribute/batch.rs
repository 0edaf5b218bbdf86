//! What the persister hands to the distributor: a batch that is committed.

use crate::decide::{Decision, Known};
use crate::handoff::Weighed;
use crate::store::Membership;
use bus::Polled;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::record::UpstreamRecord;
use protocol::{ConversationId, UnixMs, UserId};
use std::sync::Arc;
use std::time::Instant;

/// A committed batch.
#[derive(Debug)]
pub struct Batch {
    /// What came.
    pub records: Vec<Polled<UpstreamRecord>>,
    /// What became of each.
    pub decisions: Vec<Decision>,
    /// Who is in the groups written into, as it was at COMMIT.
    pub groups: HashMap<ConversationId, Audience, RandomState>,
    /// The offset after the last one of each partition.
    pub ends: Vec<(u16, u64)>,
    /// When it was taken from the road.
    pub taken_at: UnixMs,
    /// When it was committed.
    pub committed_at: UnixMs,
    /// The same, for how long it took from there.
    pub committed: Instant,
}

impl Weighed for Batch {
    /// Its records and the members of its groups, which are shared with what the persister keeps warm.
    fn bytes(&self) -> usize {
        let records: usize = self.records.iter().map(|polled| polled.record.bytes()).sum();
        let members = |audience: &Audience| match audience {
            Audience::Members(members) => size_of_val::<[UserId]>(members),
            Audience::Windows(members) => size_of_val::<[Membership]>(members),
            Audience::Large => 0,
        };
        let groups: usize = self.groups.values().map(members).sum();
        size_of::<Self>() + records + self.decisions.len() * size_of::<Decision>() + groups
    }
}

impl Batch {
    /// The messages that recipients are to be told of.
    pub(super) fn stored(&self) -> impl Iterator<Item = (&UpstreamRecord, &Known)> {
        self.records.iter().zip(&self.decisions).filter_map(|(polled, decision)| match decision {
            Decision::Insert(known) | Decision::Replay(known) => Some((&polled.record, known)),
            Decision::Repeat(_) | Decision::Refuse(_) | Decision::Skip => None,
        })
    }
}

/// Who is in a group.
#[derive(Debug, Clone)]
pub enum Audience {
    /// These.
    Members(Arc<[UserId]>),
    /// Each within their window: something of the batch was persisted before, and members may have
    /// come and gone since.
    Windows(Arc<[Membership]>),
    /// Too many: they are reached by bucket ranges.
    Large,
}
