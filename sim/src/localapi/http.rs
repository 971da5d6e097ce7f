//! The HTTP/1.1 server under both doubles: whole requests in, whole answers out, faults in between.
//!
//! Both originals are Go's `net/http`; what Go does by itself (form parsing, error texts, JSON escapes) is
//! done here once.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::fault::{Fault, Faults};

/// Go reads at most this much of a form.
const BODY_LIMIT: usize = 10 << 20;

/// How long a listener waits when it could not accept, typically for want of file descriptors.
pub(crate) const AFTER_FAILED_ACCEPT: Duration = Duration::from_millis(10);

pub(crate) type Response = http::Response<Bytes>;

/// What answers the requests of one server.
pub(crate) trait Handler: Send + Sync + 'static {
    fn faults(&self) -> &Faults;

    /// Called for every request, also for one that a fault keeps from being handled.
    fn arrived(&self, request: &Request);

    fn handle(&self, request: &Request) -> Response;
}

/// A request whose body has been read.
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Path and query as they came.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Form,
    /// The address of the other end; a unix socket has none.
    pub(crate) peer: Option<IpAddr>,
    pub(crate) body: Bytes,
}

impl Request {
    async fn read(request: http::Request<Incoming>, peer: Option<IpAddr>) -> Result<Request, Broken> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|_| Broken::default())?;
        Ok(Request {
            method: head.method,
            path: head.uri.path().to_owned(),
            target: head.uri.to_string(),
            headers: head.headers,
            query: Form::parse(head.uri.query().unwrap_or_default().as_bytes()),
            peer,
            body: body.to_bytes(),
        })
    }

    /// The header's first value; empty where Go's `Header.Get` is empty.
    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Go's `Request.Form`: the body's fields, if it is a form, and after them the query's.
    pub(crate) fn form(&self) -> Form {
        let mut fields = Vec::new();
        let media_type = self.header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim();
        let has_body = matches!(self.method, Method::POST | Method::PUT | Method::PATCH);
        if has_body && media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            fields = Form::parse(&self.body).0;
        }
        fields.extend(self.query.0.iter().cloned());
        Form(fields)
    }

    /// Go's `Request.BasicAuth`: user and password as they stand, not URL-decoded.
    pub(crate) fn basic_auth(&self) -> Option<(String, String)> {
        let (scheme, encoded) = self.header(AUTHORIZATION).split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).ok()?;
        let (user, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }
}

/// Decoded form fields, in their order.
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    fn parse(encoded: &[u8]) -> Form {
        Form(url::form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The field's first value; empty when there is none, as in Go.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }
}

pub(crate) fn response(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE, content_type);
    response
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// Go's `http.Error`.
pub(crate) fn error(status: StatusCode, text: &str) -> Response {
    let mut response = response(status, "text/plain; charset=utf-8", format!("{text}\n"));
    set(&mut response, http::header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

/// Set a header whose value is known to be one; anything else is left out rather than sent broken.
pub(crate) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// JSON as Go's `encoding/json` prints it: `<`, `>`, `&` and the two line separators are escaped.
pub(crate) fn go_json(value: &impl Serialize, indent: Option<&[u8]>) -> String {
    let mut bytes = Vec::new();
    let printed = match indent {
        None => value.serialize(&mut serde_json::Serializer::new(&mut bytes)),
        Some(indent) => value.serialize(&mut serde_json::Serializer::with_formatter(
            &mut bytes,
            serde_json::ser::PrettyFormatter::with_indent(indent),
        )),
    };
    printed.expect("the doubles print only their own types, which have string keys");
    // These characters have no place in JSON outside strings.
    String::from_utf8_lossy(&bytes)
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

/// The tasks of a server that is running, and how to end them.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// A handle with which a listener starts the tasks of its connections.
    pub(crate) fn share(&self) -> Tasks {
        Tasks { stop: self.stop.clone(), tracker: self.tracker.clone() }
    }

    /// Cut every connection and close the listener, without waiting for either.
    pub(crate) fn cancel(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stop(&self) {
        self.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// The tasks of a server that can be stopped and started again.
#[derive(Debug, Default)]
pub(crate) struct Slot(Mutex<Option<Tasks>>);

impl Slot {
    pub(crate) fn put(&self, tasks: Tasks) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(tasks);
    }

    pub(crate) fn take(&self) -> Option<Tasks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Serve the requests of one connection until it ends or a fault ends it.
pub(crate) async fn serve<I>(io: I, peer: Option<IpAddr>, handler: Arc<impl Handler>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |request| {
        let handler = Arc::clone(&handler);
        Box::pin(async move {
            let request = Request::read(request, peer).await?;
            handler.arrived(&request);
            answer(&*handler, &request).await.map(|response| response.map(Full::new))
        })
    });
    let mut connection = hyper::server::conn::http1::Builder::new()
        // Go writes header names with capitals.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(io), service);
    let ended = std::future::poll_fn(|context| connection.poll_without_shutdown(context)).await;
    let broken = ended.err().and_then(|error| {
        use std::error::Error;
        error.source().and_then(|source| source.downcast_ref::<Broken>()).cloned()
    });
    if let Some(Broken(bytes)) = broken {
        let mut io = connection.into_parts().io.into_inner();
        // The client may be gone already; there is nobody else to tell.
        let _: io::Result<()> = async {
            io.write_all(&bytes).await?;
            io.shutdown().await
        }
        .await;
    }
}

/// A connection is to end after these bytes, which need not be HTTP.
#[derive(Clone, Debug, Default)]
struct Broken(Vec<u8>);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is broken on purpose")
    }
}

impl std::error::Error for Broken {}

async fn answer(handler: &impl Handler, request: &Request) -> Result<Response, Broken> {
    let Some(fault) = handler.faults().take() else {
        return Ok(handler.handle(request));
    };
    match fault {
        Fault::Slow(delay) => {
            tokio::time::sleep(delay).await;
            Ok(handler.handle(request))
        }
        Fault::Held(gate) => {
            gate.passed().await;
            Ok(handler.handle(request))
        }
        Fault::Hang => std::future::pending().await,
        Fault::Drop => Err(Broken::default()),
        Fault::Garbage => Err(Broken(b"\x16\x03\x01\x00\x02this is not HTTP\r\n\r\n".to_vec())),
        Fault::HalfFrame => {
            let mut bytes = on_the_wire(&handler.handle(request));
            bytes.truncate(bytes.len() / 2);
            Err(Broken(bytes))
        }
        Fault::Status(status, body) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Ok(response(status, "text/plain; charset=utf-8", body))
        }
        Fault::Body(content_type, body) => Ok(response(StatusCode::OK, &content_type, body)),
        Fault::Wire(bytes) => Err(Broken(bytes)),
        Fault::Oversize(size) => Ok(handler.handle(request).map(|body| {
            let mut padded = Vec::from(body);
            padded.resize(padded.len().max(size), b' ');
            Bytes::from(padded)
        })),
    }
}

fn on_the_wire(response: &Response) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("{CONTENT_LENGTH}: {}\r\n\r\n", response.body().len()).as_bytes());
    bytes.extend_from_slice(response.body());
    bytes
}
