//! What a batch needs to know of its conversations, looked up in few statements, however many are cold.

use super::cache::Warm;
use super::{Persister, Records};
use crate::decide::{Conversation, Writers};
use crate::store::{Members, StoreError};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use protocol::limits::WARM_CONVERSATIONS_MAX;
use protocol::{ConversationId, UserId};

impl Persister {
    /// Loads the conversations of the batch that are cold.
    pub(super) async fn load(&mut self, records: &Records) -> Result<(), StoreError> {
        if self.cache.conversations.len() + records.len() > WARM_CONVERSATIONS_MAX {
            self.cache.conversations.clear();
        }
        let cold = self.cold(records);
        if !cold.is_empty() {
            let last_seqs = self.store.last_seqs(&cold).await?;
            let mut writers = self.load_writers(&cold).await?;
            for (id, last_seq) in cold.into_iter().zip(last_seqs) {
                let writers = writers.remove(&id).unwrap_or(Writers::ByName);
                self.cache.conversations.insert(id, Warm::new(Conversation { last_seq, writers }));
            }
        }
        self.load_senders(records).await
    }

    /// Each once.
    fn cold(&self, records: &Records) -> Vec<ConversationId> {
        let mut seen: HashSet<ConversationId, RandomState> = HashSet::default();
        let ids = records.iter().map(|polled| polled.record.conversation);
        ids.filter(|id| !self.cache.conversations.contains_key(id) && seen.insert(*id)).collect()
    }

    /// Who may write into those that are groups.
    async fn load_writers(
        &mut self,
        cold: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Writers, RandomState>, StoreError> {
        let is_group = |id: &ConversationId| matches!(id, ConversationId::Group(_));
        let groups: Vec<_> = cold.iter().copied().filter(is_group).collect();
        if groups.is_empty() {
            return Ok(HashMap::default());
        }
        let found = self.store.members(&groups).await?;
        let writers = found.into_iter().map(|members| match members {
            None => Writers::NoGroup,
            Some(Members::Large) => Writers::Large(HashMap::default()),
            Some(Members::Listed(members)) => Writers::Members(members.into()),
        });
        Ok(groups.into_iter().zip(writers).collect())
    }

    /// The members of large groups are too many: only who sends is looked up.
    async fn load_senders(&mut self, records: &Records) -> Result<(), StoreError> {
        let mut asked: HashSet<(ConversationId, UserId), RandomState> = HashSet::default();
        for polled in records {
            let (id, sender) = (polled.record.conversation, polled.record.sender);
            let warm = self.cache.conversations.get(&id).map(|warm| &warm.conversation.writers);
            if matches!(warm, Some(Writers::Large(senders)) if !senders.contains_key(&sender)) {
                asked.insert((id, sender));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let asked: Vec<_> = asked.into_iter().collect();
        let found = self.store.are_members(&asked).await?;
        for ((id, sender), is_member) in asked.into_iter().zip(found) {
            let warm = self.cache.conversations.get_mut(&id).map(|warm| &mut warm.conversation.writers);
            if let Some(Writers::Large(senders)) = warm {
                senders.insert(sender, is_member);
            }
        }
        Ok(())
    }
}
