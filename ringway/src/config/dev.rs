//! The configuration of `ringway dev`: the sections it reads.

use super::auth::Auth;
use super::engine::Engine;
use super::kind::{Address, Directory, List, Origin};
use super::limits::{Limits, world};
use super::loaded::Sections;
use super::logic::Logic;
use super::reader::Reader;
use super::store::Store;
use logic::decide::WorldRates;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Origins that may be listed.
pub(super) const ORIGINS_MAX: usize = 100;

/// What `ringway dev` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Dev {
    pub(crate) listen: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) origins: Vec<String>,
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) logic: Logic,
    pub(crate) limits: Limits,
    pub(crate) world: WorldRates,
    pub(crate) auth: Auth,
}

impl Sections for Dev {
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
            world: world(reader),
            logic: Logic::read(reader),
            store: Store::read(reader),
        }
    }

    fn auth(&self) -> &Auth {
        &self.auth
    }
}
