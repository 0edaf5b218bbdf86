//! A shard's users: which sessions each has, newest first, and which of them stay.

use super::connection::{NO_SLOT, flag};
use super::egress::Frame;
use super::hub::Hub;
use hashbrown::hash_map::Entry;
use protocol::{CloseCode, SessionPolicy, SessionRef, UserId};

impl Hub {
    pub(super) fn push_to_user(&mut self, user: UserId, frame: &Frame, exclude: Option<SessionRef>) {
        let Some(&newest) = self.users.get(&user) else {
            self.stats.downstream_missed.add(1);
            return;
        };
        let mut slot = newest;
        while slot != NO_SLOT {
            // A push may close the session, which takes it out of the chain.
            let older = self.connections[slot as usize].older;
            self.push_unless(slot, frame, exclude);
            slot = older;
        }
    }

    pub(super) fn push_unless(&mut self, slot: u32, frame: &Frame, exclude: Option<SessionRef>) {
        let generation = self.connections[slot as usize].generation;
        if !exclude.is_some_and(|session| session.slot == slot && session.generation == generation) {
            self.push(slot, frame.clone());
        }
    }

    /// Enters the session in `slot` as its user's newest; the oldest goes when there are too many.
    pub(super) fn register(&mut self, slot: u32) {
        let user = self.connections[slot as usize].user;
        let older = self.users.insert(user, slot).unwrap_or(NO_SLOT);
        let connection = &mut self.connections[slot as usize];
        connection.older = older;
        connection.flags |= flag::REGISTERED;
        self.replace_older(slot);
    }

    /// Closes those of the user's older sessions that the policy does not let stay.
    fn replace_older(&mut self, slot: u32) {
        let device = self.connections[slot as usize].device;
        let (mut count, mut next) = (1, self.connections[slot as usize].older);
        while next != NO_SLOT {
            let at = next;
            let connection = &self.connections[at as usize];
            next = connection.older;
            count += 1;
            let reason = match self.limits.session_policy {
                SessionPolicy::Replace => "replaced by a newer session of this user",
                SessionPolicy::PerDevice if connection.device == device => {
                    "replaced by a newer session on this device"
                }
                _ if count > self.limits.sessions_per_user_max => "replaced: too many sessions of this user",
                _ => continue,
            };
            count -= 1;
            self.close(at, CloseCode::Replaced, reason);
        }
    }

    pub(super) fn unregister(&mut self, slot: u32) {
        let connection = &mut self.connections[slot as usize];
        if !connection.has(flag::REGISTERED) {
            return;
        }
        connection.flags &= !flag::REGISTERED;
        let (user, older) = (connection.user, std::mem::replace(&mut connection.older, NO_SLOT));
        let Entry::Occupied(mut newest) = self.users.entry(user) else { return };
        if *newest.get() != slot {
            let mut at = *newest.get();
            while self.connections[at as usize].older != slot {
                at = self.connections[at as usize].older;
            }
            self.connections[at as usize].older = older;
        } else if older == NO_SLOT {
            newest.remove();
        } else {
            newest.insert(older);
        }
        self.gone.push((self.session_ref(slot), user));
    }
}
