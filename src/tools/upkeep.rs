//! What keeps the machine going: services, updates, boot environments, certificates.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use crate::domain::access::Read;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::{NasError, Session};

use crate::nas::methods::{boot, certificate, service, system, update};

use super::render::{foreign, size, table, time};
use super::seen::Seen;
use super::{Entry, Items, Log, Need, Nothing, Tool, ToolError, needs};

/// The tools of this file.
pub(super) fn family() -> Vec<Entry> {
    vec![
        Entry::read::<Services>(),
        Entry::read::<Updates>(),
        Entry::read::<BootEnvironments>(),
        Entry::read::<Certificates>(),
    ]
}

fn yes(truth: Option<bool>) -> String {
    match truth {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    }
    .to_owned()
}

// services_list

struct Services;

/// The system services.
#[derive(Serialize, JsonSchema)]
struct ServicesOutput {
    /// Services, by name.
    services: Vec<Service>,
}

#[derive(Serialize, JsonSchema)]
struct Service {
    /// Name; cifs is SMB.
    name: String,
    /// RUNNING or STOPPED.
    state: Option<String>,
    /// Whether it starts with the machine.
    starts_at_boot: Option<bool>,
}

impl Tool for Services {
    const NAME: &'static str = "services_list";
    const TITLE: &'static str = "System services";
    const DESCRIPTION: &'static str = "System services (SMB as cifs, NFS, iSCSI, SSH and so on): whether \
        each runs, and whether it starts at boot.";
    const SCOPE: Scope = Scope::ServicesRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![service::Services];
    type Args = Nothing;
    type Output = ServicesOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<ServicesOutput, ToolError> {
        let services = nas.call(service::Services, service::all()).await?;
        let services = services.into_iter().map(|service| Service {
            name: foreign(&service.service, 60),
            state: service.state.map(|state| foreign(&state, 20)),
            starts_at_boot: service.enable,
        });
        Ok(ServicesOutput { services: services.collect() })
    }
}

impl Items for ServicesOutput {
    fn items(&self) -> usize {
        self.services.len()
    }
}

impl fmt::Display for ServicesOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self
            .services
            .iter()
            .map(|service| {
                let state = service.state.clone().unwrap_or_else(|| "?".to_owned());
                [service.name.clone(), state, yes(service.starts_at_boot)]
            })
            .collect();
        f.write_str(&table(["SERVICE", "STATE", "AT BOOT"], &rows))
    }
}

// update_check

struct Updates;

/// Whether there is a newer version.
#[derive(Serialize, JsonSchema)]
struct UpdatesOutput {
    /// Version that runs.
    running: String,
    /// Its release train.
    train: Option<String>,
    /// Version to go to on its own train; absent when there is none, or when `not_seen` says that nobody knows.
    update_to: Option<String>,
    /// Where its notes are.
    release_notes: Option<String>,
    /// Every newer version, with its train.
    newer: Vec<String>,
    /// What the NAS says stands in the way of an update.
    obstacle: Option<String>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
    /// The NAS could look for an update on its own train.
    #[serde(skip)]
    #[schemars(skip)]
    looked: bool,
}

impl Tool for Updates {
    const NAME: &'static str = "update_check";
    const TITLE: &'static str = "Updates of the NAS";
    const DESCRIPTION: &'static str = "Version that runs, and whether TrueNAS offers a newer one. \
        Downloads nothing. Takes seconds.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![system::FullVersion, update::Check, update::Versions];
    type Args = Nothing;
    type Output = UpdatesOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<UpdatesOutput, ToolError> {
        let running = nas.call(system::FullVersion, []).await?;
        let status = nas.call(update::Check, []).await?;
        let mut seen = Seen::default();
        if let Some(error) = &status.error {
            let reason = error.reason.as_deref().or(error.errname.as_deref()).unwrap_or("no reason given");
            seen.not.push(format!("the NAS could not look for updates: {}", foreign(reason, 300)));
        }
        let looked = status.error.is_none();
        let newer = newer_versions(nas, &mut seen).await?;
        let update_to = status.new_version();
        Ok(UpdatesOutput {
            running: foreign(running.trim_start_matches("TrueNAS-"), 80),
            train: status.train().map(|train| foreign(train, 60)),
            newer: newer
                .iter()
                .map(|new| format!("{} ({})", foreign(&new.version.version, 60), foreign(&new.train, 60)))
                .collect(),
            obstacle: status
                .word()
                .filter(|word| !["AVAILABLE", "UNAVAILABLE"].contains(word))
                .map(|word| foreign(word, 60)),
            release_notes: update_to
                .as_ref()
                .and_then(|new| new.release_notes_url.as_deref())
                .map(|url| foreign(url, 200)),
            update_to: update_to.map(|new| foreign(&new.version, 60)),
            looked,
            not_seen: seen.not,
        })
    }
}

