//! Giving datasets to the network by SMB and NFS, changing to whom, and taking that back.
//!
//! A share is of a whole dataset: what lies at a path that somebody spells would have to be looked up first, and looking
//! at files is off unless the configuration switches it on. Guests are let in by none of these tools.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::domain::access::{Read, Write};
use crate::domain::name::{DatasetPath, FilePath, Host, PoolName, ShareName};
use crate::domain::plan::{Alteration, Draft, Fingerprint, Undo};
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::Session;
use crate::nas::methods::query::Query;
use crate::nas::methods::{app, client, dataset, resource, service, share};

use super::datasets::users_of;
use super::render::{capital, foreign};
use super::seen::Seen;
use super::storage::{identities_below, identity, one_dataset, subject};
use super::users_of::connected;
use super::{Change, Done, Entry, Log, Need, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::change::<SmbCreate>(),
        Entry::change::<SmbUpdate>(),
        Entry::change::<SmbDelete>(),
        Entry::change::<NfsCreate>(),
        Entry::change::<NfsUpdate>(),
        Entry::change::<NfsDelete>(),
    ]
}

/// Most hosts and networks of one share: the NAS advises against long lists.
const HOSTS: usize = 42;

/// By which protocol.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Smb,
    Nfs,
}

impl By {
    const fn word(self) -> &'static str {
        match self {
            Self::Smb => "SMB",
            Self::Nfs => "NFS",
        }
    }

    const fn service(self) -> &'static str {
        match self {
            Self::Smb => "cifs",
            Self::Nfs => "nfs",
        }
    }

    /// What keeps somebody out who can reach one that this program makes.
    const fn trusts(self) -> &'static str {
        match self {
            Self::Smb => {
                "It takes an account of the NAS that may use SMB; what that may do to files says their ACL."
            }
            Self::Nfs => {
                "NFS believes what clients say of their users: whoever is root on a host that is let in can be any of \
                 them but root."
            }
        }
    }
}

/// A share as it is, whichever protocol it is of.
#[derive(Clone)]
struct Found {
    by: By,
    id: Option<i64>,
    name: String,
    path: String,
    enabled: bool,
    read_only: bool,
    hosts: Vec<String>,
    open_to: OpenTo,
    /// Who root of a client is here, and who everybody of a client is; by NFS.
    maproot: Option<String>,
    mapall: Option<String>,
}

/// Whom a share lets in who reaches it, as far as this program writes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum OpenTo {
    /// As this program would make it.
    Accounts,
    /// In some other way, which it cannot write down again.
    Others,
    /// Anybody without a password, which it does not write either.
    Guests,
}

impl Found {
    fn smb(share: &share::SmbShare) -> Self {
        let access = share.access();
        Self {
            by: By::Smb,
            id: share.id,
            name: share.name.clone(),
            path: share.path.clone().unwrap_or_default(),
            enabled: share.enabled != Some(false),
            read_only: share.read_only() == Some(true),
            hosts: access.hostsallow.clone(),
            open_to: match (access.guestok, access.hostsdeny.is_empty(), share.purpose.as_deref()) {
                (Some(true), _, _) => OpenTo::Guests,
                (_, true, Some(share::PLAIN)) => OpenTo::Accounts,
                _ => OpenTo::Others,
            },
            maproot: None,
            mapall: None,
        }
    }

    fn nfs(share: &share::NfsShare) -> Self {
        Self {
            by: By::Nfs,
            id: share.id,
            name: share.path.clone(),
            path: share.path.clone(),
            enabled: share.enabled != Some(false),
            read_only: share.ro == Some(true),
            hosts: share.networks.iter().chain(&share.hosts).cloned().collect(),
            open_to: match (&share.maproot_user, &share.mapall_user, share.security.is_empty()) {
                (None, None, true) => OpenTo::Accounts,
                _ => OpenTo::Others,
            },
            maproot: share.maproot_user.clone().filter(|user| !user.is_empty()),
            mapall: share.mapall_user.clone().filter(|user| !user.is_empty()),
        }
    }

