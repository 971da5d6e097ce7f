//! The one thing that the NAS tells over plain HTTP requests: which generations of its interface it has.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;

use super::tls::Dialer;
use super::version::{OLDEST, Version};

const PATIENCE: Duration = Duration::from_secs(15);
const LONGEST: usize = 64 * 1024;

/// The generation of the machine at the other end. Asked at every connect: it is upgraded underneath us.
pub(super) async fn generation(dialer: &Dialer) -> Result<Version, String> {
    let stream = dialer.dial().await?;
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
            if head.status == http::StatusCode::NOT_FOUND {
                return Err(format!(
                    "/api/versions is not there: TrueNAS {OLDEST} is the oldest we speak to"
                ));
            }
            if head.status != http::StatusCode::OK {
                return Err(format!("/api/versions was answered with {}", head.status));
            }
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| say(&*error))?;
            Ok(body.to_bytes())
        };
        // The connection ends by itself once the exchange has let go of its sender.
        let (body, _) = tokio::join!(exchange, connection);
        body
    };
    let body = tokio::time::timeout(PATIENCE, ask)
        .await
        .map_err(|_| format!("/api/versions was not answered within {} s", PATIENCE.as_secs()))??;
    let listed: Vec<String> = serde_json::from_slice(&body)
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
