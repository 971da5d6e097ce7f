//! What can be asked of a NAS, one file a family.
//!
//! A tool does not know who is asking, that there is a policy, or that there is a log. It says what it needs
//! and what it can do at worst, and does it through the session it is handed. Its name, schemas, annotations,
//! place in the list, row in the documentation and in the authorization tests follow from the [`Tool`] it
//! implements and from the one line that names it in [`registry`].

mod access;
mod accounts;
mod alerts;
mod apps;
mod audit;
mod backup;
mod capacity;
mod control;
mod coverage;
mod datasets;
mod diagnose;
mod disks;
pub mod fields;
mod files;
pub(crate) mod guard;
mod hide;
mod inventory;
mod jobs;
mod limit;
mod metrics;
mod network;
mod readiness;
pub mod render;
mod report;
pub mod schema;
mod seen;
mod share_changes;
mod shares;
mod snapshot_changes;
mod snapshots;
mod space;
mod storage;
mod system;
mod system_changes;
mod trend;
mod upkeep;
mod upkeep_changes;
mod users_of;
mod vms;

use std::fmt::Display;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::access::{Read, Write};
use crate::domain::plan::Draft;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::nas::methods::Need;
use crate::nas::{By, Nas, NasError, Session};

use fields::{Fields, List};
use schema::{answer_schema_of, schema_of, without_nulls};

/// Every tool that acts on a NAS.
#[must_use]
pub fn registry() -> Vec<Entry> {
    [
        system::family(),
        system_changes::family(),
        upkeep::family(),
        upkeep_changes::family(),
        storage::family(),
        datasets::family(),
        snapshot_changes::family(),
        control::family(),
        disks::family(),
        snapshots::family(),
        capacity::family(),
        space::family(),
        shares::family(),
        share_changes::family(),
        backup::family(),
        coverage::family(),
        diagnose::family(),
        readiness::family(),
        users_of::family(),
        inventory::family(),
        access::family(),
        files::family(),
        network::family(),
        accounts::family(),
        alerts::family(),
        jobs::family(),
        audit::family(),
        apps::family(),
        vms::family(),
        metrics::family(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// One thing that can be asked of a NAS. It changes nothing: through the session that it is handed, no method can be sent that
/// does.
pub trait Tool: Send + Sync + 'static {
    /// What clients call it. A promise: a rename keeps the old name for a release.
    const NAME: &'static str;
    /// What people call it.
    const TITLE: &'static str;
    /// What a model must know to choose it, in at most 400 bytes.
    const DESCRIPTION: &'static str;
    /// The scope a caller must have.
    const SCOPE: Scope;
    /// What it can do at worst.
    const RISK: Risk;
    /// How each argument may be written down. One that is not named is hashed.
    const LOG: &'static [(&'static str, Log)];
    /// What the configuration must have switched on for it.
    const SWITCH: Option<Switch> = None;

    /// The methods and event sources of the NAS that it uses, for whoever has to give our accounts their roles.
    const NEEDS: &'static [Need];

    /// Its arguments. Unknown ones are refused.
    type Args: DeserializeOwned + JsonSchema + Send + Sync;
    /// Its answer, for a model as data and for a person as text.
    type Output: Serialize + JsonSchema + Display + Items + Send;

    /// What exactly it acts on, as the audit log is to name it.
    fn target(args: &Self::Args) -> Option<String> {
        let _ = args;
        None
    }

    /// Does it.
    fn run(
        nas: &Session<'_, Read>,
        args: Self::Args,
    ) -> impl Future<Output = Result<Self::Output, ToolError>> + Send;
}

/// What each of these methods and event sources needs.
macro_rules! needs {
    ($($asked:path),* $(,)?) => { &[$(<$asked as crate::nas::methods::Asked>::NEED),*] };
}
use needs;

