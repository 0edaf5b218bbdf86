//! A store that answers as a test says, and keeps what it was asked to commit.
#![allow(clippy::disallowed_types, reason = "a test is no shard")]

use crate::places::PARTITIONS;
use async_trait::async_trait;
use logic::decide::Known;
use logic::store::{
    Advance, Commit, DeadLetter, Members, Membership, NewMessage, Partition, Store, StoreError,
};
use protocol::{ConversationId, UserId};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What becomes of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is done, as are all for which there is no answer.
    Done,
    /// The data is refused.
    Refused,
    /// The store can't answer now.
    Away,
}

/// An empty store; what was committed can be seen from elsewhere.
pub(crate) struct Scripted {
    answers: VecDeque<Answer>,
    partitions: Vec<Partition>,
    committed: Arc<Mutex<Vec<Advance>>>,
}

impl Scripted {
    pub(crate) fn new(answers: &[Answer]) -> (Self, Arc<Mutex<Vec<Advance>>>) {
        let committed = Arc::<Mutex<Vec<Advance>>>::default();
        let partitions = vec![Partition { epoch: 1, next_offset: 0, version: 0 }; PARTITIONS.into()];
        let store =
            Self { answers: answers.iter().copied().collect(), partitions, committed: committed.clone() };
        (store, committed)
    }
}

#[async_trait]
impl Store for Scripted {
    fn batch_records_max(&self) -> usize {
        500
    }

    fn batch_interval(&self) -> Duration {
        Duration::ZERO
    }

    async fn lock(&mut self, _: &[u16]) -> Result<(), StoreError> {
        Ok(())
    }

    async fn unlock(&mut self) {}

    async fn partitions(&mut self) -> Result<Vec<Partition>, StoreError> {
        Ok(self.partitions.clone())
    }

    async fn last_seqs(&mut self, of: &[ConversationId]) -> Result<Vec<u64>, StoreError> {
        Ok(vec![0; of.len()])
    }

    async fn members(&mut self, of: &[ConversationId]) -> Result<Vec<Option<Members>>, StoreError> {
        Ok(of.iter().map(|_| None).collect())
    }

    async fn windows(&mut self, _: ConversationId, _: u64) -> Result<Vec<Membership>, StoreError> {
        Ok(Vec::new())
    }

    async fn are_members(&mut self, of: &[(ConversationId, UserId)]) -> Result<Vec<bool>, StoreError> {
        Ok(vec![false; of.len()])
    }

    async fn find(&mut self, _: ConversationId, _: UserId, _: &str) -> Result<Option<Known>, StoreError> {
        Ok(None)
    }

    async fn commit(
        &mut self,
        advances: &[Advance],
        _: &[NewMessage<'_>],
        _: &[DeadLetter<'_>],
    ) -> Result<Commit, StoreError> {
        let error = || sqlx::Error::Protocol("as the test says".to_owned());
        match self.answers.pop_front().unwrap_or(Answer::Done) {
            Answer::Done => {}
            Answer::Refused => return Err(StoreError::Data(error())),
            Answer::Away => return Err(StoreError::Passing(error())),
        }
        for advance in advances {
            self.partitions[usize::from(advance.partition)].next_offset = advance.next_offset;
        }
        self.committed.lock().unwrap().extend_from_slice(advances);
        Ok(Commit::Done)
    }
}
