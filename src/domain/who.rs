//! Who is asking, as the audit log tells it: plain data, written down once and carried along.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One caller of one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Who {
    /// The tailnet node the request came from; absent when WhoIs knew nobody.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub peer: Option<PeerNote>,
    /// The token the request carried; absent when none was accepted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub auth: Option<AuthNote>,
    /// Through what the request came, if not from a person's own node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub via: Option<Via>,
    /// The MCP side of the request; absent when it was refused before that was read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mcp: Option<McpNote>,
}

/// What stands between us and a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A tagged node that passes on the requests of people: `peer` is that node, `auth` the person.
    Relay,
    /// There is no person: a tagged node asks for itself, without a token.
    Agent,
}

impl Via {
    /// The spelling in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Agent => "agent",
        }
    }
}

/// The node at the other end of the connection, from WhoIs and never from a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerNote {
    /// Its tailnet address.
    pub ip: IpAddr,
    /// The port the connection came from; 0 where a proxy in front does not tell.
    pub port: u16,
    /// The stable id of the node.
    pub node_id: String,
    /// The node's DNS name, without the closing dot.
    pub node_name: String,
    /// The login of its user; absent for a tagged node.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub user: Option<String>,
    /// Its tags; empty for a user's node.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub tags: Vec<String>,
}

/// The token, without any byte of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthNote {
    /// The provider that vouches for it.
    pub iss: String,
    /// The subject, as the provider names it.
    pub sub: String,
    /// The user's name at the provider, where it says one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub username: Option<String>,
    /// The OAuth client it was issued to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<String>,
    /// Its scopes, as the provider wrote them.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub scope: String,
    /// The provider's own id of the token.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub jti: Option<String>,
    /// When it stops being good, in seconds since 1970.
    pub exp: i64,
    /// A keyed hash of the token: the same token has the same one until the daemon restarts.
    pub tok: String,
    /// Age of the provider's answer in milliseconds; 0 when it was asked for this request.
    pub age_ms: u64,
}

/// What the client said over MCP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct McpNote {
    /// The JSON-RPC method.
    pub method: String,
    /// The protocol version of the request, where it named one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub protocol: Option<String>,
    /// The request's id, cut to 64 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rpc_id: Option<String>,
    /// Name and version of the client program, as it calls itself. Untrusted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client: Option<String>,
}
