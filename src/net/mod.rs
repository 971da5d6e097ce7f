//! Our one HTTP client, and a first look at JSON that came from outside.

pub mod http;
pub mod json;
