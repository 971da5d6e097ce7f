//! Who is admitted, against the doubles of TSIDP and of tailscaled's LocalAPI.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]
#![expect(clippy::disallowed_methods, reason = "a crowd of clients is no task of the daemon's")]

mod gate;
mod limits;
mod provider;
mod rights;
mod tailscaled;
mod world;
