//! `ringway logic new-epoch`: the store goes on from a new log, of as many partitions as it has.

use crate::worker::Config;
use anyhow::{Context, Result, bail};
use bus::kafka::admin::{Log, ensure_shared, upstream_logs};
use logic::store::mysql::MySqlConfig;
use logic::store::{Backend, Partition, StoreError};
use tokio::runtime::Builder;

/// Tells how store and log stand; with `yes` raises the epoch, and has every partition go on at the
/// oldest record of the log there is now: what gateways have put into it already is persisted, and
/// what was persisted before is found by its client's id.
pub(crate) fn run(config: &Config, yes: bool) -> Result<()> {
    let kafka = &config.kafka.0;
    let store = MySqlConfig::new(&config.mysql.url)?;
    let logs = upstream_logs(kafka, ensure_shared(kafka)?)?;
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot make a runtime")?;
    runtime.block_on(async {
        match store.prepare(kafka.upstream_partitions).await {
            // The number is what may be changed here.
            Ok(()) | Err(StoreError::Partitions { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let before = store.open_store().await?.partitions().await?;
        let epoch = before.iter().map(|partition| partition.epoch).max().unwrap_or(0);
        tell(&before, epoch, &logs);
        if before.len() != logs.len() && is_continued_by(&before, &logs) {
            bail!(
                "nothing was changed: {} seems to be the log that the store has been taking from, grown in place, \
                 and the messages of a conversation would be in two partitions. When everything is persisted \
                 delete the topic, and run this again (docs/operations.md, Growing)",
                kafka.upstream_topic()
            );
        }
        if !yes {
            bail!(
                "nothing was changed. Stop all workers (and all gateways, if the number of partitions changes), \
                 see that the log is really lost, or that everything in the old one was persisted, then run it \
                 again with --yes: every partition goes on from the oldest record of this log"
            );
        }
        let oldest: Vec<u64> = logs.iter().map(|log| log.low).collect();
        store.new_epoch(&oldest).await?;
        println!("epoch {} begins, with {} partitions; start the workers", u32::from(epoch) + 1, oldest.len());
        Ok(())
    })
}

fn tell(store: &[Partition], epoch: u8, logs: &[Log]) {
    let recorded: u64 = store.iter().map(|partition| partition.next_offset).sum();
    println!(
        "the store: {} partitions, epoch {epoch}, {recorded} records persisted from its log so far",
        store.len()
    );
    let held: u64 = logs.iter().map(|log| log.high - log.low).sum();
    println!("the log there is now: {} partitions, {held} records", logs.len());
    if is_continued_by(store, logs) {
        match left(store, logs) {
            0 => println!("it seems to be the store's own; if so, all of it is persisted"),
            left => {
                println!("it seems to be the store's own; if so, {left} records of it are not persisted yet")
            }
        }
    } else if held > 0 {
        println!("it is not the one that the store knows: all of its records will be persisted");
    }
}

/// Whether this may be the log that the store has taken records from: it holds all that comes next, and
/// some of what was persisted. A topic never loses partitions. A new log with many records may look so,
/// too; one that no gateway has written to does not.
fn is_continued_by(store: &[Partition], logs: &[Log]) -> bool {
    let pairs = || store.iter().zip(logs);
    logs.len() >= store.len()
        && pairs().all(|(partition, log)| (log.low..=log.high).contains(&partition.next_offset))
        && pairs().any(|(partition, log)| partition.next_offset > log.low)
}

/// Records that are not persisted, of the store's own log.
fn left(store: &[Partition], logs: &[Log]) -> u64 {
    let persisted = store.iter().map(|partition| partition.next_offset).chain(std::iter::repeat(0));
    logs.iter().zip(persisted).map(|(log, next)| log.high - next.max(log.low)).sum()
}

#[cfg(test)]
mod tests {
    use super::{is_continued_by, left};
    use bus::kafka::admin::Log;
    use logic::store::Partition;

    fn store(next_offsets: &[u64]) -> Vec<Partition> {
        next_offsets.iter().map(|next| Partition { epoch: 1, next_offset: *next, version: 0 }).collect()
    }

    fn logs(bounds: &[(u64, u64)]) -> Vec<Log> {
        bounds.iter().map(|(low, high)| Log { low: *low, high: *high }).collect()
    }

    #[test]
    fn a_log_that_holds_what_comes_next_is_the_stores_own() {
        let own = logs(&[(2, 7), (0, 3)]);
        assert!(is_continued_by(&store(&[5, 3]), &own));
        assert_eq!(left(&store(&[5, 3]), &own), 2);
        assert_eq!(left(&store(&[7, 3]), &own), 0);
        let grown_in_place = logs(&[(2, 7), (0, 3), (0, 4)]);
        assert!(is_continued_by(&store(&[7, 3]), &grown_in_place));
        assert_eq!(left(&store(&[7, 3]), &grown_in_place), 4);
    }

    #[test]
    fn a_log_that_ends_before_or_begins_after_what_comes_next_is_another() {
        for new in [
            &[(0, 0), (0, 0)][..],
            &[(0, 9), (0, 2)],
            &[(6, 9), (0, 3)],
            &[(0, 1), (0, 1), (0, 1)],
            &[(0, 9)],
        ] {
            assert!(!is_continued_by(&store(&[5, 3]), &logs(new)), "{new:?}");
        }
        assert!(!is_continued_by(&store(&[0, 0]), &logs(&[(0, 4), (0, 4)])), "nothing was ever taken");
    }
}
