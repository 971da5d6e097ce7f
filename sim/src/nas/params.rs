//! Strict validation of arguments, in the words the middleware's models use.

use serde_json::{Map, Value};

use super::Generation;
use super::query;
use super::wire::{Complaint, EINVAL, Failure};

/// Longest string a field takes unless its model says otherwise.
const MAX_STRING: usize = 1024;

/// What a value must be. No conversion is ever made: `"5"` is not an integer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Str,
    /// At least one character.
    Name,
    Bool,
    Int,
    Strings,
    OneOf(&'static [&'static str]),
    /// Any object.
    Dict,
    /// An object of these fields and no others.
    Model(&'static [Param]),
    /// An object of which these fields are looked at and others let through.
    Open(&'static [Param]),
    NullOr(&'static Kind),
    Filters,
    Select,
    /// Any list.
    List,
    /// Anything.
    Any,
}

/// An argument, or a field of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Param {
    pub name: &'static str,
    pub kind: Kind,
    pub required: bool,
}

pub(crate) const fn required(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: true }
}

pub(crate) const fn optional(name: &'static str, kind: Kind) -> Param {
    Param { name, kind, required: false }
}

/// What a query may be asked besides its filters.
pub(crate) const OPTIONS: &[Param] = &[
    optional("extra", Kind::Dict),
    optional("order_by", Kind::Strings),
    optional("select", Kind::Select),
    optional("count", Kind::Bool),
    optional("get", Kind::Bool),
    optional("offset", Kind::Int),
    optional("limit", Kind::Int),
    optional("force_sql_filters", Kind::Bool),
];

/// The two arguments of every query method.
pub(crate) const QUERY: &[Param] =
    &[optional("filters", Kind::Filters), optional("options", Kind::Model(OPTIONS))];

/// The arguments of one call, already validated.
#[derive(Debug, Default)]
pub(crate) struct Args(Vec<Value>);

impl Args {
    pub fn check(params: &[Param], given: &[Value]) -> Result<Self, Failure> {
        if given.len() > params.len() {
            let message = format!("Too many arguments (expected {}, found {})", params.len(), given.len());
            return Err(Failure::invalid("", message));
        }
        let mut complaints = Vec::new();
        for (index, param) in params.iter().enumerate() {
            match given.get(index) {
                Some(value) => check(param.kind, value, param.name, &mut complaints),
                None if param.required => complain(&mut complaints, param.name, "Field required"),
                None => {}
            }
        }
        if complaints.is_empty() { Ok(Self(given.to_vec())) } else { Err(Failure::Invalid(complaints)) }
    }

    pub fn get(&self, index: usize) -> &Value {
        self.0.get(index).unwrap_or(&Value::Null)
    }

    pub fn str(&self, index: usize) -> &str {
        self.get(index).as_str().unwrap_or_default()
    }

    pub fn query(&self) -> (&Value, &Value) {
        (self.get(0), self.get(1))
    }

    pub fn into_values(self) -> Vec<Value> {
        self.0
    }
}

fn complain(complaints: &mut Vec<Complaint>, attribute: &str, message: impl Into<String>) {
    complaints.push(Complaint {
        attribute: Some(attribute.to_owned()),
        message: message.into(),
        errno: EINVAL,
    });
}

fn check(kind: Kind, value: &Value, path: &str, complaints: &mut Vec<Complaint>) {
    match kind {
        Kind::Str | Kind::Name => match value.as_str() {
            None => complain(complaints, path, "Input should be a valid string"),
            Some("") if matches!(kind, Kind::Name) => {
                complain(complaints, path, "String should have at least 1 character");
            }
            Some(text) if text.chars().count() > MAX_STRING => {
                complain(complaints, path, format!("String should have at most {MAX_STRING} characters"));
            }
            Some(_) => {}
        },
        Kind::Bool if !value.is_boolean() => {
            complain(complaints, path, "Input should be a valid boolean");
        }
        Kind::Int if !value.is_i64() && !value.is_u64() => {
            complain(complaints, path, "Input should be a valid integer");
        }
        Kind::Strings => each(value, path, complaints, |item, path, complaints| {
            check(Kind::Str, item, path, complaints);
        }),
        Kind::OneOf(choices) if !value.as_str().is_some_and(|text| choices.contains(&text)) => {
            complain(complaints, path, format!("Input should be {}", alternatives(choices)));
        }
        Kind::Dict if !value.is_object() => {
            complain(complaints, path, "Input should be a valid dictionary");
        }
        Kind::List if !value.is_array() => complain(complaints, path, "Input should be a valid list"),
        Kind::Model(fields) => model(fields, true, value, path, complaints),
        Kind::Open(fields) => model(fields, false, value, path, complaints),
        Kind::NullOr(kind) if !value.is_null() => check(*kind, value, path, complaints),
        Kind::Filters => {
            if !value.is_array() {
                complain(complaints, path, "Input should be a valid list");
            } else if let Err(message) = query::check_filters(value) {
                complain(complaints, path, format!("Value error, {message}"));
            }
        }
        Kind::Select => each(value, path, complaints, |item, path, complaints| {
            if !item.is_string() && !item.is_array() {
                complain(complaints, path, "Input should be a valid string");
            }
        }),
        Kind::Bool | Kind::Int | Kind::List | Kind::OneOf(_) | Kind::Dict | Kind::NullOr(_) | Kind::Any => {}
    }
}

