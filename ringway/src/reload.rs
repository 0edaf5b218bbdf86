//! SIGHUP: the keys of tokens are read again. Who is connected stays connected.

use crate::config::{Faults, Flag, Loaded, Sections, Setting, changed};
use engine::gateway::Gateway;
use engine::session::Policy;
use protocol::token::{KeyKind, KeySource, Keys};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// Reads all settings and the keys again.
pub(crate) type Load = Box<dyn Fn() -> Result<(Vec<Setting>, Vec<KeySource>), Faults>>;

/// Reads the settings and keys of a subcommand, as at its start.
pub(crate) fn loader<T: Sections + 'static>(file: Option<PathBuf>, flags: Vec<Flag>) -> Load {
    Box::new(move || {
        let config = Loaded::<T>::load(file.as_deref(), &flags)?;
        let keys = config.keys()?;
        Ok((config.settings, keys))
    })
}

/// The keys in force, and what it takes to read them again.
pub(crate) struct Reload {
    load: Load,
    started_with: Vec<Setting>,
    dev_key: Option<Vec<u8>>,
    origins: Vec<String>,
    /// For the worker's HTTP API; shards get theirs by their inboxes.
    keys: watch::Sender<Keys>,
}

impl Reload {
    /// With the keys of the configuration and, where there is one, the development key.
    pub(crate) fn new(
        load: Load,
        started_with: Vec<Setting>,
        sources: &[KeySource],
        dev_key: Option<&[u8]>,
        origins: Vec<String>,
    ) -> Self {
        if !sources.is_empty() {
            tracing::info!(keys = sources.len(), kids = kids(sources), "tokens are checked with these keys");
        }
        let dev_key = dev_key.map(<[u8]>::to_vec);
        let keys = watch::Sender::new(keys(sources, dev_key.as_deref()));
        Self { load, started_with, dev_key, origins, keys }
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
    pub(crate) fn reload(&self, gateway: Option<&Gateway>) {
        let (settings, sources) = match (self.load)() {
            Ok(read) => read,
            Err(faults) => {
                return tracing::error!(reason = %faults, "SIGHUP: the keys of tokens stay as they were");
            }
        };
        self.keys.send_replace(keys(&sources, self.dev_key.as_deref()));
        if let Some(Err(untold)) = gateway.map(|gateway| gateway.set_policy(&self.policy())) {
            tracing::error!(%untold, "SIGHUP: these still check tokens with the keys from before; send it again");
        }
        tracing::info!(
            keys = sources.len(),
            kids = kids(&sources),
            dev_key = self.dev_key.is_some(),
            "SIGHUP: tokens are checked with these keys"
        );
        let mut others = changed(&settings, &self.started_with);
        others.retain(|key| *key != "auth.keys");
        if !others.is_empty() {
            tracing::warn!(
                settings = others.join(", "),
                "SIGHUP: these have changed, too: they need a restart"
            );
        }
    }
}

fn keys(sources: &[KeySource], dev_key: Option<&[u8]>) -> Keys {
    let dev = dev_key.map(|key| KeySource { kind: KeyKind::HS256, kid: None, material: key.to_vec() });
    let all: Vec<_> = sources.iter().cloned().chain(dev).collect();
    Keys::new(&all).expect("each was judged when it was read")
}

fn kids(sources: &[KeySource]) -> String {
    let kid = |source: &KeySource| source.kid.clone().unwrap_or_else(|| "(none)".to_owned());
    sources.iter().map(kid).collect::<Vec<_>>().join(", ")
}
