//! Every method of the catalogue held against the schemas that the NAS publishes, generation by generation.
//!
//! The schemas are not ours to pass on. `TAILNAS_API_SCHEMAS` names the folder that has them, one
//! `VERSION.json` for each generation; without it this test says that it did not run.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a schema that cannot be read is a failure of the test"
)]

#[path = "common/schemas.rs"]
mod schemas;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tailnas::nas::methods::{Listed, catalogue, sources};
use tailnas::nas::version::{Candidate, Version};
use tailnas::nas::{provision, sent_besides};

const GENERATIONS: [&str; 3] = ["25.04.2", "25.10.5", "26.0.0"];

#[test]
fn every_method_is_what_each_generation_says_it_is() {
    let Some(folder) = std::env::var_os("TAILNAS_API_SCHEMAS").map(PathBuf::from) else {
        return loudly(
            "NOT CHECKED: TAILNAS_API_SCHEMAS names no folder with the schemas of the TrueNAS API",
        );
    };
    let mut faults = Vec::new();
    let mut told = Vec::new();
    for generation in GENERATIONS {
        let published = load(&folder.join(format!("{generation}.json")));
        let version = generation.parse().unwrap();
        let (mut with_reply, mut without) = (Vec::new(), Vec::new());
        for method in catalogue() {
            faults.extend(check(&published, version, &method));
            let Some(name) = Candidate::choose(method.candidates, version) else { continue };
            let has_reply = !replies(&published["methods"][name], &method, true).is_empty();
            (if has_reply { &mut with_reply } else { &mut without }).push(name);
        }
        let (all, replies) = (with_reply.len() + without.len(), with_reply.len());
        // 25.04 publishes many of them in an older style that says nothing of replies.
        assert!(generation == GENERATIONS[0] || without.is_empty(), "{generation}: no reply of {without:?}");
        told.push(format!(
            "{generation}: {} invalid of {all} methods; arguments of all, and a full reply of {replies}: {}.",
            faults.len(),
            with_reply.join(", ")
        ));
        if !without.is_empty() {
            told.push(format!("  No reply is published for {}.", without.join(", ")));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    loudly(&told.join("\n"));
}

#[test]
fn logins_and_what_setup_does_are_what_each_generation_says_they_are() {
    let Some(folder) = std::env::var_os("TAILNAS_API_SCHEMAS").map(PathBuf::from) else {
        return loudly(
            "NOT CHECKED: TAILNAS_API_SCHEMAS names no folder with the schemas of the TrueNAS API",
        );
    };
    let (mut faults, mut told) = (Vec::new(), Vec::new());
    for generation in GENERATIONS {
        let published = load(&folder.join(format!("{generation}.json")));
        let version = generation.parse().unwrap();
        let mut held = Vec::new();
        for call in sent_besides().into_iter().chain(provision::sent()) {
            // SCRAM comes with 26, and so does telling of it before a login; what is there before is not sent.
            let Some(name) = Candidate::choose(call.candidates, version) else { continue };
            let theirs = &published["methods"][name];
            // What is looked at before an account is made must be there in full: nothing is guessed of it.
            let answers: Vec<_> =
                replies(theirs, &call, false).into_iter().map(|reply| filled(name, reply)).collect();
            assert!(!answers.is_empty(), "{generation} publishes no reply of {name}");
            let found = exchange(theirs, &call, &answers);
            faults.extend(found.into_iter().map(|fault| format!("{generation} {name}: {fault}")));
            held.push(name);
        }
        told.push(format!(
            "{generation}: {} invalid of {} calls that are no methods; arguments and a full reply of each: {}.",
            faults.len(),
            held.len(),
            held.join(", ")
        ));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    loudly(&told.join("\n"));
}

/// A reply, with what a NAS puts where the schema says "object" and no more.
fn filled(name: &str, mut reply: Value) -> Value {
    let (place, what) = match name {
        "auth.me" => ("privilege", json!({"roles": {"$set": ["READONLY_ADMIN"]}})),
        "user.query" => ("group", json!({"id": 101, "bsdgrp_gid": 3001})),
        _ => return reply,
    };
    match &mut reply {
        Value::Array(rows) => rows.iter_mut().for_each(|row| row[place] = what.clone()),
        one => one[place] = what,
    }
    reply
}

#[test]
fn every_event_source_is_what_each_generation_says_it_is() {
    let Some(folder) = std::env::var_os("TAILNAS_API_SCHEMAS").map(PathBuf::from) else {
        return loudly(
            "NOT CHECKED: TAILNAS_API_SCHEMAS names no folder with the schemas of the TrueNAS API",
        );
    };
    let (mut faults, mut told) = (Vec::new(), Vec::new());
    for generation in GENERATIONS {
        // 25.04 has them and publishes none; its source declares them with the names, arguments and events of 25.10.
        let by = if generation == GENERATIONS[0] { GENERATIONS[1] } else { generation };
        let published = load(&folder.join(format!("{by}.json")));
        let version = generation.parse().unwrap();
        let sources = sources();
        for source in &sources {
            faults.extend(check_source(&published, version, source));
        }
        let names: Vec<_> =
            sources.iter().filter_map(|source| Candidate::choose(source.candidates, version)).collect();
        told.push(format!(
            "{generation}: {} invalid of {} event sources, by the schemas of {by}; arguments and a full event of each: {}.",
            faults.len(),
            names.len(),
            names.join(", ")
        ));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    loudly(&told.join("\n"));
}

/// Says something that must be seen, whatever the test runner does with what tests print.
fn loudly(what: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "{what}");
}

fn check_source(published: &Value, generation: Version, ours: &Listed) -> Vec<String> {
    let name = Candidate::choose(ours.candidates, generation).unwrap_or_default();
    let theirs = &published["events"][name];
    if theirs.is_null() {
        return vec![format!("{generation} has no source {name:?}")];
    }
    let mut faults = Vec::new();
    let roles = theirs["roles"].as_array().cloned().unwrap_or_default();
    if !ours.role.is_some_and(|role| roles.contains(&json!(role))) {
        faults.push(format!("{generation} {name}: roles are {roles:?}, ours is {:?}", ours.role));
    }
    let parameters = jsonschema::validator_for(&theirs["schemas"]["Subscription parameters"]).unwrap();
    faults.extend(parameters.iter_errors(&ours.example).map(|error| format!("{generation} {name}: {error}")));
    let added = &theirs["schemas"]["ADDED"];
    for how in hows() {
        let item = sample(&added["properties"]["fields"], added, how);
        if let Err(error) = (ours.reads)(&item.to_string()) {
            faults.push(format!("{generation} {name}: {error} in {item}"));
        }
    }
    faults
}

fn load(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn check(published: &Value, generation: Version, ours: &Listed) -> Vec<String> {
    let Some(name) = Candidate::choose(ours.candidates, generation) else {
        let there =
            ours.candidates.iter().filter(|candidate| !published["methods"][candidate.name].is_null());
        return there.map(|candidate| format!("{generation} has {} after all", candidate.name)).collect();
    };
    let theirs = &published["methods"][name];
    if theirs.is_null() {
        return vec![format!("{generation} has no {name}")];
    }
    let mut faults = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            faults.push(format!("{generation} {name}: {what}"));
        }
    };

    expect(theirs["job"] == json!(ours.job), format!("job is {}", theirs["job"]));
    if ours.told {
        // The same account must be able to hear of it.
        let roles = published["events"][name]["roles"].as_array().cloned().unwrap_or_default();
        let heard = ours.role.is_some_and(|role| roles.contains(&json!(role)));
        expect(heard, format!("changes of it are told to {roles:?}, ours is {:?}", ours.role));
    }
    if let Some(roles) = theirs["roles"].as_array() {
        let wanted = ours.role.is_some_and(|role| roles.contains(&json!(role)));
        expect(wanted, format!("roles are {roles:?}, ours is {:?}", ours.role));
        expect(theirs["readonly_admin"] == json!(!ours.changes), "reading and changing are mixed up".into());
    } else if ours.role.is_none() {
        expect(theirs["authz_required"] == json!(false), "it does take a role".into());
    }

    let answers = replies(theirs, ours, true);
    faults.extend(
        exchange(theirs, ours, &answers).into_iter().map(|fault| format!("{generation} {name}: {fault}")),
    );
    faults
}

/// What is wrong with the arguments as we send them, and with replies as we read them.
fn exchange(theirs: &Value, ours: &Listed, replies: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            faults.push(what);
        }
    };
    let parameters = theirs["params"].as_array().cloned().unwrap_or_default();
    let arguments = ours.example.as_array().cloned().unwrap_or_default();
    expect(ours.example.is_array(), "the arguments are no array".into());
    expect(arguments.len() <= parameters.len(), "too many arguments".into());
    for (index, parameter) in parameters.iter().enumerate() {
        match arguments.get(index) {
            None => expect(parameter["required"] != json!(true), format!("{} is missing", parameter["name"])),
            Some(argument) => {
                let schema = schemas::with_defs(&parameter["schema"], &theirs["params_defs"]);
                for error in jsonschema::validator_for(&schema).unwrap().iter_errors(argument) {
                    expect(false, format!("{}: {error}", parameter["name"]));
                }
            }
        }
    }

    let number = json!(101);
    for reply in replies {
        // What is published is what the job comes to; what is answered is its number.
        let reply = if ours.job { &number } else { reply };
        if let Err(error) = (ours.reads)(&reply.to_string()) {
            expect(false, format!("{error} in {reply}"));
        }
    }
    faults
}

