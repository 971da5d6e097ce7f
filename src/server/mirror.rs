//! Header fields in which a client repeats what its message says, for whoever stands between and reads no bodies
//! (2026-07-28, Streamable HTTP). Whoever stands there goes by the fields and not by the era of the message, so in
//! every era those that are there must agree with it. Which of them must be there is the SDK's to say.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;

use crate::domain::text::foreign;
use crate::mcp;

use super::guard::one;
use super::refusal::Refusal;

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");

const HEADER_MISMATCH: i32 = -32020;

/// Longest version that is repeated to its sender, in characters.
const LONGEST_VERSION: usize = 32;

/// What is wrong with the fields.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// A version that we do not speak.
    Version(String),
    /// They say something else than the message, or more than one thing.
    Mismatch(&'static str),
}

/// The refusal of a request whose fields do not agree with its `message`, sound JSON-RPC; nothing where they do.
pub(super) fn refuse(headers: &HeaderMap, message: &Value) -> Option<Refusal> {
    let id = &message["id"];
    let (reason, body) = match agree(headers, message) {
        Ok(()) => return None,
        Err(Fault::Version(version)) => ("protocol_version", mcp::unsupported_version(id, &version)),
        Err(Fault::Mismatch(words)) => ("header_mismatch", mcp::error_body(id, HEADER_MISMATCH, words)),
    };
    Some(Refusal::of_message(StatusCode::BAD_REQUEST, reason, body))
}

fn agree(headers: &HeaderMap, message: &Value) -> Result<(), Fault> {
    let method = message["method"].as_str().unwrap_or_default();
    let version = one(headers, &VERSION)
        .map_err(|()| Fault::Mismatch("MCP-Protocol-Version must be there once, and be a version"))?;
    // `initialize` says which version it wants in its parameters, and is answered with one of ours.
    if let Some(version) = version.filter(|version| method != "initialize" && !mcp::speaks(version)) {
        return Err(Fault::Version(foreign(version, LONGEST_VERSION)));
    }
    let said = one(headers, &METHOD)
        .map_err(|()| Fault::Mismatch("Mcp-Method must be there once, and be the name of a method"))?;
    if said.is_some_and(|said| said != method) {
        return Err(Fault::Mismatch("Mcp-Method names another method than the message"));
    }
    let said = one(headers, &NAME)
        .map_err(|()| Fault::Mismatch("Mcp-Name must be there once, and in letters of ASCII"))?;
    if let (Some(said), Some(named)) = (said, named(method, message))
        && plain(said).as_deref() != Some(named)
    {
        return Err(Fault::Mismatch("Mcp-Name names something else than the message"));
    }
    Ok(())
}

/// What a message of this method names, where it has to be said in the head as well.
fn named<'m>(method: &str, message: &'m Value) -> Option<&'m str> {
    let member = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "uri",
        _ => return None,
    };
    message["params"].get(member)?.as_str()
}

/// The value of a field that may be in base64: `=?base64?…?=` (SEP-2243, "Value Encoding").
fn plain(said: &str) -> Option<Cow<'_, str>> {
    let Some(encoded) = said.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(said));
    };
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    type Fields = [(&'static str, &'static str)];

    fn fields(fields: &Fields) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            // From bytes: an é is none of the letters that a field should have.
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    #[test]
    fn fields_that_are_there_agree_with_the_message_in_every_era() {
        let call =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "pools_list" } });
        let good: [&Fields; 5] = [
            &[],
            &[("mcp-method", "tools/call"), ("mcp-name", "pools_list")],
            &[("mcp-name", "=?base64?cG9vbHNfbGlzdA==?=")],
            &[("mcp-protocol-version", "2025-03-26"), ("mcp-name", "pools_list")],
            &[("mcp-protocol-version", "2026-07-28")],
        ];
        for good in good {
            assert_eq!(agree(&fields(good), &call), Ok(()), "{good:?}");
        }
        let bad: [&Fields; 13] = [
            &[("mcp-method", "tools/list")],
            &[("mcp-method", "TOOLS/CALL")],
            &[("mcp-method", "tools/call"), ("mcp-method", "tools/call")],
            &[("mcp-method", "")],
            &[("mcp-name", "whoami")],
            &[("mcp-name", "pools_list"), ("mcp-name", "whoami")],
            &[("mcp-name", "po\u{f6}ls_list")],
            &[("mcp-name", "=?base64?d2hvYW1p?=")],
            &[("mcp-name", "=?base64?@@@?=")],
            &[("mcp-name", "=?base64?/w==?=")],
            &[("mcp-protocol-version", "2025-06-18"), ("mcp-protocol-version", "2025-03-26")],
            &[("mcp-protocol-version", "2025-06-18"), ("mcp-protocol-version", "2025-06-18")],
            &[("mcp-protocol-version", "\u{ff}")],
        ];
        for bad in bad {
            assert!(matches!(agree(&fields(bad), &call), Err(Fault::Mismatch(_))), "{bad:?}");
        }
        for unknown in ["1999-01-01", "2024-11-05", "2026-07-29", "9999-12-31", ""] {
            let headers = fields(&[("mcp-protocol-version", unknown)]);
            assert_eq!(agree(&headers, &call), Err(Fault::Version(unknown.to_owned())));
        }
    }

    #[test]
    fn what_a_message_does_not_name_cannot_disagree() {
        let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        assert_eq!(agree(&fields(&[("mcp-name", "whoami")]), &list), Ok(()));
        let read =
            json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": { "uri": "nas://a/" } });
        assert_eq!(agree(&fields(&[("mcp-name", "nas://a/")]), &read), Ok(()));
        assert!(agree(&fields(&[("mcp-name", "nas://a/c")]), &read).is_err());
        // The version is settled by what it says itself.
        let initialize = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize" });
        assert_eq!(agree(&fields(&[("mcp-protocol-version", "2024-11-05")]), &initialize), Ok(()));
    }
}
