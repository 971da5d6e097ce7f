//! How many things an answer may list.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// At most this many: from 1 to `MOST`, and `DEFAULT` where the caller does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit<const DEFAULT: u16, const MOST: u16>(u16);

impl<const DEFAULT: u16, const MOST: u16> Limit<DEFAULT, MOST> {
    /// The number.
    pub(super) fn get(self) -> usize {
        usize::from(self.0)
    }
}

impl<const DEFAULT: u16, const MOST: u16> Default for Limit<DEFAULT, MOST> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u16, const MOST: u16> Deserialize<'de> for Limit<DEFAULT, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u16::deserialize(deserializer)? {
            limit if (1..=MOST).contains(&limit) => Ok(Self(limit)),
            limit => Err(de::Error::custom(format_args!("{limit} is not between 1 and {MOST}"))),
        }
    }
}

impl<const DEFAULT: u16, const MOST: u16> JsonSchema for Limit<DEFAULT, MOST> {
    fn schema_name() -> Cow<'static, str> {
        format!("LimitOf{MOST}").into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": MOST, "default": DEFAULT })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_within_its_bounds() {
        for (text, limit) in
            [("1", Some(1)), ("200", Some(200)), ("0", None), ("201", None), ("-1", None), ("1.5", None)]
        {
            let read = serde_json::from_str::<Limit<20, 200>>(text).ok().map(Limit::get);
            assert_eq!(read, limit, "{text}");
        }
    }
}
