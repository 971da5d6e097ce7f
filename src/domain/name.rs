//! Names that come from outside, each with its own grammar, parsed once at the edge.
//!
//! The grammars are those of OpenZFS (`module/zcommon/zfs_namecheck.c`) narrowed where a wider spelling would
//! only ever be an attack: no empty component, no `.` or `..`, no leading `-`, at most 255 bytes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest ZFS name, in bytes (`ZFS_MAX_DATASET_NAME_LEN` less the closing NUL).
const LONGEST: usize = 255;

/// Why a text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing there, or nothing between two slashes.
    #[error("a part of the name is empty")]
    Empty,
    /// Longer than ZFS allows.
    #[error("the name is too long")]
    TooLong,
    /// A character outside the grammar.
    #[error("{0:?} may not stand in a name")]
    Character(char),
    /// A part that starts with something other than a letter or a digit.
    #[error("a part of the name must begin with a letter or a digit, and {0:?} is neither")]
    Start(char),
    /// `.` or `..`.
    #[error("a part of the name is \".\" or \"..\"")]
    Dots,
    /// A path that does not begin with `/mnt/`.
    #[error("a path begins with /mnt/")]
    NotBelowMnt,
    /// A path into snapshots.
    #[error("a part of the path is \".zfs\"; ask for the versions of a file instead")]
    Snapshots,
    /// A snapshot name without exactly one `@`.
    #[error("a snapshot is written dataset@name, with exactly one @")]
    At,
}

fn component(text: &str, extra: &[char]) -> Result<(), BadName> {
    if text.len() > LONGEST {
        return Err(BadName::TooLong);
    }
    if text == "." || text == ".." {
        return Err(BadName::Dots);
    }
    let first = text.chars().next().ok_or(BadName::Empty)?;
    if !first.is_ascii_alphanumeric() && !extra.contains(&first) {
        return Err(BadName::Start(first));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.' | ':' | ' ')) {
        Some(other) => Err(BadName::Character(other)),
        None if text.ends_with(' ') => Err(BadName::Character(' ')),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $check:expr, $describe:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(text: &str) -> Result<Self, BadName> {
                if text.len() > LONGEST {
                    return Err(BadName::TooLong);
                }
                let check: fn(&str) -> Result<(), BadName> = $check;
                check(text)?;
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "maxLength": LONGEST, "description": $describe })
            }
        }
    };
}

name! {
    /// The name of a pool, such as `tank`.
    PoolName, |text| component(text, &[]), "Name of a pool, such as tank"
}

name! {
    /// The path of a dataset or volume, such as `tank/photos/2024`. A pool's root dataset is one too.
    DatasetPath, |text| text.split('/').try_for_each(|part| component(part, &[])),
    "Path of a dataset, such as tank/photos"
}

name! {
    /// The part of a snapshot's name behind the `@`.
    SnapshotLabel, |text| component(text, &['_']), "Name of a snapshot, the part behind the @"
}

name! {
    /// A snapshot in full, such as `tank/photos@before-upgrade`.
    SnapshotName,
    |text| {
        let (dataset, label) = text.split_once('@').ok_or(BadName::At)?;
        if label.contains('@') {
            return Err(BadName::At);
        }
        dataset.parse::<DatasetPath>()?;
        label.parse::<SnapshotLabel>().map(drop)
    },
    "A snapshot in full, such as tank/photos@before-upgrade"
}

name! {
    /// What the configuration calls a NAS.
    NasName, |text| component(text, &[]), "Name of a NAS, as the configuration calls it"
}

name! {
    /// What an account of the NAS is called, with its domain where it has one: `EXAMPLE\\alice`.
    AccountName,
    |text| match text.chars().next() {
        None => Err(BadName::Empty),
        Some(first) if !first.is_alphanumeric() && first != '_' => Err(BadName::Start(first)),
        Some(_) => text
            .chars()
            .find(|c| !c.is_alphanumeric() && !matches!(c, '-' | '_' | '.' | '$' | '@' | '\\' | ' '))
            .map_or(Ok(()), |other| Err(BadName::Character(other))),
    },
    "Name of an account of the NAS"
}

name! {
    /// What an app is called, such as `plex`.
    AppName,
    |text| {
        if text.len() > 40 {
            return Err(BadName::TooLong);
        }
        component(text, &[])?;
        match text.chars().find(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit() && *c != '-') {
            Some(other) => Err(BadName::Character(other)),
            None => Ok(()),
        }
    },
    "Name of an app, such as plex"
}

