//! A bare loop of two hops over Kafka: produce, consume, produce, consume, and nothing else. What the
//! whole road costs is told beside it. `--help` says what it does.
#![allow(clippy::disallowed_methods, reason = "a bench measures with the clock; it is no shard")]

use anyhow::{Context, Result, bail, ensure};
use bus::kafka::{Settings, admin};
use clap::Parser;
use hdrhistogram::Histogram;
use protocol::GatewayId;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Builder;

const EXAMPLES: &str = "Examples:
  scripts/services up kafka
  two-hop
  two-hop -R 2000 -d 60 --linger 0
  two-hop --brokers kafka-1:9092,kafka-2:9092 --replication-factor 3 -X security.protocol=SSL

One process with three threads: the first produces at a constant rate, whether or not anything \
arrives; the second consumes and produces each record on; the third consumes and measures, from the \
time at which a record was meant to be sent. Clients, settings and topics are those of `ringway \
gateway` and `ringway logic`. The topics have a prefix of their own and are deleted at the end.
Exit codes: 0 ok, 64 usage, 69 Kafka is unavailable, 99 records were lost.";

/// Bytes of a payload that hold the record's number.
const NUMBER_BYTES: usize = 8;
/// How long a thread waits for a record before it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// How long the producer's full queue is waited for before a record counts as refused.
const FULL_WAIT: Duration = Duration::from_millis(1);
/// Latencies are recorded up to this, µs.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Latency of two bare hops over Kafka, at a constant rate.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Args {
    /// host:port, several with commas
    #[arg(long, default_value = "127.0.0.1:19092")]
    brokers: String,
    /// Records per second
    #[arg(short = 'R', long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=200_000))]
    rate: u64,
    /// Seconds to measure
    #[arg(short, long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    duration: u64,
    /// Seconds before measuring: the first through a cold broker are slow
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=60))]
    warmup: u64,
    /// Bytes of a record
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u64).range(8..=262_144))]
    size: u64,
    /// Partitions of the first topic, which records are spread over
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    partitions: u16,
    /// Partitions of the second topic: the shards of a gateway
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    shards: u16,
    /// How long a record may wait for company, ms
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    linger: u32,
    /// Copies of each partition
    #[arg(long, default_value_t = 1)]
    replication_factor: i32,
    /// Seconds to wait at the end for what has not arrived
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    wait: u64,
    /// A property of librdkafka, over all others
    #[arg(short = 'X', value_name = "KEY=VALUE")]
    properties: Vec<String>,
}

impl Args {
    fn settings(&self) -> Result<Settings> {
        let mut settings = Settings::new(&self.brokers);
        // Nobody else's: everything behind it is deleted.
        let began = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        settings.prefix = format!("two-hop-{}-{began}-", std::process::id());
        settings.upstream_partitions = self.partitions;
        settings.query_partitions = 1;
        settings.replication = self.replication_factor;
        settings.extra.insert("linger.ms".into(), self.linger.to_string());
        for property in &self.properties {
            let (key, value) =
                property.split_once('=').with_context(|| format!("expected KEY=VALUE, got {property}"))?;
            settings.extra.insert(key.into(), value.into());
        }
        Ok(settings)
    }

    /// Records to send, those of the warm-up first.
    fn records(&self) -> u64 {
        self.rate * (self.warmup + self.duration)
    }
}

fn main() -> ExitCode {
    let args = Args::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        std::process::exit(if error.use_stderr() { 64 } else { 0 })
    });
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(99),
        Err(error) => {
            eprintln!("two-hop: {}", told_once(&error));
            ExitCode::from(69)
        }
    }
}

/// An error and its causes; a cause that the words before it have is not told again.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |told, cause| match (told.as_str(), cause.to_string()) {
        ("", cause) => cause,
        (before, cause) if before.contains(&cause) => told,
        (before, cause) => format!("{before}: {cause}"),
    })
}

/// `true` if everything that was sent has arrived.
fn run(args: &Args) -> Result<bool> {
    let settings = args.settings()?;
    let gateway = GatewayId::new("bench")?;
    admin::ensure_shared(&settings)?;
    let result = admin::ensure_gateway(&settings, gateway, args.shards)
        .map_err(anyhow::Error::from)
        .and_then(|()| measure(args, &settings, gateway));
    let deleted = delete_topics(&settings, gateway);
    let (sent, seen) = result?;
    deleted?;
    seen.report(args, &sent);
    Ok(seen.arrived == sent.taken)
}

