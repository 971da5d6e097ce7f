//! The RSA key that signs id_tokens.

use std::sync::OnceLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::idp::Answer;
use super::metadata::pretty;
use crate::localapi::http::go_json;

/// The real one writes the uint64 in decimal.
const KEY_ID: &str = "16426365825751361313";

/// One key for the process, made when it is first needed: only logins and `jwks.json` need it, and making
/// it takes longer than everything else here together.
fn key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).expect("the system can make an RSA key"))
}

pub(super) fn jwks() -> Answer {
    #[derive(Serialize)]
    struct KeySet {
        keys: [Key; 1],
    }
    #[derive(Serialize)]
    struct Key {
        #[serde(rename = "use")]
        usage: &'static str,
        kty: &'static str,
        kid: &'static str,
        alg: &'static str,
        n: String,
        e: &'static str,
    }
    let n = URL_SAFE_NO_PAD.encode(modulus(key().public_key().as_ref()));
    let key = Key { usage: "sig", kty: "RSA", kid: KEY_ID, alg: "RS256", n, e: "AQAB" };
    Ok(pretty(&KeySet { keys: [key] }))
}

/// A JWT over these claims.
pub(super) fn sign(claims: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Header {
        alg: &'static str,
        kid: &'static str,
        typ: &'static str,
    }
    let header = go_json(&Header { alg: "RS256", kid: KEY_ID, typ: "JWT" }, None);
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(go_json(claims, None)));
    let mut signature = vec![0; key().public_modulus_len()];
    key()
        .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .expect("a fresh RSA key can sign");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The modulus in an `RSAPublicKey` of RFC 8017. With 2048 bits and the exponent 65537 its layout is fixed:
/// nine bytes of headers, one of them the zero that keeps the number positive, 256 bytes of modulus, five
/// of exponent.
fn modulus(public_key: &[u8]) -> &[u8] {
    assert_eq!(public_key.len(), 9 + 256 + 5, "an RSA-2048 public key with the usual exponent");
    &public_key[9..9 + 256]
}
