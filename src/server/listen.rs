//! Where connections come in, and what may be believed of each.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

use crate::clock::Seldom;
use crate::config::{self, Listen, is_tailnet, tailnet_address};
use crate::tailnet::{CertificateError, LocalApi};

use super::accept::Stream;
use super::tls::{Tls, TlsError};

/// How often it is looked whether what we wait for is there.
const AGAIN: Duration = Duration::from_secs(1);

/// How a connection reached us.
#[derive(Clone, Debug)]
pub enum Via {
    /// Straight from this address.
    Direct(SocketAddr),
    /// Through `tailscale serve`, over a unix socket that only root can have opened.
    Serve,
}

impl Via {
    /// The address at the other end, where the connection itself has one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Direct(address) => Some(address.ip()),
            Self::Serve => None,
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    /// Plain HTTP. The MCP endpoint of a configuration is never on one; the demo listens on loopback this way.
    Plain(TcpListener),
    /// A tailnet address of this machine, with TLS of our own.
    Tailnet(TcpListener, Tls),
    /// A unix socket behind `tailscale serve`.
    Serve(ServeSocket),
}

/// A unix socket, taken away again with the listener where we made it.
#[derive(Debug)]
pub struct ServeSocket {
    listener: UnixListener,
    remove: Option<PathBuf>,
    strangers: Seldom,
}

/// Why a configured address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket could not be bound.
    #[error("cannot listen on {at}")]
    Bind {
        /// Where.
        at: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address is another machine's.
    #[error(
        "cannot listen on {address}: it is not this machine's. Its tailnet addresses are {}. Correct server.listen",
        in_words(.ours)
    )]
    NotOurs {
        /// What the configuration says.
        address: SocketAddr,
        /// What tailscaled says.
        ours: Vec<IpAddr>,
    },
    /// tailscaled has no certificate for that name.
    #[error(
        "server.url names {domain}, and tailscaled can get certificates for {}. {}",
        in_words(.offered),
        if .offered.is_empty() {
            "Enable HTTPS certificates on the DNS page of the tailnet's admin console"
        } else {
            "Let server.url name this machine as the tailnet does"
        }
    )]
    NoSuchName {
        /// The host of our URL.
        domain: String,
        /// The names that tailscaled can get certificates for.
        offered: Vec<String>,
    },
    /// There is no TLS.
    #[error("cannot listen with TLS")]
    Tls(#[from] TlsError),
    /// systemd handed over nothing.
    #[error("listen says \"systemd\", but systemd handed over no socket. Enable tailnas.socket")]
    NoSockets,
    /// systemd handed over a socket of a kind that we do not take.
    #[error(
        "systemd handed over a socket that is neither a unix nor a TCP stream socket. Put \
         ListenStream=/run/tailnas/tailnas.sock into tailnas.socket, and `tailscale serve` in front of it"
    )]
    WrongSocket,
    /// systemd handed over a TCP socket that is not on the tailnet.
    #[error("systemd handed over a socket on {address}, which {why}. Mend ListenStream= in tailnas.socket")]
    WrongAddress {
        /// Where it is bound.
        address: SocketAddr,
        /// What is wrong with that.
        why: config::Complaint,
    },
}

fn in_words<T: std::fmt::Display>(all: &[T]) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

/// Binds everything that the configuration names. What only tailscaled can give, an address of the tailnet and
/// a certificate, is waited for: at boot it may be a minute behind us. `waiting` is told what for.
///
/// # Errors
///
/// The first place that cannot be listened on, and that no waiting mends.
pub async fn bind(
    server: &config::Server,
    local_api: &LocalApi,
    waiting: &mut impl FnMut(&str),
) -> Result<Vec<Listener>, ListenError> {
    let mut tailnet = Vec::new();
    let mut bound = Vec::new();
    // Whatever may be waited for comes first, so that nobody finds an open socket that is not served yet.
    for at in &server.listen {
        if let Listen::Tailnet(address) = at {
            tailnet.push(when_there(*address, local_api, std::net::TcpListener::bind, waiting).await?);
        }
    }
    for at in &server.listen {
        match at {
            Listen::Unix(path) => bound.push(Listener::Serve(ServeSocket::bind(path)?)),
            Listen::Systemd => from_systemd(&mut tailnet, &mut bound)?,
            Listen::Tailnet(_) => {}
        }
    }
    if !tailnet.is_empty() {
        let tls = when_certified(server.url.host(), local_api, waiting).await?;
        for listener in tailnet {
            bound.push(Listener::Tailnet(into_async(listener)?, tls.clone()));
        }
    }
    Ok(bound)
}

