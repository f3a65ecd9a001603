//! Tokens that give access to one thing, named by its subject. A token is an HMAC of the subject, so nothing
//! is stored, and nothing can be revoked but by a new key: ids reach logs and keys, so an id alone must not
//! open anything.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::secret::{Secret, hex};

/// Longest token that is looked at: key id, a dot, 32 bytes in base64url.
pub const MAX_ACCESS_TOKEN_CHARS: usize = 64;
/// Bytes of the key's digest that name it.
const KEY_ID_BYTES: usize = 4;

/// Issues and verifies access tokens.
///
/// ```
/// use service_runtime::{Secret, auth::AccessTokens};
///
/// let old = AccessTokens::new(vec![Secret::new("first key, from the configuration")])?;
/// let token = old.issue("thing-7");
/// let rotated = AccessTokens::new(vec![
///     Secret::new("second key, from the configuration"),
///     Secret::new("first key, from the configuration"),
/// ])?;
/// assert!(rotated.verify("thing-7", &token));
/// assert!(!rotated.verify("thing-8", &token));
/// # Ok::<(), service_runtime::auth::NoKeys>(())
/// ```
#[derive(Clone)]
pub struct AccessTokens {
    /// With their ids, the one that signs first.
    keys: Vec<(String, Hmac<Sha256>)>,
}

/// There is nothing to sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("access tokens need at least one key")]
pub struct NoKeys;

impl AccessTokens {
    /// The first key signs; all of them verify, so that keys can be rotated.
    pub fn new(keys: Vec<Secret>) -> Result<Self, NoKeys> {
        if keys.is_empty() {
            return Err(NoKeys);
        }
        let named = |key: Secret| {
            let mac = Hmac::new_from_slice(key.expose().as_bytes()).expect("HMAC takes keys of any length");
            (hex(&key.digest()[..KEY_ID_BYTES]), mac)
        };
        Ok(Self { keys: keys.into_iter().map(named).collect() })
    }

    /// A token for `subject`, which should name the kind of thing as well as its id.
    pub fn issue(&self, subject: &str) -> String {
        let (id, mac) = &self.keys[0];
        let signature = mac.clone().chain_update(subject).finalize().into_bytes();
        format!("{id}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whether `token` was issued for `subject` with a key that is still valid. Compares in constant time.
    pub fn verify(&self, subject: &str, token: &str) -> bool {
        if token.len() > MAX_ACCESS_TOKEN_CHARS {
            return false;
        }
        let Some((id, signature)) = token.split_once('.') else { return false };
        let Ok(signature) = URL_SAFE_NO_PAD.decode(signature) else { return false };
        let mut keys = self.keys.iter().filter(|(known, _)| known == id);
        keys.any(|(_, mac)| mac.clone().chain_update(subject).verify_slice(&signature).is_ok())
    }
}

impl std::fmt::Debug for AccessTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ids: Vec<_> = self.keys.iter().map(|(id, _)| id).collect();
        f.debug_tuple("AccessTokens").field(&ids).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(keys: &[&str]) -> AccessTokens {
        AccessTokens::new(keys.iter().map(|key| Secret::new(*key)).collect()).unwrap()
    }

    #[test]
    fn a_token_opens_its_own_subject_only() {
        let tokens = tokens(&["key"]);
        let token = tokens.issue("thing-1");
        assert!(token.len() <= MAX_ACCESS_TOKEN_CHARS);
        assert!(tokens.verify("thing-1", &token));
        assert!(!tokens.verify("thing-2", &token));
    }

    #[test]
    fn a_token_is_valid_as_long_as_its_key() {
        let token = tokens(&["old"]).issue("thing-1");
        assert!(tokens(&["new", "old"]).verify("thing-1", &token));
        assert!(!tokens(&["new"]).verify("thing-1", &token));
    }

    #[test]
    fn a_forged_token_is_refused() {
        let tokens = tokens(&["key"]);
        let token = tokens.issue("thing-1");
        let (id, signature) = token.split_once('.').unwrap();
        let shortened = &signature[..signature.len() - 4];
        for forged in [
            "",
            ".",
            id,
            &format!("{id}."),
            &format!("{id}.{shortened}"),
            &format!("00000000.{signature}"),
            &"a".repeat(65),
        ] {
            assert!(!tokens.verify("thing-1", forged), "{forged}");
        }
    }
}