    /// What keeps somebody out who can reach it, and who they are once they are in.
    fn trusts(&self) -> String {
        match (&self.mapall, &self.maproot) {
            (None, None) => self.by.trusts().to_owned(),
            (Some(all), _) => format!("Everybody on a host that is let in is {} here.", foreign(all, 60)),
            (None, Some(root)) => format!(
                "NFS believes what clients say of their users: whoever is root on a host that is let in can be any of \
                 them, and is {} here as root.",
                foreign(root, 60)
            ),
        }
    }

    /// `the SMB share photos`
    fn called(&self) -> String {
        format!("the {} share {}", self.by.word(), foreign(&self.name, 120))
    }

    fn id(&self) -> Result<i64, ToolError> {
        self.id.ok_or_else(|| {
            ToolError::inapplicable(
                format!("The NAS gives no number for {}.", self.called()),
                "Change it in the TrueNAS web interface.",
            )
        })
    }

    /// What tells the dataset that it gives, or a folder of, from one that is made again under its name. Nothing of what
    /// lies elsewhere, as on another server.
    async fn ground(&self, nas: &Session<'_, Read>) -> Result<Value, ToolError> {
        let inside = self.path.strip_prefix("/mnt/").unwrap_or_default();
        let Some(pool) = inside.split('/').next().and_then(|pool| pool.parse::<PoolName>().ok()) else {
            return Ok(Value::Null);
        };
        let all = nas.call(dataset::Datasets, dataset::on_pool(&pool)).await?;
        let gives = |one: &&dataset::Dataset| {
            let rest = inside.strip_prefix(one.id.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let Some(found) = all.iter().filter(gives).max_by_key(|one| one.id.len()) else {
            return Ok(Value::Null);
        };
        match found.id.parse::<DatasetPath>() {
            Ok(path) => identity(nas, &path, found).await,
            Err(_) => Ok(Value::Null),
        }
    }

    /// What it is and what it gives. A share that is made again may have the number of the one before.
    async fn fingerprint(&self, nas: &Session<'_, Read>) -> Result<Fingerprint, ToolError> {
        Ok(Fingerprint::of(&json!([self.facts(), self.ground(nas).await?])))
    }

    fn facts(&self) -> Value {
        json!([
            self.by.word(),
            self.id,
            self.name,
            self.path,
            self.enabled,
            self.read_only,
            self.hosts,
            self.open_to,
            self.maproot,
            self.mapall
        ])
    }

    /// The dataset that it is of, where it is of a whole one.
    fn dataset(&self) -> Option<DatasetPath> {
        self.path.strip_prefix("/mnt/")?.parse().ok()
    }

    fn subject(&self) -> String {
        let pool = self.path.strip_prefix("/mnt/").and_then(|path| path.split('/').next());
        format!("pool {}", pool.unwrap_or_default())
    }
}

/// Every share, by protocol and number; what could not be seen is in `seen`.
async fn shares(nas: &Session<'_, Read>, seen: &mut Seen) -> Result<Vec<Found>, ToolError> {
    let smb = seen.or_default("SMB shares", nas.call(share::SmbShares, Query::all()).await)?;
    let nfs = seen.or_default("NFS shares", nas.call(share::NfsShares, Query::all()).await)?;
    let mut all: Vec<_> = smb.iter().map(Found::smb).chain(nfs.iter().map(Found::nfs)).collect();
    all.sort_by_key(|share| (share.by == By::Nfs, share.id));
    Ok(all)
}

/// The one share that is meant.
async fn one(nas: &Session<'_, Read>, by: By, name: &str) -> Result<Found, ToolError> {
    let mut all: Vec<_> = match by {
        By::Smb => nas.call(share::SmbShares, Query::all()).await?.iter().map(Found::smb).collect(),
        By::Nfs => nas.call(share::NfsShares, Query::all()).await?.iter().map(Found::nfs).collect(),
    };
    all.retain(|share| share.name == name);
    match (all.pop(), all.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), _) => Err(ToolError::inapplicable(
            format!("There is more than one {} share {}.", by.word(), foreign(name, 120)),
            "Change them in the TrueNAS web interface.",
        )),
        (None, _) => Err(ToolError::inapplicable(
            format!("There is no {} share {}.", by.word(), foreign(name, 120)),
            "shares_list shows which there are.",
        )),
    }
}

/// `everybody who reaches the NAS`, or who.
fn who(hosts: &[String]) -> String {
    match hosts {
        [] => "everybody who reaches the NAS".to_owned(),
        some => foreign(&some.join(", "), 300),
    }
}

