//! Bearer tokens (JWT): minting for development, checking everywhere.
//!
//! The clock comes in as a parameter: [`Keys::verify`] compares `exp` with the time it is given.

use crate::ids::decimal;
use crate::{UnixMs, UserId};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use thiserror::Error;

/// The keys that tokens are checked with, several at a time so that they can be changed in turn.
#[derive(Clone, Default)]
pub struct Keys {
    keys: Arc<[Key]>,
}

struct Key {
    kid: Option<String>,
    decoding: DecodingKey,
    validation: Validation,
}

/// What signs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyKind {
    /// HMAC-SHA256 with a shared secret.
    HS256,
    /// RSA with SHA-256; the key is a public key in PEM.
    RS256,
    /// Ed25519; the key is a public key in PEM.
    EdDSA,
}

/// One key, as a deployment gives it.
#[derive(Clone)]
pub struct KeySource {
    /// What it signs with.
    pub kind: KeyKind,
    /// The `kid` of tokens that it is for; none: every token of its kind.
    pub kid: Option<String>,
    /// The secret, or the public key in PEM.
    pub material: Vec<u8>,
}

/// Why a key can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not a public key in PEM.
    #[error("expected a public key in PEM for {0:?}: {1}")]
    Pem(KeyKind, String),
    /// A private key, whose place is where tokens are made.
    #[error(
        "expected a public key in PEM for {0:?}, got a private one: `openssl pkey -in FILE -pubout` prints the public one"
    )]
    Private(KeyKind),
    /// Too short to be safe (RFC 7518 section 3.2).
    #[error("an HS256 secret has at least 32 bytes, got {0}")]
    Short(usize),
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
        Self { keys: [key(KeyKind::HS256, None, DecodingKey::from_secret(secret))].into() }
    }

    /// Checks tokens signed by any of the keys.
    pub fn new(sources: &[KeySource]) -> Result<Self, KeyError> {
        let keys = sources.iter().map(|source| {
            let material = &source.material;
            let decoding = match source.kind {
                KeyKind::HS256 if material.len() < HS256_BYTES_MIN => {
                    return Err(KeyError::Short(material.len()));
                }
                // The library takes one for RSA, and then no token matches it.
                KeyKind::RS256 | KeyKind::EdDSA if is_private(material) => {
                    return Err(KeyError::Private(source.kind));
                }
                KeyKind::HS256 => Ok(DecodingKey::from_secret(material)),
                KeyKind::RS256 => DecodingKey::from_rsa_pem(material),
                KeyKind::EdDSA => DecodingKey::from_ed_pem(material),
            };
            let decoding = decoding.map_err(|error| KeyError::Pem(source.kind, error.to_string()))?;
            Ok(key(source.kind, source.kid.clone(), decoding))
        });
        Ok(Self { keys: keys.collect::<Result<_, _>>()? })
    }

    /// Checks signature, user and expiry (`exp` in seconds) at `now`.
    pub fn verify(&self, token: &str, now: UnixMs) -> Result<Claims, TokenError> {
        let wire = self.decode(token)?;
        let user = wire.user_id.as_ref().or(wire.sub.as_ref());
        let user = user.and_then(user_of).ok_or(TokenError::Missing("a user (user_id or sub)"))?;
        let exp = wire.exp.ok_or(TokenError::Missing("exp"))?;
        let expires_at = UnixMs(exp.saturating_mul(1000));
        if expires_at <= now {
            return Err(TokenError::Expired);
        }
        Ok(Claims { user, expires_at, device: wire.device })
    }

    /// By the key that the token's header names, else by any of its kind.
    fn decode(&self, token: &str) -> Result<Wire, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let may = |key: &&Key| {
            let named = key.kid.is_none() || header.kid.is_none() || key.kid == header.kid;
            named && key.validation.algorithms.contains(&header.alg)
        };
        let mut keys = self.keys.iter().filter(may);
        keys.find_map(|key| jsonwebtoken::decode(token, &key.decoding, &key.validation).ok())
            .map(|data| data.claims)
            .ok_or(TokenError::Invalid)
    }
}

