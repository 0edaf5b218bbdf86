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

/// Tokens that a bucket regains while one strike is forgiven: whoever goes on at twice the rate
/// without waiting collects strikes nevertheless.
const TOKENS_PER_STRIKE: u32 = 2;

/// What a user's command meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may go on.
    Taken,
    /// It is above the rate: an error.
    Limited {
        /// After this silence nothing is held against the user, and the bucket has tokens again.
        retry_ms: u64,
    },
    /// It is one too many above the rate: the session ends with 4004.
    Abuse {
        /// The same.
        retry_ms: u64,
    },
}

#[derive(Debug, Default)]
struct Entry {
    bucket: Bucket,
    /// What refusals take from; empty is abuse.
    strikes: Bucket,
}

impl Entry {
    /// Holds a refusal against the user; `false` if it is one too many.
    fn strike(&mut self, rate: Rate, now_ms: u64) -> bool {
        let per_second = (rate.per_second / TOKENS_PER_STRIKE).max(1);
        self.strikes.take(Rate::new(per_second, RATE_STRIKES_MAX), now_ms)
    }

    fn is_as_new(&self, now_ms: u64) -> bool {
        self.bucket.is_full(now_ms) && self.strikes.is_full(now_ms)
    }
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
    /// Takes a token; without one, what is kept of the key.
    fn take(&mut self, key: K, rate: Rate, now_ms: u64) -> Result<(), &mut Entry> {
        if self.entries.len() >= self.sweep_at {
            self.sweep(now_ms);
        }
        let entry = self.entries.entry(key).or_default();
        if entry.bucket.take(rate, now_ms) { Ok(()) } else { Err(entry) }
    }

    /// Lets full buckets go, and all of them when even those that are not full are too many.
    fn sweep(&mut self, now_ms: u64) {
        self.entries.retain(|_, entry| !entry.is_as_new(now_ms));
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
            Err(entry) => {
                let borne = entry.strike(limits.user_rate, now_ms);
                let retry_ms = entry.strikes.full_in_ms(now_ms);
                if borne { Verdict::Limited { retry_ms } } else { Verdict::Abuse { retry_ms } }
            }
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

    const LIMITS: Rate = Rate::new(100, 1_000);

    /// A user who always has something to send, in ms of their own.
    struct Sender {
        rates: Rates,
        limits: Limits,
        now_ms: u64,
        taken: u32,
        closed: u32,
    }

    impl Sender {
        fn new() -> Self {
            let limits = Limits { user_rate: LIMITS, ..Limits::default() };
            Self { rates: Rates::default(), limits, now_ms: 1_000, taken: 0, closed: 0 }
        }

        /// Sends one; how long to stay silent if it was refused.
        fn send(&mut self) -> Option<u64> {
            match self.rates.command(UserId(1), &self.limits, self.now_ms) {
                Verdict::Taken => {
                    self.taken += 1;
                    None
                }
                Verdict::Limited { retry_ms } => Some(retry_ms),
                Verdict::Abuse { retry_ms } => {
                    self.closed += 1;
                    Some(retry_ms)
                }
            }
        }
    }

    #[test]
    fn a_flood_is_told_and_then_closed_after_the_burst_and_the_strikes() {
        let mut user = Sender::new();
        assert!((0..LIMITS.burst).all(|_| user.send().is_none()));
        assert!((0..RATE_STRIKES_MAX).all(|_| user.send().is_some()));
        assert_eq!((user.taken, user.closed), (LIMITS.burst, 0));
        let wait = user.send().unwrap();
        assert_eq!(user.closed, 1);
        user.send();
        assert_eq!(user.closed, 2, "coming back without waiting");
        let other = user.rates.command(UserId(2), &user.limits, user.now_ms);
        assert_eq!(other, Verdict::Taken, "others are not concerned");
        user.now_ms += wait;
        assert!((0..LIMITS.per_second).all(|_| user.send().is_none()), "the wait that is named is enough");
    }

    #[test]
    fn who_backs_off_as_told_is_never_closed_and_keeps_the_rate() {
        // Twice the rate; what is refused is known only when so many more are on their way.
        for in_flight in [1, 10, RATE_STRIKES_MAX] {
            let mut user = Sender::new();
            while user.now_ms < 601_000 {
                user.now_ms += 5;
                if user.send().is_some() {
                    let wait = (1..in_flight).filter_map(|_| user.send()).last();
                    user.now_ms += wait.unwrap_or(20);
                }
            }
            assert_eq!(user.closed, 0, "{in_flight} in flight");
            assert!(user.taken > 590 * LIMITS.per_second, "{in_flight} in flight: {}", user.taken);
        }
    }

    #[test]
    fn who_goes_on_at_twice_the_rate_is_closed() {
        let mut user = Sender::new();
        while user.closed == 0 && user.now_ms < 601_000 {
            user.now_ms += 5;
            user.send();
        }
        let seconds = (user.now_ms - 1_000) / 1_000;
        assert!((10..15).contains(&seconds), "{seconds} s: ten for the burst, two for the strikes");
    }

    #[test]
    fn a_backlog_sent_again_after_the_named_wait_gets_through() {
        let mut user = Sender::new();
        let mut backlog = 5_000_i64;
        while backlog > 0 && user.now_ms < 601_000 {
            let before = user.taken;
            let wait = (0..RATE_STRIKES_MAX).filter_map(|_| user.send()).last();
            backlog -= i64::from(user.taken - before);
            user.now_ms += wait.unwrap_or(0);
        }
        assert_eq!((user.closed, backlog), (0, 0));
        assert!(user.now_ms < 46_000, "{} ms", user.now_ms);
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
