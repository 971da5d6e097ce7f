//! JSON Schemas of arguments and answers, as short as they can be: every caller's model reads them all.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

/// Longest reason for a change, in characters.
pub const REASON: usize = 500;

/// The JSON Schema of `T`, without what a model does not need.
#[must_use]
pub fn schema_of<T: JsonSchema>() -> Map<String, Value> {
    plain(generator().into_root_schema_for::<T>())
}

fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    settings.into_generator()
}

/// Without what is only of Rust, or of no use to a model.
fn plain(schema: Schema) -> Map<String, Value> {
    let Value::Object(mut schema) = schema.to_value() else { return Map::new() };
    schema.remove("title");
    let mut schema = Value::Object(schema);
    each_object(&mut schema, &|object| {
        object.retain(|key, value| key != "format" || !value.as_str().is_some_and(is_of_rust));
    });
    let mut schema = into_object(schema);
    // A tool without arguments: schemars leaves the object bare, and some clients want the list to be there.
    if schema.get("type").is_some_and(|kind| kind == "object") {
        schema.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    }
    schema
}

/// Whether a format is a Rust type, `uint64` or `double`. JSON Schema has no such formats, and some clients warn of them.
fn is_of_rust(format: &str) -> bool {
    matches!(format, "float" | "double") || format.trim_start_matches('u').starts_with("int")
}

/// The JSON Schema of an answer: [`schema_of`], but for [`without_nulls`].
#[must_use]
pub fn answer_schema_of<T: JsonSchema>() -> Map<String, Value> {
    never_null_inside(schema_of::<T>())
}

fn never_null_inside(schema: Map<String, Value>) -> Map<String, Value> {
    let mut schema = Value::Object(schema);
    each_object(&mut schema, &|object| {
        let required = object.get("required").cloned().unwrap_or_default();
        let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
        for (name, property) in properties {
            if !required.as_array().is_some_and(|required| required.contains(&json!(name))) {
                never_null(property);
            }
        }
    });
    into_object(schema)
}

/// The arguments of a change: its own, and those that every change takes.
#[must_use]
pub fn of_a_change(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        let plan = json!({ "type": "string", "description": "Plan your person agreed to" });
        let reason =
            json!({ "type": "string", "maxLength": REASON, "description": "Why, for whoever approves" });
        properties.insert("plan".to_owned(), plan);
        properties.insert("reason".to_owned(), reason);
    }
    schema
}

/// An answer without the members that are `null`: what is not known is left out.
#[must_use]
pub fn without_nulls(mut answer: Value) -> Value {
    each_object(&mut answer, &|object| object.retain(|_, value| !value.is_null()));
    answer
}

/// The schema of an answer as it goes over the wire: what the members are called, and of which kind each is. What is
/// inside them, and the words, stand in `tailnas tools --json`: every model reads this, and hardly any makes use of more.
#[must_use]
pub fn bare(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut bare = Map::new();
    for (key, value) in schema {
        match (key.as_str(), value) {
            ("properties", Value::Object(properties)) => {
                let kinds = properties.iter().map(|(name, property)| (name.clone(), kind(property)));
                bare.insert(key.clone(), Value::Object(kinds.collect()));
            }
            ("type", _) => drop(bare.insert(key.clone(), value.clone())),
            _ => {}
        }
    }
    bare
}

/// Of which kind a value is.
fn kind(schema: &Value) -> Value {
    Value::Object(schema.get("type").map(|kind| ("type".to_owned(), kind.clone())).into_iter().collect())
}

/// Arguments that many tools have. What they are, the instructions of the server say once.
const COMMON: [&str; 3] = ["limit", "plan", "reason"];

/// Limits that hardly any call meets. One that does is told.
const SAID_BY_REFUSALS: [&str; 4] = ["format", "maxLength", "maximum", "minimum"];

/// What goes without saying of an argument that may be left out.
const USUAL: [&str; 3] = [" Default: all.", " Default: any.", " Default: no."];

/// What the name of an argument says as well.
const SAID_BY_NAMES: [&str; 5] = ["Its name.", "Its number.", "Its path.", "The app.", "What to do."];

