//! A shared secret: each side proves that it knows it, and never says it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::io::Read;

/// Bytes of a secret at least.
pub const SECRET_BYTES_MIN: usize = 16;

/// What coordinator and workers both know.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Takes a secret as it stands in a file, without the space around it.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() < SECRET_BYTES_MIN {
            return Err(format!("expected a secret of {SECRET_BYTES_MIN} bytes or more, got {}", text.len()));
        }
        Ok(Self(text.as_bytes().to_vec()))
    }

    fn mac(&self, who: &str, nonces: [&str; 2]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        for part in [who, nonces[0], nonces[1]] {
            mac.update(part.as_bytes());
            mac.update(b"\0");
        }
        mac
    }

    /// That `who` knows the secret, in a conversation of these nonces.
    pub(super) fn prove(&self, who: &str, nonces: [&str; 2]) -> String {
        STANDARD.encode(self.mac(who, nonces).finalize().into_bytes())
    }

    fn holds(&self, who: &str, nonces: [&str; 2], proof: &str) -> bool {
        STANDARD.decode(proof).is_ok_and(|proof| self.mac(who, nonces).verify_slice(&proof).is_ok())
    }
}

/// Checks the other side's proof, where there is a secret.
pub(super) fn check(
    secret: Option<&Secret>,
    who: &str,
    nonces: [&str; 2],
    proof: Option<&str>,
) -> Result<(), String> {
    match (secret, proof) {
        (None, None) => Ok(()),
        (Some(secret), Some(proof)) if secret.holds(who, nonces, proof) => Ok(()),
        (Some(_), Some(_)) => Err(format!("the {who} has another secret")),
        (Some(_), None) => Err(format!("the {who} has no secret: give it the same --secret-file")),
        (None, Some(_)) => Err(format!("only the {who} has a secret: give both the same --secret-file")),
    }
}

/// 128 bits that were never said before.
pub(super) fn nonce() -> std::io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::{Secret, check, nonce};

    #[test]
    fn a_proof_holds_for_one_side_one_conversation_and_one_secret() {
        let secret = Secret::new(" 0123456789abcdef\n").unwrap();
        let other = Secret::new("0123456789abcdeg").unwrap();
        let (a, b) = (nonce().unwrap(), nonce().unwrap());
        assert_ne!(a, b);
        let proof = secret.prove("worker", [&a, &b]);
        let told = |secret: Option<&Secret>, who, nonces, proof| check(secret, who, nonces, proof);
        assert_eq!(told(Some(&secret), "worker", [&a, &b], Some(&proof)), Ok(()));
        for (secret, who, nonces) in [
            (&other, "worker", [&a, &b]),
            (&secret, "coordinator", [&a, &b]),
            (&secret, "worker", [&b, &a]),
            (&secret, "worker", [&a, &a]),
        ] {
            let nonces = nonces.map(String::as_str);
            assert!(told(Some(secret), who, nonces, Some(&proof)).is_err(), "{who}");
        }
        assert!(told(Some(&secret), "worker", [&a, &b], None).unwrap_err().contains("--secret-file"));
        assert!(told(None, "worker", [&a, &b], Some(&proof)).is_err());
        assert_eq!(told(None, "worker", [&a, &b], None), Ok(()));
    }

    #[test]
    fn a_short_secret_is_refused_and_none_is_shown() {
        assert!(Secret::new("0123456789abcde \n").is_err());
        let shown = format!("{:?}", Secret::new("0123456789abcdef").unwrap());
        assert_eq!(shown, "Secret");
    }
}
