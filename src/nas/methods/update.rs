//! Updates of the NAS.

use std::time::Duration;

use serde::Deserialize;

use super::{Method, Nothing};
use crate::domain::access::{Read, Write};
use crate::nas::version::{Candidate, OLDEST, Version};

const RENAMED: Version = Version::new(25, 10, 0);

/// Whether there is a newer version to go to. The NAS asks on the internet, so it may take its time.
#[derive(Clone, Copy, Debug)]
pub struct Check;

/// Every version there is to go to, train by train.
#[derive(Clone, Copy, Debug)]
pub struct Versions;

/// What [`Check`] answers. 25.04 says it in one word, and the version beside it.
#[derive(Clone, Debug, Deserialize)]
pub struct UpdateStatus {
    /// Why it could not find out.
    #[serde(default)]
    pub error: Option<UpdateError>,
    /// What it found out.
    #[serde(default)]
    pub status: Option<Status>,
    /// What could run, on 25.04.
    #[serde(flatten)]
    old: OldVersion,
}

/// What the NAS found out.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Status {
    /// Since 25.10.
    Found(UpdateFound),
    /// Before: `AVAILABLE`, `UNAVAILABLE`, `REBOOT_REQUIRED`, `HA_UNAVAILABLE`.
    Word(String),
}

/// What could run, beside the word of 25.04.
#[derive(Clone, Debug, Deserialize)]
struct OldVersion {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    release_notes_url: Option<String>,
}

impl UpdateStatus {
    /// What could run, if anything could.
    #[must_use]
    pub fn new_version(&self) -> Option<NewVersion> {
        match &self.status {
            Some(Status::Found(found)) => found.new_version.clone(),
            _ => self
                .old
                .version
                .clone()
                .map(|version| NewVersion { version, release_notes_url: self.old.release_notes_url.clone() }),
        }
    }

    /// The release train of what runs.
    #[must_use]
    pub fn train(&self) -> Option<&str> {
        match &self.status {
            Some(Status::Found(found)) => found.current_version.as_ref()?.train.as_deref(),
            _ => None,
        }
    }

    /// What is left to do before an update, where the NAS says so in a word: `REBOOT_REQUIRED`.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        match &self.status {
            Some(Status::Word(word)) => Some(word),
            _ => None,
        }
    }
}

/// A version of [`Versions`], and the train it is on.
#[derive(Clone, Debug, Deserialize)]
pub struct Available {
    /// The release train.
    pub train: String,
    /// The version.
    pub version: NewVersion,
}

/// Why the NAS could not find out.
#[derive(Clone, Debug, Deserialize)]
pub struct UpdateError {
    /// The kind of error.
    #[serde(default)]
    pub errname: Option<String>,
    /// In words.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What runs, and what could run.
#[derive(Clone, Debug, Deserialize)]
pub struct UpdateFound {
    /// What runs.
    #[serde(default)]
    pub current_version: Option<CurrentVersion>,
    /// What could run; absent when nothing newer is there.
    #[serde(default)]
    pub new_version: Option<NewVersion>,
}

/// What runs.
#[derive(Clone, Debug, Deserialize)]
pub struct CurrentVersion {
    /// The release train.
    #[serde(default)]
    pub train: Option<String>,
    /// The update profile.
    #[serde(default)]
    pub profile: Option<String>,
}

/// What could run.
#[derive(Clone, Debug, Deserialize)]
pub struct NewVersion {
    /// The version.
    pub version: String,
    /// Where to read about it.
    #[serde(default)]
    pub release_notes_url: Option<String>,
}

impl Method for Check {
    type Access = Read;
    type Params = Nothing;
    type Reply = UpdateStatus;
    const CANDIDATES: &'static [Candidate] = &[
        Candidate::since(RENAMED, "update.status"),
        Candidate::since(OLDEST, "update.check_available").until(RENAMED),
    ];
    const ROLE: Option<&'static str> = Some("SYSTEM_UPDATE_READ");
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        []
    }
}

impl Method for Versions {
    type Access = Read;
    type Params = Nothing;
    type Reply = Vec<Available>;
    const CANDIDATES: &'static [Candidate] = &[Candidate::since(RENAMED, "update.available_versions")];
    const ROLE: Option<&'static str> = Some("SYSTEM_UPDATE_READ");
    const DEADLINE: Duration = Duration::from_mins(1);

    fn example() -> Self::Params {
        []
    }
}

/// Downloads what [`Check`] offers, and installs nothing. From 25.10 on it could be told another version; it is left to
/// offer the one that fits the NAS.
#[derive(Clone, Copy, Debug)]
pub struct Download;

impl Method for Download {
    type Access = Write;
    type Params = Nothing;
    type Reply = i64;
    const CANDIDATES: &'static [Candidate] = &Candidate::always("update.download");
    const ROLE: Option<&'static str> = Some("SYSTEM_UPDATE_WRITE");
    const JOB: bool = true;

    fn example() -> Self::Params {
        []
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_saying_it_are_understood() {
        for (text, version, train) in [
            (r#"{"status": "UNAVAILABLE"}"#, None, None),
            (r#"{"status": "AVAILABLE", "version": "25.04.3", "notice": null}"#, Some("25.04.3"), None),
            (
                r#"{"code": "NORMAL", "error": null, "status": {"current_version": {"train": "T"}, "new_version": null}}"#,
                None,
                Some("T"),
            ),
            (r#"{"code": "NORMAL", "status": {"new_version": {"version": "26.0.0"}}}"#, Some("26.0.0"), None),
            (
                r#"{"code": "ERROR", "error": {"errname": "ENOTCONN", "reason": "no"}, "status": null}"#,
                None,
                None,
            ),
        ] {
            let status: UpdateStatus = serde_json::from_str(text).unwrap();
            assert_eq!(status.new_version().map(|new| new.version).as_deref(), version, "{text}");
            assert_eq!(status.train(), train, "{text}");
        }
    }
}
