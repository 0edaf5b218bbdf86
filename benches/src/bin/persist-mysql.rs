//! The persister over MySQL beside a bare loop of inserts: the same rows into the same table, as many
//! at a time, in turn. `--help` says what it does.
#![allow(clippy::disallowed_methods, reason = "a bench measures with the clock; it is no shard")]

use anyhow::{Context, Result, ensure};
use bus::Polled;
use clap::Parser;
use logic::Stats;
use logic::decide::{Decision, WorldRates, content_hash};
use logic::persist::Persister;
use logic::store::Backend;
use logic::store::mysql::MySqlConfig;
use protocol::command::MessageType;
use protocol::limits::WORKER_BATCH_RECORDS_MAX;
use protocol::record::UpstreamRecord;
use protocol::{ConversationId, GatewayId, MessageId, Origin, SessionRef, UnixMs, UserId};
use sqlx::{AssertSqlSafe, Connection, Executor, MySqlConnection, Row};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

const EXAMPLES: &str = "Examples:
  scripts/services up mysql
  persist-mysql --server mysql://root@127.0.0.1:13306
  persist-mysql --rows 200000 --passes 9 --partitions 256

Each pass has a database of its own, made by the product's migrations. First come as many messages \
as there are conversations, so that both ways are warm; they are not counted. Then the persister \
takes whole batches of records, and the bare loop inserts whole batches of the same rows, each in a \
statement that commits by itself, over one connection of the same driver.";

/// Rows per second that the persister stores in MySQL, and that a bare loop of inserts does.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// The server
    #[arg(long, env = "TEST_MYSQL", default_value = "mysql://root@127.0.0.1:13306")]
    server: String,
    /// Messages per pass, in batches of 500
    #[arg(long, default_value_t = 50_000)]
    rows: usize,
    /// Passes of each, in turn
    #[arg(long, default_value_t = 5)]
    passes: usize,
    /// Conversations that the messages are spread over
    #[arg(long, default_value_t = 1_000)]
    conversations: usize,
    /// Partitions that the conversations are spread over
    #[arg(long, default_value_t = 64)]
    partitions: u16,
    /// Characters of a message
    #[arg(long, default_value_t = 64)]
    size: usize,
}

/// Everything of a run but its results.
struct Bench {
    args: Args,
    records: Vec<Polled<UpstreamRecord>>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.rows > 0 && args.passes > 0 && args.conversations > 0, "expected at least one of each");
    let records = records(&args)?;
    let bench = Bench { args, records };
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

