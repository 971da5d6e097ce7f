//! Alerts.

use serde::Deserialize;

use super::{Method, Nothing};
use crate::domain::access::{Read, Write};
use crate::nas::version::Candidate;
use crate::nas::wire::{Date, beginning};

/// Every alert there is, dismissed ones too.
#[derive(Clone, Copy, Debug)]
pub struct Alerts;

/// An alert.
#[derive(Clone, Debug, Deserialize)]
pub struct Alert {
    /// What identifies it.
    pub uuid: String,
    /// What it is about, `VolumeStatus`.
    pub klass: String,
    /// `INFO` … `EMERGENCY`.
    pub level: String,
    /// In words. The NAS fills names and messages into it that others chose.
    #[serde(default, deserialize_with = "beginning")]
    pub formatted: Option<String>,
    /// The same before anything is filled in.
    #[serde(default, deserialize_with = "beginning")]
    pub text: Option<String>,
    /// When it first came up.
    #[serde(default)]
    pub datetime: Option<Date>,
    /// When it last came up.
    #[serde(default)]
    pub last_occurrence: Option<Date>,
    /// Somebody put it aside.
    #[serde(default)]
    pub dismissed: Option<bool>,
    /// It stays until it is dismissed.
    #[serde(default)]
    pub one_shot: Option<bool>,
    /// Which of two controllers it is from.
    #[serde(default)]
    pub node: Option<String>,
}

impl Method for Alerts {
    type Access = Read;
    type Params = Nothing;
    type Reply = Vec<Alert>;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("alert.list");
    const ROLE: Option<&'static str> = Some("ALERT_LIST_READ");
    const TOLD: bool = true;

    fn example() -> Self::Params {
        []
    }
}

/// Puts an alert aside.
#[derive(Clone, Copy, Debug)]
pub struct Dismiss;

/// Brings an alert back that was put aside.
#[derive(Clone, Copy, Debug)]
pub struct Restore;

macro_rules! change {
    ($item:ident, $name:literal) => {
        impl Method for $item {
            type Access = Write;
            type Params = (String,);
            type Reply = ();
            const CANDIDATES: &'static [Candidate] = &Candidate::always($name);
            const ROLE: Option<&'static str> = Some("ALERT_LIST_WRITE");

            fn example() -> Self::Params {
                ("5d2f7f3e-30a8-4c57-9bb0-2a1f1c8f6e01".to_owned(),)
            }
        }
    };
}

change!(Dismiss, "alert.dismiss");
change!(Restore, "alert.restore");
