//! `[state]`

use std::path::PathBuf;

use crate::config::keys;
use crate::config::reader::{Read, Section};

pub(in crate::config) fn read(root: &mut Section<'_>) -> Read<PathBuf> {
    root.table_or_defaults("state", &keys::STATE, |state| state.folder("dir", Some("/var/lib/tailnas")))
}
