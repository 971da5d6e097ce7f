//! What tailscaled knows: who is at the other end of a connection, and who we are ourselves.

mod certificate;
mod link;
mod peer;
mod roster;
mod status;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;

pub use self::certificate::{Certificate, CertificateError};
pub use self::peer::{Peer, PeerUser};
pub use self::roster::{Node, Roster};
pub use self::status::TailnetStatus;

use self::link::Links;
use crate::clock::Clock;
use crate::net::json;

/// How long tailscaled, on this same machine, may take for a question with all its repetitions, from when it is asked.
const PATIENCE: Duration = Duration::from_secs(1);

/// How many questions there are at a time, and so connections: each costs a file descriptor, and anybody who reaches
/// our port causes a question.
const AT_ONCE: usize = 32;

/// How long a question may wait for its turn. That others ask is not tailscaled's silence, and it answers thousands a
/// second.
const QUEUE: Duration = Duration::from_secs(5);

/// How long tailscaled may take for a certificate: the first one it has to get from Let's Encrypt.
const CERTIFICATE_PATIENCE: Duration = Duration::from_mins(2);

/// How deep an answer may be nested. Capability values are whatever the tailnet's policy file says.
const DEEPEST: usize = 32;

/// The pauses before a loopback connection that nobody knows is asked about again.
const LATE: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(25)];

/// How long we believe to be the node that we were. It changes only when this machine is logged in anew.
const OWN_FOR: Duration = Duration::from_secs(30);

/// tailscaled's LocalAPI. Clones share their connections.
#[derive(Clone, Debug)]
pub struct LocalApi(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    links: Links,
    places: Semaphore,
    clock: Clock,
    /// Our own stable id, and when we were told.
    own: Mutex<Option<(String, Duration)>>,
}

