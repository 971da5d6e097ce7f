//! Keyed hashes of what may not be written down.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::chain::Hash;
use crate::secret::Secret;

/// Block of SHA-256, in bytes.
const BLOCK: usize = 64;

/// Hashes values under the key of this installation (HMAC-SHA256, RFC 2104).
///
/// Whoever has the log but not the key cannot try out guesses; whoever has the key can find every record about
/// a value they know: `printf %s VALUE | openssl dgst -sha256 -hmac "$(cat KEYFILE)"`.
#[derive(Clone)]
pub struct Hasher(Hmac<Sha256>);

impl Hasher {
    /// A hasher with this key.
    #[must_use]
    pub fn new(key: &Secret) -> Self {
        let key = key.expose().as_bytes();
        let mut block = [0; BLOCK];
        // > keys longer than B bytes are first hashed using H
        match block.get_mut(..key.len()) {
            Some(room) => room.copy_from_slice(key),
            None => block[..32].copy_from_slice(Hash::of(key).as_bytes()),
        }
        Self(Hmac::new(&block.into()))
    }

    /// The hash of `bytes`, as 64 hexadecimal digits.
    #[must_use]
    pub fn hash(&self, bytes: &[u8]) -> String {
        hex::encode(self.0.clone().chain_update(bytes).finalize().into_bytes())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn it_is_hmac_sha256() {
        let hasher = Hasher::new(&Secret::new("Jefe".into()));
        assert_eq!(
            hasher.hash(b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        // The RFC's key of 131 bytes 0xaa is no text; the same length of "a", as openssl hashes it.
        let long = Hasher::new(&Secret::new("a".repeat(131)));
        assert_eq!(long.hash(b"x"), LONG);
        assert_eq!(format!("{long:?}"), "Hasher(..)");
    }

    const LONG: &str = "76f0801bdbc0ff29214ffdd6edce36467d4142a842d91a011c59c66d12693db0";
}
