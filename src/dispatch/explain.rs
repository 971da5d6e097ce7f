//! Why somebody may call a tool, or may not: in words, from the same judgement that calls get.

use crate::caller::Grants;
use crate::domain::name::NasName;
use crate::domain::risk::Risk;
use crate::policy::{self, Refusal};
use crate::tools::Spec;

/// Whether `grants` cover a tool on `nas`, and why or why not, for the person they are of.
#[must_use]
pub fn explain(spec: &Spec, grants: &Grants, nas: &NasName) -> (bool, String) {
    match (policy::covered(grants, spec.scope, spec.risk, Some(nas)), spec.scope) {
        (Ok(_), None) => (true, "everybody who is admitted".to_owned()),
        (Ok(rule), Some(scope)) => {
            let from = match rule.as_str() {
                "tailnet" => "by a grant of the tailnet",
                "policy" => "by a [[grant]] here",
                _ => "by its [[agent]] section",
            };
            let approval =
                if spec.risk > Risk::Reversible { "; each time a person has to approve it" } else { "" };
            (true, format!("{scope} {from}{approval}"))
        }
        (Err(Refusal::SwitchedOff), _) => (false, "is switched off".to_owned()),
        (Err(Refusal::TakesAPerson { .. }), _) => (false, "takes a person on a node of their own".to_owned()),
        (Err(Refusal::MissingScope { scope }), _) => {
            (false, format!("needs {scope}, which no grant gives them"))
        }
    }
}
