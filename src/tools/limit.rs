//! How many things an answer may list, and how they are asked for.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

use crate::domain::access::Read;
use crate::nas::methods::Method;
use crate::nas::methods::query::{Query, Queryable};
use crate::nas::{NasError, Session};

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

/// The first `limit` rows of what `rows` asks for, and how many there are in all. The NAS is asked for no more than that;
/// and to count only where what came may not be all, for some of its lists are empty instead of 0 while what they list is
/// switched off.
///
/// # Errors
///
/// Those of the two calls.
pub(super) async fn first<R, C, T>(
    nas: &Session<'_, Read>,
    (rows, those): (R, Query<R>),
    (count, all): (C, Query<C>),
    limit: usize,
) -> Result<(Vec<T>, usize), NasError>
where
    R: Method<Access = Read, Params = Query<R>, Reply = Vec<T>> + Queryable,
    C: Method<Access = Read, Params = Query<C>, Reply = u64> + Queryable,
{
    let most = u32::try_from(limit).unwrap_or(u32::MAX);
    let mut rows = nas.call(rows, those.limit(most)).await?;
    let total = if rows.len() < limit {
        rows.len()
    } else {
        let counted = nas.call(count, all).await?;
        // Something may have gone away in between.
        usize::try_from(counted).unwrap_or(usize::MAX).max(rows.len())
    };
    rows.truncate(limit);
    Ok((rows, total))
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