/// One thing that can be changed on a NAS. It says first what it would do, and is carried out once a person has
/// agreed to that.
pub trait Change: Send + Sync + 'static {
    /// What clients call it. A promise: a rename keeps the old name for a release.
    const NAME: &'static str;
    /// What people call it.
    const TITLE: &'static str;
    /// What a model must know to choose it, in at most 400 bytes.
    const DESCRIPTION: &'static str;
    /// The scope a caller must have.
    const SCOPE: Scope;
    /// What it can do at least. A plan may find that it is more.
    const RISK: Risk;
    /// What it asks of the NAS while it plans, with the account that only reads.
    const LOOKS: &'static [Need];
    /// What it asks of the NAS when it changes something, with the account for that. What it looks up besides, by its
    /// name in [`LOOKS`](Self::LOOKS), that account may see: on the NAS a role that writes reads as well.
    const NEEDS: &'static [Need];
    /// Whose account looks while it plans.
    const LOOKS_BY: By = By::Reader;
    /// Whose account changes something.
    const DONE_BY: By = By::Writer;
    /// What the configuration must have switched on for it.
    const SWITCH: Option<Switch> = None;
    /// How each argument may be written down. One that is not named is hashed.
    const LOG: &'static [(&'static str, Log)];

    /// Its arguments. Unknown ones are refused; `plan` and `reason` are every change's and taken out before.
    type Args: DeserializeOwned + JsonSchema + Send + Sync;

    /// What exactly it acts on, as the audit log is to name it.
    fn target(args: &Self::Args) -> String;

    /// What it would do, as things are on the NAS now. Asked again right before it is done: the fingerprint of the
    /// draft must then be the same.
    fn plan(
        nas: &Session<'_, Read>,
        args: &Self::Args,
    ) -> impl Future<Output = Result<Draft, ToolError>> + Send;

    /// Does it.
    fn run(
        nas: &Session<'_, Write>,
        args: Self::Args,
    ) -> impl Future<Output = Result<Done, ToolError>> + Send;
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// In a sentence.
    pub text: String,
    /// The job of the NAS that goes on with it.
    pub job: Option<i64>,
    /// Whether other changes of the same may be made while that job goes on.
    pub beside: bool,
}

impl Done {
    /// It is done, and `text` says what.
    pub fn now(text: impl Into<String>) -> Self {
        Self { text: text.into(), job: None, beside: false }
    }

    /// The NAS has begun with it; `text` says with what. Nothing else is changed of the same before that has ended.
    pub fn begun(job: i64, text: impl Into<String>) -> Self {
        Self { text: text.into(), job: Some(job), beside: false }
    }

    /// The NAS has begun with something that takes its time and leaves everything as it is: other changes of the same
    /// need not wait for it.
    pub fn begun_beside(job: i64, text: impl Into<String>) -> Self {
        Self { beside: true, ..Self::begun(job, text) }
    }
}

/// Arguments of a tool that takes none.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Something that is off unless the configuration switches it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Looking at the names of files, by `nas.files`.
    Files,
    /// Restarting the NAS, by `nas.maintenance`.
    Maintenance,
}

impl Switch {
    /// Whether the configuration of a NAS switches it on.
    #[must_use]
    pub fn is_on(self, nas: &Nas) -> bool {
        match self {
            Self::Files => nas.shows_files(),
            Self::Maintenance => nas.can_be_restarted(),
        }
    }

    /// How the operator switches it on.
    #[must_use]
    pub const fn how(self) -> &'static str {
        match self {
            Self::Files => "The operator switches it on by naming datasets as files of the [[nas]] section.",
            Self::Maintenance => {
                "The operator switches it on by giving the [[nas]] section a third account, [nas.maintenance]: a full \
                 administrator, for the NAS lets nobody less restart it."
            }
        }
    }
}

/// How an argument may be written into the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Log {
    /// As it is.
    Plain,
    /// As a keyed hash.
    Hmac,
    /// Only how long it is.
    Len,
    /// Not at all.
    Drop,
}

/// How many things an answer is about, for the audit log.
pub trait Items {
    /// Their number.
    fn items(&self) -> usize;
}

/// Why a tool could not do it.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// The NAS did not, or could not.
    #[error(transparent)]
    Nas(#[from] NasError),
    /// What was asked about is not there, or cannot be done to it.
    #[error("{what}")]
    Inapplicable {
        /// What is the matter.
        what: String,
        /// What to try instead.
        hint: String,
    },
}

impl ToolError {
    /// It cannot be done to this, for the reason `what`; `hint` says what to try instead.
    fn inapplicable(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Inapplicable { what: what.into(), hint: hint.into() }
    }

    /// One word for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Nas(error) => error.code(),
            Self::Inapplicable { .. } => "inapplicable",
        }
    }

    /// Whether it failed, or nobody knows.
    #[must_use]
    pub const fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Nas(NasError::Unknown { .. }))
    }

    /// What this means for the NAS.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        match self {
            Self::Nas(error) => error.meaning(),
            Self::Inapplicable { .. } => "Nothing was changed.",
        }
    }

    /// What the person can do about it.
    #[must_use]
    pub fn next_step(&self) -> String {
        match self {
            Self::Nas(error) => error.next_step(),
            Self::Inapplicable { hint, .. } => hint.clone(),
        }
    }
}

