//! `[[relay]]`

use std::collections::BTreeSet;

use crate::config::Relay;
use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<Vec<Relay>> {
    let mut seen = BTreeSet::new();
    root.tables("relay", &keys::RELAY, |relay| Ok(Relay { tag: one_tag(relay, &mut seen)? }))
}

/// The key `tag`, which only one of the tables may have with this value.
pub(super) fn one_tag(section: &mut Section<'_>, seen: &mut BTreeSet<String>) -> Read<String> {
    let value = section.required("tag", tag)?;
    if seen.insert(value.clone()) {
        return Ok(value);
    }
    Err(section.report("tag", Complaint::new("is there twice").hint("take one of the two tables away")))
}

/// `tag:` and a name as Tailscale takes it.
fn tag(text: &str) -> Result<String, Complaint> {
    let fits = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    match text.strip_prefix("tag:") {
        Some(name) if fits(name) => Ok(text.to_owned()),
        _ => Err(Complaint::new("should be \"tag:\" and the name of a tag of the tailnet")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for text in ["tag:ci", "tag:Gate-2"] {
            assert_eq!(tag(text).as_deref(), Ok(text));
        }
        for text in ["ci", "tag:", "tag:*", "tag:a b", "tag:2", "TAG:ci", "group:ci", "tag:tag:ci"] {
            assert!(tag(text).is_err(), "{text}");
        }
    }
}
