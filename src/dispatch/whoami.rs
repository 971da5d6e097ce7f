//! Tells callers who they are here, what they may use, and why not the rest.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::name::NasName;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::By;
use crate::tools::schema::{answer_schema_of, schema_of, without_nulls};
use crate::tools::{Answer, BadArguments, Spec, render};

use super::{Call, Dispatcher, Reply};

#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Nothing {}

/// Who the caller is, as tailnet and provider agree.
#[derive(Debug, Serialize, JsonSchema)]
struct Whoami {
    /// Tailnet login; the tag of an agent.
    login: String,
    /// `relay` or `agent`, if not from a person's own node.
    via: Option<String>,
    /// Name as people write it.
    name: String,
    /// Node the request came from.
    node: String,
    /// Its tailnet address.
    address: String,
    /// Token that came with the request. An agent has none.
    token: Option<Token>,
    /// NAS that calls can act on.
    nas: Vec<Nas>,
    /// Scopes the grants give, each with where it comes from.
    scopes: Vec<Granted>,
    /// Tools that can be called.
    tools: Vec<String>,
    /// Tools that cannot, and why.
    unavailable: Vec<Unavailable>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Token {
    /// Provider that issued it.
    issuer: String,
    /// Subject it names.
    subject: String,
    /// OAuth client it was issued to.
    client_id: Option<String>,
    /// Its own scopes.
    scopes: Vec<String>,
    /// When it stops being good.
    expires: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Nas {
    /// Its name.
    name: String,
    /// Whether it can be reached, in words.
    status: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Granted {
    /// Scope.
    scope: String,
    /// Source of the grant.
    from: String,
    /// On which NAS. Left out: on all of them.
    on: Option<Vec<String>>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Unavailable {
    /// Tool.
    tool: String,
    /// What is missing.
    why: String,
}

pub(super) fn spec() -> Spec {
    Spec {
        alters_plans: false,
        looks: &[],
        looks_by: By::Reader,
        done_by: By::Reader,
        needs: &[],
        name: "whoami",
        title: "Who am I here",
        description: "Who you are here: login, node, scopes with their source, usable tools, and why others are missing. Ask this when a call is refused.",
        scope: None,
        risk: Risk::Read,
        log: &[],
        switch: None,
        input: schema_of::<Nothing>(),
        output: answer_schema_of::<Whoami>(),
    }
}

impl Dispatcher {
    pub(super) async fn whoami(&self, call: Call, spec: &Spec) -> Reply {
        if let Some(name) = call.arguments.keys().next() {
            let what = format!("unknown field `{}`, there are none", render::foreign(name, 40));
            return self.misspelt(&call, spec, None, &BadArguments { path: "arguments".to_owned(), what });
        }
        self.answer_here(call, spec, async |call| {
            let output = self.describe(call);
            let (text, items) = (output.to_string(), output.tools.len());
            let structured = without_nulls(serde_json::to_value(output).unwrap_or_default());
            Ok(Answer { structured, text, items })
        })
        .await
    }

    fn describe(&self, call: &Call) -> Whoami {
        let caller = &call.caller;
        let peer = caller.peer();
        let roll = self.fleet.now();
        let allows = |scope: Scope, nas: &NasName| caller.grants().allows(scope, nas);
        let usable: Vec<_> = self.usable(caller).map(|usable| usable.spec.name).collect();
        let missing = self.catalogue.specs().filter(|spec| !usable.contains(&spec.name));
        Whoami {
            login: caller.name().to_owned(),
            via: caller.via().map(|via| via.as_str().to_owned()),
            name: caller.user().map_or_else(String::new, |user| render::foreign(user.display(), 80)),
            node: peer.node_name().to_owned(),
            address: peer.addr().ip().to_string(),
            token: caller.token().map(|token| Token {
                issuer: token.issuer().to_owned(),
                subject: token.subject().to_owned(),
                client_id: token.client_id().map(str::to_owned),
                scopes: token.scopes().to_vec(),
                expires: expiry(token.exp()),
            }),
            nas: roll
                .iter()
                .filter(|(name, _)| Scope::ALL.iter().any(|scope| allows(*scope, name).is_some()))
                .map(|(name, nas)| {
                    let status = match allows(Scope::SystemRead, name) {
                        Some(_) => nas.status().to_string(),
                        None => nas.status().without_version(),
                    };
                    Nas { name: name.to_string(), status }
                })
                .collect(),
            scopes: Scope::ALL
                .iter()
                .filter_map(|scope| {
                    let on: Vec<_> =
                        roll.keys().filter_map(|nas| Some((nas, allows(*scope, nas)?))).collect();
                    let (_, rule) = on.first()?;
                    let part = on.iter().map(|(nas, _)| nas.to_string()).collect();
                    Some(Granted {
                        scope: scope.to_string(),
                        from: rule.as_str().to_owned(),
                        on: (on.len() < roll.len()).then_some(part),
                    })
                })
                .collect(),
            unavailable: missing
                .filter_map(|spec| {
                    let off = spec.switch.is_some_and(|switch| !roll.values().any(|nas| switch.is_on(nas)));
                    let why = match (off, spec.scope?) {
                        (true, _) => "This is switched off here".to_owned(),
                        (false, scope) => format!("This needs the scope {scope}, which no grant gives you"),
                    };
                    Some(Unavailable { tool: spec.name.to_owned(), why })
                })
                .collect(),
            tools: usable.into_iter().map(str::to_owned).collect(),
        }
    }
}

/// A time that providers count in seconds; one that is out of range is shown as the number it is.
fn expiry(seconds: i64) -> String {
    chrono::DateTime::from_timestamp(seconds, 0).map_or_else(|| seconds.to_string(), render::time)
}

/// The names of what has the same mark, each mark where it comes first.
fn gathered<'a, T, M: PartialEq>(
    all: &'a [T],
    mark: impl Fn(&'a T) -> M,
    name: impl Fn(&'a T) -> &'a str,
) -> Vec<(M, Vec<&'a str>)> {
    let mut groups: Vec<(M, Vec<&str>)> = Vec::new();
    for one in all {
        let mark = mark(one);
        match groups.iter_mut().find(|(known, _)| *known == mark) {
            Some((_, names)) => names.push(name(one)),
            None => groups.push((mark, vec![name(one)])),
        }
    }
    groups
}

impl fmt::Display for Whoami {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { login, via, name, node, address, token, nas, scopes, tools, unavailable } = self;
        match via.as_deref() {
            None => writeln!(f, "You are {login} ({name}) on {node} ({address}).")?,
            Some("relay") => writeln!(f, "You are {login} ({name}), through the relay {node} ({address}).")?,
            Some(_) => writeln!(f, "You are the agent {login} on {node} ({address}).")?,
        }
        if let Some(token) = token {
            let client = token.client_id.as_deref().unwrap_or("an unnamed client");
            writeln!(f, "Token: from {} for {client}, good until {}.", token.issuer, token.expires)?;
        }
        for nas in nas {
            writeln!(f, "NAS {}: {}", nas.name, nas.status)?;
        }
        if scopes.is_empty() {
            writeln!(f, "Scopes: none. No grant names you yet.")?;
        } else {
            for (from, scopes) in gathered(scopes, |granted| (&granted.from, &granted.on), |g| &g.scope) {
                let on =
                    from.1.as_ref().map(|on| format!(", on {} alone", on.join(", "))).unwrap_or_default();
                writeln!(f, "Scopes by {}{on}: {}.", from.0, scopes.join(", "))?;
            }
        }
        writeln!(f, "Tools: {}.", tools.join(", "))?;
        for (why, tools) in gathered(unavailable, |missing| &missing.why, |missing| &missing.tool) {
            writeln!(f, "Not available: {}. {why}.", tools.join(", "))?;
        }
        Ok(())
    }
}
