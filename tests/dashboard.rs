//! deploy/grafana.json held against what a running daemon really tells Prometheus.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by a panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::Bench;
use serde_json::{Value, json};
use tailnas_sim::world::{ALICE, TAGGED};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn each_panel_asks_for_what_there_is() {
    let bench = Bench::complete().await;
    // Something of each kind that is counted.
    bench.client(ALICE).call("whoami", json!({})).await.unwrap();
    bench.client(TAGGED).call("whoami", json!({})).await.unwrap();
    let told = metrics(&bench).await;
    for panel in panels() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            let expression = target["expr"].as_str().unwrap();
            let asked: Vec<_> = words(expression).filter(|word| word.starts_with("tailnas_")).collect();
            let [metric] = asked[..] else { panic!("{title}: {expression} asks for {asked:?}") };
            let labels =
                told.get(metric).unwrap_or_else(|| panic!("{title}: there is no {metric} in {told:#?}"));
            let grouped = expression.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
            let shown = target["legendFormat"].as_str().unwrap();
            let shown = shown.split("{{").skip(1).filter_map(|rest| rest.split("}}").next());
            for label in grouped.chain(shown) {
                assert!(labels.contains(label), "{title}: {metric} has no label {label:?} in {labels:?}");
            }
        }
    }
}

/// What Grafana needs so that it shows them at all: identities, places that do not overlap, a source.
#[test]
fn the_panels_have_places_of_their_own() {
    let panels = panels();
    let number = |panel: &Value, of: &str| panel["gridPos"][of].as_u64().unwrap();
    let mut taken = BTreeSet::new();
    let mut ids = BTreeSet::new();
    for panel in &panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "an id is there twice");
        assert_eq!(panel["datasource"], json!({ "type": "prometheus", "uid": "${datasource}" }));
        assert!(["stat", "timeseries"].contains(&panel["type"].as_str().unwrap()));
        let mut references = BTreeSet::new();
        for target in panel["targets"].as_array().unwrap() {
            assert!(references.insert(target["refId"].as_str().unwrap()), "a query is there twice");
        }
        for x in number(panel, "x")..number(panel, "x") + number(panel, "w") {
            for y in number(panel, "y")..number(panel, "y") + number(panel, "h") {
                assert!(x < 24 && taken.insert((x, y)), "{} is not alone in its place", panel["title"]);
            }
        }
    }
    let variable = &dashboard()["templating"]["list"][0];
    assert_eq!((&variable["name"], &variable["query"]), (&json!("datasource"), &json!("prometheus")));
}

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../deploy/grafana.json")).unwrap()
}

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().unwrap().clone()
}

fn words(expression: &str) -> impl Iterator<Item = &str> {
    expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

/// Each metric, and the labels it has been seen with.
async fn metrics(bench: &Bench) -> BTreeMap<String, BTreeSet<String>> {
    let mut stream = TcpStream::connect(bench.world.metrics_address()).await.unwrap();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        bench.world.metrics_address()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in answer.lines() {
        // A counter that nobody has counted yet has a type and no labels.
        if let Some(name) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split(' ').next()) {
            told.entry(name.to_owned()).or_default();
        }
        let Some(at) = line.find(['{', ' ']).filter(|_| line.starts_with("tailnas_")) else { continue };
        let labels = line[at..].trim_start_matches('{').split('}').next().unwrap_or_default();
        let labels = if line[at..].starts_with('{') { labels } else { "" };
        let seen = told.entry(line[..at].to_owned()).or_default();
        seen.extend(labels.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())));
    }
    told
}