/// Why WhoIs named nobody.
#[derive(Debug, thiserror::Error)]
pub enum WhoisError {
    /// tailscaled answered: there is nobody of the tailnet at that address.
    #[error("tailscaled knows nobody at that address")]
    Unknown,
    /// tailscaled did not answer, so it may be anybody.
    #[error("tailscaled could not be asked who that is")]
    Unavailable(#[from] Silence),
}

/// Why tailscaled gave no answer that we can use.
#[derive(Debug, thiserror::Error)]
pub enum Silence {
    /// Its socket is not there, or nobody listens.
    #[error("its socket cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The connection broke.
    #[error("the connection to it broke")]
    Broken(#[source] hyper::Error),
    /// Longer than we read.
    #[error("its answer broke off or is too long")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Too late.
    #[error("it did not answer in time")]
    TimedOut,
    /// It was not even asked: others were, all the time.
    #[error("too many questions were before this one")]
    Crowded,
    /// Some other status than the ones that mean something.
    #[error("it answered with status {0}")]
    Status(u16),
    /// Not the JSON it should be.
    #[error("its answer is not what LocalAPI says")]
    NotJson(#[from] json::BadJson),
    /// JSON without what we need.
    #[error("its answer lacks what LocalAPI promises")]
    Incomplete(#[from] serde_json::Error),
    /// JSON that disagrees with itself.
    #[error("its answer contradicts itself: {0}")]
    Contradiction(&'static str),
}

impl LocalApi {
    /// The LocalAPI behind `socket`. Nothing is connected yet.
    #[must_use]
    pub fn new(socket: &Path, clock: Clock) -> Self {
        let (links, places) = (Links::new(socket.to_owned()), Semaphore::new(AT_ONCE));
        Self(Arc::new(Inner { links, places, clock, own: Mutex::default() }))
    }

    /// Asks who is at the other end of a connection from `addr`. A port of 0 asks about the address alone,
    /// for connections whose port a proxy in front does not tell.
    pub async fn whois(&self, addr: SocketAddr) -> Result<Peer, WhoisError> {
        // Without the scope id of a link-local address and with IPv4 as IPv4, as tailscaled writes them.
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        self.within_patience(self.whois_with_repetitions(addr)).await?
    }

    /// Asks who we are.
    pub async fn status(&self) -> Result<TailnetStatus, Silence> {
        // A list of all peers, which can be megabytes, is not what we ask for.
        match self.within_patience(self.0.links.get("/localapi/v0/status?peers=false")).await?? {
            (StatusCode::OK, body) => TailnetStatus::read(&body),
            (status, _) => Err(Silence::Status(status.as_u16())),
        }
    }

    /// The certificate for `domain`, which must be one of the names that the status lists. tailscaled renews
    /// it in time as long as it is asked for now and then.
    ///
    /// # Errors
    ///
    /// When there is none for us, with what tailscaled said.
    pub async fn certificate(&self, domain: &str) -> Result<Certificate, CertificateError> {
        let path = format!("/localapi/v0/cert/{domain}?type=pair");
        let answer = tokio::time::timeout(CERTIFICATE_PATIENCE, self.0.links.get(&path));
        let (status, body) = answer.await.map_err(|_| Silence::TimedOut)??;
        Certificate::read(status, &body)
    }

    /// Asks for everybody on the tailnet. On a large one that is a long list, and beyond a mebibyte it is none.
    pub async fn roster(&self) -> Result<Roster, Silence> {
        match self.within_patience(self.0.links.get("/localapi/v0/status")).await?? {
            (StatusCode::OK, body) => Roster::read(&body),
            (status, _) => Err(Silence::Status(status.as_u16())),
        }
    }

    /// The stable id of our own node, as of at most 30 seconds ago. A node that has none is of no use to
    /// anybody who wants to tell others from it.
    pub async fn own_node_id(&self) -> Result<String, Silence> {
        let now = self.0.clock.mono();
        let known = self.0.own.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((id, since)) = known
            && now.saturating_sub(since) < OWN_FOR
        {
            return Ok(id);
        }
        let id = self.status().await?.self_id().to_owned();
        if id.is_empty() {
            return Err(Silence::Contradiction("it names others and has no node of its own"));
        }
        *self.0.own.lock().unwrap_or_else(PoisonError::into_inner) = Some((id.clone(), now));
        Ok(id)
    }

    async fn whois_with_repetitions(&self, addr: SocketAddr) -> Result<Peer, WhoisError> {
        let asked = if addr.port() == 0 { addr.ip().to_string() } else { addr.to_string() };
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("addr", &asked).finish();
        let path = format!("/localapi/v0/whois?{query}");
        // With userspace networking, tailscaled connects to us from a loopback port and registers whose it
        // is only afterwards (tailscale/tailscale#1616). A peer that is not on loopback is known or is not.
        let mut pauses = if addr.ip().is_loopback() { LATE.iter() } else { [].iter() };
        loop {
            match self.0.links.get(&path).await? {
                (StatusCode::OK, body) => return Ok(Peer::read(addr, &body)?),
                (StatusCode::NOT_FOUND, _) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(*pause).await,
                    None => return Err(WhoisError::Unknown),
                },
                (status, _) => return Err(Silence::Status(status.as_u16()).into()),
            }
        }
    }

    /// Waits for its turn, and then for an answer.
    async fn within_patience<T>(&self, answer: impl Future<Output = T>) -> Result<T, Silence> {
        let turn = tokio::time::timeout(QUEUE, self.0.places.acquire()).await;
        let _place = turn.map_err(|_| Silence::Crowded)?;
        tokio::time::timeout(PATIENCE, answer).await.map_err(|_| Silence::TimedOut)
    }
}

/// Private parts for the fuzz targets; in no build of the daemon.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    /// Reads an answer of WhoIs as it came.
    #[must_use]
    pub fn whois(addr: std::net::SocketAddr, body: &[u8]) -> Option<super::Peer> {
        super::Peer::read(addr, body).ok()
    }
}