fn each(
    value: &Value,
    path: &str,
    complaints: &mut Vec<Complaint>,
    item: impl Fn(&Value, &str, &mut Vec<Complaint>),
) {
    match value.as_array() {
        None => complain(complaints, path, "Input should be a valid list"),
        Some(items) => {
            for (index, value) in items.iter().enumerate() {
                item(value, &format!("{path}.{index}"), complaints);
            }
        }
    }
}

fn model(fields: &[Param], closed: bool, value: &Value, path: &str, complaints: &mut Vec<Complaint>) {
    let Some(object) = value.as_object() else {
        return complain(complaints, path, "Input should be a valid dictionary");
    };
    for field in fields {
        let path = format!("{path}.{}", field.name);
        match object.get(field.name) {
            Some(value) => check(field.kind, value, &path, complaints),
            None if field.required => complain(complaints, &path, "Field required"),
            None => {}
        }
    }
    if closed {
        for name in unknown(fields, object) {
            complain(complaints, &format!("{path}.{name}"), "Extra inputs are not permitted");
        }
    }
}

fn unknown<'a>(fields: &'a [Param], object: &'a Map<String, Value>) -> impl Iterator<Item = &'a String> {
    object.keys().filter(|name| fields.iter().all(|field| field.name != name.as_str()))
}

/// `'A', 'B' or 'C'`
fn alternatives(choices: &[&str]) -> String {
    let quoted: Vec<String> = choices.iter().map(|choice| format!("'{choice}'")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Checks what `auth.login_ex` takes: the mechanism decides about the other fields.
pub(crate) fn check_login(generation: Generation, data: &Value) -> Result<(), Failure> {
    const OPTIONS: Kind = Kind::Model(&[optional("user_info", Kind::Bool)]);
    const OPTIONS_26: Kind =
        Kind::Model(&[optional("user_info", Kind::Bool), optional("reconnect_token", Kind::Bool)]);

    let options = if generation >= Generation::V26 { OPTIONS_26 } else { OPTIONS };
    match data["mechanism"].as_str().unwrap_or_default() {
        "API_KEY_PLAIN" => {
            let fields = [
                required("mechanism", Kind::Str),
                required("username", Kind::Str),
                required("api_key", Kind::Str),
                optional("login_options", options),
            ];
            let mut complaints = Vec::new();
            model(&fields, true, data, "login_data.API_KEY_PLAIN", &mut complaints);
            if complaints.is_empty() { Ok(()) } else { Err(Failure::Invalid(complaints)) }
        }
        "SCRAM" if generation >= Generation::V26 => {
            const TYPES: Kind = Kind::OneOf(&["CLIENT_FIRST_MESSAGE", "CLIENT_FINAL_MESSAGE"]);
            let fields = [
                required("mechanism", Kind::Str),
                required("scram_type", TYPES),
                required("rfc_str", Kind::Str),
            ];
            let mut complaints = Vec::new();
            model(&fields, true, data, "login_data.SCRAM", &mut complaints);
            if complaints.is_empty() { Ok(()) } else { Err(Failure::Invalid(complaints)) }
        }
        mechanism @ ("PASSWORD_PLAIN" | "TOKEN_PLAIN" | "OTP_TOKEN") => {
            let fields: &[Param] = match mechanism {
                "PASSWORD_PLAIN" => &[required("username", Kind::Str), required("password", Kind::Str)],
                "TOKEN_PLAIN" => &[required("token", Kind::Str)],
                _ => &[required("otp_token", Kind::Str)],
            };
            let common = [required("mechanism", Kind::Str), optional("login_options", options)];
            let fields = [fields, &common].concat();
            let mut complaints = Vec::new();
            model(&fields, true, data, &format!("login_data.{mechanism}"), &mut complaints);
            if complaints.is_empty() { Ok(()) } else { Err(Failure::Invalid(complaints)) }
        }
        other => Err(Failure::invalid(
            "login_data",
            format!("Input tag '{other}' found using 'mechanism' does not match any of the expected tags"),
        )),
    }
}
