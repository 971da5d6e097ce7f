//! The one HTTP client of the daemon, with limits that nobody can forget to set.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{ACCEPT, HeaderValue};
use url::{Host, Url};

/// A request as it goes out.
pub type Request = http::Request<Vec<u8>>;

/// An answer, read to its end.
pub type Response = http::Response<Vec<u8>>;

const CONNECT: Duration = Duration::from_secs(1);
const TOTAL: Duration = Duration::from_secs(2);
const LONGEST_BODY: usize = 64 * 1024;

/// Asks other servers. Clones share their connections.
///
/// It follows no redirect, heeds no proxy in the environment, keeps no cookies, and sends no `Origin`, which
/// TSIDP would answer with 403.
#[derive(Clone, Debug)]
pub struct Client(reqwest::Client);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The CA file cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is no certificate in the CA file.
    #[error("{} holds no certificate in PEM form", .0.display())]
    NoCertificate(PathBuf),
    /// The TLS library cannot work with what it was given, such as a system without root certificates.
    #[error("TLS cannot be set up")]
    Tls(#[source] reqwest::Error),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The URL is neither `https` nor on this machine.
    #[error("the URL is neither https nor on this machine, so nothing was sent")]
    InTheClear,
    /// The request cannot be sent as it is.
    #[error("the request is not one that can be sent")]
    Request(#[source] reqwest::Error),
    /// Nobody there, or somebody whose certificate we do not trust.
    #[error("no connection could be made")]
    Connect(#[source] reqwest::Error),
    /// The answer took too long.
    #[error("there was no answer in time")]
    TimedOut,
    /// The answer is longer than we read.
    #[error("the answer is longer than {LONGEST_BODY} bytes")]
    TooLong,
    /// The connection broke while the answer came.
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
}

impl Client {
    /// A client that trusts the certificates in `ca_file` alone, or the system's roots where there is none.
    pub fn new(ca_file: Option<&Path>) -> Result<Self, ClientError> {
        let mut builder = builder();
        if let Some(path) = ca_file {
            builder = builder.tls_certs_only(certificates(path)?);
        }
        builder.build().map(Self).map_err(ClientError::Tls)
    }

    /// A client that looks for `host` at these addresses and asks no name server for it.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up.
    pub fn at(host: &str, addresses: &[SocketAddr]) -> Result<Self, ClientError> {
        builder().resolve_to_addrs(host, addresses).build().map(Self).map_err(ClientError::Tls)
    }

    /// Sends `request` and reads the answer to its end: at most 64 KiB, within two seconds. Tries a second
    /// time when no connection could be made, as then nothing has been sent.
    pub async fn send(&self, request: Request) -> Result<Response, HttpError> {
        tokio::time::timeout(TOTAL, self.try_twice(request)).await.map_err(|_| HttpError::TimedOut)?
    }

    async fn try_twice(&self, request: Request) -> Result<Response, HttpError> {
        let mut request = reqwest::Request::try_from(request).map_err(HttpError::Request)?;
        if !is_confidential(request.url()) {
            return Err(HttpError::InTheClear);
        }
        // TSIDP chooses the form of its errors by this header, not by what was posted.
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let again = request.try_clone();
        let response = match (self.0.execute(request).await, again) {
            (Err(error), Some(again)) if error.is_connect() && !error.is_timeout() => {
                self.0.execute(again).await
            }
            (outcome, _) => outcome,
        };
        read(response.map_err(explain)?).await
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one client")]
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("tailnas/", env!("CARGO_PKG_VERSION")))
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT)
        .timeout(TOTAL)
}

/// Whether what is sent to `url` stays between us and that host: `https`, or `http` that does not leave this
/// machine.
#[must_use]
pub fn is_confidential(url: &Url) -> bool {
    match (url.scheme(), url.host()) {
        ("https", Some(_)) => true,
        ("http", Some(Host::Ipv4(ip))) => ip.is_loopback(),
        ("http", Some(Host::Ipv6(ip))) => ip.is_loopback(),
        ("http", Some(Host::Domain(name))) => name == "localhost",
        _ => false,
    }
}

fn certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, ClientError> {
    let pem =
        std::fs::read(path).map_err(|source| ClientError::Unreadable { path: path.to_owned(), source })?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(ClientError::NoCertificate(path.to_owned())),
    }
}

