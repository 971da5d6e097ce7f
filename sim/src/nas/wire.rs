//! JSON-RPC 2.0 as the middleware speaks it: what a request may look like and what an error looks like.

use serde_json::{Value, json};

use super::Generation;

/// How much of a request is read before it is refused, in characters of the text.
pub(crate) const ANONYMOUS_LIMIT: usize = 8192;
pub(crate) const SESSION_LIMIT: usize = 65536;

/// One well-formed call.
#[derive(Debug)]
pub(crate) struct Request {
    /// Absent for a notification, which is never answered.
    pub id: Option<Value>,
    pub method: String,
    pub params: Vec<Value>,
}

/// Why a text is not a call.
#[derive(Debug)]
pub(crate) enum Malformed {
    /// Answer with this id (null when the request's own cannot be used) and fault.
    Answer(Value, Failure),
    /// It has no id, so nobody waits for an answer.
    Ignore,
}

impl Request {
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let message: Value = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line().max(1), error.column().max(1));
            let message = format!("Expecting value: line {line} column {column} (char {})", column - 1);
            Malformed::Answer(Value::Null, Failure::protocol(-32700, message))
        })?;
        let mut message = match message {
            Value::Object(message) => message,
            Value::Array(_) => {
                let fault = Failure::protocol(-32700, "Batch messages are not supported at this time");
                return Err(Malformed::Answer(Value::Null, fault));
            }
            _ => return Err(Malformed::Ignore),
        };
        let id = message.remove("id");
        let usable = match &id {
            None | Some(Value::Null | Value::String(_)) => true,
            Some(Value::Number(number)) => !number.is_f64(),
            Some(_) => false,
        };
        let refuse = |what: &str| match &id {
            None => Malformed::Ignore,
            Some(id) if usable => Malformed::Answer(id.clone(), Failure::protocol(-32600, what)),
            Some(_) => Malformed::Answer(Value::Null, Failure::protocol(-32600, what)),
        };
        if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
            return Err(refuse("'jsonrpc' member must be \"2.0\""));
        }
        if !usable {
            return Err(refuse("'id' member must be of type null, integer or string"));
        }
        let Some(Value::String(method)) = message.remove("method") else {
            return Err(refuse("'method' member must be of type string"));
        };
        let params = match message.remove("params") {
            None => Vec::new(),
            Some(Value::Array(params)) => params,
            Some(_) => return Err(refuse("'params' member must be of type array")),
        };
        Ok(Self { id, method, params })
    }
}

/// One entry of a validation error's `extra`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Complaint {
    pub attribute: Option<String>,
    pub message: String,
    pub errno: i32,
}

/// A call that did not succeed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// The JSON-RPC layer refused it.
    Protocol { code: i32, message: String },
    /// The method ran and failed, or was not allowed to run.
    Call { class: &'static str, errno: i32, reason: String },
    /// The arguments are wrong.
    Invalid(Vec<Complaint>),
    /// The one thing asked for by id is not there. Looks like [`Failure::Invalid`] but for its reason.
    NotFound(String),
}

impl Failure {
    pub fn protocol(code: i32, message: impl Into<String>) -> Self {
        Self::Protocol { code, message: message.into() }
    }

    /// The middleware prefixes the name of the error to what a `CallError` says.
    pub fn call(errno: i32, message: impl AsRef<str>) -> Self {
        Self::Call {
            class: "CallError",
            errno,
            reason: format!("[{}] {}", errno_name(errno), message.as_ref()),
        }
    }

    /// An exception that is not a `CallError`: errno is EINVAL and the reason has no prefix.
    pub fn exception(class: &'static str, reason: impl Into<String>) -> Self {
        Self::Call { class, errno: EINVAL, reason: reason.into() }
    }

