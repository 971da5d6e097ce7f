//! HTTP/1.1 over tailscaled's unix socket, on connections that are kept.

use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Mutex, PoisonError};

use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::Silence;

/// LocalAPI refuses every other name, and every request with a `Referer` or an `Origin`.
const NAME: &str = "local-tailscaled.sock";

const LONGEST_BODY: usize = 1024 * 1024;

type Body = Empty<Bytes>;

type Connection = http1::Connection<TokioIo<UnixStream>, Body>;

/// The connections to one tailscaled.
#[derive(Debug)]
pub(super) struct Links {
    socket: PathBuf,
    /// Never more than there are questions at a time.
    idle: Mutex<Vec<Link>>,
}

/// One connection. Its two halves are driven together by whoever waits for the answer, so no task of its
/// own is left behind when that wait is given up; the connection is then closed with it.
#[derive(Debug)]
struct Link {
    sender: http1::SendRequest<Body>,
    /// `None` once it has ended. It must go then: as long as it exists, the other half waits for it.
    connection: Option<Pin<Box<Connection>>>,
}

impl Links {
    pub(super) const fn new(socket: PathBuf) -> Self {
        Self { socket, idle: Mutex::new(Vec::new()) }
    }

    /// GETs `path`. Where a kept connection turns out to be dead, because tailscaled was restarted, asks
    /// again on a fresh one: a GET may be repeated.
    pub(super) async fn get(&self, path: &str) -> Result<(StatusCode, Vec<u8>), Silence> {
        let kept = self.idle().pop();
        if let Some(mut link) = kept {
            match link.get(path).await {
                Ok(answer) => {
                    self.keep(link);
                    return Ok(answer);
                }
                Err(Silence::Broken(error)) => {
                    tracing::debug!(%error, "a kept connection to tailscaled is dead");
                    // What was kept with it is no younger.
                    self.idle().clear();
                }
                Err(other) => return Err(other),
            }
        }
        let mut link = Link::connect(&self.socket).await?;
        let answer = link.get(path).await?;
        self.keep(link);
        Ok(answer)
    }

    fn keep(&self, link: Link) {
        if link.connection.is_some() {
            self.idle().push(link);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    async fn connect(socket: &std::path::Path) -> Result<Self, Silence> {
        let stream = UnixStream::connect(socket).await.map_err(Silence::Unreachable)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(Silence::Broken)?;
        Ok(Self { sender, connection: Some(Box::pin(connection)) })
    }

    async fn get(&mut self, path: &str) -> Result<(StatusCode, Vec<u8>), Silence> {
        let mut request = Request::new(Body::new());
        // The paths are ours and percent-encoded; one that is no path would be our own mistake.
        *request.uri_mut() = path.parse().map_err(|_| Silence::Contradiction("a path of ours is none"))?;
        request.headers_mut().insert(HOST, http::HeaderValue::from_static(NAME));
        let Self { sender, connection } = self;
        let mut answer = pin!(async {
            sender.ready().await.map_err(Silence::Broken)?;
            let response = sender.send_request(request).await.map_err(Silence::Broken)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LONGEST_BODY).collect().await;
            Ok((status, body.map_err(Silence::Body)?.to_bytes().to_vec()))
        });
        // The end of the connection is no answer yet: the last of what came may still be on its way to us.
        poll_fn(|context| {
            if connection.as_mut().is_some_and(|running| running.as_mut().poll(context).is_ready()) {
                *connection = None;
            }
            answer.as_mut().poll(context)
        })
        .await
    }
}
