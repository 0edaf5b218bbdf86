//! `[mysql]`: the store of separate processes.

use super::kind::{Number, Url};
use super::reader::Reader;
use protocol::limits::{BATCH_INTERVAL_MS_MAX, WORKER_BATCH_INTERVAL_MS};
use std::time::Duration;

/// The store of separate processes.
#[derive(Debug, Clone)]
pub(crate) struct MySql {
    pub(crate) url: String,
    pub(crate) batch_interval: Duration,
}

impl MySql {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let interval = Number(0..=BATCH_INTERVAL_MS_MAX);
        let interval = reader.key("mysql.batch_interval_ms", interval, WORKER_BATCH_INTERVAL_MS);
        Self {
            url: reader.key("mysql.url", Url("mysql"), "mysql://root@127.0.0.1:3306/ringway".into()),
            batch_interval: Duration::from_millis(interval),
        }
    }
}
