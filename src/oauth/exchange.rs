//! One question to the provider, and the look at its answer that comes before any library's.

use std::time::Duration;

use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};

use super::error::{NoAnswer, Outage, Unavailable};
use crate::domain::text::chain;
use crate::net::http::{Client, HttpError, Request, Response};
use crate::net::json;

/// How deep an answer may be nested.
pub(super) const DEEPEST: usize = 16;

/// Sends `request` and gives the answer only if it is a JSON object with status 200. This is stricter than
/// the OAuth libraries are: they take other content types and do not look behind the object.
pub(super) async fn exchange(http: Client, request: Request) -> Result<Response, NoAnswer> {
    let response = http.send(request).await.map_err(|error| {
        let outage = match error {
            HttpError::TimedOut => Outage::TimedOut,
            HttpError::TooLong => Outage::Malformed,
            HttpError::Connect(_) | HttpError::Broken(_) => Outage::Unreachable,
            HttpError::InTheClear | HttpError::Request(_) => Outage::Metadata,
        };
        tracing::warn!(error = &error as &dyn std::error::Error, "the provider gave no answer");
        NoAnswer::new(outage, chain(&error))
    })?;
    let status = response.status();
    if status != StatusCode::OK {
        // The body is not logged: it may repeat what it was sent.
        tracing::warn!(status = status.as_u16(), "the provider answered with another status than 200");
        let unavailable =
            Unavailable::from(Outage::Status(status.as_u16())).asking_for(wished_wait(response.headers()));
        return Err(NoAnswer::new(unavailable, format!("it answered with status {}", status.as_u16())));
    }
    if !is_json(response.headers()) {
        tracing::warn!("the provider's answer is not said to be application/json");
        return Err(NoAnswer::new(Outage::Malformed, "its answer is not said to be application/json"));
    }
    if let Err(error) = json::check(response.body(), DEEPEST) {
        tracing::warn!(%error, "the provider's answer cannot be read");
        return Err(NoAnswer::new(Outage::Malformed, format!("its answer cannot be read: {error}")));
    }
    Ok(response)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(CONTENT_TYPE).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let essence = field.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

/// `Retry-After` in seconds. As a date, which is the other form, it is not worth a parser: we have our own
/// idea of how long to wait.
fn wished_wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_application_json_is_json() {
        for (field, answer) in [
            ("application/json", true),
            ("Application/JSON ; charset=utf-8", true),
            ("application/json;charset=UTF-8", true),
            ("application/jsonp", false),
            ("application/json-seq", false),
            ("text/plain; charset=utf-8", false),
            ("text/html", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(field))]);
            assert_eq!(is_json(&headers), answer, "{field:?}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    #[test]
    fn the_wait_is_as_wished_within_reason() {
        for (field, seconds) in [("7", 7), ("0", 5), ("99999999", 300), ("-1", 5), ("tomorrow", 5)] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(field))]);
            let unavailable = Unavailable::from(Outage::Status(429)).asking_for(wished_wait(&headers));
            assert_eq!(unavailable.retry_after().as_secs(), seconds, "{field}");
        }
    }
}
