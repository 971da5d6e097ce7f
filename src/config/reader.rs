//! Reads TOML tables key by key and goes on after a mistake, so that one run finds all of them.
//!
//! A section of the configuration is a function that asks a [`Section`] for each of its keys, then puts the
//! answers together with `?`. Whoever holds a [`Reported`] knows that the person will hear of it: only
//! reporting a problem makes one.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check::{Digests, Named, Thing};
use super::keys::{Shape, nearest};
use super::problem::{Complaint, Position, Problems};
use super::values;
use crate::secret::SecretSource;

/// There is no value, and the reason is among the problems.
#[derive(Clone, Copy, Debug)]
#[must_use = "whoever asked for the value has to learn that there is none"]
pub(super) struct Reported(());

/// A value, unless a problem was reported instead.
pub(super) type Read<T> = Result<T, Reported>;

/// The longest array we read. No setting is meant to have nearly as many.
const LONGEST_ARRAY: usize = 1000;

/// What the TOML parser says about a key or a table that is there already. If it ever says it otherwise, that
/// becomes a syntax error like any other, and a test fails.
const DUPLICATE: &str = "duplicate key";

/// One table while it is being read.
pub(super) struct Section<'d> {
    source: &'d Source<'d>,
    shape: &'static Shape,
    /// Where it is, such as `nas[0]`; empty for the file itself.
    path: String,
    /// Where its header begins; `None` for the file itself, and for a table that is not there.
    start: Option<usize>,
    /// `None` for a table that is not there and whose keys all have defaults.
    table: Option<&'d DeTable<'d>>,
    asked: BTreeSet<&'static str>,
}

/// What came to light while documents were read.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What is wrong with them.
    pub(super) problems: Problems,
    /// The files they name, also where something else is wrong.
    pub(super) named: Vec<Named>,
    /// Of their files.
    pub(super) digests: Digests,
}