/// Answers as the schema of the result allows them: with all there may be, and where `least` is wanted too, with as little
/// as there may be. Schemas in the older style say too little to make any.
fn replies(theirs: &Value, ours: &Listed, least: bool) -> Vec<Value> {
    let hows = || hows().filter(move |how| how.full || least);
    // A method that takes its query in an object of its own names it with hyphens.
    let inner = &ours.example[0]["query-options"];
    let options = if inner.is_object() { inner } else { &ours.example[1] };
    // Some take an argument before filters and options.
    let options = if ours.example[2].is_object() { &ours.example[2] } else { options };
    if options["count"] == json!(true) {
        return vec![json!(7)];
    }
    let entry = &theirs["entry_schema"];
    if entry.is_object() {
        let select = options["select"].as_array();
        let row = |how| {
            let mut row = sample(entry, entry, how);
            if let Some(select) = select {
                row = select
                    .iter()
                    .filter_map(Value::as_str)
                    .fold(json!({}), |picked, path| pick(picked, &row, path));
            }
            row
        };
        // A schema that requires nothing, as that of datasets, does not mean that there may be nothing.
        let requires = entry["required"].is_array();
        let rows = hows().filter(|how| how.full || requires).map(row);
        return vec![json!([]), rows.collect()];
    }
    if theirs["result"].is_null() || !theirs["result"]["_name_"].is_null() {
        return Vec::new();
    }
    let mut result = schemas::with_defs(&theirs["result"], &theirs["result_defs"]);
    // A count, a row or rows, whichever is asked for; we ask for rows.
    let kinds = resolve(&result, &result)["anyOf"].as_array().cloned().unwrap_or_default();
    let rows = kinds.iter().find(|kind| kind["type"] == "array");
    if let (Some(rows), true) = (rows, kinds.iter().any(|kind| kind["type"] == "integer")) {
        result = schemas::with_defs(rows, &result["$defs"]);
    }
    hows().map(|how| sample(&result, &result, how)).collect()
}

