//! Who writes to whom: users, their conversations, and what is drawn for each message. Fixed by
//! scenario and seed before anything is sent, so that a slow server can't make the load lighter.

use crate::client::Hint;
use crate::options::User;
use crate::random::Random;
use crate::scenario::{Mix, Payload, Scenario};
use std::sync::Arc;

/// A conversation of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) name: Arc<str>,
    /// Indices of users.
    pub(crate) members: Vec<u32>,
}

/// What goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A message with so much content.
    Message(u16),
    Hint(Hint),
    Sync,
}

/// Something to go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Draw {
    /// Index of the user.
    pub(crate) user: u32,
    /// Index among the user's conversations.
    pub(crate) conversation: u32,
    pub(crate) what: What,
}

/// Users, and who writes to whom.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) users: Vec<User>,
    pub(crate) conversations: Vec<Conversation>,
    /// Which conversations each user is in.
    of_user: Vec<Vec<u32>>,
    /// The first so many conversations are of neighbours, mostly pairs; then come groups, then perhaps
    /// the world.
    pairs: usize,
    /// How many neighbours.
    near: usize,
    groups: usize,
    mix: Mix,
    payload: Payload,
}

/// So many neighbours each, as a peer's rooms have them.
fn rooms(users: &[User], near: usize) -> Vec<Conversation> {
    let room = |room: usize| {
        let members = (room * near..(room + 1) * near).map(|user| user as u32).collect();
        Conversation { name: format!("room {room}").into(), members }
    };
    (0..users.len() / near).map(room).collect()
}

/// Pairs of neighbours; an odd one out has none.
fn pairs(users: &[User]) -> Vec<Conversation> {
    let pair = |(pair, users): (usize, &[User])| {
        let (low, high) = (users[0].id.min(users[1].id), users[0].id.max(users[1].id));
        let name = format!("single_{low}_{high}").into();
        Conversation { name, members: vec![2 * pair as u32, 2 * pair as u32 + 1] }
    };
    users.chunks_exact(2).enumerate().map(pair).collect()
}

/// Different users for a group, the first of them its owner.
pub(crate) fn draw_members(random: &mut Random, users: usize, size: usize) -> Vec<u32> {
    let mut all: Vec<u32> = (0..users as u32).collect();
    for at in 0..size {
        let with = at + random.below((users - at) as u64) as usize;
        all.swap(at, with);
    }
    all.truncate(size);
    all
}

impl Plan {
    /// The plan of a scenario for these users, with groups that were made.
    pub(crate) fn new(scenario: &Scenario, users: Vec<User>, groups: Vec<Conversation>) -> Self {
        let near = if scenario.mix.single > 0 { pairs(&users) } else { vec![] };
        Self::of(scenario, users, (near, 2), groups)
    }

    /// The plan of a scenario for the users of a peer, `near` of whom are in a room.
    pub(crate) fn of_rooms(scenario: &Scenario, users: Vec<User>, near: usize) -> Self {
        let rooms = rooms(&users, near);
        Self::of(scenario, users, (rooms, near), vec![])
    }

    fn of(
        scenario: &Scenario,
        users: Vec<User>,
        (mut conversations, near): (Vec<Conversation>, usize),
        groups: Vec<Conversation>,
    ) -> Self {
        let mix = scenario.mix.clone();
        let (pairs, group_count) = (conversations.len(), groups.len());
        conversations.extend(groups);
        if mix.world > 0 {
            conversations
                .push(Conversation { name: "world".into(), members: (0..users.len() as u32).collect() });
        }
        let mut of_user = vec![vec![]; users.len()];
        for (index, conversation) in conversations.iter().enumerate() {
            conversation.members.iter().for_each(|user| of_user[*user as usize].push(index as u32));
        }
        let payload = scenario.payload.clone();
        Self { users, conversations, of_user, pairs, near, groups: group_count, mix, payload }
    }

