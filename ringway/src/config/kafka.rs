//! `[kafka]`: the brokers, and how topics are made.

use super::kind::{Choice, Number, Properties, Text};
use super::reader::Reader;
use bus::kafka::{GroupProtocol, Settings};
use std::collections::BTreeMap;

/// Partitions of a topic at most: a message id has 16 bits for one, and brokers suffer before.
const PARTITIONS_MAX: u16 = 4_096;
/// How long records are gathered at most, ms.
const LINGER_MS_MAX: u32 = 1_000;
const PROTOCOLS: &[(&str, GroupProtocol)] =
    &[("classic", GroupProtocol::Classic), ("consumer", GroupProtocol::Consumer)];

/// The brokers, and how topics are made.
#[derive(Debug, Clone)]
pub(crate) struct Kafka(pub(crate) Settings);

impl Kafka {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let copies = || Number(1..=15_u8);
        let brokers = Text { what: "HOST:PORT, several with commas", good: |text| text.contains(':') };
        let name = Text {
            what: "up to 64 letters, digits, ., - and _",
            good: |text| {
                let good = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
                text.len() <= 64 && text.bytes().all(good)
            },
        };
        let default = Settings::new("127.0.0.1:9092");
        let mut settings = Settings {
            brokers: reader.key("kafka.brokers", brokers, default.brokers.clone()),
            prefix: reader.key("kafka.topic_prefix", name, String::new()),
            upstream_partitions: reader.key(
                "kafka.upstream_partitions",
                Number(1..=PARTITIONS_MAX),
                default.upstream_partitions,
            ),
            query_partitions: reader.key(
                "kafka.query_partitions",
                Number(1..=PARTITIONS_MAX),
                default.query_partitions,
            ),
            replication: i32::from(reader.key("kafka.replication_factor", copies(), 3)),
            linger_ms: reader.key("kafka.linger_ms", Number(0..=LINGER_MS_MAX), default.linger_ms),
            group_protocol: reader.key("kafka.group_protocol", Choice(PROTOCOLS), default.group_protocol),
            extra: reader.key("kafka.properties", Properties, BTreeMap::new()),
            ..default
        };
        let replication = settings.replication;
        let two = replication.min(2) as u8;
        settings.min_insync = i32::from(reader.key("kafka.min_insync_replicas", copies(), two));
        reader.require(
            settings.min_insync <= replication,
            "kafka.min_insync_replicas",
            &format!("at most kafka.replication_factor, which is {replication}"),
        );
        Self(settings)
    }
}
