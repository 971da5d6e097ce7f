//! Resources: a few answers of tools under an address, so that a client can keep them in view.
//!
//! Reading one *is* a call of its tool, with everything that a call has to pass.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rmcp::ErrorData;
use rmcp::model::{
    ErrorCode, Resource, ResourceTemplate, ResourceUpdatedNotification, ResourceUpdatedNotificationParam,
    ServerNotification,
};
use rmcp::service::SubscriptionContext;
use serde_json::{Map, Value, json};

use super::Origin;
use super::completions::Kind;
use crate::caller::Caller;
use crate::dispatch::{Dispatcher, NAS, Reply};
use crate::domain::name::NasName;

/// What all of them are written in.
pub(super) const JSON: &str = "application/json";

/// How often it is looked whether one has changed while somebody listens.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long one may listen. A request of any kind has three minutes, and whoever asks again is admitted again.
const LISTEN: Duration = Duration::from_secs(150);

/// Most resources one request may listen to.
const MOST: usize = 8;

/// The address of a resource, `nas://NAS/WHAT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    nas: NasName,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Health,
    Pools,
    Alerts,
    Job(u32),
}

/// The address of any job.
const JOB: &str = "nas://{nas}/jobs/{id}";

/// The ones that are always there, each with its title.
const ALWAYS: [(What, &str); 3] =
    [(What::Health, "Health"), (What::Pools, "Pools"), (What::Alerts, "Alerts")];

impl What {
    const fn tool(self) -> &'static str {
        match self {
            Self::Health => "system_health",
            Self::Pools => "pools_list",
            Self::Alerts => "alerts_list",
            Self::Job(_) => "jobs_list",
        }
    }
}

impl Address {
    /// The tool whose answer it is.
    #[must_use]
    pub const fn tool(&self) -> &'static str {
        self.what.tool()
    }

    /// The NAS it is of.
    #[must_use]
    pub const fn nas(&self) -> &NasName {
        &self.nas
    }

    pub(super) fn arguments(&self) -> Map<String, Value> {
        let mut arguments = Map::from_iter([(NAS.to_owned(), json!(self.nas))]);
        if let What::Job(id) = self.what {
            arguments.insert("id".to_owned(), id.into());
        }
        arguments
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of all that may stand in the name of a NAS, only the space may not stand in a URI.
        write!(f, "nas://{}/", self.nas.as_str().replace(' ', "%20"))?;
        match self.what {
            What::Health => f.write_str("health"),
            What::Pools => f.write_str("pools"),
            What::Alerts => f.write_str("alerts"),
            What::Job(id) => write!(f, "jobs/{id}"),
        }
    }
}

/// There is no resource of this address.
#[derive(Debug, PartialEq, Eq)]
pub struct NoResource;

impl FromStr for Address {
    type Err = NoResource;

    fn from_str(text: &str) -> Result<Self, NoResource> {
        let (nas, what) =
            text.strip_prefix("nas://").and_then(|rest| rest.split_once('/')).ok_or(NoResource)?;
        let what = match what.strip_prefix("jobs/") {
            Some(id) => What::Job(id.parse().map_err(|_| NoResource)?),
            None => match what {
                "health" => What::Health,
                "pools" => What::Pools,
                "alerts" => What::Alerts,
                _ => return Err(NoResource),
            },
        };
        let address = Self { nas: nas.replace("%20", " ").parse().map_err(|_| NoResource)?, what };
        // One address, one spelling.
        if address.to_string() == text { Ok(address) } else { Err(NoResource) }
    }
}

/// The resources that a caller may read.
pub(super) fn of(dispatcher: &Dispatcher, caller: &Caller) -> Vec<Resource> {
    let resource = |nas: NasName, what, title: &str| {
        let name = format!("{nas} {}", title.to_lowercase());
        let title = format!("{title} of {nas}");
        Resource::new(Address { nas, what }.to_string(), name).with_title(title).with_mime_type(JSON)
    };
    let of_each = |(what, title): (What, &'static str)| {
        let reach = dispatcher.reach(caller, what.tool());
        reach.into_iter().map(move |nas| resource(nas, what, title))
    };
    ALWAYS.into_iter().flat_map(of_each).collect()
}

