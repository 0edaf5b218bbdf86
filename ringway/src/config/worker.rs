//! The configuration of `ringway logic`: the sections it reads.

use super::auth::Auth;
use super::dev::ORIGINS_MAX;
use super::kafka::Kafka;
use super::kind::{Address, List, Origin, Text};
use super::limits::world;
use super::loaded::Sections;
use super::logic::Logic;
use super::mysql::MySql;
use super::reader::Reader;
use super::redis::Redis;
use logic::decide::WorldRates;
use std::net::{Ipv4Addr, SocketAddr};

/// What `ringway logic` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Worker {
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) origins: Vec<String>,
    pub(crate) socket_url: String,
    pub(crate) auth: Auth,
    pub(crate) kafka: Kafka,
    pub(crate) world: WorldRates,
    pub(crate) logic: Logic,
    pub(crate) mysql: MySql,
    pub(crate) redis: Redis,
}

impl Sections for Worker {
    fn read(reader: &mut Reader<'_>) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = Text {
            what: "a URL such as \"wss://chat.example/ws\"; {host} stands for the host that the page came from",
            good: |url| url.starts_with("ws://") || url.starts_with("wss://"),
        };
        Self {
            http: reader.key("http", Address, local(8081)),
            admin: reader.key("admin", Address, local(8083)),
            origins: reader.key("origins", List(Origin, ORIGINS_MAX), Vec::new()),
            socket_url: reader.key("socket_url", socket, "ws://{host}:8080/ws".into()),
            auth: Auth::read(reader),
            kafka: Kafka::read(reader),
            world: world(reader),
            logic: Logic::read(reader),
            mysql: MySql::read(reader),
            redis: Redis::read(reader),
        }
    }

    fn auth(&self) -> &Auth {
        &self.auth
    }
}
