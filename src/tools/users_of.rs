//! Whom would a reboot hit?

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::access::Read;
use crate::domain::plan::Dependent;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::job::JobState;
use crate::nas::methods::query::Query;
use crate::nas::methods::{app, client, job, vm};
use crate::nas::{NasError, Session};

use super::limit::Limit;
use super::render::foreign;
use super::report::{Evidence, Question, Report, seen};
use super::seen::Seen;
use super::{Entry, Log, Need, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![Entry::read::<WhoIsUsing>()]
}

struct WhoIsUsing;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WhoIsUsingArgs {
    /// At most this many.
    #[serde(default)]
    limit: Limit<50, 500>,
}

/// Whether somebody uses the NAS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Somebody does.
    InUse,
    /// Nobody does, as far as can be seen.
    NobodySeen,
}

impl Question for Verdict {}

/// So many clients of a kind are asked for.
const MOST: u32 = 1000;

/// So many of whom a change would hit are named. How many there are is told in any case.
const NAMED: usize = 30;

/// What the NAS calls the services that clients connect to.
const SMB: &str = "cifs";
const NFS: &str = "nfs";
const ISCSI: &str = "iscsitarget";

impl Tool for WhoIsUsing {
    const NAME: &'static str = "who_is_using";
    const TITLE: &'static str = "Who uses the NAS";
    const DESCRIPTION: &'static str = "Who would be hit by a reboot: NFS, SMB and iSCSI clients, jobs, apps, machines; and whom it could not see.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[("limit", Log::Plain)];
    const NEEDS: &'static [Need] = needs![
        job::Jobs,
        client::Smb,
        client::Nfs4,
        client::Nfs3,
        client::Iscsi,
        vm::Machines,
        vm::Containers,
        vm::Instances,
        app::Brief
    ];
    type Args = WhoIsUsingArgs;
    type Output = Report<Verdict>;

    async fn run(nas: &Session<'_, Read>, args: WhoIsUsingArgs) -> Result<Report<Verdict>, ToolError> {
        let mut unseen = Seen::default();
        let evidence = users(nas, &mut unseen).await?;
        unseen.not.push(
            "whether anybody works at these at this moment; NFS 3 clients may be gone without a word"
                .to_owned(),
        );
        let (verdict, summary, next_step) = match evidence.len() {
            0 => (
                Verdict::NobodySeen,
                "Nobody was seen to use the NAS.".to_owned(),
                "Look at what could not be seen before you take that for granted.",
            ),
            count => (
                Verdict::InUse,
                format!("{count} clients, jobs and machines use the NAS and would be hit by a reboot."),
                "Let jobs end, shut machines down from within, and tell the clients before the NAS goes \
                    down.",
            ),
        };
        let report = Report {
            verdict,
            summary,
            evidence,
            total: 0,
            causes: Vec::new(),
            not_seen: unseen.not,
            next_step: next_step.to_owned(),
        };
        Ok(report.cut(args.limit.get()))
    }
}

/// Who is connected at this moment to what this service gives, as far as the generation tells. Of services that give
/// nothing to clients there is nobody.
pub(super) async fn clients_of(
    nas: &Session<'_, Read>,
    service: &str,
    unseen: &mut Seen,
) -> Result<Vec<Evidence>, ToolError> {
    let mut evidence = Vec::new();
    let text = |text: &Option<String>| foreign(text.as_deref().unwrap_or("?"), 100);
    match service {
        SMB => {
            let sessions = nas.call(client::Smb, client::sessions(MOST)).await;
            for one in unseen.or_default("SMB clients", sessions)? {
                let what = format!("{} from {}", text(&one.username), text(&one.remote_machine));
                evidence.push(seen("SMB client", what));
            }
        }
        NFS => {
            let sessions = nas.call(client::Nfs4, Query::all().limit(MOST)).await;
            for one in unseen.or_default("clients of NFS 4", sessions)? {
                let word = |name: &str| one.info.get(name).and_then(Value::as_str).map(str::to_owned);
                let what = format!("{} from {}", text(&word("name")), text(&word("address")));
                evidence.push(seen("NFS 4 client", what));
            }
            let sessions = nas.call(client::Nfs3, Query::all().limit(MOST)).await;
            for one in unseen.or_default("clients of NFS 3", sessions)? {
                let what = format!("{} has {}", foreign(&one.ip, 100), foreign(&one.export, 200));
                evidence.push(seen("NFS 3 client", what));
            }
        }
        ISCSI => {
            let sessions = nas.call(client::Iscsi, Query::all().limit(MOST)).await;
            for one in unseen.or_default("iSCSI sessions", sessions)? {
                let (who, from) = (text(&one.initiator), text(&one.initiator_addr));
                evidence.push(seen("iSCSI session", format!("{who} from {from} to {}", text(&one.target))));
            }
        }
        _ => {}
    }
    Ok(evidence)
}

