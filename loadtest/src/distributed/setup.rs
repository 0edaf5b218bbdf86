//! What a worker is told before the start, in frames of bounded size: the run, all users, all groups.

use super::CHUNK_BYTES;
use super::link::Link;
use super::message::{Setup, ToWorker};
use crate::dial::target;
use crate::options::{Options, User};
use crate::plan::Conversation;
use crate::share::Share;
use std::path::PathBuf;

/// Bytes that a user takes in a frame, beside its token.
const USER_BYTES: usize = 32;
/// Members of a group in one frame.
const MEMBERS: usize = CHUNK_BYTES / 8;
/// Users of a run at most, as a scenario may have.
const USERS_MAX: usize = 2_000_000;

/// Tells a worker everything. Tokens of users that are not its own are left out.
pub(super) fn tell(link: &mut Link, setup: Setup, users: &[User], groups: &[Conversation]) {
    each_message(setup, users, groups, |message| link.say(&message));
}

fn each_message(setup: Setup, users: &[User], groups: &[Conversation], mut say: impl FnMut(ToWorker)) {
    let share = Share { index: setup.header.worker, of: setup.header.workers };
    say(ToWorker::Setup(Box::new(setup)));
    let (mut chunk, mut bytes) = (vec![], 0);
    for (at, user) in users.iter().enumerate() {
        let own = share.place(at as u64).is_some();
        let token = if own { user.token.clone() } else { String::new() };
        bytes += USER_BYTES + token.len();
        chunk.push((user.id, token));
        if bytes >= CHUNK_BYTES || at + 1 == users.len() {
            say(ToWorker::Users(std::mem::take(&mut chunk)));
            bytes = 0;
        }
    }
    for group in groups {
        let chunks = group.members.chunks(MEMBERS);
        let last = chunks.len() - 1;
        for (at, members) in chunks.enumerate() {
            let (name, members) = (group.name.to_string(), members.to_vec());
            say(ToWorker::Group { name, members, last: at == last });
        }
    }
}

/// What a worker has heard so far.
#[derive(Debug, Default)]
pub(super) struct Heard {
    setup: Option<Box<Setup>>,
    users: Vec<User>,
    groups: Vec<Conversation>,
    /// Members of the group of which more are to come.
    open: Vec<u32>,
}

/// Everything that a worker is told before the start.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) setup: Box<Setup>,
    pub(super) share: Share,
    pub(super) users: Vec<User>,
    pub(super) groups: Vec<Conversation>,
}

impl Heard {
    /// Takes the next message; everything, if it was the last one.
    pub(super) fn hear(&mut self, message: ToWorker) -> Result<Option<Told>, String> {
        match message {
            ToWorker::Setup(setup) => {
                let (header, groups) = (&setup.header, setup.scenario.groups.count);
                let fits = header.worker < header.workers
                    && header.connections <= USERS_MAX
                    && header.connections as u64 == setup.scenario.connections_max()
                    && setup.groups == groups;
                if !fits || self.setup.is_some() {
                    return Err("a setup that does not fit its scenario, or a second one".to_owned());
                }
                setup.scenario.check()?;
                self.setup = Some(setup);
            }
            ToWorker::Users(users) => {
                self.users.extend(users.into_iter().map(|(id, token)| User { id, token }));
            }
            ToWorker::Group { name, members, last } => {
                self.open.extend(members);
                if last {
                    let members = std::mem::take(&mut self.open);
                    self.groups.push(Conversation { name: name.into(), members });
                }
            }
            other => return Err(format!("{:.60} before the start", format!("{other:?}"))),
        }
        self.complete()
    }

    fn complete(&mut self) -> Result<Option<Told>, String> {
        let Some(setup) = &self.setup else {
            return Err("users or groups before the setup".to_owned());
        };
        let (users, groups) = (setup.header.connections, setup.groups as usize);
        let beyond = |at: &u32| *at as usize >= users;
        if self.users.len() > users || self.groups.len() > groups || self.open.iter().any(beyond) {
            return Err("more users or groups than the setup says".to_owned());
        }
        if self.groups.last().is_some_and(|group| group.members.iter().any(beyond)) {
            return Err("a member of a group that is no user".to_owned());
        }
        if self.users.len() < users || self.groups.len() < groups {
            return Ok(None);
        }
        let share = Share { index: setup.header.worker, of: setup.header.workers };
        let told = Self { setup: self.setup.take(), ..std::mem::take(self) };
        Ok(told.setup.map(|setup| Told { setup, share, users: told.users, groups: told.groups }))
    }
}

