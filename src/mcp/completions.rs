//! Completions: the names that an argument can have, as far as the caller may see them.

use std::sync::Arc;

use rmcp::model::CompletionInfo;
use serde_json::{Map, Value, json};

use super::Origin;
use crate::dispatch::{Dispatcher, NAS, Reply};
use crate::domain::name::NasName;

/// What an argument names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nas,
    Pool,
    Dataset,
    App,
    Vm,
    Interface,
    Job,
    /// An app that is not there yet.
    Wanted,
}

impl Kind {
    /// What such an argument is called.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Nas => NAS,
            Self::Pool => "pool",
            Self::Dataset => "dataset",
            Self::App => "app",
            Self::Vm => "vm",
            Self::Interface => "interface",
            Self::Job => "id",
            Self::Wanted => "wanted",
        }
    }

    /// The tool that lists them, the member of its answer that is the list, the field that is the name, and the
    /// most it lists.
    const fn source(self) -> Option<(&'static str, &'static str, &'static str, Option<u32>)> {
        match self {
            Self::Nas | Self::Wanted => None,
            Self::Pool => Some(("pools_list", "pools", "name", None)),
            Self::Dataset => Some(("datasets_list", "datasets", "path", Some(1000))),
            Self::App => Some(("apps_list", "apps", "name", Some(500))),
            Self::Vm => Some(("vms_list", "machines", "name", Some(300))),
            Self::Interface => Some(("network_config", "interfaces", "name", None)),
            Self::Job => Some(("jobs_list", "jobs", "id", Some(200))),
        }
    }
}

/// The names of `kind` on `nas` that begin with `typed`. Asking for them is a call of the tool that lists them; where
/// that is refused or fails, there are none.
pub(super) async fn of(
    dispatcher: &Arc<Dispatcher>,
    origin: &Origin,
    kind: Kind,
    nas: Option<&str>,
    typed: &str,
) -> CompletionInfo {
    let Some((tool, list, field, most)) = kind.source() else { return CompletionInfo::default() };
    if dispatcher.reach(&origin.caller, tool).is_empty() {
        return CompletionInfo::default();
    }
    let mut arguments = Map::from_iter([("fields".to_owned(), json!([field]))]);
    arguments.extend(most.map(|most| ("limit".to_owned(), most.into())));
    arguments.extend(nas.map(|nas| (NAS.to_owned(), nas.into())));
    let call = origin.call(tool, arguments);
    let Reply::Done(answer, ..) = dispatcher.call(call).await else { return CompletionInfo::default() };
    let rows = answer.structured[list].as_array().into_iter().flatten();
    let names = rows.filter_map(|row| match &row[field] {
        Value::String(name) => Some(name.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    beginning(names, typed)
}

/// The names of NASes that begin with `typed`.
pub(super) fn of_nas(names: &[NasName], typed: &str) -> CompletionInfo {
    beginning(names.iter().map(ToString::to_string), typed)
}

/// As many of `names` as an answer may hold, and how many there would be.
fn beginning(names: impl Iterator<Item = String>, typed: &str) -> CompletionInfo {
    let begins =
        |name: &String| name.get(..typed.len()).is_some_and(|start| start.eq_ignore_ascii_case(typed));
    let mut values: Vec<_> = names.filter(begins).collect();
    let total = values.len();
    values.truncate(CompletionInfo::MAX_VALUES);
    let has_more = total > values.len();
    CompletionInfo::with_pagination(values, u32::try_from(total).ok(), has_more).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Catalogue;

    #[test]
    fn what_is_asked_of_a_tool_is_in_its_answer() {
        let catalogue = Catalogue::new();
        for kind in [Kind::Pool, Kind::Dataset, Kind::App, Kind::Vm, Kind::Interface, Kind::Job] {
            let (tool, list, field, most) = kind.source().unwrap();
            let spec = catalogue.find(tool).unwrap().spec();
            let item = &spec.output["properties"][list]["items"]["properties"];
            assert!(item[field].is_object(), "{tool} has no {list}[].{field}");
            assert_eq!(most.is_some(), spec.input["properties"]["limit"].is_object(), "{tool}");
        }
    }

    #[test]
    fn no_more_than_an_answer_may_hold() {
        let names = |n: u32| (0..n).map(|n| format!("Tank{n}"));
        let of = |n, typed| {
            let CompletionInfo { values, total, has_more, .. } = beginning(names(n), typed);
            (values.len(), total, has_more)
        };
        assert_eq!(of(3, ""), (3, Some(3), Some(false)));
        assert_eq!(of(3, "tank1"), (1, Some(1), Some(false)));
        assert_eq!(of(3, "ank"), (0, Some(0), Some(false)));
        assert_eq!(of(250, "t"), (100, Some(250), Some(true)));
        assert_eq!(of(3, "ä"), (0, Some(0), Some(false)));
    }
}
