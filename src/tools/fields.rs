//! `fields`: of each item of a list only what the caller asks for. No tool knows of it.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::render::{columns, shown_of, size};
use super::{Answer, BadArguments};

/// What the argument is called.
pub const FIELDS: &str = "fields";

/// Longest text of one cell, in characters; the data has all of it.
const WIDEST: usize = 80;

/// What an answer is a list of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct List {
    /// The member of the answer that holds the items.
    name: String,
    /// The fields an item may have.
    fields: Vec<String>,
}

/// The fields that a caller wants to see of each item of a list, at least one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fields(Vec<String>);

/// Lets a tool take [`FIELDS`], if its answer is a list: if one member of it, and no other, holds objects. From
/// then on no field of an item can be counted on.
pub(crate) fn offer(input: &mut Map<String, Value>, output: &mut Map<String, Value>) -> Option<List> {
    let members = output.get_mut("properties")?.as_object_mut()?;
    // A verdict says more than the list that it rests on, and is not to be lost for it.
    if members.contains_key("verdict") {
        return None;
    }
    let mut lists = members
        .iter_mut()
        .filter(|(_, member)| member["type"] == "array" && member["items"]["properties"].is_object());
    let ((name, member), None) = (lists.next()?, lists.next()) else { return None };
    let items = member["items"].as_object_mut()?;
    items.remove("required");
    let fields = items.get("properties")?.as_object()?.keys().cloned().collect();
    let argument = json!({ "type": "array", "items": { "type": "string" } });
    input.get_mut("properties")?.as_object_mut()?.insert(FIELDS.to_owned(), argument);
    Some(List { name: name.clone(), fields })
}

impl List {
    /// Takes out of a tool's arguments which fields the caller wants to see; `None` for all of them.
    pub(crate) fn take_fields(
        &self,
        arguments: &mut Map<String, Value>,
    ) -> Result<Option<Fields>, BadArguments> {
        let Some(asked) = arguments.remove(FIELDS) else { return Ok(None) };
        let bad = |path: String, what: &str| {
            let what = format!("{what}; there are: {}", self.fields.join(", "));
            Err(BadArguments { path, what })
        };
        let asked = match asked {
            Value::Array(asked) if !asked.is_empty() => asked,
            _ => return bad(FIELDS.to_owned(), "should be an array with a name in it"),
        };
        let mut fields: Vec<String> = Vec::new();
        for (index, field) in asked.iter().enumerate() {
            match field.as_str() {
                Some(name) if !self.fields.iter().any(|field| field == name) => {
                    return bad(format!("{FIELDS}[{index}]"), "no item has a field of that name");
                }
                None => return bad(format!("{FIELDS}[{index}]"), "should be text"),
                Some(name) if fields.iter().any(|field| field == name) => {}
                Some(name) => fields.push(name.to_owned()),
            }
        }
        Ok(Some(Fields(fields)))
    }

    /// The answer with these fields of each item and no others. How many items there are stays what it was.
    pub(crate) fn narrow(&self, answer: Answer, Fields(fields): &Fields) -> Answer {
        let Answer { mut structured, text: _, items } = answer;
        let rows = structured.get_mut(&self.name).and_then(Value::as_array_mut);
        for row in rows.into_iter().flatten().filter_map(Value::as_object_mut) {
            row.retain(|name, _| fields.contains(name));
        }
        Answer { text: self.text(&structured, fields), structured, items }
    }

    fn text(&self, answer: &Value, fields: &[String]) -> String {
        let rows = answer[&self.name].as_array().into_iter().flatten();
        let rows: Vec<Vec<_>> =
            rows.map(|row| fields.iter().map(|field| cell(field, &row[field])).collect()).collect();
        let head = fields.iter().map(|field| field.to_uppercase()).collect();
        let shown = rows.len();
        let mut text =
            if rows.is_empty() { format!("There are no {}.\n", self.name) } else { columns(head, rows) };
        for (name, value) in answer.as_object().into_iter().flatten() {
            match (name.as_str(), value.as_u64()) {
                (name, _) if name == self.name => {}
                ("total", Some(total)) => {
                    let total = usize::try_from(total).unwrap_or(usize::MAX);
                    text.push_str(&shown_of(shown, total, "Narrow it with the other arguments."));
                }
                (name, _) => drop(writeln!(text, "{name}: {}", cell(name, value))),
            }
        }
        text
    }
}

