//! Looks at the last records of a log, and waits for more.
//!
//! This shows what the lines say. Of each it is looked at whether it is as it was written and continues from the one
//! before it, so that nobody is shown an altered log without a word; everything else is for
//! [`verify`](super::verify::verify).

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde::Serialize;

use super::chain::{Hash, seal_of};
use super::record::{self, Act, Event, LONGEST, Record};
use super::storage::{Files as _, Folder, first_of};
use crate::domain::text::Escaped;

/// One line of the log, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Entry {
    /// A record.
    Record(Box<Record>),
    /// A line that is none: damage, or the word of a newer version.
    Other(String),
}

/// The last records of a log, and then the ones that follow.
#[derive(Debug)]
pub struct Tail {
    folder: Folder,
    name: String,
    file: File,
    /// The beginning of a line whose end is not written yet.
    pending: Vec<u8>,
    linked: Links,
}

/// How the lines hang together that were looked at so far.
#[derive(Debug, Default)]
struct Links {
    /// Hash of the last record.
    prev: Option<Hash>,
    /// Whether something stands behind it that is no record.
    damaged: bool,
    /// The first thing that nobody wrote so.
    flaw: Option<String>,
}

/// What a line says about its place in the log.
enum Place {
    /// A record as it was written.
    Record { seq: u64, prev: Hash, hash: Hash, is_recovery: bool },
    /// As it was written, and the word of a newer version.
    Newer(Hash),
    /// A record that is not as it was written.
    Altered(u64),
    /// No record: damage.
    Nothing,
}

type Line = (Entry, Place);

impl Place {
    fn of(line: &[u8], entry: &Entry) -> Self {
        let sealed = seal_of(line).filter(|seal| seal.written == seal.computed).map(|seal| seal.written);
        match (entry, sealed) {
            (Entry::Record(record), Some(hash)) => Self::Record {
                seq: record.seq,
                prev: record.prev,
                hash,
                is_recovery: matches!(record.event, Event::Recovery(_)),
            },
            (Entry::Record(record), None) => Self::Altered(record.seq),
            (Entry::Other(_), Some(hash)) => Self::Newer(hash),
            (Entry::Other(_), None) => Self::Nothing,
        }
    }
}

impl Links {
    fn take(&mut self, place: &Place) {
        let flaw = match *place {
            // A crash leaves such lines at the end, and a later start describes them in the record behind them.
            Place::Nothing => {
                self.damaged = true;
                return;
            }
            Place::Altered(seq) => Some(format!("record {seq} was altered")),
            Place::Record { seq, is_recovery: false, .. } if self.damaged && self.prev.is_some() => Some(
                format!("before record {seq} stands something that is no record, and nothing describes it"),
            ),
            Place::Record { seq, prev, .. } if self.prev.is_some_and(|before| before != prev) => {
                Some(format!("record {seq} does not continue from the one before it"))
            }
            Place::Record { .. } | Place::Newer(_) => None,
        };
        if let Place::Record { hash, .. } | Place::Newer(hash) = *place {
            (self.prev, self.damaged) = (Some(hash), false);
        }
        if self.flaw.is_none() {
            self.flaw = flaw;
        }
    }

    /// Takes in lines as they follow each other.
    fn take_all(&mut self, lines: impl IntoIterator<Item = Line>) -> Vec<Entry> {
        let take = |(entry, place): Line| {
            self.take(&place);
            entry
        };
        lines.into_iter().map(take).collect()
    }
}

/// Most lines that are shown at a time, and most bytes that are looked at for them.
const MOST: usize = 100_000;
const MOST_BYTES: u64 = 128 * 1024 * 1024;