fn spelled(hosts: &[Host]) -> Vec<String> {
    hosts.iter().map(ToString::to_string).collect()
}

/// Who will be able to reach it, and by what else it is reached.
async fn exposure(
    nas: &Session<'_, Read>,
    (by, trusts): (By, String),
    (path, hosts): (&str, &[String]),
    seen: &mut Seen,
) -> Result<Vec<String>, ToolError> {
    let mut warnings = Vec::new();
    if hosts.is_empty() {
        warnings.push("There is no limit of hosts: whoever reaches the NAS may try.".to_owned());
    }
    warnings.push(trusts);
    let lies_in =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    for other in shares(nas, seen).await?.iter().filter(|other| other.enabled) {
        let guests = if other.open_to == OpenTo::Guests { ", which lets guests in" } else { "" };
        let called = other.called();
        if other.path == path {
            warnings.push(format!("{} gives the same folder{guests}.", capital(&called)));
        } else if lies_in(path, &other.path) {
            warnings.push(format!("It lies in what {called} gives{guests}."));
        } else if lies_in(&other.path, path) {
            warnings.push(format!("What {called} gives lies in it, and is reached by this way too."));
        }
    }
    let services = nas.call(service::Services, service::all()).await;
    let services = seen.or_default("whether the service runs", services)?;
    let runs = |one: &service::Service| one.state.as_deref() == Some("RUNNING");
    if services.iter().any(|one| one.service == by.service() && !runs(one)) {
        warnings.push(format!("The {} service does not run: nobody reaches it until it does.", by.word()));
    }
    Ok(warnings)
}

/// What is to be shared: a filesystem that is mounted.
async fn shareable(
    nas: &Session<'_, Read>,
    path: &DatasetPath,
) -> Result<(dataset::Dataset, String), ToolError> {
    let found = one_dataset(nas, path).await?;
    let mounted = found.mountpoint.clone().filter(|at| *at == format!("/mnt/{path}"));
    match mounted {
        Some(at) if found.kind == "FILESYSTEM" && found.locked != Some(true) => Ok((found, at)),
        _ => Err(ToolError::inapplicable(
            format!("{path} is a volume, locked, or not mounted where it belongs."),
            "Only a filesystem that can be reached at /mnt can be shared.",
        )),
    }
}

fn bounded(hosts: &[Host]) -> Result<(), ToolError> {
    if hosts.len() > HOSTS {
        let what = format!("These are {} hosts, and a share takes {HOSTS}.", hosts.len());
        return Err(ToolError::inapplicable(what, "Name networks instead."));
    }
    Ok(())
}

const fn ro_or_rw(read_only: bool) -> &'static str {
    if read_only { "read-only" } else { "to be read and written" }
}

/// A new share.
struct New<'a> {
    by: By,
    name: String,
    dataset: &'a DatasetPath,
    read_only: bool,
    hosts: &'a [Host],
    undo: Undo,
}

impl New<'_> {
    async fn plan(self, nas: &Session<'_, Read>) -> Result<Draft, ToolError> {
        let Self { by, name, dataset: path, read_only, hosts, undo } = self;
        bounded(hosts)?;
        let (found, at) = shareable(nas, path).await?;
        let mut seen = Seen::default();
        let hosts = spelled(hosts);
        let warnings = exposure(nas, (by, by.trusts().to_owned()), (&at, &hosts), &mut seen).await?;
        let dependents = users_of(nas, path, &mut seen.not).await?;
        let below = identities_below(nas, path).await?;
        let uses: Vec<_> = dependents.iter().map(|used| &used.name).collect();
        let mut draft = Draft::new(
            format!("Share {path} by {}, {}, with {}.", by.word(), ro_or_rw(read_only), who(&hosts)),
            Risk::Disruptive,
            undo,
            subject(path),
            Fingerprint::of(&json!([identity(nas, path, &found).await?, at, uses, below])),
        );
        let after = format!("{at}, {}, for {}", ro_or_rw(read_only), who(&hosts));
        draft.changes.push(Alteration::new(format!("{} share {name}", by.word()), None, Some(after)));
        draft.warnings = warnings;
        if path.as_str() == path.pool() {
            draft
                .warnings
                .push("It is the root of its pool: all that lies on the pool is below it.".to_owned());
        }
        match (by, below.len()) {
            (_, 0) => {}
            (By::Smb, below) => {
                draft.warnings.push(format!("It gives the datasets below it as well: {below} of them."));
            }
            (By::Nfs, _) => {
                draft.warnings.push("Datasets below it are not given with it.".to_owned());
            }
        }
        (draft.dependents, draft.unseen) = (dependents, seen.not);
        Ok(draft)
    }
}

