//! What an answer must be. One that is anything else ends the measurement.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// What is asked of a server, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scenario {
    /// `server/discover`: what the server is.
    Discover,
    /// `tools/list`: every tool that the caller may use.
    List,
    /// The tool `whoami`: an answer of some kilobytes, and no NAS.
    Whoami,
    /// The tool `plans_list`: a small answer, and no NAS.
    Small,
    /// The tool `pools_list`: a list that the NAS gave a moment ago.
    Cached,
    /// The tool `services_list`: one call of the NAS each time.
    Nas,
    /// The tool `datasets_list` of one dataset and what lies below it.
    Datasets,
    /// The same tool without naming one: the first there are, and how many in all.
    AllDatasets,
    /// The tool `changes_list`: what the audit log holds of this caller's changes.
    Changes,
    /// The tool `snapshot_create`, planned and then confirmed: two requests, five calls of the NAS, an intent and an
    /// outcome.
    Change,
}

impl Scenario {
    /// What it is called in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discover => "server/discover",
            Self::List => "tools/list",
            Self::Whoami => "whoami",
            Self::Small => "plans_list",
            Self::Cached => "pools_list",
            Self::Nas => "services_list",
            Self::Datasets => "datasets_list of one",
            Self::AllDatasets => "datasets_list",
            Self::Changes => "changes_list",
            Self::Change => "snapshot_create",
        }
    }

    /// The tool that is called, where one is.
    pub const fn tool(self) -> Option<&'static str> {
        match self {
            Self::Discover | Self::List => None,
            Self::Datasets => Some("datasets_list"),
            _ => Some(self.name()),
        }
    }
}

/// What every server must say the same of.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// The instructions of `server/discover`.
    pub instructions: String,
    /// The names of the tools, in order. Empty where the caller's grants are not the usual ones.
    pub tools: Vec<String>,
    /// Whose login `whoami` tells: the caller's, or always this one.
    pub login: Option<String>,
    /// Whether answers of tools must tell their place in the audit log.
    pub recorded: bool,
}

/// What is read of an answer besides whether it is right.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Its place in the audit log.
    pub seq: Option<u64>,
    /// The plan that it proposes.
    pub plan: Option<String>,
    /// How many tools it lists.
    pub tools: usize,
}

#[derive(Deserialize)]
struct Message<'a> {
    jsonrpc: &'a str,
    id: u64,
    #[serde(borrow)]
    result: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered<'a> {
    #[serde(borrow)]
    supported_versions: Vec<Cow<'a, str>>,
    capabilities: Capabilities,
    #[serde(borrow)]
    instructions: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Capabilities {
    tools: IgnoredAny,
}

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(borrow)]
    tools: Vec<Tool<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tool<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    description: Cow<'a, str>,
    input_schema: IgnoredAny,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Called<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    #[serde(borrow)]
    structured_content: &'a RawValue,
    #[serde(default)]
    is_error: bool,
    #[serde(rename = "_meta", default)]
    meta: Meta,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct Meta {
    #[serde(rename = "tailnas.dev/audit")]
    audit: Option<Audit>,
}

#[derive(Deserialize)]
struct Audit {
    seq: u64,
}

#[derive(Deserialize)]
struct Whoami<'a> {
    #[serde(borrow)]
    login: Cow<'a, str>,
    tools: Vec<IgnoredAny>,
}

/// The list within what a tool answered; each of these tools has one.
#[derive(Deserialize)]
struct Items {
    #[serde(alias = "plans", alias = "pools", alias = "services", alias = "datasets", alias = "changes")]
    items: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    plan: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
}

/// Reads an answer, and says what is wrong with it.
pub fn answer(
    scenario: Scenario,
    expected: &Expected,
    login: &str,
    id: u64,
    body: &[u8],
) -> Result<Read, String> {
    let wrong = |what: &str| {
        let body = String::from_utf8_lossy(body);
        let cut: String = body.chars().take(600).collect();
        format!("{}: {what}: {cut}", scenario.name())
    };
    let unreadable = |error: serde_json::Error| wrong(&error.to_string());
    let message: Message<'_> = serde_json::from_slice(body).map_err(unreadable)?;
    if message.jsonrpc != "2.0" || message.id != id {
        return Err(wrong("it answers another request"));
    }
    let result = message.result.get();
    match scenario {
        Scenario::Discover => {
            let it: Discovered<'_> = serde_json::from_str(result).map_err(unreadable)?;
            let Capabilities { tools: IgnoredAny } = it.capabilities;
            let speaks = it.supported_versions.iter().any(|version| version == tailnas_sim::client::MODERN);
            if !speaks || it.instructions != expected.instructions {
                return Err(wrong("it is not this server"));
            }
            Ok(Read::default())
        }
        Scenario::List => {
            let it: Listed<'_> = serde_json::from_str(result).map_err(unreadable)?;
            let whole = it.tools.iter().all(|Tool { name, description, input_schema: IgnoredAny }| {
                !name.is_empty() && !description.is_empty()
            });
            let names = it.tools.iter().map(|tool| &*tool.name);
            let same = expected.tools.is_empty() || names.eq(expected.tools.iter().map(String::as_str));
            if !whole || !same || it.tools.is_empty() {
                return Err(wrong("these are not the tools"));
            }
            Ok(Read { tools: it.tools.len(), ..Read::default() })
        }
        _ => {
            let it: Called<'_> = serde_json::from_str(result).map_err(unreadable)?;
            if it.is_error || it.content.first().is_none_or(|block| block.text.is_empty()) {
                return Err(wrong("the tool failed"));
            }
            let seq = it.meta.audit.map(|audit| audit.seq);
            if expected.recorded && seq.is_none() {
                return Err(wrong("it does not say where it is on record"));
            }
            let read = Read { seq, ..Read::default() };
            let data = it.structured_content.get();
            match scenario {
                Scenario::Whoami => {
                    let it: Whoami<'_> = serde_json::from_str(data).map_err(unreadable)?;
                    let login = expected.login.as_deref().unwrap_or(login);
                    if it.login != login || it.tools.is_empty() {
                        return Err(wrong("this is somebody else"));
                    }
                    Ok(Read { tools: it.tools.len(), ..read })
                }
                Scenario::Change => {
                    let it: Change<'_> = serde_json::from_str(data).map_err(unreadable)?;
                    match &*it.state {
                        "waiting" => Ok(Read { plan: Some(it.plan.into_owned()), ..read }),
                        "done" => Ok(read),
                        _ => Err(wrong("the change was neither planned nor made")),
                    }
                }
                _ => {
                    let it: Items = serde_json::from_str(data).map_err(unreadable)?;
                    let may_be_empty = matches!(scenario, Scenario::Small | Scenario::Changes);
                    if it.items.is_empty() && !may_be_empty {
                        return Err(wrong("the list is empty"));
                    }
                    Ok(read)
                }
            }
        }
    }
}
