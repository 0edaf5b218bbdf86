//! What a run is told.

use crate::dial::Target;
use std::path::PathBuf;
use std::time::Duration;

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
    /// The servers; users are spread over them in turn.
    pub targets: Vec<Target>,
    /// The users, a connection each.
    pub users: Vec<User>,
    /// Messages a second, over all users.
    pub rate: u64,
    /// How long messages go out and are measured.
    pub duration: Duration,
    /// How long messages go out before that.
    pub warmup: Duration,
    /// Host and port of the HTTP API, for groups.
    pub api: String,
    /// Groups to make.
    pub groups: usize,
    /// Members of each.
    pub group_size: usize,
    /// Bytes of a message's content.
    pub payload_bytes: usize,
    /// What senders and conversations are drawn from.
    pub seed: u64,
    /// Where the ledger goes.
    pub ledger: PathBuf,
    /// Whether a connection that is lost is made again.
    pub reconnect: bool,
    /// Whether a session may be told of a message again: counted, and no fault.
    pub at_least_once: bool,
    /// Source addresses on loopback; 0 takes as many as are needed.
    pub source_addresses: u8,
}

/// Characters of a message at most: the protocol's limit.
const PAYLOAD_BYTES_MAX: usize = 5_000;

impl Options {
    /// Checks what one option alone can't.
    pub(crate) fn check(&self) -> Result<(), String> {
        let users = self.users.len();
        if users == 0 || self.targets.is_empty() {
            return Err("expected at least one connection and one target".to_owned());
        }
        if self.groups == 0 && users < 2 {
            return Err("one user has nobody to write to: expected --connections 2 or more".to_owned());
        }
        if self.groups > 0 && !(2..=users).contains(&self.group_size) {
            return Err(format!(
                "expected --group-size from 2 to the {users} connections, got {}",
                self.group_size
            ));
        }
        if self.rate == 0 || self.rate > 1_000_000 {
            return Err(format!("expected a --rate from 1 to 1000000, got {}", self.rate));
        }
        if self.payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(format!(
                "expected a --payload of at most {PAYLOAD_BYTES_MAX}, got {}",
                self.payload_bytes
            ));
        }
        Ok(())
    }

    /// Messages that the schedule has.
    pub(crate) fn messages(&self) -> u64 {
        ((self.warmup + self.duration).as_millis() as u64).saturating_mul(self.rate) / 1_000
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
