//! Our one HTTP client, and a first look at JSON and certificates that came from outside.

pub mod certificate;
pub mod http;
pub mod json;
