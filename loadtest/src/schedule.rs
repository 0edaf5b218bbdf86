//! Who sends when, and to whom: fixed by the seed, the rate and the duration before anything is sent,
//! so that a slow server can't make the load lighter.

use crate::counters::Counters;
use crate::random::Random;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::UnboundedSender;

/// A conversation of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) name: Arc<str>,
    /// Indices of users.
    pub(crate) members: Vec<usize>,
}

/// Pairs of neighbours; an odd one out has none.
pub(crate) fn pairs(users: &[u64]) -> Vec<Conversation> {
    users
        .chunks_exact(2)
        .enumerate()
        .map(|(pair, ids)| {
            let (low, high) = (ids[0].min(ids[1]), ids[0].max(ids[1]));
            let name = format!("single_{low}_{high}").into();
            Conversation { name, members: vec![2 * pair, 2 * pair + 1] }
        })
        .collect()
}

/// Different users for a group, the first of them its owner.
pub(crate) fn draw_members(random: &mut Random, users: usize, size: usize) -> Vec<usize> {
    let mut all: Vec<usize> = (0..users).collect();
    for at in 0..size {
        let with = at + random.below((users - at) as u64) as usize;
        all.swap(at, with);
    }
    all.truncate(size);
    all
}

/// Which conversations each user is in.
pub(crate) fn by_user(conversations: &[Conversation], users: usize) -> Vec<Vec<u32>> {
    let mut of = vec![vec![]; users];
    for (index, conversation) in conversations.iter().enumerate() {
        conversation.members.iter().for_each(|user| of[*user].push(index as u32));
    }
    of
}

/// Hands out the messages at their times, from a thread of its own: a timer of the runtime would be
/// late by up to a millisecond, and that would count as latency.
#[derive(Debug)]
pub(crate) struct Pacer {
    pub(crate) random: Random,
    /// Where each user's messages go; users that send nothing are left out.
    pub(crate) senders: Vec<(UnboundedSender<(u32, u64)>, u64)>,
    pub(crate) rate: u64,
    pub(crate) messages: u64,
    pub(crate) started: Instant,
    /// When the first message is due.
    pub(crate) first: Duration,
    pub(crate) stop: Arc<AtomicBool>,
}

/// How often a pacer that waits long looks whether it is to stop.
const STEP: Duration = Duration::from_millis(100);

impl Pacer {
    /// Runs until the last message is handed out, or until it is to stop.
    pub(crate) fn run(mut self, counters: &Counters) {
        for index in 0..self.messages {
            let due = self.first + due(index, self.rate);
            while let Some(wait) = due.checked_sub(self.started.elapsed()).filter(|wait| !wait.is_zero()) {
                if self.stop.load(Relaxed) {
                    return;
                }
                std::thread::sleep(wait.min(STEP));
            }
            if self.stop.load(Relaxed) {
                return;
            }
            let (sender, conversations) =
                &self.senders[self.random.below(self.senders.len() as u64) as usize];
            let conversation = self.random.below(*conversations) as u32;
            counters.scheduled.fetch_add(1, Relaxed);
            // A user that has given up takes nothing; that shows as messages that were never sent.
            let _ = sender.send((conversation, due.as_micros() as u64));
        }
    }
}

/// When a message is due, after the first: constant spacing, without a sum of rounded steps.
fn due(index: u64, rate: u64) -> Duration {
    Duration::from_nanos((u128::from(index) * 1_000_000_000 / u128::from(rate)) as u64)
}

#[cfg(test)]
mod tests {
    use super::{by_user, draw_members, due, pairs};
    use crate::random::Random;
    use std::time::Duration;

    #[test]
    fn spacing_is_constant_and_does_not_drift() {
        assert_eq!(due(3, 3), Duration::from_secs(1));
        assert_eq!(due(10_000_000_000, 3_000), Duration::from_nanos(3_333_333_333_333_333));
    }

    #[test]
    fn neighbours_are_pairs_and_groups_have_different_members() {
        let conversations = pairs(&[1, 2, 9, 4, 5]);
        assert_eq!(conversations.iter().map(|c| &*c.name).collect::<Vec<_>>(), ["single_1_2", "single_4_9"]);
        assert_eq!(by_user(&conversations, 5), [vec![0], vec![0], vec![1], vec![1], vec![]]);
        let mut members = draw_members(&mut Random::new(1), 100, 60);
        assert_eq!(members, draw_members(&mut Random::new(1), 100, 60));
        members.sort_unstable();
        members.dedup();
        assert_eq!(members.len(), 60);
    }
}