    /// The conversations of a user.
    pub(crate) fn conversations_of(&self, user: usize) -> impl Iterator<Item = &Conversation> {
        self.of_user[user].iter().map(|at| &self.conversations[*at as usize])
    }

    fn local(&self, user: u32, conversation: usize) -> Option<u32> {
        let at = self.of_user[user as usize].iter().position(|own| *own as usize == conversation);
        at.map(|at| at as u32)
    }

    /// What goes out next, if the first `users` of them take part.
    pub(crate) fn draw(&self, random: &mut Random, users: usize) -> Option<Draw> {
        let Mix { single, group, world, typing, mark_read, sync } = self.mix;
        let weights = [single, group, world, typing, mark_read, sync];
        let (kind, payload) = (pick(random, &weights)?, self.payload.draw(random));
        let pairs = self.pairs.min(users / self.near);
        let conversation = match kind {
            0 => below(random, pairs)?,
            1 => self.pairs + below(random, self.groups)?,
            2 => self.pairs + self.groups,
            _ => {
                let at = below(random, pairs + self.groups)?;
                if at < pairs { at } else { self.pairs + at - pairs }
            }
        };
        let members = &self.conversations[conversation].members;
        // Those that join later are no senders yet.
        let senders = if kind == 2 { users } else { members.len() };
        let user = members[below(random, senders)?];
        let what = match kind {
            3 => What::Hint(Hint::Typing),
            4 => What::Hint(Hint::MarkRead),
            5 => What::Sync,
            _ => What::Message(payload),
        };
        Some(Draw { user, conversation: self.local(user, conversation)?, what })
    }

    /// What one user sends next, if the first `users` of them take part: in a closed loop.
    pub(crate) fn draw_for(&self, user: u32, random: &mut Random, users: usize) -> Option<Draw> {
        let of_user = &self.of_user[user as usize];
        let is = |at: u32, kind: usize| match at as usize {
            at if at < self.pairs => kind == 0 && self.near * (at + 1) <= users,
            at if at < self.pairs + self.groups => kind == 1,
            _ => kind == 2,
        };
        let any = |kind| of_user.iter().any(|at| is(*at, kind));
        let weight = |kind: usize, weight: u64| if any(kind) { weight } else { 0 };
        let weights = [weight(0, self.mix.single), weight(1, self.mix.group), weight(2, self.mix.world)];
        let kind = pick(random, &weights)?;
        let count = of_user.iter().filter(|at| is(**at, kind)).count();
        let nth = below(random, count)?;
        let (conversation, _) = of_user.iter().enumerate().filter(|(_, at)| is(**at, kind)).nth(nth)?;
        let what = What::Message(self.payload.draw(random));
        Some(Draw { user, conversation: conversation as u32, what })
    }
}

fn below(random: &mut Random, count: usize) -> Option<usize> {
    (count > 0).then(|| random.below(count as u64) as usize)
}

/// An index, as often as it weighs.
fn pick(random: &mut Random, weights: &[u64]) -> Option<usize> {
    let sum: u64 = weights.iter().sum();
    let mut at = (sum > 0).then(|| random.below(sum))?;
    weights.iter().position(|weight| {
        let hit = at < *weight;
        at = at.saturating_sub(*weight);
        hit
    })
}

#[cfg(test)]
mod tests {
    use super::{Conversation, Plan, What, draw_members};
    use crate::client::Hint;
    use crate::options::User;
    use crate::random::Random;
    use crate::scenario::{Mix, Scenario};

    fn plan(ids: &[u64], mix: &Mix) -> Plan {
        let text = "connections = 5\n[[phase]]\nkind = \"hold\"\nduration = \"1s\"\nrate = 1";
        let mut scenario = Scenario::read("x", text).unwrap();
        scenario.mix = mix.clone();
        let users = ids.iter().map(|id| User { id: *id, token: String::new() }).collect();
        let group = Conversation { name: "group_1".into(), members: vec![4, 0, 2] };
        Plan::new(&scenario, users, vec![group])
    }

