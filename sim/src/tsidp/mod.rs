//! TSIDP, Tailscale's identity provider: the whole OAuth flow, introspection and userinfo.
//!
//! Answers are byte for byte those of the real one, as of August 2026: also where it is odd, such as JSON
//! labelled `text/plain` or 403 for a path that does not exist. What differs on purpose:
//!
//! * **Who is asking.** The real TSIDP trusts every loopback address. Here 127.x *is* the tailnet: a known
//!   address is that node, an unknown one is nobody. [`TsidpOptions::loopback`] names the addresses that
//!   have the real loopback's privileges.
//! * **The issuer** has a port and may be plain `http`, because nothing here has a name in DNS.
//! * The admin's HTML pages are not here; an admin gets 404 for them.

mod authorize;
mod claims;
mod clients;
mod idp;
mod introspect;
mod key;
mod metadata;
mod state;
mod token;
mod userinfo;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::fault::Faults;
use crate::localapi::ca::Ca;
use crate::localapi::http::{self as wire, Slot, Tasks};
use crate::localapi::{Destination, Tailnet};
use idp::{Idp, random_hex};
use state::Grant;

/// How to start a [`Tsidp`].
#[derive(Clone, Debug)]
pub struct TsidpOptions {
    /// Where to listen; a loopback address. Port 0 lets the kernel choose.
    pub listen: SocketAddr,
    /// The tailnet in which callers are looked up.
    pub tailnet: Tailnet,
    /// Speak HTTPS with a certificate of its own authority, see [`Tsidp::ca_pem`].
    pub tls: bool,
    /// Offer token exchange, as `-enable-sts` does.
    pub sts: bool,
    /// The issuer to claim, where it is not the address listened on. Without a slash at the end.
    pub issuer: Option<String>,
    /// Addresses that count as TSIDP's own loopback (`-local-port`): admin, trusted, and nobody's node.
    pub loopback: Vec<IpAddr>,
}

impl TsidpOptions {
    /// Plain HTTP on 127.0.0.1, a port the kernel picks, no token exchange.
    pub fn new(tailnet: Tailnet) -> TsidpOptions {
        TsidpOptions {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tailnet,
            tls: false,
            sts: false,
            issuer: None,
            loopback: Vec::new(),
        }
    }
}

/// An access token to be issued without a login, see [`Tsidp::mint`].
#[derive(Clone, Debug)]
pub struct TokenSpec {
    /// The login name of a user who has a node in the tailnet.
    pub login: String,
    /// The client the token is for; the first member of `aud`.
    pub client_id: String,
    /// The resources it is for; the rest of `aud`.
    pub audiences: Vec<String>,
    /// The scopes. TSIDP itself grants only `openid`, `email` and `profile`; others are accepted here.
    pub scopes: Vec<String>,
    /// How long it is valid.
    pub lifetime: Duration,
}

impl TokenSpec {
    /// What an MCP client ends up with: `openid email profile`, five minutes.
    pub fn new(login: &str, audience: &str) -> TokenSpec {
        TokenSpec {
            login: login.to_owned(),
            client_id: "6e52117d3075041c33c9bdceddbcfef1".to_owned(),
            audiences: vec![audience.to_owned()],
            scopes: ["openid", "email", "profile"].map(str::to_owned).to_vec(),
            lifetime: Duration::from_secs(300),
        }
    }
}

/// A running TSIDP. Dropped, it stops.
pub struct Tsidp {
    address: SocketAddr,
    ca: Option<String>,
    tls: Option<TlsAcceptor>,
    idp: Arc<Idp>,
    running: Slot,
}

