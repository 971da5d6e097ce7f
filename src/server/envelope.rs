//! The JSON-RPC envelope of an admitted request, checked before the SDK sees it, so that faults are answered
//! as JSON-RPC says and not by a bare HTTP status.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, Collected};
use serde_json::Value;

use crate::audit::Refused;
use crate::caller::Caller;
use crate::mcp::{self, Unserved, error_body};
use crate::net::json::{Extent, Unambiguous};

use super::LARGEST_BODY;
use super::body;
use super::mirror;
use super::refusal::Refusal;
use super::step_up::Called;

/// Longest id of a request, in bytes.
const LONGEST_ID: usize = 128;

/// Most values of one body. An object of one member takes some six hundred bytes once it is read, and it is read more
/// than once: a body of the greatest length, made of nothing else, would take forty megabytes.
const MOST_VALUES: usize = 2_000;

/// How deep a body may be nested: as deep as `serde_json` goes, which has no answer to what is deeper.
const DEEPEST: usize = 127;

/// Longest method name, in bytes.
const LONGEST_METHOD: usize = 128;

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;

/// Reads the body and lets it through if it is one JSON-RPC request or notification.
pub async fn check(request: Request, next: Next) -> Response {
    let (mut head, unread) = request.into_parts();
    let who = head.extensions.get::<Arc<Caller>>().map(|caller| caller.who()).unwrap_or_default();
    let message = match body::read(unread, LARGEST_BODY).await {
        Ok(bytes) => judge(&bytes).map(|message| (bytes, message)).map_err(|fault| {
            let reason = fault.word();
            let (id, code, words) = fault.answer();
            Refusal::of_message(StatusCode::BAD_REQUEST, reason, error_body(&id, code, words)).of(who.clone())
        }),
        Err(refusal) => Err(refusal.of(who.clone())),
    };
    let (bytes, message) = match message {
        Ok(sound) => sound,
        Err(refusal) => return refusal.into_response(),
    };
    if let Some(called) = Called::by(&message) {
        head.extensions.insert(called);
    }
    if let Some(refusal) = mirror::refuse(&head.headers, &message) {
        return refusal.of(who).into_response();
    }
    if let Err(unserved) = mcp::served(&message, mcp::is_modern(&head.headers)) {
        return not_served(unserved, &message, &head.headers).of(who).into_response();
    }
    // The SDK reads it again, and holds its own for as long as it works.
    drop(message);
    let response = next.run(Request::from_parts(head, Body::from(bytes))).await;
    // What the SDK takes offence at: a header that says something else than the body, a version that is none …
    let status = response.status();
    if status.is_client_error() && response.extensions().get::<Refusal>().is_none() {
        return of_the_sdk(response).await.of(who).into_response();
    }
    response
}

/// A request that is sound JSON-RPC and not one that we serve.
fn not_served(unserved: Unserved, message: &Value, headers: &HeaderMap) -> Refusal {
    let (status, reason, code, words) = match unserved {
        // 2026-07-28, Streamable HTTP: an unknown method is a 404 as well. Earlier clients have the error in a 200.
        Unserved::Method if mcp::is_modern(headers) => {
            (StatusCode::NOT_FOUND, "unknown_method", METHOD_NOT_FOUND, "There is no such method")
        }
        Unserved::Method => (StatusCode::OK, "unknown_method", METHOD_NOT_FOUND, "There is no such method"),
        Unserved::Params => {
            (StatusCode::OK, "invalid_params", INVALID_PARAMS, "The parameters do not fit the method")
        }
    };
    Refusal::of_message(status, reason, error_body(&message["id"], code, words))
}

/// The same answer as a refusal of ours, so that it is on record.
async fn of_the_sdk(response: Response) -> Refusal {
    let status = response.status();
    let bytes = response.into_body().collect().await.map(Collected::to_bytes).unwrap_or_default();
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(body @ Value::Object(_)) => {
            let reason = match body["error"]["code"].as_i64() {
                Some(-32020) => "header_mismatch",
                Some(-32022) => "protocol_version",
                _ => "mcp",
            };
            Refusal::of_message(status, reason, body)
        }
        _ => Refusal::new(status, "mcp", &String::from_utf8_lossy(&bytes)).about(Refused::Message),
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Fault {
    NotJson,
    TooMuch,
    Ambiguous,
    Batch,
    NotRequest,
    Id,
    Method(Value),
    Params(Value),
}

impl Fault {
    /// In a word, for the audit log.
    const fn word(&self) -> &'static str {
        match self {
            Self::NotJson => "not_json",
            Self::TooMuch => "too_many_values",
            Self::Ambiguous => "member_twice",
            Self::Batch => "batch",
            Self::NotRequest => "not_json_rpc",
            Self::Id => "rpc_id",
            Self::Method(_) => "rpc_method",
            Self::Params(_) => "rpc_params",
        }
    }

    pub(super) fn answer(self) -> (Value, i32, &'static str) {
        match self {
            Self::NotJson => (Value::Null, PARSE_ERROR, "The body is not JSON in UTF-8"),
            Self::TooMuch => (Value::Null, INVALID_REQUEST, "The body has more than 2,000 values"),
            Self::Ambiguous => (Value::Null, INVALID_REQUEST, "An object has two members of one name"),
            Self::Batch => {
                (Value::Null, INVALID_REQUEST, "Batches are not served (MCP has none since 2025-06-18)")
            }
            Self::NotRequest => (Value::Null, INVALID_REQUEST, "Not a JSON-RPC 2.0 request"),
            Self::Id => {
                (Value::Null, INVALID_REQUEST, "The id must be an integer or a string of at most 128 bytes")
            }
            Self::Method(id) => (id, INVALID_REQUEST, "The method must be a name of at most 128 bytes"),
            Self::Params(id) => (id, INVALID_REQUEST, "Parameters must be an object"),
        }
    }
}

/// The one JSON-RPC request or notification that a body is.
pub(super) fn judge(body: &[u8]) -> Result<Value, Fault> {
    match Extent::of(body) {
        Extent { depth, .. } if depth > DEEPEST => return Err(Fault::NotJson),
        Extent { values, .. } if values > MOST_VALUES => return Err(Fault::TooMuch),
        Extent { .. } => {}
    }
    let Unambiguous(message) = serde_json::from_slice(body)
        .map_err(|error| if error.is_data() { Fault::Ambiguous } else { Fault::NotJson })?;
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
    // JSON-RPC would take a list as well; MCP has none.
    if !matches!(message.get("params"), None | Some(Value::Object(_) | Value::Array(_))) {
        return Err(Fault::Params(id));
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
        let many = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"x","params":{{"a":[{}0]}}}}"#,
            r#"{"":0},"#.repeat(MOST_VALUES / 2)
        );
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"x"}}"#, "i".repeat(129));
        let long_method = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, "m".repeat(129));
        for (text, code, id) in [
            ("", -32700, Value::Null),
            ("{", -32700, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x"} trailing"#, -32700, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":{"b":1,"b":2}}}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","params":5}"#, -32600, Value::from(1)),
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
            (many.as_str(), -32600, Value::Null),
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
