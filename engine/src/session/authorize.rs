//! Who may connect: the token and the page that a request comes with.

use super::{Refusal, Upgrade};
use protocol::limits::TOKEN_BYTES_MAX;
use protocol::token::{Claims, Keys};
use protocol::{UnixMs, UserId};

/// Who may connect.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// The keys of tokens. None lets everybody in, as `?user=N`: for tests and benches only.
    pub keys: Option<Keys>,
    /// Origins of pages that may connect, such as `https://chat.example`.
    pub origins: Vec<String>,
}

/// Checks a request at `now`. One without an `Origin` does not come from a page and is let in.
pub fn authorize(upgrade: &Upgrade, policy: &Policy, now: UnixMs) -> Result<Claims, Refusal> {
    if let Some(origin) = &upgrade.origin
        && policy.keys.is_some()
        && !policy.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin))
    {
        return Err(Refusal::forbidden(
            "pages of this origin may not connect: list it in `origins` to allow it",
        ));
    }
    let Some(keys) = &policy.keys else {
        let user = UserId(upgrade.user_hint.unwrap_or(0));
        return Ok(Claims { user, expires_at: UnixMs(u64::MAX), device: None });
    };
    let Some(token) = upgrade.token.as_deref().filter(|token| !token.is_empty()) else {
        return Err(Refusal::unauthorized(
            "a token is missing: give it as ?token=, as Authorization: Bearer, or as the subprotocols ringway.v1, \
             bearer.<token>",
        ));
    };
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::unauthorized(format!("the token is longer than {TOKEN_BYTES_MAX} bytes")));
    }
    keys.verify(token, now).map_err(|error| Refusal::unauthorized(error.to_string()))
}