/// One after the other over all conversations, so that a batch touches as many as it can.
fn records(args: &Args) -> Result<Vec<Polled<UpstreamRecord>>> {
    let session = SessionRef { shard: 0, slot: 0, generation: 0 };
    let origin = Origin { gateway: GatewayId::new("bench")?, boot_epoch: 1, session };
    let mut offsets = vec![0; usize::from(args.partitions)];
    let content = "x".repeat(args.size);
    let records = (0..args.conversations + args.rows).map(|n| {
        let a = 2 * (n % args.conversations) as u64 + 1;
        let conversation = ConversationId::Single(UserId(a), UserId(a + 1));
        let partition = conversation.partition(args.partitions);
        let offset = &mut offsets[usize::from(partition)];
        *offset += 1;
        let record = UpstreamRecord {
            origin,
            sender: UserId(a + (n / args.conversations % 2) as u64),
            conversation,
            client_msg_id: format!("c-{n:012}").into(),
            content: content.as_str().into(),
            message_type: MessageType::Text,
            received_at: UnixMs(1_700_000_000_000),
            trace_id: format!("{n:016x}").into(),
        };
        Polled { partition, offset: *offset - 1, record }
    });
    Ok(records.collect())
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
    fn pass(&self, way: fn(&Self, &Runtime, &str) -> Result<Duration>) -> Result<f64> {
        let runtime = runtime()?;
        let server = self.args.server.trim_end_matches('/');
        let name = format!("ringway_bench_{}", std::process::id());
        let url = format!("{server}/{name}");
        runtime.block_on(execute(server, format!("CREATE DATABASE {name}"))).context(
            "cannot make a database: scripts/services up mysql starts a server, --server names another",
        )?;
        let took = runtime
            .block_on(async { Ok(MySqlConfig::new(&url)?.prepare(self.args.partitions).await?) })
            .and_then(|()| way(self, &runtime, &url))
            .and_then(|took| Ok((took, runtime.block_on(count(&url))?)));
        runtime.block_on(execute(server, format!("DROP DATABASE {name}")))?;
        let (took, stored) = took?;
        ensure!(stored == self.records.len(), "expected {} rows, found {stored}", self.records.len());
        Ok(self.args.rows as f64 / took.as_secs_f64())
    }

    fn persister(&self, runtime: &Runtime, url: &str) -> Result<Duration> {
        runtime.block_on(async {
            let store = MySqlConfig::new(url)?.open_store().await?;
            let mut persister = Persister::new(store, WorldRates::default(), Arc::new(Stats::new(1))).await?;
            let (warm_up, rows) = self.records.split_at(self.args.conversations);
            persist(&mut persister, warm_up).await?;
            let start = Instant::now();
            persist(&mut persister, rows).await?;
            Ok(start.elapsed())
        })
    }

    fn bare(&self, runtime: &Runtime, url: &str) -> Result<Duration> {
        runtime.block_on(async {
            let mut connection = MySqlConnection::connect(url).await?;
            let rows = self.rows();
            let (warm_up, rows) = rows.split_at(self.args.conversations);
            insert(&mut connection, warm_up).await?;
            let start = Instant::now();
            insert(&mut connection, rows).await?;
            Ok(start.elapsed())
        })
    }

    /// What the table gets, made before the clock runs.
    fn rows(&self) -> Vec<Stored<'_>> {
        let rows =
            self.records.iter().zip(0_usize..).map(|(Polled { partition, offset, record }, n)| Stored {
                record,
                conversation: record.conversation.to_string().into_bytes(),
                seq: (n / self.args.conversations + 1) as u64,
                message_id: MessageId::new(1, *partition, *offset),
                content_hash: content_hash(record.message_type, &record.content),
            });
        rows.collect()
    }
}

async fn persist(persister: &mut Persister, records: &[Polled<UpstreamRecord>]) -> Result<()> {
    for batch in records.chunks(WORKER_BATCH_RECORDS_MAX) {
        let decisions = persister.persist(batch).await?;
        ensure!(
            decisions.iter().all(|decision| matches!(decision, Decision::Insert(_))),
            "expected every message to be stored: {decisions:?}"
        );
    }
    Ok(())
}

/// A row of the bare loop.
struct Stored<'a> {
    record: &'a UpstreamRecord,
    conversation: Vec<u8>,
    seq: u64,
    message_id: MessageId,
    content_hash: u64,
}

async fn insert(connection: &mut MySqlConnection, rows: &[Stored<'_>]) -> Result<()> {
    let columns = "conversation_id, seq_id, message_id, sender_id, client_msg_id, content, content_hash, \
                   message_type, created_at, trace_id";
    for batch in rows.chunks(WORKER_BATCH_RECORDS_MAX) {
        let places = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; batch.len()].join(", ");
        let sql = format!("INSERT INTO messages ({columns}) VALUES {places}");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for row in batch {
            query = query
                .bind(&row.conversation)
                .bind(row.seq)
                .bind(row.message_id.0)
                .bind(row.record.sender.0)
                .bind(row.record.client_msg_id.as_bytes())
                .bind(&*row.record.content)
                .bind(row.content_hash)
                .bind(row.record.message_type.as_str())
                .bind(row.record.received_at.0)
                .bind(&*row.record.trace_id);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn execute(url: &str, sql: String) -> Result<()> {
    MySqlConnection::connect(url).await?.execute(AssertSqlSafe(sql)).await?;
    Ok(())
}

async fn count(url: &str) -> Result<usize> {
    let mut connection = MySqlConnection::connect(url).await?;
    let row = sqlx::query("SELECT COUNT(*) FROM messages").fetch_one(&mut connection).await?;
    Ok(row.get::<i64, _>(0) as usize)
}
