//! What a run is told.

use crate::dial::{Target, check_source};
use crate::peer::{Language, Protocol, Shape};
use crate::progress::Progress;
use crate::scenario::Scenario;
use crate::store::Place;
use crate::threshold::Threshold;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where the ledger goes, unless told.
const LEDGER: &str = "ringway-load.ledger";
/// Users of a room, unless told.
const ROOM_USERS: u64 = 10;

/// A user and its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Who.
    pub id: u64,
    /// What it connects with.
    pub token: String,
}

/// What a run is told.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the run is to be.
    pub scenario: Scenario,
    /// The servers; users are spread over them in turn.
    pub targets: Vec<Target>,
    /// What they are spoken to in.
    pub protocol: Protocol,
    /// Users of a room, where the protocol has rooms.
    pub room_size: u64,
    /// The users, a connection each.
    pub users: Vec<User>,
    /// Host and port of the HTTP API, for groups.
    pub api: String,
    /// What senders and conversations are drawn from.
    pub seed: u64,
    /// Where the ledger goes.
    pub ledger: PathBuf,
    /// Source addresses on loopback; 0 takes as many as are needed.
    pub source_addresses: u8,
    /// Or the addresses to connect from, in turn.
    pub sources: Vec<IpAddr>,
    /// Rings, each with a thread and a table of sockets; 0 takes as many as are needed.
    pub shards: usize,
    /// The cores that they are pinned to, in turn; empty: not pinned.
    pub cores: Vec<usize>,
    /// The server's processes, whose CPU time and memory are measured.
    pub server_pids: Vec<u32>,
    /// Hosts and ports where the servers' `/metrics` are.
    pub admins: Vec<String>,
    /// What must hold at the end, beside what the scenario says.
    pub thresholds: Vec<Threshold>,
    /// Where histograms go, second by second.
    pub histograms: Option<PathBuf>,
    /// The store that the servers write to, to be read at the end.
    pub store: Option<Place>,
    /// How it shows how far it is.
    pub progress: Progress,
}

impl Options {
    /// A run of that scenario by these users, one for each of its connections, with these servers. Nothing
    /// else is asked for: it measures no server, keeps nothing but the ledger, and shows nothing.
    pub fn new(scenario: Scenario, targets: Vec<Target>, users: Vec<User>) -> Self {
        Self {
            scenario,
            targets,
            users,
            protocol: Protocol::Ringway,
            room_size: ROOM_USERS,
            api: String::new(),
            seed: 1,
            ledger: LEDGER.into(),
            source_addresses: 0,
            sources: vec![],
            shards: 0,
            cores: vec![],
            server_pids: vec![],
            admins: vec![],
            thresholds: vec![],
            histograms: None,
            store: None,
            progress: Progress::None,
        }
    }

    /// Checks what one option alone can't.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.scenario.check()?;
        if self.targets.is_empty() {
            return Err("expected at least one target".to_owned());
        }
        self.sources.iter().try_for_each(|source| check_source(*source))?;
        let (users, needed) = (self.users.len() as u64, self.scenario.connections_max());
        if users != needed {
            return Err(format!("{needed} connections need a user each, got {users}"));
        }
        match self.protocol {
            Protocol::Ringway => Ok(()),
            Protocol::Peer(language, _) => self.check_peer(language),
        }
    }

    fn check_peer(&self, language: Language) -> Result<(), String> {
        let (protocol, size, users) = (self.protocol, self.room_users(), self.users.len() as u64);
        let mix = &self.scenario.mix;
        if mix.group + mix.world + mix.typing + mix.mark_read + mix.sync > 0 {
            return Err(format!(
                "mix: --protocol {protocol} has nothing but messages: expected single alone"
            ));
        }
        if size == 0 || users % size != 0 {
            return Err(format!(
                "--protocol {protocol}: expected connections that make whole rooms of {size}, got {users}"
            ));
        }
        if language == Language::Loopback && self.users.iter().zip(1..).any(|(user, id)| user.id != id) {
            return Err(format!("--protocol {protocol}: expected tokens of the users 1, 2, 3 …, in order"));
        }
        Ok(())
    }

    /// Users of a peer's room.
    pub(crate) fn room_users(&self) -> u64 {
        match self.protocol {
            Protocol::Peer(_, Shape::Echo) => 1,
            Protocol::Peer(_, Shape::Room) => self.room_size,
            Protocol::Peer(_, Shape::Relay) | Protocol::Ringway => 2,
        }
    }
}

/// Reads the users out of tokens, without a check of the signatures: that is the server's.
pub fn users_of_tokens<'a>(tokens: impl Iterator<Item = &'a str>) -> Result<Vec<User>, String> {
    let mut seen = std::collections::HashSet::new();
    tokens
        .enumerate()
        .map(|(index, token)| {
            let line = index + 1;
            let id =
                user_of(token).ok_or_else(|| format!("line {line} is no token with a user: {token:.20}"))?;
            if !seen.insert(id) {
                return Err(format!("line {line} is a second token of user {id}: expected one a user"));
            }
            Ok(User { id, token: token.to_owned() })
        })
        .collect()
}

fn user_of(token: &str) -> Option<u64> {
    use base64::Engine;
    let claims = token.split('.').nth(1)?;
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let user = claims.get("user_id").or_else(|| claims.get("sub"))?;
    user.as_u64().or_else(|| user.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::users_of_tokens;
    use protocol::token::mint_hs256;
    use protocol::{UnixMs, UserId};

    #[test]
    fn tokens_name_their_users() {
        let token = |user| mint_hs256(b"k", UserId(user), None, UnixMs(1));
        let tokens = [token(7), token(u64::MAX)];
        let users = users_of_tokens(tokens.iter().map(String::as_str)).unwrap();
        assert_eq!(users.iter().map(|user| user.id).collect::<Vec<_>>(), [7, u64::MAX]);
        let twice = [token(7), token(7)];
        assert!(users_of_tokens(twice.iter().map(String::as_str)).unwrap_err().contains("second"));
        assert!(users_of_tokens(["x.y.z"].into_iter()).unwrap_err().contains("line 1"));
    }
}
