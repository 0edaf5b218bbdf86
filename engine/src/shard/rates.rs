//! Token buckets of users and addresses. Only those that are not full are kept: a full one is as
//! good as new.

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::limits::{BUCKETS_MAX, RATE_STRIKES_MAX};
use protocol::{Bucket, Limits, Rate, UserId};
use std::hash::Hash;
use std::net::IpAddr;

/// Entries beyond which full buckets are looked for; doubles with what stays.
const SWEEP_MIN: usize = 1_024;

/// What a user's command meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Taken,
    /// It is above the rate: an error.
    Limited,
    /// It is one too many above the rate: the session ends with 4004.
    Abuse,
}

#[derive(Debug, Default)]
struct Entry {
    bucket: Bucket,
    /// What was refused since the bucket was last full.
    strikes: u32,
}

/// The buckets of everybody of one kind.
#[derive(Debug)]
struct Buckets<K> {
    entries: HashMap<K, Entry, RandomState>,
    sweep_at: usize,
}

impl<K: Eq + Hash> Default for Buckets<K> {
    fn default() -> Self {
        Self { entries: HashMap::default(), sweep_at: SWEEP_MIN }
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Takes a token; without one, how often that has happened since the bucket was full.
    fn take(&mut self, key: K, rate: Rate, now_ms: u64) -> Result<(), u32> {
        if self.entries.len() >= self.sweep_at {
            self.sweep(now_ms);
        }
        let entry = self.entries.entry(key).or_default();
        if entry.bucket.is_full(now_ms) {
            entry.strikes = 0;
        }
        if entry.bucket.take(rate, now_ms) {
            return Ok(());
        }
        entry.strikes += 1;
        Err(entry.strikes)
    }

    /// Lets full buckets go, and all of them when even those that are not full are too many.
    fn sweep(&mut self, now_ms: u64) {
        self.entries.retain(|_, entry| !entry.bucket.is_full(now_ms));
        if self.entries.len() >= BUCKETS_MAX {
            self.entries.clear();
        }
        self.sweep_at = SWEEP_MIN.max(2 * self.entries.len());
    }
}

/// The buckets of one shard.
#[derive(Debug, Default)]
pub(super) struct Rates {
    users: Buckets<UserId>,
    addresses: Buckets<IpAddr>,
}

impl Rates {
    pub(super) fn command(&mut self, user: UserId, limits: &Limits, now_ms: u64) -> Verdict {
        if limits.user_rate.per_second == 0 {
            return Verdict::Taken;
        }
        match self.users.take(user, limits.user_rate, now_ms) {
            Ok(()) => Verdict::Taken,
            Err(strikes) if strikes > RATE_STRIKES_MAX => Verdict::Abuse,
            Err(_) => Verdict::Limited,
        }
    }

    /// Whether `address` may open another connection.
    pub(super) fn connection(&mut self, address: IpAddr, limits: &Limits, now_ms: u64) -> bool {
        let address = address.to_canonical();
        if limits.address_rate.per_second == 0 || limits.loopback_exempt && address.is_loopback() {
            return true;
        }
        self.addresses.take(address, limits.address_rate, now_ms).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{RATE_STRIKES_MAX, Rates, SWEEP_MIN, Verdict};
    use protocol::{Limits, Rate, UserId};

    #[test]
    fn a_user_above_the_rate_is_told_and_then_closed() {
        let limits = Limits { user_rate: Rate::new(10, 20), ..Limits::default() };
        let mut rates = Rates::default();
        let mut send = |ms| rates.command(UserId(1), &limits, ms);
        assert!((0..20).all(|_| send(1_000) == Verdict::Taken));
        assert!((0..RATE_STRIKES_MAX).all(|_| send(1_000) == Verdict::Limited));
        assert_eq!(send(1_000), Verdict::Abuse);
        // Two seconds of silence fill the bucket, and what was is forgotten.
        assert_eq!(send(3_100), Verdict::Taken);
        assert_eq!(rates.command(UserId(2), &limits, 1_000), Verdict::Taken, "others are not concerned");
    }

    #[test]
    fn loopback_is_exempt_unless_told_otherwise() {
        let mut limits = Limits { address_rate: Rate::new(1, 2), ..Limits::default() };
        let mut rates = Rates::default();
        let local = "::ffff:127.0.0.1".parse().unwrap();
        let far = "10.0.0.1".parse().unwrap();
        assert!((0..9).all(|_| rates.connection(local, &limits, 0)));
        assert_eq!((0..9).filter(|_| rates.connection(far, &limits, 0)).count(), 2);
        limits.loopback_exempt = false;
        assert_eq!((0..9).filter(|_| rates.connection(local, &limits, 0)).count(), 2);
    }

    #[test]
    fn buckets_that_are_full_again_are_let_go() {
        let (limits, mut rates) = (Limits::default(), Rates::default());
        for user in 0..100_000 {
            rates.command(UserId(user), &limits, user);
        }
        assert!(rates.users.entries.len() <= SWEEP_MIN + 100, "{}", rates.users.entries.len());
    }
}