/// Binds the address for health and metrics, in plain HTTP, as soon as it is there.
///
/// # Errors
///
/// When it cannot be bound, and no waiting mends that.
pub async fn bind_metrics(
    address: SocketAddr,
    local_api: &LocalApi,
    waiting: &mut impl FnMut(&str),
) -> Result<Listener, ListenError> {
    let bound = when_there(address, local_api, std::net::TcpListener::bind, waiting).await?;
    into_async(bound).map(Listener::Plain)
}

/// Binds `address` as soon as it is there.
async fn when_there<T>(
    address: SocketAddr,
    local_api: &LocalApi,
    mut bind: impl FnMut(SocketAddr) -> io::Result<T>,
    waiting: &mut impl FnMut(&str),
) -> Result<T, ListenError> {
    loop {
        let source = match bind(address) {
            Ok(bound) => return Ok(bound),
            Err(error) => error,
        };
        if source.kind() != io::ErrorKind::AddrNotAvailable {
            return Err(ListenError::Bind { at: address.to_string(), source });
        }
        let why = match local_api.status().await {
            Ok(status) if !status.is_running() => {
                format!("tailscaled is in the state {:?}", status.backend_state())
            }
            Ok(status) if !status.addresses().contains(&address.ip()) => {
                return Err(ListenError::NotOurs { address, ours: status.addresses().to_vec() });
            }
            Ok(_) => "tailscaled has it, and no network interface does. With userspace networking none ever \
                      will: use a unix socket behind `tailscale serve`"
                .to_owned(),
            Err(silence) => format!("tailscaled cannot be asked: {silence}"),
        };
        waiting(&format!("waiting for the address {address}: {why}"));
        tokio::time::sleep(AGAIN).await;
    }
}

/// TLS under `domain`, as soon as tailscaled has a certificate for it.
async fn when_certified(
    domain: &str,
    local_api: &LocalApi,
    waiting: &mut impl FnMut(&str),
) -> Result<Tls, ListenError> {
    loop {
        let why = match local_api.status().await {
            Ok(status) if !status.is_running() => {
                format!("tailscaled is in the state {:?}", status.backend_state())
            }
            Ok(status) if !status.cert_domains().iter().any(|name| name == domain) => {
                let offered = status.cert_domains().to_vec();
                return Err(ListenError::NoSuchName { domain: domain.to_owned(), offered });
            }
            Ok(_) => match Tls::new(domain, local_api).await {
                Ok(tls) => return Ok(tls),
                // Let's Encrypt cannot be reached yet, most likely.
                Err(TlsError::Certificate(
                    error @ (CertificateError::None(_) | CertificateError::Unavailable(_)),
                )) => error.to_string(),
                Err(error) => return Err(error.into()),
            },
            Err(silence) => format!("tailscaled cannot be asked: {silence}"),
        };
        waiting(&format!("waiting for the certificate of {domain}: {why}"));
        tokio::time::sleep(AGAIN).await;
    }
}

fn into_async(listener: std::net::TcpListener) -> Result<TcpListener, ListenError> {
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map_err(|source| ListenError::Bind { at: "a tailnet address".to_owned(), source })
}

/// Takes the sockets that systemd handed over: TCP sockets into `tailnet`, unix sockets into `bound`.
fn from_systemd(
    tailnet: &mut Vec<std::net::TcpListener>,
    bound: &mut Vec<Listener>,
) -> Result<(), ListenError> {
    let mut handed_over = listenfd::ListenFd::from_env();
    if handed_over.len() == 0 {
        return Err(ListenError::NoSockets);
    }
    let failed = |source| ListenError::Bind { at: "systemd's socket".to_owned(), source };
    for index in 0..handed_over.len() {
        // One that is of the other kind is left where it is.
        if let Ok(Some(listener)) = handed_over.take_unix_listener(index) {
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = UnixListener::from_std(listener).map_err(failed)?;
            bound.push(Listener::Serve(ServeSocket { listener, remove: None, strangers: Seldom::default() }));
        } else if let Ok(Some(listener)) = handed_over.take_tcp_listener(index) {
            tailnet.push(on_the_tailnet(listener)?);
        } else {
            return Err(ListenError::WrongSocket);
        }
    }
    Ok(())
}

