//! The table of tools, built once.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::risk::Risk;
use crate::nas::By;
use crate::nas::version::{Candidate, Version};
use crate::tools::{Entry, Kind, Spec, registry};

use super::plans::{self, AboutPlans};
use super::{changes, undo, whoami};

/// Every tool by its name.
pub struct Catalogue(BTreeMap<&'static str, Item>);

/// One tool of the table.
pub enum Item {
    /// Tells the caller about themselves; touches no NAS, and so is no [`Tool`](crate::tools::Tool).
    Whoami(Spec),
    /// Tells about plans, or takes one back; touches no NAS either.
    Plans(AboutPlans, Spec),
    /// Tells what was changed through us, from the log; touches no NAS either.
    Changes(Spec),
    /// Plans what takes a change back. Which tool does that, and on which NAS, is in the log.
    Undo(Spec),
    /// Acts on a NAS.
    Nas(Entry),
}

impl Item {
    /// What is true of the tool, whoever asks.
    #[must_use]
    pub const fn spec(&self) -> &Spec {
        match self {
            Self::Whoami(spec) | Self::Changes(spec) | Self::Plans(_, spec) | Self::Undo(spec) => spec,
            Self::Nas(entry) => &entry.spec,
        }
    }
}

impl Catalogue {
    /// All the tools there are.
    #[must_use]
    pub fn new() -> Self {
        let nas = registry().into_iter().map(Item::Nas);
        let here = [Item::Whoami(whoami::spec()), Item::Changes(changes::spec()), Item::Undo(undo::spec())];
        let here = here.into_iter().chain(plans::items());
        Self(nas.chain(here).map(|item| (item.spec().name, item)).collect())
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

    /// The roles that this account on a NAS of this generation must have so that every change that is its to make can be
    /// made with it, and no more. A NAS takes no role that it does not know.
    #[must_use]
    pub fn roles_of_changes(&self, by: By, generation: Version) -> BTreeSet<&'static str> {
        let changes = self.specs().filter(|spec| spec.risk != Risk::Read && spec.done_by == by);
        let needs = changes.flat_map(|spec| spec.needs);
        let there = needs.filter(|need| Candidate::choose(need.candidates, generation).is_some());
        there.filter_map(|need| need.role).collect()
    }

    /// The roles that an account on the NAS must have so that everything can be looked at with it. `READONLY_ADMIN`
    /// holds all that end in `_READ`, and lets the NAS itself narrow the session (`privilege.become_readonly`).
    #[must_use]
    pub fn roles_of_looks(&self) -> BTreeSet<&'static str> {
        let specs = self.specs().filter(|spec| spec.looks_by == By::Reader);
        let looked = specs.flat_map(|spec| if spec.risk == Risk::Read { spec.needs } else { spec.looks });
        let others = looked.filter_map(|need| need.role).filter(|role| !role.ends_with("_READ"));
        others.chain(["READONLY_ADMIN"]).collect()
    }

    /// The tools for somebody who `may` use those of a NAS, in the order of their names. Who can change nothing has
    /// no plans, and need not read of them.
    pub fn for_whoever<'a>(&'a self, may: impl Fn(&Spec) -> bool + 'a) -> impl Iterator<Item = &'a Item> {
        let is_change = |item: &&Item| matches!(item, Item::Nas(Entry { kind: Kind::Change(_), .. }));
        let changes = self.items().filter(is_change).any(|item| may(item.spec()));
        self.items().filter(move |item| match item {
            Item::Nas(entry) => may(&entry.spec),
            Item::Plans(..) | Item::Undo(_) => changes,
            Item::Whoami(_) | Item::Changes(_) => true,
        })
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
