//! Whose certificate is the NAS's.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::StartError;
use super::end_point::end_point;
use crate::config::{self, Pin, Trust};
use crate::net::certificate;

/// How long the way to a finished TLS handshake may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens TLS connections to one address, and nothing but TLS.
#[derive(Clone)]
pub(super) struct Dialer {
    host: String,
    port: u16,
    name: ServerName<'static>,
    connector: TlsConnector,
    pinned: bool,
    /// The certificates that were shown last, the NAS's own first.
    shown: Arc<Mutex<Vec<CertificateDer<'static>>>>,
}

impl Dialer {
    pub(super) fn new(nas: &config::Nas) -> Result<Self, StartError> {
        let verifier = verifier(&nas.trust)?;
        Self::with_verifier(nas, verifier)
    }

    fn with_verifier(nas: &config::Nas, verifier: Arc<dyn ServerCertVerifier>) -> Result<Self, StartError> {
        // A key that is sent over an insecure connection is revoked by the NAS, and rightly so.
        if nas.url.scheme() != "wss" {
            return Err(StartError::NotTls(nas.url.to_string()));
        }
        let host = match nas.url.host() {
            Some(url::Host::Domain(name)) => name.to_owned(),
            Some(url::Host::Ipv4(ip)) => ip.to_string(),
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            None => return Err(StartError::NoHost(nas.url.to_string())),
        };
        let name = ServerName::try_from(host.clone()).map_err(|_| StartError::NoHost(nas.url.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(StartError::Tls)?
            .dangerous() // The verifier is ours, so rustls asks for the word. Each one checks.
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        let port = nas.url.port_or_known_default().unwrap_or(443);
        let connector = TlsConnector::from(Arc::new(config));
        let pinned = matches!(nas.trust, Trust::Pinned(_));
        Ok(Self { host, port, name, connector, pinned, shown: Arc::default() })
    }

    /// Host and port as a `Host` header has them.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == 443 { host } else { format!("{host}:{}", self.port) }
    }

    /// A TLS connection whose other end has shown that it is the NAS.
    pub(super) async fn dial(&self) -> Result<TlsStream<TcpStream>, NoWay> {
        let shake = async {
            let tcp = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|error| {
                NoWay::without_advice(format!("no connection to {}: {error}", self.authority()))
            })?;
            // Calls are small and wait for their answers.
            let _ = tcp.set_nodelay(true);
            let stream =
                self.connector.connect(self.name.clone(), tcp).await.map_err(|error| explain(&error))?;
            self.remember(stream.get_ref().1.peer_certificates().unwrap_or_default());
            Ok(stream)
        };
        tokio::time::timeout(PATIENCE, shake).await.unwrap_or_else(|_| {
            let what = format!("no answer from {} within {} s", self.authority(), PATIENCE.as_secs());
            Err(NoWay::without_advice(what))
        })
    }
}

impl fmt::Debug for Dialer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialer").field(&self.authority()).finish()
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoWay {
    /// What happened.
    pub what: String,
    /// What to do about it, where that follows from what happened.
    pub advice: Option<&'static str>,
}

impl NoWay {
    const fn without_advice(what: String) -> Self {
        Self { what, advice: None }
    }
}

impl fmt::Display for NoWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.advice {
            Some(advice) => write!(f, "{}. {advice}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl Dialer {
    /// When the first of the certificates that were shown last ends; `None` before one was shown, and for one that
    /// is pinned, whose dates are not looked at.
    pub(super) fn ends(&self) -> Option<DateTime<Utc>> {
        if self.pinned {
            return None;
        }
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.iter().filter_map(|one| certificate::ends(one)).min()
    }

    fn remember(&self, shown: &[CertificateDer<'_>]) {
        let shown = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

/// What a login over `stream` can be tied to.
pub(super) fn server_end_point(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let (_, session) = stream.get_ref();
    session.peer_certificates().and_then(<[_]>::first).and_then(end_point)
}

/// Why the pin of a NAS cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The address is no use.
    #[error(transparent)]
    Address(#[from] StartError),
    /// There is no TLS server there.
    #[error("{0}")]
    Unreachable(String),
}

/// The pin of the certificate that the NAS shows. It proves nothing about whose it is: somebody must compare it
/// with what the NAS itself says. Nothing is sent over this connection.
pub async fn presented_pin(nas: &config::Nas) -> Result<Pin, PinError> {
    presented(nas).await.map(|(pin, _)| pin)
}

/// The same, with the certificate.
pub(super) async fn presented(nas: &config::Nas) -> Result<(Pin, CertificateDer<'static>), PinError> {
    let onlooker = Arc::new(Onlooker(provider()));
    let dialed = Dialer::with_verifier(nas, onlooker)?.dial().await;
    let stream = dialed.map_err(|no_way| PinError::Unreachable(no_way.what))?;
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let shown = shown.ok_or_else(|| PinError::Unreachable("the server shows no certificate".into()))?;
    Ok((pin(shown), shown.clone().into_owned()))
}

fn pin(certificate: &CertificateDer<'_>) -> Pin {
    Pin(Sha256::digest(certificate).into())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn verifier(trust: &Trust) -> Result<Arc<dyn ServerCertVerifier>, StartError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Pinned(pins) if pins.is_empty() => return Err(StartError::NoPins),
        Trust::Pinned(pins) => return Ok(Arc::new(Pinned { pins: pins.clone(), provider: provider() })),
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(StartError::NoRoots);
            }
        }
        Trust::CaFile(path) => {
            let bad = |problem: String| StartError::CaFile { path: path.clone(), problem };
            let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("no certificate in it".into()));
            }
        }
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| StartError::Roots(error.to_string()))?;
    Ok(verifier)
}

