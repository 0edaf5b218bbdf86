//! A gateway's side: its sessions' routes, many in one round trip.

use super::Settings;
use super::connection::Link;
use crate::directory::DirectoryError;
use crate::road::DeviceKey;
use protocol::limits::SessionPolicy;
use protocol::{Origin, UnixMs, UserId};
use redis::{Pipeline, Script, Value};

/// A user's routes end by themselves if no gateway asserts them any more, s.
const ROUTES_TTL_S: u64 = 3_600;

/// Adds a session, and takes out those that the policy does not let stay; returns them.
/// KEYS routes; ARGV session id, opened ms, device, policy, sessions max, ttl s.
const REGISTER: &str = r"
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[6])
local all = redis.call('HGETALL', KEYS[1])
local others, gone = {}, {}
for i = 1, #all, 2 do
  if all[i] ~= ARGV[1] then
    local opened, device = string.match(all[i + 1], '^(%d+):(.*)$')
    others[#others + 1] = {id = all[i], opened = tonumber(opened) or 0, device = device}
  end
end
table.sort(others, function(a, b)
  if a.opened ~= b.opened then return a.opened > b.opened end
  return a.id > b.id
end)
local kept = 1
for _, other in ipairs(others) do
  if ARGV[4] == 'replace' or (ARGV[4] == 'per-device' and other.device == ARGV[3])
     or kept >= tonumber(ARGV[5]) then
    redis.call('HDEL', KEYS[1], other.id)
    gone[#gone + 1] = other.id
  else
    kept = kept + 1
  end
end
return gone";

/// A session's route as its gateway knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assertion {
    /// Whose.
    pub user: UserId,
    /// Which.
    pub session: Origin,
    /// When it was opened: of too many, the oldest goes.
    pub opened: UnixMs,
    /// On which device.
    pub device: DeviceKey,
}

impl Assertion {
    fn value(&self) -> String {
        format!("{}:{:x}", self.opened.0, self.device)
    }
}

/// A change of the routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteWrite {
    /// A session is open.
    Add(Assertion),
    /// It is gone.
    Remove(UserId, Origin),
}

/// A gateway's connection to the routes.
pub struct RedisRoutes {
    pub(super) link: Link,
    register: Script,
    policy: SessionPolicy,
    sessions_per_user_max: usize,
}

impl RedisRoutes {
    /// Connects at the first call.
    pub fn new(settings: &Settings, policy: SessionPolicy, sessions_per_user_max: usize) -> Self {
        let (link, register) = (Link::new(settings), Script::new(REGISTER));
        Self { link, register, policy, sessions_per_user_max }
    }

    /// Writes changes, in order; returns for each the sessions that had to go, wherever they are.
    pub fn write(&mut self, changes: &[RouteWrite]) -> Result<Vec<Vec<Origin>>, DirectoryError> {
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(changes.len());
        for change in changes {
            match change {
                RouteWrite::Add(route) => self.register(route, &mut pipeline),
                // A session's id is its field, so this compares by itself: a successor in the same
                // slot, or of a later start, has another.
                RouteWrite::Remove(user, session) => {
                    pipeline.hdel(self.link.settings().routes_key(*user), session.to_string());
                }
            }
        }
        let answers: Vec<Value> = self.link.pipeline(&pipeline, &[&self.register])?;
        let displaced = |answer| match answer {
            Value::Int(_) => Ok(Vec::new()),
            ids => redis::from_redis_value::<Vec<String>>(ids)
                .map(|ids| ids.iter().filter_map(|id| Origin::parse(id).ok()).collect())
                .map_err(|error| DirectoryError(error.to_string())),
        };
        answers.into_iter().map(displaced).collect()
    }

    fn register(&self, route: &Assertion, pipeline: &mut Pipeline) {
        let policy = match self.policy {
            SessionPolicy::All => "all",
            SessionPolicy::PerDevice => "per-device",
            SessionPolicy::Replace => "replace",
        };
        pipeline.cmd("EVALSHA").arg(self.register.get_hash()).arg(1);
        pipeline.arg(self.link.settings().routes_key(route.user)).arg(route.session.to_string());
        pipeline.arg(route.opened.0).arg(format!("{:x}", route.device)).arg(policy);
        pipeline.arg(self.sessions_per_user_max).arg(ROUTES_TTL_S);
    }

    /// Asserts routes that should be there; says for each whether it was missing.
    pub fn reassert(&mut self, routes: &[Assertion]) -> Result<Vec<bool>, DirectoryError> {
        if routes.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = Pipeline::with_capacity(2 * routes.len());
        for route in routes {
            let key = self.link.settings().routes_key(route.user);
            pipeline.hset(&key, route.session.to_string(), route.value());
            pipeline.expire(&key, ROUTES_TTL_S as i64).ignore();
        }
        // HSET says how many fields are new.
        let new: Vec<i64> = self.link.pipeline(&pipeline, &[])?;
        Ok(new.into_iter().map(|new| new > 0).collect())
    }
}
