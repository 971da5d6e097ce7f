//! Values that were left out of what somebody was shown, and stay what they are.
//!
//! The NAS writes `********` where an account may not see a secret, and our own answers `[hidden]`. Either, sent
//! back, means that the value is not to be changed; neither is ever written.

use serde_json::{Map, Value};

/// What the NAS shows for a secret.
const STARS: &str = "********";

/// What our answers show.
const HIDDEN: &str = "[hidden]";

/// Whether a text stands for one that was left out, or has such a place in it.
pub(super) fn is_left_out(text: &str) -> bool {
    text.contains(STARS) || text.contains(HIDDEN)
}

/// Puts what is there in the places that were left out in `new`. What is not there stays as it is, for the judge.
pub fn keep(new: &mut Map<String, Value>, there: &Map<String, Value>) {
    for (key, value) in new {
        if let Some(there) = there.get(key) {
            keep_value(value, there);
        }
    }
}

fn keep_value(new: &mut Value, there: &Value) {
    match (new, there) {
        (Value::Object(new), Value::Object(there)) => keep(new, there),
        (Value::Array(new), there) => {
            for (index, item) in new.iter_mut().enumerate() {
                keep_item(item, index, there);
            }
        }
        // The environment, a map now and a list before.
        (Value::Object(new), Value::Array(there)) => {
            for (name, value) in new {
                if value.as_str().is_some_and(is_whole)
                    && let Some(kept) = there.iter().find_map(|entry| named(entry, name))
                {
                    *value = Value::String(kept.to_owned());
                }
            }
        }
        (new @ Value::String(_), there) if new.as_str().is_some_and(is_whole) && !is_container(there) => {
            *new = there.clone();
        }
        _ => {}
    }
}

/// An item of a list: `NAME=********` is found by its name, an object by its name or where it stands, and nothing
/// else, since a list may have been put in another order.
fn keep_item(item: &mut Value, index: usize, there: &Value) {
    match item {
        Value::String(text) => {
            let Some((name, value)) = text.split_once('=') else { return };
            if !is_whole(value) {
                return;
            }
            let kept = match there {
                Value::Array(there) => there.iter().find_map(|entry| named(entry, name)).map(str::to_owned),
                Value::Object(there) => there.get(name).and_then(word),
                _ => None,
            };
            if let Some(kept) = kept {
                *item = Value::String(format!("{name}={kept}"));
            }
        }
        Value::Object(new) => {
            let Value::Array(all) = there else { return };
            let same = |one: &&Value| match (new.get("name"), one.get("name")) {
                (Some(new), Some(there)) => new == there,
                (None, None) => all.get(index).is_some_and(|at| std::ptr::eq(at, *one)),
                _ => false,
            };
            if let Some(Value::Object(there)) = all.iter().find(same).cloned().as_ref() {
                keep(new, there);
            }
        }
        _ => {}
    }
}

fn is_whole(text: &str) -> bool {
    text == STARS || text == HIDDEN
}

const fn is_container(value: &Value) -> bool {
    matches!(value, Value::Array(_) | Value::Object(_))
}

/// What stands behind `NAME=`.
fn named<'v>(entry: &'v Value, name: &str) -> Option<&'v str> {
    entry.as_str()?.strip_prefix(name)?.strip_prefix('=')
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_left_out_stays_what_it_is() {
        for (new, there, kept) in [
            (json!({ "a": "********" }), json!({ "a": "x" }), json!({ "a": "x" })),
            (json!({ "a": "[hidden]" }), json!({ "a": 5 }), json!({ "a": 5 })),
            (
                json!({ "a": { "b": "********", "c": 1 } }),
                json!({ "a": { "b": "x", "c": 2 } }),
                json!({ "a": { "b": "x", "c": 1 } }),
            ),
            (
                json!({ "e": ["B=********", "A=[hidden]", "C=1"] }),
                json!({ "e": ["A=a", "B=b=b"] }),
                json!({ "e": ["B=b=b", "A=a", "C=1"] }),
            ),
            (json!({ "e": ["A=********"] }), json!({ "e": { "A": 5 } }), json!({ "e": ["A=5"] })),
            (json!({ "e": { "A": "********" } }), json!({ "e": ["A=a"] }), json!({ "e": { "A": "a" } })),
            (
                json!({ "e": [{ "name": "B", "value": "********" }] }),
                json!({ "e": [{ "name": "A", "value": "a" }, { "name": "B", "value": "b" }] }),
                json!({ "e": [{ "name": "B", "value": "b" }] }),
            ),
            // Nothing to keep: the judge refuses it.
            (json!({ "a": "********" }), json!({}), json!({ "a": "********" })),
            (json!({ "a": "********" }), json!({ "a": { "b": 1 } }), json!({ "a": "********" })),
            (json!({ "a": "x********" }), json!({ "a": "y" }), json!({ "a": "x********" })),
            (json!({ "a": ["********"] }), json!({ "a": ["x"] }), json!({ "a": ["********"] })),
        ] {
            let mut now = new.as_object().unwrap().clone();
            keep(&mut now, there.as_object().unwrap());
            assert_eq!(Value::Object(now), kept, "{new} {there}");
        }
    }
}