impl Tsidp {
    /// Start listening.
    pub async fn start(options: TsidpOptions) -> io::Result<Tsidp> {
        let TsidpOptions { listen, tailnet, tls, sts, issuer, loopback } = options;
        if !listen.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the double listens on loopback only"));
        }
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let scheme = if tls { "https" } else { "http" };
        let ca = tls.then(|| Ca::new("TSIDP double")).transpose()?;
        let acceptor = match &ca {
            None => None,
            Some(ca) => {
                let leaf = ca.issue(&["localhost", &address.ip().to_string()])?;
                Some(TlsAcceptor::from(Arc::new(leaf.server_config()?)))
            }
        };
        let idp = Idp::new(issuer.unwrap_or_else(|| format!("{scheme}://{address}")), tailnet, sts, loopback);
        let tsidp = Tsidp {
            address,
            ca: ca.map(|ca| ca.pem()),
            tls: acceptor,
            idp: Arc::new(idp),
            running: Slot::default(),
        };
        tsidp.listen(listener);
        Ok(tsidp)
    }

    /// The issuer; every endpoint's URL starts with it.
    pub fn issuer(&self) -> String {
        self.idp.issuer.clone()
    }

    /// The address listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The authority behind the certificate, as PEM, if TLS is on.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca.as_deref()
    }

    /// The faults to show, on every path.
    pub fn faults(&self) -> &Faults {
        &self.idp.faults
    }

    /// How many requests `/introspect` has had, those met by a fault included.
    pub fn introspections(&self) -> usize {
        self.idp.introspections.load(Ordering::SeqCst)
    }

    /// Issue an access token as if `/token` had.
    ///
    /// # Panics
    ///
    /// When no node of the tailnet belongs to the user.
    pub fn mint(&self, spec: TokenSpec) -> String {
        let TokenSpec { login, client_id, audiences, scopes, lifetime } = spec;
        let user = self.idp.tailnet.node_of(&login, &Destination::Tsidp);
        let user = user.unwrap_or_else(|| panic!("no node of the tailnet belongs to {login}"));
        let mut state = self.idp.state();
        let now = state.now();
        let token = random_hex(16);
        let grant = Grant {
            client: None,
            client_id,
            nonce: String::new(),
            redirect_uri: String::new(),
            challenge: None,
            scopes,
            resources: audiences,
            user,
            issued: now,
            expires: TimeDelta::from_std(lifetime)
                .ok()
                .and_then(|lifetime| now.checked_add_signed(lifetime))
                .unwrap_or(DateTime::<Utc>::MAX_UTC),
            jti: Some(random_hex(16)),
            exchanged: false,
            actor: None,
        };
        state.access.insert(token.clone(), grant);
        state.minted.push(token.clone());
        token
    }

    /// Every token that was minted, were it forgotten by now.
    pub fn minted(&self) -> Vec<String> {
        self.idp.state().minted.clone()
    }

    /// Answer introspection of `token` with exactly this, whoever asks and whether or not it was issued.
    pub fn set_claims(&self, token: &str, answer: Value) {
        self.idp.state().answers.insert(token.to_owned(), answer);
    }

    /// Forget an access token, and what [`Tsidp::set_claims`] said about it.
    pub fn revoke(&self, token: &str) {
        let mut state = self.idp.state();
        state.access.remove(token);
        state.answers.remove(token);
    }

    /// Let an access token expire now.
    pub fn expire(&self, token: &str) {
        let mut state = self.idp.state();
        let past = state.now() - TimeDelta::seconds(1);
        if let Some(grant) = state.access.get_mut(token) {
            grant.expires = past;
        }
    }

    /// Let every access token that came of a login expire now. Those of [`Tsidp::mint`] stay.
    pub fn expire_logins(&self) {
        let mut state = self.idp.state();
        let past = state.now() - TimeDelta::seconds(1);
        for grant in state.access.values_mut().filter(|grant| grant.client.is_some()) {
            grant.expires = past;
        }
    }

    /// Stop the clock at `now`. Until this is called it is the system's.
    pub fn set_now(&self, now: DateTime<Utc>) {
        self.idp.state().now = Some(now);
    }

    /// Stop the clock, `by` later than it was.
    pub fn advance(&self, by: TimeDelta) {
        let mut state = self.idp.state();
        state.now = Some(state.now() + by);
    }

    /// The time tokens are judged by.
    pub fn now(&self) -> DateTime<Utc> {
        self.idp.state().now()
    }

    /// Close the listener and every connection.
    pub async fn stop(&self) {
        if let Some(tasks) = self.running.take() {
            tasks.stop().await;
        }
    }

    /// Stop and start again at the same address. Clients and the signing key survive, since they are on
    /// disk; codes and tokens were only in memory.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        {
            let mut state = self.idp.state();
            state.codes.clear();
            state.access.clear();
            state.refresh.clear();
        }
        self.listen(TcpListener::bind(self.address).await?);
        Ok(())
    }

    fn listen(&self, listener: TcpListener) {
        let tasks = Tasks::default();
        let (connections, idp, tls) = (tasks.share(), Arc::clone(&self.idp), self.tls.clone());
        tasks.spawn(async move {
            loop {
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::time::sleep(wire::AFTER_FAILED_ACCEPT).await;
                    continue;
                };
                let (idp, tls, peer) = (Arc::clone(&idp), tls.clone(), Some(peer.ip()));
                connections.spawn(async move {
                    match tls {
                        None => wire::serve(stream, peer, idp).await,
                        // Whoever fails the handshake knows why.
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                wire::serve(stream, peer, idp).await;
                            }
                        }
                    }
                });
            }
        });
        self.running.put(tasks);
    }
}

impl Drop for Tsidp {
    fn drop(&mut self) {
        if let Some(tasks) = self.running.take() {
            tasks.cancel();
        }
    }
}
