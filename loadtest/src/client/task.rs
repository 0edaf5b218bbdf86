//! One user's connection: moves texts between a [`Client`] and its socket, and connects again.

use super::wire::told_wait;
use super::{Client, Shared};
use crate::dial::{DialError, Socket, Target, dial};
use crate::ledger::writer::Ledger;
use crate::random::Random;
use futures_util::{SinkExt, StreamExt};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

const BACKOFF_MS_MIN: u64 = 50;
const BACKOFF_MS_MAX: u64 = 2_000;
/// Tries for the first connection; then the run is called off.
const FIRST_TRIES: u32 = 6;
/// How long a text may take to leave.
const SEND: Duration = Duration::from_secs(10);
/// How long the server may take for its half of a close.
const CLOSE: Duration = Duration::from_secs(2);

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Clients connect, messages go out and come in.
    Run,
    /// What is stored is read back, spread over so many microseconds.
    ReadBack(u64),
    /// Clients leave.
    Stop,
}

/// A message to send: index among the user's conversations, and when it is due.
pub(crate) type Job = (u32, u64);

/// What a user needs to connect.
#[derive(Debug)]
pub(crate) struct Road {
    /// The servers, of which one may be gone.
    pub(crate) targets: Arc<[Target]>,
    /// The one to begin with.
    pub(crate) first: usize,
    pub(crate) token: String,
    pub(crate) source: Option<SocketAddr>,
    /// Handshakes at a time.
    pub(crate) handshakes: Arc<Semaphore>,
    /// Whether a connection that is lost is made again.
    pub(crate) reconnect: bool,
    pub(crate) started: Instant,
    pub(crate) ledger: Ledger,
}

impl Road {
    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }
}

/// Why a conversation with the server ended.
enum Left {
    /// The run is over.
    Stopped,
    /// The connection is gone; the server may have named a wait.
    Lost { why: String, wait: Option<Duration> },
    /// The ledger takes nothing any more.
    NoLedger,
}

/// Lives a user's life until the run stops.
pub(crate) async fn run(
    mut client: Client,
    shared: Arc<Shared>,
    road: Road,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut random = Random::new(client.user ^ 0x5eed);
    let (mut tries, mut moved) = (0, 0);
    loop {
        let Some(dialed) = until_stop(&mut phase, connect(&road, moved)).await else { return };
        let wait = match dialed {
            Ok(socket) => match talk(&mut client, &road, socket, &mut jobs, &mut phase).await {
                Left::Stopped | Left::NoLedger => return,
                Left::Lost { why, wait } => {
                    let was_connected = client.connected;
                    client.lost_connection(&why, road.now_us());
                    if !flush_records(&mut client, &road.ledger).await {
                        return;
                    }
                    if was_connected {
                        tries = 0;
                    } else {
                        tries += 1;
                        give_up_at_first(&client, &shared, tries, why);
                    }
                    wait
                }
            },
            Err(error) => {
                tries += 1;
                give_up_at_first(&client, &shared, tries, error.to_string());
                None
            }
        };
        if client.sessions > 0 && !road.reconnect {
            shared.counters.gone.fetch_add(1, Relaxed);
            return;
        }
        // Whatever ended the session may have ended the server: the next try is at the next one.
        moved += 1;
        let ceiling = (BACKOFF_MS_MIN << tries.min(8)).min(BACKOFF_MS_MAX);
        let wait = wait.unwrap_or(Duration::from_millis(BACKOFF_MS_MIN + random.below(ceiling)));
        if until_stop(&mut phase, tokio::time::sleep(wait)).await.is_none() {
            return;
        }
    }
}

/// Connects to the server that lies `moved` after the first.
async fn connect(road: &Road, moved: usize) -> Result<Socket, DialError> {
    let _permit = road.handshakes.acquire().await;
    let target = &road.targets[(road.first + moved) % road.targets.len()];
    dial(target, &road.token, road.source).await
}

