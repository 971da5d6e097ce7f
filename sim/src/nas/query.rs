//! `query-filters` and `query-options` over rows of JSON.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Map, Value};

use super::wire::Failure;

/// How deep `OR` may be nested.
const MAX_DEPTH: usize = 3;

/// Whether `filters` is a list of conditions the middleware accepts.
pub(crate) fn check_filters(filters: &Value) -> Result<(), String> {
    conjunction(filters, 0).map(drop)
}

/// Answers a query method that has these rows to offer.
///
/// The order of the steps is the middleware's: fields are selected before rows are ordered, so ordering by
/// a field that was not selected fails.
pub(crate) fn answer(rows: Vec<Value>, filters: &Value, options: &Value) -> Result<Value, Failure> {
    let conditions = conjunction(filters, 0).map_err(|message| Failure::invalid("filters", message))?;
    let select = options["select"].as_array().filter(|select| !select.is_empty());
    let mut rows: Vec<Value> = rows
        .into_iter()
        .filter(|row| conditions.iter().all(|condition| condition.holds(row)))
        .map(|row| select.map_or(row.clone(), |select| project(&row, select)))
        .collect();
    if options["count"] == true {
        return Ok(rows.len().into());
    }
    for key in options["order_by"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        order(&mut rows, key)?;
    }
    if options["get"] == true {
        return rows.into_iter().next().ok_or(Failure::exception("MatchNotFound", "MatchNotFound()"));
    }
    let whole = |name: &str| options[name].as_u64().and_then(|number| usize::try_from(number).ok());
    let limit = whole("limit").filter(|limit| *limit > 0).unwrap_or(usize::MAX);
    Ok(rows.into_iter().skip(whole("offset").unwrap_or(0)).take(limit).collect())
}

#[derive(Debug)]
enum Condition {
    Is { path: String, test: Test },
    Either(Vec<Vec<Condition>>),
}

#[derive(Debug)]
struct Test {
    op: Op,
    fold: bool,
    value: Value,
}

#[derive(Clone, Debug)]
enum Op {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Matches(Regex),
    In,
    NotIn,
    Contains,
    ContainsNot,
    StartsWith,
    StartsNotWith,
    EndsWith,
    EndsNotWith,
}

fn conjunction(filters: &Value, depth: usize) -> Result<Vec<Condition>, String> {
    match filters {
        Value::Null => Ok(Vec::new()),
        Value::Array(filters) => filters.iter().map(|filter| condition(filter, depth)).collect(),
        other => Err(format!("Invalid filters: {other}")),
    }
}

fn condition(filter: &Value, depth: usize) -> Result<Condition, String> {
    if depth > MAX_DEPTH {
        return Err("query-filters max recursion depth exceeded".to_owned());
    }
    match filter.as_array().map(Vec::as_slice) {
        Some([Value::String(word), Value::Array(branches)]) if word == "OR" => branches
            .iter()
            .map(|branch| match branch.get(0) {
                Some(Value::Array(_)) => conjunction(branch, depth + 1),
                _ => Ok(vec![condition(branch, depth + 1)?]),
            })
            .collect::<Result<_, _>>()
            .map(Condition::Either),
        Some([Value::String(path), Value::String(op), value]) => {
            Ok(Condition::Is { path: path.clone(), test: Test::new(path, op, value)? })
        }
        Some([word, _]) => Err(format!("Invalid operation: {word}")),
        _ => Err(format!("Invalid filter {filter}")),
    }
}

impl Condition {
    fn holds(&self, row: &Value) -> bool {
        match self {
            Self::Is { path, test } => test.holds(row, path),
            Self::Either(branches) => {
                branches.iter().any(|branch| branch.iter().all(|condition| condition.holds(row)))
            }
        }
    }
}

impl Test {
    fn new(path: &str, op: &str, value: &Value) -> Result<Self, String> {
        let invalid = || format!("Invalid operation: {op}");
        let (fold, bare) = match op.strip_prefix('C') {
            Some("~") => return Err(invalid()),
            Some(bare) => (true, bare),
            None => (false, op),
        };
        let op = match bare {
            "=" => Op::Equal,
            "!=" => Op::NotEqual,
            ">" => Op::Greater,
            ">=" => Op::GreaterOrEqual,
            "<" => Op::Less,
            "<=" => Op::LessOrEqual,
            // Python's `re.match` looks at the beginning only.
            "~" => Op::Matches(
                Regex::new(&format!("^(?:{})", value.as_str().unwrap_or_default()))
                    .map_err(|error| error.to_string())?,
            ),
            "in" => Op::In,
            "nin" => Op::NotIn,
            "rin" => Op::Contains,
            "rnin" => Op::ContainsNot,
            "^" => Op::StartsWith,
            "!^" => Op::StartsNotWith,
            "$" => Op::EndsWith,
            "!$" => Op::EndsNotWith,
            _ => return Err(invalid()),
        };
        let value = if path.ends_with(".$date") { instant(value) } else { value.clone() };
        Ok(Self { op, fold, value: if fold { folded(&value) } else { value } })
    }

