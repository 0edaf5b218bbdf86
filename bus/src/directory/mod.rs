//! Routes: which sessions a user has, on which gateway and shard.
//!
//! A worker reads them once per batch, after COMMIT; a gateway keeps its own up to date. An error
//! is not "offline": whoever looks up must wait or try again.

mod memory;
pub mod redis;

pub use memory::Memory;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{GatewayId, Origin, UserId};
use thiserror::Error;

/// The users that each shard has sessions of.
pub type PerShard = HashMap<(GatewayId, u16), Vec<UserId>, RandomState>;

/// The directory did not answer: nothing is known about who is online.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the directory of routes does not answer: {0}")]
pub struct DirectoryError(pub String);

/// A gateway that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveGateway {
    /// Its name.
    pub id: GatewayId,
    /// Which start of it.
    pub boot_epoch: u64,
    /// How many shards it has.
    pub shards: u16,
}

/// Where routes live, as a worker sees it. Each thread has its own.
pub trait Directory: Send {
    /// Fills `out`, emptied first, with the routes of `users` that are live: one round trip for all.
    fn look_up(&mut self, users: &[UserId], out: &mut Routes) -> Result<(), DirectoryError>;
    /// The gateways that are up, for what goes to everybody.
    fn gateways(&mut self) -> Result<Vec<LiveGateway>, DirectoryError>;
}

/// What a look-up found.
#[derive(Debug, Clone, Default)]
pub struct Routes(HashMap<UserId, Vec<Origin>, RandomState>);

impl Routes {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Enters a session of `user`.
    pub fn add(&mut self, user: UserId, session: Origin) {
        self.0.entry(user).or_default().push(session);
    }

    /// The sessions of `user`.
    pub fn of(&self, user: UserId) -> &[Origin] {
        self.0.get(&user).map_or(&[], Vec::as_slice)
    }

    /// Enters each of `users` under every shard that has a session of theirs, once.
    pub fn per_shard(&self, users: impl IntoIterator<Item = UserId>, out: &mut PerShard) {
        for user in users {
            for route in self.of(user) {
                let users = out.entry((route.gateway, route.session.shard)).or_default();
                if users.last() != Some(&user) {
                    users.push(user);
                }
            }
        }
    }
}
