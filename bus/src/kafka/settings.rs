//! How Kafka is reached and used: the contract's settings, and what a deployment adds.

use protocol::GatewayId;
use protocol::limits::{
    DOWNLINK_PENDING_KIB, DOWNLINK_PENDING_RECORDS, DOWNSTREAM_FETCH_KIB, DOWNSTREAM_RECORD_BYTES_MAX,
    PRODUCE_PENDING_BYTES, PRODUCE_PENDING_RECORDS, UPSTREAM_FETCH_KIB,
};
use rdkafka::ClientConfig;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How the members of a group agree on their shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupProtocol {
    /// Between the members, on any broker: cooperative-sticky, a session of 10 s.
    Classic,
    /// By the brokers (KIP-848, Kafka 4.0 and later). They set the session, and after an outage of
    /// theirs members go on at once instead of waiting for the end of their own old sessions.
    Consumer,
}

/// How Kafka is reached and used.
#[derive(Clone)]
pub struct Settings {
    /// `host:port`, several with commas.
    pub brokers: String,
    /// Before every topic's and group's name.
    pub prefix: String,
    /// Partitions of `im-upstream`; fixed when the topic is made.
    pub upstream_partitions: u16,
    /// Partitions of `im-query` and of the task topic when they are made.
    pub query_partitions: u16,
    /// Copies of each partition of topics that are made.
    pub replication: i32,
    /// Copies that `acks=all` needs, of topics that are made.
    pub min_insync: i32,
    /// How long a gateway gathers records once it has produced some, ms.
    pub linger_ms: u32,
    /// How workers share the partitions.
    pub group_protocol: GroupProtocol,
    /// How long starting waits for brokers.
    pub wait: Duration,
    /// Properties of librdkafka as they are, over all of the above. May hold passwords.
    pub extra: BTreeMap<String, String>,
}

impl Settings {
    /// The contract's settings, for brokers without authentication.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            prefix: String::new(),
            upstream_partitions: 64,
            query_partitions: 16,
            replication: 1,
            min_insync: 1,
            linger_ms: 5,
            group_protocol: GroupProtocol::Classic,
            wait: Duration::from_secs(10),
            extra: BTreeMap::new(),
        }
    }

    /// `im-upstream`.
    pub fn upstream_topic(&self) -> String {
        format!("{}im-upstream", self.prefix)
    }

    /// `im-query`.
    pub fn query_topic(&self) -> String {
        format!("{}im-query", self.prefix)
    }

    /// `im-task-large-group-fanout`.
    pub fn fanout_topic(&self) -> String {
        format!("{}im-task-large-group-fanout", self.prefix)
    }

    /// `im-dead-letter`.
    pub fn dead_letter_topic(&self) -> String {
        format!("{}im-dead-letter", self.prefix)
    }

    /// `im-downstream-{gateway}`.
    pub fn downstream_topic(&self, gateway: GatewayId) -> String {
        format!("{}im-downstream-{gateway}", self.prefix)
    }

    /// What every client is made with, and everything that is set by Ringway, for
    /// `--print-config`; secrets are masked.
    pub fn shown(&self) -> Vec<(&'static str, Vec<(String, String)>)> {
        let clients = [
            ("gateway producer", self.gateway_producer()),
            ("gateway consumer", self.gateway_consumer("-")),
            ("worker consumer of im-upstream", self.upstream_consumer()),
            ("worker consumer of im-query", self.query_consumer()),
            ("worker consumer of tasks", self.fanout_consumer()),
            ("worker producer", self.downlink_producer()),
        ];
        let shown = clients.into_iter().map(|(name, config)| {
            let mut all: Vec<_> =
                config.config_map().iter().map(|(k, v)| (k.to_string(), masked(k, v))).collect();
            all.sort();
            (name, all)
        });
        shown.collect()
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "ringway")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "250")
            .set("retry.backoff.max.ms", "250")
            .set("allow.auto.create.topics", "false")
            .set("topic.metadata.refresh.interval.ms", "60000")
            // Without traffic a dead connection shows only when something is asked of it.
            .set("socket.keepalive.enable", "true");
        config
    }

    fn over(&self, mut config: ClientConfig) -> ClientConfig {
        for (key, value) in &self.extra {
            config.set(key, value);
        }
        config
    }

    /// Of whoever makes, checks and deletes topics.
    pub fn admin(&self) -> ClientConfig {
        self.over(self.client())
    }

    fn producer(&self, records_max: usize, kib_max: usize) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // A timeout would let a later message overtake; the queue's bound says no instead.
            .set("message.timeout.ms", "0")
            // Who produces gathers: batches are complete when they get here.
            .set("linger.ms", "0")
            .set("queue.buffering.max.messages", records_max.to_string())
            .set("queue.buffering.max.kbytes", kib_max.to_string())
            .set("message.max.bytes", (2 * DOWNSTREAM_RECORD_BYTES_MAX).to_string())
            .set("compression.type", "lz4")
            // A topic that is gone must not hold records for the default of 30 s.
            .set("topic.metadata.propagation.max.ms", "3000");
        config
    }

    /// Of the bus thread. Bounds twice ours: ours are reached first.
    pub fn gateway_producer(&self) -> ClientConfig {
        self.over(self.producer(2 * PRODUCE_PENDING_RECORDS, 2 * (PRODUCE_PENDING_BYTES >> 10)))
    }

    /// Of a worker, to the shards.
    pub fn downlink_producer(&self) -> ClientConfig {
        self.over(self.producer(16 * DOWNLINK_PENDING_RECORDS, DOWNLINK_PENDING_KIB))
    }

    /// For few records that somebody waits for.
    pub(super) fn waiting_producer(&self) -> ClientConfig {
        let mut config = self.producer(1_000, 16 << 10);
        config.set("message.timeout.ms", "5000");
        self.over(config)
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", format!("{}{group}", self.prefix))
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.queue.backoff.ms", "20")
            .set("fetch.error.backoff.ms", "100");
        config
    }

    /// Of a worker, whose share the group decides.
    fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        config.set("max.poll.interval.ms", "300000");
        match self.group_protocol {
            GroupProtocol::Classic => config
                .set("session.timeout.ms", "10000")
                .set("heartbeat.interval.ms", "2000")
                .set("partition.assignment.strategy", "cooperative-sticky"),
            GroupProtocol::Consumer => config.set("group.protocol", "consumer"),
        };
        config
    }

    /// Of a gateway. One split queue per shard; explicit offsets, no group (the name is only asked for).
    pub fn gateway_consumer(&self, gateway: &str) -> ClientConfig {
        let mut config = self.consumer(&format!("ringway-gateway-{gateway}"));
        config
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", DOWNSTREAM_FETCH_KIB.to_string())
            .set("fetch.message.max.bytes", (2 * DOWNSTREAM_RECORD_BYTES_MAX).to_string());
        self.over(config)
    }

    /// Of a persister. Offsets are given at the start of each partition; one outside the log is an
    /// error.
    pub fn upstream_consumer(&self) -> ClientConfig {
        let mut config = self.member("ringway-logic");
        config
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", UPSTREAM_FETCH_KIB.to_string());
        self.over(config)
    }

    pub(super) fn query_consumer(&self) -> ClientConfig {
        let mut config = self.member("ringway-query");
        config
            .set("enable.auto.commit", "true")
            .set("auto.commit.interval.ms", "1000")
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", UPSTREAM_FETCH_KIB.to_string());
        self.over(config)
    }

    pub(super) fn fanout_consumer(&self) -> ClientConfig {
        let mut config = self.member("ringway-fanout");
        config
            .set("auto.offset.reset", "earliest")
            .set("queued.max.messages.kbytes", UPSTREAM_FETCH_KIB.to_string());
        self.over(config)
    }

    /// Reads a topic from its start, once.
    pub(super) fn reading_consumer(&self) -> ClientConfig {
        let mut config = self.consumer("ringway-reader");
        config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
        self.over(config)
    }
}

