//! Settings: defaults, then the file, then the flags. All of it is read before a port is bound.

use crate::cli::{self, Dev};
use anyhow::{Context, Result, bail};
use logic::decide::WorldRates;
use logic::store::sqlite::Synchronous;
use protocol::{Limits, Rate, SessionPolicy};
use serde::{Deserialize, Deserializer};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Shards at most: the partition of a downstream topic is a u16, and no machine has more cores.
const SHARDS_MAX: u16 = 1_024;

/// What `ringway dev` runs with.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) shards: u16,
    pub(crate) cores: Vec<usize>,
    pub(crate) origins: Vec<String>,
    pub(crate) synchronous: Synchronous,
    pub(crate) limits: Limits,
    pub(crate) world: WorldRates,
}

/// The file. Unknown keys are refused with their place.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    listen: Option<SocketAddr>,
    http: Option<SocketAddr>,
    admin: Option<SocketAddr>,
    data: Option<PathBuf>,
    origins: Vec<String>,
    engine: Engine,
    store: Store,
    limits: LimitsFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Engine {
    shards: Option<u16>,
    cores: Option<Vec<usize>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Store {
    synchronous: Option<SynchronousFile>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SynchronousFile {
    Full,
    Normal,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    connections_max: Option<usize>,
    headroom: Option<usize>,
    handshake: Option<Time>,
    heartbeat: Option<Time>,
    egress_bytes_max: Option<usize>,
    close_grace: Option<Time>,
    sessions_per_user_max: Option<usize>,
    session_policy: Option<SessionPolicy>,
    memory_bytes_max: Option<usize>,
    commands_per_second: Option<u32>,
    commands_burst: Option<u32>,
    connections_per_second: Option<u32>,
    world_user_per_second: Option<u32>,
    world_user_burst: Option<u32>,
    world_per_second: Option<u32>,
    world_burst: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Time(Duration);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        cli::duration(&text).map(Time).map_err(serde::de::Error::custom)
    }
}

impl Config {
    /// Reads and checks everything.
    pub(crate) fn load(args: &Dev) -> Result<Self> {
        let file = match &args.config {
            None => File::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("{} is not a valid configuration", path.display()))?
            }
        };
        let config = Self::merge(args, file);
        config.check()?;
        Ok(config)
    }

    fn merge(args: &Dev, file: File) -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let cores = engine::executor::cores_available();
        let synchronous = match file.store.synchronous {
            Some(SynchronousFile::Normal) => Synchronous::Normal,
            Some(SynchronousFile::Full) | None => Synchronous::Full,
        };
        Self {
            listen: args.listen.or(file.listen).unwrap_or(local(8080)),
            http: args.http.or(file.http).unwrap_or(local(8081)),
            admin: args.admin.or(file.admin).unwrap_or(local(8082)),
            data: args.data.clone().or(file.data).unwrap_or_else(|| "./data".into()),
            shards: args.shards.or(file.engine.shards).unwrap_or_else(|| cores.min(SHARDS_MAX.into()) as u16),
            cores: args.cores.clone().or(file.engine.cores).unwrap_or_default(),
            origins: file.origins,
            synchronous,
            world: WorldRates {
                user: rate(
                    file.limits.world_user_per_second,
                    file.limits.world_user_burst,
                    WorldRates::default().user,
                ),
                all: rate(file.limits.world_per_second, file.limits.world_burst, WorldRates::default().all),
            },
            limits: limits(args, &file.limits),
        }
    }

    fn check(&self) -> Result<()> {
        let limits = &self.limits;
        in_range("shards", self.shards.into(), 1, SHARDS_MAX.into())?;
        in_range("connections_max", limits.connections_max, 1, 1 << 20)?;
        in_range("headroom", limits.headroom, 1, 1 << 20)?;
        in_range("egress_bytes_max", limits.egress_bytes_max, limits.message_bytes_max, 1 << 30)?;
        in_range("memory_bytes_max", limits.memory_bytes_max, limits.egress_bytes_max, 1 << 36)?;
        in_range("commands_burst", limits.user_rate.burst as usize, 1, 1 << 20)?;
        in_range("world_user_burst", self.world.user.burst as usize, 1, 1 << 20)?;
        in_range("world_burst", self.world.all.burst as usize, 1, 1 << 20)?;
        in_range("sessions_per_user_max", limits.sessions_per_user_max, 1, 1_000)?;
        in_range("handshake (seconds)", limits.handshake.as_secs() as usize, 1, 60)?;
        in_range("heartbeat (seconds)", limits.heartbeat.as_secs() as usize, 1, 3_600)?;
        in_range("close_grace (seconds)", limits.close_grace.as_secs() as usize, 1, 60)
    }
}

fn limits(args: &Dev, file: &LimitsFile) -> Limits {
    let default = Limits::default();
    let time = |time: Option<Time>, default| time.map_or(default, |time| time.0);
    Limits {
        connections_max: args.connections_max.or(file.connections_max).unwrap_or(default.connections_max),
        headroom: file.headroom.unwrap_or(default.headroom),
        handshake: time(file.handshake, default.handshake),
        heartbeat: time(file.heartbeat, default.heartbeat),
        egress_bytes_max: file.egress_bytes_max.unwrap_or(default.egress_bytes_max),
        close_grace: time(file.close_grace, default.close_grace),
        sessions_per_user_max: file.sessions_per_user_max.unwrap_or(default.sessions_per_user_max),
        session_policy: file.session_policy.unwrap_or(default.session_policy),
        memory_bytes_max: file.memory_bytes_max.unwrap_or(default.memory_bytes_max),
        user_rate: rate(file.commands_per_second, file.commands_burst, default.user_rate),
        address_rate: rate(file.connections_per_second, file.connections_per_second, default.address_rate),
        ..default
    }
}

/// A rate from its keys; 0 a second is no limit.
fn rate(per_second: Option<u32>, burst: Option<u32>, default: Rate) -> Rate {
    Rate::new(per_second.unwrap_or(default.per_second), burst.unwrap_or(default.burst))
}

fn in_range(name: &str, value: usize, min: usize, max: usize) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    bail!("{name} must be between {min} and {max}, got {value}")
}

#[cfg(test)]
mod tests {
    use super::{Config, Dev};
    use std::io::Write;

    fn load(text: &str, args: Dev) -> Result<Config, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Config::load(&Dev { config: Some(file.path().into()), ..args }).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
        let text = "[limits]\nconnections_max = 5\nheartbeat = \"10s\"\n[engine]\nshards = 3";
        let config = load(text, Dev { connections_max: Some(7), ..Dev::default() }).unwrap();
        assert_eq!((config.limits.connections_max, config.shards), (7, 3));
        assert_eq!(config.limits.heartbeat.as_secs(), 10);
        assert_eq!(config.limits.headroom, 1_000);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_or_its_range() {
        let error =
            load("listen = \"127.0.0.1:1\"\n[limits]\nconection_max = 5", Dev::default()).unwrap_err();
        assert!(error.contains("line 3, column 1") && error.contains("conection_max"), "{error}");
        let error = load("[limits]\nheartbeat = 10", Dev::default()).unwrap_err();
        assert!(error.contains("line 2"), "{error}");
        let error = load("[engine]\nshards = 0", Dev::default()).unwrap_err();
        assert!(error.contains("shards must be between 1 and 1024, got 0"), "{error}");
    }
}