async fn read(mut response: reqwest::Response) -> Result<Response, HttpError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(explain)? {
        if body.len() + piece.len() > LONGEST_BODY {
            return Err(HttpError::TooLong);
        }
        body.extend_from_slice(&piece);
    }
    let mut answer = Response::new(body);
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}

fn explain(error: reqwest::Error) -> HttpError {
    if error.is_timeout() {
        HttpError::TimedOut
    } else if error.is_connect() {
        HttpError::Connect(error)
    } else {
        HttpError::Broken(error)
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http::header::LOCATION;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// Lets `client` ask a server that gives `answer`. Gives what both got.
    async fn ask(answer: Vec<u8>) -> (Result<Response, HttpError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let request = http::Request::post(format!("http://{}/introspect", listener.local_addr().unwrap()))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(b"token=x".to_vec())
            .unwrap();
        let client = Client::new(None).unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            // Whoever has read enough may hang up before the end.
            let _ = stream.write_all(&answer).await;
            String::from_utf8_lossy(&request[..length]).to_lowercase()
        };
        tokio::join!(client.send(request), server)
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_not_an_order() {
        let elsewhere =
            "HTTP/1.1 307 x\r\nLocation: http://127.0.0.1:9/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n";
        let (response, request) = ask(elsewhere.into()).await;
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);
        assert_eq!(response.headers()[LOCATION], "http://127.0.0.1:9/");
        assert!(request.starts_with("post /introspect http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\naccept: application/json\r\n"), "{request}");
        for field in ["origin", "referer", "cookie", "authorization", "sec-fetch-site", "accept-encoding"] {
            assert!(!request.contains(&format!("\r\n{field}:")), "{request}");
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_longest() {
        for (length, complete) in
            [(LONGEST_BODY, true), (LONGEST_BODY + 1, false), (100 * LONGEST_BODY, false)]
        {
            // Without a length, as an attacker would have it.
            let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
            answer.resize(answer.len() + length, b' ');
            match ask(answer).await.0 {
                Ok(response) => assert!(complete && response.body().len() == length, "{length}"),
                Err(error) => assert!(!complete && matches!(error, HttpError::TooLong), "{length} {error:?}"),
            }
        }
    }

    #[tokio::test]
    async fn only_a_failed_connection_is_tried_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(None).unwrap();
        for (scheme, connections) in [("https", 2), ("http", 1)] {
            let mut request = Request::default();
            *request.uri_mut() = format!("{scheme}://{}/", listener.local_addr().unwrap()).parse().unwrap();
            let mut accepted = 0;
            // To a TLS client this is a handshake that fails; to the other one an answer that never comes.
            let server = async {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    accepted += 1;
                    let _ = stream.read(&mut [0; 4096]).await;
                }
            };
            let outcome =
                tokio::select! { outcome = client.send(request) => outcome, () = server => continue };
            assert!(outcome.is_err());
            assert_eq!(accepted, connections, "{scheme}");
        }
    }

    #[test]
    fn only_https_leaves_the_machine() {
        for (url, confidential) in [
            ("https://idp.tail.ts.net/introspect", true),
            ("http://127.0.0.1:8080/introspect", true),
            ("http://127.8.8.8/", true),
            ("http://[::1]:1/", true),
            ("http://localhost/", true),
            ("http://localhost.evil.example/", false),
            ("http://idp.tail.ts.net/introspect", false),
            ("http://100.64.0.1/", false),
            ("http://0.0.0.0/", false),
            ("ftp://127.0.0.1/", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_confidential(&url.parse().unwrap()), confidential, "{url}");
        }
    }

    #[test]
    fn a_ca_file_without_certificates_is_an_error_and_not_an_empty_set_of_roots() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        assert!(matches!(Client::new(Some(&path)), Err(ClientError::Unreadable { .. })));
        std::fs::write(&path, "nothing in here\n").unwrap();
        assert!(matches!(Client::new(Some(&path)), Err(ClientError::NoCertificate(_))));
    }
}
