//! The persister beside a bare loop of inserts: the same rows into the same table, in transactions
//! of as many, in turn. `--help` says what it does.
#![allow(clippy::disallowed_methods, reason = "a bench measures with the clock; it is no shard")]

use anyhow::{Context, Result, ensure};
use bus::in_process::{Config, InProcessUplink, Road, road};
use bus::{Downstream, Parker, Sender, ShardInbox, Uplink};
use clap::Parser;
use logic::Stats;
use logic::decide::{WorldRates, content_hash};
use logic::handoff::{self, Bounds};
use logic::persist::{Persister, Run};
use logic::progress::Progress;
use logic::store::Backend;
use logic::store::sqlite::{SqliteConfig, Synchronous};
use protocol::command::{MessageType, SendMessage};
use protocol::limits::{
    DISTRIBUTE_QUEUE_BATCHES, DISTRIBUTE_QUEUE_BYTES, EMBEDDED_BATCH_RECORDS_MAX, EMBEDDED_PARTITIONS,
};
use protocol::{ConversationId, GatewayId, MessageId, Origin, SessionRef, UnixMs, UserId};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const EXAMPLES: &str = "Examples:
  persist
  persist --rows 200000 --passes 9 --conversations 10
  persist --dir /mnt/disk --synchronous normal

Each pass has a database of its own in --dir, made by the product's migrations. A pass of the \
persister takes its rows from the in-process road, as `ringway dev` does; one of the bare loop has \
its rows ready and does nothing but BEGIN, INSERT and COMMIT, through the same driver.";

/// Rows per second that the persister stores, and that a bare loop of inserts does.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// Messages per pass
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Passes of each, in turn
    #[arg(long, default_value_t = 5)]
    passes: usize,
    /// Conversations that the messages are spread over
    #[arg(long, default_value_t = 1_000)]
    conversations: u64,
    /// Characters of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// When a COMMIT returns: full or normal
    #[arg(long, default_value = "full", value_parser = synchronous)]
    synchronous: Synchronous,
    /// Where the databases are made
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

fn synchronous(text: &str) -> Result<Synchronous, String> {
    match text {
        "full" => Ok(Synchronous::Full),
        "normal" => Ok(Synchronous::Normal),
        _ => Err("expected full or normal".to_owned()),
    }
}

/// What is stored, as both ways get it.
struct Message {
    conversation: ConversationId,
    sender: UserId,
    client_msg_id: String,
    trace_id: String,
}

/// Everything of a run but its results.
struct Bench {
    args: Args,
    messages: Vec<Message>,
    content: String,
}

const RECEIVED_AT: UnixMs = UnixMs(1_700_000_000_000);

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.rows > 0 && args.passes > 0 && args.conversations > 0, "expected at least one of each");
    let messages = (0..args.rows as u64).map(|n| message(n, args.conversations)).collect();
    let bench = Bench { content: "x".repeat(args.size), messages, args };
    let (mut persister, mut bare) = (Vec::new(), Vec::new());
    println!("pass  persister rows/s  bare rows/s  ratio");
    for pass in 1..=bench.args.passes {
        // Whoever goes first meets a quieter disk.
        let (ours, theirs) = if pass % 2 == 1 {
            let ours = bench.pass(Bench::persister)?;
            (ours, bench.pass(Bench::bare)?)
        } else {
            let theirs = bench.pass(Bench::bare)?;
            (bench.pass(Bench::persister)?, theirs)
        };
        println!("{pass:4}  {ours:16.0}  {theirs:11.0}  {:5.2}", ours / theirs);
        persister.push(ours);
        bare.push(theirs);
    }
    let ratios = persister.iter().zip(&bare).map(|(ours, theirs)| ours / theirs).collect();
    println!("median {:14.0}  {:11.0}  {:5.2}", median(persister), median(bare), median(ratios));
    Ok(())
}