    #[test]
    fn neighbours_are_pairs_and_groups_have_different_members() {
        let plan = plan(&[1, 2, 9, 4, 5], &Mix { world: 1, ..Mix::default() });
        let names: Vec<_> = plan.conversations.iter().map(|c| &*c.name).collect();
        assert_eq!(names, ["single_1_2", "single_4_9", "group_1", "world"]);
        let of = |user| plan.conversations_of(user).map(|c| c.name.to_string()).collect::<Vec<_>>();
        assert_eq!(
            (of(0), of(4)),
            (
                vec!["single_1_2".into(), "group_1".into(), "world".into()],
                vec!["group_1".into(), "world".into()]
            )
        );
        let mut members = draw_members(&mut Random::new(1), 100, 60);
        assert_eq!(members, draw_members(&mut Random::new(1), 100, 60));
        members.sort_unstable();
        members.dedup();
        assert_eq!(members.len(), 60);
    }

    #[test]
    fn what_is_drawn_follows_the_weights_and_leaves_out_who_is_not_there_yet() {
        let mix = Mix { single: 6, group: 3, typing: 1, ..Mix::default() };
        let plan = plan(&[1, 2, 3, 4, 5], &mix);
        let mut random = Random::new(3);
        let drawn: Vec<_> = (0..10_000).filter_map(|_| plan.draw(&mut random, 3)).collect();
        assert_eq!(drawn.len(), 10_000);
        let share = |is: &dyn Fn(&super::Draw) -> bool| drawn.iter().filter(|draw| is(draw)).count();
        let typing = share(&|draw| draw.what == What::Hint(Hint::Typing));
        assert!((850..1_150).contains(&typing), "{typing}");
        // User 2's pair is not complete among the first three.
        assert_eq!(share(&|draw| draw.user == 3 || draw.user == 2 && draw.conversation == 0), 0);
        let again: Vec<_> = {
            let mut random = Random::new(3);
            (0..10_000).filter_map(|_| plan.draw(&mut random, 3)).collect()
        };
        assert_eq!(drawn, again);
    }

    #[test]
    fn a_peers_rooms_have_as_many_neighbours_as_are_asked_for() {
        let text = "connections = 6\n[[phase]]\nkind = \"hold\"\nduration = \"1s\"\nrate = 1";
        let scenario = Scenario::read("x", text).unwrap();
        let users = || (1..=6).map(|id| User { id, token: String::new() }).collect();
        let members = |near| Plan::of_rooms(&scenario, users(), near).conversations[1].members.clone();
        assert_eq!((members(1), members(2), members(3)), (vec![1], vec![2, 3], vec![3, 4, 5]));
        let (plan, mut random) = (Plan::of_rooms(&scenario, users(), 3), Random::new(3));
        assert!((0..100).filter_map(|_| plan.draw(&mut random, 5)).all(|draw| draw.user < 3));
        assert_eq!(plan.draw_for(4, &mut random, 5), None, "its room is not complete");
        assert_eq!(plan.draw_for(4, &mut random, 6).map(|draw| draw.user), Some(4));
    }

    #[test]
    fn one_user_draws_from_its_own_conversations() {
        let plan = plan(&[1, 2, 3, 4, 5], &Mix { single: 1, group: 1, ..Mix::default() });
        let mut random = Random::new(3);
        assert!((0..100).filter_map(|_| plan.draw_for(4, &mut random, 5)).all(|draw| draw.conversation == 0));
        let both: Vec<_> = (0..100).filter_map(|_| plan.draw_for(0, &mut random, 5)).collect();
        assert!(
            both.iter().any(|draw| draw.conversation == 0) && both.iter().any(|draw| draw.conversation == 1)
        );
        assert_eq!(plan.draw_for(3, &mut random, 3), None, "its neighbour is there, it is not");
    }
}