/// The socket, if it is bound where the configuration could have bound one.
fn on_the_tailnet(listener: std::net::TcpListener) -> Result<std::net::TcpListener, ListenError> {
    let at = || "systemd's socket".to_owned();
    let address = listener.local_addr().map_err(|source| ListenError::Bind { at: at(), source })?;
    match tailnet_address(address) {
        Ok(_) => Ok(listener),
        Err(why) => Err(ListenError::WrongAddress { address, why }),
    }
}

impl ServeSocket {
    fn bind(path: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Bind { at: format!("unix:{}", path.display()), source };
        // A socket that a killed daemon left behind is in the way; anything else there is not ours to remove.
        match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => {
                return Err(failed(io::Error::new(io::ErrorKind::AddrInUse, "another daemon answers there")));
            }
            // A regular file refuses connections too, and is somebody's.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && is_socket(path) => {
                std::fs::remove_file(path).map_err(failed)?;
            }
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Self { listener, remove: Some(path.to_owned()), strangers: Seldom::default() })
    }
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

impl Drop for ServeSocket {
    fn drop(&mut self) {
        if let Some(path) = &self.remove {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Listener {
    /// What keeps our certificate fresh, where there is one.
    pub(super) const fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tailnet(_, tls) => Some(tls),
            Self::Plain(_) | Self::Serve(_) => None,
        }
    }

    /// The next connection that may speak to us.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub async fn accept(&self) -> io::Result<(Accepted, Via)> {
        match self {
            Self::Plain(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok((Accepted::Tcp(stream), Via::Direct(peer)))
            }
            Self::Tailnet(listener, tls) => loop {
                let (stream, peer) = listener.accept().await?;
                // Linux takes a packet for this address from any network that it is in. Nobody there gets as
                // far as a handshake.
                if is_tailnet(peer.ip().to_canonical()) {
                    stream.set_nodelay(true)?;
                    return Ok((Accepted::Tls(stream, tls.acceptor().clone()), Via::Direct(peer)));
                }
                tracing::debug!(%peer, "closed a connection that did not come over the tailnet");
            },
            Self::Serve(socket) => loop {
                let (stream, _) = socket.listener.accept().await?;
                // The headers that say who is calling are believed on this socket, so only tailscaled, which
                // is root, may write to it. Under PrivateUsers an unmapped uid reads 65534 and is refused.
                let who = match stream.peer_cred() {
                    Ok(cred) if cred.uid() == 0 => return Ok((Accepted::Unix(stream), Via::Serve)),
                    Ok(cred) => format!("uid {}", cred.uid()),
                    Err(error) => error.to_string(),
                };
                if let Some(times) = socket.strangers.due() {
                    tracing::warn!(who, times, "refused a local process that is not root");
                }
            },
        }
    }
}

/// A connection, before anything was read from it.
pub enum Accepted {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over TCP, with a handshake to come.
    Tls(TcpStream, TlsAcceptor),
    /// Over a unix socket.
    Unix(UnixStream),
}

impl Accepted {
    /// The stream, once it can carry HTTP.
    ///
    /// # Errors
    ///
    /// When it could not be set up.
    pub async fn ready(self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(stream) => Box::new(stream),
            Self::Tls(stream, acceptor) => Box::new(acceptor.accept(stream).await?),
            Self::Unix(stream) => Box::new(stream),
        })
    }
}

#[cfg(test)]
mod tests {
    use tailnas_sim::fault::Fault;
    use tailnas_sim::localapi::{LocalApi as Double, SelfNode, Tailnet};

    use super::*;
    use crate::clock::Clock;

    const OURS: &str = "100.64.0.1:443";

    struct Bench {
        tailnet: Tailnet,
        double: Double,
        local_api: LocalApi,
        _dir: tempfile::TempDir,
    }