/// What is true of a tool, whoever asks.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What clients call it.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What a model must know to choose it.
    pub description: &'static str,
    /// The scope a caller must have; `None` for a tool that everybody admitted may use.
    pub scope: Option<Scope>,
    /// What it can do at worst.
    pub risk: Risk,
    /// Whether it alters what waits for a person's yes, which is ours and not the NAS's.
    pub alters_plans: bool,
    /// What a change asks of the NAS while it is planned, with the account that only reads.
    pub looks: &'static [Need],
    /// Whose account looks then.
    pub looks_by: By,
    /// Whose account changes something, where it changes something.
    pub done_by: By,
    /// What it uses of the NAS.
    pub needs: &'static [Need],
    /// How each argument may be written down.
    pub log: &'static [(&'static str, Log)],
    /// What the configuration must have switched on for it.
    pub switch: Option<Switch>,
    /// JSON Schema of the arguments.
    pub input: Map<String, Value>,
    /// JSON Schema of the answer.
    pub output: Map<String, Value>,
}

/// A tool of the table: its spec, and how to run it with arguments of any type.
pub struct Entry {
    /// What is true of it.
    pub spec: Spec,
    /// How it is run.
    pub kind: Kind,
}

/// Whether a tool looks or changes.
pub enum Kind {
    /// It looks.
    Read(Box<dyn Parse>),
    /// It changes.
    Change(Box<dyn ParseChange>),
}

/// An answer, whatever tool it is from.
#[derive(Debug)]
pub struct Answer {
    /// For a model.
    pub structured: Value,
    /// For a person.
    pub text: String,
    /// How many things it is about.
    pub items: usize,
}

/// Reads raw arguments into those of one tool.
pub trait Parse: Send + Sync {
    /// The call, ready to be run.
    ///
    /// # Errors
    ///
    /// Where the fault is, and what it is.
    fn parse(&self, arguments: Map<String, Value>) -> Result<Box<dyn Ready>, BadArguments>;
}

/// A call whose arguments are typed and sound.
pub trait Ready: Send {
    /// What exactly it acts on.
    fn target(&self) -> Option<String>;

    /// Runs it.
    fn run<'s>(
        self: Box<Self>,
        nas: &'s Session<'s, Read>,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, ToolError>> + Send + 's>>;
}

/// Reads raw arguments into those of one change.
pub trait ParseChange: Send + Sync {
    /// The change, ready to be planned and made.
    ///
    /// # Errors
    ///
    /// Where the fault is, and what it is.
    fn parse(&self, arguments: Map<String, Value>) -> Result<Box<dyn ReadyChange>, BadArguments>;
}

/// A change whose arguments are typed and sound.
pub trait ReadyChange: Send + Sync {
    /// What exactly it acts on.
    fn target(&self) -> String;

    /// What it would do.
    fn plan<'s>(
        &'s self,
        nas: &'s Session<'s, Read>,
    ) -> Pin<Box<dyn Future<Output = Result<Draft, ToolError>> + Send + 's>>;

    /// Does it.
    fn run<'s>(
        self: Box<Self>,
        nas: &'s Session<'s, Write>,
    ) -> Pin<Box<dyn Future<Output = Result<Done, ToolError>> + Send + 's>>;
}

/// The arguments do not fit the tool.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {what}")]
pub struct BadArguments {
    /// Where the fault is, such as `fields[2]`; `arguments` for the whole.
    pub path: String,
    /// What it is.
    pub what: String,
}

impl Entry {
    fn read<T: Tool>() -> Self {
        const { assert!(matches!(T::RISK, Risk::Read), "a tool that only reads has the risk of reading") };
        let mut spec = spec::<T>();
        let list = fields::offer(&mut spec.input, &mut spec.output).map(Arc::new);
        Self { spec, kind: Kind::Read(Box::new(Erased::<T> { list, tool: PhantomData })) }
    }

