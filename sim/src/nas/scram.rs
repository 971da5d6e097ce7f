//! The server's side of SCRAM-SHA-512, as TrueNAS 26 has it.
//!
//! Written from the server's end and with other primitives than the daemon's, so that the two agree only if both
//! are right.

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::random_bytes;

/// An exchange between its two halves.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    /// Number of the key that the client says it has.
    pub key: i64,
    header: String,
    bare: String,
    challenge: String,
    nonce: String,
    stored_key: Vec<u8>,
    server_key: hmac::Key,
}

/// Whom a first message is from: user and number of the key.
pub(crate) fn named(first: &str) -> Option<(&str, i64)> {
    let (_, bare) = first.split_once(",,")?;
    let (user, key) = bare.strip_prefix("n=")?.split(',').next()?.rsplit_once(':')?;
    Some((user, key.parse().ok()?))
}

impl Exchange {
    /// Answers a first message; `None` for one that is not understood.
    pub fn begin(first: &str, secret: &str, salt: &[u8], rounds: u32, encrypted: bool) -> Option<Self> {
        let (header, bare) = first.split_once(",,")?;
        match header {
            "n" => {}
            "p=tls-server-end-point" if encrypted => {}
            _ => return None,
        }
        let (_, key) = named(first)?;
        let mut nonce = BASE64.decode(bare.split_once(",r=")?.1).ok().filter(|nonce| nonce.len() == 32)?;
        // As bytes, and only then as text.
        nonce.extend(random_bytes::<32>());
        let nonce = BASE64.encode(nonce);
        let mut salted = [0; 64];
        let iterations = std::num::NonZeroU32::new(rounds)?;
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, iterations, salt, secret.as_bytes(), &mut salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA512, &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        Some(Self {
            key,
            header: header.to_owned(),
            bare: bare.to_owned(),
            challenge: format!("r={nonce},s={},i={rounds}", BASE64.encode(salt)),
            nonce,
            stored_key: digest::digest(&digest::SHA512, client_key.as_ref()).as_ref().to_vec(),
            server_key: hmac::Key::new(hmac::HMAC_SHA512, hmac::sign(&salted, b"Server Key").as_ref()),
        })
    }

    /// The first answer.
    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// The last answer to a client that has proved that it knows the key and sees our certificate.
    pub fn finish(&self, last: &str, end_point: Option<&[u8]>) -> Option<String> {
        let (unproven, proof) = last.rsplit_once(",p=")?;
        let (binding, nonce) = unproven.strip_prefix("c=")?.split_once(",r=")?;
        let mut seen = format!("{},,", self.header).into_bytes();
        if self.header != "n" {
            seen.extend(end_point?);
        }
        if nonce != self.nonce || BASE64.decode(binding).ok()? != seen {
            return None;
        }
        let said = format!("{},{},{unproven}", self.bare, self.challenge);
        let stored = hmac::Key::new(hmac::HMAC_SHA512, &self.stored_key);
        let signature = hmac::sign(&stored, said.as_bytes());
        let proof = BASE64.decode(proof).ok()?;
        let client_key: Vec<u8> = proof.iter().zip(signature.as_ref()).map(|(a, b)| a ^ b).collect();
        let found = digest::digest(&digest::SHA512, &client_key);
        constant_time::verify_slices_are_equal(found.as_ref(), &self.stored_key).ok()?;
        Some(format!("v={}", BASE64.encode(hmac::sign(&self.server_key, said.as_bytes()))))
    }
}