    /// A row that lacks the field never matches, not even a negated test.
    fn holds(&self, row: &Value, path: &str) -> bool {
        let (key, rest) = split(path);
        if key == "*" && row.is_array() {
            return row.as_array().into_iter().flatten().any(|item| self.holds_at(item, rest));
        }
        step(row, &key).is_some_and(|value| self.holds_at(value, rest))
    }

    fn holds_at(&self, value: &Value, rest: &str) -> bool {
        if rest.is_empty() { self.accepts(value) } else { self.holds(value, rest) }
    }

    fn accepts(&self, found: &Value) -> bool {
        let found = if self.fold { folded(found) } else { found.clone() };
        let ordered = |accepted: &[Ordering]| {
            compare(&found, &self.value).is_some_and(|ordering| accepted.contains(&ordering))
        };
        let text = |test: fn(&str, &str) -> bool| match (found.as_str(), self.value.as_str()) {
            (Some(found), Some(value)) => Some(test(found, value)),
            _ => None,
        };
        match &self.op {
            Op::Equal => equal(&found, &self.value),
            Op::NotEqual => !equal(&found, &self.value),
            Op::Greater => ordered(&[Ordering::Greater]),
            Op::GreaterOrEqual => ordered(&[Ordering::Greater, Ordering::Equal]),
            Op::Less => ordered(&[Ordering::Less]),
            Op::LessOrEqual => ordered(&[Ordering::Less, Ordering::Equal]),
            Op::Matches(regex) => found.as_str().is_some_and(|text| regex.is_match(text)),
            Op::In => contains(&self.value, &found).unwrap_or(false),
            Op::NotIn => !contains(&self.value, &found).unwrap_or(false),
            Op::Contains => contains(&found, &self.value).unwrap_or(false),
            Op::ContainsNot => contains(&found, &self.value) == Some(false),
            Op::StartsWith => text(|found, value| found.starts_with(value)) == Some(true),
            Op::StartsNotWith => text(|found, value| found.starts_with(value)) == Some(false),
            Op::EndsWith => text(|found, value| found.ends_with(value)) == Some(true),
            Op::EndsNotWith => text(|found, value| found.ends_with(value)) == Some(false),
        }
    }
}

/// A date may be given as ISO 8601; rows have milliseconds.
fn instant(value: &Value) -> Value {
    value
        .as_str()
        .and_then(|text| chrono::DateTime::parse_from_rfc3339(text).ok())
        .map_or_else(|| value.clone(), |date| date.timestamp_millis().into())
}

fn folded(value: &Value) -> Value {
    match value {
        Value::String(text) => text.to_lowercase().into(),
        Value::Array(items) => items.iter().map(folded).collect(),
        other => other.clone(),
    }
}

/// `1 == 1.0` holds in Python.
fn equal(one: &Value, other: &Value) -> bool {
    one == other || (one.is_number() && compare(one, other) == Some(Ordering::Equal))
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(_), Value::Number(_)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
        (Value::Object(one), Value::Object(other)) => compare(one.get("$date")?, other.get("$date")?),
        _ => None,
    }
}

fn contains(container: &Value, item: &Value) -> Option<bool> {
    match (container, item) {
        (Value::Array(items), item) => Some(items.iter().any(|one| equal(one, item))),
        (Value::String(text), Value::String(part)) => Some(text.contains(part.as_str())),
        (Value::Object(object), Value::String(key)) => Some(object.contains_key(key)),
        _ => None,
    }
}

/// The first step of a dotted path and what follows it. `\.` is a dot within a step.
fn split(path: &str) -> (String, &str) {
    let mut key = String::new();
    let mut rest = path;
    while let Some((left, right)) = rest.split_once('.') {
        let Some(left) = left.strip_suffix('\\') else {
            key.push_str(left);
            return (key, right);
        };
        key.push_str(left);
        key.push('.');
        rest = right;
    }
    key.push_str(rest);
    (key, "")
}

