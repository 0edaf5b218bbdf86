//! A gateway's lease: that it lives, which start of it, and how many shards it has.

use super::Settings;
use super::connection::Link;
use crate::clock;
use crate::directory::{DirectoryError, LiveGateway};
use protocol::GatewayId;
use redis::{RedisError, Script};
use std::time::Duration;
use thiserror::Error;

/// How long a lease lives unless it is renewed.
pub const LEASE_MS: u64 = 10_000;
/// How often whoever waits for a lease looks again.
const LOOK: Duration = Duration::from_millis(200);
/// A lease whose remaining time has grown by more than this was renewed.
const GROWN_MS: i64 = 100;

/// Takes the lease if nobody has it. KEYS lease, gateways; ARGV value, ttl ms, gateway id.
const TAKE: &str = r"
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 0 end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[2], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[2], ARGV[3])
return 1";
/// Renews the lease if it is ours: 1 done, 0 nobody has it, -1 another has it. Same arguments.
const RENEW: &str = r"
local held = redis.call('GET', KEYS[1])
if not held then return 0 end
if held ~= ARGV[1] then return -1 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZADD', KEYS[2], now + ARGV[2], ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now - 60000)
return 1";
/// Gives the lease up if it is ours. Same arguments.
const GIVE_UP: &str = r"
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[3])
return 1";

/// Why a lease could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// Somebody renews it.
    #[error("gateway id {0} is alive elsewhere: stop that gateway, or give this one another id")]
    Alive(GatewayId),
    /// No answer.
    #[error(transparent)]
    Unanswered(#[from] DirectoryError),
}

/// What came of a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// It is ours for another while.
    Done,
    /// Nobody had it: it has lapsed, or Redis was wiped.
    Missing,
    /// Another start of a gateway with this id has it.
    Taken,
}

/// The lease of one start of a gateway.
pub(super) struct Lease {
    holder: LiveGateway,
    settings: Settings,
    take: Script,
    renew: Script,
    give_up: Script,
}

impl Lease {
    /// The lease that `holder` is to have.
    pub(super) fn new(settings: &Settings, holder: LiveGateway) -> Self {
        let [take, renew, give_up] = [TAKE, RENEW, GIVE_UP].map(Script::new);
        Self { holder, settings: settings.clone(), take, renew, give_up }
    }

    /// Takes it, waiting for another holder's to lapse; one that is renewed meanwhile is alive.
    pub(super) fn take(&self, link: &mut Link) -> Result<(), LeaseError> {
        let key = self.settings.lease_key(self.holder.id);
        let left = |link: &mut Link| -> Result<(Option<String>, i64), RedisError> {
            link.with(|c| redis::pipe().get(&key).pttl(&key).query(c))
        };
        let mut seen: Option<(String, i64)> = None;
        let began = clock::now();
        while !self.try_take(link)? {
            let (value, left_ms) = left(link).map_err(DirectoryError::from)?;
            if let (Some(value), Some((before, before_ms))) = (&value, &seen)
                && (value != before || left_ms > before_ms + GROWN_MS)
            {
                return Err(LeaseError::Alive(self.holder.id));
            }
            // A key without an end was not set by a gateway, and would be waited for for ever.
            if left_ms == -1 || began.elapsed() > Duration::from_millis(3 * LEASE_MS) {
                return Err(LeaseError::Alive(self.holder.id));
            }
            seen = value.map(|value| (value, left_ms));
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Takes it if nobody has it.
    pub(super) fn try_take(&self, link: &mut Link) -> Result<bool, DirectoryError> {
        Ok(self.call::<i64>(&self.take, link)? == 1)
    }

    pub(super) fn renew(&self, link: &mut Link) -> Result<Renewal, DirectoryError> {
        Ok(match self.call::<i64>(&self.renew, link)? {
            1 => Renewal::Done,
            0 => Renewal::Missing,
            _ => Renewal::Taken,
        })
    }

    pub(super) fn give_up(&self, link: &mut Link) -> Result<(), DirectoryError> {
        self.call::<i64>(&self.give_up, link).map(drop)
    }

    fn call<T: redis::FromRedisValue>(&self, script: &Script, link: &mut Link) -> Result<T, DirectoryError> {
        let mut call = script.key(self.settings.lease_key(self.holder.id));
        call.key(self.settings.gateways_key());
        call.arg(written(&self.holder)).arg(LEASE_MS).arg(self.holder.id.as_str());
        Ok(link.with(|connection| call.invoke(connection))?)
    }
}

/// A lease's value: `epoch in hexadecimal:shards`.
fn written(holder: &LiveGateway) -> String {
    format!("{:x}:{}", holder.boot_epoch, holder.shards)
}

/// Reads a lease's value; what can't be read is no lease.
pub(crate) fn read(id: GatewayId, value: &str) -> Option<LiveGateway> {
    let (epoch, shards) = value.split_once(':')?;
    let boot_epoch = u64::from_str_radix(epoch, 16).ok()?;
    Some(LiveGateway { id, boot_epoch, shards: shards.parse().ok()? })
}
