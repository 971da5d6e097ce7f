//! tailnas puts a TrueNAS behind MCP on a tailnet.
//!
//! A request collects proofs on its way in; only someone holding all of them can touch the NAS; and the last
//! proof is a line already on disk. `docs/ARCHITECTURE.md` is the map.

pub mod app;
pub mod audit;
pub mod caller;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod config;
pub mod dispatch;
pub mod domain;
pub mod exit;
pub mod history;
pub mod lifecycle;
pub mod mcp;
pub mod metrics;
pub mod nas;
pub mod net;
pub mod notify;
pub mod oauth;
pub mod passkey;
pub mod policy;
pub mod sampler;
pub mod secret;
pub mod server;
pub mod state;
pub mod tailnet;
pub mod telemetry;
pub mod tools;
