//! `[state]`

use std::path::PathBuf;

use crate::config::keys;
use crate::config::reader::{Read, Section};
use crate::config::values::absolute_path;

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<PathBuf> {
    root.table_or_defaults("state", &keys::STATE, |state| {
        let dir = state.optional("dir", absolute_path);
        Ok(dir?.unwrap_or_else(|| "/var/lib/tailnas".into()))
    })
}
