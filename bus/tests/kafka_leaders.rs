//! A leader that moves, on librdkafka's own cluster in this process: the only one whose leaders a test
//! can move.

#![allow(clippy::disallowed_types, reason = "librdkafka's threads tell the test's by it")]
#![allow(clippy::disallowed_methods, reason = "a test waits by the clock")]

use bus::kafka::Settings;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TOPIC: &str = "im-upstream";
const PARTITIONS: i32 = 4;
const ROUNDS: usize = 6;

/// Keeps what librdkafka says of leaders that a broker has named in an answer.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl ClientContext for Told {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "METADATAUPDATE" {
            self.0.lock().unwrap().push(message.into());
        }
    }
}

impl ConsumerContext for Told {}

impl ProducerContext for Told {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &rdkafka::producer::DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok(), "{result:?}");
    }
}

fn logging(mut config: ClientConfig) -> ClientConfig {
    config.set_log_level(RDKafkaLogLevel::Debug);
    config
}

fn received(consumer: &BaseConsumer<Told>, wanted: usize) -> Vec<(i32, Vec<u8>)> {
    let (mut all, until) = (Vec::new(), Instant::now() + Duration::from_secs(30));
    while all.len() < wanted && Instant::now() < until {
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
            all.push((message.partition(), message.payload().unwrap().to_vec()));
        }
    }
    all
}

#[test]
fn leaders_named_in_answers_are_not_taken_and_messages_come_all_the_same() {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic(TOPIC, PARTITIONS, 2).unwrap();
    let mut settings = Settings::new(cluster.bootstrap_servers());
    settings.extra.insert("debug".into(), "metadata".into());
    let told = Told::default();
    let producer: BaseProducer<Told> =
        logging(settings.gateway_producer()).create_with_context(told.clone()).unwrap();
    let consumer: BaseConsumer<Told> =
        logging(settings.gateway_consumer("g")).create_with_context(told.clone()).unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(TOPIC, partition, Offset::Offset(0)).unwrap();
    }
    consumer.assign(&list).unwrap();

    for round in 0..ROUNDS {
        for partition in 0..PARTITIONS {
            cluster.partition_leader(TOPIC, partition, Some(1 + (round as i32 + partition) % 2)).unwrap();
        }
        for partition in 0..PARTITIONS {
            let text = format!("{partition} {round}");
            let record = BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&text);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        let mut all = received(&consumer, PARTITIONS as usize);
        all.sort();
        let expected: Vec<_> = (0..PARTITIONS).map(|p| (p, format!("{p} {round}").into_bytes())).collect();
        assert_eq!(all, expected, "round {round}");
    }
    let told = told.0.lock().unwrap();
    assert!(told.is_empty(), "{told:?}");
}
