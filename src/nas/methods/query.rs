//! Filters and options of the methods that answer a list.

use std::marker::PhantomData;

use serde::Serialize;
use serde::ser::{SerializeMap as _, SerializeTuple as _};
use serde_json::{Value, json};

use crate::domain::name::DatasetPath;

/// A method that takes a [`Query`].
pub trait Queryable: Send + Sized + 'static {
    /// The fields of a row that we read. The NAS leaves out the rest, which for datasets and jobs is most of it.
    /// Empty: whole rows.
    const SELECT: &'static [&'static str] = &[];
    /// Wants the number of rows, not the rows.
    const COUNT: bool = false;
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Is the value.
    Is,
    /// Is another value.
    IsNot,
    /// Is one of a list of values.
    In,
    /// A text that begins with the value.
    StartsWith,
    /// Is the value or more.
    AtLeast,
    /// Is the value or less.
    AtMost,
    /// A list or a text that the value is in.
    Has,
    /// The same in whatever case.
    HasInAnyCase,
}

impl Compare {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Is => "=",
            Self::IsNot => "!=",
            Self::In => "in",
            Self::StartsWith => "^",
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
            Self::Has => "rin",
            Self::HasInAnyCase => "Crin",
        }
    }
}

/// Which rows, in which order, and how many. Fields are named in our own source only: a text that came from
/// outside can be what is compared with, never what is compared.
#[derive(Clone, Debug)]
pub struct Query<M> {
    filters: Vec<Value>,
    order: Vec<&'static str>,
    limit: Option<u32>,
    offset: Option<u32>,
    extra: Vec<(&'static str, bool)>,
    method: PhantomData<fn() -> M>,
}

impl<M: Queryable> Query<M> {
    /// Every row, in no order.
    #[must_use]
    pub const fn all() -> Self {
        Self {
            filters: Vec::new(),
            order: Vec::new(),
            limit: None,
            offset: None,
            extra: Vec::new(),
            method: PhantomData,
        }
    }

    /// Only rows whose `field` compares with `value`. Several conditions must all hold.
    #[must_use]
    pub fn filter(mut self, field: &'static str, compare: Compare, value: impl Into<Value>) -> Self {
        self.filters.push(condition(field, compare, value));
        self
    }

    /// Only rows whose `field` is `path` or lies below it. `tank2` does not lie below `tank`.
    #[must_use]
    pub fn within(mut self, field: &'static str, path: &DatasetPath) -> Self {
        let itself = condition(field, Compare::Is, path.as_str());
        let below = condition(field, Compare::StartsWith, format!("{path}/"));
        self.filters.push(json!(["OR", [itself, below]]));
        self
    }

    /// In the order of `field`, the other way round when a `-` stands before it.
    #[must_use]
    pub fn order(mut self, field: &'static str) -> Self {
        self.order.push(field);
        self
    }

    /// At most so many. The NAS takes 0 for "no limit", so 0 asks for one row.
    #[must_use]
    pub fn limit(mut self, rows: u32) -> Self {
        self.limit = Some(rows.max(1));
        self
    }

    /// Leaves out so many at the beginning.
    #[must_use]
    pub fn skip(mut self, rows: u32) -> Self {
        self.offset = (rows > 0).then_some(rows);
        self
    }

    pub(super) fn filters(&self) -> &[Value] {
        &self.filters
    }

    pub(super) const fn options(&self) -> Options<'_, M> {
        Options(self)
    }

    /// Sets a switch that only this method knows.
    pub(super) fn extra(mut self, name: &'static str, on: bool) -> Self {
        self.extra.push((name, on));
        self
    }
}

impl<M: Queryable> Serialize for Query<M> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut pair = serializer.serialize_tuple(2)?;
        pair.serialize_element(self.filters())?;
        pair.serialize_element(&self.options())?;
        pair.end()
    }
}

fn condition(field: &'static str, compare: Compare, value: impl Into<Value>) -> Value {
    json!([field, compare.as_str(), value.into()])
}

/// The options of a query, as a method wants them that takes them in an object of its own.
pub(super) struct Options<'a, M>(&'a Query<M>);

impl<M: Queryable> Serialize for Options<'_, M> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Query { filters: _, order, limit, offset, extra, method: _ } = self.0;
        let mut map = serializer.serialize_map(None)?;
        if M::COUNT {
            map.serialize_entry("count", &true)?;
        } else if !M::SELECT.is_empty() {
            map.serialize_entry("select", M::SELECT)?;
        }
        if !order.is_empty() {
            map.serialize_entry("order_by", order)?;
        }
        if let Some(limit) = limit {
            map.serialize_entry("limit", limit)?;
        }
        if let Some(offset) = offset {
            map.serialize_entry("offset", offset)?;
        }
        if !extra.is_empty() {
            let extra: serde_json::Map<_, _> =
                extra.iter().map(|&(name, on)| (name.to_owned(), Value::Bool(on))).collect();
            map.serialize_entry("extra", &extra)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Rows;
    impl Queryable for Rows {
        const SELECT: &'static [&'static str] = &["id"];
    }

    /// Whether the NAS would show a row with this `id`, by what its operators mean.
    fn shows(filter: &Value, id: &str) -> bool {
        match filter[0].as_str() {
            Some("OR") => filter[1].as_array().unwrap().iter().any(|one| shows(one, id)),
            field => {
                let value = filter[2].as_str().unwrap();
                assert_eq!(field, Some("id"));
                match filter[1].as_str().unwrap() {
                    "=" => id == value,
                    "^" => id.starts_with(value),
                    other => panic!("{other}"),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_lies_within_a_dataset_is_shown_and_nothing_beside_it(
            at in "(tank|tank2|tan)(/[ab2]{1,2}){0,2}", id in "(tank|tank2|tan|backup/tank)(/[ab2]{1,2}){0,3}",
        ) {
            let query = Query::<Rows>::all().within("id", &at.parse().unwrap());
            let steps = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
            let lies_within = steps(&id).starts_with(&steps(&at));
            prop_assert_eq!(query.filters().iter().all(|filter| shows(filter, &id)), lies_within);
        }
    }

    #[test]
    fn a_query_is_filters_and_options() {
        let query = Query::<Rows>::all()
            .filter("pool", Compare::Is, "tank")
            .filter("id", Compare::AtLeast, 7)
            .order("-id")
            .limit(0)
            .skip(3)
            .extra("flat", true);
        assert_eq!(
            serde_json::to_string(&query).unwrap(),
            r#"[[["pool","=","tank"],["id",">=",7]],{"select":["id"],"order_by":["-id"],"limit":1,"offset":3,"extra":{"flat":true}}]"#
        );
        let within = Query::<Rows>::all().within("dataset", &"tank".parse().unwrap());
        assert_eq!(
            serde_json::to_value(&within).unwrap()[0],
            json!([["OR", [["dataset", "=", "tank"], ["dataset", "^", "tank/"]]]])
        );
        assert_eq!(serde_json::to_string(&Query::<Rows>::all()).unwrap(), r#"[[],{"select":["id"]}]"#);
    }
}
