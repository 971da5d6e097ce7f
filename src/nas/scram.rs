//! SCRAM-SHA-512 as a TrueNAS speaks it from 26 on: the key itself never leaves us, and the NAS proves that it
//! knows it too.
//!
//! It is RFC 5802 but for two things, and these are why no library of the trade fits. The user name carries the
//! number of the key, `name:7`. And the nonce of the NAS is put behind ours as *bytes*, before both are written in
//! base64, so that the text the NAS answers does not begin with the text we sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha512};
use subtle::ConstantTimeEq as _;

use crate::secret::Secret;

/// A SHA-512 digest.
type Digest = [u8; 64];

const NONCE: usize = 32;
/// Below this a stolen answer is too easily searched; above it we would work for somebody who only wants us busy.
const ITERATIONS: std::ops::RangeInclusive<u32> = 50_000..=5_000_000;
const LONGEST_SALT: usize = 1024;

/// Why the exchange went no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The key is not `NUMBER-TEXT`.
    KeyForm,
    /// The user name cannot be written into the exchange.
    Username,
    /// The kernel has no randomness.
    NoRandomness,
    /// What the NAS said does not follow the rules.
    Unreadable,
    /// What the NAS said does not belong to what we said.
    ForeignNonce,
    /// The NAS wants fewer rounds than are safe, or more than are sane.
    Iterations(u32),
    /// The NAS could not prove that it knows the key.
    NotTheNas,
}

/// An exchange that has begun.
pub(super) struct Exchange {
    secret: Secret,
    nonce: [u8; NONCE],
    /// Says whether we know the server's certificate: `n,,` or `p=tls-server-end-point,,`.
    header: &'static str,
    end_point: Vec<u8>,
    bare: String,
}

/// What the NAS must answer in the end.
pub(super) struct Expected(Digest);

impl Exchange {
    /// Begins, bound to the certificate with this end point if there is one.
    pub(super) fn begin(username: &str, key: &Secret, end_point: Option<&[u8]>) -> Result<Self, Fault> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_| Fault::NoRandomness)?;
        Self::with_nonce(username, key, end_point, nonce)
    }

    fn with_nonce(
        username: &str,
        key: &Secret,
        end_point: Option<&[u8]>,
        nonce: [u8; NONCE],
    ) -> Result<Self, Fault> {
        let (number, secret) = key.expose().split_once('-').ok_or(Fault::KeyForm)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) || secret.is_empty() {
            return Err(Fault::KeyForm);
        }
        if username.is_empty() || username.contains([',', '=']) {
            return Err(Fault::Username);
        }
        Ok(Self {
            secret: Secret::new(secret.to_owned()),
            nonce,
            header: if end_point.is_some() { "p=tls-server-end-point,," } else { "n,," },
            end_point: end_point.unwrap_or_default().to_vec(),
            bare: format!("n={username}:{number},r={}", BASE64.encode(nonce)),
        })
    }

    /// What to say first.
    pub(super) fn first(&self) -> String {
        format!("{}{}", self.header, self.bare)
    }

    /// What to say to the answer of the NAS, and what it must answer to that. Takes a third of a second of a
    /// processor, so not for a thread that others wait for.
    pub(super) fn finish(self, server_first: &str) -> Result<(String, Expected), Fault> {
        let challenge = Challenge::parse(server_first)?;
        if !challenge.nonce.starts_with(&self.nonce) || challenge.nonce.len() < NONCE + 16 {
            return Err(Fault::ForeignNonce);
        }

        let mut salted: Digest = [0; 64];
        let password = self.secret.expose().as_bytes();
        pbkdf2::pbkdf2_hmac::<Sha512>(password, &challenge.salt, challenge.iterations, &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = Sha512::digest(client_key);

        let binding = [self.header.as_bytes(), &self.end_point].concat();
        let unproven = format!("c={},r={}", BASE64.encode(binding), BASE64.encode(&challenge.nonce));
        let said = format!("{},{server_first},{unproven}", self.bare);
        let mut proof = sign(&stored_key, said.as_bytes());
        for (byte, key) in proof.iter_mut().zip(client_key) {
            *byte ^= key;
        }
        let server_key = sign(&salted, b"Server Key");
        let expected = Expected(sign(&server_key, said.as_bytes()));
        Ok((format!("{unproven},p={}", BASE64.encode(proof)), expected))
    }
}

impl Expected {
    /// Whether this is the answer of somebody who knows the key.
    pub(super) fn verify(&self, server_final: &str) -> Result<(), Fault> {
        let signature = server_final.strip_prefix("v=").ok_or(Fault::Unreadable)?;
        let signature = BASE64.decode(signature).map_err(|_| Fault::Unreadable)?;
        if bool::from(self.0.ct_eq(&signature)) { Ok(()) } else { Err(Fault::NotTheNas) }
    }
}

/// The first answer of the NAS.
struct Challenge {
    nonce: Vec<u8>,
    salt: Vec<u8>,
    iterations: u32,
}

impl Challenge {
    fn parse(text: &str) -> Result<Self, Fault> {
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let (nonce, salt, iterations) = (part("r="), part("s="), part("i="));
        let decode = |text: Option<&str>| BASE64.decode(text?).ok();
        let (Some(nonce), Some(salt)) = (decode(nonce), decode(salt)) else { return Err(Fault::Unreadable) };
        // An extension that we do not know may change what the rest means.
        if parts.next().is_some() || salt.is_empty() || salt.len() > LONGEST_SALT {
            return Err(Fault::Unreadable);
        }
        let iterations = iterations.and_then(|text| text.parse().ok()).ok_or(Fault::Unreadable)?;
        if !ITERATIONS.contains(&iterations) {
            return Err(Fault::Iterations(iterations));
        }
        Ok(Self { nonce, salt, iterations })
    }
}

fn sign(key: &[u8], text: &[u8]) -> Digest {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha512>::new_from_slice(key) else { return [0; 64] };
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
