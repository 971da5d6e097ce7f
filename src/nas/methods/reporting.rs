//! Measurements over time, and those of this moment.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::app::Every;
use super::query::{Query, Queryable};
use super::{Method, Source};
use crate::domain::access::Read;
use crate::nas::version::Candidate;
use crate::nas::wire::null_is_empty;

/// Which graphs there are.
#[derive(Clone, Copy, Debug)]
pub struct Graphs;

/// A graph, or one for each of several things.
#[derive(Clone, Debug, Deserialize)]
pub struct Graph {
    /// Its name.
    pub name: String,
    /// The things it can be of.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub identifiers: Vec<String>,
}

impl Queryable for Graphs {
    const SELECT: &'static [&'static str] = &["name", "identifiers"];
}

impl Method for Graphs {
    type Access = Read;
    type Params = Query<Self>;
    type Reply = Vec<Graph>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("reporting.netdata_graphs");
    const ROLE: Option<&'static str> = Some("REPORTING_READ");

    fn example() -> Self::Params {
        Query::all()
    }
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Data;

/// A graph to look at.
#[derive(Clone, Debug, Serialize)]
pub struct Wanted {
    /// Its name.
    pub name: &'static str,
    /// Of which thing, where it is of several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
}

/// Since when.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Span {
    /// `HOUR`, `DAY`, `WEEK`, `MONTH`, `YEAR`.
    pub unit: &'static str,
    /// Whether the NAS is to add up what we add up ourselves.
    pub aggregate: bool,
}

/// A graph with what was measured.
#[derive(Clone, Debug, Deserialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Of which thing.
    #[serde(default)]
    pub identifier: Option<String>,
    /// What each column is. The first is mostly `time`.
    pub legend: Vec<String>,
    /// Rows of numbers; nothing where nothing was measured.
    pub data: Vec<Vec<Option<f64>>>,
}

impl Method for Data {
    type Access = Read;
    type Params = (Vec<Wanted>, Span);
    type Reply = Vec<Series>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("reporting.netdata_get_data");
    const ROLE: Option<&'static str> = Some("REPORTING_READ");

    fn example() -> Self::Params {
        let disk = Wanted { name: "disk", identifier: Some("sda | Type: HDD".into()) };
        (vec![Wanted { name: "cpu", identifier: None }, disk], Span { unit: "HOUR", aggregate: false })
    }
}

/// How it is now.
#[derive(Clone, Copy, Debug)]
pub struct Realtime;

/// What of [`Realtime`] we read.
#[derive(Clone, Debug, Deserialize)]
pub struct Now {
    /// By name.
    #[serde(default)]
    pub interfaces: BTreeMap<String, Link>,
}

/// An interface.
#[derive(Clone, Debug, Deserialize)]
pub struct Link {
    /// Megabits a second it could carry.
    #[serde(default)]
    pub speed: Option<f64>,
}

impl Source for Realtime {
    type Args = Every;
    type Item = Now;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("reporting.realtime");
    const ROLE: Option<&'static str> = Some("REPORTING_READ");

    fn example() -> Self::Args {
        Every { interval: 2 }
    }
}
