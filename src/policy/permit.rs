//! The proof that policy said yes.

use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::domain::access::Access;
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::plan::PlanNote;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::domain::who::Who;

/// Policy said yes to one thing, once. Only [`policy`](crate::policy) makes one, and the audit log takes it in
/// exchange for the warrant without which nothing reaches a NAS.
///
/// It cannot be forged:
///
/// ```compile_fail,E0624
/// # use tailnas::{domain::access::Write, policy::permit::{Permit, Terms}};
/// fn permit(forged: Terms, judged: Permit<Write>) -> Permit<Write> {
///     Permit::new(forged)
/// }
/// ```
///
/// ```
/// # use tailnas::{domain::access::Write, policy::permit::{Permit, Terms}};
/// fn permit(forged: Terms, judged: Permit<Write>) -> Permit<Write> {
///     judged
/// }
/// ```
///
/// It cannot be copied, so one yes is good for one deed:
///
/// ```compile_fail,E0599
/// # use tailnas::{domain::access::Write, policy::permit::Permit};
/// fn again(permit: &Permit<Write>, another: Permit<Write>) -> Permit<Write> {
///     permit.clone()
/// }
/// ```
///
/// ```
/// # use tailnas::{domain::access::Write, policy::permit::Permit};
/// fn again(permit: &Permit<Write>, another: Permit<Write>) -> Permit<Write> {
///     another
/// }
/// ```
#[must_use = "a permit that is not spent was asked for in vain"]
#[derive(Debug)]
pub struct Permit<A: Access> {
    terms: Terms,
    access: PhantomData<A>,
}

/// What was allowed, to whom, and why: everything the audit log is to know.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The request this is about.
    pub request: RequestId,
    /// Who asked.
    pub who: Who,
    /// The tool.
    pub tool: &'static str,
    /// Its risk, as judged.
    pub risk: Risk,
    /// The scope it needs, and the caller has; `None` for a tool that everybody admitted may use.
    pub scope: Option<Scope>,
    /// On which NAS; `None` where none is touched.
    pub nas: Option<NasName>,
    /// What exactly is acted on, where the tool can name it, such as a dataset.
    pub target: Option<String>,
    /// The arguments as they may be written down.
    pub args: serde_json::Value,
    /// Keyed hash of the arguments as they are.
    pub args_h: String,
    /// Who gave the grant: `tailnet`, `policy` …
    pub rule: String,
    /// Who confirmed it.
    pub approval: Approval,
    /// The plan that was agreed to; `None` where nothing is changed.
    pub plan: Option<PlanNote>,
}

/// Who confirmed that a thing be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Approval {
    /// Nobody needs to: nothing is changed.
    NotNeeded,
    /// The client says that its person agreed; we did not see it.
    ClientAsserted,
    /// Nobody: an agent asked, and there is no person with it.
    Unattended,
    /// Whoever asked approved it on the page, with a passkey that verified its user.
    Passkey,
    /// Somebody else approved it on the page, who may, with a passkey of theirs that verified them.
    SecondPrincipal,
}

impl<A: Access> Permit<A> {
    /// Made in this module's parent only.
    pub(in crate::policy) const fn new(terms: Terms) -> Self {
        Self { terms, access: PhantomData }
    }

    /// What it allows.
    #[must_use]
    pub const fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Gives the permit up for its terms.
    #[must_use]
    pub fn spend(self) -> Terms {
        self.terms
    }
}
