//! Certificates, without their keys.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Deserialize;

use super::Method;
use super::query::{Query, Queryable};
use crate::domain::access::Read;
use crate::nas::version::Candidate;
use crate::nas::wire::null_is_empty;

/// The certificates.
#[derive(Clone, Copy, Debug)]
pub struct Certificates;

/// Every certificate.
#[must_use]
pub fn all() -> Query<Certificates> {
    Query::all().order("name")
}

/// A certificate: who it is for, and until when.
#[derive(Clone, Debug, Deserialize)]
pub struct Certificate {
    /// What the NAS calls it.
    pub name: String,
    /// The name it is made out to.
    #[serde(default)]
    pub common: Option<String>,
    /// The other names it is made out to.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub san: Vec<String>,
    /// When it ends, in words: `Thu Jan  7 12:00:00 2027`.
    #[serde(default)]
    pub until: Option<String>,
    /// It has ended.
    #[serde(default)]
    pub expired: Option<bool>,
}

impl Certificate {
    /// When it ends, where the words can be read.
    #[must_use]
    pub fn ends(&self) -> Option<DateTime<Utc>> {
        NaiveDateTime::parse_from_str(self.until.as_deref()?, "%a %b %e %H:%M:%S %Y")
            .ok()
            .map(|at| at.and_utc())
    }
}

impl Queryable for Certificates {
    const SELECT: &'static [&'static str] = &["name", "common", "san", "until", "expired"];
}

impl Method for Certificates {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Certificate>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("certificate.query");
    const ROLE: Option<&'static str> = Some("CERTIFICATE_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_read_from_words() {
        let certificate = |until: &str| -> Certificate {
            serde_json::from_value(serde_json::json!({ "name": "x", "until": until, "san": null })).unwrap()
        };
        let ends = certificate("Thu Jan  7 12:00:00 2027").ends().unwrap();
        assert_eq!(ends.to_rfc3339(), "2027-01-07T12:00:00+00:00");
        assert_eq!(certificate("some day").ends(), None);
    }
}
