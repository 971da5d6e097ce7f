//! The certificate that tailscaled keeps for our name.

use http::StatusCode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Silence;

/// A certificate with what leads to its root, and its key.
#[derive(Debug)]
pub struct Certificate {
    /// The certificate, and those between it and a root.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key. It does not print.
    pub key: PrivateKeyDer<'static>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// tailscaled does not give it to us.
    #[error(
        "tailscaled does not give certificates to this user. Put TS_PERMIT_CERT_UID=tailnas into \
         /etc/default/tailscaled and restart tailscaled, or listen on a unix socket behind `tailscale serve`"
    )]
    Refused,
    /// tailscaled has none, and says why.
    #[error("tailscaled has no certificate: {0}")]
    None(String),
    /// tailscaled did not answer.
    #[error("tailscaled could not be asked for the certificate")]
    Unavailable(#[from] Silence),
    /// What tailscaled answered is no key with a certificate.
    #[error("what tailscaled answered is no key with a certificate")]
    NotOne,
}

impl Certificate {
    pub(super) fn read(status: StatusCode, body: &[u8]) -> Result<Self, CertificateError> {
        match status {
            StatusCode::OK => {}
            StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => return Err(CertificateError::Refused),
            _ => {
                let said: String = String::from_utf8_lossy(body).trim().chars().take(300).collect();
                return Err(CertificateError::None(said.escape_debug().to_string()));
            }
        }
        let key = PrivateKeyDer::from_pem_slice(body).map_err(|_| CertificateError::NotOne)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(body).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Ok(Self { chain, key }),
            Ok(_) | Err(_) => Err(CertificateError::NotOne),
        }
    }
}
