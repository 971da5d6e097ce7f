//! `[[grant]]`, in the configuration and in the policy file.

use std::collections::BTreeSet;

use crate::config::keys::{self, nearest};
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::shown;
use crate::config::{Grant, Grantee};
use crate::domain::name::NasName;
use crate::domain::scope::Scope;

/// Reads every grant. `known` are the NASes there are, unless they could not be read: then nothing is said
/// about names.
pub(in crate::config) fn read(root: &mut Section<'_>, known: &Read<BTreeSet<NasName>>) -> Read<Vec<Grant>> {
    root.tables("grant", &keys::GRANT, |grant| {
        let to = grantee(grant);
        let scopes = grant.required_list("scopes", scope);
        let nas = grant.optional_list("nas", |text| nas_name(text, known));
        Ok(Grant {
            to: to?,
            scopes: scopes?.into_iter().collect(),
            nas: nas?.map(|names| names.into_iter().collect()),
        })
    })
}

fn grantee(grant: &mut Section<'_>) -> Read<Grantee> {
    let login = grant.optional("login", login);
    let group = grant.optional("group", group);
    if grant.has("login") && grant.has("group") {
        return Err(grant.report(
            "group",
            Complaint::new("there is a login as well, and a grant is for one or the other")
                .hint("write two grants"),
        ));
    }
    match (login?, group?) {
        (Some(login), _) => Ok(Grantee::Login(login)),
        (None, Some(group)) => Ok(Grantee::Group(group)),
        (None, None) => Err(grant.report_here(
            Complaint::new("does not say whom it is for")
                .hint("add: login = \"alice@example.com\", or: group = \"group:admins\""),
        )),
    }
}

fn login(text: &str) -> Result<String, Complaint> {
    if text.starts_with("group:") {
        return Err(Complaint::new("is a group").hint(format!("write: group = {}", shown(text))));
    }
    if text.starts_with("tag:") || text.starts_with("autogroup:") || text.contains(['*', ' ']) {
        return Err(Complaint::new("should be the tailnet login of one user, spelt out"));
    }
    Ok(text.to_owned())
}

fn group(text: &str) -> Result<String, Complaint> {
    match text.strip_prefix("group:") {
        Some(name) if !name.is_empty() && !name.contains(['*', ' ']) => Ok(text.to_owned()),
        _ => Err(Complaint::new("should be \"group:\" and the name of a tailnet group")),
    }
}

pub(super) fn scope(text: &str) -> Result<Scope, Complaint> {
    text.parse().map_err(|unknown| {
        let complaint = Complaint::new(format!("{} is {unknown}", shown(text)));
        if let Some(near) = nearest(text, Scope::ALL.iter().map(|scope| scope.as_str())) {
            return complaint.hint(format!("did you mean {near:?}?"));
        }
        let area = text.split(':').next().unwrap_or_default();
        let same_area: Vec<&str> = Scope::ALL
            .iter()
            .map(|scope| scope.as_str())
            .filter(|known| known.strip_prefix(area).is_some_and(|rest| rest.starts_with(':')))
            .collect();
        if same_area.is_empty() {
            complaint.hint("docs/CONFIG.md lists the scopes")
        } else {
            complaint.hint(format!("there are: {}", same_area.join(", ")))
        }
    })
}

pub(super) fn nas_name(text: &str, known: &Read<BTreeSet<NasName>>) -> Result<NasName, Complaint> {
    if text == "*" {
        return Err(Complaint::new("is not a name").hint("leave nas out to mean every NAS"));
    }
    let name: NasName = text.parse().map_err(|bad| Complaint::new(format!("is not a name: {bad}")))?;
    match known {
        Ok(known) if !known.contains(&name) => {
            let names: Vec<&str> = known.iter().map(NasName::as_str).collect();
            let complaint = Complaint::new(format!("there is no NAS {}", shown(text)));
            Err(complaint.hint(format!("there is: {}", names.join(", "))))
        }
        _ => Ok(name),
    }
}
