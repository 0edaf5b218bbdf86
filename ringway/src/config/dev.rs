//! The configuration of `ringway dev`: the sections it reads.

use super::auth::Auth;
use super::engine::Engine;
use super::environment::Environment;
use super::fault::Faults;
use super::file::{self, File};
use super::kind::{Address, Directory, List, Origin};
use super::limits::Limits;
use super::logic::Logic;
use super::reader::{Flag, Reader, Setting};
use super::store::Store;
use crate::cli::Dev;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// Origins that may be listed.
const ORIGINS_MAX: usize = 100;

/// What `ringway dev` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) origins: Vec<String>,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) logic: Logic,
    pub(crate) limits: Limits,
    pub(crate) auth: Auth,
    /// All of the above, one by one, with where each comes from.
    pub(crate) settings: Vec<Setting>,
}

impl Config {
    /// Reads and judges everything, but for the keys that `auth` names.
    pub(crate) fn load(args: &Dev) -> Result<Self, Faults> {
        Self::of(args.config.as_deref(), &Environment::of_process(), &args.flags())
    }

    pub(super) fn of(file: Option<&Path>, environment: &Environment, flags: &[Flag]) -> Result<Self, Faults> {
        let text = file.map(file::text).transpose()?.unwrap_or_default();
        let file = file.map(|path| File::parse(path, &text)).transpose()?;
        let mut reader = Reader::new(file.as_ref(), environment, flags);
        let mut config = Self::read(&mut reader);
        config.settings = reader.finish(&config.auth.variables())?;
        Ok(config)
    }

    /// The keys of the settings that have another value than in `other`.
    pub(crate) fn changed_since(&self, other: &Self) -> impl Iterator<Item = &'static str> {
        let pairs = self.settings.iter().zip(&other.settings);
        pairs.filter(|(now, then)| now.value != then.value).map(|(now, _)| now.key)
    }

    /// What stands outside of sections comes first, as in a file.
    fn read(reader: &mut Reader<'_>) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            listen: reader.key("listen", Address, local(8080)),
            http: reader.key("http", Address, local(8081)),
            admin: reader.key("admin", Address, local(8082)),
            data: reader.key("data", Directory, "./data".into()),
            origins: reader.key("origins", List(Origin, ORIGINS_MAX), Vec::new()),
            auth: Auth::read(reader),
            engine: Engine::read(reader),
            limits: Limits::read(reader),
            logic: Logic::read(reader),
            store: Store::read(reader),
            settings: Vec::new(),
        }
    }
}
