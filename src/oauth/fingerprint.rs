//! A name for a token that tells nothing about it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::Bearer;

/// HMAC-SHA-256 of a token under a key that dies with the daemon. What we keep about a token is kept under
/// this name, so neither memory nor log has anything that could be presented to us, or looked up elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// What the log gets to see: enough to tell tokens apart.
    pub(super) fn short(&self) -> String {
        hex::encode(&self.0[..16])
    }
}

/// Takes fingerprints.
pub(super) struct Ink(Hmac<Sha256>);

impl Ink {
    /// Ink of a new random colour.
    pub(super) fn new() -> Result<Self, getrandom::Error> {
        let mut key = [0; 64];
        getrandom::fill(&mut key)?;
        Ok(Self(Hmac::new(&key.into())))
    }

    pub(super) fn take(&self, bearer: &Bearer) -> Fingerprint {
        let mut mac = self.0.clone();
        mac.update(bearer.expose().as_bytes());
        Fingerprint(mac.finalize().into_bytes().into())
    }
}
