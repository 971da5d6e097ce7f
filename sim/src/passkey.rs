//! An authenticator that knows one key, and what a browser puts around it: enough of WebAuthn (Level 3) to enrol on the
//! console and to answer for something, and to do either wrongly.

use std::io;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The user is there, was verified, and a key comes with it: section 6.1.
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;
const ATTESTED: u8 = 0x40;

/// One key of ECDSA on P-256, in an authenticator that shows no attestation.
pub struct Passkey {
    key: EcdsaKeyPair,
    id: Vec<u8>,
    signed: u32,
    /// The origin of the page that asks, as the browser has it.
    pub origin: String,
    /// The name that the key is for: the host of the origin, where nobody cheats.
    pub name: String,
    /// Whether it verifies its user, by a fingerprint or a PIN.
    pub verifies: bool,
}

impl Passkey {
    /// A new key, asked for by a page of `origin`.
    pub fn new(origin: &str) -> io::Result<Self> {
        Self::posing_as(&super::nas::random_bytes::<32>(), origin)
    }

    /// A new key that pretends to be the one with this id.
    pub fn posing_as(id: &[u8], origin: &str) -> io::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map_err(io::Error::other)?;
        let url: url::Url = origin.parse().map_err(io::Error::other)?;
        let name = url.host_str().unwrap_or_default().to_owned();
        Ok(Self { key, id: id.to_vec(), signed: 0, origin: origin.to_owned(), name, verifies: true })
    }

    /// What `navigator.credentials.create` gives for `options`: section 7.1 says how it is looked at.
    pub fn create(&self, options: &Value) -> Value {
        let client = self.client_data("webauthn.create", options);
        let mut data = self.authenticator_data(ATTESTED);
        // No model of authenticator is named.
        data.extend([0; 16]);
        data.extend(u16::try_from(self.id.len()).unwrap_or_default().to_be_bytes());
        data.extend(&self.id);
        data.extend(self.cose());
        // {"fmt": "none", "attStmt": {}, "authData": data}
        let mut attestation = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59".to_vec();
        attestation.extend(u16::try_from(data.len()).unwrap_or_default().to_be_bytes());
        attestation.extend(data);
        self.credential(&json!({ "attestationObject": text(&attestation), "clientDataJSON": text(client) }))
    }

    /// What `navigator.credentials.get` gives for `options`: section 7.2 says how it is looked at.
    pub fn get(&mut self, options: &Value) -> io::Result<Value> {
        self.signed += 1;
        let client = self.client_data("webauthn.get", options);
        let data = self.authenticator_data(0);
        let said = [&data[..], &Sha256::digest(&client)].concat();
        let signature = self.key.sign(&SystemRandom::new(), &said).map_err(io::Error::other)?;
        Ok(self.credential(&json!({
            "authenticatorData": text(&data), "clientDataJSON": text(client), "signature": text(signature.as_ref()),
            "userHandle": null,
        })))
    }

    fn credential(&self, response: &Value) -> Value {
        let id = text(&self.id);
        json!({ "id": id, "rawId": id, "type": "public-key", "extensions": {}, "response": response })
    }

    fn client_data(&self, what: &str, options: &Value) -> Vec<u8> {
        let challenge = &options["publicKey"]["challenge"];
        let data =
            json!({ "type": what, "challenge": challenge, "origin": self.origin, "crossOrigin": false });
        data.to_string().into_bytes()
    }

    fn authenticator_data(&self, more: u8) -> Vec<u8> {
        let verified = if self.verifies { VERIFIED } else { 0 };
        let mut data = Sha256::digest(&self.name).to_vec();
        data.push(PRESENT | verified | more);
        data.extend(self.signed.to_be_bytes());
        data
    }

    /// The public key as RFC 9052 writes it: EC2, ES256, P-256, x and y.
    fn cose(&self) -> Vec<u8> {
        // SEC 1: one byte that says "not compressed", then both.
        let point = &self.key.public_key().as_ref()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        [b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20", x, b"\x22\x58\x20", y].concat()
    }
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
