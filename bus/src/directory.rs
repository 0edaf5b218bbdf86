//! Routes: which sessions a user has, on which gateway and shard.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{GatewayId, Origin, UserId};
#[allow(clippy::disallowed_types, reason = "workers are no shards")]
use std::sync::RwLock;
use std::sync::{Arc, PoisonError};

/// The users that each shard has sessions of.
pub type PerShard = HashMap<(GatewayId, u16), Vec<UserId>, RandomState>;

/// Where routes live. Read once per batch by the distributor, after COMMIT.
pub trait Directory: Send {
    /// Adds a session's route.
    fn add(&mut self, user: UserId, session: Origin);
    /// Removes a session's route, and no other's: compare, then delete.
    fn remove(&mut self, user: UserId, session: Origin);
    /// Appends the routes of `user` to `out`.
    fn routes(&self, user: UserId, out: &mut Vec<Origin>);
    /// Enters each of `users` under every shard that has a session of theirs, once.
    fn shards_of(&self, users: &mut dyn Iterator<Item = UserId>, out: &mut PerShard);
}

type Sessions = HashMap<UserId, Vec<Origin>, RandomState>;

/// The directory of one process, in memory; its clones are the same directory. Used by the worker's
/// threads, never by a shard, so a lock is no shard's business.
#[derive(Debug, Default, Clone)]
#[allow(clippy::disallowed_types, reason = "workers are no shards")]
pub struct Memory {
    sessions: Arc<RwLock<Sessions>>,
}

impl Memory {
    fn write<T>(&self, change: impl FnOnce(&mut Sessions) -> T) -> T {
        change(&mut self.sessions.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(&self, look: impl FnOnce(&Sessions) -> T) -> T {
        look(&self.sessions.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Directory for Memory {
    fn add(&mut self, user: UserId, session: Origin) {
        self.write(|sessions| {
            let sessions = sessions.entry(user).or_default();
            if !sessions.contains(&session) {
                sessions.push(session);
            }
        });
    }

    fn remove(&mut self, user: UserId, session: Origin) {
        self.write(|sessions| {
            if let hashbrown::hash_map::Entry::Occupied(mut entry) = sessions.entry(user) {
                entry.get_mut().retain(|s| *s != session);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        });
    }

    fn routes(&self, user: UserId, out: &mut Vec<Origin>) {
        self.read(|sessions| out.extend(sessions.get(&user).into_iter().flatten()));
    }

    fn shards_of(&self, users: &mut dyn Iterator<Item = UserId>, out: &mut PerShard) {
        self.read(|sessions| {
            for user in users {
                for route in sessions.get(&user).into_iter().flatten() {
                    let users = out.entry((route.gateway, route.session.shard)).or_default();
                    if users.last() != Some(&user) {
                        users.push(user);
                    }
                }
            }
        });
    }
}
