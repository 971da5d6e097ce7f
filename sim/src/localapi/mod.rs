//! tailscaled's LocalAPI: HTTP/1.1 over a unix socket.
//!
//! Three of its endpoints are here: `whois`, `status` and `cert/`. Statuses and bodies are those of
//! tailscaled 1.102.

mod answer;
pub(crate) mod ca;
pub(crate) mod http;
mod tailnet;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ::http::header::{HOST, ORIGIN, REFERER};
use ::http::{HeaderName, StatusCode};
use tokio::net::UnixListener;

pub(crate) use answer::prefix;
pub use tailnet::{Capabilities, Destination, SelfNode, Tailnet, User};
pub(crate) use tailnet::{Peer, TSIDP_CAPABILITY};

use crate::fault::Faults;
use ca::Ca;
use http::{Handler, Request, Response, Slot, Tasks, error, response, set};

/// A LocalAPI on a unix socket. Dropped, it stops and removes the socket.
pub struct LocalApi {
    socket: PathBuf,
    api: Arc<Api>,
    running: Slot,
}

struct Api {
    tailnet: Tailnet,
    faults: Faults,
    log: Mutex<Vec<String>>,
    late: AtomicUsize,
    certs_denied: AtomicBool,
    ca: Ca,
    pair: Mutex<Option<(String, String)>>,
}

impl LocalApi {
    /// Listen at `socket`. A socket left there by someone else is replaced, as tailscaled does.
    pub async fn start(socket: &Path, tailnet: Tailnet) -> io::Result<LocalApi> {
        let api = Api {
            tailnet,
            faults: Faults::default(),
            log: Mutex::default(),
            late: AtomicUsize::new(0),
            certs_denied: AtomicBool::new(false),
            ca: Ca::new("tailscaled double")?,
            pair: Mutex::default(),
        };
        let local = LocalApi { socket: socket.to_owned(), api: Arc::new(api), running: Slot::default() };
        local.listen()?;
        Ok(local)
    }

    /// Cut every connection and remove the socket, as when tailscaled is stopped.
    pub async fn stop(&self) {
        if let Some(tasks) = self.running.take() {
            tasks.stop().await;
            remove(&self.socket);
        }
    }

    /// Stop, then listen again: the same path, a new inode.
    pub async fn restart(&self) -> io::Result<()> {
        self.stop().await;
        self.listen()
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The faults to show.
    pub fn faults(&self) -> &Faults {
        &self.api.faults
    }

    /// Every request so far, as `GET /localapi/v0/whois?addr=127.0.0.2:40000`.
    pub fn requests(&self) -> Vec<String> {
        self.api.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answer the next `n` WhoIs of known addresses with 404. A userspace tailscaled registers a
    /// connection only after it has dialled, so the one that accepts it can ask too early.
    pub fn register_late(&self, n: usize) {
        self.api.late.store(n, Ordering::SeqCst);
    }

    /// Refuse certificates, as tailscaled does to a user it was not told to give them to.
    pub fn deny_certificates(&self, denied: bool) {
        self.api.certs_denied.store(denied, Ordering::SeqCst);
    }

    /// Answer with another certificate from now on, as tailscaled does once it has renewed its own.
    pub fn renew_certificate(&self) {
        *self.api.pair.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The authority behind the certificates of `cert/`, as PEM.
    pub fn ca_pem(&self) -> String {
        self.api.ca.pem()
    }

    fn listen(&self) -> io::Result<()> {
        remove(&self.socket);
        let listener = UnixListener::bind(&self.socket)?;
        let tasks = Tasks::default();
        let (connections, api) = (tasks.share(), Arc::clone(&self.api));
        tasks.spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => connections.spawn(http::serve(stream, None, Arc::clone(&api))),
                    Err(_) => tokio::time::sleep(http::AFTER_FAILED_ACCEPT).await,
                }
            }
        });
        self.running.put(tasks);
        Ok(())
    }
}

impl Drop for LocalApi {
    fn drop(&mut self) {
        if let Some(tasks) = self.running.take() {
            tasks.cancel();
            remove(&self.socket);
        }
    }
}

/// Remove a socket that may not be there, and nothing but a socket; where it stays, `bind` says so.
fn remove(socket: &Path) {
    if std::fs::symlink_metadata(socket).is_ok_and(|found| found.file_type().is_socket()) {
        let _: io::Result<()> = std::fs::remove_file(socket);
    }
}

