//! The directory in Redis: routes of every gateway, and the leases that say which gateways live.
//!
//! Keys, each behind the configured prefix: `user_session:{user}` a hash, session id → when it was
//! opened and on which device; `gateway:{id}` a lease, boot epoch and shards; `gateways` the sorted
//! set of gateway ids by when their lease ends. Nothing here that can't be rebuilt.

pub(crate) mod connection;
mod lease;
mod reader;
mod registrar;
mod routes;
mod table;

pub use lease::{LEASE_MS, LeaseError};
pub use reader::RedisDirectory;
pub use registrar::{Kicks, Registrar, RegistrarConfig, RegistrarError, RegistrarStats};
pub use routes::{Assertion, RedisRoutes, RouteWrite};

use protocol::{GatewayId, UserId};
use std::fmt;
use std::time::Duration;

/// How Redis is reached.
#[derive(Clone)]
pub struct Settings {
    /// `redis://…`; may hold a password.
    pub url: String,
    /// Before every key.
    pub prefix: String,
    /// For connecting, and for an answer.
    pub timeout: Duration,
}

impl Settings {
    /// No prefix, and a second for each answer.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), prefix: String::new(), timeout: Duration::from_secs(1) }
    }

    pub(crate) fn routes_key(&self, user: UserId) -> String {
        format!("{}user_session:{user}", self.prefix)
    }

    pub(crate) fn lease_key(&self, gateway: GatewayId) -> String {
        format!("{}gateway:{gateway}", self.prefix)
    }

    pub(crate) fn gateways_key(&self) -> String {
        format!("{}gateways", self.prefix)
    }
}

impl fmt::Debug for Settings {
    /// Without the URL's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.url.rsplit_once('@').map_or(self.url.as_str(), |(_, host)| host);
        f.debug_struct("Settings").field("host", &host).field("prefix", &self.prefix).finish_non_exhaustive()
    }
}
