//! The table of tools, built once.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::risk::Risk;
use crate::tools::{Entry, Spec, registry};

use super::whoami;

/// Every tool by its name.
pub struct Catalogue(BTreeMap<&'static str, Item>);

/// One tool of the table.
pub enum Item {
    /// Tells the caller about themselves; touches no NAS, and so is no [`Tool`](crate::tools::Tool).
    Whoami(Spec),
    /// Acts on a NAS.
    Nas(Entry),
}

impl Item {
    /// What is true of the tool, whoever asks.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        match self {
            Self::Whoami(spec) => spec,
            Self::Nas(entry) => &entry.spec,
        }
    }
}

impl Catalogue {
    /// All the tools there are.
    #[must_use]
    pub fn new() -> Self {
        let nas = registry().into_iter().map(Item::Nas);
        Self(nas.chain([Item::Whoami(whoami::spec())]).map(|item| (item.spec().name, item)).collect())
    }

    /// The tool of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Item> {
        self.0.get(name)
    }

    /// What is true of each tool, in the order of their names.
    pub fn specs(&self) -> impl Iterator<Item = &Spec> {
        self.items().map(Item::spec)
    }

    /// The roles that an account on the NAS must have so that every change can be made with it, and no more.
    #[must_use]
    pub fn roles_of_changes(&self) -> BTreeSet<&'static str> {
        let changes = self.specs().filter(|spec| spec.risk != Risk::Read);
        changes.flat_map(|spec| spec.needs).filter_map(|need| need.role).collect()
    }

    /// The tools, in the order of their names.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.0.values()
    }
}

impl Default for Catalogue {
    fn default() -> Self {
        Self::new()
    }
}
