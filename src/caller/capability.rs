//! The tailnet's grant: the values of our application capability.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::grants::Reach;
use crate::domain::name::NasName;
use crate::domain::scope::{Scope, ScopeSet};

/// What the tailnet grants.
#[derive(Debug, Default)]
pub(super) struct Granted {
    pub(super) rules: Vec<(ScopeSet, Reach)>,
    /// Words that are no scope of ours. They grant nothing.
    pub(super) unknown: Vec<String>,
}

/// Reads the values, `[{"scopes":["storage:read"],"nas":["*"]}]`. Without `nas` it is about every NAS.
///
/// A value with a member that we do not know is refused with all the others: a restriction that was misspelt
/// must not turn into its absence.
pub(super) fn read(capability: &RawValue) -> Result<Granted, serde_json::Error> {
    let values: Option<Vec<Box<RawValue>>> = serde_json::from_str(capability.get())?;
    let mut granted = Granted::default();
    for value in values.unwrap_or_default() {
        let Value { scopes, nas } = Value::read(&value)?;
        let mut set = ScopeSet::EMPTY;
        for word in scopes {
            match word.parse::<Scope>() {
                Ok(scope) => set.insert(scope),
                Err(_) => granted.unknown.push(word),
            }
        }
        let reach = if nas.iter().any(|name| name == "*") {
            Reach::Every
        } else {
            let names = nas.iter().map(|name| name.parse::<NasName>());
            Reach::Only(names.collect::<Result<_, _>>().map_err(serde::de::Error::custom)?)
        };
        granted.rules.push((set, reach));
    }
    Ok(granted)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    scopes: Vec<String>,
    #[serde(default = "every")]
    nas: Vec<String>,
}

impl Value {
    /// An object only: the derived reader would take an array for one.
    fn read(value: &RawValue) -> Result<Self, serde_json::Error> {
        if !value.get().starts_with('{') {
            return Err(serde::de::Error::custom("a value of the capability is not an object"));
        }
        serde_json::from_str(value.get())
    }
}

fn every() -> Vec<String> {
    vec!["*".to_owned()]
}
