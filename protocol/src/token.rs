//! Bearer tokens (JWT): minting for development, checking everywhere.
//!
//! The clock comes in as a parameter: [`Keys::verify`] compares `exp` with the time it is given.

use crate::ids::decimal;
use crate::{UnixMs, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The keys that tokens are checked with.
#[derive(Clone)]
pub struct Keys {
    hs256: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(***)")
    }
}

/// What a valid token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Who.
    pub user: UserId,
    /// When it stops being valid.
    pub expires_at: UnixMs,
    /// On which device, if it says.
    pub device: Option<String>,
}

/// Why a token was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TokenError {
    /// Not a token of ours: malformed, or the signature does not match.
    #[error("the token is malformed or its signature does not match")]
    Invalid,
    /// No `exp`, or no user.
    #[error("the token lacks {0}")]
    Missing(&'static str),
    /// Past its `exp`.
    #[error("the token has expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<serde_json::Value>,
    exp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
}

impl Keys {
    /// Checks tokens signed by HMAC-SHA256 with `secret`.
    pub fn hs256(secret: &[u8]) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Time is a parameter here; the library would read the clock.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self { hs256: DecodingKey::from_secret(secret), validation }
    }

    /// Checks signature, user and expiry (`exp` in seconds) at `now`.
    pub fn verify(&self, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let wire = jsonwebtoken::decode::<Wire>(token, &self.hs256, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let user = wire.user_id.as_ref().or(wire.sub.as_ref());
        let user = user.and_then(user_of).ok_or(TokenError::Missing("a user (user_id or sub)"))?;
        let exp = wire.exp.ok_or(TokenError::Missing("exp"))?;
        let expires_at = UnixMs(exp.saturating_mul(1000));
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        Ok(Claims { user, expires_at, device: wire.device })
    }
}

/// A user id as a string of digits or as an integer.
fn user_of(value: &serde_json::Value) -> Option<UserId> {
    match value {
        serde_json::Value::String(text) => decimal(text).map(UserId),
        serde_json::Value::Number(number) => number.as_u64().map(UserId),
        _ => None,
    }
}

/// Signs a token for `user` with HMAC-SHA256, valid until `expires_at` (rounded up to seconds).
pub fn mint_hs256(secret: &[u8], user: UserId, device: Option<&str>, expires_at: UnixMs) -> String {
    let wire = Wire {
        user_id: Some(user.to_string().into()),
        sub: None,
        exp: Some(expires_at.0.div_ceil(1000)),
        device: device.map(str::to_owned),
    };
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &wire, &EncodingKey::from_secret(secret))
        .expect("claims of strings and integers always serialize")
}

#[cfg(test)]
mod tests {
    use super::{Claims, Keys, TokenError, mint_hs256};
    use crate::{UnixMs, UserId};

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    #[test]
    fn a_minted_token_verifies_until_it_expires() {
        let token = mint_hs256(b"secret", UserId(7), Some("phone"), UnixMs(NOW.0 + 5_000));
        let keys = Keys::hs256(b"secret");
        let claims =
            Claims { user: UserId(7), expires_at: UnixMs(NOW.0 + 5_000), device: Some("phone".into()) };
        assert_eq!(keys.verify(&token, NOW), Ok(claims));
        assert_eq!(keys.verify(&token, UnixMs(NOW.0 + 5_000)), Err(TokenError::Expired));
        assert_eq!(Keys::hs256(b"other").verify(&token, NOW), Err(TokenError::Invalid));
    }

    #[test]
    fn no_other_algorithm_and_no_altered_token_is_taken() {
        let keys = Keys::hs256(b"secret");
        let token = mint_hs256(b"secret", UserId(7), None, UnixMs(NOW.0 + 5_000));
        // {"alg":"none"} with the same claims and no signature
        let claims = token.split('.').nth(1).unwrap();
        assert_eq!(keys.verify(&format!("eyJhbGciOiJub25lIn0.{claims}."), NOW), Err(TokenError::Invalid));
        for cut in ["", "a.b.c", &token[..token.len() - 2], &token[1..]] {
            assert_eq!(keys.verify(cut, NOW), Err(TokenError::Invalid), "{cut}");
        }
    }

    #[test]
    fn sub_and_integers_name_the_user_too() {
        let keys = Keys::hs256(b"k");
        for claims in [r#"{"sub":"9","exp":1800000001}"#, r#"{"user_id":9,"exp":1800000001}"#] {
            let value: serde_json::Value = serde_json::from_str(claims).unwrap();
            let token = jsonwebtoken::encode(
                &jsonwebtoken::Header::default(),
                &value,
                &jsonwebtoken::EncodingKey::from_secret(b"k"),
            )
            .unwrap();
            assert_eq!(keys.verify(&token, NOW).unwrap().user, UserId(9));
        }
    }
}
