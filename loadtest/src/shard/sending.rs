//! What is due, handed out: messages by the schedule or by answers, storms and churn.

use super::member::Link;
use super::{Due, Shard};
use crate::course::Step;
use crate::plan::{Draw, What};
use crate::random::Random;
use crate::scenario::curve::{Arrivals, Curve, Spacing};
use crate::scenario::{ArrivalKind, PhaseKind};
use engine::ring::Dial;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Over how long the first messages of a closed loop are spread, microseconds.
const PRIME_US: u64 = 100_000;

/// Due times of a phase, with what is drawn for each.
#[derive(Debug)]
struct Stream {
    start_us: u64,
    arrivals: Arrivals,
    random: Random,
    /// The next that concerns this shard.
    next: Option<(u64, Draw)>,
}

impl Stream {
    fn new(start_us: u64, curve: Curve, spacing: Spacing, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let arrivals = Arrivals::new(curve, spacing, random.number());
        Self { start_us, arrivals, random, next: None }
    }

    /// Goes on to the next that is `own`. Every shard goes through the whole schedule, so that it is the
    /// same however many there are.
    fn advance(&mut self, draw: impl Fn(&mut Random) -> Option<Draw>, own: impl Fn(&Draw) -> bool) {
        self.next = self.arrivals.by_ref().find_map(|at_us| {
            let drawn = draw(&mut self.random).filter(&own)?;
            Some((self.start_us + at_us, drawn))
        });
    }
}

/// How far the sending is.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The phase that was begun last, plus one.
    begun: usize,
    /// When the next begins, if that is known.
    next_phase_us: Option<u64>,
    messages: Option<Stream>,
    churn: Option<Stream>,
}

impl Sending {
    pub(super) fn next_us(&self) -> Option<u64> {
        let due = |stream: &Option<Stream>| Some(stream.as_ref()?.next?.0);
        [due(&self.messages), due(&self.churn), self.next_phase_us].into_iter().flatten().min()
    }

    /// Whether a phase goes on.
    pub(super) fn has_begun(&self) -> bool {
        self.begun > 0
    }
}

impl<R: Dial> Shard<R> {
    /// Hands out what is due.
    pub(super) fn hand_out(&mut self, now: u64) {
        if self.step != Step::Run {
            self.sending = Sending::default();
            return;
        }
        self.hand_out_due(now);
    }

    /// The sending is over: what was due before that, and was not handed out because this thread was
    /// late, still goes out, late as it is.
    pub(super) fn hand_out_rest(&mut self, now: u64) {
        self.hand_out_due(now);
        self.world.shared.counters.finished.fetch_add(1, Relaxed);
    }

    fn hand_out_due(&mut self, now: u64) {
        loop {
            self.hand_out_messages(now);
            self.churn(now);
            // Where a phase begins, all of the one before was due.
            self.sending.next_phase_us = self.world.course.start_us(self.sending.begun);
            match self.sending.next_phase_us {
                Some(at_us) if at_us <= now => self.begin(at_us),
                _ => return,
            }
        }
    }

