//! Everything we can ask of a NAS. What is not in this folder cannot be sent: there is no way to send a method
//! by its name.
//!
//! A method says next to its name whether it only looks ([`Read`](crate::domain::access::Read)) or also changes
//! ([`Write`](crate::domain::access::Write)), what each generation calls it, and which role it takes.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::version::Candidate;
use crate::domain::access::Access;

pub mod account;
pub mod alert;
pub mod api_key;
pub mod app;
pub mod audit;
pub mod backup;
pub mod boot;
pub mod certificate;
pub mod client;
pub mod dataset;
pub mod directory;
pub mod disk;
pub mod file;
pub mod job;
pub mod network;
pub mod pool;
pub mod query;
pub mod reporting;
pub mod resource;
pub mod schedule;
pub mod scrub;
pub mod service;
pub mod share;
pub mod smart;
pub mod snapshot;
pub mod system;
pub mod update;
pub mod vm;

/// A method of the NAS. Only what the [`catalogue`] lists can be one.
pub trait Method: sealed::Listed + Send + 'static {
    /// Whether it only looks, or also changes.
    type Access: Access;
    /// Its arguments.
    type Params: Arguments;
    /// What it answers. Fields that we do not know are passed over; a field that some generation lacks is an
    /// `Option`.
    type Reply: DeserializeOwned + Send + 'static;
    /// What it is called, by generation.
    const CANDIDATES: &'static [Candidate];
    /// The least role on the NAS that allows it. `None`: any account may.
    const ROLE: Option<&'static str>;
    /// How long an answer may take, waiting for a free slot included.
    const DEADLINE: Duration = Duration::from_secs(30);
    /// The NAS tells that what it answers has changed, by an event of the same name. A look may then be given what the NAS
    /// answered a moment ago, as long as it has told of no change since.
    const TOLD: bool = false;
    /// It starts a job: what it answers is the job's number, and the work goes on behind it.
    const JOB: bool = false;

    /// Arguments as somebody may send them, to hold against the published schemas.
    fn example() -> Self::Params;
}

/// An event source of the NAS: it tells what happens for as long as somebody follows it. Only what [`sources`]
/// lists can be one.
pub trait Source: sealed::Listed + Send + 'static {
    /// Its arguments, an object.
    type Args: Serialize + Send + Sync;
    /// What an event tells.
    type Item: DeserializeOwned + Send + 'static;
    /// What it is called, by generation.
    const CANDIDATES: &'static [Candidate];
    /// The least role on the NAS that allows it.
    const ROLE: Option<&'static str>;

    /// Arguments as somebody may send them, to hold against the published schemas.
    fn example() -> Self::Args;
}

/// Arguments of a method. The NAS takes them by position, so only what becomes a JSON array is one.
pub trait Arguments: Serialize + Send + sealed::Sealed {}

/// No arguments; on the wire `[]`.
pub type Nothing = [(); 0];

impl Arguments for Nothing {}
impl<T: Serialize + Send> Arguments for (T,) {}
impl<T: Serialize + Send, U: Serialize + Send> Arguments for (T, U) {}
impl<T: Serialize + Send, U: Serialize + Send, V: Serialize + Send> Arguments for (T, U, V) {}
impl<M: query::Queryable> Arguments for query::Query<M> {}
impl<T: Serialize + Send, M: query::Queryable> Arguments for Then<T, M> {}

/// An argument, and then filters and options.
#[derive(Clone, Debug)]
pub struct Then<T, M>(pub T, pub query::Query<M>);

impl<T: Serialize, M: query::Queryable> Serialize for Then<T, M> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.0, self.1.filters(), self.1.options()).serialize(serializer)
    }
}

/// What an account on the NAS must have so that something can be asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// What is asked, by generation.
    pub candidates: &'static [Candidate],
    /// The least role that allows it. `None`: any account may.
    pub role: Option<&'static str>,
}

/// A method or a source.
pub trait Asked: sealed::Listed {
    /// What it needs.
    const NEED: Need;
}

mod sealed {
    /// Stands in the catalogue.
    pub trait Listed {}

    pub trait Sealed {}