/// Every version there is to go to, on whatever train.
pub(super) async fn newer_versions(
    nas: &Session<'_, Read>,
    seen: &mut Seen,
) -> Result<Vec<update::Available>, ToolError> {
    match nas.call(update::Versions, []).await {
        // 25.04 names one version at most, and that stands in its status.
        Err(NasError::NoSuchMethod { .. }) => Ok(Vec::new()),
        newer => seen.or_default("every newer version", newer),
    }
}

impl Items for UpdatesOutput {
    fn items(&self) -> usize {
        usize::from(self.update_to.is_some())
    }
}

impl fmt::Display for UpdatesOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrueNAS {} runs", self.running)?;
        match &self.train {
            Some(train) => writeln!(f, ", of train {train}.")?,
            None => writeln!(f, ".")?,
        }
        match (&self.update_to, self.looked) {
            (Some(version), _) => writeln!(f, "There is an update to {version}.")?,
            (None, true) if self.newer.is_empty() && self.not_seen.is_empty() => {
                writeln!(f, "There is no update.")?;
            }
            (None, true) => writeln!(f, "There is no update on its own train.")?,
            (None, false) => {}
        }
        if let Some(notes) = &self.release_notes {
            writeln!(f, "Notes: {notes}")?;
        }
        if !self.newer.is_empty() {
            writeln!(f, "Newer versions: {}", self.newer.join(", "))?;
        }
        if let Some(obstacle) = &self.obstacle {
            writeln!(f, "The NAS says {obstacle}.")?;
        }
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}

// boot_env_list

struct BootEnvironments;

/// The systems the machine can start.
#[derive(Serialize, JsonSchema)]
struct BootEnvironmentsOutput {
    /// Boot environments, newest first.
    boot_environments: Vec<BootEnvironment>,
}

#[derive(Serialize, JsonSchema)]
struct BootEnvironment {
    /// Name.
    name: String,
    /// It runs.
    runs: Option<bool>,
    /// It starts next.
    starts_next: Option<bool>,
    /// It can be started.
    can_start: Option<bool>,
    /// Updates do not remove it.
    kept: Option<bool>,
    /// When it was made, ISO 8601.
    created: Option<String>,
    /// Bytes.
    used_bytes: Option<u64>,
}

impl Tool for BootEnvironments {
    const NAME: &'static str = "boot_env_list";
    const TITLE: &'static str = "Boot environments";
    const DESCRIPTION: &'static str = "Boot environments: which runs, which starts next, and to which \
        older ones an upgrade could be taken back.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![boot::Environments];
    type Args = Nothing;
    type Output = BootEnvironmentsOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<BootEnvironmentsOutput, ToolError> {
        let mut environments = nas.call(boot::Environments, boot::all()).await?;
        environments.sort_by_key(|environment| std::cmp::Reverse(environment.created));
        let environments = environments.into_iter().map(|environment| BootEnvironment {
            name: foreign(&environment.id, 100),
            runs: environment.active,
            starts_next: environment.activated,
            can_start: environment.can_activate,
            kept: environment.keep,
            created: environment.created.map(|at| time(at.0)),
            used_bytes: environment.used_bytes,
        });
        Ok(BootEnvironmentsOutput { boot_environments: environments.collect() })
    }
}

impl Items for BootEnvironmentsOutput {
    fn items(&self) -> usize {
        self.boot_environments.len()
    }
}

impl fmt::Display for BootEnvironmentsOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<_> = self
            .boot_environments
            .iter()
            .map(|environment| {
                [
                    environment.name.clone(),
                    yes(environment.runs),
                    yes(environment.starts_next),
                    yes(environment.can_start),
                    yes(environment.kept),
                    environment.created.clone().unwrap_or_else(|| "?".to_owned()),
                    environment.used_bytes.map_or_else(|| "?".to_owned(), size),
                ]
            })
            .collect();
        f.write_str(&table(["NAME", "RUNS", "NEXT", "CAN START", "KEPT", "CREATED", "USED"], &rows))
    }
}

// certificates_list

struct Certificates;