/// Which of the values that a schema allows is made.
#[derive(Clone, Copy)]
struct How {
    /// With all there may be, or with as little as there may be.
    full: bool,
    /// Which of several kinds, counted from the first that is not null, and around.
    kind: usize,
}

/// More kinds than any schema has.
const KINDS: usize = 24;

fn hows() -> impl Iterator<Item = How> {
    let full = (0..KINDS).map(|kind| How { full: true, kind });
    full.chain([How { full: false, kind: 0 }])
}

/// Puts what stands at `path` of `row` into the same place of `picked`, as the NAS selects.
fn pick(mut picked: Value, row: &Value, path: &str) -> Value {
    let pointer = format!("/{}", path.replace('.', "/"));
    if let Some(value) = row.pointer(&pointer) {
        let (mut place, steps) = (&mut picked, path.split('.'));
        for step in steps {
            place = &mut place[step];
        }
        *place = value.clone();
    }
    picked
}

fn resolve<'a>(schema: &'a Value, root: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|reference| root.pointer(reference.strip_prefix('#')?)) {
        Some(target) => resolve(target, root),
        None => schema,
    }
}

fn sample(schema: &Value, root: &Value, how: How) -> Value {
    let full = how.full;
    if let Some(reference) = schema["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        return sample(root.pointer(pointer).unwrap(), root, how);
    }
    if !schema["const"].is_null() {
        return schema["const"].clone();
    }
    if let Some(values) = schema["enum"].as_array() {
        return values[0].clone();
    }
    if let Some(kinds) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let absent = kinds.iter().any(|kind| kind["type"] == "null");
        let kinds: Vec<_> = kinds.iter().filter(|kind| kind["type"] != "null").collect();
        assert!(kinds.len() <= KINDS, "more kinds than are tried: {}", kinds.len());
        return if absent && !full { Value::Null } else { sample(kinds[how.kind % kinds.len()], root, how) };
    }
    match schema["type"].as_str() {
        Some("object") => {
            let required = schema["required"].as_array();
            let fields = schema["properties"].as_object().into_iter().flatten();
            // A map from names that only the NAS knows.
            let more = Some(&schema["additionalProperties"]).filter(|more| full && more.is_object());
            let more = more.map(|more| ("entry".to_owned(), sample(more, root, how)));
            fields
                .filter(|(name, _)| full || required.is_some_and(|required| required.contains(&json!(name))))
                .map(|(name, field)| (name.clone(), sample(field, root, how)))
                .chain(more)
                .collect()
        }
        // Of items without a schema nothing can be said.
        Some("array") if full && schema["items"].as_object().is_some_and(|items| !items.is_empty()) => {
            json!([sample(&schema["items"], root, how)])
        }
        Some("array") => json!([]),
        Some("string") if schema["format"] == "date-time" => json!({"$date": 1_790_000_000_000_i64}),
        Some("string") => json!("text"),
        Some("integer") => json!(7),
        Some("number") => json!(7.5),
        Some("boolean") => json!(true),
        _ => Value::Null,
    }
}
