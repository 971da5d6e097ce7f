//! Three servers that stand in for what a test machine cannot have.
//!
//! [`nas`] speaks TrueNAS JSON-RPC over WebSocket, [`tsidp`] the identity provider's HTTP, [`localapi`]
//! tailscaled's LocalAPI over a unix socket. Each listens on a real socket and keeps real state; none
//! shares a line with the daemon, so an answer that only our own client would accept is found out. [`browser`] and
//! [`passkey`] stand in for the person who says yes.

pub mod browser;
pub mod client;
pub mod daemon;
pub mod fault;
pub mod localapi;
pub mod nas;
pub mod passkey;
pub mod tls;
pub mod tsidp;
pub mod world;
