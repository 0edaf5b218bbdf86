//! The directory of one process.

use super::{Directory, DirectoryError, LiveGateway, Routes};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{Origin, UserId};
#[allow(clippy::disallowed_types, reason = "workers are no shards")]
use std::sync::RwLock;
use std::sync::{Arc, PoisonError};

type Sessions = HashMap<UserId, Vec<Origin>, RandomState>;

/// The directory of one process, in memory; its clones are the same directory. Used by the worker's
/// threads, never by a shard, so a lock is no shard's business.
#[derive(Debug, Default, Clone)]
#[allow(clippy::disallowed_types, reason = "workers are no shards")]
pub struct Memory {
    sessions: Arc<RwLock<Sessions>>,
    gateways: Arc<[LiveGateway]>,
}

impl Memory {
    /// A directory without routes; these gateways are up for as long as it is.
    pub fn new(gateways: &[LiveGateway]) -> Self {
        Self { sessions: Arc::default(), gateways: gateways.into() }
    }

    /// Adds a session's route.
    pub fn add(&mut self, user: UserId, session: Origin) {
        self.write(|sessions| {
            let sessions = sessions.entry(user).or_default();
            if !sessions.contains(&session) {
                sessions.push(session);
            }
        });
    }

    /// Removes a session's route, and no other's: compare, then delete.
    pub fn remove(&mut self, user: UserId, session: Origin) {
        self.write(|sessions| {
            if let hashbrown::hash_map::Entry::Occupied(mut entry) = sessions.entry(user) {
                entry.get_mut().retain(|s| *s != session);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        });
    }

    fn write<T>(&self, change: impl FnOnce(&mut Sessions) -> T) -> T {
        change(&mut self.sessions.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Directory for Memory {
    fn look_up(&mut self, users: &[UserId], out: &mut Routes) -> Result<(), DirectoryError> {
        out.clear();
        let sessions = self.sessions.read().unwrap_or_else(PoisonError::into_inner);
        for user in users {
            if out.of(*user).is_empty() {
                sessions.get(user).into_iter().flatten().for_each(|session| out.add(*user, *session));
            }
        }
        Ok(())
    }

    fn gateways(&mut self) -> Result<Vec<LiveGateway>, DirectoryError> {
        Ok(self.gateways.to_vec())
    }
}