/// Opens the log in `dir` and reads its last `most` lines, oldest first; at most a hundred thousand.
///
/// # Errors
///
/// When there is no log, or it cannot be read.
pub fn last(dir: &Path, most: usize) -> io::Result<(Vec<Entry>, Tail)> {
    let most = most.min(MOST);
    let folder = Folder::new(dir);
    let names = folder.list()?;
    let mut lines: VecDeque<Line> = VecDeque::new();
    let mut newest = None;
    for name in names.iter().rev() {
        let mut file = folder.open(name)?;
        let (found, pending, from_its_beginning) = last_lines(&mut file, most.saturating_sub(lines.len()))?;
        for line in found.into_iter().rev() {
            lines.push_front(line);
        }
        newest.get_or_insert_with(|| (name.clone(), file, pending));
        if lines.len() >= most || !from_its_beginning {
            break;
        }
    }
    let (name, file, pending) = newest.ok_or_else(|| no_log(dir))?;
    let mut linked = Links::default();
    let entries = linked.take_all(lines);
    Ok((entries, Tail { folder, name, file, pending, linked }))
}

/// Gives every line of the log in `dir` from record `from` on to `each`, until that says `false`. A line that is no
/// record is given where it stands. What is not as it was written, of these lines and of those before them in the same
/// file, is told in the end.
///
/// # Errors
///
/// When there is no log, or it cannot be read.
pub fn each_from(
    dir: &Path,
    from: u64,
    mut each: impl FnMut(&str, &Entry) -> bool,
) -> io::Result<Option<String>> {
    let folder = Folder::new(dir);
    let names = folder.list()?;
    if names.is_empty() {
        return Err(no_log(dir));
    }
    let begins = |name: &String| first_of(name).unwrap_or_default();
    // The last file that begins at or before the record, and all behind it.
    let first = names.iter().rposition(|name| begins(name) <= from).unwrap_or(0);
    let mut reached = false;
    let mut linked = Links::default();
    for name in &names[first..] {
        let mut lines = BufReader::new(folder.open(name)?);
        let mut line = Vec::new();
        while read_line(&mut lines, &mut line)? > 0 {
            let bytes = line.strip_suffix(b"\n").unwrap_or(&line);
            let (entry, place) = read(bytes);
            linked.take(&place);
            reached |= matches!(&entry, Entry::Record(record) if record.seq >= from);
            if reached && !each(&String::from_utf8_lossy(bytes), &entry) {
                return Ok(linked.flaw);
            }
            line.clear();
        }
    }
    Ok(linked.flaw)
}

/// Reads a line, or as much of it as a record may be long: what is longer is none, and comes in pieces.
fn read_line(lines: &mut impl io::BufRead, line: &mut Vec<u8>) -> io::Result<usize> {
    lines.take(LONGEST as u64).read_until(b'\n', line)
}

/// Gives every intent and outcome of the log in `dir` from record `from` on to `each`. What is neither is passed over
/// without being read, and so is what is no record.
///
/// # Errors
///
/// When there is no log, or it cannot be read.
pub fn changes_from(dir: &Path, from: u64, mut each: impl FnMut(Record)) -> io::Result<()> {
    // It stands near the beginning of a line, behind fields of a known length.
    const KINDS: [&[u8]; 2] = [br#""type":"intent""#, br#""type":"outcome""#];
    const REACH: usize = 300;
    let folder = Folder::new(dir);
    let names = folder.list()?;
    if names.is_empty() {
        return Err(no_log(dir));
    }
    let first = names.iter().rposition(|name| first_of(name).unwrap_or_default() <= from).unwrap_or(0);
    for name in &names[first..] {
        let mut lines = BufReader::new(folder.open(name)?);
        let mut line = Vec::new();
        while read_line(&mut lines, &mut line)? > 0 {
            let head = &line[..line.len().min(REACH)];
            if KINDS.iter().any(|kind| head.windows(kind.len()).any(|window| window == *kind))
                && let Entry::Record(record) = Entry::of(line.strip_suffix(b"\n").unwrap_or(&line))
                && record.seq >= from
            {
                each(*record);
            }
            line.clear();
        }
    }
    Ok(())
}

fn no_log(dir: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no audit log in {}", dir.display()))
}

impl Tail {
    /// The first thing in what was given so far that is not as it was written.
    #[must_use]
    pub fn flaw(&self) -> Option<&str> {
        self.linked.flaw.as_deref()
    }

    /// The records that were added since the last call. Returns at once.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub fn more(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = self.rest()?;
        // Listed after reading: a newer file means that this one is complete.
        for name in self.folder.list()? {
            if name > self.name {
                entries.extend(self.rest()?);
                self.file = self.folder.open(&name)?;
                self.name = name;
                self.pending.clear();
                entries.extend(self.rest()?);
            }
        }
        Ok(entries)
    }

    fn rest(&mut self) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        // A piece at a time: a file may grow by more than there is memory.
        while self.file.by_ref().take(LONGEST as u64).read_to_end(&mut self.pending)? > 0 {
            if let Some(end) = self.pending.iter().rposition(|&byte| byte == b'\n') {
                let lines = lines_of(&self.pending.drain(..=end).collect::<Vec<u8>>());
                entries.extend(self.linked.take_all(lines));
            } else if self.pending.len() >= LONGEST {
                let line = read(&std::mem::take(&mut self.pending));
                entries.extend(self.linked.take_all([line]));
            }
        }
        Ok(entries)
    }
}

