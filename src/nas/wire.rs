//! How the NAS writes what JSON has no word for.

use chrono::{DateTime, TimeZone as _, Utc};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A point in time, on the wire `{"$date": MILLISECONDS}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date(pub DateTime<Utc>);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(rename = "$date")]
            millis: i64,
        }
        let Wire { millis } = Wire::deserialize(deserializer)?;
        Utc.timestamp_millis_opt(millis)
            .single()
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a time out of range"))
    }
}

/// A property of a dataset or snapshot: the value for people, the value for programs, and where it is from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Property {
    /// As ZFS prints it for people, `1.5T`.
    #[serde(default)]
    pub value: Option<String>,
    /// As ZFS prints it for programs, `1649267441664`.
    #[serde(default)]
    pub rawvalue: Option<String>,
    /// As the NAS understands it: a number, a truth, a text, a time or nothing.
    #[serde(default)]
    pub parsed: Value,
    /// `LOCAL`, `INHERITED`, `DEFAULT`, `NONE`, `RECEIVED`.
    #[serde(default)]
    pub source: Option<String>,
}

impl Property {
    /// The property as a number, where it is one.
    #[must_use]
    pub fn number(&self) -> Option<u64> {
        self.parsed.as_u64().or_else(|| self.rawvalue.as_deref()?.parse().ok())
    }

    /// The property as text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.value.as_deref().or(self.rawvalue.as_deref())
    }

    /// The property as a point in time. ZFS counts seconds; the NAS may have made a date of them.
    #[must_use]
    pub fn time(&self) -> Option<DateTime<Utc>> {
        match Date::deserialize(&self.parsed) {
            Ok(Date(time)) => Some(time),
            Err(_) => Utc.timestamp_opt(self.rawvalue.as_deref()?.parse().ok()?, 0).single(),
        }
    }
}

/// A text that some generations write as a number.
pub(super) fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    })
}

/// A text of others of which no more than the beginning is kept: it is shown to somebody, and may be megabytes long.
pub(super) fn beginning<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    const LONGEST: usize = 4096;
    struct Beginning;
    impl serde::de::Visitor<'_> for Beginning {
        type Value = Option<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a text or null")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text[..text.floor_char_boundary(LONGEST)].to_owned()))
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    deserializer.deserialize_any(Beginning)
}

/// `null` where a list should be counts as an empty one.
pub(super) fn null_is_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_milliseconds() {
        let Date(time) = serde_json::from_str(r#"{"$date": 1790000000123}"#).unwrap();
        assert_eq!(time.timestamp_millis(), 1_790_000_000_123);
        for text in [r#"{"$date": 9223372036854775807}"#, r#"{"$date": "now"}"#, "{}", "1", "null"] {
            assert!(serde_json::from_str::<Date>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_property_is_read_from_whichever_side_has_it() {
        let read = |text| serde_json::from_str::<Property>(text).unwrap();
        assert_eq!(read(r#"{"parsed": 7, "rawvalue": "8"}"#).number(), Some(7));
        assert_eq!(read(r#"{"rawvalue": "8", "value": null}"#).number(), Some(8));
        assert_eq!(read(r#"{"rawvalue": "none"}"#).number(), None);
        assert_eq!(read(r#"{"parsed": {"$date": 5000}, "rawvalue": "9"}"#).time().unwrap().timestamp(), 5);
        assert_eq!(read(r#"{"parsed": "x", "rawvalue": "9"}"#).time().unwrap().timestamp(), 9);
        assert_eq!(read("{}").time(), None);
    }
}
