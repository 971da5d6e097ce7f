//! `reporting.*`

use serde_json::{Value, json};

use super::{Access, Answer, Context, Method, method};
use crate::nas::params::{Kind, Param, QUERY, optional, required};
use crate::nas::state::State;
use crate::nas::wire::Failure;

const DATA: &[Param] = &[
    required("graphs", Kind::List),
    optional(
        "query",
        Kind::Model(&[
            optional("unit", Kind::NullOr(&Kind::OneOf(&["HOUR", "DAY", "WEEK", "MONTH", "YEAR"]))),
            optional("page", Kind::Int),
            optional("aggregate", Kind::Bool),
            optional("start", Kind::NullOr(&Kind::Int)),
            optional("end", Kind::NullOr(&Kind::Int)),
        ]),
    ),
];

pub(super) const METHODS: &[Method] = &[
    method("reporting.netdata_graphs", Access::Role("REPORTING_READ"), QUERY, graphs),
    method("reporting.netdata_get_data", Access::Role("REPORTING_READ"), DATA, data),
];

fn graphs(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let measured = &context.state.measured;
    let mut names: Vec<&str> = measured.iter().map(|one| one.name.as_str()).collect();
    names.dedup();
    let rows = names.into_iter().map(|name| {
        let of_it = measured.iter().filter(|one| one.name == name);
        let identifiers: Vec<&str> = of_it.filter_map(|one| one.identifier.as_deref()).collect();
        let identifiers = (!identifiers.is_empty()).then_some(identifiers);
        json!({"name": name, "title": name, "vertical_label": "value", "identifiers": identifiers})
    });
    context.query(rows.collect())
}

fn data(context: &mut Context<'_>) -> Result<Answer, Failure> {
    let span = match context.args.get(1)["unit"].as_str().unwrap_or("HOUR") {
        "DAY" => 86_400,
        "WEEK" => 7 * 86_400,
        "MONTH" => 30 * 86_400,
        "YEAR" => 365 * 86_400,
        _ => 3600,
    };
    let wanted = context.args.get(0).as_array().cloned().unwrap_or_default();
    // What is not there is left out without a word.
    let series = wanted.iter().filter_map(|graph| series(context.state, graph, span));
    Ok(Answer::Value(series.collect()))
}

fn series(state: &State, graph: &Value, span: i64) -> Option<Value> {
    let one = state
        .measured
        .iter()
        .find(|one| graph["name"] == one.name && graph["identifier"].as_str() == one.identifier.as_deref())?;
    let end = state.now().timestamp();
    let steps = i64::try_from(one.rows.len()).ok()?.max(1);
    let rows = (1..=steps).zip(&one.rows).map(|(step, row)| {
        let mut numbers = vec![json!(end - span + span * step / steps)];
        numbers.extend(row.iter().map(|value| json!(value)));
        Value::from(numbers)
    });
    let mut legend = vec!["time".to_owned()];
    legend.extend(one.legend.iter().map(|name| (*name).to_owned()));
    let none = json!({"min": {}, "mean": {}, "max": {}});
    Some(json!({
        "name": one.name, "identifier": one.identifier, "legend": legend, "data": rows.collect::<Vec<_>>(),
        "start": end - span, "end": end, "aggregations": none,
    }))
}
