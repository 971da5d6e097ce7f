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
                // Text as it is, so that whoever knows it finds it with `tailnas audit hash`; all else as its JSON.
                Log::Hmac => {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    json!({ "hmac": hasher.hash(text.as_bytes()) })
                }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::Catalogue;
    use crate::secret::Secret;

    /// A name that is none lets nothing be read, and hides that the argument it was meant for is hashed.
    #[test]
    fn what_a_tool_lets_be_written_down_is_an_argument_of_its_own() {
        let mut named = 0;
        for spec in Catalogue::new().specs() {
            let properties = spec.input.get("properties").and_then(Value::as_object);
            for (name, _) in spec.log {
                let there = properties.is_some_and(|properties| properties.contains_key(*name));
                assert!(there, "{} has no argument {name}", spec.name);
                named += 1;
            }
        }
        assert!(named > 50, "{named}");
    }

    #[test]
    fn text_stands_there_under_the_hash_of_its_characters_and_all_else_under_that_of_its_json() {
        let hasher = Hasher::new(&Secret::new("Jefe".into()));
        let raw = json!({ "user": "alice \"a\"", "hours": 24, "secret": "s", "odd": [1, "x"] });
        let log = [("user", Log::Hmac), ("hours", Log::Hmac), ("secret", Log::Drop)];
        let (shown, _) = arguments(raw.as_object().unwrap(), &log, &hasher);
        let odd = hasher.hash(b"odd");
        assert_eq!(
            shown,
            json!({
                "user": { "hmac": hasher.hash(b"alice \"a\"") },
                "hours": { "hmac": hasher.hash(b"24") },
                odd: { "hmac": hasher.hash(br#"[1,"x"]"#) },
            })
        );
    }
}
