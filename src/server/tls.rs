//! TLS with the certificate that tailscaled keeps for our name, renewed without a restart.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use crate::clock::Clock;
use crate::lifecycle::Lifecycle;
use crate::net::certificate;
use crate::tailnet::{Certificate, CertificateError, LocalApi};

use super::health::{Ending, Ends};

/// How often tailscaled is asked for the certificate. It renews its own when a third of its life is left,
/// and only if it is asked; Let's Encrypt's shortest live six days.
const EVERY: Duration = Duration::from_hours(12);

/// How soon it is asked again where that failed.
const AGAIN: Duration = Duration::from_hours(1);

/// Our side of TLS. Clones share the certificate.
#[derive(Clone)]
pub struct Tls {
    name: Arc<Name>,
    acceptor: TlsAcceptor,
    local_api: LocalApi,
}

/// The certificate for our name, at present.
#[derive(Debug)]
struct Name {
    domain: String,
    provider: Arc<CryptoProvider>,
    certified: RwLock<Arc<CertifiedKey>>,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// There is no certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// There is one, and it is no use.
    #[error("the certificate that tailscaled gave cannot be used")]
    Unusable(#[from] rustls::Error),
}

impl Tls {
    /// TLS with the certificate that `local_api` has for `domain` now.
    ///
    /// # Errors
    ///
    /// When it has none, or one that cannot be used.
    pub async fn new(domain: &str, local_api: &LocalApi) -> Result<Self, TlsError> {
        // Named, and not taken from what the process happens to have installed.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certified = certified(local_api.certificate(domain).await?, &provider)?;
        let name = Arc::new(Name {
            domain: domain.to_owned(),
            provider: Arc::clone(&provider),
            certified: RwLock::new(certified),
        });
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&name) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { name, acceptor: TlsAcceptor::from(Arc::new(config)), local_api: local_api.clone() })
    }

    /// What turns a connection into one with TLS.
    pub(super) const fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Keeps the certificate fresh until the lifecycle stops, and tells `ends` when it ends.
    pub(super) async fn keep_fresh(self, ends: Ends, clock: Clock, lifecycle: Lifecycle) {
        let mut wait = EVERY;
        loop {
            self.tell(&ends, clock.now());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = lifecycle.stopping() => return,
            }
            wait = match self.renew().await {
                Ok(()) => EVERY,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(
                        error,
                        domain = self.name.domain,
                        "the certificate could not be renewed; the old one stays in use, and it is tried again"
                    );
                    AGAIN
                }
            };
        }
    }

    fn tell(&self, ends: &Ends, now: DateTime<Utc>) {
        let certified = self.name.certified();
        let validity = certified.cert.first().and_then(|leaf| certificate::validity(leaf));
        ends.note(Ending::OurCertificate, None, validity.map(|(_, end)| end));
        if let Some((begin, end)) = validity
            && is_late(begin, end, now)
        {
            tracing::warn!(
                domain = self.name.domain,
                ends = %end.format("%Y-%m-%d %H:%M UTC"),
                "our certificate should have been renewed and tailscaled has no newer one; once it ends, no client \
                 connects: see journalctl -u tailscaled, and whether HTTPS certificates are on for the tailnet"
            );
        }
    }

    /// Puts the certificate that tailscaled has now into the place of the old one, which stays where that fails.
    async fn renew(&self) -> Result<(), TlsError> {
        let fresh = self.local_api.certificate(&self.name.domain).await?;
        let fresh = certified(fresh, &self.name.provider)?;
        let mut current = self.name.certified.write().unwrap_or_else(PoisonError::into_inner);
        if current.cert != fresh.cert {
            tracing::info!(domain = self.name.domain, "the certificate was renewed");
        }
        *current = fresh;
        Ok(())
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tls").field(&self.name.domain).finish()
    }
}

/// Whether a certificate should have been renewed by now: tailscaled does that with a third of its life left, however
/// long that life is.
fn is_late(begin: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    end - now < (end - begin) / 4
}

