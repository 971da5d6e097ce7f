//! Grants for the tailnet policy, as JSON with comments, which Tailscale takes.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

use crate::config::{Config, Grantee, ProviderKind};
use crate::dispatch::Catalogue;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::tailnet::{Node, Roster};

/// A grant, line by line: text of JSON, and what to know about it.
type Lines = Vec<(String, String)>;

/// The grants that `config` needs on the tailnet of `roster`.
pub(in crate::cli) fn text(config: &Config, roster: &Roster) -> String {
    let ours = destination(roster.own());
    let (provider_name, provider_port) = place(&config.provider.issuer);
    let provider = roster.others().iter().find(|node| node.name().eq_ignore_ascii_case(&provider_name));
    let (provider, found) = match provider {
        Some(node) => (destination(node), format!("the node of the provider, {}", node.name())),
        None => {
            ("tag:tsidp".to_owned(), format!("PUT THE PROVIDER'S NODE HERE: none is called {provider_name}"))
        }
    };
    let people = people(config, roster);
    let machines: BTreeSet<&str> = config.relays.iter().map(|relay| relay.tag.as_str()).collect();
    let agents: BTreeSet<&str> = config.agents.iter().map(|agent| agent.tag.as_str()).collect();

    let mut grants = vec![use_of_the_nas(config, roster, &list(&people), &ours)];
    for tag in machines.union(&agents) {
        grants.push(use_of_the_nas(config, roster, &list([tag]), &ours));
    }
    if config.provider.kind == ProviderKind::Tsidp {
        grants.push(vec![
            (format!(r#"{{ "src": {},"#, list(&people)), "who may log in for this resource".to_owned()),
            (format!(r#"  "dst": {},"#, list([&provider])), found.clone()),
            (format!(r#"  "ip": {},"#, list([&provider_port])), "the login page and the tokens".to_owned()),
            (r#"  "app": { "tailscale.com/cap/tsidp": [{"#.to_owned(), "TSIDP's own capability".to_owned()),
            (r#"    "allow_dcr": true,"#.to_owned(), "their MCP clients register themselves".to_owned()),
            (r#"    "users": ["*"],"#.to_owned(), "of those in src".to_owned()),
            (
                format!(r#"    "resources": {}"#, list([config.server.url.as_str()])),
                "server.url to the letter; without it the login fails".to_owned(),
            ),
            (r"  }] } },".to_owned(), String::new()),
        ]);
    }
    grants.push(vec![
        (format!(r#"{{ "src": {},"#, list([&ours])), "the daemon asks the provider about tokens".to_owned()),
        (format!(r#"  "dst": {},"#, list([&provider])), found),
        (format!(r#"  "ip": {} }},"#, list([&provider_port])), "introspection".to_owned()),
    ]);

    let mut text =
        String::from("// For the tailnet policy. Cut down who and what before you save it.\n\"grants\": [\n");
    for (json, comment) in grants.concat() {
        let _ = match comment.as_str() {
            "" => writeln!(text, "  {json}"),
            comment => writeln!(text, "  {json:<58} // {comment}"),
        };
    }
    text.push_str("],\n");
    text
}

/// The right to reach us, and what for: to begin with, to look.
fn use_of_the_nas(config: &Config, roster: &Roster, src: &str, dst: &str) -> Lines {
    let port = config.server.url.port();
    vec![
        (format!(r#"{{ "src": {src},"#), "who may use tailnas".to_owned()),
        (format!(r#"  "dst": {},"#, list([dst])), format!("this node, {}", roster.own().name())),
        (format!(r#"  "ip": {},"#, list([format!("tcp:{port}")])), "the port of server.url".to_owned()),
        (
            format!(r#"  "app": {{ {}: [{{"#, json!(config.tailnet.capability)),
            "tailnet.capability; one {…} for each thing they may".to_owned(),
        ),
        (
            format!(r#"    "scopes": {},"#, list(looking())),
            "what: all that only looks; tailnas tools lists the others".to_owned(),
        ),
        (
            format!(r#"    "nas": {} }}] }} }},"#, list(config.nas.iter().map(|nas| &nas.name))),
            "on which NAS; \"*\" for all".to_owned(),
        ),
    ]
}

/// The scopes of the tools that change nothing.
fn looking() -> BTreeSet<Scope> {
    let catalogue = Catalogue::new();
    catalogue.specs().filter(|spec| spec.risk == Risk::Read).filter_map(|spec| spec.scope).collect()
}

/// Whoever has a node, and whoever the configuration names.
fn people(config: &Config, roster: &Roster) -> BTreeSet<String> {
    let named = config.grants.iter().filter_map(|grant| match &grant.to {
        Grantee::Login(login) => Some(login.as_str()),
        Grantee::Group(_) => None,
    });
    let nodes = roster.others().iter().chain([roster.own()]).filter_map(Node::login);
    let people: BTreeSet<String> = nodes.chain(named).map(str::to_owned).collect();
    if people.is_empty() { BTreeSet::from(["autogroup:member".to_owned()]) } else { people }
}

/// How a policy names a node: by its tag, or by its address where it has none.
fn destination(node: &Node) -> String {
    match (node.tags(), node.addresses()) {
        ([tag, ..], _) => tag.clone(),
        ([], [address, ..]) => address.to_string(),
        ([], []) => node.name().to_owned(),
    }
}

/// Host and port of the issuer, the latter as a policy writes it.
fn place(issuer: &str) -> (String, String) {
    let url = url::Url::parse(issuer).ok();
    let host = url.as_ref().and_then(url::Url::host_str).unwrap_or_default().to_owned();
    let port = url.as_ref().and_then(url::Url::port_or_known_default).unwrap_or(443);
    (host, format!("tcp:{port}"))
}

/// An array of texts as a person would write it.
fn list<T: Serialize>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| json!(item).to_string()).collect();
    format!("[{}]", items.join(", "))
}