    impl Sealed for super::Nothing {}
    impl<T> Sealed for (T,) {}
    impl<T, U> Sealed for (T, U) {}
    impl<T, U, V> Sealed for (T, U, V) {}
    impl<T, M> Sealed for super::Then<T, M> {}
    impl<M> Sealed for super::query::Query<M> {}
}

/// What a method declares, without its types.
#[derive(Clone, Debug)]
pub struct Listed {
    /// [`Method::CANDIDATES`]
    pub candidates: &'static [Candidate],
    /// [`Access::CHANGES`]
    pub changes: bool,
    /// [`Method::ROLE`]
    pub role: Option<&'static str>,
    /// [`Method::JOB`]
    pub job: bool,
    /// [`Method::TOLD`]
    pub told: bool,
    /// [`Method::example`], as JSON.
    pub example: serde_json::Value,
    /// Tries to read a text as [`Method::Reply`].
    pub reads: fn(&str) -> Result<(), String>,
}

impl Listed {
    /// A call that is none of the methods: it is about a connection alone, or made while tailnas is set up.
    pub(super) fn besides<R: DeserializeOwned>(
        candidates: &'static [Candidate],
        changes: bool,
        example: &impl Serialize,
    ) -> Self {
        Self {
            candidates,
            changes,
            role: None,
            job: false,
            told: false,
            example: serde_json::to_value(example).unwrap_or_default(),
            reads: |text| serde_json::from_str::<R>(text).map(drop).map_err(|error| error.to_string()),
        }
    }
}

fn listed<M: Method>() -> Listed {
    const { assert!(!(M::TOLD && M::Access::CHANGES), "what changes the NAS is sent each time") };
    Listed {
        candidates: M::CANDIDATES,
        changes: M::Access::CHANGES,
        role: M::ROLE,
        job: M::JOB,
        told: M::TOLD,
        example: serde_json::to_value(M::example()).unwrap_or_default(),
        reads: |text| serde_json::from_str::<M::Reply>(text).map(drop).map_err(|error| error.to_string()),
    }
}

fn listed_source<S: Source>() -> Listed {
    Listed {
        candidates: S::CANDIDATES,
        changes: false,
        role: S::ROLE,
        job: false,
        told: false,
        example: serde_json::to_value(S::example()).unwrap_or_default(),
        reads: |text| serde_json::from_str::<S::Item>(text).map(drop).map_err(|error| error.to_string()),
    }
}

macro_rules! sources {
    ($($source:path,)*) => {
        $(
            impl sealed::Listed for $source {}
            impl Asked for $source {
                const NEED: Need =
                    Need { candidates: <$source as Source>::CANDIDATES, role: <$source as Source>::ROLE };
            }
        )*

        /// Every event source there is.
        #[must_use]
        pub fn sources() -> Vec<Listed> {
            vec![$(listed_source::<$source>()),*]
        }
    };
}

macro_rules! catalogue {
    ($($method:path,)*) => {
        $(
            impl sealed::Listed for $method {}
            impl Asked for $method {
                const NEED: Need =
                    Need { candidates: <$method as Method>::CANDIDATES, role: <$method as Method>::ROLE };
            }
        )*

        /// Every method there is.
        #[must_use]
        pub fn catalogue() -> Vec<Listed> {
            vec![$(listed::<$method>()),*]
        }
    };
}

