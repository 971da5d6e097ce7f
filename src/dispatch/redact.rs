//! What of a call's arguments may be written down.

use serde_json::{Map, Value, json};

use crate::audit::Hasher;
use crate::tools::Log;

/// The arguments as the audit log may show them, and a keyed hash of them as they are.
///
/// An allow list: an argument that the tool does not name is hashed, whatever its type.
pub fn arguments(raw: &Map<String, Value>, log: &[(&str, Log)], hasher: &Hasher) -> (Value, String) {
    let shown = raw
        .iter()
        .filter_map(|(name, value)| {
            let how = log.iter().find(|(known, _)| known == name).map_or(Log::Hmac, |(_, how)| *how);
            let shown = match how {
                Log::Plain => value.clone(),
                Log::Hmac => json!({ "hmac": hasher.hash(value.to_string().as_bytes()) }),
                Log::Len => {
                    json!({ "len": value.as_str().map_or_else(|| value.to_string().len(), str::len) })
                }
                Log::Drop => return None,
            };
            // The name is the caller's too when the tool does not know it: not written down as it is.
            let known = log.iter().any(|(known, _)| known == name);
            Some((if known { name.clone() } else { hasher.hash(name.as_bytes()) }, shown))
        })
        .collect::<Map<_, _>>();
    // serde_json keeps objects sorted, so the same arguments always hash alike.
    let whole = Value::Object(raw.clone()).to_string();
    (Value::Object(shown), hasher.hash(whole.as_bytes()))
}