/// The templates of those that a caller may read.
pub(super) fn templates_of(dispatcher: &Dispatcher, caller: &Caller) -> Vec<ResourceTemplate> {
    if dispatcher.reach(caller, What::Job(0).tool()).is_empty() {
        return Vec::new();
    }
    let template = ResourceTemplate::new(JOB, "job");
    vec![template.with_title("A job of a NAS").with_mime_type(JSON)]
}

/// What the variable `variable` of a template is, if there is one of that name and the caller may read such
/// resources; and on which NASes.
pub(super) fn variable(
    dispatcher: &Dispatcher,
    caller: &Caller,
    template: &str,
    variable: &str,
) -> Option<(Kind, Vec<NasName>)> {
    let kind = [Kind::Nas, Kind::Job].into_iter().find(|kind| kind.as_str() == variable)?;
    let reach = dispatcher.reach(caller, What::Job(0).tool());
    (template == JOB).then_some((kind, reach))
}

/// Tells a client when what it listens to has changed, until the time is over or the caller is admitted no more.
///
/// Each look is a call like any other: within the caller's budget, by their grants of that moment, and on record.
///
/// # Errors
///
/// When they are not admitted any more.
pub(super) async fn watch(
    dispatcher: &Arc<Dispatcher>,
    mut origin: Origin,
    to: &SubscriptionContext,
) -> Result<(), ErrorData> {
    let wanted = to.accepted().resource_subscriptions.iter().flatten();
    let mut seen: Vec<(Address, Option<Value>)> =
        wanted.filter_map(|uri| Some((uri.parse().ok()?, None))).take(MOST).collect();
    let looking = async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            look.tick().await;
            for (address, last) in &mut seen {
                let call = origin.call(address.tool(), address.arguments());
                let Reply::Done(answer, ..) = dispatcher.call(call).await else { continue };
                let now = answer.structured;
                // The first look is what the client has read itself.
                let changed = last.as_ref().is_some_and(|last| *last != now);
                *last = Some(now);
                if changed && to.sink().send(updated(address)).await.is_err() {
                    return Ok(());
                }
            }
            let Some(caller) = dispatcher.readmitted(&origin.caller).await else {
                let words = "Who may not call any more may not listen either; log in, and listen again";
                return Err(ErrorData::new(ErrorCode::INVALID_REQUEST, words, None));
            };
            origin.caller = Arc::new(caller);
        }
    };
    tokio::select! {
        ended = looking => ended,
        () = tokio::time::sleep(LISTEN) => Ok(()),
        () = to.cancelled() => Ok(()),
    }
}

fn updated(address: &Address) -> ServerNotification {
    let param = ResourceUpdatedNotificationParam::new(address.to_string());
    ServerNotification::ResourceUpdatedNotification(ResourceUpdatedNotification::new(param))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for text in
            ["nas://homenas/health", "nas://my%20nas/pools", "nas://a-b_c.d/alerts", "nas://x/jobs/17"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "nas://",
            "nas:///health",
            "nas://x",
            "nas://x/",
            "nas://x/health/",
            "nas://x/Health",
            "nas://my nas/health",
            "nas://%78/health",
            "nas://../health",
            "nas://x/y/health",
            "nas://x/jobs/",
            "nas://x/jobs/017",
            "nas://x/jobs/+1",
            "nas://x/jobs/-1",
            "nas://x/jobs/4294967296",
            "NAS://x/health",
            "https://x/health",
        ] {
            assert_eq!(text.parse::<Address>(), Err(NoResource), "{text:?}");
        }
    }
}
