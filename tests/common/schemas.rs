//! The schemas that TrueNAS publishes, as a validator of today reads them.

use serde_json::{Value, json};

/// `schema` with the definitions that it refers to.
pub fn with_defs(schema: &Value, defs: &Value) -> Value {
    let mut schema = modern(schema.clone());
    if defs.is_object() {
        schema["$defs"] = defs.clone();
    }
    schema
}

/// The older style writes `float` for a number, and the kinds of item as a list.
fn modern(schema: Value) -> Value {
    match schema {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match (name.as_str(), value) {
                ("type", Value::String(kind)) if kind == "float" => (name, json!("number")),
                ("items", Value::Array(kinds)) if kinds.is_empty() => (name, json!({})),
                ("items", Value::Array(kinds)) => {
                    (name, json!({"anyOf": kinds.into_iter().map(modern).collect::<Vec<_>>()}))
                }
                (_, value) => (name, modern(value)),
            })
            .collect(),
        Value::Array(values) => values.into_iter().map(modern).collect(),
        other => other,
    }
}
