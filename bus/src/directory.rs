//! Routes: which sessions a user has, on which gateway and shard.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{Origin, UserId};

/// Where routes live. Read once per batch by the distributor, after COMMIT.
pub trait Directory: Send {
    /// Adds a session's route.
    fn add(&mut self, user: UserId, session: Origin);
    /// Removes a session's route, and no other's: compare, then delete.
    fn remove(&mut self, user: UserId, session: Origin);
    /// Appends the routes of `user` to `out`.
    fn routes(&self, user: UserId, out: &mut Vec<Origin>);
}

/// The directory of one process, in memory.
#[derive(Debug, Default)]
pub struct Memory {
    sessions: HashMap<UserId, Vec<Origin>, RandomState>,
}

impl Directory for Memory {
    fn add(&mut self, user: UserId, session: Origin) {
        let sessions = self.sessions.entry(user).or_default();
        if !sessions.contains(&session) {
            sessions.push(session);
        }
    }

    fn remove(&mut self, user: UserId, session: Origin) {
        if let hashbrown::hash_map::Entry::Occupied(mut entry) = self.sessions.entry(user) {
            entry.get_mut().retain(|s| *s != session);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }

    fn routes(&self, user: UserId, out: &mut Vec<Origin>) {
        if let Some(sessions) = self.sessions.get(&user) {
            out.extend_from_slice(sessions);
        }
    }
}
