//! The closed set of things a grant can allow.
//!
//! A scope is spelled `area:verb`. Spelling is exact and case-sensitive (RFC 6749 section 3.3); a scope that
//! is not in the set is nobody's, and nothing is implied by anything: `storage:write` does not read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// One thing a grant can allow.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Scope {
            $($(#[$doc])* $variant,)*
        }

        impl Scope {
            /// Every scope there is, in the order of its area.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The wire spelling, `area:verb`.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

scopes! {
    /// Version, hardware, health, updates, boot environments.
    SystemRead = "system:read",
    /// Updates and reboots.
    SystemAdmin = "system:admin",
    /// Pools, disks, datasets, snapshots.
    StorageRead = "storage:read",
    /// Create and alter datasets, snapshots, scrubs.
    StorageWrite = "storage:write",
    /// Delete or roll back what holds data.
    StorageDestroy = "storage:destroy",
    /// SMB, NFS and iSCSI shares.
    SharesRead = "shares:read",
    /// Create, alter, disable shares.
    SharesWrite = "shares:write",
    /// Apps, their state and images.
    AppsRead = "apps:read",
    /// What apps print.
    AppsLogs = "apps:logs",
    /// How apps are configured, secrets redacted.
    AppsConfig = "apps:config",
    /// Install, start, stop, upgrade apps.
    AppsWrite = "apps:write",
    /// Delete apps.
    AppsDestroy = "apps:destroy",
    /// Virtual machines and containers.
    VmsRead = "vms:read",
    /// Start, stop, create virtual machines.
    VmsWrite = "vms:write",
    /// Delete virtual machines.
    VmsDestroy = "vms:destroy",
    /// Interfaces and network settings.
    NetworkRead = "network:read",
    /// System services and their state.
    ServicesRead = "services:read",
    /// Start, stop, restart system services.
    ServicesWrite = "services:write",
    /// Replication, snapshot tasks, cloud sync.
    BackupRead = "backup:read",
    /// Run backup tasks.
    BackupWrite = "backup:write",
    /// Users, groups, directory services.
    UsersRead = "users:read",
    /// Alerts.
    AlertsRead = "alerts:read",
    /// Dismiss and restore alerts.
    AlertsWrite = "alerts:write",
    /// Jobs and their progress.
    JobsRead = "jobs:read",
    /// Abort jobs.
    JobsWrite = "jobs:write",
    /// Measurements over time.
    MetricsRead = "metrics:read",
    /// The NAS's own audit.
    AuditRead = "audit:read",
    /// Approve somebody else's change.
    ChangeApprove = "change:approve",
}

impl Scope {
    /// Whether it takes a person: to destroy, and to approve.
    #[must_use]
    pub const fn is_for_people(self) -> bool {
        matches!(self, Self::StorageDestroy | Self::AppsDestroy | Self::VmsDestroy | Self::ChangeApprove)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the exact spelling of any [`Scope`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a scope of tailnas")]
pub struct UnknownScope;

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == text).ok_or(UnknownScope)
    }
}

impl Serialize for Scope {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom(format_args!("{text:?} is not a scope of tailnas")))
    }
}

/// A set of scopes. Empty allows nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ScopeSet(u32);

const _: () = assert!(Scope::ALL.len() <= u32::BITS as usize);

impl ScopeSet {
    /// The set that allows nothing.
    pub const EMPTY: Self = Self(0);

    /// Whether `scope` is in the set.
    #[must_use]
    pub const fn contains(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u32) != 0
    }

    /// Puts `scope` into the set.
    pub const fn insert(&mut self, scope: Scope) {
        self.0 |= 1 << scope as u32;
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The scopes of the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.iter().copied().filter(move |scope| self.contains(*scope))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        let mut set = Self::EMPTY;
        for scope in scopes {
            set.insert(scope);
        }
        set
    }
}

impl fmt::Debug for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

impl Serialize for ScopeSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_reads_back_as_itself() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(*scope));
        }
    }

    #[test]
    fn near_spellings_are_no_scope() {
        for text in
            ["STORAGE:READ", "storage:", "storage", "storage:*", "*", "", " storage:read", "storage:reader"]
        {
            assert_eq!(text.parse::<Scope>(), Err(UnknownScope), "{text:?}");
        }
    }

    #[test]
    fn write_does_not_imply_read() {
        let set = ScopeSet::from_iter([Scope::StorageWrite]);
        assert!(set.contains(Scope::StorageWrite));
        assert!(!set.contains(Scope::StorageRead));
    }
}
