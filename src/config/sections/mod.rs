//! One file for each section; each reads as the list of the section's keys.

pub(super) mod agent;
pub(super) mod approval;
pub(super) mod audit;
pub(super) mod grant;
pub(super) mod limits;
pub(super) mod log;
pub(super) mod metrics;
pub(super) mod nas;
pub(super) mod notify;
pub(super) mod policy;
pub(super) mod provider;
pub(super) mod relay;
pub(super) mod server;
pub(super) mod state;
pub(super) mod tailnet;
