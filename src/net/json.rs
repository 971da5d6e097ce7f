//! A first look at JSON that came from outside, before anything is built from it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a body is not the JSON object it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJson {
    /// Not UTF-8 (RFC 8259 section 8.1).
    #[error("the body is not UTF-8")]
    NotUtf8,
    /// Deeper than we follow.
    #[error("the body is nested too deeply")]
    TooDeep,
    /// An array, a string, nothing at all …
    #[error("the body is not a JSON object")]
    NotAnObject,
    /// Not JSON, cut off, or followed by something else.
    #[error("the body is not one JSON text")]
    Broken,
}

/// Looks whether `body` is one JSON object that is nested at most `deepest` levels, with nothing behind it.
///
/// Some readers stop at the end of the first value and recurse as deep as they are led; after this look it
/// does not matter which one comes next.
pub fn check(body: &[u8], deepest: usize) -> Result<(), BadJson> {
    let text = std::str::from_utf8(body).map_err(|_| BadJson::NotUtf8)?;
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(BadJson::NotAnObject);
    }
    if Extent::of(body).depth > deepest {
        return Err(BadJson::TooDeep);
    }
    serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|_| BadJson::Broken)
}

/// A value in which no object has two members of one name. RFC 8259 section 4 leaves open which of them counts, so
/// two readers of one text may come to two meanings: what was checked need not be what is done.
pub struct Unambiguous(pub Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Members).map(Self)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Unambiguous(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some((name, Unambiguous(value))) = access.next_entry::<String, _>()? {
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there twice"));
            }
        }
        Ok(Value::Object(members))
    }
}

/// How much there is in a JSON text, before anything is built from it: a byte of text can become a hundred in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// How many brackets are open at once, at most.
    pub depth: usize,
    /// How many values there are, at most: each but the first in its list or object has a comma before it.
    pub values: usize,
}

impl Extent {
    /// Counts, and therefore cannot run out of stack or memory. Of a text that is no JSON it says nothing of worth.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let (mut open, mut in_string, mut escaped) = (0_usize, false, false);
        let mut extent = Self { depth: 0, values: 1 };
        for byte in text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_string => escaped = true,
                b'"' => in_string = !in_string,
                _ if in_string => {}
                b'{' | b'[' => {
                    open += 1;
                    extent.depth = extent.depth.max(open);
                    extent.values += 1;
                }
                b'}' | b']' => open = open.saturating_sub(1),
                b',' => extent.values += 1,
                _ => {}
            }
        }
        extent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_what_serde_json_reads_unless_a_member_is_there_twice() {
        for text in [
            "null",
            "true",
            "-1",
            "18446744073709551615",
            "1.5e3",
            r#""a\n""#,
            "[]",
            "[1,[2,{}]]",
            r#"{"a":1,"b":{"a":[{"a":null}]}}"#,
        ] {
            let Unambiguous(value) = serde_json::from_str(text).unwrap();
            assert_eq!(value, serde_json::from_str::<Value>(text).unwrap(), "{text}");
        }
        for twice in [r#"{"a":1,"a":1}"#, r#"[{"b":{"a":1,"\u0061":2}}]"#] {
            let error = serde_json::from_str::<Unambiguous>(twice).map(drop).unwrap_err();
            assert!(error.is_data(), "{twice}: {error}");
        }
        for broken in ["", "{", "1e999", "[1,]"] {
            let error = serde_json::from_str::<Unambiguous>(broken).map(drop).unwrap_err();
            assert!(!error.is_data(), "{broken}: {error}");
        }
    }

    #[test]
    fn values_are_counted_and_not_what_looks_like_them_in_text() {
        for (text, depth, values) in [
            ("1", 0, 1),
            (r#""[{,""#, 0, 1),
            (r#""\",[""#, 0, 1),
            ("[1,2,3]", 1, 4),
            (r#"{"a":[{"":0},{"":0}]}"#, 3, 6),
        ] {
            assert_eq!(Extent::of(text.as_bytes()), Extent { depth, values }, "{text}");
        }
    }

    #[test]
    fn one_shallow_object_and_nothing_else_passes() {
        let abyss = format!("{}1{}", r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
        let brackets_in_text = format!(r#"{{"a":"{}\"["}}"#, "[{".repeat(100));
        for (body, answer) in [
            (&b"{}"[..], Ok(())),
            (b" \r\n\t{\"a\":[1,{\"b\":null}]} \n", Ok(())),
            (brackets_in_text.as_bytes(), Ok(())),
            (br#"{"a":[{"b":[1]}]}"#, Err(BadJson::TooDeep)),
            (abyss.as_bytes(), Err(BadJson::TooDeep)),
            (b"", Err(BadJson::NotAnObject)),
            (b"[]", Err(BadJson::NotAnObject)),
            (b"\"{}\"", Err(BadJson::NotAnObject)),
            (b"<html>", Err(BadJson::NotAnObject)),
            (b"\xef\xbb\xbf{}", Err(BadJson::NotAnObject)),
            (b"{\"a\":\"\xff\"}", Err(BadJson::NotUtf8)),
            (b"{\0\"\0", Err(BadJson::Broken)),
            (b"{\"active\":tr", Err(BadJson::Broken)),
            (b"{\"active\":true}x", Err(BadJson::Broken)),
            (b"{\"active\":true}{}", Err(BadJson::Broken)),
        ] {
            assert_eq!(check(body, 3), answer, "{:?}", String::from_utf8_lossy(&body[..body.len().min(40)]));
        }
    }
}
