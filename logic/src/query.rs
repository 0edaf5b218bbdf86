//! The query thread: answers `sync` from the store, within the reader's window; moves read marks,
//! and passes on who is typing.

use crate::clock;
use crate::history::Histories;
use crate::outbound::Outbound;
use crate::stats::Stats;
use crate::store::{Mark, Marks, Members, Reader, StoreError};
use crate::sync;
use bus::directory::Directory;
use bus::{Downlink, QuerySource};
use protocol::event;
use protocol::limits::TYPING_AGE_MS_MAX;
use protocol::record::{EntryKind, Query, QueryRecord};
use protocol::{ConversationId, ErrorCode, Origin, UnixMs, UserId};
use std::sync::Arc;
use std::time::Duration;

const POLL_WAIT: Duration = Duration::from_millis(500);
/// Queries taken at a time.
const QUERIES_PER_POLL: usize = 64;

/// The query thread of one worker.
pub struct Queries<D, Y> {
    /// Reads.
    pub histories: Histories,
    /// Moves read marks.
    pub marks: Box<dyn Marks>,
    /// Tells sessions and users.
    pub outbound: Outbound<D, Y>,
    /// Counts.
    pub stats: Arc<Stats>,
}

impl<D: Downlink, Y: Directory> Queries<D, Y> {
    /// Answers queries until the road is closed.
    pub fn run(mut self, mut source: impl QuerySource, runtime: &tokio::runtime::Runtime) {
        let mut records = Vec::new();
        while source.poll(QUERIES_PER_POLL, POLL_WAIT, &mut records) {
            let mut marks = Vec::new();
            for record in records.drain(..) {
                let done = runtime.block_on(self.answer(&record, &mut marks));
                match done {
                    Ok(()) => self.stats.queries.add(1),
                    Err(error) => self.fail(&record, &error),
                }
            }
            if !marks.is_empty() {
                runtime.block_on(self.mark_read(marks));
            }
        }
    }

    async fn answer(
        &mut self,
        record: &QueryRecord,
        marks: &mut Vec<(Mark, Origin)>,
    ) -> Result<(), StoreError> {
        match &record.query {
            Query::Sync { conversations, limit } => {
                let trace_id = record.trace_id.as_deref();
                let payload =
                    sync::answer(&mut self.histories, record.user, conversations, *limit, trace_id).await?;
                self.outbound.tell_session(EntryKind::SyncResult, record.origin, payload);
            }
            Query::MarkRead { conversation, seq } => {
                match may_mark(&mut *self.histories.reader, *conversation, record.user).await? {
                    Ok(()) => marks.push((
                        Mark { conversation: *conversation, user: record.user, seq: *seq },
                        record.origin,
                    )),
                    Err((code, text)) => self.refuse(record, code, text),
                }
            }
            Query::Typing { conversation, at } => self.typing(record, *conversation, *at).await?,
        }
        Ok(())
    }

    /// In one transaction; then the reader's other sessions and the peer are told.
    async fn mark_read(&mut self, marks: Vec<(Mark, Origin)>) {
        let all: Vec<_> = marks.iter().map(|(mark, _)| *mark).collect();
        match self.marks.mark_read(&all).await {
            Ok(moved) => {
                for ((mark, origin), seq) in marks.into_iter().zip(moved) {
                    let Some(seq) = seq else { continue };
                    self.stats.marks_moved.add(1);
                    let payload = event::read(mark.conversation, mark.user, seq);
                    let told = told_of_read(&mark);
                    self.outbound.tell_users(EntryKind::Read, &told, Some(origin), &payload);
                }
            }
            Err(error) => {
                self.stats.queries_failed.add(marks.len() as u64);
                tracing::warn!(%error, "read marks could not be stored");
                for (_, origin) in marks {
                    let text = "the read mark can't be stored now: send it again in a moment";
                    let payload = event::error(ErrorCode::Internal, text, None, None);
                    self.outbound.tell_session(EntryKind::Error, origin, payload);
                }
            }
        }
    }

    /// To the other members online; a hint, so what is late or for too many is dropped and counted.
    async fn typing(
        &mut self,
        record: &QueryRecord,
        conversation: ConversationId,
        at: UnixMs,
    ) -> Result<(), StoreError> {
        let late = clock::now().0.saturating_sub(at.0) > TYPING_AGE_MS_MAX;
        let members = match conversation {
            _ if late => None,
            ConversationId::Single(a, b) => Some(vec![a, b]),
            ConversationId::Group(_) => match self.histories.reader.members(conversation).await? {
                Some(Members::Listed(members)) => Some(members),
                Some(Members::Large) | None => None,
            },
            ConversationId::World => None,
        };
        match members {
            Some(members) if !members.contains(&record.user) => {
                self.refuse(record, ErrorCode::NotAMember, not_open(ErrorCode::NotAMember));
            }
            Some(mut members) => {
                members.retain(|user| *user != record.user);
                let payload = event::typing(conversation, record.user);
                self.outbound.tell_users(EntryKind::Typing, &members, None, &payload);
            }
            None => self.stats.typing_dropped.add(1),
        }
        Ok(())
    }

    fn refuse(&mut self, record: &QueryRecord, code: ErrorCode, text: &str) {
        let payload = event::error(code, text, None, record.trace_id.as_deref());
        self.outbound.tell_session(EntryKind::Error, record.origin, payload);
    }

    fn fail(&mut self, record: &QueryRecord, error: &StoreError) {
        self.stats.queries_failed.add(1);
        tracing::warn!(%error, "a query failed");
        self.refuse(record, ErrorCode::Internal, "the history can't be read now: try again in a moment");
    }
}

/// Why a conversation is not open to a user, in words.
pub(crate) fn not_open(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::ConversationNotFound => "there is no such conversation",
        _ => "you are not a member of this conversation",
    }
}

/// Whether a user may mark a conversation as read.
pub(crate) async fn may_mark(
    reader: &mut dyn Reader,
    conversation: ConversationId,
    user: UserId,
) -> Result<Result<(), (ErrorCode, &'static str)>, StoreError> {
    if conversation == ConversationId::World {
        return Ok(Err((ErrorCode::InvalidMessage, "world has no read marks")));
    }
    let window = reader.window(conversation, user).await?.range();
    Ok(window.map(drop).map_err(|code| (code, not_open(code))))
}

/// The reader's other sessions, and the peer of a single conversation.
pub(crate) fn told_of_read(mark: &Mark) -> Vec<UserId> {
    match mark.conversation {
        ConversationId::Single(a, b) => vec![a, b],
        ConversationId::Group(_) | ConversationId::World => vec![mark.user],
    }
}
