//! `[redis]`: the directory of routes and the hot set.

use super::kind::{Text, Url};
use super::reader::Reader;
use bus::directory::redis::Settings;

/// The directory of routes and the hot set.
#[derive(Debug, Clone)]
pub(crate) struct Redis(pub(crate) Settings);

impl Redis {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let prefix = Text {
            what: "up to 64 printable characters without spaces",
            good: |text| text.len() <= 64 && text.bytes().all(|b| b.is_ascii_graphic()),
        };
        let url = reader.key("redis.url", Url("redis"), "redis://127.0.0.1:6379".into());
        Self(Settings { prefix: reader.key("redis.key_prefix", prefix, String::new()), ..Settings::new(url) })
    }
}