fn message(n: u64, conversations: u64) -> Message {
    let a = 2 * (n % conversations) + 1;
    Message {
        conversation: ConversationId::single(UserId(a), UserId(a + 1)).expect("two users"),
        sender: UserId(a + n / conversations % 2),
        client_msg_id: format!("c-{n:012}"),
        trace_id: format!("{n:016x}"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

impl Bench {
    /// One pass over a database of its own, rows per second; all rows must be there afterwards.
    fn pass(&self, way: fn(&Self, &SqliteConfig) -> Result<Duration>) -> Result<f64> {
        let dir = tempfile::tempdir_in(&self.args.dir)
            .with_context(|| format!("cannot make a directory in {}", self.args.dir.display()))?;
        let config = SqliteConfig::new(dir.path().join("bench.db"), self.args.synchronous);
        runtime()?.block_on(config.prepare(EMBEDDED_PARTITIONS))?;
        let took = way(self, &config)?;
        let stored = runtime()?.block_on(count(&config.path))?;
        ensure!(stored == self.messages.len(), "expected {} rows, found {stored}", self.messages.len());
        Ok(stored as f64 / took.as_secs_f64())
    }

    /// From the first message on the road to the last batch that was committed.
    fn persister(&self, config: &SqliteConfig) -> Result<Duration> {
        let gateway = GatewayId::new("bench")?;
        let Road { mut uplinks, upstream, closer, .. } = road(Config::new(gateway), vec![Arc::new(NoInbox)]);
        let runtime = runtime()?;
        let persister = runtime.block_on(async {
            let store = config.open_store().await?;
            Persister::new(store, WorldRates::default(), Arc::new(Stats::new(1))).await
        })?;
        let parker = Parker::new();
        let bounds = Bounds { items: DISTRIBUTE_QUEUE_BATCHES, bytes: DISTRIBUTE_QUEUE_BYTES };
        let (batches, committed) = handoff::queue(bounds, &parker);
        let progress = Arc::new(Progress::new(EMBEDDED_PARTITIONS));
        let reached = Arc::clone(&progress);
        let run = Run::new(persister, upstream, batches, progress, runtime, Arc::default());
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(move || run.run());
            scope.spawn(move || {
                self.publish(gateway, &mut uplinks[0]);
                closer.close();
            });
            loop {
                let ended = committed.has_ended();
                while let Some(batch) = committed.pop() {
                    // Or the run would wait, at its end, for batches to be distributed.
                    reached.reached(&batch.ends);
                }
                if ended {
                    break;
                }
                parker.park(Duration::from_millis(100), || committed.is_ready());
            }
        });
        Ok(start.elapsed())
    }

    /// Keeps the road full: the persister finds whole batches.
    fn publish(&self, gateway: GatewayId, uplink: &mut InProcessUplink) {
        let session = SessionRef { shard: 0, slot: 0, generation: 0 };
        let origin = Origin { gateway, boot_epoch: 1, session };
        for Message { conversation, sender, client_msg_id, trace_id } in &self.messages {
            let from = Sender { origin, user: *sender, received_at: RECEIVED_AT, trace_id };
            let message = SendMessage {
                client_msg_id,
                conversation: *conversation,
                content: &self.content,
                message_type: MessageType::Text,
            };
            while uplink.publish(from, &message).is_err() {
                uplink.flush();
                thread::sleep(Duration::from_micros(200));
            }
        }
        uplink.flush();
    }

    fn bare(&self, config: &SqliteConfig) -> Result<Duration> {
        runtime()?.block_on(self.insert_all(config))
    }

    async fn insert_all(&self, config: &SqliteConfig) -> Result<Duration> {
        let mut connection = SqliteConnection::connect_with(&config.options()).await?;
        let rows = self.rows();
        let start = Instant::now();
        for batch in rows.chunks(EMBEDDED_BATCH_RECORDS_MAX) {
            sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await?;
            self.insert(&mut connection, batch).await?;
            sqlx::query("COMMIT").execute(&mut connection).await?;
        }
        let took = start.elapsed();
        connection.close().await?;
        Ok(took)
    }

    async fn insert(&self, connection: &mut SqliteConnection, mut rows: &[Stored<'_>]) -> Result<()> {
        while !rows.is_empty() {
            let size = ROWS_PER_INSERT.into_iter().find(|size| *size <= rows.len()).expect("one row fits");
            let (chunk, rest) = rows.split_at(size);
            let mut query = sqlx::query(AssertSqlSafe(insert_sql(size)));
            for row in chunk {
                query = query
                    .bind(&row.conversation)
                    .bind(row.seq)
                    .bind(row.message_id.0 as i64)
                    .bind(row.message.sender.0 as i64)
                    .bind(row.message.client_msg_id.as_bytes())
                    .bind(&self.content)
                    .bind(row.content_hash)
                    .bind(MessageType::Text.as_str())
                    .bind(RECEIVED_AT.0 as i64)
                    .bind(&row.message.trace_id);
            }
            query.execute(&mut *connection).await?;
            rows = rest;
        }
        Ok(())
    }

    /// What the table gets, made before the clock runs.
    fn rows(&self) -> Vec<Stored<'_>> {
        let content_hash = content_hash(MessageType::Text, &self.content) as i64;
        let mut offsets = [0; EMBEDDED_PARTITIONS as usize];
        let rows = self.messages.iter().zip(0_u64..).map(|(message, n)| {
            let partition = message.conversation.partition(EMBEDDED_PARTITIONS);
            let offset = &mut offsets[usize::from(partition)];
            *offset += 1;
            Stored {
                message,
                conversation: message.conversation.to_string().into_bytes(),
                seq: (n / self.args.conversations + 1) as i64,
                message_id: MessageId::new(1, partition, *offset - 1),
                content_hash,
            }
        });
        rows.collect()
    }
}

/// A row of the bare loop.
struct Stored<'a> {
    message: &'a Message,
    conversation: Vec<u8>,
    seq: i64,
    message_id: MessageId,
    content_hash: i64,
}

/// As the store has them.
const ROWS_PER_INSERT: [usize; 4] = [128, 32, 8, 1];

fn insert_sql(rows: usize) -> String {
    let columns = "conversation_id, seq_id, message_id, sender_id, client_msg_id, content, content_hash, \
                   message_type, created_at, trace_id";
    let row = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    format!("INSERT INTO messages ({columns}) VALUES {}", vec![row; rows].join(", "))
}

async fn count(path: &Path) -> Result<usize> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let row = sqlx::query("SELECT COUNT(*) FROM messages").fetch_one(&mut connection).await?;
    Ok(row.get::<i64, _>(0) as usize)
}

/// Nothing is sent to shards here: that is another thread's work.
struct NoInbox;

impl ShardInbox for NoInbox {
    fn push(&self, _: Downstream) -> Result<(), Downstream> {
        Ok(())
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn nudge(&self) {}
}