/// What of a share is to be another.
struct Wanted<'a> {
    tool: &'static str,
    /// What the argument is called that names the share.
    key: &'static str,
    enabled: Option<bool>,
    read_only: Option<bool>,
    hosts: Option<&'a [Host]>,
}

impl Wanted<'_> {
    async fn plan(self, nas: &Session<'_, Read>, now: Found) -> Result<Draft, ToolError> {
        let Self { tool, key, enabled, read_only, hosts } = self;
        now.id()?;
        bounded(hosts.unwrap_or_default())?;
        let wanted_hosts = hosts.map(spelled);
        let (mut changes, mut back, mut stops) = (Vec::new(), Map::new(), Vec::new());
        let mut opens = false;
        let yes_no = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
        if let Some(wanted) = enabled.filter(|wanted| *wanted != now.enabled) {
            changes.push(Alteration::new("served", yes_no(now.enabled), yes_no(wanted)));
            back.insert("enabled".to_owned(), json!(now.enabled));
            opens |= wanted;
            if !wanted {
                stops.push("Whoever uses it loses it until it is switched on again.".to_owned());
            }
        }
        if let Some(wanted) = read_only.filter(|wanted| *wanted != now.read_only) {
            changes.push(Alteration::new("read-only", yes_no(now.read_only), yes_no(wanted)));
            back.insert("read_only".to_owned(), json!(now.read_only));
            opens |= !wanted;
            if wanted {
                stops.push("Whoever writes to it can no longer.".to_owned());
            }
        }
        let mut by_hand = false;
        if let Some(wanted) = wanted_hosts.as_ref().filter(|wanted| **wanted != now.hosts) {
            changes.push(Alteration::new("lets in", Some(who(&now.hosts)), Some(who(wanted))));
            by_hand = now.hosts.iter().any(|host| host.parse::<Host>().is_err());
            back.insert("hosts".to_owned(), json!(now.hosts));
            opens = true;
            stops.push("Who is not among those that it lets in loses it.".to_owned());
        }
        if changes.is_empty() {
            return Err(ToolError::inapplicable(
                format!("{} is so already.", capital(&now.called())),
                "There is nothing to do.",
            ));
        }
        let undo = if by_hand {
            Undo::Words("set the hosts in the TrueNAS web interface to what they were".to_owned())
        } else {
            back.insert(key.to_owned(), json!(now.name));
            Undo::call(tool, Value::Object(back))
        };
        let mut seen = Seen::default();
        let hosts = wanted_hosts.unwrap_or_else(|| now.hosts.clone());
        let mut warnings = Vec::new();
        if opens {
            warnings = exposure(nas, (now.by, now.trusts()), (&now.path, &hosts), &mut seen).await?;
            // That it gives its own folder goes without saying.
            let own = format!("{} gives the same folder", capital(&now.called()));
            warnings.retain(|warning| !warning.starts_with(&own));
            if now.open_to == OpenTo::Guests {
                warnings.push("It lets guests in, without a password.".to_owned());
            }
        }
        if !stops.is_empty() {
            stops.extend(connected(nas, &[now.by.service()], &mut seen).await?);
        }
        let what: Vec<_> = changes.iter().map(|change| change.what.as_str()).collect();
        let mut draft = Draft::new(
            format!("Change {} of {}.", what.join(", "), now.called()),
            Risk::Disruptive,
            undo,
            now.subject(),
            now.fingerprint(nas).await?,
        );
        (draft.changes, draft.warnings, draft.stops, draft.unseen) = (changes, warnings, stops, seen.not);
        Ok(draft)
    }
}

