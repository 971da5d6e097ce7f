//! The NAS's own audit: who did what on it, by any way in. Not to be confused with ours.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;

use chrono::{DateTime, TimeDelta};

use crate::domain::name::AccountName;
use crate::nas::methods::query::Queryable;
use crate::nas::methods::{audit, system};

use super::limit::Limit;
use super::render::{foreign, shown_of, table, time};
use super::{Entry, Items, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<Query>()]
}

struct Query;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct QueryArgs {
    /// How many hours back.
    #[serde(default)]
    hours: Limit<24, 744>,
    /// Part of the NAS. Default: middleware, the API.
    #[serde(default)]
    service: Service,
    /// Only of this account.
    #[serde(default)]
    user: Option<AccountName>,
    /// Only what was refused or failed. Default: no.
    #[serde(default)]
    failed: bool,
    /// At most this many, newest first.
    #[serde(default)]
    limit: Limit<50, 500>,
}

/// Part of the NAS that keeps an audit.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Service {
    #[default]
    Middleware,
    Smb,
    Sudo,
    System,
}

impl From<Service> for audit::Service {
    fn from(service: Service) -> Self {
        match service {
            Service::Middleware => Self::Middleware,
            Service::Smb => Self::Smb,
            Service::Sudo => Self::Sudo,
            Service::System => Self::System,
        }
    }
}

/// What happened, newest first.
#[derive(Serialize, JsonSchema)]
struct QueryOutput {
    /// The events shown.
    events: Vec<Event>,
    /// How many there are in all.
    total: u64,
}

#[derive(Serialize, JsonSchema)]
struct Event {
    /// When, ISO 8601.
    at: Option<String>,
    /// Account.
    user: Option<String>,
    /// Address it came from.
    from: Option<String>,
    /// What kind of thing happened.
    what: Option<String>,
    /// Method that was called; never with what.
    method: Option<String>,
    /// Whether it was let through.
    success: Option<bool>,
}

impl Tool for Query {
    const NAME: &'static str = "audit_query";
    const TITLE: &'static str = "Audit of the NAS";
    const DESCRIPTION: &'static str = "The NAS's own audit, newest first: when, who, from where, which call, whether let through. Narrow with service, user or failed.";
    const SCOPE: Scope = Scope::AuditRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[
        ("hours", Log::Plain),
        ("service", Log::Plain),
        ("user", Log::Hmac),
        ("failed", Log::Plain),
        ("limit", Log::Plain),
    ];
    const NEEDS: &'static [Need] = needs![system::Info, audit::EventCount, audit::Events];
    type Args = QueryArgs;
    type Output = QueryOutput;

    async fn run(nas: &Session<'_, Read>, args: QueryArgs) -> Result<QueryOutput, ToolError> {
        let Some(now) = nas.call(system::Info, []).await?.datetime else {
            return Err(ToolError::Inapplicable {
                what: "The NAS does not say what time it is, so \"hours back\" means nothing.".to_owned(),
                hint: "Look at the audit in the web interface (System, Audit).".to_owned(),
            });
        };
        let hours = i64::try_from(args.hours.get()).unwrap_or(i64::MAX);
        let since = (now.0 - TimeDelta::hours(hours)).timestamp();
        let total = nas.call(audit::EventCount, (those(&args, since),)).await?;
        let limit = u32::try_from(args.limit.get()).unwrap_or(u32::MAX);
        let events = nas.call(audit::Events, (those(&args, since).newest(limit),)).await?;
        let text = |text: Option<String>| text.map(|text| foreign(&text, 80));
        let events = events.into_iter().map(|event| Event {
            at: event.message_timestamp.and_then(|at| DateTime::from_timestamp(at, 0)).map(time),
            user: text(event.username),
            from: text(event.address),
            what: text(event.event),
            method: text(event.event_data.and_then(|called| called.method)),
            success: event.success,
        });
        Ok(QueryOutput { events: events.collect(), total })
    }
}

fn those<M: Queryable>(args: &QueryArgs, since: i64) -> audit::AuditQuery<M> {
    let mut query = audit::since(since, args.service.into());
    if let Some(user) = &args.user {
        query = query.by(user.as_str());
    }
    if args.failed { query.failed() } else { query }
}

impl Items for QueryOutput {
    fn items(&self) -> usize {
        self.events.len()
    }
}

impl fmt::Display for QueryOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.events.is_empty() {
            return writeln!(f, "No such events.");
        }
        let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
        let rows: Vec<_> = self
            .events
            .iter()
            .map(|event| {
                let result = match event.success {
                    Some(true) => "ok",
                    Some(false) => "REFUSED",
                    None => "?",
                };
                let what = match &event.method {
                    Some(method) => format!("{} {method}", text(&event.what)),
                    None => text(&event.what),
                };
                [text(&event.at), text(&event.user), text(&event.from), what, result.to_owned()]
            })
            .collect();
        f.write_str(&table(["AT", "USER", "FROM", "EVENT", "RESULT"], &rows))?;
        let total = usize::try_from(self.total).unwrap_or(usize::MAX);
        f.write_str(&shown_of(self.events.len(), total, "Narrow with user or failed, or raise limit."))
    }
}
