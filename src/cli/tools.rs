//! `tailnas tools`: the table of tools.

use serde_json::json;

use crate::dispatch::Catalogue;
use crate::nas::methods::Need;
use crate::tools::{Spec, render};

use crate::exit::Exit;

use super::say;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print it as JSON, schemas included
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    let catalogue = Catalogue::new();
    if args.json {
        let tools: Vec<_> = catalogue.specs().map(as_json).collect();
        say(&format!("{:#}\n", json!({ "tools": tools })));
        return Exit::Ok;
    }
    let rows: Vec<_> = catalogue
        .specs()
        .map(|spec| [spec.name.to_owned(), scope(spec), spec.risk.to_string(), spec.title.to_owned()])
        .collect();
    say(&render::table(["TOOL", "SCOPE", "RISK", "WHAT"], &rows));
    Exit::Ok
}

fn scope(spec: &Spec) -> String {
    spec.scope.map_or_else(|| "-".to_owned(), |scope| scope.to_string())
}

/// What it is called, newest generation first.
fn names(need: &Need) -> Vec<&'static str> {
    need.candidates.iter().map(|candidate| candidate.name).collect()
}

fn as_json(spec: &Spec) -> serde_json::Value {
    let Spec { name, title, description, scope, risk, looks, needs, input, output, .. } = spec;
    let as_json = |needs: &[Need]| -> Vec<_> {
        needs.iter().map(|need| json!({ "methods": names(need), "role": need.role })).collect()
    };
    let (looks, needs) = (as_json(looks), as_json(needs));
    json!({
        "name": name, "title": title, "description": description, "scope": scope, "risk": risk, "nas": needs,
        "nas_while_planning": looks,
        "input_schema": input, "output_schema": output,
    })
}
