//! A worker's side: routes and leases in one round trip.

use super::connection::Link;
use super::{Settings, lease};
use crate::directory::{Directory, DirectoryError, LiveGateway, Routes};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::DIRECTORY_BATCH;
use protocol::{GatewayId, Origin, UserId};
use redis::{Pipeline, Value};

/// Gateways whose leases are read along with the routes, so that one round trip does.
const KNOWN_GATEWAYS_MAX: usize = 256;

type Leases = HashMap<GatewayId, Option<LiveGateway>, RandomState>;

/// The routes and leases in Redis; each clone has a connection of its own.
pub struct RedisDirectory {
    link: Link,
    /// Gateways that routes have named lately.
    known: Vec<GatewayId>,
}

impl RedisDirectory {
    /// Connects at the first look-up.
    pub fn new(settings: &Settings) -> Self {
        Self { link: Link::new(settings), known: Vec::new() }
    }

    /// One round trip: the session ids of `users`, and the leases of the gateways that are known.
    fn read(&mut self, users: &[UserId], leases: &mut Leases) -> Result<Vec<Vec<String>>, DirectoryError> {
        let mut pipeline = Pipeline::with_capacity(users.len() + self.known.len());
        let asked: Vec<_> = self.known.iter().copied().filter(|id| !leases.contains_key(id)).collect();
        for user in users {
            pipeline.hkeys(self.link.settings().routes_key(*user));
        }
        self.ask_leases(&asked, &mut pipeline);
        let mut answers: Vec<Value> = self.link.pipeline(&pipeline, &[])?;
        enter_leases(&asked, answers.split_off(users.len()), leases)?;
        let sessions = answers.into_iter().map(redis::from_redis_value);
        sessions.collect::<Result<_, _>>().map_err(|error| DirectoryError(error.to_string()))
    }

    fn ask_leases(&self, gateways: &[GatewayId], pipeline: &mut Pipeline) {
        for id in gateways {
            pipeline.get(self.link.settings().lease_key(*id));
        }
    }

    /// The leases of gateways that the round trip before has named for the first time.
    fn read_more_leases(&mut self, named: &[GatewayId], leases: &mut Leases) -> Result<(), DirectoryError> {
        if named.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::with_capacity(named.len());
        self.ask_leases(named, &mut pipeline);
        let answers: Vec<Value> = self.link.pipeline(&pipeline, &[])?;
        enter_leases(named, answers, leases)
    }

    fn look_up_some(
        &mut self,
        users: &[UserId],
        leases: &mut Leases,
        out: &mut Routes,
    ) -> Result<(), DirectoryError> {
        let sessions = self.read(users, leases)?;
        // What is no session id is nobody's: only gateways write here.
        let parsed: Vec<Vec<Origin>> =
            sessions.iter().map(|ids| ids.iter().filter_map(|id| Origin::parse(id).ok()).collect()).collect();
        let mut named = Vec::new();
        for session in parsed.iter().flatten() {
            if !leases.contains_key(&session.gateway) && !named.contains(&session.gateway) {
                named.push(session.gateway);
            }
        }
        self.read_more_leases(&named, leases)?;
        for (user, sessions) in users.iter().zip(parsed) {
            for session in sessions {
                let lease = leases.get(&session.gateway).copied().flatten();
                if lease.is_some_and(|lease| lease.boot_epoch == session.boot_epoch) {
                    out.add(*user, session);
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, leases: &Leases) {
        self.known.clear();
        let live = leases.iter().filter(|(_, lease)| lease.is_some()).map(|(id, _)| *id);
        self.known.extend(live.take(KNOWN_GATEWAYS_MAX));
    }
}

impl Clone for RedisDirectory {
    fn clone(&self) -> Self {
        Self::new(self.link.settings())
    }
}

fn enter_leases(
    gateways: &[GatewayId],
    answers: Vec<Value>,
    leases: &mut Leases,
) -> Result<(), DirectoryError> {
    for (id, answer) in gateways.iter().zip(answers) {
        let value: Option<String> =
            redis::from_redis_value(answer).map_err(|error| DirectoryError(error.to_string()))?;
        leases.insert(*id, value.and_then(|value| lease::read(*id, &value)));
    }
    Ok(())
}

impl Directory for RedisDirectory {
    fn look_up(&mut self, users: &[UserId], out: &mut Routes) -> Result<(), DirectoryError> {
        out.clear();
        let mut users = users.to_vec();
        users.sort_unstable();
        users.dedup();
        let mut leases = Leases::default();
        for users in users.chunks(DIRECTORY_BATCH) {
            if let Err(error) = self.look_up_some(users, &mut leases, out) {
                out.clear();
                return Err(error);
            }
        }
        self.remember(&leases);
        Ok(())
    }

    fn gateways(&mut self) -> Result<Vec<LiveGateway>, DirectoryError> {
        let key = self.link.settings().gateways_key();
        let ids: Vec<String> = self.link.with(|c| redis::cmd("ZRANGE").arg(&key).arg(0).arg(-1).query(c))?;
        let ids: Vec<_> = ids.iter().filter_map(|id| GatewayId::new(id).ok()).collect();
        let mut leases = Leases::default();
        self.read_more_leases(&ids, &mut leases)?;
        Ok(ids.iter().filter_map(|id| leases[id]).collect())
    }
}