catalogue! {
    system::Info,
    system::FullVersion,
    system::Ready,
    system::Reboot,
    update::Check,
    pool::Pools,
    dataset::Datasets,
    dataset::DatasetCount,
    snapshot::Snapshots,
    snapshot::Count,
    snapshot::Create,
    alert::Alerts,
    api_key::Keys,
    job::Jobs,
    job::JobCount,
    service::Services,
    directory::State,
    directory::Config,
    snapshot::Times,
    update::Versions,
    boot::Environments,
    certificate::Certificates,
    disk::Disks,
    disk::Temperatures,
    scrub::Schedules,
    share::SmbShares,
    share::NfsShares,
    share::Targets,
    share::Extents,
    share::TargetExtents,
    share::Initiators,
    backup::Replications,
    backup::SnapshotTasks,
    backup::CloudSyncs,
    backup::CloudBackups,
    backup::Rsyncs,
    network::Interfaces,
    network::Summary,
    account::Users,
    account::UserCount,
    account::Groups,
    account::GroupCount,
    audit::Events,
    audit::EventCount,
    app::Apps,
    app::Brief,
    app::AppCount,
    app::Config,
    app::Images,
    app::UsedPorts,
    app::UsedHostIps,
    app::Available,
    app::AvailableCount,
    app::UpgradeSummary,
    app::OutdatedImages,
    vm::Machines,
    vm::MachineCount,
    vm::Devices,
    vm::Instances,
    vm::InstanceCount,
    vm::Births,
    vm::Containers,
    vm::ContainerCount,
    reporting::Graphs,
    reporting::Data,
    resource::Resources,
    snapshot::Delete,
    snapshot::Hold,
    snapshot::Release,
    snapshot::MakeClone,
    snapshot::Rollback,
    dataset::Create,
    dataset::Update,
    dataset::Rename,
    dataset::Delete,
    dataset::Attachments,
    share::SmbCreate,
    share::SmbUpdate,
    share::SmbDelete,
    share::NfsCreate,
    share::NfsUpdate,
    share::NfsDelete,
    pool::Scrub,
    backup::RunSnapshots,
    backup::RunReplication,
    backup::RunCloudSync,
    vm::Start,
    vm::Stop,
    vm::Restart,
    vm::ContainerStart,
    vm::ContainerStop,
    vm::InstanceStart,
    vm::InstanceStop,
    vm::InstanceRestart,
    job::Abort,
    update::Download,
    directory::Refresh,
    scrub::Create,
    scrub::Update,
    boot::Destroy,
    service::Control,
    service::OldStart,
    service::OldStop,
    service::OldRestart,
    alert::Dismiss,
    alert::Restore,
    app::Start,
    app::Stop,
    app::Redeploy,
    app::change::Create,
    app::change::Update,
    app::change::Upgrade,
    app::change::Rollback,
    app::change::PullImages,
    app::change::Delete,
    app::change::RollbackVersions,
    app::change::IxVolumes,
    boot::Pool,
    smart::Tests,
    file::Listing,
    file::Count,
    file::Stat,
    file::Acl,
    share::SmbAcl,
    client::Nfs3,
    client::Nfs4,
    client::Iscsi,
    client::Smb,
}

sources! {
    app::Stats,
    app::Log,
    reporting::Realtime,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields that hold secrets, or may.
    const SECRET: [&str; 24] = [
        "acme",
        "args",
        "arguments",
        "attributes",
        "auxsmbconf",
        "certificate",
        "credential",
        "credentials",
        "encryption_key",
        "encryption_password",
        "encryption_salt",
        "event_data",
        "key",
        "passwd",
        "password",
        "post_script",
        "pre_script",
        "privatekey",
        "result",
        "service_data",
        "smbhash",
        "ssh_credentials",
        "sshpubkey",
        "unixhash",
    ];

    #[test]
    fn a_query_names_what_it_reads_and_no_secret() {
        for method in catalogue().into_iter().filter(|method| !method.changes) {
            let name = method.candidates[0].name;
            if name == "zfs.resource.query" {
                // It takes no options: what it answers beyond an identity are properties, and we want none.
                assert!(method.example[0]["properties"].is_null(), "{name} asks for properties");
                continue;
            }
            let options = [&method.example[1], &method.example[2], &method.example[0]["query-options"]];
            // Graphs of measurements have options too, and no rows.
            let options =
                options.into_iter().find(|options| options.is_object() && !name.starts_with("reporting."));
            let Some(options) = options else {
                assert!(name.rsplit('.').next() != Some("query"), "{name} asks for whole rows");
                continue;
            };
            let fields = options["select"].as_array();
            assert!(fields.is_some() || options["count"] == true, "{name} asks for whole rows");
            for field in fields.into_iter().flatten().filter_map(serde_json::Value::as_str) {
                assert!(!SECRET.contains(&field), "{name} asks for {field}");
            }
        }
    }
}