/// The last `most` whole lines of a file, what stands behind them, and whether it was read from its beginning. Leaves
/// the file at its end. A line that is longer than any record is shown in pieces, or not to its beginning.
fn last_lines(file: &mut File, most: usize) -> io::Result<(Vec<Line>, Vec<u8>, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    let furthest = ((most as u64).saturating_add(2)).saturating_mul(LONGEST as u64).min(MOST_BYTES);
    // A guess that is nearly always right; where it is not, twice as much.
    let mut reach = (most as u64).saturating_add(1).saturating_mul(1024).max(LONGEST as u64);
    loop {
        reach = reach.min(furthest);
        let start = length.saturating_sub(reach);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.by_ref().take(length - start).read_to_end(&mut bytes)?;
        let newlines = bytes.split(|&byte| byte == b'\n').count() - 1;
        if newlines <= most && start > 0 && reach < furthest {
            reach = reach.saturating_mul(2);
            continue;
        }
        let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let mut pending = bytes.split_off(end);
        let mut lines = lines_of(&bytes);
        if pending.len() >= LONGEST {
            pending.truncate(LONGEST);
            lines.push(read(&std::mem::take(&mut pending)));
        }
        lines.drain(..lines.len().saturating_sub(most));
        return Ok((lines, pending, start == 0));
    }
}

fn lines_of(bytes: &[u8]) -> Vec<Line> {
    let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    if lines.is_empty() {
        return Vec::new();
    }
    lines.split(|&byte| byte == b'\n').map(read).collect()
}

fn read(line: &[u8]) -> Line {
    let entry = Entry::of(line);
    let place = Place::of(line, &entry);
    (entry, place)
}

impl Entry {
    fn of(line: &[u8]) -> Self {
        match serde_json::from_slice(line) {
            Ok(record) => Self::Record(record),
            Err(_) => Self::Other(String::from_utf8_lossy(&line[..line.len().min(LONGEST)]).into_owned()),
        }
    }
}

/// One line for people. What comes from outside cannot take hold of a terminal, and what it tried can be seen.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(record) => Escaped(&line(record)).fmt(f),
            Self::Other(text) => write!(f, "??? {}", Escaped(&text.chars().take(200).collect::<String>())),
        }
    }
}