/// Accepts the certificates of a list. Who holds the private key of one of them is the NAS, whatever name the
/// certificate bears and however old it is: TrueNAS makes its own, for "localhost".
#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = pin(end_entity);
        let known = self.pins.iter().fold(Choice::from(0), |known, pin| known | pin.0.ct_eq(&shown.0));
        if bool::from(known) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::Error::General(format!(
                "the NAS shows a certificate that is not pinned, with SHA-256 {}",
                hex::encode(shown.0)
            )))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Accepts any certificate whose key the other end holds. Only for [`presented_pin`], which looks and hangs up.
#[derive(Debug)]
struct Onlooker(Arc<CryptoProvider>);

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A failed handshake in the words of somebody who has to do something about it.
fn explain(error: &io::Error) -> NoWay {
    // Never "compare with `tailnas doctor --pin`": that asks whoever answers at the address, and agrees with them.
    let (what, advice) = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::General(ours)) => (
            ours.clone(),
            Some(
                "If the certificate was renewed, compare the pin with System > Certificates on the NAS itself and add it \
                 to nas.pins; if not, somebody stands between us and the NAS",
            ),
        ),
        Some(rustls::Error::InvalidCertificate(problem)) => (
            format!("the certificate of the NAS is not accepted: {problem}"),
            Some(
                "If a CA of your own signed it, name that in nas.ca_file; if the NAS made it, compare its pin with \
                 System > Certificates on the NAS itself and put it into nas.pins",
            ),
        ),
        _ => (format!("TLS with the NAS failed: {error}"), None),
    };
    NoWay { what, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(pins: &[Pin], certificate: &[u8]) -> Result<ServerCertVerified, rustls::Error> {
        Pinned { pins: pins.to_vec(), provider: provider() }.verify_server_cert(
            &CertificateDer::from(certificate),
            &[],
            &ServerName::try_from("anything").unwrap(),
            &[],
            UnixTime::since_unix_epoch(Duration::ZERO),
        )
    }

    #[test]
    fn a_pinned_certificate_is_accepted_whatever_its_name_and_age_and_no_other_is() {
        let (ours, next) = (pin(&b"ours".as_slice().into()), pin(&b"next".as_slice().into()));
        assert!(judge(&[ours], b"ours").is_ok());
        assert!(judge(&[ours, next], b"next").is_ok());
        assert!(judge(&[ours, next], b"theirs").unwrap_err().to_string().contains("not pinned"));
        assert!(judge(&[], b"ours").is_err());
        let mut nearly = ours;
        nearly.0[31] ^= 1;
        assert!(judge(&[nearly], b"ours").is_err());
    }

    #[test]
    fn the_authority_is_what_a_host_header_has() {
        for (url, authority) in [
            ("wss://nas.example", "nas.example"),
            ("wss://nas.example:8443", "nas.example:8443"),
            ("wss://[fd7a::1]:444", "[fd7a::1]:444"),
            ("wss://192.0.2.1", "192.0.2.1"),
        ] {
            assert_eq!(dialer(url).unwrap().authority(), authority);
        }
    }

    #[test]
    fn nothing_but_tls_is_dialled() {
        assert!(matches!(dialer("ws://nas.example"), Err(StartError::NotTls(_))));
        assert!(matches!(dialer("http://nas.example"), Err(StartError::NotTls(_))));
    }

    fn dialer(url: &str) -> Result<Dialer, StartError> {
        dialer_by(url, Trust::Pinned(vec![Pin([0; 32])]))
    }

    fn dialer_by(url: &str, trust: Trust) -> Result<Dialer, StartError> {
        let file = || crate::secret::SecretSource::File("/nonexistent".into());
        Dialer::new(&config::Nas {
            files: Vec::new(),
            app_datasets: Vec::new(),
            app_devices: Vec::new(),
            name: "nas".parse().unwrap(),
            url: url.parse().unwrap(),
            trust,
            reader: config::Login { username: "reader".into(), key: file() },
            writer: None,
            maintenance: None,
        })
    }

    #[test]
    fn the_end_of_a_certificate_is_known_unless_it_is_pinned() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["nas.local".into()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 3, 1);
        let end = "2026-03-01T00:00:00Z".parse().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, certificate.pem()).unwrap();
        let pin = pin(certificate.der());
        for (trust, ends) in [(Trust::CaFile(file), Some(end)), (Trust::Pinned(vec![pin]), None)] {
            let dialer = dialer_by("wss://nas.local", trust).unwrap();
            assert_eq!(dialer.ends(), None, "nothing was shown yet");
            dialer.remember(&[certificate.der().clone()]);
            assert_eq!(dialer.ends(), ends);
        }
    }
}
