//! Settings: default < file (TOML) < environment (`RINGWAY_ENGINE__SHARDS`) < flag. All of it is read
//! and judged before a port is bound, and everything that is wrong is told at once.
//!
//! A setting is one line where its section reads it (`engine.rs`, `limits.rs` …): its key, what it
//! may hold, its default. From those lines come the checks, `--print-config` and the test that holds
//! docs/configuration.md to the code. A section is a struct in a file of its own with a `read`; a
//! subcommand's configuration is the sections it reads (`dev.rs`).

mod auth;
mod dev;
#[cfg(test)]
mod docs;
mod engine;
mod environment;
mod fault;
mod file;
mod gateway;
mod kafka;
mod kind;
mod limits;
mod loaded;
mod logic;
mod mysql;
mod print;
mod reader;
mod redis;
mod store;
mod worker;

pub(crate) use dev::Dev;
pub(crate) use fault::Faults;
pub(crate) use gateway::Gateway;
pub(crate) use loaded::{Loaded, Sections, changed};
pub(crate) use print::print;
pub(crate) use reader::{Flag, Setting};
pub(crate) use worker::Worker;

/// The configuration of `ringway dev`.
pub(crate) type Config = Loaded<Dev>;