/// A share that is taken away.
async fn plan_deletion(
    nas: &Session<'_, Read>,
    now: &Found,
    (create, update): (&'static str, &'static str),
) -> Result<Draft, ToolError> {
    now.id()?;
    let hosts: Option<Vec<Host>> = now.hosts.iter().map(|host| host.parse().ok()).collect();
    let undo = match (now.dataset(), hosts, now.by) {
        (Some(dataset), Some(hosts), by) if now.open_to == OpenTo::Accounts && now.enabled => {
            let mut again = json!({ "dataset": dataset, "read_only": now.read_only, "hosts": hosts });
            if by == By::Smb {
                again["name"] = json!(now.name);
            }
            Undo::call(create, again)
        }
        _ => Undo::Words(
            "make it again in the TrueNAS web interface: it has settings that this program does not write"
                .to_owned(),
        ),
    };
    let mut draft = Draft::new(
        format!("Take {} away. The files stay.", now.called()),
        Risk::Disruptive,
        undo,
        now.subject(),
        now.fingerprint(nas).await?,
    );
    let before = format!("{}, {}, for {}", foreign(&now.path, 300), ro_or_rw(now.read_only), who(&now.hosts));
    draft.changes.push(Alteration::new(
        format!("{} share {}", now.by.word(), foreign(&now.name, 120)),
        Some(before),
        None,
    ));
    if now.enabled {
        draft.stops.push("Whoever uses it loses it at once.".to_owned());
        let mut seen = Seen::default();
        draft.stops.extend(connected(nas, &[now.by.service()], &mut seen).await?);
        draft.unseen = seen.not;
    }
    draft.warnings.push(format!(
        "What else was set on it, as who may use it by name, is lost; {update} with enabled false keeps that."
    ));
    Ok(draft)
}

// smb_share_create

struct SmbCreate;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SmbCreateArgs {
    /// What clients call it.
    name: ShareName,
    /// Dataset to share.
    dataset: DatasetPath,
    /// Clients cannot write. Default: they can.
    #[serde(default)]
    read_only: bool,
    /// Only these hosts and networks. Default: all.
    #[serde(default)]
    hosts: Vec<Host>,
}

impl Change for SmbCreate {
    const NAME: &'static str = "smb_share_create";
    const TITLE: &'static str = "Share a dataset by SMB";
    const DESCRIPTION: &'static str =
        "Gives a dataset to the network by SMB, never to guests. The plan says who will be able to reach it.";
    const SCOPE: Scope = Scope::SharesWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![
        dataset::Datasets,
        dataset::Attachments,
        resource::Resources,
        share::SmbShares,
        share::NfsShares,
        share::Extents,
        app::Apps,
        service::Services
    ];
    const NEEDS: &'static [Need] = needs![share::SmbCreate];
    const LOG: &'static [(&'static str, Log)] =
        &[("name", Log::Plain), ("dataset", Log::Plain), ("read_only", Log::Plain), ("hosts", Log::Plain)];
    type Args = SmbCreateArgs;

    fn target(args: &SmbCreateArgs) -> String {
        format!("SMB {}", args.name)
    }

    async fn plan(nas: &Session<'_, Read>, args: &SmbCreateArgs) -> Result<Draft, ToolError> {
        let SmbCreateArgs { name, dataset, read_only, hosts } = args;
        let all = nas.call(share::SmbShares, Query::all()).await?;
        // Clients see no difference between capital and small letters.
        if all.iter().any(|share| share.name.to_lowercase() == name.as_str().to_lowercase()) {
            return Err(ToolError::inapplicable(
                format!("There is an SMB share {name} already."),
                "Choose another name, or look at that one.",
            ));
        }
        let undo = Undo::call(SmbDelete::NAME, json!({ "share": name }));
        New { by: By::Smb, name: name.to_string(), dataset, read_only: *read_only, hosts, undo }
            .plan(nas)
            .await
    }

    async fn run(nas: &Session<'_, Write>, args: SmbCreateArgs) -> Result<Done, ToolError> {
        let SmbCreateArgs { name, dataset, read_only, hosts } = args;
        let settings = share::SmbSettings {
            name: Some(name.clone()),
            path: Some(format!("/mnt/{dataset}")),
            enabled: Some(true),
            ..smb_settings(nas, Some(read_only), Some(hosts), &share::SmbAccess::default()).await?
        };
        nas.call(share::SmbCreate, (settings,)).await?;
        Ok(Done::now(format!("{dataset} is shared by SMB as {name}.")))
    }
}

