//! `[approval]`

use super::grant;
use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::domain::scope::{Scope, ScopeSet};

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<ScopeSet> {
    root.table_or_defaults("approval", &keys::APPROVAL, |approval| {
        let always = approval.optional_list("always", of_changes);
        Ok(always?.into_iter().flatten().collect())
    })
}

/// A scope that changes something: of any other it would mean nothing, and somebody would rely on it.
fn of_changes(text: &str) -> Result<Scope, Complaint> {
    let scope = grant::scope(text)?;
    match scope.as_str().split_once(':') {
        Some((_, "write" | "destroy" | "admin")) => Ok(scope),
        _ => Err(Complaint::new(format!("nothing is changed with {scope}"))
            .hint("scopes that change something end in :write, :destroy or :admin")),
    }
}