    async fn bench() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let tailnet = Tailnet::new("tail1234.ts.net");
        tailnet.set_self(SelfNode {
            host: "nas-mcp".to_owned(),
            addresses: vec!["100.64.0.1".parse().unwrap()],
            tags: Vec::new(),
            user: 1,
        });
        let double = Double::start(&dir.path().join("tailscaled.sock"), tailnet.clone()).await.unwrap();
        let local_api = LocalApi::new(double.socket(), Clock::system());
        Bench { tailnet, double, local_api, _dir: dir }
    }

    fn not_there() -> io::Error {
        io::Error::from(io::ErrorKind::AddrNotAvailable)
    }

    #[tokio::test]
    async fn an_address_that_comes_late_is_waited_for_and_it_is_told_why() {
        let bench = bench().await;
        // tailscaled comes up, then logs in, then the interface gets its address.
        bench.double.faults().once(Fault::Drop);
        bench.tailnet.set_backend_state("NeedsLogin");
        let mut told: Vec<String> = Vec::new();
        let mut tell = |why: &str| {
            told.push(why.to_owned());
            if told.len() == 2 {
                bench.tailnet.set_backend_state("Running");
            }
        };
        let mut tries = 0;
        let bind = |address| {
            tries += 1;
            if tries < 4 { Err(not_there()) } else { Ok(address) }
        };
        let address = when_there(OURS.parse().unwrap(), &bench.local_api, bind, &mut tell).await;
        assert_eq!(address.unwrap().to_string(), OURS);
        assert_eq!(told.len(), 3, "{told:#?}");
        for (told, why) in told.iter().zip(["cannot be asked", "\"NeedsLogin\"", "no network interface does"])
        {
            assert!(told.contains(OURS) && told.contains(why), "{told}");
        }
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_not_waited_for() {
        let bench = bench().await;
        let other = "100.64.0.9:443".parse().unwrap();
        let error = when_there::<()>(other, &bench.local_api, |_| Err(not_there()), &mut |_| {}).await;
        assert!(error.unwrap_err().to_string().contains("Its tailnet addresses are 100.64.0.1"));
    }

    #[tokio::test]
    async fn what_no_waiting_mends_is_not_waited_for() {
        let bench = bench().await;
        let taken = |_| Err(io::Error::from(io::ErrorKind::AddrInUse));
        let error = when_there::<()>(OURS.parse().unwrap(), &bench.local_api, taken, &mut |_| {}).await;
        assert!(matches!(error, Err(ListenError::Bind { .. })));
    }

    #[tokio::test]
    async fn a_name_without_a_certificate_is_told_at_once() {
        let bench = bench().await;
        let ours = bench.tailnet.self_name();
        assert!(when_certified(&ours, &bench.local_api, &mut |_| {}).await.is_ok());
        let error = when_certified("nas.example", &bench.local_api, &mut |_| {}).await.unwrap_err();
        assert!(error.to_string().contains(&format!("can get certificates for {ours}")), "{error}");
        bench.tailnet.set_https(false);
        let error = when_certified(&ours, &bench.local_api, &mut |_| {}).await.unwrap_err();
        assert!(error.to_string().contains("Enable HTTPS certificates"), "{error}");
    }

    #[tokio::test]
    async fn a_certificate_that_comes_late_is_waited_for() {
        let bench = bench().await;
        bench.tailnet.set_backend_state("Starting");
        let mut told = 0;
        let ours = bench.tailnet.self_name();
        let mut tell = |_: &str| {
            told += 1;
            bench.tailnet.set_backend_state("Running");
        };
        assert!(when_certified(&ours, &bench.local_api, &mut tell).await.is_ok());
        assert_eq!(told, 1);
    }

    #[test]
    fn systemd_cannot_hand_over_what_the_configuration_could_not_name() {
        for (address, why) in [
            ("127.0.0.1:0", "is open to every program on this machine"),
            ("0.0.0.0:0", "would listen on every network"),
        ] {
            let error = on_the_tailnet(std::net::TcpListener::bind(address).unwrap()).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[tokio::test]
    async fn who_does_not_come_over_the_tailnet_is_closed_before_a_handshake() {
        use tokio::io::AsyncReadExt as _;
        let bench = bench().await;
        let tls = Tls::new(&bench.tailnet.self_name(), &bench.local_api).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = Listener::Tailnet(listener, tls);
        let accepted = async {
            let _ = tokio::time::timeout(Duration::from_secs(2), listener.accept()).await;
            panic!("it was accepted, or never closed");
        };
        let closed = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.read(&mut [0; 1]).await
        };
        tokio::select! {
            () = accepted => {}
            read = closed => assert_eq!(read.unwrap_or_default(), 0),
        }
    }
}