name! {
    /// What clients call an SMB share.
    ShareName,
    |text| {
        const LONGEST: usize = 80;
        if text.is_empty() {
            return Err(BadName::Empty);
        }
        if text.chars().count() > LONGEST {
            return Err(BadName::TooLong);
        }
        let bad = |c: &char| !super::text::is_harmless(*c) || r#"\/[]:|<>+=;,*?""#.contains(*c);
        text.chars().find(bad).map_or(Ok(()), |other| Err(BadName::Character(other)))
    },
    "Name of an SMB share"
}

name! {
    /// Who may come in: a host by name or address, or a network such as `192.168.1.0/24`.
    Host,
    |text| match text.split_once('/') {
        Some((address, length)) => {
            let longest = address.parse::<IpAddr>().map(|address| if matches!(address, IpAddr::V4(_)) { 32 } else { 128 });
            match (longest, length.parse::<u8>()) {
                (Ok(longest), Ok(length)) if length <= longest => Ok(()),
                _ => Err(BadName::Character('/')),
            }
        }
        None if text.parse::<IpAddr>().is_ok() => Ok(()),
        None => text.split('.').try_for_each(|part| {
            let bad = part.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-');
            match (part.chars().next(), bad) {
                (None, _) => Err(BadName::Empty),
                (Some('-'), _) => Err(BadName::Start('-')),
                (_, Some(other)) => Err(BadName::Character(other)),
                (Some(_), None) => Ok(()),
            }
        }),
    },
    "A host by name or address, or a network such as 192.168.1.0/24"
}

impl Host {
    /// Whether it is a network rather than one host.
    #[must_use]
    pub fn is_network(&self) -> bool {
        self.0.contains('/')
    }
}

/// The path of a file or folder of the NAS, below `/mnt`. Names of files may be any text; a part that leads elsewhere
/// than it says, or into snapshots, is refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FilePath(String);