    pub fn invalid(attribute: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Complaint {
            attribute: Some(attribute.into()),
            message: message.into(),
            errno: EINVAL,
        }])
    }

    pub fn unauthorized() -> Self {
        Self::call(EACCES, "Not authorized")
    }

    /// `arguments` appear among the local variables of the trace on 25.x, as they do on a real server:
    /// a client that shows traces to anybody leaks them.
    pub fn to_json(&self, generation: Generation, arguments: &[Value]) -> Value {
        match self {
            Self::Protocol { code, message } => json!({"code": code, "message": message}),
            Self::Call { class, errno, reason } => json!({
                "code": -32001,
                "message": "Method call error",
                "data": {
                    "error": errno,
                    "errname": errno_name(*errno),
                    "reason": reason,
                    "trace": trace(generation, class, reason, arguments),
                    "extra": null,
                },
            }),
            Self::Invalid(complaints) => {
                let lines: Vec<String> = complaints
                    .iter()
                    .map(|Complaint { attribute, message, errno }| {
                        let attribute = attribute.as_deref().unwrap_or("None");
                        format!("[{}] {attribute}: {message}\n", errno_name(*errno))
                    })
                    .collect();
                let reason = lines.concat();
                invalid(generation, "ValidationErrors", &reason, complaints, arguments)
            }
            Self::NotFound(message) => {
                let complaint = Complaint { attribute: None, message: message.clone(), errno: ENOENT };
                let reason = format!("[ENOENT] None: {message}");
                invalid(generation, "InstanceNotFound", &reason, &[complaint], arguments)
            }
        }
    }
}

fn invalid(
    generation: Generation,
    class: &str,
    reason: &str,
    complaints: &[Complaint],
    arguments: &[Value],
) -> Value {
    let extra: Vec<Value> =
        complaints.iter().map(|one| json!([one.attribute, one.message, one.errno])).collect();
    json!({
        "code": -32602,
        "message": "Invalid params",
        "data": {
            "error": EINVAL,
            "errname": "EINVAL",
            "reason": reason,
            "trace": trace(generation, class, reason, arguments),
            "extra": extra,
        },
    })
}

fn trace(generation: Generation, class: &str, reason: &str, arguments: &[Value]) -> Value {
    let file = "/usr/lib/python3/dist-packages/middlewared/api/base/server/method.py";
    let mut trace = json!({
        "class": class,
        "formatted": format!(
            "Traceback (most recent call last):\n  File \"{file}\", line 52, in call\n    result = await \
             self._call(app, id_, methodobj, params)\nmiddlewared.service_exception.{class}: {reason}\n"
        ),
        "repr": format!("{class}({reason:?})"),
    });
    if generation < Generation::V26 {
        trace["frames"] = json!([{
            "filename": file,
            "lineno": 52,
            "method": "call",
            "line": "result = await self._call(app, id_, methodobj, params)",
            "argspec": ["self", "app", "id_", "params"],
            "locals": {"params": Value::from(arguments).to_string()},
        }]);
    }
    trace
}

pub(crate) const EPERM: i32 = 1;
pub(crate) const ENOENT: i32 = 2;
pub(crate) const EINTR: i32 = 4;
pub(crate) const EACCES: i32 = 13;
pub(crate) const EFAULT: i32 = 14;
pub(crate) const EBUSY: i32 = 16;
pub(crate) const EEXIST: i32 = 17;
pub(crate) const EINVAL: i32 = 22;
pub(crate) const EOPNOTSUPP: i32 = 95;
pub(crate) const ENOMETHOD: i32 = 201;
pub(crate) const ENOTAUTHENTICATED: i32 = 207;

pub(crate) fn errno_name(errno: i32) -> &'static str {
    match errno {
        EPERM => "EPERM",
        ENOENT => "ENOENT",
        EINTR => "EINTR",
        EACCES => "EACCES",
        EFAULT => "EFAULT",
        EBUSY => "EBUSY",
        EEXIST => "EEXIST",
        EINVAL => "EINVAL",
        EOPNOTSUPP => "EOPNOTSUPP",
        ENOMETHOD => "ENOMETHOD",
        ENOTAUTHENTICATED => "ENOTAUTHENTICATED",
        _ => "EUNKNOWN",
    }
}