/// The pair as rustls wants it; a key that is not the certificate's is an error.
fn certified(
    Certificate { chain, key }: Certificate,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, rustls::Error> {
    CertifiedKey::from_der(chain, key, provider).map(Arc::new)
}

impl Name {
    fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ResolvesServerCert for Name {
    /// Whoever asks for another name, or for none, has not come to us.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name()?;
        named.eq_ignore_ascii_case(&self.domain).then(|| self.certified())
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tailnas_sim::localapi::{LocalApi as Double, Tailnet};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::clock::Clock;

    struct Bench {
        double: Double,
        local_api: LocalApi,
        name: String,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        async fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let tailnet = Tailnet::new("tail1234.ts.net");
            let name = tailnet.self_name();
            let double = Double::start(&dir.path().join("tailscaled.sock"), tailnet).await.unwrap();
            let local_api = LocalApi::new(double.socket(), Clock::system());
            Self { double, local_api, name, _dir: dir }
        }

        /// What a client that trusts the tailnet's authority gets from `tls` under `name`: the certificate.
        async fn handshake(&self, tls: &Tls, name: &str) -> std::io::Result<CertificateDer<'static>> {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(self.double.ca_pem().as_bytes()).unwrap()).unwrap();
            let config = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let (ours, theirs) = tokio::io::duplex(64 * 1024);
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
            let (server, client) = tokio::join!(tls.acceptor().accept(ours), connector.connect(name, theirs));
            let (mut client, mut server) = (client?, server?);
            server.write_all(b"hello").await?;
            server.shutdown().await?;
            let mut said = String::new();
            client.read_to_string(&mut said).await?;
            assert_eq!(said, "hello");
            Ok(client.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned())
        }
    }

    #[tokio::test]
    async fn our_name_is_shown_and_no_other() {
        let bench = Bench::start().await;
        let tls = Tls::new(&bench.name, &bench.local_api).await.unwrap();
        bench.handshake(&tls, &bench.name).await.unwrap();
        for other in ["evil.example", "100.64.0.1"] {
            assert!(bench.handshake(&tls, other).await.is_err(), "{other}");
        }
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_shown_to_the_next_connection() {
        let bench = Bench::start().await;
        let tls = Tls::new(&bench.name, &bench.local_api).await.unwrap();
        let first = bench.handshake(&tls, &bench.name).await.unwrap();
        tls.renew().await.unwrap();
        assert_eq!(bench.handshake(&tls, &bench.name).await.unwrap(), first);
        bench.double.renew_certificate();
        tls.renew().await.unwrap();
        assert_ne!(bench.handshake(&tls, &bench.name).await.unwrap(), first);
    }

    #[tokio::test]
    async fn the_end_of_our_certificate_can_be_seen_from_outside() {
        let bench = Bench::start().await;
        let tls = Tls::new(&bench.name, &bench.local_api).await.unwrap();
        let shown = bench.handshake(&tls, &bench.name).await.unwrap();
        let (lifecycle, _deaths) = Lifecycle::new(Clock::system());
        let ends = Ends::default();
        lifecycle.service("certificate", tls.keep_fresh(ends.clone(), Clock::system(), lifecycle.clone()));
        while ends.samples().is_empty() {
            tokio::task::yield_now().await;
        }
        let [sample] = ends.samples().try_into().unwrap();
        assert_eq!(sample.name, "tailnas_certificate_expiry_timestamp_seconds");
        assert!(sample.labels.is_empty());
        let end = certificate::ends(&shown).unwrap().timestamp();
        assert_eq!(sample.value.to_string(), end.to_string());
        lifecycle.end();
    }

    #[test]
    fn a_certificate_is_late_once_tailscaled_should_have_renewed_it() {
        let day = |day: i64| DateTime::UNIX_EPOCH + chrono::TimeDelta::days(day);
        // Of ninety days, and of Let's Encrypt's shortest.
        for (life, in_time, late) in [(90, 67, 68), (6, 4, 5)] {
            assert!(!is_late(day(0), day(life), day(in_time)));
            assert!(is_late(day(0), day(life), day(late)));
            assert!(is_late(day(0), day(life), day(life + 1)));
        }
    }

    #[tokio::test]
    async fn a_failed_renewal_leaves_the_old_one_in_use() {
        let bench = Bench::start().await;
        let tls = Tls::new(&bench.name, &bench.local_api).await.unwrap();
        let first = bench.handshake(&tls, &bench.name).await.unwrap();
        bench.double.renew_certificate();
        bench.double.deny_certificates(true);
        assert!(matches!(tls.renew().await, Err(TlsError::Certificate(CertificateError::Refused))));
        bench.double.stop().await;
        assert!(matches!(tls.renew().await, Err(TlsError::Certificate(CertificateError::Unavailable(_)))));
        assert_eq!(bench.handshake(&tls, &bench.name).await.unwrap(), first);
    }

    #[tokio::test]
    async fn what_is_no_certificate_of_ours_is_told_apart() {
        let bench = Bench::start().await;
        let other = Tls::new("other.tail1234.ts.net", &bench.local_api).await.unwrap_err();
        assert!(other.to_string().contains("invalid domain"), "{other}");
        for body in ["", "not PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            bench.double.faults().once(tailnas_sim::fault::Fault::Body("text/plain".into(), body.into()));
            let error = Tls::new(&bench.name, &bench.local_api).await.unwrap_err();
            assert!(matches!(error, TlsError::Certificate(CertificateError::NotOne)), "{body:?}: {error}");
        }
    }
}
