//! The configuration of `ringway gateway`: the sections it reads, and `[gateway]`.

use super::auth::Auth;
use super::dev::ORIGINS_MAX;
use super::engine::Engine;
use super::kafka::Kafka;
use super::kind::{Address, List, Origin, Text};
use super::limits::Limits;
use super::loaded::Sections;
use super::reader::Reader;
use super::redis::Redis;
use protocol::GatewayId;
use std::net::{Ipv4Addr, SocketAddr};

/// What `ringway gateway` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) origins: Vec<String>,
    pub(crate) id: GatewayId,
    pub(crate) auth: Auth,
    pub(crate) engine: Engine,
    pub(crate) kafka: Kafka,
    pub(crate) limits: Limits,
    pub(crate) redis: Redis,
}

impl Sections for Gateway {
    fn read(reader: &mut Reader<'_>) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let name = Text {
            what: "a name of 1 to 31 letters, digits, - and _",
            good: |id| GatewayId::new(id).is_ok(),
        };
        Self {
            listen: reader.key("listen", Address, local(8080)),
            admin: reader.key("admin", Address, local(8082)),
            origins: reader.key("origins", List(Origin, ORIGINS_MAX), Vec::new()),
            auth: Auth::read(reader),
            engine: Engine::read(reader),
            id: GatewayId::new(&reader.key("gateway.id", name, "gateway-1".into())).expect("judged above"),
            kafka: Kafka::read(reader),
            limits: Limits::read(reader),
            redis: Redis::read(reader),
        }
    }

    fn auth(&self) -> &Auth {
        &self.auth
    }
}
