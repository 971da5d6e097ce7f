//! The methods, family by family, and what each of them asks for.

#![expect(clippy::unnecessary_wraps, reason = "methods have one signature, whether they can fail or not")]
#![expect(clippy::cast_precision_loss, reason = "sizes and times are rounded for people")]

pub(crate) mod alert;
pub(crate) mod app;
mod audit;
mod auth;
mod backup;
mod boot;
mod certificate;
mod core;
pub(crate) mod dataset;
mod disk;
mod filesystem;
mod iscsi;
mod network;
pub(crate) mod pool;
mod privilege;
mod reporting;
mod service;
mod share;
pub(crate) mod snapshot;
mod system;
mod user;
mod vm;

use serde_json::Value;
use tokio::sync::mpsc;

use super::Generation;
use super::jobs::Plan;
use super::params::{Args, Param};
use super::query;
use super::session::{Login, Outgoing, Session};
use super::state::State;
use super::wire::Failure;

/// A method of the API, in the generations that have it in this form.
#[derive(Debug)]
pub(crate) struct Method {
    pub name: &'static str,
    pub since: Generation,
    pub until: Generation,
    pub access: Access,
    pub params: &'static [Param],
    pub run: fn(&mut Context<'_>) -> Result<Answer, Failure>,
}

/// Who may call a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Whoever reaches the port.
    Anyone,
    /// Whoever has logged in.
    Session,
    /// Who has this role.
    Role(&'static str),
}

/// What a method leaves to be done.
#[derive(Debug)]
pub(crate) enum Answer {
    Value(Value),
    Job(Plan),
}

/// What a method has to work with.
pub(crate) struct Context<'a> {
    pub state: &'a mut State,
    pub session: &'a mut Session,
    pub outbox: &'a mpsc::UnboundedSender<Outgoing>,
    /// Whether the connection is encrypted.
    pub encrypted: bool,
    /// What a login over it can be bound to.
    pub end_point: Option<&'a [u8]>,
    pub args: Args,
}

impl Context<'_> {
    fn generation(&self) -> Generation {
        self.session.spoken.generation
    }

    fn login(&self) -> Result<&Login, Failure> {
        self.session.login.as_ref().ok_or_else(Failure::unauthorized)
    }

    /// Answers a query method that has these rows.
    fn query(&self, rows: Vec<Value>) -> Result<Answer, Failure> {
        let (filters, options) = self.args.query();
        query::answer(rows, filters, options).map(Answer::Value)
    }
}

type Family = &'static [Method];

const FAMILIES: &[Family] = &[
    alert::METHODS,
    app::METHODS,
    audit::METHODS,
    auth::METHODS,
    backup::METHODS,
    boot::METHODS,
    certificate::METHODS,
    core::METHODS,
    dataset::METHODS,
    disk::METHODS,
    filesystem::METHODS,
    iscsi::METHODS,
    network::METHODS,
    pool::METHODS,
    privilege::METHODS,
    reporting::METHODS,
    service::METHODS,
    share::METHODS,
    snapshot::METHODS,
    system::METHODS,
    user::METHODS,
    vm::METHODS,
];

pub(crate) fn find(generation: Generation, name: &str) -> Option<&'static Method> {
    FAMILIES
        .iter()
        .flat_map(|family| family.iter())
        .find(|method| method.name == name && (method.since..=method.until).contains(&generation))
}

/// A method that all generations have in this form.
const fn method(
    name: &'static str,
    access: Access,
    params: &'static [Param],
    run: fn(&mut Context<'_>) -> Result<Answer, Failure>,
) -> Method {
    Method { name, since: Generation::V25_04, until: Generation::V26, access, params, run }
}

impl Method {
    const fn since(self, since: Generation) -> Self {
        Self { since, ..self }
    }

    const fn until(self, until: Generation) -> Self {
        Self { until, ..self }
    }
}

/// Bytes for people: `1.5 TiB` is `1.5T`.
fn human(bytes: u64) -> String {
    const UNITS: &[&str] = &["B", "K", "M", "G", "T", "P"];
    let mut size = bytes as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || size >= 100.0 { 0 } else { 2 };
    format!("{size:.digits$}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// A simulator that is more generous than a NAS would hide that an account lacks a role.
    #[test]
    fn every_method_asks_for_a_role_that_the_published_schemas_name() {
        let Some(folder) = std::env::var_os("TAILNAS_API_SCHEMAS") else {
            // Past the test runner, which keeps to itself what a test prints that passes.
            let _ = writeln!(
                std::io::stderr(),
                "NOT CHECKED: TAILNAS_API_SCHEMAS names no folder with the schemas of the TrueNAS API"
            );
            return;
        };
        for (generation, file) in [
            (Generation::V25_04, "25.04.2.json"),
            (Generation::V25_10, "25.10.5.json"),
            (Generation::V26, "26.0.0.json"),
        ] {
            let text = std::fs::read(std::path::Path::new(&folder).join(file)).expect("the schemas");
            let published: Value = serde_json::from_slice(&text).expect("the schemas are JSON");
            for method in FAMILIES.iter().flat_map(|family| family.iter()) {
                let theirs = &published["methods"][method.name];
                // A few are published without their roles.
                let Some(roles) = theirs["roles"].as_array() else { continue };
                if !(method.since..=method.until).contains(&generation) || theirs["auth_required"] == false {
                    continue;
                }
                let wanted: Vec<_> = roles.iter().filter_map(Value::as_str).collect();
                match method.access {
                    Access::Role(role) => {
                        assert!(
                            wanted.contains(&role),
                            "{generation:?} {}: {role} and {wanted:?}",
                            method.name
                        );
                    }
                    Access::Anyone | Access::Session => {
                        assert!(wanted.is_empty(), "{generation:?} {} takes {wanted:?}", method.name);
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_are_said_as_zfs_says_them() {
        for (bytes, said) in
            [(0, "0B"), (1023, "1023B"), (1536, "1.50K"), (5 << 40, "5.00T"), (300 << 30, "300G")]
        {
            assert_eq!(human(bytes), said);
        }
    }
}