/// The services that give something to clients of what these use.
pub(super) fn serving(dependents: &[Dependent]) -> Vec<&'static str> {
    let gives = |kind: &str| dependents.iter().any(|one| one.name.starts_with(kind));
    let all = [("SMB", SMB), ("NFS", NFS), ("iSCSI", ISCSI)];
    all.into_iter().filter(|(kind, _)| gives(kind)).map(|(_, service)| service).collect()
}

/// Who is connected to these services at this moment, in words. To which share, the NAS does not tell.
pub(super) async fn connected(
    nas: &Session<'_, Read>,
    services: &[&str],
    unseen: &mut Seen,
) -> Result<Vec<String>, ToolError> {
    let mut clients = Vec::new();
    for service in services {
        clients.extend(clients_of(nas, service, unseen).await?);
    }
    let mut told = named(&clients);
    if !told.is_empty() {
        told.insert(0, "Connected at this moment, to this share or to another:".to_owned());
    }
    Ok(told)
}

/// Whom a change would hit, by name; of many the first, and how many more there are.
pub(super) fn named(hit: &[Evidence]) -> Vec<String> {
    let mut named: Vec<_> = hit.iter().take(NAMED).map(ToString::to_string).collect();
    if hit.len() > NAMED {
        named.push(format!("And {} more: who_is_using has all of them.", hit.len() - NAMED));
    }
    named
}

/// Who uses the NAS, as far as can be seen.
pub(super) async fn users(nas: &Session<'_, Read>, unseen: &mut Seen) -> Result<Vec<Evidence>, ToolError> {
    let mut evidence = Vec::new();

    let jobs = unseen.or_default("jobs", nas.call(job::Jobs, job::latest(200)).await)?;
    for job in jobs.iter().filter(|job| job.state == JobState::Running) {
        let at = job.time_started.map(|at| at.0);
        evidence.push(seen(format!("job {}", job.id), foreign(&job.method, 80)).at(at));
    }
    for service in [SMB, NFS, ISCSI] {
        evidence.extend(clients_of(nas, service, unseen).await?);
    }

    let machines = nas.call(vm::Machines, Query::all().order("name")).await;
    for one in unseen.or_default("virtual machines", machines)? {
        if one.status.as_ref().is_some_and(|status| status.state == "RUNNING") {
            let again = if one.autostart == Some(true) { "" } else { ", and does not start by itself" };
            evidence.push(seen("virtual machine", format!("{} runs{again}", foreign(&one.name, 100))));
        }
    }
    for (name, running) in containers(nas, unseen).await? {
        if running {
            evidence.push(seen("container", format!("{name} runs")));
        }
    }
    let apps = nas.call(app::Brief, app::all()).await;
    for one in unseen.or_default("apps", apps)? {
        if one.state == "RUNNING" {
            evidence.push(seen("app", format!("{} runs", foreign(&one.name, 60))));
        }
    }
    Ok(evidence)
}

/// Containers that are not apps and whether they run, whatever the generation calls them.
pub(super) async fn containers(
    nas: &Session<'_, Read>,
    unseen: &mut Seen,
) -> Result<Vec<(String, bool)>, ToolError> {
    let new = nas.call(vm::Containers, Query::all().order("name")).await;
    if let Err(NasError::NoSuchMethod { .. }) = new {
        let old = nas.call(vm::Instances, Query::all().order("name")).await;
        let old = unseen.or_default("containers", old)?;
        let runs = |one: &vm::Instance| one.status.as_deref() == Some("RUNNING");
        return Ok(old.iter().map(|one| (foreign(&one.name, 100), runs(one))).collect());
    }
    let runs = |one: &vm::Container| one.status.as_ref().is_some_and(|status| status.state == "RUNNING");
    let new = unseen.or_default("containers", new)?;
    Ok(new.iter().map(|one| (foreign(&one.name, 100), runs(one))).collect())
}