/// These settings as the generation of the NAS writes them.
async fn smb_settings(
    nas: &Session<'_, Write>,
    read_only: Option<bool>,
    hosts: Option<Vec<Host>>,
    access: &share::SmbAccess,
) -> Result<share::SmbSettings, ToolError> {
    let settings = share::SmbSettings::default();
    Ok(if nas.speaks(share::PURPOSES).await? {
        let options = hosts.map(|hosts| share::SmbOptions::letting_in(hosts, access));
        share::SmbSettings { readonly: read_only, options, ..settings }
    } else {
        share::SmbSettings { ro: read_only, hostsallow: hosts, ..settings }
    })
}

// smb_share_update

struct SmbUpdate;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SmbUpdateArgs {
    /// What clients call it.
    share: ShareName,
    /// Whether it is served.
    #[serde(default)]
    enabled: Option<bool>,
    /// Whether clients can only read.
    #[serde(default)]
    read_only: Option<bool>,
    /// Only these hosts and networks; an empty list for all.
    #[serde(default)]
    hosts: Option<Vec<Host>>,
}

impl Change for SmbUpdate {
    const NAME: &'static str = "smb_share_update";
    const TITLE: &'static str = "Change an SMB share";
    const DESCRIPTION: &'static str = "Switches an SMB share on or off, makes it read-only or writable, or changes its hosts. What is left away stays.";
    const SCOPE: Scope = Scope::SharesWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![
        share::SmbShares,
        share::NfsShares,
        service::Services,
        dataset::Datasets,
        resource::Resources,
        client::Smb
    ];
    const NEEDS: &'static [Need] = needs![share::SmbUpdate];
    const LOG: &'static [(&'static str, Log)] =
        &[("share", Log::Plain), ("enabled", Log::Plain), ("read_only", Log::Plain), ("hosts", Log::Plain)];
    type Args = SmbUpdateArgs;

    fn target(args: &SmbUpdateArgs) -> String {
        format!("SMB {}", args.share)
    }

    async fn plan(nas: &Session<'_, Read>, args: &SmbUpdateArgs) -> Result<Draft, ToolError> {
        let SmbUpdateArgs { share, enabled, read_only, hosts } = args;
        let now = one(nas, By::Smb, share.as_str()).await?;
        // The options of other purposes are written as a whole too, and hold what is not ours to read.
        if hosts.is_some() && now.open_to != OpenTo::Accounts && nas.speaks(share::PURPOSES).await? {
            return Err(ToolError::inapplicable(
                format!("{} is made for something in particular.", capital(&now.called())),
                "Change its hosts in the TrueNAS web interface.",
            ));
        }
        let wanted = Wanted {
            tool: Self::NAME,
            key: "share",
            enabled: *enabled,
            read_only: *read_only,
            hosts: hosts.as_deref(),
        };
        wanted.plan(nas, now).await
    }

    async fn run(nas: &Session<'_, Write>, args: SmbUpdateArgs) -> Result<Done, ToolError> {
        let SmbUpdateArgs { share: name, enabled, read_only, hosts } = args;
        let all = nas.call(share::SmbShares, Query::all()).await?;
        let Some(found) = all.iter().find(|share| share.name == name.as_str()) else {
            return Err(ToolError::inapplicable(
                format!("There is no SMB share {name} any more."),
                "Plan it again.",
            ));
        };
        let settings = smb_settings(nas, read_only, hosts, found.access()).await?;
        let settings = share::SmbSettings { enabled, ..settings };
        nas.call(share::SmbUpdate, (Found::smb(found).id()?, settings)).await?;
        Ok(Done::now(format!("Changed the SMB share {name}.")))
    }
}

// smb_share_delete

struct SmbDelete;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneSmb {
    /// What clients call it.
    share: ShareName,
}