    fn change<C: Change>() -> Self {
        const { assert!(!matches!(C::RISK, Risk::Read), "a tool that changes the NAS has a risk above reading") };
        let spec = Spec {
            name: C::NAME,
            title: C::TITLE,
            description: C::DESCRIPTION,
            scope: Some(C::SCOPE),
            risk: C::RISK,
            alters_plans: false,
            looks: C::LOOKS,
            looks_by: C::LOOKS_BY,
            done_by: C::DONE_BY,
            needs: C::NEEDS,
            log: C::LOG,
            switch: C::SWITCH,
            input: schema::of_a_change(schema_of::<C::Args>()),
            // One shape for all of them, which says itself what it is; listed with each it would cost every model.
            output: Map::new(),
        };
        Self { spec, kind: Kind::Change(Box::new(ErasedChange::<C>(PhantomData))) }
    }
}

fn spec<T: Tool>() -> Spec {
    Spec {
        name: T::NAME,
        title: T::TITLE,
        description: T::DESCRIPTION,
        scope: Some(T::SCOPE),
        risk: T::RISK,
        alters_plans: false,
        looks: &[],
        looks_by: By::Reader,
        done_by: By::Reader,
        needs: T::NEEDS,
        log: T::LOG,
        switch: T::SWITCH,
        input: schema_of::<T::Args>(),
        output: answer_schema_of::<T::Output>(),
    }
}

struct Erased<T> {
    /// What the answer is a list of, if it is one.
    list: Option<Arc<List>>,
    tool: PhantomData<T>,
}

impl<T: Tool> Parse for Erased<T> {
    fn parse(&self, mut arguments: Map<String, Value>) -> Result<Box<dyn Ready>, BadArguments> {
        let narrow = match &self.list {
            Some(list) => list.take_fields(&mut arguments)?.map(|fields| (Arc::clone(list), fields)),
            None => None,
        };
        Ok(Box::new(Parsed::<T> { args: arguments_of(arguments)?, narrow }))
    }
}

struct ErasedChange<C>(PhantomData<C>);

impl<C: Change> ParseChange for ErasedChange<C> {
    fn parse(&self, arguments: Map<String, Value>) -> Result<Box<dyn ReadyChange>, BadArguments> {
        Ok(Box::new(ParsedChange::<C>(arguments_of(arguments)?)))
    }
}

/// Raw arguments, typed.
///
/// # Errors
///
/// Where the fault is, and what it is.
pub fn arguments_of<T: DeserializeOwned>(arguments: Map<String, Value>) -> Result<T, BadArguments> {
    serde_path_to_error::deserialize(Value::Object(arguments)).map_err(|error| {
        let path = error.path().to_string();
        BadArguments {
            path: if path.is_empty() || path == "." { "arguments".to_owned() } else { path },
            what: error.into_inner().to_string(),
        }
    })
}

struct ParsedChange<C: Change>(C::Args);

impl<C: Change> ReadyChange for ParsedChange<C> {
    fn target(&self) -> String {
        C::target(&self.0)
    }

    fn plan<'s>(
        &'s self,
        nas: &'s Session<'s, Read>,
    ) -> Pin<Box<dyn Future<Output = Result<Draft, ToolError>> + Send + 's>> {
        Box::pin(async move { Ok(C::plan(nas, &self.0).await?.at_least(C::RISK)) })
    }

    fn run<'s>(
        self: Box<Self>,
        nas: &'s Session<'s, Write>,
    ) -> Pin<Box<dyn Future<Output = Result<Done, ToolError>> + Send + 's>> {
        Box::pin(C::run(nas, self.0))
    }
}

struct Parsed<T: Tool> {
    args: T::Args,
    /// The fields to show, and of what.
    narrow: Option<(Arc<List>, Fields)>,
}

impl<T: Tool> Ready for Parsed<T> {
    fn target(&self) -> Option<String> {
        T::target(&self.args)
    }

    fn run<'s>(
        self: Box<Self>,
        nas: &'s Session<'s, Read>,
    ) -> Pin<Box<dyn Future<Output = Result<Answer, ToolError>> + Send + 's>> {
        Box::pin(async move {
            let output = T::run(nas, self.args).await?;
            let items = output.items();
            let text = output.to_string();
            // Our own types hold nothing that JSON cannot say.
            let structured = without_nulls(serde_json::to_value(output).unwrap_or_default());
            let answer = Answer { structured, text, items };
            Ok(guard::within_bounds(match &self.narrow {
                Some((list, fields)) => list.narrow(answer, fields),
                None => answer,
            }))
        })
    }
}
