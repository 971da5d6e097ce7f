//! The JSON-RPC envelope of an admitted request, checked before the SDK sees it, so that faults are answered
//! as JSON-RPC says and not by a bare HTTP status.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use serde_json::Value;

use crate::mcp::error_body;

use super::LARGEST_BODY;
use super::guard::refuse;
use super::step_up::Called;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest id of a request, in bytes.
const LONGEST_ID: usize = 128;

/// Longest method name, in bytes.
const LONGEST_METHOD: usize = 128;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;

/// Reads the body and lets it through if it is one JSON-RPC request or notification.
pub async fn check(request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    // One that says so beforehand is not read at all.
    if body.size_hint().lower() > LARGEST_BODY as u64 {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, LARGEST_BODY).collect()).await;
    let bytes = match collected {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the body is too large");
        }
        Ok(Err(_)) => return refuse(StatusCode::BAD_REQUEST, "the body broke off"),
        Err(_) => return refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
    };
    match judge(&bytes) {
        Ok(message) => {
            if let Some(called) = Called::by(&message) {
                head.extensions.insert(called);
            }
            next.run(Request::from_parts(head, Body::from(bytes))).await
        }
        Err(fault) => {
            let (id, code, message) = fault.answer();
            (StatusCode::BAD_REQUEST, Json(error_body(&id, code, message))).into_response()
        }
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    NotJson,
    Batch,
    NotRequest,
    Id,
    Method(Value),
}

impl Fault {
    pub(super) fn answer(self) -> (Value, i32, &'static str) {
        match self {
            Self::NotJson => (Value::Null, PARSE_ERROR, "The body is not JSON in UTF-8"),
            Self::Batch => {
                (Value::Null, INVALID_REQUEST, "Batches are not served (MCP has none since 2025-06-18)")
            }
            Self::NotRequest => (Value::Null, INVALID_REQUEST, "Not a JSON-RPC 2.0 request"),
            Self::Id => {
                (Value::Null, INVALID_REQUEST, "The id must be an integer or a string of at most 128 bytes")
            }
            Self::Method(id) => (id, INVALID_REQUEST, "The method must be a name of at most 128 bytes"),
        }
    }
}

/// The one JSON-RPC request or notification that a body is.
pub(super) fn judge(body: &[u8]) -> Result<Value, Fault> {
    let message = serde_json::from_slice(body).map_err(|_| Fault::NotJson)?;
    sound(&message).map(|()| message)
}

/// JSON-RPC 2.0 section 4, narrowed by MCP: an id is a string or an integer, and never null.
fn sound(message: &Value) -> Result<(), Fault> {
    let message = match message {
        Value::Object(message) => message,
        Value::Array(_) => return Err(Fault::Batch),
        _ => return Err(Fault::NotRequest),
    };
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(Fault::NotRequest);
    }
    if message.contains_key("result") || message.contains_key("error") {
        return Err(Fault::NotRequest);
    }
    let id = match message.get("id") {
        None => Value::Null,
        // It comes back in answers and, from below us, in logs: no line of them may be of its making.
        Some(Value::String(id)) if id.len() <= LONGEST_ID && !id.contains(char::is_control) => {
            Value::String(id.clone())
        }
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Value::Number(id.clone()),
        Some(_) => return Err(Fault::Id),
    };
    match message.get("method").and_then(Value::as_str) {
        Some(method) if !method.is_empty() && method.len() <= LONGEST_METHOD => {}
        _ => return Err(Fault::Method(id)),
    }
    // A request that expects an answer must say which one; only notifications go without an id.
    let is_notification = message["method"].as_str().is_some_and(|name| name.starts_with("notifications/"));
    if message.contains_key("id") == is_notification { Err(Fault::Id) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(text: &str) -> Result<(), (i64, Value)> {
        super::judge(text.as_bytes()).map(drop).map_err(|fault| {
            let (id, code, _) = fault.answer();
            (i64::from(code), id)
        })
    }

    #[test]
    fn sound_messages_pass() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#,
            r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        ] {
            assert_eq!(judge(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn faults_are_told_as_json_rpc_says() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{}1{}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        );
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#, "i".repeat(129));
        let long_method = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "m".repeat(129));
        for (text, code, id) in [
            ("", -32700, Value::Null),
            ("{", -32700, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x"} trailing"#, -32700, Value::Null),
            (r#"{"jsonrpc":"2.0","id":"\ud800","method":"x"}"#, -32700, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"n":1e999}}"#, -32700, Value::Null),
            (deep.as_str(), -32700, Value::Null),
            ("[]", -32600, Value::Null),
            ("[{},{}]", -32600, Value::Null),
            ("5", -32600, Value::Null),
            (r#"{"id":1,"method":"x"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","method":"tools/call"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1,"method":"notifications/x"}"#, -32600, Value::Null),
            (long.as_str(), -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":7,"method":5}"#, -32600, Value::from(7)),
            (r#"{"jsonrpc":"2.0","id":7,"method":""}"#, -32600, Value::from(7)),
            (long_method.as_str(), -32600, Value::from(1)),
            (r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, -32600, Value::Null),
        ] {
            assert_eq!(judge(text), Err((code, id)), "{text:.80}");
        }
    }
}