fn masked(key: &str, value: &str) -> String {
    let secret = ["password", "secret", "key.pem", "token", "oauthbearer.config", "sasl.jaas"];
    if secret.iter().any(|part| key.contains(part)) { "***".into() } else { value.into() }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extra: BTreeMap<_, _> = self.extra.iter().map(|(k, v)| (k, masked(k, v))).collect();
        f.debug_struct("Settings")
            .field("brokers", &self.brokers)
            .field("prefix", &self.prefix)
            .field("upstream_partitions", &self.upstream_partitions)
            .field("query_partitions", &self.query_partitions)
            .field("replication", &self.replication)
            .field("min_insync", &self.min_insync)
            .field("linger_ms", &self.linger_ms)
            .field("group_protocol", &self.group_protocol)
            .field("wait", &self.wait)
            .field("extra", &extra)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{GroupProtocol, Settings};

    #[test]
    fn secrets_are_not_shown_and_extras_win() {
        let mut settings = Settings::new("k:9092");
        settings.extra.insert("sasl.password".into(), "hush".into());
        settings.extra.insert("linger.ms".into(), "7".into());
        let shown = format!("{:?} {settings:?}", settings.shown());
        assert!(!shown.contains("hush"), "{shown}");
        for (client, all) in settings.shown() {
            let linger = all.iter().find(|(key, _)| key == "linger.ms").expect("set by extra");
            assert_eq!(linger.1, "7", "{client}");
        }
    }

    #[test]
    fn the_contracts_settings_hold() {
        let settings = Settings::new("k:9092");
        let producer = settings.gateway_producer();
        for (key, value) in [("enable.idempotence", "true"), ("acks", "all"), ("message.timeout.ms", "0")] {
            assert_eq!(producer.get(key), Some(value));
        }
        let consumer = settings.upstream_consumer();
        for (key, value) in [
            ("enable.auto.commit", "false"),
            ("partition.assignment.strategy", "cooperative-sticky"),
            ("session.timeout.ms", "10000"),
            ("auto.offset.reset", "error"),
        ] {
            assert_eq!(consumer.get(key), Some(value));
        }
    }

    #[test]
    fn brokers_that_share_out_take_no_settings_of_the_members() {
        let settings = Settings { group_protocol: GroupProtocol::Consumer, ..Settings::new("k:9092") };
        for consumer in [settings.upstream_consumer(), settings.query_consumer(), settings.fanout_consumer()]
        {
            assert_eq!(consumer.get("group.protocol"), Some("consumer"));
            let made = consumer.create::<rdkafka::consumer::BaseConsumer>();
            assert!(made.is_ok(), "{:?}", made.err());
        }
    }
}
