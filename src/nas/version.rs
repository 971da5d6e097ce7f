//! Generations of the NAS's interface, and which spelling of a method each of them knows.

use std::fmt;
use std::str::FromStr;

/// A generation of the interface, as `/api/versions` spells it: `v25.04.2`, `v26.0.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    major: u16,
    minor: u16,
    patch: u16,
}

/// The first generation with JSON-RPC, and with it the first we can speak to.
pub const OLDEST: Version = Version::new(25, 4, 0);

/// The newest generation that this was written for.
pub const NEWEST: Version = Version::new(26, 0, 0);

impl Version {
    /// The version `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// The generation of the machine that lists these versions: the newest of them. Lines that are not
    /// versions are passed over, so that a new kind of entry does not lock us out.
    #[must_use]
    pub fn newest<'a>(listed: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        listed.into_iter().filter_map(|text| text.parse().ok()).max()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Up to 25 the second number is a month and has two digits.
        if self.major < 26 {
            write!(f, "{}.{:02}.{}", self.major, self.minor, self.patch)
        } else {
            write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
        }
    }
}

/// The text is not three numbers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version of the TrueNAS API")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let mut parts = text.strip_prefix('v').unwrap_or(text).split('.');
        let mut number = || {
            let digits = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            digits.and_then(|part| part.parse().ok()).ok_or(NotAVersion)
        };
        let version = Self::new(number()?, number()?, number()?);
        if parts.next().is_some() { Err(NotAVersion) } else { Ok(version) }
    }
}

/// One spelling of a method, and the generations that know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The first generation that has it.
    pub since: Version,
    /// The first generation that has it no more.
    pub until: Option<Version>,
    /// What it is called there.
    pub name: &'static str,
}

impl Candidate {
    /// A method every generation we speak to has.
    #[must_use]
    pub const fn always(name: &'static str) -> [Self; 1] {
        [Self { since: OLDEST, until: None, name }]
    }

    /// A method that came with a generation.
    #[must_use]
    pub const fn since(since: Version, name: &'static str) -> Self {
        Self { since, until: None, name }
    }

    /// The same, which a later generation took away again.
    #[must_use]
    pub const fn until(mut self, until: Version) -> Self {
        self.until = Some(until);
        self
    }

    /// What `generation` calls the method, if it has it at all.
    #[must_use]
    pub fn choose(candidates: &[Self], generation: Version) -> Option<&'static str> {
        candidates
            .iter()
            .find(|candidate| {
                candidate.since <= generation && candidate.until.is_none_or(|until| generation < until)
            })
            .map(|candidate| candidate.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_spelled_as_the_nas_spells_it() {
        for (text, shown) in [("v25.04.2", "25.04.2"), ("25.10.5", "25.10.5"), ("v26.0.0", "26.0.0")] {
            assert_eq!(text.parse::<Version>().unwrap().to_string(), shown);
        }
        for text in ["", "v", "25", "25.10", "v25.10.5.1", "v25.10.x", "v25.+1.0", "v99999.0.0", "current"] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text:?}");
        }
    }

    #[test]
    fn the_newest_version_counts_in_any_order() {
        let listed = ["v25.10.5", "nonsense", "v26.0.0", "v25.04.2"];
        assert_eq!(Version::newest(listed), Some(Version::new(26, 0, 0)));
        assert_eq!(Version::newest(["nonsense"]), None);
    }

    #[test]
    fn a_method_is_called_what_the_generation_calls_it() {
        let both = [
            Candidate::since(Version::new(25, 10, 0), "pool.snapshot.query"),
            Candidate::since(OLDEST, "zfs.snapshot.query").until(Version::new(25, 10, 0)),
        ];
        for (generation, name) in [
            (Version::new(24, 10, 0), None),
            (Version::new(25, 4, 2), Some("zfs.snapshot.query")),
            (Version::new(25, 10, 0), Some("pool.snapshot.query")),
            (Version::new(27, 0, 0), Some("pool.snapshot.query")),
        ] {
            assert_eq!(Candidate::choose(&both, generation), name, "{generation}");
        }
    }
}
