//! What a change would do, found out before it is done.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::risk::Risk;

/// Names one plan. It is no secret and proves nothing: a plan is its proposer's, and who else may see it is
/// asked each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(ulid::Ulid);

impl PlanId {
    /// A new one, of this time and random bits.
    #[must_use]
    pub fn at(now: DateTime<Utc>) -> Self {
        Self(ulid::Ulid::from_datetime(now.into()))
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The text is not the handle of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the handle of a plan, which is 26 letters and digits")]
pub struct NotAPlanId;

impl FromStr for PlanId {
    type Err = NotAPlanId;

    fn from_str(text: &str) -> Result<Self, NotAPlanId> {
        ulid::Ulid::from_string(text).map(Self).map_err(|_| NotAPlanId)
    }
}

impl Serialize for PlanId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PlanId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a tool found out about a change from the live NAS. Whatever stands in it that the NAS supplied has been
/// cleaned already.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Draft {
    /// What would happen, in one sentence.
    pub summary: String,
    /// What it can do at worst, as things are. Never below what the tool declares.
    pub risk: Risk,
    /// What would be another, each before and after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Alteration>,
    /// What uses or hangs on the target.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<Dependent>,
    /// Who or what would be interrupted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<String>,
    /// What somebody should know before they say yes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What could not be seen, and may hang on the target all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unseen: Vec<String>,
    /// Bytes that are at stake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How to take it back.
    pub undo: Undo,
    /// What is changed: plans about the same subject are carried out one after the other.
    #[serde(skip)]
    pub subject: String,
    /// What the target is and what hangs on it.
    #[serde(skip)]
    pub fingerprint: Fingerprint,
}

impl Draft {
    /// A draft of a change to `subject` that has nothing more to tell.
    #[must_use]
    pub fn new(
        summary: impl Into<String>,
        risk: Risk,
        undo: Undo,
        subject: impl Into<String>,
        fingerprint: Fingerprint,
    ) -> Self {
        Self {
            summary: summary.into(),
            risk,
            changes: Vec::new(),
            dependents: Vec::new(),
            stops: Vec::new(),
            warnings: Vec::new(),
            unseen: Vec::new(),
            bytes: None,
            undo,
            subject: subject.into(),
            fingerprint,
        }
    }

    /// The risk is `risk`, or what it was if that is more.
    #[must_use]
    pub fn at_least(mut self, risk: Risk) -> Self {
        self.risk = self.risk.max(risk);
        self
    }
}

/// One thing that would be another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alteration {
    /// What.
    pub what: String,
    /// How it is; absent where it is not there yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// How it would be; absent where it would be gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Alteration {
    /// `what` is `before` and would be `after`.
    #[must_use]
    pub fn new(what: impl Into<String>, before: Option<String>, after: Option<String>) -> Self {
        Self { what: what.into(), before, after }
    }
}

/// Something that uses the target or hangs on it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Dependent {
    /// What kind of thing: `SMB share`, `app` …
    pub kind: &'static str,
    /// Its name.
    pub name: String,
}

/// How a change is taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Undo {
    /// By calling this tool, which is a plan of its own.
    Call {
        /// The tool.
        tool: &'static str,
        /// Its arguments.
        arguments: Value,
    },
    /// By hand, or by itself: in words.
    Words(String),
    /// Not at all; why.
    Impossible(String),
}

impl Undo {
    /// By calling `tool`.
    #[must_use]
    pub const fn call(tool: &'static str, arguments: Value) -> Self {
        Self::Call { tool, arguments }
    }

    /// Whether there is a way back.
    #[must_use]
    pub const fn is_possible(&self) -> bool {
        !matches!(self, Self::Impossible(_))
    }
}

impl fmt::Display for Undo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { tool, arguments } => write!(f, "call {tool} with {arguments}"),
            Self::Words(words) => f.write_str(words),
            Self::Impossible(why) => write!(f, "no undo: {why}"),
        }
    }
}

impl Serialize for Undo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A digest of what identifies a target and of what hangs on it: another one means that the plan is about
/// something that is no longer so. What merely grows, such as use, has no place in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of `facts`. Objects are hashed with sorted keys; lists must come in an order of their own.
    #[must_use]
    pub fn of(facts: &Value) -> Self {
        // serde_json keeps objects sorted, so the same facts always hash alike.
        Self(Sha256::digest(facts.to_string().as_bytes()).into())
    }

    /// That of the same facts and of `more`.
    #[must_use]
    pub fn and(self, more: &Value) -> Self {
        Self(Sha256::new().chain_update(self.0).chain_update(more.to_string()).finalize().into())
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0[..8]))
    }
}

/// A plan and who agreed to it, as the audit log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNote {
    /// The plan.
    pub id: PlanId,
    /// The plan's digest, in hexadecimal: what exactly was agreed to.
    pub digest: String,
    /// Who approved it; absent where that was the client's own doing.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub approver: Option<ApproverNote>,
    /// How it is taken back; absent where it was not carried out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub undo: Option<UndoNote>,
}

/// How a change is taken back, as the audit log keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UndoNote {
    /// By calling this tool.
    Call {
        /// The tool.
        tool: String,
        /// Its arguments.
        arguments: Map<String, Value>,
    },
    /// By hand, or by itself: in words.
    Words(String),
    /// Not at all; why.
    Impossible(String),
}

impl fmt::Display for UndoNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { tool, arguments } => {
                write!(f, "call {tool} with {}", Value::Object(arguments.clone()))
            }
            Self::Words(words) => f.write_str(words),
            Self::Impossible(why) => write!(f, "no undo: {why}"),
        }
    }
}

/// Who approved a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproverNote {
    /// Their login.
    pub user: String,
    /// The node they did it from.
    pub node: String,
    /// The passkey they did it with, as its name in our store.
    pub passkey: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fingerprint_is_of_the_facts_and_not_of_their_order() {
        let one = Fingerprint::of(&json!({ "a": 1, "b": [2, 3] }));
        assert_eq!(one, Fingerprint::of(&json!({ "b": [2, 3], "a": 1 })));
        assert_ne!(one, Fingerprint::of(&json!({ "a": 1, "b": [3, 2] })));
    }

    #[test]
    fn more_facts_make_another_fingerprint_and_the_first_ones_still_count() {
        let of = |one: i32, more: i32| Fingerprint::of(&json!(one)).and(&json!(more));
        assert_eq!(of(1, 2), of(1, 2));
        for other in [Fingerprint::of(&json!(1)), of(1, 3), of(3, 2), of(2, 1)] {
            assert_ne!(of(1, 2), other);
        }
    }

    #[test]
    fn risk_only_rises() {
        let draft =
            |risk| Draft::new("x", risk, Undo::Words(String::new()), "x", Fingerprint::of(&Value::Null));
        assert_eq!(draft(Risk::Disruptive).at_least(Risk::Reversible).risk, Risk::Disruptive);
        assert_eq!(draft(Risk::Reversible).at_least(Risk::Destructive).risk, Risk::Destructive);
    }

    #[test]
    fn a_handle_reads_back_as_itself() {
        let id = PlanId::at(DateTime::UNIX_EPOCH);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "x", "01J", "../../etc/passwd", "UUUUUUUUUUUUUUUUUUUUUUUUUU"] {
            assert_eq!(text.parse::<PlanId>(), Err(NotAPlanId), "{text}");
        }
    }
}
