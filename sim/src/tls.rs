//! A certificate authority of the simulator's own, and the server certificate it signs.

use std::io;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};

/// What a server shows to its clients, and what they need to trust it.
#[derive(Clone, Debug)]
pub struct Identity {
    ca_pem: String,
    pin: String,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// A fresh authority and a fresh certificate for 127.0.0.1 and localhost.
    pub fn generate() -> io::Result<Self> {
        let mut ca = CertificateParams::new(Vec::new()).map_err(io::Error::other)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        ca.distinguished_name.push(DnType::CommonName, "tailnas simulator CA");
        let ca_key = KeyPair::generate().map_err(io::Error::other)?;
        let ca_certificate = ca.self_signed(&ca_key).map_err(io::Error::other)?;

        let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
        let leaf_key = KeyPair::generate().map_err(io::Error::other)?;
        let leaf = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&leaf_key, &Issuer::new(ca, ca_key)))
            .map_err(io::Error::other)?;

        let pin = format!("sha256:{}", hex::encode(Sha256::digest(leaf.der())));
        let config = server_config(leaf.der().clone(), leaf_key.serialize_der())?;
        Ok(Self { ca_pem: ca_certificate.pem(), pin, config: Arc::new(config) })
    }

    /// The authority's certificate, to be trusted by clients.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// `sha256:` and the hex digest of the server certificate's DER.
    pub fn pin(&self) -> &str {
        &self.pin
    }

    /// How to accept TLS with this identity. HTTP/1.1 is the only protocol offered.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

/// The provider is named rather than installed for the process: that choice is not a library's to make.
fn server_config(leaf: CertificateDer<'static>, key: Vec<u8>) -> io::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(vec![leaf], key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