/// Certificates, without their keys.
#[derive(Serialize, JsonSchema)]
struct CertificatesOutput {
    /// Certificates, the one that ends first before the others.
    certificates: Vec<Certificate>,
    /// What could not be seen, and why.
    not_seen: Vec<String>,
}

#[derive(Serialize, JsonSchema)]
struct Certificate {
    /// What the NAS calls it.
    name: String,
    /// Names it is made out to.
    made_out_to: Vec<String>,
    /// When it ends, ISO 8601.
    ends: Option<String>,
    /// Days until then, negative when it has ended.
    days_left: Option<i64>,
    /// It has ended.
    expired: Option<bool>,
}

impl Tool for Certificates {
    const NAME: &'static str = "certificates_list";
    const TITLE: &'static str = "Certificates";
    const DESCRIPTION: &'static str =
        "Certificates of the NAS, those that end first before the others: names and days left. No keys.";
    const SCOPE: Scope = Scope::SystemRead;
    const RISK: Risk = Risk::Read;
    const LOG: &'static [(&'static str, Log)] = &[];
    const NEEDS: &'static [Need] = needs![certificate::Certificates, system::Info];
    type Args = Nothing;
    type Output = CertificatesOutput;

    async fn run(nas: &Session<'_, Read>, _args: Nothing) -> Result<CertificatesOutput, ToolError> {
        let mut certificates = nas.call(certificate::Certificates, certificate::all()).await?;
        let mut seen = Seen::default();
        // The NAS's own clock decides what has ended on it.
        let info = nas.call(system::Info, []).await.map(Some);
        let now = seen.or_default("the time on the NAS", info)?.and_then(|info| info.datetime);
        certificates.sort_by_key(|certificate| (certificate.ends().is_none(), certificate.ends()));
        let certificates = certificates.into_iter().map(|certificate| {
            let ends = certificate.ends();
            let names = certificate.common.iter().chain(&certificate.san);
            let mut made_out_to: Vec<_> =
                names.map(|name| foreign(name.trim_start_matches("DNS:"), 100)).collect();
            made_out_to.dedup();
            Certificate {
                name: foreign(&certificate.name, 100),
                made_out_to,
                ends: ends.map(time),
                days_left: ends.zip(now).map(|(ends, now)| (ends - now.0).num_days()),
                expired: certificate.expired,
            }
        });
        Ok(CertificatesOutput { certificates: certificates.collect(), not_seen: seen.not })
    }
}

impl Items for CertificatesOutput {
    fn items(&self) -> usize {
        self.certificates.len()
    }
}

impl fmt::Display for CertificatesOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.certificates.is_empty() {
            writeln!(f, "There are no certificates.")?;
        }
        for certificate in &self.certificates {
            write!(f, "- {} ({})", certificate.name, certificate.made_out_to.join(", "))?;
            match (&certificate.ends, certificate.days_left, certificate.expired) {
                (Some(ends), _, Some(true)) => writeln!(f, ": ENDED {ends}")?,
                (Some(ends), Some(days), _) => writeln!(f, ": ends {ends}, in {days} days")?,
                (Some(ends), None, _) => writeln!(f, ": ends {ends}")?,
                (None, _, _) => writeln!(f, ": end unknown")?,
            }
        }
        self.not_seen.iter().try_for_each(|missing| writeln!(f, "Could not be seen: {missing}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_there_is_no_update_is_said_only_where_there_is_none_at_all() {
        let said = |to: Option<&str>, newer: &[&str], looked: bool, unseen: &[&str]| {
            let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
            let output = UpdatesOutput {
                running: "25.10.5".to_owned(),
                train: None,
                update_to: to.map(str::to_owned),
                release_notes: None,
                newer: texts(newer),
                obstacle: None,
                not_seen: texts(unseen),
                looked,
            };
            output.to_string()
        };
        let (none, own) = ("There is no update.", "There is no update on its own train.");
        assert!(said(None, &[], true, &[]).contains(none));
        let other = said(None, &["26.0.0 (Halfmoon)"], true, &[]);
        assert!(
            other.contains(own) && other.contains("Newer versions: 26.0.0") && !other.contains(none),
            "{other}"
        );
        assert!(said(None, &[], true, &["every newer version: no"]).contains(own));
        let unseen = said(None, &[], false, &["the NAS could not look for updates: no"]);
        assert!(!unseen.contains("There is no update"), "{unseen}");
        assert!(
            said(Some("25.10.6"), &["25.10.6 (T)"], true, &[]).contains("There is an update to 25.10.6.")
        );
    }
}
