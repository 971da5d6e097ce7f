//! A small MCP client over a real socket, from any loopback address: what a test or the demo says to the
//! daemon. It believes nothing: every answer comes back with its status, headers and bytes.

use std::io;
use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

/// The newest protocol version.
pub const MODERN: &str = "2026-07-28";

/// A client at one address with one token.
#[derive(Clone, Debug)]
pub struct Client {
    /// The daemon.
    pub server: SocketAddr,
    /// What it is called, as the Host field has it.
    pub host: String,
    /// The address calls come from.
    pub from: IpAddr,
    /// The token, or none.
    pub token: Option<String>,
    /// Path of the MCP endpoint.
    pub path: String,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// HTTP headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON, `null` where it is none. Of a stream of events, the last one.
    pub fn json(&self) -> Value {
        if let Ok(value) = serde_json::from_slice(&self.body) {
            return value;
        }
        self.events().pop().unwrap_or_default()
    }

    /// The messages of a stream of events, in order.
    pub fn events(&self) -> Vec<Value> {
        let text = String::from_utf8_lossy(&self.body);
        text.lines()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok())
            .collect()
    }

    /// The text that a person would read of a tool's answer.
    pub fn text(&self) -> String {
        let json = self.json();
        let blocks = json["result"]["content"].as_array().cloned().unwrap_or_default();
        blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n")
    }

    /// Whether a tool said that it failed.
    pub fn is_error(&self) -> bool {
        self.json()["result"]["isError"] == json!(true)
    }
}

impl Client {
    /// Sends one HTTP request with these headers besides Host.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> io::Result<Answer> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).map_err(io::Error::other)?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        driver.abort();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// One request of the 2026-07-28 era, of a client that puts no questions to anybody.
    pub async fn modern(&self, method: &str, params: Value) -> io::Result<Answer> {
        self.modern_with(json!({}), method, params).await
    }

    /// The same, of a client with these capabilities.
    pub async fn modern_with(&self, capabilities: Value, method: &str, params: Value) -> io::Result<Answer> {
        let mut params = params;
        let meta = params["_meta"].as_object().cloned().unwrap_or_default();
        params["_meta"] = Value::Object(meta);
        params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(MODERN);
        params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = capabilities;
        params["_meta"]["io.modelcontextprotocol/clientInfo"] =
            json!({ "name": "tailnas-sim", "version": "1" });
        let named_by = match method {
            "tools/call" | "prompts/get" => Some("name"),
            "resources/read" => Some("uri"),
            _ => None,
        };
        let name = named_by.map(|member| params[member].as_str().unwrap_or_default().to_owned());
        let mut headers = vec![("mcp-protocol-version", MODERN), ("mcp-method", method)];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        self.rpc(&headers, method, &params).await
    }

    /// One request of the older era, as a client sends it that has no session and no version header.
    pub async fn legacy(&self, method: &str, params: Value) -> io::Result<Answer> {
        self.rpc(&[], method, &params).await
    }

    /// Calls a tool. A question that comes back is answered with yes: the person at this client agrees to
    /// everything their client asks them.
    pub async fn call(&self, tool: &str, arguments: Value) -> io::Result<Answer> {
        self.call_and_answer("accept", json!({ "name": tool, "arguments": arguments })).await
    }

    /// Calls a tool with these parameters, and answers a question that comes back with `action`: `accept`,
    /// `decline` or `cancel`.
    pub async fn call_and_answer(&self, action: &str, params: Value) -> io::Result<Answer> {
        let able = json!({ "elicitation": { "form": {} } });
        let answer = self.modern_with(able.clone(), "tools/call", params.clone()).await?;
        let asked = answer.json()["result"].take();
        if asked["resultType"] != "input_required" {
            return Ok(answer);
        }
        let answers: serde_json::Map<_, _> = asked["inputRequests"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| (name.clone(), json!({ "action": action, "content": {} })))
            .collect();
        let mut again = params;
        again["inputResponses"] = Value::Object(answers);
        again["requestState"] = asked["requestState"].clone();
        self.modern_with(able, "tools/call", again).await
    }

    async fn rpc(&self, headers: &[(&str, &str)], method: &str, params: &Value) -> io::Result<Answer> {
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let mut all =
            vec![("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        all.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        all.extend_from_slice(headers);
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.send(Method::POST, &self.path, &all, body.to_string()).await
    }
}
