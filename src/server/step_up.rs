//! A call that the caller's grants allow and their token does not: HTTP 403, with which a client gets a better
//! token (RFC 6750 section 3.1; MCP, "Scope Challenge Handling"). Only where the provider has scopes of ours.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use serde_json::Value;

use crate::caller::Caller;
use crate::dispatch::{Dispatcher, NAS};
use crate::mcp::resources::Address;
use crate::oauth::Texts;

use super::refusal::Refusal;

/// What a request calls, beside the request.
#[derive(Clone, Debug)]
pub struct Called {
    tool: String,
    nas: Option<String>,
}

impl Called {
    /// The tool that `message` calls, if it is a call.
    pub fn by(message: &Value) -> Option<Self> {
        let params = message.get("params")?;
        let is_call = match message.get("method")?.as_str()? {
            "tools/call" => true,
            "resources/read" => {
                let address: Address = params.get("uri")?.as_str()?.parse().ok()?;
                let (tool, nas) = (address.tool().to_owned(), address.nas().to_string());
                return Some(Self { tool, nas: Some(nas) });
            }
            _ => false,
        };
        let tool = params.get("name")?.as_str().filter(|_| is_call)?.to_owned();
        let nas = params.get("arguments").and_then(|arguments| arguments.get(NAS)?.as_str());
        Some(Self { tool, nas: nas.map(str::to_owned) })
    }
}

/// What a step up needs.
pub struct StepUp {
    /// The tools, and what they take.
    pub dispatcher: Arc<Dispatcher>,
    /// The challenge.
    pub texts: Arc<Texts>,
}

/// Sends a caller for a better token, or lets the call through.
pub async fn check(State(step_up): State<Arc<StepUp>>, request: Request, next: Next) -> Response {
    match step_up.challenge(&request) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

impl StepUp {
    fn challenge(&self, request: &Request) -> Option<Refusal> {
        let Called { tool, nas } = request.extensions().get::<Called>()?;
        let caller = request.extensions().get::<Arc<Caller>>()?;
        let missing = self.dispatcher.withheld_by_token(caller, tool, nas.as_deref())?;
        let challenge = self.texts.step_up(caller.token()?.scopes(), missing)?;
        let words = format!(
            "{tool} needs the scope {missing}: you are allowed it, and your token was issued without it. Log in again \
             and agree to it; nothing was sent to the NAS"
        );
        let what = self.dispatcher.refused(tool, nas.as_deref(), Some(missing));
        Some(
            Refusal::saying(StatusCode::FORBIDDEN, "insufficient_scope", "insufficient_scope", words)
                .with(header::WWW_AUTHENTICATE, challenge)
                .saying_also("scope", missing.as_str())
                .of(caller.who())
                .about(what),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_calls_call_something() {
        for (message, tool) in [
            (json!({ "method": "tools/call", "params": { "name": "pools_list" } }), Some("pools_list")),
            (
                json!({ "method": "resources/read", "params": { "uri": "nas://home/alerts" } }),
                Some("alerts_list"),
            ),
            (json!({ "method": "resources/read", "params": { "uri": "nas://home/x" } }), None),
            (json!({ "method": "tools/list", "params": { "name": "pools_list" } }), None),
            (json!({ "method": "tools/call", "params": { "name": 5 } }), None),
            (json!({ "method": "tools/call", "params": ["pools_list"] }), None),
            (json!({ "method": "tools/call" }), None),
        ] {
            assert_eq!(Called::by(&message).map(|called| called.tool).as_deref(), tool, "{message}");
        }
    }
}
