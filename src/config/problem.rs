//! What is wrong with a configuration, told to the person who has to mend it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong, in the order of the files. A person mends all of it in one go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file it is in; `None` where it is the world that does not fit.
    pub file: Option<PathBuf>,
    /// Where in the file; `None` where the file lacks something, or cannot be read at all.
    pub at: Option<Position>,
    /// The setting, such as `nas[0].url`; empty where it is about the whole file.
    pub key: String,
    /// What is wrong. Never holds the value of a secret.
    pub what: String,
    /// What would be right.
    pub hint: Option<String>,
}

/// A place in a text. Both count from one; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// What is wrong with a value, said by someone who does not know where the value stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Complaint {
    what: String,
    hint: Option<String>,
}

impl Complaint {
    /// Says what is wrong.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None }
    }

    /// Adds what would be right.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds a hint, unless somebody who knew more gave one.
    pub(super) fn or_hint(self, hint: impl Into<String>) -> Self {
        if self.hint.is_some() { self } else { self.hint(hint) }
    }

    /// Says whose fault it is, for a place that does not name the file.
    pub(super) fn prefixed(self, subject: &str) -> Self {
        Self { what: format!("{subject} {}", self.what), ..self }
    }

    /// Says where it is.
    pub(super) fn at(self, file: Option<&Path>, at: Option<Position>, key: String) -> Problem {
        Problem { file: file.map(Path::to_owned), at, key, what: self.what, hint: self.hint }
    }
}

impl Problems {
    /// Whether all is well.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }

    pub(super) fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn append(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// By place; what has none comes first. Two in the same place stay as they are.
    pub(super) fn sorted(mut self) -> Self {
        self.0.sort_by_key(|problem| problem.at);
        self
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Problems {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map(|file| file.display());
        match (file, self.at) {
            (Some(file), Some(Position { line, column })) => write!(f, "{file}:{line}:{column}")?,
            (Some(file), None) => write!(f, "{file}")?,
            (None, _) => {}
        }
        if !self.key.is_empty() {
            let gap = if self.file.is_some() { "  " } else { "" };
            write!(f, "{gap}{}", self.key)?;
        }
        write!(f, "\n     {}", self.what)?;
        match &self.hint {
            Some(hint) => write!(f, "\n     hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.iter().enumerate() {
            writeln!(f, "{:>3}. {problem}", index + 1)?;
        }
        match self.len() {
            1 => f.write_str("1 problem"),
            count => write!(f, "{count} problems"),
        }
    }
}
