//! SIGHUP: the keys of tokens are read again. Who is connected stays connected.

use crate::cli;
use crate::config::{Config, Faults};
use engine::gateway::Gateway;
use engine::session::Policy;
use protocol::token::{KeyKind, KeySource, Keys};
use std::sync::Arc;
use tokio::sync::watch;

/// The keys in force, and what it takes to read them again.
pub(crate) struct Reload {
    args: cli::Dev,
    started_with: Config,
    dev_key: Vec<u8>,
    origins: Vec<String>,
    /// For the worker's HTTP API; shards get theirs by their inboxes.
    keys: watch::Sender<Keys>,
}

impl Reload {
    /// With the keys of the configuration and, beside them, the development key.
    pub(crate) fn new(
        args: &cli::Dev,
        config: &Config,
        sources: &[KeySource],
        dev_key: &[u8],
        origins: Vec<String>,
    ) -> Self {
        if !sources.is_empty() {
            tracing::info!(
                keys = sources.len(),
                kids = kids(sources),
                "tokens are checked with these keys, too"
            );
        }
        Self {
            args: args.clone(),
            started_with: config.clone(),
            dev_key: dev_key.to_vec(),
            origins,
            keys: watch::Sender::new(keys(sources, dev_key)),
        }
    }

    /// The keys, as they are from time to time.
    pub(crate) fn keys(&self) -> watch::Receiver<Keys> {
        self.keys.subscribe()
    }

    /// Who may connect, by the keys in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::new(Policy { keys: Some(self.keys.borrow().clone()), origins: self.origins.clone() })
    }

    /// Reads the keys again; what can't be read leaves the old ones in force.
    pub(crate) fn reload(&self, gateway: &Gateway) {
        let (config, sources) = match self.read() {
            Ok(read) => read,
            Err(faults) => {
                return tracing::error!(reason = %faults, "SIGHUP: the keys of tokens stay as they were");
            }
        };
        self.keys.send_replace(keys(&sources, &self.dev_key));
        gateway.set_policy(&self.policy());
        tracing::info!(
            keys = sources.len(),
            kids = kids(&sources),
            "SIGHUP: tokens are checked with these keys, and with the development key"
        );
        let others: Vec<_> =
            config.changed_since(&self.started_with).filter(|key| *key != "auth.keys").collect();
        if !others.is_empty() {
            tracing::warn!(
                settings = others.join(", "),
                "SIGHUP: these have changed, too: they need a restart"
            );
        }
    }

    fn read(&self) -> Result<(Config, Vec<KeySource>), Faults> {
        let config = Config::load(&self.args)?;
        let sources = config.auth.sources()?;
        Ok((config, sources))
    }
}

fn keys(sources: &[KeySource], dev_key: &[u8]) -> Keys {
    let dev = KeySource { kind: KeyKind::HS256, kid: None, material: dev_key.to_vec() };
    let all: Vec<_> = sources.iter().cloned().chain([dev]).collect();
    Keys::new(&all).expect("each was judged when it was read")
}

fn kids(sources: &[KeySource]) -> String {
    let kid = |source: &KeySource| source.kid.clone().unwrap_or_else(|| "(none)".to_owned());
    sources.iter().map(kid).collect::<Vec<_>>().join(", ")
}