fn step<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    match value {
        Value::Object(object) => object.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    }
}

fn find<'a>(row: &'a Value, path: &str) -> Option<&'a Value> {
    let (key, rest) = split(path);
    let value = step(row, &key)?;
    if rest.is_empty() { Some(value) } else { find(value, rest) }
}

fn project(row: &Value, select: &[Value]) -> Value {
    let mut selected = Map::new();
    for wanted in select {
        let (path, alias) = match wanted {
            Value::String(path) => (path.as_str(), None),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(path), Value::String(alias)] => (path.as_str(), Some(alias)),
                _ => continue,
            },
            _ => continue,
        };
        let Some(value) = find(row, path) else { continue };
        match alias {
            Some(alias) => drop(selected.insert(alias.clone(), value.clone())),
            None => insert(&mut selected, path, value.clone()),
        }
    }
    Value::Object(selected)
}

fn insert(object: &mut Map<String, Value>, path: &str, value: Value) {
    let (key, rest) = split(path);
    if rest.is_empty() {
        object.insert(key, value);
    } else if let Value::Object(inner) = object.entry(key).or_insert_with(|| Value::Object(Map::new())) {
        insert(inner, rest, value);
    }
}

fn order(rows: &mut Vec<Value>, key: &str) -> Result<(), Failure> {
    let (nulls_first, bare) = match (key.strip_prefix("nulls_first:"), key.strip_prefix("nulls_last:")) {
        (Some(bare), _) => (Some(true), bare),
        (_, Some(bare)) => (Some(false), bare),
        _ => (None, key),
    };
    let (reverse, path) = bare.strip_prefix('-').map_or((false, bare), |path| (true, path));
    let (nulls, mut rest): (Vec<Value>, Vec<Value>) =
        rows.drain(..).partition(|row| find(row, path).is_none_or(Value::is_null));
    if nulls_first.is_none() && !nulls.is_empty() && nulls.len() + rest.len() > 1 {
        return Err(Failure::exception(
            "ValueError",
            format!(
                "Cannot sort by '{key}' because the field contains null values. Please use \
                 \"nulls_first:{key}\" or \"nulls_last:{key}\" to specify null placement."
            ),
        ));
    }
    rest.sort_by(|one, other| {
        let ordering = find(one, path)
            .zip(find(other, path))
            .and_then(|(one, other)| compare(one, other))
            .unwrap_or(Ordering::Equal);
        if reverse { ordering.reverse() } else { ordering }
    });
    if nulls_first == Some(true) {
        rows.extend(nulls);
        rows.append(&mut rest);
    } else {
        rows.append(&mut rest);
        rows.extend(nulls);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn people() -> Vec<Value> {
        vec![
            json!({"name": "Ann", "age": 31, "tags": ["a", "b"], "home": {"city": "Ulm"}, "left": null,
                   "dotted.key": 1, "born": {"$date": 0}, "pets": [{"kind": "cat"}, {"kind": "dog"}]}),
            json!({"name": "bob", "age": 9, "tags": [], "home": {"city": "Bonn"}, "left": 5,
                   "born": {"$date": 86_400_000}, "pets": []}),
            json!({"name": "Cyd", "age": 60.5, "tags": ["b"], "home": {"city": "Ulm"}, "left": 2,
                   "born": {"$date": 172_800_000}, "pets": [{"kind": "dog"}]}),
        ]
    }

    fn names(filters: &Value) -> Vec<String> {
        let rows = answer(people(), filters, &Value::Null).expect("the filters are valid");
        let rows = rows.as_array().expect("a list").clone();
        rows.iter().filter_map(|row| Some(row["name"].as_str()?.to_owned())).collect()
    }

    #[test]
    fn each_operation_selects_the_rows_it_should() {
        let rows: &[(Value, &[&str])] = &[
            (json!([]), &["Ann", "bob", "Cyd"]),
            (json!([["name", "=", "bob"]]), &["bob"]),
            (json!([["name", "=", "BOB"]]), &[]),
            (json!([["name", "C=", "BOB"]]), &["bob"]),
            (json!([["name", "!=", "bob"]]), &["Ann", "Cyd"]),
            (json!([["age", ">", 31]]), &["Cyd"]),
            (json!([["age", ">=", 31]]), &["Ann", "Cyd"]),
            (json!([["age", "<", 31.0]]), &["bob"]),
            (json!([["age", "<=", 31]]), &["Ann", "bob"]),
            (json!([["left", "<", 9]]), &["bob", "Cyd"]),
            (json!([["name", "~", "[AC].*"]]), &["Ann", "Cyd"]),
            (json!([["name", "~", "nn"]]), &[]),
            (json!([["age", "in", [9, 31]]]), &["Ann", "bob"]),
            (json!([["age", "nin", [9, 31]]]), &["Cyd"]),
            (json!([["tags", "rin", "b"]]), &["Ann", "Cyd"]),
            (json!([["tags", "rnin", "b"]]), &["bob"]),
            (json!([["name", "rin", "n"]]), &["Ann"]),
            (json!([["name", "^", "A"]]), &["Ann"]),
            (json!([["name", "C^", "B"]]), &["bob"]),
            (json!([["name", "!^", "A"]]), &["bob", "Cyd"]),
            (json!([["name", "$", "d"]]), &["Cyd"]),
            (json!([["name", "!$", "d"]]), &["Ann", "bob"]),
            (json!([["home.city", "=", "Ulm"]]), &["Ann", "Cyd"]),
            (json!([["dotted\\.key", "=", 1]]), &["Ann"]),
            (json!([["tags.0", "=", "b"]]), &["Cyd"]),
            (json!([["pets.*.kind", "=", "cat"]]), &["Ann"]),
            (json!([["born.$date", ">", "1970-01-01T12:00:00+00:00"]]), &["bob", "Cyd"]),
            (json!([["nothing", "!=", 1]]), &[]),
            (json!([["left", "=", null]]), &["Ann"]),
            (json!([["age", ">", 10], ["home.city", "=", "Ulm"], ["name", "!=", "Ann"]]), &["Cyd"]),
            (json!([["OR", [["name", "=", "bob"], ["age", ">", 60]]]]), &["bob", "Cyd"]),
            (json!([["OR", [["name", "=", "bob"], [["age", ">", 9], ["age", "<", 60]]]]]), &["Ann", "bob"]),
        ];
        for (filters, expected) in rows {
            assert_eq!(names(filters), *expected, "{filters}");
        }
    }

    #[test]
    fn what_is_not_a_filter_is_refused_in_the_servers_words() {
        let deep = json!([["OR", [["OR", [["OR", [["OR", [["a", "=", 1]]]]]]]]]]);
        let rows = [
            (json!([["a", "like", 1]]), "Invalid operation: like"),
            (json!([["a", "C~", "x"]]), "Invalid operation: C~"),
            (json!([["AND", []]]), "Invalid operation: \"AND\""),
            (json!([["a"]]), "Invalid filter [\"a\"]"),
            (deep, "query-filters max recursion depth exceeded"),
        ];
        for (filters, expected) in rows {
            assert_eq!(check_filters(&filters), Err(expected.to_owned()), "{filters}");
        }
    }

    #[test]
    fn options_shape_the_answer() {
        let rows = [
            (json!({"count": true}), json!(3)),
            (json!({"select": ["name"], "limit": 1}), json!([{"name": "Ann"}])),
            (json!({"select": ["name"], "offset": 2}), json!([{"name": "Cyd"}])),
            (json!({"select": ["home.city"], "limit": 1}), json!([{"home": {"city": "Ulm"}}])),
            (json!({"select": [["home.city", "town"]], "limit": 1}), json!([{"town": "Ulm"}])),
            (json!({"select": ["age"], "order_by": ["-age"], "get": true}), json!({"age": 60.5})),
            (
                json!({"select": ["left"], "order_by": ["nulls_last:left"]}),
                json!([{"left": 2}, {"left": 5}, {"left": null}]),
            ),
            (
                json!({"select": ["left"], "order_by": ["nulls_first:-left"]}),
                json!([{"left": null}, {"left": 5}, {"left": 2}]),
            ),
        ];
        for (options, expected) in rows {
            assert_eq!(answer(people(), &json!([]), &options), Ok(expected), "{options}");
        }
    }

    #[test]
    fn a_get_without_a_match_and_an_order_over_nulls_fail() {
        let get = answer(people(), &json!([["age", "=", 1]]), &json!({"get": true}));
        assert_eq!(get, Err(Failure::exception("MatchNotFound", "MatchNotFound()")));
        assert!(answer(people(), &json!([]), &json!({"order_by": ["left"]})).is_err());
    }
}