impl Change for SmbDelete {
    const NAME: &'static str = "smb_share_delete";
    const TITLE: &'static str = "Take an SMB share away";
    const DESCRIPTION: &'static str =
        "Takes an SMB share away. The files stay. smb_share_update can switch it off instead.";
    const SCOPE: Scope = Scope::SharesWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] =
        needs![share::SmbShares, dataset::Datasets, resource::Resources, client::Smb];
    const NEEDS: &'static [Need] = needs![share::SmbDelete];
    const LOG: &'static [(&'static str, Log)] = &[("share", Log::Plain)];
    type Args = OneSmb;

    fn target(args: &OneSmb) -> String {
        format!("SMB {}", args.share)
    }

    async fn plan(nas: &Session<'_, Read>, args: &OneSmb) -> Result<Draft, ToolError> {
        let now = one(nas, By::Smb, args.share.as_str()).await?;
        plan_deletion(nas, &now, (SmbCreate::NAME, SmbUpdate::NAME)).await
    }

    async fn run(nas: &Session<'_, Write>, args: OneSmb) -> Result<Done, ToolError> {
        let all = nas.call(share::SmbShares, Query::all()).await?;
        let found = all.iter().find(|share| share.name == args.share.as_str());
        let Some(found) = found else {
            let what = format!("There is no SMB share {} any more.", args.share);
            return Err(ToolError::inapplicable(what, "There is nothing to do."));
        };
        nas.call(share::SmbDelete, (Found::smb(found).id()?,)).await?;
        Ok(Done::now(format!("Took the SMB share {} away. The files are where they were.", args.share)))
    }
}

// nfs_share_create

struct NfsCreate;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NfsCreateArgs {
    /// Dataset to share.
    dataset: DatasetPath,
    /// Clients cannot write. Default: they can.
    #[serde(default)]
    read_only: bool,
    /// Only these hosts and networks. Default: all.
    #[serde(default)]
    hosts: Vec<Host>,
}

impl Change for NfsCreate {
    const NAME: &'static str = "nfs_share_create";
    const TITLE: &'static str = "Share a dataset by NFS";
    const DESCRIPTION: &'static str = "Gives a dataset to the network by NFS, which believes its clients. \
        The plan says who will be able to reach it.";
    const SCOPE: Scope = Scope::SharesWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![
        dataset::Datasets,
        dataset::Attachments,
        resource::Resources,
        share::SmbShares,
        share::NfsShares,
        share::Extents,
        app::Apps,
        service::Services
    ];
    const NEEDS: &'static [Need] = needs![share::NfsCreate];
    const LOG: &'static [(&'static str, Log)] =
        &[("dataset", Log::Plain), ("read_only", Log::Plain), ("hosts", Log::Plain)];
    type Args = NfsCreateArgs;

    fn target(args: &NfsCreateArgs) -> String {
        format!("NFS /mnt/{}", args.dataset)
    }

    async fn plan(nas: &Session<'_, Read>, args: &NfsCreateArgs) -> Result<Draft, ToolError> {
        let NfsCreateArgs { dataset, read_only, hosts } = args;
        let path = format!("/mnt/{dataset}");
        let all = nas.call(share::NfsShares, Query::all()).await?;
        // The NAS would take another one for other hosts; by their path they could not be told apart.
        if all.iter().any(|share| share.path == path) {
            return Err(ToolError::inapplicable(
                format!("There is an NFS share of {path} already."),
                "nfs_share_update changes which hosts it lets in.",
            ));
        }
        let undo = Undo::call(NfsDelete::NAME, json!({ "path": path }));
        New { by: By::Nfs, name: path, dataset, read_only: *read_only, hosts, undo }.plan(nas).await
    }

    async fn run(nas: &Session<'_, Write>, args: NfsCreateArgs) -> Result<Done, ToolError> {
        let NfsCreateArgs { dataset, read_only, hosts } = args;
        let settings = share::NfsSettings {
            path: Some(format!("/mnt/{dataset}")),
            enabled: Some(true),
            ro: Some(read_only),
            ..share::NfsSettings::default()
        };
        nas.call(share::NfsCreate, (settings.letting_in(hosts),)).await?;
        Ok(Done::now(format!("{dataset} is shared by NFS.")))
    }
}

// nfs_share_update

struct NfsUpdate;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NfsUpdateArgs {
    /// The folder that it gives, /mnt/tank/photos.
    path: FilePath,
    /// Whether it is served.
    #[serde(default)]
    enabled: Option<bool>,
    /// Whether clients can only read.
    #[serde(default)]
    read_only: Option<bool>,
    /// Only these hosts and networks; an empty list for all.
    #[serde(default)]
    hosts: Option<Vec<Host>>,
}

