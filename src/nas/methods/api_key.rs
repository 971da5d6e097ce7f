//! API keys: ours, and when they end.

use serde::Deserialize;

use super::Method;
use super::query::{Compare, Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::Candidate;
use crate::nas::wire::Date;

/// API keys, without what they are made of.
#[derive(Clone, Copy, Debug)]
pub struct Keys;

/// The keys with these numbers.
#[must_use]
pub fn numbered(numbers: &[i64]) -> Query<Keys> {
    Query::all().filter("id", Compare::In, numbers)
}

/// An API key.
#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    /// Its number, which it begins with.
    pub id: i64,
    /// When it ends; `None` for never.
    #[serde(default)]
    pub expires_at: Option<Date>,
}

impl Queryable for Keys {
    const SELECT: &'static [&'static str] = &["id", "expires_at"];
}

impl Method for Keys {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Key>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("api_key.query");
    const ROLE: Option<&'static str> = Some("API_KEY_READ");

    fn example() -> Self::Params {
        numbered(&[1, 2])
    }
}
