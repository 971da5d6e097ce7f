//! How much a tool can hurt.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a tool can do to the NAS at worst. The declaration is a floor: a plan computed from live data may
/// raise it, nothing lowers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Changes nothing.
    Read,
    /// Adds something that can be taken away again.
    Reversible,
    /// Interrupts somebody's work, or exposes data to more people.
    Disruptive,
    /// Data can be lost.
    Destructive,
}

impl Risk {
    /// The wire spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Reversible => "reversible",
            Self::Disruptive => "disruptive",
            Self::Destructive => "destructive",
        }
    }
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