/// What three threads share.
#[derive(Default)]
struct Shared {
    /// Ctrl-C: no more is sent, and what was measured is told.
    interrupted: AtomicBool,
    /// Records given to the first producer; written once, when the last has been.
    sent: AtomicU64,
    sending: AtomicBool,
    /// The third thread has ended.
    over: AtomicBool,
}

fn measure(args: &Args, settings: &Settings, gateway: GatewayId) -> Result<(Sent, Seen)> {
    let (upstream, downstream) = (settings.upstream_topic(), settings.downstream_topic(gateway));
    let first: ThreadedProducer<_> = settings.gateway_producer().create()?;
    let second: ThreadedProducer<_> = settings.downlink_producer().create()?;
    let consume = |config: ClientConfig, topic: &str, partitions| consumer(&config, topic, partitions);
    let middle = consume(settings.upstream_consumer(), &upstream, args.partitions)?;
    let last = consume(settings.gateway_consumer(gateway.as_str()), &downstream, args.shards)?;
    let shared = Arc::new(Shared { sending: AtomicBool::new(true), ..Shared::default() });
    stop_at_ctrl_c(&shared)?;
    eprintln!("two-hop: {} s of warm-up, then {} s; Ctrl-C ends it earlier", args.warmup, args.duration);
    // The clock that all threads use; a little ahead, so that they are all there.
    let start = Instant::now() + Duration::from_millis(500);
    thread::scope(|scope| {
        let forwarding = scope.spawn(|| forward(&middle, &second, &downstream, args.shards, &shared));
        let seeing = scope.spawn(|| see(&last, start, args, &shared));
        let sent = send(&first, &upstream, start, args, &shared);
        let panicked = |_| anyhow::anyhow!("a thread has panicked");
        let seen = seeing.join().map_err(panicked)?;
        forwarding.join().map_err(panicked)??;
        Ok((sent?, seen?))
    })
}

/// A consumer of a whole new topic.
fn consumer(config: &ClientConfig, topic: &str, partitions: u16) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = config.create()?;
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition.into(), Offset::Offset(0))?;
    }
    consumer.assign(&list)?;
    Ok(consumer)
}

fn stop_at_ctrl_c(shared: &Arc<Shared>) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    thread::Builder::new().name("signal".into()).spawn(move || {
        if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
            shared.interrupted.store(true, Ordering::SeqCst);
        }
    })?;
    Ok(())
}

struct Sent {
    /// Given to the producer.
    taken: u64,
    /// Not taken, because its queue was full.
    refused: u64,
}