impl FilePath {
    /// Longest path, in bytes: the NAS takes no longer texts.
    pub const LONGEST: usize = 1000;

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What is left of it below `folder`, empty for the folder itself; nothing if it does not lie there.
    #[must_use]
    pub fn below(&self, folder: &Self) -> Option<&str> {
        let rest = self.0.strip_prefix(&folder.0)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    /// Where `rest` is in a snapshot of the dataset that is mounted here.
    #[must_use]
    pub fn in_snapshot(&self, label: &SnapshotLabel, rest: &str) -> Self {
        let slash = if rest.is_empty() { "" } else { "/" };
        Self(format!("{}/.zfs/snapshot/{label}{slash}{rest}", self.0))
    }
}

impl FromStr for FilePath {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.len() > Self::LONGEST {
            return Err(BadName::TooLong);
        }
        if let Some(other) = text.chars().find(|c| c.is_control()) {
            return Err(BadName::Character(other));
        }
        let rest = text.strip_prefix("/mnt/").ok_or(BadName::NotBelowMnt)?;
        for part in rest.split('/') {
            match part {
                "" => return Err(BadName::Empty),
                "." | ".." => return Err(BadName::Dots),
                ".zfs" => return Err(BadName::Snapshots),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for FilePath {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FilePath".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "maxLength": Self::LONGEST, "description": "Path of a file or folder, such as /mnt/tank/photos/a.jpg",
        })
    }
}

impl DatasetPath {
    /// The pool the dataset lives on.
    #[must_use]
    pub fn pool(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Whether this is `ancestor` or lies below it. `tank2` does not lie below `tank`.
    #[must_use]
    pub fn is_within(&self, ancestor: &Self) -> bool {
        self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The snapshot of this dataset that is called `label`.
    ///
    /// # Errors
    ///
    /// [`BadName::TooLong`], where the two together are longer than ZFS allows.
    pub fn snapshot(&self, label: &SnapshotLabel) -> Result<SnapshotName, BadName> {
        format!("{self}@{label}").parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_people_use_are_names() {
        for text in ["tank", "tank/photos", "tank/Photos 2024/a.b", "tank/a-b_c:d", "0pool/x"] {
            assert!(text.parse::<DatasetPath>().is_ok(), "{text:?}");
        }
        for text in ["tank@daily", "tank/x@auto-2024-01-01_00-00", "tank@_x"] {
            assert!(text.parse::<SnapshotName>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn hostile_names_are_none() {
        let long = "a".repeat(256);
        for text in [
            "",
            "/",
            "tank/",
            "/tank",
            "tank//x",
            "tank/../x",
            "tank/.",
            "-tank",
            "tank/-r",
            "tank;reboot",
            "tank/$(id)",
            "tank\0",
            "tank/x\n",
            "tänk",
            "tank/%2e%2e",
            "tank/x@y",
            "tank ",
            &long,
        ] {
            assert!(text.parse::<DatasetPath>().is_err(), "{text:?}");
        }
        for text in ["tank", "@x", "tank@", "tank@x@y", "tank@-r", "tank@x/y", "tank/../x@y"] {
            assert!(text.parse::<SnapshotName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_path_leads_where_it_says() {
        for text in ["/mnt/tank", "/mnt/tank/Fotos 2024/ä.jpg", "/mnt/tank/..x/a..b", "/mnt/tank/$(id)"] {
            assert!(text.parse::<FilePath>().is_ok(), "{text:?}");
        }
        for text in [
            "",
            "/",
            "/mnt",
            "/mnt/",
            "mnt/tank",
            "/etc/passwd",
            "/mnt/../etc",
            "/mnt/tank/..",
            "/mnt/tank/./x",
            "/mnt/tank//x",
            "/mnt/tank/",
            "/mnt/tank/.zfs/snapshot/x",
            "/mnt/tank/a\0b",
            "/mnt/tank/a\nb",
            "/mntx/tank",
        ] {
            assert!(text.parse::<FilePath>().is_err(), "{text:?}");
        }
        let path = |text: &str| text.parse::<FilePath>().unwrap();
        assert_eq!(path("/mnt/tank/a/b").below(&path("/mnt/tank")), Some("a/b"));
        assert_eq!(path("/mnt/tank").below(&path("/mnt/tank")), Some(""));
        assert_eq!(path("/mnt/tank2/a").below(&path("/mnt/tank")), None);
        let label = "daily".parse().unwrap();
        assert_eq!(
            path("/mnt/tank").in_snapshot(&label, "a/b").as_str(),
            "/mnt/tank/.zfs/snapshot/daily/a/b"
        );
        assert_eq!(path("/mnt/tank").in_snapshot(&label, "").as_str(), "/mnt/tank/.zfs/snapshot/daily");
    }

    #[test]
    fn an_account_is_called_what_accounts_are_called() {
        for (text, fine) in [
            ("root", true),
            ("alice@example.com", true),
            (r"EXAMPLE\alice", true),
            ("NAS$", true),
            ("", false),
            ("-x", false),
            ("a\nb", false),
            ("a\u{202e}b", false),
            ("a\"b", false),
        ] {
            assert_eq!(text.parse::<AccountName>().is_ok(), fine, "{text:?}");
        }
    }

    #[test]
    fn who_comes_in_is_a_host_or_a_network() {
        for (text, fine, network) in [
            ("192.168.1.7", true, false),
            ("192.168.1.0/24", true, true),
            ("fd7a:115c:a1e0::/48", true, true),
            ("::1", true, false),
            ("desk.example.com", true, false),
            ("0.0.0.0/0", true, true),
            ("", false, false),
            ("192.168.1.0/33", false, false),
            ("desk/24", false, false),
            ("*", false, false),
            ("-x", false, false),
            ("a b", false, false),
            ("a..b", false, false),
            ("ALL EXCEPT x", false, false),
            ("desk(rw,no_root_squash)", false, false),
        ] {
            let host = text.parse::<Host>();
            assert_eq!(host.is_ok(), fine, "{text:?}");
            assert_eq!(host.is_ok_and(|host| host.is_network()), network, "{text:?}");
        }
        for (text, fine) in [
            ("photos", true),
            ("Alice's $", true),
            ("", false),
            ("a/b", false),
            ("a\nb", false),
            (r"a\b", false),
        ] {
            assert_eq!(text.parse::<ShareName>().is_ok(), fine, "{text:?}");
        }
    }

    #[test]
    fn tank2_is_not_within_tank() {
        let tank: DatasetPath = "tank".parse().unwrap();
        for (path, within) in
            [("tank", true), ("tank/a", true), ("tank2", false), ("tank2/a", false), ("x", false)]
        {
            assert_eq!(path.parse::<DatasetPath>().unwrap().is_within(&tank), within, "{path}");
        }
    }
}
