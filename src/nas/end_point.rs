//! What ties a login to the certificate of the server it is made at: `tls-server-end-point` (RFC 5929, section 4).

use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::net::certificate::signature_algorithm;

/// The digest of `certificate`, made as its signature was, or by SHA-256 where that was by something weaker.
///
/// `None` where the RFC does not say, as for Ed25519, or where the certificate cannot be read.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    Some(match signature_algorithm(certificate)? {
        SHA256_RSA | SHA256_ECDSA | SHA1_RSA | SHA1_ECDSA | MD5_RSA => Sha256::digest(certificate).to_vec(),
        SHA384_RSA | SHA384_ECDSA => Sha384::digest(certificate).to_vec(),
        SHA512_RSA | SHA512_ECDSA => Sha512::digest(certificate).to_vec(),
        _ => return None,
    })
}

const MD5_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4];
const SHA1_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5];
const SHA256_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11];
const SHA384_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 12];
const SHA512_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 13];
const SHA1_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1];
const SHA256_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
const SHA384_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3];
const SHA512_ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        rcgen::CertificateParams::new(vec!["nas".into()]).unwrap().self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn a_certificate_is_digested_as_it_was_signed() {
        let short = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        assert_eq!(end_point(&short), Some(Sha256::digest(&short).to_vec()));
        let longer = certificate(&rcgen::PKCS_ECDSA_P384_SHA384);
        assert_eq!(end_point(&longer), Some(Sha384::digest(&longer).to_vec()));
        assert_eq!(end_point(&certificate(&rcgen::PKCS_ED25519)), None);
    }

    #[test]
    fn what_is_no_certificate_has_no_end_point() {
        let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for length in 0..whole.len().min(64) {
            assert_eq!(end_point(&CertificateDer::from(&whole[..length])), None, "{length}");
        }
        assert_eq!(end_point(&CertificateDer::from(&[0x30, 0x85, 1, 1, 1, 1, 1, 0][..])), None);
    }
}