/// Reads the document `text`, which was found in `file`, with `read`.
pub(super) fn document<T>(
    file: &Path,
    text: &str,
    shape: &'static Shape,
    report: &mut Report,
    read: impl FnOnce(&mut Section<'_>) -> Read<T>,
) -> Read<T> {
    let source = Source::new(file, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    let value = if let Some(broken) = first_syntax_error(&errors) {
        Err(source.syntax(broken))
    } else {
        // A key written twice leaves no doubt about the rest; the first one counts while we go on.
        let twice = errors.iter().map(|error| source.syntax(error)).last();
        let value = Section::new(&source, shape, String::new(), None, Some(table.get_ref())).run(read);
        twice.map_or(value, Err)
    };
    report.problems.append(source.problems.into_inner().sorted());
    report.named.append(&mut source.named.into_inner());
    value
}

impl<'d> Section<'d> {
    /// The value of `key`, which must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Read<T> {
        let value = self.optional(key, parse)?;
        value.ok_or_else(|| self.missing(key))
    }

    /// The value of `key`, if it is there.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Read<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        self.text(key, self.path_of(key), value, parse).map(Some)
    }

    /// The values of the array `key`, which must be there and must not be empty.
    pub(super) fn required_list<T: Ord + Clone>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Read<Vec<T>> {
        let values = self.optional_list(key, parse)?;
        values.ok_or_else(|| self.missing(key))
    }

    /// The values of the array `key`, if it is there; then it must not be empty, nor hold a value twice.
    pub(super) fn optional_list<T: Ord + Clone>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, Complaint>,
    ) -> Read<Option<Vec<T>>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong_type(key, self.path_of(key), value, "an array"));
        };
        if array.is_empty() {
            return Err(self.report(key, Complaint::new("is an empty array")));
        }
        if array.len() > LONGEST_ARRAY {
            return Err(self.report(key, Complaint::new(format!("has more than {LONGEST_ARRAY} values"))));
        }
        let mut seen = BTreeSet::new();
        let each = array.iter().enumerate().map(|(index, value)| {
            let path = format!("{}[{index}]", self.path_of(key));
            let parsed = self.text(key, path.clone(), value, &parse)?;
            if seen.insert(parsed.clone()) {
                return Ok(parsed);
            }
            let twice = Complaint::new("is written twice").hint("take one of the two away");
            Err(self.source.report(Some(value.span().start), path, twice))
        });
        all(each).map(Some)
    }

    /// The whole number `key`, if it is there; then it must be in `range`.
    pub(super) fn optional_number(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Read<Option<u32>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let Some(number) = value.get_ref().as_integer() else {
            return Err(self.wrong_type(key, self.path_of(key), value, "a whole number"));
        };
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let what = format!("should be a whole number from {} to {}", range.start(), range.end());
                Err(self.report(key, Complaint::new(what)))
            }
        }
    }

    /// The secret that `key`, which must be there, says the place of.
    pub(super) fn secret(&mut self, key: &'static str) -> Read<SecretSource> {
        let source = self.required(key, values::secret_source)?;
        self.names(key, Thing::Secret(source.clone()));
        Ok(source)
    }

    /// The secret that `key` says the place of, if it is there.
    pub(super) fn optional_secret(&mut self, key: &'static str) -> Read<Option<SecretSource>> {
        let source = self.optional(key, values::secret_source)?;
        if let Some(source) = &source {
            self.names(key, Thing::Secret(source.clone()));
        }
        Ok(source)
    }

    /// The file with CA certificates that `key` names, if it is there.
    pub(super) fn ca_file(&mut self, key: &'static str) -> Read<Option<PathBuf>> {
        let path = self.optional(key, values::absolute_path)?;
        if let Some(path) = &path {
            self.names(key, Thing::CaFile(path.clone()));
        }
        Ok(path)
    }

    /// The folder that `key` says we write to; it must be there, or there is a default.
    pub(super) fn folder(&mut self, key: &'static str, default: Option<&str>) -> Read<PathBuf> {
        let path = match (self.optional(key, values::absolute_path)?, default) {
            (Some(path), _) => path,
            (None, Some(default)) => default.into(),
            (None, None) => return Err(self.missing(key)),
        };
        self.names(key, Thing::Folder(path.clone()));
        Ok(path)
    }

    /// The table `key`, which must be there, as `read` reads it.
    pub(super) fn table<T>(
        &mut self,
        key: &'static str,
        shape: &'static Shape,
        read: impl FnOnce(&mut Section<'d>) -> Read<T>,
    ) -> Read<T> {
        let value = self.optional_table(key, shape, read)?;
        value.ok_or_else(|| self.missing(key))
    }

    /// The table `key` as `read` reads it, if it is there.
    pub(super) fn optional_table<T>(
        &mut self,
        key: &'static str,
        shape: &'static Shape,
        read: impl FnOnce(&mut Section<'d>) -> Read<T>,
    ) -> Read<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let path = self.path_of(key);
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.wrong_type(key, path, value, "a table"));
        };
        Self::new(self.source, shape, path, Some(value.span().start), Some(table)).run(read).map(Some)
    }

    /// The table `key` as `read` reads it; one that is not there is as good as one with nothing in it.
    pub(super) fn table_or_defaults<T>(
        &mut self,
        key: &'static str,
        shape: &'static Shape,
        read: impl Fn(&mut Section<'d>) -> Read<T>,
    ) -> Read<T> {
        match self.optional_table(key, shape, &read)? {
            Some(value) => Ok(value),
            None => Self::new(self.source, shape, self.path_of(key), None, None).run(read),
        }
    }

    /// Each of the tables `[[key]]`, in their order, as `read` reads it. There may be none.
    pub(super) fn tables<T>(
        &mut self,
        key: &'static str,
        shape: &'static Shape,
        mut read: impl FnMut(&mut Section<'d>) -> Read<T>,
    ) -> Read<Vec<T>> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong_type(key, self.path_of(key), value, "an array of tables"));
        };
        all(array.iter().enumerate().map(|(index, value)| {
            let path = format!("{}[{index}]", self.path_of(key));
            let Some(table) = value.get_ref().as_table() else {
                return Err(self.wrong_type(key, path, value, "a table"));
            };
            Self::new(self.source, shape, path, Some(value.span().start), Some(table)).run(&mut read)
        }))
    }

    /// Whether `key` is there.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Something is wrong with the value of `key`.
    pub(super) fn report(&self, key: &'static str, complaint: Complaint) -> Reported {
        let value = self.table.and_then(|table| table.get(key));
        let start = value.map(|value| value.span().start).or(self.start);
        self.source.report(start, self.path_of(key), self.with_example(key, complaint))
    }

    /// Something is wrong with the table as a whole.
    pub(super) fn report_here(&self, complaint: Complaint) -> Reported {
        self.source.report(self.start, self.path.clone(), complaint)
    }

    /// `key` should be there and is not.
    pub(super) fn missing(&self, key: &'static str) -> Reported {
        let example = self.shape.find(key).map_or(key, |key| key.example);
        let missing = Complaint::new("is missing").hint(format!("add: {example}"));
        self.source.report(self.start, self.path_of(key), missing)
    }

    fn new(
        source: &'d Source<'d>,
        shape: &'static Shape,
        path: String,
        start: Option<usize>,
        table: Option<&'d DeTable<'d>>,
    ) -> Self {
        Self { source, shape, path, start, table, asked: BTreeSet::new() }
    }

    /// Reads with `read` and finishes. The only way to get at a section, so that none goes unfinished.
    fn run<T>(mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<T> {
        let value = read(&mut self);
        match self.finish() {
            Ok(()) => value,
            Err(reported) => Err(reported),
        }
    }

    /// Reports every key that the shape does not know.
    fn finish(self) -> Read<()> {
        debug_assert_eq!(
            self.asked,
            self.shape.names().collect(),
            "{:?}: what is asked for and what keys.rs lists differ",
            self.shape.name
        );
        let Some(table) = self.table else { return Ok(()) };
        let unknown = table.keys().filter(|key| self.shape.find(key.get_ref()).is_none());
        all(unknown.map(|key| {
            let name: &str = key.get_ref();
            let hint = if let Some(known) = nearest(name, self.shape.names()) {
                format!("did you mean {known}?")
            } else if let Some(other) = self.shape.elsewhere(name) {
                format!("{name} belongs in [{}]", other.name)
            } else {
                format!("known here: {}", self.shape.names().collect::<Vec<_>>().join(", "))
            };
            let path = self.path_of(&values::shown_key(name));
            let unknown = Complaint::new("is not a setting of tailnas").hint(hint);
            Err(self.source.report(Some(key.span().start), path, unknown))
        }))
        .map(|_: Vec<()>| ())
    }

    fn names(&self, key: &'static str, thing: Thing) {
        let value = self.table.and_then(|table| table.get(key));
        let at = value.map(|value| self.source.position(value.span().start));
        let named = Named { thing, file: self.source.file.to_owned(), at, key: self.path_of(key) };
        self.source.named.borrow_mut().push(named);
    }

    fn get(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'d>>> {
        self.asked.insert(key);
        self.table?.get(key)
    }

    fn text<T>(
        &self,
        key: &'static str,
        path: String,
        value: &Spanned<DeValue<'_>>,
        parse: impl FnOnce(&str) -> Result<T, Complaint>,
    ) -> Read<T> {
        let Some(text) = value.get_ref().as_str() else {
            return Err(self.wrong_type(key, path, value, "text in quotes"));
        };
        values::plain(text).and_then(parse).map_err(|complaint| {
            self.source.report(Some(value.span().start), path, self.with_example(key, complaint))
        })
    }

    fn wrong_type(
        &self,
        key: &'static str,
        path: String,
        value: &Spanned<DeValue<'_>>,
        expected: &str,
    ) -> Reported {
        let found = match value.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "an array",
            DeValue::Table(_) => "a table",
        };
        let complaint = Complaint::new(format!("should be {expected} and is {found}"));
        self.source.report(Some(value.span().start), path, self.with_example(key, complaint))
    }

    /// Hints at the form, where nobody had anything better to say.
    fn with_example(&self, key: &str, complaint: Complaint) -> Complaint {
        match self.shape.find(key) {
            Some(key) => complaint.or_hint(format!("for example: {}", key.example)),
            None => complaint,
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// All of them, or the report about one that is not there. Unlike `collect`, it looks at every one.
fn all<T>(each: impl Iterator<Item = Read<T>>) -> Read<Vec<T>> {
    let mut values = Vec::new();
    let mut failed = None;
    for value in each {
        match value {
            Ok(value) => values.push(value),
            Err(reported) => failed = Some(reported),
        }
    }
    failed.map_or(Ok(values), Err)
}

/// The first error after which the rest of the text cannot be trusted to mean what it seems to mean.
fn first_syntax_error(errors: &[toml::de::Error]) -> Option<&toml::de::Error> {
    errors.iter().find(|error| error.message() != DUPLICATE)
}

/// A text, where its lines begin, and what is wrong with it so far.
struct Source<'d> {
    file: &'d Path,
    text: &'d str,
    /// Byte offset at which each line begins.
    lines: Vec<usize>,
    /// Shared by the sections, of which several are open at a time.
    problems: RefCell<Problems>,
    named: RefCell<Vec<Named>>,
}

impl<'d> Source<'d> {
    fn new(file: &'d Path, text: &'d str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(end, _)| end + 1)).collect();
        Self { file, text, lines, problems: RefCell::default(), named: RefCell::default() }
    }

    fn report(&self, start: Option<usize>, key: String, complaint: Complaint) -> Reported {
        let at = start.map(|start| self.position(start));
        self.problems.borrow_mut().push(complaint.at(Some(self.file), at, key));
        Reported(())
    }

    /// Only the error's message is used: its `Display` shows the line, on which there may be a secret.
    fn syntax(&self, error: &toml::de::Error) -> Reported {
        let span = error.span();
        let start = span.as_ref().map(|span| span.start);
        if error.message() == DUPLICATE {
            let name = span.and_then(|span| self.text.get(span)).map(values::shown_key).unwrap_or_default();
            let twice = Complaint::new("is written twice").hint("take one of the two away");
            return self.report(start, name, twice);
        }
        let complaint = Complaint::new(format!("this is not TOML: {}", error.message()))
            .hint("the rest of the file is looked at once this is mended");
        self.report(start, String::new(), complaint)
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = self.text.get(start..offset).map_or(0, |before| before.chars().count()) + 1;
        Position { line, column }
    }
}