impl Handler for Api {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn arrived(&self, request: &Request) {
        let line = format!("{} {}", request.method, request.target);
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn handle(&self, request: &Request) -> Response {
        // The guard against web pages: a browser sends one of these headers, or a Host of its own.
        let from_browser = !request.header(REFERER).is_empty() || !request.header(ORIGIN).is_empty();
        if from_browser || !matches!(request.header(HOST), "" | "local-tailscaled.sock") {
            return error(StatusCode::FORBIDDEN, "invalid localapi request");
        }
        let mut response = match request.path.as_str() {
            "/" => response(StatusCode::OK, "text/plain; charset=utf-8", "tailscaled\n"),
            "/localapi/v0/whois" => self.whois(request),
            "/localapi/v0/status" => self.status(request),
            path => match path.strip_prefix("/localapi/v0/cert/") {
                Some(domain) => self.certificate(request, domain),
                None => error(StatusCode::NOT_FOUND, "404 page not found"),
            },
        };
        for (name, value) in [
            ("tailscale-version", "1.102.3-t0000000000-g0000000000"),
            ("tailscale-cap", "130"),
            (
                "content-security-policy",
                "default-src 'none'; frame-ancestors 'none'; script-src 'none'; \
                 script-src-elem 'none'; script-src-attr 'none'",
            ),
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
        ] {
            set(&mut response, HeaderName::from_static(name), value);
        }
        response
    }
}

impl Api {
    fn whois(&self, request: &Request) -> Response {
        let bad = |text| error(StatusCode::BAD_REQUEST, text);
        let form = request.form();
        let addr = form.get("addr");
        if addr.is_empty() {
            return bad("missing 'addr' parameter");
        }
        if addr.starts_with("nodekey:") {
            return match self.tailnet.node_with_key(addr) {
                Some(peer) => json(answer::whois(&peer)),
                None => no_match(),
            };
        }
        let Some(ip) = addr.parse::<IpAddr>().ok().or_else(|| Some(addr.parse::<SocketAddr>().ok()?.ip()))
        else {
            return bad("invalid 'addr' parameter");
        };
        let Some(toward) = self.destination(form.get("svc_name"), form.get("dst_ip")) else {
            return bad(if form.get("svc_name").is_empty() { "invalid dst_ip" } else { "invalid svc_name" });
        };
        let found = match self.tailnet.raw(ip) {
            Some(raw) => Some(http::go_json(&raw, Some(b"\t"))),
            None => self.tailnet.whois(ip, &toward).map(|peer| answer::whois(&peer)),
        };
        match found {
            Some(answer) if !self.comes_late() => json(answer),
            Some(_) | None => no_match(),
        }
    }

    /// What `svc_name` and `dst_ip` name, or nothing if that is not a name.
    fn destination(&self, service: &str, address: &str) -> Option<Destination> {
        if !service.is_empty() {
            let name = service.strip_prefix("svc:")?;
            let label = |c: char| c.is_ascii_alphanumeric() || c == '-';
            let valid = !name.is_empty() && name.len() <= 63 && name.chars().all(label);
            return valid.then(|| Destination::Service(service.to_owned()));
        }
        if !address.is_empty() {
            let address = address.parse().ok()?;
            let ours = self.tailnet.us().node.addresses.contains(&address);
            return Some(if ours { Destination::SelfNode } else { Destination::Address(address) });
        }
        Some(Destination::SelfNode)
    }

    fn comes_late(&self) -> bool {
        self.late.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }

    fn status(&self, request: &Request) -> Response {
        // Go's strconv.ParseBool; what it does not know leaves the default.
        let peers = !matches!(request.form().get("peers"), "0" | "f" | "F" | "false" | "False" | "FALSE");
        json(answer::status(&self.tailnet, peers))
    }

    fn certificate(&self, request: &Request, domain: &str) -> Response {
        let failed = |text: &str| error(StatusCode::INTERNAL_SERVER_ERROR, text);
        if self.certs_denied.load(Ordering::SeqCst) {
            return error(StatusCode::FORBIDDEN, "cert access denied");
        }
        let ours = self.tailnet.self_name();
        if !self.tailnet.https() {
            return failed("your Tailscale account does not support getting TLS certs");
        }
        if domain.is_empty() {
            return failed("missing domain name");
        }
        if domain != ours {
            return failed(&format!("invalid domain {domain:?}; must be one of [{ours:?}]"));
        }
        let (key, chain) = match self.pair(&ours) {
            Ok(pair) => pair,
            Err(error) => return failed(&error.to_string()),
        };
        let body = match request.query.get("type") {
            "" | "crt" | "cert" => chain,
            "key" => key,
            "pair" => key + &chain,
            _ => {
                let text = "invalid type; want \"cert\" (default), \"key\", or \"pair\"";
                return error(StatusCode::BAD_REQUEST, text);
            }
        };
        response(StatusCode::OK, "text/plain", body)
    }

    /// Key and chain for our name, made once as tailscaled keeps them.
    fn pair(&self, name: &str) -> io::Result<(String, String)> {
        let mut kept = self.pair.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = &*kept {
            return Ok(pair.clone());
        }
        let leaf = self.ca.issue(&[name])?;
        let pair = (leaf.sec1_pem()?, leaf.certificate_pem() + &self.ca.pem());
        Ok(kept.insert(pair).clone())
    }
}

fn json(body: String) -> Response {
    response(StatusCode::OK, "application/json", body)
}

fn no_match() -> Response {
    error(StatusCode::NOT_FOUND, "no match for IP:port")
}
