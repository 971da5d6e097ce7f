//! The listener: HTTP, and the upgrade to WebSocket.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::session::{self, Session};
use super::{Generation, Shared, lock};
use crate::tls::Identity;

/// A listener and its connections.
#[derive(Debug)]
pub(crate) struct Running {
    pub address: SocketAddr,
    cancel: CancellationToken,
    accepting: JoinHandle<()>,
    connections: TaskTracker,
}

impl Running {
    pub async fn stop(mut self) {
        self.cancel.cancel();
        // An accept loop that panicked has let go of the port, too.
        let _ = (&mut self.accepting).await;
        self.connections.close();
        self.connections.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

pub(crate) async fn listen(
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<&Identity>,
) -> io::Result<Running> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let cancel = CancellationToken::new();
    let connections = TaskTracker::new();
    let server = Server {
        shared,
        tls: tls.map(|tls| TlsAcceptor::from(tls.server_config())),
        cancel: cancel.clone(),
        connections: connections.clone(),
    };
    let accepting = tokio::spawn(server.accept(listener));
    Ok(Running { address, cancel, accepting, connections })
}

#[derive(Clone)]
struct Server {
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    cancel: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    async fn accept(self, listener: TcpListener) {
        while let Some(accepted) = self.cancel.run_until_cancelled(listener.accept()).await {
            let Ok((stream, peer)) = accepted else { continue };
            let server = self.clone();
            let cancel = self.cancel.clone();
            self.connections.spawn(async move {
                cancel.run_until_cancelled(server.connection(stream, peer)).await;
            });
        }
    }

    async fn connection(self, stream: TcpStream, peer: SocketAddr) {
        match &self.tls {
            None => self.serve(stream, peer).await,
            Some(tls) => {
                // A client that does not trust the certificate ends the handshake; that is its right.
                if let Ok(stream) = tls.accept(stream).await {
                    self.serve(stream, peer).await;
                }
            }
        }
    }

    async fn serve(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: SocketAddr) {
        let service = service_fn(|request| {
            let response = self.answer(request, peer);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        // How a client leaves is its own business.
        let _ = connection.await;
    }

    fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let generation = *lock(&self.shared.generation);
        let path = request.uri().path();
        if request.method() != Method::GET {
            return plain(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
        }
        match path {
            "/api/versions" => {
                let mut response = json(&serde_json::json!(generation.versions()));
                let date =
                    self.shared.state(|state| state.now()).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
                if let Ok(date) = date.parse() {
                    response.headers_mut().insert(header::DATE, date);
                }
                response
            }
            "/api/boot_id" if generation >= Generation::V25_10 => {
                json(&self.shared.state(|state| state.boot_id.clone()).into())
            }
            _ => match path.strip_prefix("/api/").and_then(|route| spoken(generation, route)) {
                None => plain(StatusCode::NOT_FOUND, "404: Not Found"),
                Some(speaks) => self.upgrade(request, peer, speaks),
            },
        }
    }

    fn upgrade(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        speaks: Spoken,
    ) -> Response<Full<Bytes>> {
        let wants = |name, value: &str| {
            let header = request.headers().get(name).and_then(|header| header.to_str().ok());
            header.is_some_and(|header| header.to_ascii_lowercase().contains(value))
        };
        let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
        let accept = match key {
            Some(key) if wants(header::UPGRADE, "websocket") && wants(header::CONNECTION, "upgrade") => {
                derive_accept_key(key.as_bytes())
            }
            _ => return plain(StatusCode::BAD_REQUEST, "Can \"Upgrade\" only to \"WebSocket\"."),
        };
        let mut number = lock(&self.shared.connections);
        *number += 1;
        let session = Session::new(*number, peer.ip(), speaks);
        drop(number);

        let (shared, cancel) = (Arc::clone(&self.shared), self.cancel.clone());
        self.connections.spawn(async move {
            let serve = async {
                let Ok(upgraded) = hyper::upgrade::on(&mut request).await else { return };
                let stream = TokioIo::new(upgraded);
                let socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
                session::serve(shared, socket, session).await;
            };
            cancel.run_until_cancelled(serve).await;
        });

        let mut response = Response::new(Full::default());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
        match accept.parse() {
            Ok(accept) => drop(headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept)),
            Err(_) => return plain(StatusCode::BAD_REQUEST, "400: Bad Request"),
        }
        response
    }
}

/// What is spoken on one route of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spoken {
    /// The generation whose methods and rows are served.
    pub generation: Generation,
    /// The version asked for, where the server only believes that it still speaks it: from 25.10 on, most
    /// methods fail on the routes of 25.04.
    pub broken: Option<String>,
}

/// What `route` of a server of this generation speaks; `None` when there is no such route.
fn spoken(server: Generation, route: &str) -> Option<Spoken> {
    if route == "current" {
        return Some(Spoken { generation: server, broken: None });
    }
    // v24.10 is served, though not listed.
    if route != "v24.10" && !server.versions().contains(&route) {
        return None;
    }
    let generation = match route {
        "v26.0.0" => Generation::V26,
        _ if route.starts_with("v25.10") => Generation::V25_10,
        _ => Generation::V25_04,
    };
    let broken = generation == Generation::V25_04 && server > Generation::V25_04;
    Some(Spoken { generation, broken: broken.then(|| route.to_owned()) })
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}

fn json(value: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    let json = header::HeaderValue::from_static("application/json; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_speaks_its_own_generation_if_the_server_has_it() {
        use Generation::{V25_04, V25_10, V26};
        let fine = |generation| Some(Spoken { generation, broken: None });
        let broken = |route: &str| Some(Spoken { generation: V25_04, broken: Some(route.to_owned()) });
        let rows = [
            (V25_04, "current", fine(V25_04)),
            (V25_04, "v25.04.2", fine(V25_04)),
            (V25_04, "v25.10.0", None),
            (V25_10, "v25.10.5", fine(V25_10)),
            (V25_10, "v25.04.2", broken("v25.04.2")),
            (V25_10, "v26.0.0", None),
            (V26, "current", fine(V26)),
            (V26, "v25.10.5", fine(V25_10)),
            (V26, "v24.10", broken("v24.10")),
            (V26, "v2.0", None),
        ];
        for (server, route, expected) in rows {
            assert_eq!(spoken(server, route), expected, "{server:?} {route}");
        }
    }
}