impl Change for NfsUpdate {
    const NAME: &'static str = "nfs_share_update";
    const TITLE: &'static str = "Change an NFS share";
    const DESCRIPTION: &'static str = "Switches an NFS share on or off, makes it read-only or writable, or changes its hosts. What is left away stays.";
    const SCOPE: Scope = Scope::SharesWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] = needs![
        share::SmbShares,
        share::NfsShares,
        service::Services,
        dataset::Datasets,
        resource::Resources,
        client::Nfs4,
        client::Nfs3
    ];
    const NEEDS: &'static [Need] = needs![share::NfsUpdate];
    const LOG: &'static [(&'static str, Log)] =
        &[("path", Log::Plain), ("enabled", Log::Plain), ("read_only", Log::Plain), ("hosts", Log::Plain)];
    type Args = NfsUpdateArgs;

    fn target(args: &NfsUpdateArgs) -> String {
        format!("NFS {}", args.path)
    }

    async fn plan(nas: &Session<'_, Read>, args: &NfsUpdateArgs) -> Result<Draft, ToolError> {
        let NfsUpdateArgs { path, enabled, read_only, hosts } = args;
        let now = one(nas, By::Nfs, path.as_str()).await?;
        let wanted = Wanted {
            tool: Self::NAME,
            key: "path",
            enabled: *enabled,
            read_only: *read_only,
            hosts: hosts.as_deref(),
        };
        wanted.plan(nas, now).await
    }

    async fn run(nas: &Session<'_, Write>, args: NfsUpdateArgs) -> Result<Done, ToolError> {
        let NfsUpdateArgs { path, enabled, read_only, hosts } = args;
        let id = nfs_id(nas, &path).await?;
        let settings = share::NfsSettings { enabled, ro: read_only, ..share::NfsSettings::default() };
        let settings = match hosts {
            Some(hosts) => settings.letting_in(hosts),
            None => settings,
        };
        nas.call(share::NfsUpdate, (id, settings)).await?;
        Ok(Done::now(format!("Changed the NFS share of {path}.")))
    }
}

async fn nfs_id(nas: &Session<'_, Write>, path: &FilePath) -> Result<i64, ToolError> {
    let all = nas.call(share::NfsShares, Query::all()).await?;
    match all.iter().find(|share| share.path == path.as_str()) {
        Some(found) => Found::nfs(found).id(),
        None => Err(ToolError::inapplicable(
            format!("There is no NFS share of {path} any more."),
            "Plan it again.",
        )),
    }
}

// nfs_share_delete

struct NfsDelete;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OneNfs {
    /// The folder that it gives, /mnt/tank/photos.
    path: FilePath,
}

impl Change for NfsDelete {
    const NAME: &'static str = "nfs_share_delete";
    const TITLE: &'static str = "Take an NFS share away";
    const DESCRIPTION: &'static str =
        "Takes an NFS share away. The files stay. nfs_share_update can switch it off instead.";
    const SCOPE: Scope = Scope::SharesWrite;
    const RISK: Risk = Risk::Disruptive;
    const LOOKS: &'static [Need] =
        needs![share::NfsShares, dataset::Datasets, resource::Resources, client::Nfs4, client::Nfs3];
    const NEEDS: &'static [Need] = needs![share::NfsDelete];
    const LOG: &'static [(&'static str, Log)] = &[("path", Log::Plain)];
    type Args = OneNfs;

    fn target(args: &OneNfs) -> String {
        format!("NFS {}", args.path)
    }

    async fn plan(nas: &Session<'_, Read>, args: &OneNfs) -> Result<Draft, ToolError> {
        let now = one(nas, By::Nfs, args.path.as_str()).await?;
        plan_deletion(nas, &now, (NfsCreate::NAME, NfsUpdate::NAME)).await
    }

    async fn run(nas: &Session<'_, Write>, args: OneNfs) -> Result<Done, ToolError> {
        let id = nfs_id(nas, &args.path).await?;
        nas.call(share::NfsDelete, (id,)).await?;
        Ok(Done::now(format!("Took the NFS share of {} away. The files are where they were.", args.path)))
    }
}