/// The schema of arguments as it goes over the wire: that one may be left out, it need not say in three ways, nor in each
/// tool what holds for all of them. That no others are taken is said to whoever tries.
#[must_use]
pub fn lean(schema: &Map<String, Value>) -> Map<String, Value> {
    let mut schema = schema.clone();
    schema.remove("additionalProperties");
    for (name, property) in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten()
    {
        if let Some(property) = property.as_object_mut() {
            property.retain(|key, value| !SAID_BY_REFUSALS.contains(&key.as_str()) && *value != json!(false));
            let words = property.get("description").and_then(Value::as_str).unwrap_or_default();
            if COMMON.contains(&name.as_str()) || SAID_BY_NAMES.contains(&words) {
                property.remove("description");
            }
            if let Some(Value::String(words)) = property.get_mut("description") {
                for usual in USUAL {
                    words.truncate(words.strip_suffix(usual).unwrap_or(words).len());
                }
            }
            if let Some(item) = property.get_mut("items").and_then(Value::as_object_mut) {
                item.retain(|key, _| key != "description" && !SAID_BY_REFUSALS.contains(&key.as_str()));
            }
        }
        if property["default"].is_null() {
            never_null(property);
            property.as_object_mut().map(|property| property.remove("default"));
        }
    }
    schema
}

fn each_object(value: &mut Value, change: &impl Fn(&mut Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            object.values_mut().for_each(|value| each_object(value, change));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| each_object(value, change)),
        _ => {}
    }
}

fn never_null(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(kinds)) = object.get_mut("type") {
        kinds.retain(|kind| kind != "null");
        if let [kind] = &kinds[..] {
            let kind = kind.clone();
            object.insert("type".to_owned(), kind);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(kinds)) = object.get_mut("anyOf") {
        kinds.retain(|kind| kind["type"] != "null");
        if let [Value::Object(only)] = &kinds[..] {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
}

fn into_object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Serialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        One,
    }

    /// What it is.
    #[derive(Serialize, JsonSchema)]
    struct Inner {
        /// Perhaps.
        kind: Option<Kind>,
    }

    #[derive(Serialize, JsonSchema)]
    struct Answer {
        /// A number.
        count: u64,
        /// Words.
        description: Option<String>,
        /// More.
        inner: Option<Inner>,
        /// Many.
        many: Vec<Option<u8>>,
    }

    #[test]
    fn an_answer_fits_its_schema_with_everything_and_with_nothing() {
        let full = Answer {
            count: 1,
            description: Some("x".to_owned()),
            inner: Some(Inner { kind: Some(Kind::One) }),
            many: vec![Some(1), None],
        };
        let least = Answer { count: 1, description: None, inner: None, many: vec![] };
        for schema in [answer_schema_of::<Answer>(), bare(&answer_schema_of::<Answer>())] {
            let schema = Value::Object(schema);
            let validator = jsonschema::validator_for(&schema).unwrap();
            for answer in [&full, &least] {
                let answer = without_nulls(serde_json::to_value(answer).unwrap());
                let errors: Vec<_> = validator.iter_errors(&answer).map(|error| error.to_string()).collect();
                assert!(errors.is_empty(), "{errors:?} in {answer}: {schema}");
            }
        }
    }

    #[test]
    fn no_schema_has_a_format_that_json_schema_does_not_know() {
        #[derive(JsonSchema)]
        #[allow(dead_code, reason = "only its schema is looked at")]
        struct Formats {
            many: Vec<u64>,
            size: Option<usize>,
            share: f64,
            small: i8,
        }
        let mut schema = Value::Object(schema_of::<Formats>());
        let found = std::cell::RefCell::new(Vec::new());
        each_object(&mut schema, &|object| found.borrow_mut().extend(object.get("format").cloned()));
        assert!(found.borrow().is_empty(), "{found:?}");
    }

    #[test]
    fn what_goes_over_the_wire_is_names_and_shapes() {
        assert_eq!(
            Value::Object(bare(&answer_schema_of::<Answer>())),
            json!({
                "type": "object",
                "properties": {
                    "count": {"type": "integer"},
                    "description": {"type": "string"},
                    "inner": {"type": "object"},
                    "many": {"type": "array"},
                },
            })
        );
    }
}
