//! `[policy]`

use std::path::{Path, PathBuf};

use crate::config::keys;
use crate::config::problem::Complaint;
use crate::config::reader::{Read, Section};
use crate::config::values::absolute_path;

/// The file in which there are more grants, and its text as `open` got it, if one is named.
pub(in crate::config) fn read(
    root: &mut Section<'_>,
    open: impl FnOnce(&Path) -> Result<String, Complaint>,
) -> Read<Option<(PathBuf, String)>> {
    root.optional_table("policy", &keys::POLICY, |policy| {
        let path = policy.required("file", absolute_path)?;
        match open(&path) {
            Ok(text) => Ok((path, text)),
            Err(complaint) => Err(policy.report(
                "file",
                complaint
                    .prefixed(&path.display().to_string())
                    .or_hint("make the file, or leave [policy] out"),
            )),
        }
    })
}