/// Every record at its time; those that are late at once.
fn send(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    start: Instant,
    args: &Args,
    shared: &Shared,
) -> Result<Sent> {
    let mut sent = Sent { taken: 0, refused: 0 };
    let mut payload = vec![b'x'; args.size as usize];
    let mut failed = None;
    for number in 0..args.records() {
        thread::sleep(intended(start, number, args.rate).saturating_duration_since(Instant::now()));
        if shared.interrupted.load(Ordering::Relaxed) || shared.over.load(Ordering::Relaxed) {
            break;
        }
        payload[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
        let partition = (number % u64::from(args.partitions)) as u16;
        match produce(producer, topic, partition, &payload) {
            Ok(true) => sent.taken += 1,
            Ok(false) => sent.refused += 1,
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    shared.sent.store(sent.taken, Ordering::SeqCst);
    shared.sending.store(false, Ordering::SeqCst);
    failed.map_or(Ok(sent), |error| Err(error).context("the first hop can't be produced"))
}

fn intended(start: Instant, number: u64, rate: u64) -> Instant {
    start + Duration::from_nanos(number * 1_000_000_000 / rate)
}

/// `false` if the client's queue stays full.
fn produce(
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    partition: u16,
    payload: &[u8],
) -> Result<bool, KafkaError> {
    for _ in 0..2 {
        let record = BaseRecord::<(), [u8]>::to(topic).partition(partition.into()).payload(payload);
        match producer.send(record) {
            Ok(()) => return Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => thread::sleep(FULL_WAIT),
            Err((error, _)) => return Err(error),
        }
    }
    Ok(false)
}

/// The second thread: what is consumed is produced on, until the third has ended.
fn forward(
    consumer: &BaseConsumer,
    producer: &ThreadedProducer<DefaultProducerContext>,
    topic: &str,
    shards: u16,
    shared: &Shared,
) -> Result<()> {
    while !shared.over.load(Ordering::Relaxed) {
        let Some(message) = consumer.poll(LOOK) else { continue };
        let message = message.context("the first hop can't be consumed")?;
        let payload = message.payload().unwrap_or_default();
        let shard = (number(payload)? % u64::from(shards)) as u16;
        // A record that does not fit is lost, and told as such.
        produce(producer, topic, shard, payload).context("the second hop can't be produced")?;
    }
    Ok(())
}

fn number(payload: &[u8]) -> Result<u64> {
    let Some(bytes) = payload.first_chunk::<NUMBER_BYTES>() else {
        bail!("expected a record of at least {NUMBER_BYTES} bytes, got {}", payload.len());
    };
    Ok(u64::from_le_bytes(*bytes))
}

struct Seen {
    arrived: u64,
    doubled: u64,
    /// Of what was sent after the warm-up, µs.
    latency: Histogram<u64>,
}

/// The third thread: everything that arrives, until all has or the wait for it is over.
fn see(consumer: &BaseConsumer, start: Instant, args: &Args, shared: &Shared) -> Result<Seen> {
    let result = see_all(consumer, start, args, shared);
    shared.over.store(true, Ordering::SeqCst);
    result
}

fn see_all(consumer: &BaseConsumer, start: Instant, args: &Args, shared: &Shared) -> Result<Seen> {
    let latency = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
    let mut seen = Seen { arrived: 0, doubled: 0, latency };
    let mut there = vec![false; args.records() as usize];
    let warm = args.rate * args.warmup;
    let mut heard = Instant::now();
    loop {
        if let Some(message) = consumer.poll(LOOK) {
            let message = message.context("the second hop can't be consumed")?;
            heard = Instant::now();
            let number = number(message.payload().unwrap_or_default())?;
            let place = there.get_mut(number as usize).context("a record that nobody has sent")?;
            if std::mem::replace(place, true) {
                seen.doubled += 1;
                continue;
            }
            seen.arrived += 1;
            if number >= warm {
                let took = heard.saturating_duration_since(intended(start, number, args.rate));
                seen.latency.saturating_record((took.as_micros() as u64).max(1));
            }
        }
        let all_sent = !shared.sending.load(Ordering::SeqCst);
        let all_there = seen.arrived == shared.sent.load(Ordering::SeqCst);
        if all_sent && (all_there || heard.elapsed() > Duration::from_secs(args.wait)) {
            return Ok(seen);
        }
    }
}

impl Seen {
    fn report(&self, args: &Args, sent: &Sent) {
        let Args { rate, duration, size, partitions, shards, linger, .. } = args;
        println!(
            "two hops over Kafka: {rate}/s of {size} bytes for {duration} s, {partitions} and {shards} partitions, \
             linger {linger} ms"
        );
        println!("count    {}", self.latency.len());
        println!("sent     {}", sent.taken);
        println!("refused  {}", sent.refused);
        println!("lost     {}", sent.taken - self.arrived);
        println!("doubled  {}", self.doubled);
        if self.latency.is_empty() {
            return;
        }
        for (name, quantile) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)] {
            println!("{name:<8} {:.2} ms", self.latency.value_at_quantile(quantile) as f64 / 1000.0);
        }
    }
}

/// Every topic behind our prefix.
fn delete_topics(settings: &Settings, gateway: GatewayId) -> Result<()> {
    let client: AdminClient<DefaultClientContext> = settings.admin().create()?;
    let topics = [
        settings.upstream_topic(),
        settings.query_topic(),
        settings.fanout_topic(),
        settings.dead_letter_topic(),
        settings.downstream_topic(gateway),
    ];
    let names: Vec<&str> = topics.iter().map(String::as_str).collect();
    let options = AdminOptions::new().request_timeout(Some(settings.wait));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let results = runtime.block_on(client.delete_topics(&names, &options))?;
    let failed: Vec<_> = results.into_iter().filter_map(Result::err).collect();
    ensure!(failed.is_empty(), "topics can't be deleted: {failed:?}");
    Ok(())
}