fn cell(name: &str, value: &Value) -> String {
    let text = match (value, value.as_u64()) {
        (Value::Null, _) => "-".to_owned(),
        (Value::String(text), _) => text.clone(),
        (_, Some(bytes)) if name.ends_with("_bytes") => size(bytes),
        (other, _) => other.to_string(),
    };
    match text.char_indices().nth(WIDEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output() -> Map<String, Value> {
        let row = json!({ "type": "object", "required": ["name"], "properties": {
            "name": { "type": "string" }, "used_bytes": { "type": "integer" }, "tags": { "type": "array" } } });
        let schema = json!({ "type": "object", "required": ["rows", "total"], "properties": {
            "rows": { "type": "array", "items": row }, "total": { "type": "integer" } } });
        schema.as_object().unwrap().clone()
    }

    fn offered(mut output: Map<String, Value>) -> (Option<List>, Value) {
        let mut input = json!({ "properties": {} }).as_object().unwrap().clone();
        let list = offer(&mut input, &mut output);
        assert_eq!(list.is_some(), input["properties"][FIELDS].is_object());
        (list, Value::Object(output))
    }

    fn take(fields: Value) -> Result<Option<Fields>, BadArguments> {
        let mut arguments = Map::from_iter([(FIELDS.to_owned(), fields)]);
        let taken = offered(output()).0.unwrap().take_fields(&mut arguments);
        assert!(arguments.is_empty(), "the tool does not know of it");
        taken
    }

    #[test]
    fn only_what_an_item_has_can_be_asked_for() {
        let fields = |names: &[&str]| Ok(Some(Fields(names.iter().map(|name| (*name).to_owned()).collect())));
        assert_eq!(take(json!(["used_bytes", "name"])), fields(&["used_bytes", "name"]), "in their order");
        assert_eq!(take(json!(["name", "name"])), fields(&["name"]));
        for (asked, told) in [
            (
                json!(["total"]),
                "fields[0]: no item has a field of that name; there are: name, tags, used_bytes",
            ),
            (json!(["name", "Name"]), "fields[1]: no item has"),
            (json!(["name", 1]), "fields[1]: should be text"),
            (json!([]), "fields: should be an array"),
            (json!("name"), "fields: should be an array"),
            (json!(null), "fields: should be an array"),
        ] {
            let fault = take(asked.clone()).unwrap_err().to_string();
            assert!(fault.starts_with(told), "{asked}: {fault}");
        }
    }

    #[test]
    fn an_answer_with_more_than_one_list_or_with_none_is_no_list() {
        let mut more = output();
        more["properties"]["others"] = more["properties"]["rows"].clone();
        let mut none = output();
        none["properties"]["rows"]["items"] = json!({ "type": "string" });
        for schema in [more, none] {
            assert_eq!(offered(schema.clone()), (None, Value::Object(schema)));
        }
    }

    #[test]
    fn the_numbers_stay_those_of_the_whole() {
        let rows = json!([{ "name": "a", "used_bytes": 1536, "tags": ["x"] }, { "name": "b", "tags": [] }]);
        let whole = Answer { structured: json!({ "rows": rows, "total": 9 }), text: String::new(), items: 2 };
        let (list, schema) = offered(output());
        let Answer { structured, text, items } =
            list.unwrap().narrow(whole, &Fields(vec!["used_bytes".into()]));
        assert_eq!(structured, json!({ "rows": [{ "used_bytes": 1536 }, {}], "total": 9 }));
        assert_eq!(items, 2);
        assert_eq!(text, "USED_BYTES\n1.50 KiB\n-\n\nShown: 2 of 9. Narrow it with the other arguments.\n");
        assert!(jsonschema::is_valid(&schema, &structured), "{schema}");
    }
}
