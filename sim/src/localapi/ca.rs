//! A certificate authority for one test.

use std::io;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub(crate) struct Leaf {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Ca {
    pub(crate) fn new(name: &str) -> io::Result<Ca> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate().map_err(io::Error::other)?;
        CertifiedIssuer::self_signed(params, key).map(Ca).map_err(io::Error::other)
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> io::Result<Leaf> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let params = CertificateParams::new(names).map_err(io::Error::other)?;
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.signed_by(&key, &self.0).map_err(io::Error::other)?;
        Ok(Leaf { certificate, key })
    }
}

impl Leaf {
    pub(crate) fn certificate_pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn server_config(&self) -> io::Result<rustls::ServerConfig> {
        let provider = rustls::crypto::aws_lc_rs::default_provider().into();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(self.certificate.der().to_vec())], key)
            .map_err(io::Error::other)
    }

    /// The key as tailscaled hands it out: SEC1 (`EC PRIVATE KEY`), not PKCS#8.
    pub(crate) fn sec1_pem(&self) -> io::Result<String> {
        let pkcs8 = self.key.serialize_der();
        // RFC 5915: ECPrivateKey starts with version 1 and an OCTET STRING; for P-256 that has 32 bytes.
        const START: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];
        const P256: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
        const PUBLIC: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
        let scalar = pkcs8
            .windows(START.len())
            .position(|window| window == START)
            .and_then(|at| pkcs8.get(at + START.len()..at + START.len() + 32))
            .ok_or_else(|| io::Error::other("the PKCS#8 key holds no P-256 scalar"))?;
        let fields = [&START[..], scalar, &P256, &PUBLIC, self.key.public_key_raw()].concat();
        let length = u8::try_from(fields.len()).map_err(io::Error::other)?;
        Ok(pem("EC PRIVATE KEY", &[&[0x30, length], &fields[..]].concat()))
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}
