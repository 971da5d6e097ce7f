//! What the NAS tells over plain HTTP requests, before any login: which generations of its interface it has, and
//! what time it is there.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use super::tls::Dialer;
use super::version::{OLDEST, Version};

const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST: usize = 64 * 1024;

/// What the machine at the other end says of itself to anybody.
pub(super) struct Greeting {
    /// Its generation, or why it has none that we speak to. Asked at every connect: it is upgraded underneath us.
    pub(super) generation: Result<Version, String>,
    /// What time it has (RFC 9110 section 6.6.1), to the second.
    pub(super) date: Option<DateTime<Utc>>,
}

/// Asks it.
pub(super) async fn greet(dialer: &Dialer) -> Result<Greeting, String> {
    let stream = dialer.dial().await.map_err(|no_way| no_way.to_string())?;
    let ask = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| say(&error))?;
        let request = http::Request::get("/api/versions")
            .header(http::header::HOST, dialer.authority())
            .header(http::header::ACCEPT, "application/json")
            .body(Empty::<Bytes>::new())
            .map_err(|error| say(&error))?;
        let exchange = async move {
            let response = sender.send_request(request).await.map_err(|error| say(&error))?;
            let (head, body) = response.into_parts();
            let date = head.headers.get(http::header::DATE).and_then(|date| date.to_str().ok());
            let date =
                date.and_then(|date| DateTime::parse_from_rfc2822(date).ok()).map(|date| date.to_utc());
            if head.status == http::StatusCode::NOT_FOUND {
                return Err(format!(
                    "/api/versions is not there: TrueNAS {OLDEST} is the oldest we speak to"
                ));
            }
            if head.status != http::StatusCode::OK {
                return Err(format!("/api/versions was answered with {}", head.status));
            }
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| say(&*error))?;
            Ok((body.to_bytes(), date))
        };
        // The connection ends by itself once the exchange has let go of its sender.
        let (body, _) = tokio::join!(exchange, connection);
        body
    };
    let (body, date) = tokio::time::timeout(PATIENCE, ask)
        .await
        .map_err(|_| format!("/api/versions was not answered within {} s", PATIENCE.as_secs()))??;
    Ok(Greeting { generation: generation(&body), date })
}

fn generation(body: &[u8]) -> Result<Version, String> {
    let listed: Vec<String> = serde_json::from_slice(body)
        .map_err(|_| "/api/versions is no list of versions: is this a TrueNAS?".to_owned())?;
    match Version::newest(listed.iter().map(String::as_str)) {
        Some(version) if version >= OLDEST => Ok(version),
        Some(version) => Err(format!("TrueNAS {version} is too old: {OLDEST} is the oldest we speak to")),
        None => Err("/api/versions lists no version that we understand".into()),
    }
}

fn say(error: &(dyn std::error::Error + 'static)) -> String {
    format!("/api/versions cannot be read: {error}")
}