fn line(record: &Record) -> String {
    let Record { seq, ts, event, .. } = record;
    let what = match event {
        Event::Genesis(genesis) => format!("genesis   {} by tailnas {}", genesis.install, genesis.tailnas),
        Event::Start(start) => format!("start     tailnas {}, process {}", start.tailnas, start.pid),
        Event::Stop(_) => "stop".to_owned(),
        Event::Reload(reloaded) => {
            let digest = reloaded.config.as_deref().unwrap_or("-");
            format!("reload    {}: configuration {digest}", reloaded.status)
        }
        Event::Intent(act) => format!("intent    {}", deed(act)),
        Event::Accepted(accepted) => {
            let record::Accepted { parent, tool, job, .. } = &**accepted;
            format!("accepted  #{parent} {tool}: the NAS goes on with it as job {} ({})", job.id, job.method)
        }
        Event::Outcome(closing) => {
            let target = closing.target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
            format!("outcome   of #{} {}{target}: {}", closing.parent, closing.tool, end(&closing.end))
        }
        Event::Read(look) => format!("read      {}: {}", deed(&look.act), end(&look.end)),
        Event::Denied(turned) => {
            let tool = turned.tool.as_deref().unwrap_or("…");
            let who = who(&turned.who);
            format!("denied    {who} {tool}: {}", refusal(turned))
        }
        Event::AuthFail(turned) => {
            let from = turned.from.map_or_else(|| who(&turned.who), |from| from.to_string());
            format!("auth_fail {from}: {}", refusal(turned))
        }
        Event::Person(personal) => {
            let plan = personal.plan.as_ref().map(|plan| format!(" plan {}", plan.id)).unwrap_or_default();
            let note = personal.note.as_deref().map(|note| format!(": {note}")).unwrap_or_default();
            format!("person    {} {}{plan}{note}", who(&personal.who), personal.did.as_str())
        }
        Event::Recovery(recovery) => {
            format!("recovery  {} damaged bytes from byte {}", recovery.len, recovery.offset)
        }
        Event::Key(key) => format!("key       {}", key.vkey),
        Event::Checkpoint(_) => format!("checkpoint of the {seq} records before it"),
        Event::Rotate(rotate) => format!("rotate    the log goes on in {}", rotate.to),
        Event::Suspended(space) => format!("suspended {}", room(space)),
        Event::Resumed(space) => format!("resumed   {}", room(space)),
        Event::ClockStep(step) => format!("clock_step by {} ms", step.by_ms),
        Event::Heartbeat {} => "heartbeat".to_owned(),
        Event::Lost(lost) => {
            format!(
                "LOST      {} has a checkpoint over {} records; there were {}",
                lost.sink, lost.size, lost.have
            )
        }
    };
    format!("{ts} #{seq} {what}")
}

fn room(space: &record::Space) -> String {
    match space.free {
        Some(free) => format!("{} MiB are free", free >> 20),
        None => "how much is free cannot be told".to_owned(),
    }
}

fn deed(act: &Act) -> String {
    let Act { who: by, tool, nas, target, risk, .. } = act;
    let nas = nas.as_ref().map(|nas| format!(" on {nas}")).unwrap_or_default();
    let target = target.as_deref().map(|target| format!(" {target}")).unwrap_or_default();
    format!("{} {tool}{target}{nas} [{risk}]", who(by))
}

fn who(who: &crate::domain::who::Who) -> String {
    match (&who.peer, &who.auth) {
        (Some(peer), _) => peer.user.clone().unwrap_or_else(|| peer.node_name.clone()),
        (None, Some(auth)) => auth.username.clone().unwrap_or_else(|| auth.sub.clone()),
        (None, None) => "-".to_owned(),
    }
}

fn end(end: &record::End) -> String {
    let result = &end.result;
    let code = result.code.as_deref().map(|code| format!(" {code}")).unwrap_or_default();
    let reason = result.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    format!("{}{code}{reason}", result.status)
}

fn refusal(turned: &record::Turned) -> String {
    let code = turned.result.code.as_deref().unwrap_or("?");
    let count = turned.count.map(|count| format!(", {count} times more")).unwrap_or_default();
    let missing = turned.decision.missing.map(|scope| format!(" ({scope})")).unwrap_or_default();
    format!("{code}{missing}{count}")
}