impl Told {
    /// What a run is told that this worker takes part in; where it was told nothing itself, by the setup.
    pub(super) fn options(&self, ledger: PathBuf, shards: usize, cores: &[usize]) -> Result<Options, String> {
        let setup = &self.setup;
        let targets = setup.targets.iter().map(|url| target(url)).collect::<Result<_, _>>()?;
        Ok(Options {
            seed: setup.header.seed,
            ledger,
            source_addresses: setup.source_addresses,
            shards: if shards == 0 { setup.shards } else { shards },
            cores: if cores.is_empty() { setup.cores.clone() } else { cores.to_vec() },
            ..Options::new(setup.scenario.clone(), targets, self.users.clone())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, Heard, Setup, User, each_message};
    use crate::distributed::message::ToWorker;
    use crate::ledger::{FORMAT, Header, VERSION};
    use crate::plan::Conversation;
    use crate::scenario::Scenario;

    fn setup(users: usize) -> Setup {
        let text = format!(
            "connections = {users}\n[groups]\ncount = 1\nsize = 3\n[[phase]]\nkind = \"hold\"\nduration = \"3s\"\nrate = 0.1"
        );
        let header = Header {
            format: FORMAT.into(),
            version: VERSION,
            run: "r".into(),
            seed: 3,
            connections: users,
            rate: 0,
            started: String::new(),
            at_least_once: false,
            worker: 1,
            workers: 2,
        };
        Setup {
            header,
            scenario: Scenario::read("x", &text).unwrap(),
            targets: vec!["ws://127.0.0.1:1/ws".into()],
            source_addresses: 0,
            shards: 3,
            cores: vec![],
            groups: 1,
        }
    }

    fn users(count: u64) -> Vec<User> {
        (1..=count).map(|id| User { id, token: format!("{id:0>200}") }).collect()
    }

    fn group() -> Conversation {
        Conversation { name: "group_1".into(), members: vec![0, 2, 1] }
    }

    /// As it goes over the line.
    fn through_json(message: &ToWorker) -> ToWorker {
        let text = serde_json::to_string(message).unwrap();
        assert!(text.len() < 2 * CHUNK_BYTES);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_worker_hears_of_all_users_and_groups_in_small_frames_and_has_tokens_of_its_own_only() {
        let all = users(20_000);
        let mut messages = vec![];
        each_message(setup(all.len()), &all, &[group()], |message| messages.push(message));
        assert!(messages.len() > 4, "{}", messages.len());
        let mut heard = Heard::default();
        let mut told = None;
        for message in &messages {
            assert!(told.is_none(), "the last message completes it");
            told = heard.hear(through_json(message)).unwrap();
        }
        let told = told.unwrap();
        assert_eq!(told.setup.scenario, setup(all.len()).scenario);
        assert_eq!(told.groups, [group()]);
        let options = told.options("x.ledger".into(), 0, &[]).unwrap();
        assert_eq!((options.shards, options.seed, options.users.len()), (3, 3, all.len()));
        for (at, (told, user)) in told.users.iter().zip(&all).enumerate() {
            let own = at / 2 % 2 == 1;
            assert_eq!((told.id, told.token.is_empty()), (user.id, !own), "{at}");
        }
    }

    #[test]
    fn what_does_not_fit_the_setup_is_refused() {
        let hear = |messages: Vec<ToWorker>| {
            let mut heard = Heard::default();
            messages.into_iter().try_for_each(|message| heard.hear(message).map(drop))
        };
        let first = |setup: Setup| ToWorker::Setup(Box::new(setup));
        let some = |count: u64| ToWorker::Users((0..count).map(|id| (id, String::new())).collect());
        let member = |at: u32| ToWorker::Group { name: "g".into(), members: vec![at], last: false };
        assert!(hear(vec![some(1)]).is_err(), "users before the setup");
        assert!(hear(vec![first(setup(4)), first(setup(4))]).is_err(), "a second setup");
        assert!(hear(vec![first(setup(4)), some(5)]).is_err(), "too many users");
        assert!(hear(vec![first(setup(4)), member(4)]).is_err(), "a member that is no user");
        assert!(hear(vec![first(setup(4)), ToWorker::Go { zero_ns: 1 }]).is_err(), "the start before that");
        let mut none = setup(4);
        none.header.worker = 2;
        assert!(hear(vec![first(none)]).is_err(), "an index beyond all");
        let mut other = setup(4);
        other.header.connections = 5;
        assert!(hear(vec![first(other)]).is_err(), "other users than the scenario has");
    }
}
