//! What an app may be made of: Compose files and values of catalogue apps, judged before the NAS hears of them.
//!
//! The text is parsed once, and the tree that was judged is what is sent, never the text: Docker and this judge
//! cannot read it differently. What is not known to be harmless is refused, with the service, the key, the rule, and
//! what would pass. That a path really is where it says (a container can leave a symbolic link behind) is not to be
//! seen in a text; whoever deploys asks the NAS.

mod judge;
mod keep;
mod ports;
mod rule;
mod values;
pub mod yaml;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::name::{DatasetPath, FilePath};

pub use keep::keep;
pub use ports::{Chosen, Published};
pub use rule::{Refusal, Rule};
pub use values::judge_values;

/// What the configuration and the NAS allow.
#[derive(Clone, Copy, Debug)]
pub struct Bounds<'a> {
    /// Datasets that apps may see, with what lies below them.
    pub datasets: &'a [DatasetPath],
    /// Devices that apps may have: paths below `/dev`, or names such as `nvidia.com/gpu`.
    pub devices: &'a [String],
    /// Ports of the NAS that other apps use.
    pub used_ports: &'a BTreeSet<u16>,
}

/// A place of the NAS that an app would see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bind {
    /// The service, or the key of the values it stands under.
    pub of: String,
    /// On the NAS.
    pub source: FilePath,
    /// Whether the app could change what is there.
    pub writable: bool,
}

/// What an app would reach and what would reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// What it would see of the NAS.
    pub binds: Vec<Bind>,
    /// Where it would be reached.
    pub ports: Vec<Published>,
    /// Where it would be reached as well, at ports that nobody names.
    pub chosen_ports: Vec<Chosen>,
    /// Devices it would have.
    pub devices: Vec<String>,
}

impl Reach {
    /// Whether it could change what is in a dataset.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.binds.iter().any(|bind| bind.writable)
    }
}

/// A Compose file that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Stack {
    /// What is sent.
    pub file: Map<String, Value>,
    /// What it reaches.
    pub reach: Reach,
    /// The services and their images.
    pub images: Vec<(String, String)>,
    /// What is not refused and should be known all the same.
    pub notes: Vec<String>,
}

/// Reads a Compose file. What is `********` in it is still that: see [`keep`].
///
/// # Errors
///
/// Why it cannot be read.
pub fn read(text: &str) -> Result<Map<String, Value>, Refusal> {
    let refuse = |rule, found: &str| Refusal::new(None, "", found, rule);
    match yaml::parse(text) {
        Ok(yaml::Tree { value: Value::Object(file), .. }) => Ok(file),
        Ok(_) => Err(refuse(Rule::Shape, "not a map")),
        Err(fault) => {
            let rule = match &fault.kind {
                yaml::Kind::TooLong | yaml::Kind::TooDeep | yaml::Kind::TooMany | yaml::Kind::TooHeavy => {
                    Rule::TooLarge
                }
                yaml::Kind::Duplicate(_) => Rule::DuplicateKey,
                yaml::Kind::Tag(_) => Rule::Tag,
                _ => Rule::Yaml,
            };
            Err(refuse(rule, &fault.to_string()))
        }
    }
}

/// What an app is set up with that is there already.
#[derive(Clone, Copy, Debug)]
pub struct SetUp<'a> {
    /// Its Compose file, or its values.
    pub config: &'a Map<String, Value>,
    /// It is from a Compose file.
    pub custom: bool,
    /// Places of the NAS that its makers mount into it, whatever its values are.
    pub mounts: &'a [String],
    /// Rights that its makers give it.
    pub capabilities: &'a [String],
}

/// What an app reaches that is there already, and what the rules say of the rest of it. Its owner has put it there, so
/// that it is told and not forbidden.
#[must_use]
pub fn survey(set_up: &SetUp<'_>, bounds: &Bounds<'_>) -> (Reach, Vec<Refusal>) {
    let SetUp { config, custom, mounts, capabilities } = set_up;
    let mut court = judge::Court::new(bounds);
    if *custom {
        court.whole(config);
    } else {
        // What begins so is the NAS's own.
        let theirs = config.iter().filter(|(key, _)| !key.starts_with("ix_"));
        court.values(&theirs.map(|(key, value)| (key.clone(), value.clone())).collect(), None);
    }
    court.makers(mounts, capabilities);
    (court.reach, court.refusals)
}

/// Judges a Compose file.
///
/// # Errors
///
/// Everything in it that may not be, up to fifty things.
pub fn judge(file: Map<String, Value>, bounds: &Bounds<'_>) -> Result<Stack, Vec<Refusal>> {
    judge::stack(file, bounds)
}