/// A user that never gets in calls the run off.
fn give_up_at_first(client: &Client, shared: &Shared, tries: u32, why: String) {
    if client.sessions == 0 && tries >= FIRST_TRIES {
        let _ = shared.counters.fatal.set(why);
    }
}

/// Does something unless the run stops; then `None`.
async fn until_stop<T>(phase: &mut watch::Receiver<Phase>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        _ = phase.wait_for(|phase| *phase == Phase::Stop) => None,
        done = work => Some(done),
    }
}

async fn flush_records(client: &mut Client, ledger: &Ledger) -> bool {
    for entry in client.take_records() {
        if ledger.send(entry).await.is_err() {
            return false;
        }
    }
    true
}

async fn talk(
    client: &mut Client,
    road: &Road,
    mut socket: Socket,
    jobs: &mut mpsc::UnboundedReceiver<Job>,
    phase: &mut watch::Receiver<Phase>,
) -> Left {
    let mut stopped = *phase.borrow_and_update();
    loop {
        match stopped {
            Phase::Run => {}
            Phase::ReadBack(spread_us) => client.read_back(road.now_us(), spread_us),
            Phase::Stop => {
                leave(&mut socket).await;
                return Left::Stopped;
            }
        }
        if let Err(left) = pump(client, road, &mut socket).await {
            return left;
        }
        let wake = client.wake_us().map(|at| road.started + Duration::from_micros(at));
        tokio::select! {
            biased;
            changed = phase.changed() => {
                stopped = if changed.is_ok() { *phase.borrow_and_update() } else { Phase::Stop };
            }
            text = socket.next() => {
                if let Err(left) = hear(client, road, text) {
                    return left;
                }
            }
            Some((conversation, due_us)) = jobs.recv() => client.submit(conversation, due_us),
            () = tokio::time::sleep_until(wake.unwrap_or(road.started).into()), if wake.is_some() => {}
        }
    }
}

/// Sends what the client has to send; first the ledger hears of it.
async fn pump(client: &mut Client, road: &Road, socket: &mut Socket) -> Result<(), Left> {
    let mut sent = false;
    loop {
        let text = client.transmit(road.now_us());
        if !flush_records(client, &road.ledger).await {
            return Err(Left::NoLedger);
        }
        let Some(text) = text else { break };
        sent = true;
        send(socket, Some(Message::text(text))).await?;
    }
    if sent { send(socket, None).await } else { Ok(()) }
}

/// Queues a message, or without one sends what is queued.
async fn send(socket: &mut Socket, message: Option<Message>) -> Result<(), Left> {
    let work = async {
        match message {
            Some(message) => socket.feed(message).await,
            None => socket.flush().await,
        }
    };
    match tokio::time::timeout(SEND, work).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Left::Lost { why: format!("a send failed: {error}"), wait: None }),
        Err(_) => Err(Left::Lost { why: "the server reads nothing".to_owned(), wait: None }),
    }
}

type Heard = Option<Result<Message, tokio_tungstenite::tungstenite::Error>>;

fn hear(client: &mut Client, road: &Road, heard: Heard) -> Result<(), Left> {
    let lost = |why: String| Err(Left::Lost { why, wait: None });
    match heard {
        Some(Ok(Message::Text(text))) => client.receive(&text, road.now_us()).or_else(lost),
        Some(Ok(Message::Close(frame))) => Err(closed(frame)),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => lost(error.to_string()),
        None => lost("the connection was closed without a close frame".to_owned()),
    }
}

fn closed(frame: Option<CloseFrame>) -> Left {
    let Some(frame) = frame else {
        return Left::Lost { why: "closed without a code".to_owned(), wait: None };
    };
    let reason: Utf8Bytes = frame.reason;
    let code = u16::from(frame.code);
    Left::Lost { why: format!("closed {code} {reason}"), wait: told_wait(&reason) }
}

/// Closes, and waits a little for the server's half.
async fn leave(socket: &mut Socket) {
    let _ = tokio::time::timeout(CLOSE, async {
        if socket.close(None).await.is_ok() {
            while let Some(Ok(_)) = socket.next().await {}
        }
    })
    .await;
}
