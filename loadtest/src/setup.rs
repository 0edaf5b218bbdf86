//! The users of a run, their conversations and their tasks.

use crate::api;
use crate::client::task::{Job, Phase, Road, run};
use crate::client::{Client, Shared};
use crate::dial::{source, sources_needed};
use crate::ledger::Record;
use crate::ledger::writer::{Entry, Ledger};
use crate::options::Options;
use crate::random::Random;
use crate::run::RunError;
use crate::schedule::{Conversation, by_user, draw_members, pairs};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// Handshakes at a time, in all.
const HANDSHAKES: usize = 128;

/// Everybody in a run.
pub(crate) struct Crowd {
    /// One task per user.
    pub(crate) clients: JoinSet<()>,
    /// Where the messages of each user that sends go, and how many conversations it has.
    pub(crate) senders: Vec<(UnboundedSender<Job>, u64)>,
}

/// Makes the groups, declares the conversations, and sets everybody off to connect.
pub(crate) async fn crowd(
    options: &Options,
    shared: &Arc<Shared>,
    ledger: &Ledger,
    started: Instant,
    phases: watch::Receiver<Phase>,
) -> Result<Crowd, RunError> {
    let ids: Vec<u64> = options.users.iter().map(|user| user.id).collect();
    let mut conversations = pairs(&ids);
    conversations.extend(make_groups(options, &ids).await?);
    for conversation in &conversations {
        let mut members: Vec<u64> = conversation.members.iter().map(|at| ids[*at]).collect();
        members.sort_unstable();
        let record = Record::Conversation { conv: conversation.name.to_string().into(), members };
        // A ledger that is gone shows at the next look at it.
        let _ = ledger.send(Entry { record, latency_us: None }).await;
    }
    let targets: Arc<[_]> = options.targets.clone().into();
    let sources = match options.source_addresses {
        0 => sources_needed(options.users.len().div_ceil(targets.len())),
        sources => sources,
    };
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let mut crowd = Crowd { clients: JoinSet::new(), senders: vec![] };
    for (index, (user, own)) in
        options.users.iter().zip(by_user(&conversations, options.users.len())).enumerate()
    {
        let first = index % targets.len();
        let road = Road {
            source: source(index / targets.len(), sources, &targets[first].address),
            targets: Arc::clone(&targets),
            first,
            token: user.token.clone(),
            handshakes: Arc::clone(&handshakes),
            reconnect: options.reconnect,
            started,
            ledger: ledger.clone(),
        };
        let (sender, jobs) = unbounded_channel();
        if !own.is_empty() {
            crowd.senders.push((sender, own.len() as u64));
        }
        let tracked = own.iter().map(|at| {
            let conversation = &conversations[*at as usize];
            (Arc::clone(&conversation.name), conversation.members.len() as u32)
        });
        let client = Client::new(user.id, Arc::clone(shared), tracked);
        crowd.clients.spawn(run(client, Arc::clone(shared), road, jobs, phases.clone()));
    }
    Ok(crowd)
}

async fn make_groups(options: &Options, ids: &[u64]) -> Result<Vec<Conversation>, RunError> {
    let mut random = Random::new(options.seed ^ 0x6772_6f75_7073);
    let mut groups = vec![];
    for number in 1..=options.groups {
        let members = draw_members(&mut random, ids.len(), options.group_size);
        let others: Vec<u64> = members[1..].iter().map(|at| ids[*at]).collect();
        let owner = &options.users[members[0]];
        let name = format!("load {number}");
        let made = api::make_group(&options.api, &owner.token, &name, &others).await;
        let name = made.map_err(|error| RunError::Unavailable(error.to_string()))?.into();
        groups.push(Conversation { name, members });
    }
    Ok(groups)
}
