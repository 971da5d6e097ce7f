//! The anchor of the benchmark: the same SDK as the daemon's, with a bearer token compared in front of it, and nothing else.
//!
//! `bare ANSWERS.json` reads what the daemon under test answered, and answers the same: the difference between the two is
//! what the daemon does besides. Prints its port once it listens.

use std::collections::HashSet;
use std::io::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::serve::ListenerExt as _;
use http::{StatusCode, header};
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, DiscoverResult, ListToolsResult,
    PaginatedRequestParams,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer};
use serde::Deserialize;

/// What the daemon under test answered, and the tokens that are good.
#[derive(Deserialize)]
struct Answers {
    tokens: HashSet<String>,
    discover: DiscoverResult,
    tools: ListToolsResult,
    whoami: CallToolResult,
}

struct Echo {
    discover: DiscoverResult,
    tools: ListToolsResult,
    whoami: CallToolResult,
}

impl ServerHandler for Echo {
    async fn discover(&self, _context: RequestContext<RoleServer>) -> Result<DiscoverResult, ErrorData> {
        Ok(self.discover.clone())
    }

    async fn list_tools(
        &self,
        _page: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(self.tools.clone())
    }

    async fn call_tool(
        &self,
        _request: CallToolRequestParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        Ok(self.whoami.clone().into())
    }
}

/// Lets through who brings one of the tokens.
async fn admit(State(tokens): State<Arc<HashSet<String>>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    match shown.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(token) if tokens.contains(token) => next.run(request).await,
        _ => StatusCode::UNAUTHORIZED.into_response(),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args_os().nth(1).ok_or("usage: bare ANSWERS.json")?;
    let Answers { tokens, discover, tools, whoami } = serde_json::from_slice(&std::fs::read(path)?)?;
    let echo = Arc::new(Echo { discover, tools, whoami });
    let config =
        StreamableHttpServerConfig::default().with_legacy_session_mode(false).with_json_response(true);
    let service: StreamableHttpService<Arc<Echo>, NeverSessionManager> =
        StreamableHttpService::new(move || Ok(Arc::clone(&echo)), Arc::default(), config);
    let app = Router::new()
        .nest_service("/mcp", service)
        .layer(middleware::from_fn_with_state(Arc::new(tokens), admit));
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        println!("{}", listener.local_addr()?.port());
        std::io::stdout().flush()?;
        // As the daemon does.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        axum::serve(listener, app).await?;
        Ok(())
    })
}