/// The least that an HS256 secret may have (RFC 7518 section 3.2), bytes.
const HS256_BYTES_MIN: usize = 32;

fn key(kind: KeyKind, kid: Option<String>, decoding: DecodingKey) -> Key {
    let mut validation = Validation::new(match kind {
        KeyKind::HS256 => Algorithm::HS256,
        KeyKind::RS256 => Algorithm::RS256,
        KeyKind::EdDSA => Algorithm::EdDSA,
    });
    // Time is a parameter here; the library would read the clock.
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    Key { kid, decoding, validation }
}

fn is_private(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).contains("PRIVATE KEY-----")
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
    use super::{Claims, KeyError, KeyKind, KeySource, Keys, TokenError, mint_hs256};
    use crate::{UnixMs, UserId};
    use jsonwebtoken::{Algorithm, EncodingKey, Header};

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

    const ED_PRIVATE: &[u8] = include_bytes!("../tests/keys/ed25519.pem");
    const ED_PUBLIC: &[u8] = include_bytes!("../tests/keys/ed25519.pub.pem");
    const RSA_PRIVATE: &[u8] = include_bytes!("../tests/keys/rsa.pem");
    const RSA_PUBLIC: &[u8] = include_bytes!("../tests/keys/rsa.pub.pem");

    fn signed(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
        let claims = serde_json::json!({"sub": "9", "exp": 1_800_000_001});
        jsonwebtoken::encode(&header, &claims, key).unwrap()
    }

    fn source(kind: KeyKind, kid: Option<&str>, material: &[u8]) -> KeySource {
        KeySource { kind, kid: kid.map(str::to_owned), material: material.to_vec() }
    }

    #[test]
    fn several_keys_of_several_kinds_are_taken_by_their_kid() {
        let secret = [7; 32];
        let keys = Keys::new(&[
            source(KeyKind::RS256, Some("a"), RSA_PUBLIC),
            source(KeyKind::EdDSA, Some("b"), ED_PUBLIC),
            source(KeyKind::HS256, None, &secret),
        ])
        .unwrap();
        let (rsa, ed) =
            (EncodingKey::from_rsa_pem(RSA_PRIVATE).unwrap(), EncodingKey::from_ed_pem(ED_PRIVATE).unwrap());
        let hmac = EncodingKey::from_secret(&secret);
        for good in [
            signed(Algorithm::RS256, Some("a"), &rsa),
            signed(Algorithm::RS256, None, &rsa),
            signed(Algorithm::EdDSA, Some("b"), &ed),
            signed(Algorithm::HS256, Some("anything"), &hmac),
        ] {
            assert_eq!(keys.verify(&good, NOW).unwrap().user, UserId(9));
        }
        for bad in [
            signed(Algorithm::RS256, Some("b"), &rsa),
            signed(Algorithm::EdDSA, Some("gone"), &ed),
            // The public key as an HMAC secret: the classic confusion of kinds.
            signed(Algorithm::HS256, Some("a"), &EncodingKey::from_secret(RSA_PUBLIC)),
        ] {
            assert_eq!(keys.verify(&bad, NOW), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn a_key_that_is_none_is_refused() {
        let error = |kind, material| Keys::new(&[source(kind, None, material)]).err().unwrap();
        assert_eq!(error(KeyKind::HS256, b"short"), KeyError::Short(5));
        assert!(matches!(error(KeyKind::RS256, b"no pem"), KeyError::Pem(KeyKind::RS256, _)));
        assert!(matches!(error(KeyKind::EdDSA, RSA_PUBLIC), KeyError::Pem(KeyKind::EdDSA, _)));
        assert_eq!(error(KeyKind::RS256, RSA_PRIVATE), KeyError::Private(KeyKind::RS256));
        assert_eq!(error(KeyKind::EdDSA, ED_PRIVATE), KeyError::Private(KeyKind::EdDSA));
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