    fn begin(&mut self, start_us: u64) {
        let phase = self.sending.begun;
        self.sending.begun += 1;
        self.sending.next_phase_us = None;
        let scenario = &self.world.scenario;
        let kind = scenario.phases[phase].kind;
        let seed = self.world.seed.wrapping_add(phase as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
        let curve = scenario.curves()[phase];
        let churn_rate = scenario.clients.churn_rate;
        let spacing =
            if scenario.arrival.kind == ArrivalKind::Poisson { Spacing::Poisson } else { Spacing::Constant };
        self.sending.messages = (!scenario.is_closed()).then(|| Stream::new(start_us, curve, spacing, seed));
        let churn = Curve { from: churn_rate, to: churn_rate, seconds: curve.seconds };
        let churns = churn_rate > 0.0 && kind != PhaseKind::Drain;
        self.sending.churn = churns.then(|| Stream::new(start_us, churn, Spacing::Poisson, !seed));
        self.next_message();
        self.next_churn();
        if let Some(share) = self.world.scenario.phases[phase].share {
            self.storm(share, 1_000 + phase as u64);
        }
        if self.world.scenario.is_closed() && kind != PhaseKind::Drain {
            self.prime(start_us);
        }
    }

    /// Users that take part.
    fn users(&self) -> usize {
        self.world.course.users(self.sending.begun.max(1) - 1) as usize
    }

    fn next_message(&mut self) {
        let (users, index) = (self.users(), self.index);
        let Some(stream) = &mut self.sending.messages else { return };
        let own = |draw: &Draw| self.world.slot_of(draw.user, index).is_some();
        stream.advance(|random| self.world.plan.draw(random, users), own);
    }

    fn hand_out_messages(&mut self, now: u64) {
        while let Some((due_us, draw)) = self.sending.messages.as_ref().and_then(|stream| stream.next)
            && due_us <= now
        {
            self.submit(draw, due_us, now);
            self.next_message();
        }
    }

    fn submit(&mut self, draw: Draw, due_us: u64, now: u64) {
        let Some(slot) = self.world.slot_of(draw.user, self.index) else { return };
        let client = &mut self.members[slot as usize].client;
        self.scribe.batch.lags_us.push(now - due_us);
        match draw.what {
            What::Message(payload) => {
                self.world.shared.counters.scheduled.fetch_add(1, Relaxed);
                client.submit(draw.conversation, due_us, payload);
            }
            What::Hint(hint) => client.submit_hint(hint, draw.conversation),
            What::Sync => client.submit_sync(draw.conversation, due_us),
        }
        self.mark(slot);
    }

    fn next_churn(&mut self) {
        let (users, index) = (self.users() as u64, self.index);
        let Some(stream) = &mut self.sending.churn else { return };
        let draw = |random: &mut Random| {
            Some(Draw { user: random.below(users) as u32, conversation: 0, what: What::Sync })
        };
        stream.advance(draw, |draw| self.world.slot_of(draw.user, index).is_some());
    }

    fn churn(&mut self, now: u64) {
        while let Some((due_us, draw)) = self.sending.churn.as_ref().and_then(|stream| stream.next)
            && due_us <= now
        {
            if let Some(slot) = self.world.slot_of(draw.user, self.index) {
                self.break_off(slot);
            }
            self.next_churn();
        }
    }

    /// A share of the connections breaks at once.
    fn storm(&mut self, share: f64, purpose: u64) {
        for slot in 0..self.members.len() as u32 {
            let user = self.members[slot as usize].user;
            if self.world.chance(user, purpose).fraction() < share {
                self.break_off(slot);
            }
        }
    }

    fn break_off(&mut self, slot: u32) {
        if self.members[slot as usize].link == Link::Open {
            self.end(slot, "broken by the scenario".to_owned(), None, true);
        }
    }

    /// Has everybody begin who has not, in a closed loop.
    fn prime(&mut self, start_us: u64) {
        let (users, depth) = (self.users(), self.world.scenario.arrival.depth);
        for slot in 0..self.members.len() as u32 {
            let member = &mut self.members[slot as usize];
            if member.primed || member.user as usize >= users {
                continue;
            }
            member.primed = true;
            let mut chance = self.world.chance(member.user, 3);
            for _ in 0..member.client.first_messages(depth) {
                self.set_timer(start_us + chance.below(PRIME_US), slot, Due::Send);
            }
        }
    }

    /// A message was answered: the next follows, in a closed loop.
    pub(super) fn answered(&mut self, slot: u32, count: u32, now: u64) {
        if !self.world.scenario.is_closed() || self.step != Step::Run {
            return;
        }
        let arrival = &self.world.scenario.arrival;
        let us = |time: Duration| time.as_micros() as u64;
        let (least, most) = (us(arrival.think_min), us(arrival.think_max));
        for _ in 0..count {
            let member = &mut self.members[slot as usize];
            let think = least + member.random.below((most - least).max(1));
            self.set_timer(now + think, slot, Due::Send);
        }
    }

    /// One user's next message, in a closed loop.
    pub(super) fn send_next(&mut self, slot: u32, due_us: u64, now: u64) {
        let phase = self.sending.begun.checked_sub(1);
        let drains = phase.is_none_or(|phase| self.world.scenario.phases[phase].kind == PhaseKind::Drain);
        if self.step != Step::Run || drains {
            return;
        }
        let users = self.users();
        let member = &mut self.members[slot as usize];
        if let Some(draw) = self.world.plan.draw_for(member.user, &mut member.random, users) {
            self.submit(draw, due_us, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Spacing, Stream};
    use crate::dial::target;
    use crate::options::{Options, User};
    use crate::plan::{Conversation, Draw};
    use crate::run::{Making, world};
    use crate::scenario::Scenario;
    use crate::share::Share;
    use std::time::Instant;

    const SCENARIO: &str = "connections = 31\n[arrival]\nkind = \"poisson\"\n[mix]\nsingle = 3\ngroup = 2\nworld = 1\n\
         typing = 1\n[groups]\ncount = 1\nsize = 4\n[[phase]]\nkind = \"hold\"\nduration = \"3s\"\nrate = 500";

    fn options() -> Options {
        let scenario = Scenario::read("x", SCENARIO).unwrap();
        let targets = vec![target("ws://127.0.0.1:1").unwrap()];
        let users = (1..=31).map(|id| User { id, token: String::new() }).collect();
        Options { seed: 5, ..Options::new(scenario, targets, users) }
    }

    /// What all shards of a process are to send: when, what, and as which slot of which shard.
    fn schedule(options: &Options, share: Share, shards: usize) -> Vec<(u64, Draw)> {
        let group = Conversation { name: "group_1".into(), members: vec![30, 0, 2, 7] };
        let making = Making { name: "r".into(), share, shards, started: Instant::now() };
        let world = world(options, vec![group], making);
        let mut all = vec![];
        for shard in 0..shards {
            let mut stream = Stream::new(7, options.scenario.curves()[0], Spacing::Poisson, 99);
            let own = |draw: &Draw| {
                let slot = world.slot_of(draw.user, shard);
                slot.inspect(|slot| assert_eq!(world.user_at(*slot, shard), u64::from(draw.user))).is_some()
            };
            let mut next = || {
                stream.advance(|random| world.plan.draw(random, 31), own);
                stream.next
            };
            all.extend(std::iter::from_fn(&mut next));
        }
        all
    }

    #[test]
    fn what_several_processes_send_together_is_what_one_sends_and_no_user_is_in_two() {
        let options = options();
        let sort = |mut all: Vec<(u64, Draw)>| {
            all.sort_by_key(|(at_us, draw)| (*at_us, draw.user));
            all
        };
        let one = sort(schedule(&options, Share::ALL, 1));
        assert!(one.len() > 1_200, "{}", one.len());
        for of in [2, 3, 5] {
            let parts: Vec<_> =
                (0..of).map(|index| schedule(&options, Share { index, of }, 1 + index as usize)).collect();
            for user in 0..31 {
                let has = |part: &&Vec<(u64, Draw)>| part.iter().any(|(_, draw)| draw.user == user);
                assert!(parts.iter().filter(has).count() <= 1, "user {user} of {of}");
            }
            assert_eq!(sort(parts.concat()), one, "{of} processes");
        }
    }
}
