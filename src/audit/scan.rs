//! Reads a log from its first byte and says what holds. The start of the daemon and `audit verify` both rest on
//! this, so that they cannot disagree.
//!
//! The hard question is whether a damaged end is a crash or somebody's hand. A crash leaves bytes where they
//! were written: of the one batch that was not yet synced, any sectors may be missing, but no record can move,
//! repeat, or stand where another belongs, and no byte changes ([`damage`](super::damage)). And every record carries
//! `durable`, so that the ones behind a damage prove whether the damaged bytes had been on disk. What no rule
//! excludes is taken for a crash, described in a `recovery` record, and listed by `verify` ever after.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::Deref;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::chain::{Chain, Hash, Receipt, SEAL, Tree, seal_of};
use super::damage::not_a_crash;
use super::note::{Checkpoint, Note, PublicKey};
use super::record::{LONGEST, Lost, NasJob, Status, VERSION};
use super::storage::{Files, first_hash_of, first_of};
use crate::domain::id::RequestId;
use crate::domain::name::NasName;
use crate::domain::text::foreign;

/// Longest damage that can come from crashes: one batch, and what a hundred starts add that crash in turn.
const LONGEST_DAMAGE: usize = 1024 * 1024 + 128 * 1024;

/// After how many nanoseconds a checkpoint is surely in the file beside the log.
const LONG_AGO: u64 = 10_000_000_000;

/// A longer silence than the daemon ever keeps within one run: after 15 minutes it gives a sign of life. In nanoseconds.
const LONGEST_SILENCE: u64 = 16 * 60 * 1_000_000_000;

/// Everything a reading of the log shows.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub chain: Chain,
    pub tree: Tree,
    pub files: u64,
    /// The file that is written to, and where in it the next byte goes.
    pub live: Option<(String, u64)>,
    pub install: Option<String>,
    pub first: Option<String>,
    pub last: Option<String>,
    pub recoveries: Vec<Recovered>,
    pub intents: u64,
    pub open: BTreeMap<u64, Open>,
    pub ended: BTreeMap<Status, u64>,
    pub unknown: Vec<u64>,
    /// Outcomes whose intent is not open: a fault of the daemon that wrote them.
    pub stray: Vec<u64>,
    /// The keys that checkpoints are signed with, each vouched for by the one before, and where each begins.
    pub keys: Vec<(u64, PublicKey)>,
    pub checkpoints: u64,
    /// The newest checkpoint. Its root is right; its signature vouches for all before it, and is checked when
    /// a key ends and by whoever asks for it.
    pub newest: Option<Note>,
    pub lost: Vec<Lost>,
    /// The numbers of the records that say so.
    lost_at: Vec<u64>,
    /// The record behind the last one that says more than how the log itself is kept.
    quiet_since: u64,
    /// How many of the first records are there as hashes only.
    pub pruned: u64,
    /// Whether the last file is closed, and the next one not there yet.
    pub closed: bool,
    /// The highest version of a record that is newer than ours: such a record's place is checked, and no more.
    pub newer: Option<u64>,
    /// When the first checkpoint of a run was made, as boot and time, and whether one is long past.
    first_signed: Option<(String, u64)>,
    stopped: bool,
    pub signed_for_long: bool,
    /// The run that the last record is of, and when that was made.
    spoke: Option<(String, u64)>,
    pub silences: Vec<Silence>,
    /// The roots at the sizes that somebody wants to compare.
    pub roots: BTreeMap<u64, Hash>,
    /// The hashes of the records that somebody wants to compare.
    pub hashes: BTreeMap<u64, Hash>,
    pub tail: Tail,
    pub broken: Option<Break>,
    durable: Option<u64>,
}

/// An intent that has no outcome. Nearly all get one soon, so it is kept as it stands there, and read when it is asked
/// for.
#[derive(Clone, Debug)]
pub(super) struct Open {
    record: Box<[u8]>,
    job: Option<NasJob>,
}

impl Open {
    /// What it was about to do.
    pub fn read(self) -> Opened {
        let glance = serde_json::from_slice::<Glance<'_>>(&self.record).ok();
        let glance = glance.as_ref();
        let at = glance.and_then(|glance| DateTime::parse_from_rfc3339(&glance.ts).ok());
        Opened {
            req: glance.and_then(|glance| as_typed(glance.req.as_deref()?)).unwrap_or_default(),
            tool: glance.and_then(|glance| glance.tool.as_deref()).unwrap_or_default().to_owned(),
            nas: glance.and_then(|glance| as_typed(glance.nas.as_deref()?)),
            target: glance.and_then(|glance| glance.target.as_deref()).map(str::to_owned),
            at: at.map(|at| at.to_utc()),
            job: self.job,
        }
    }
}

/// What an intent without an outcome was about to do.
#[derive(Clone, Debug)]
pub(super) struct Opened {
    pub req: RequestId,
    pub tool: String,
    pub nas: Option<NasName>,
    pub target: Option<String>,
    /// When it was written down.
    pub at: Option<DateTime<Utc>>,
    /// The job as which the NAS goes on with it, where it said so.
    pub job: Option<NasJob>,
}

/// How the last file ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tail {
    Whole,
    /// The last record is right, and its newline is not there.
    NoNewline,
    /// Behind the last record stand bytes that are none.
    Torn(Torn),
}

/// Bytes at the end that are not records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Torn {
    /// The file.
    pub file: String,
    /// Where they begin.
    pub offset: u64,
    /// How many they are.
    pub len: u64,
    /// Their hash.
    pub sha256: Hash,
    #[serde(skip)]
    pub(super) ends_in_newline: bool,
}

/// Damage that a later start has described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// The record that describes it.
    pub seq: u64,
    /// The file.
    pub file: String,
    /// Where the damage begins.
    pub offset: u64,
    /// How long it is.
    pub len: u64,
    /// Hash of the damaged bytes.
    pub sha256: Hash,
}

/// A time in which the log has nothing, and the daemon ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// The record before it.
    pub after: u64,
    /// How long it was.
    pub seconds: u64,
}

/// The first place where the log is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// Where the line begins, in bytes.
    pub offset: u64,
    /// The number of the record that belongs there.
    pub seq: u64,
    /// What is wrong.
    pub what: Flaw,
    /// Why this is no torn end after a crash, where that is not plain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Flaw {
    /// No record at all.
    #[error("the line does not end in a hash, so it is no record")]
    NoRecord,
    /// The bytes are not those that were hashed.
    #[error("the record was altered: its hash is {written}, and its bytes have {computed}")]
    Altered {
        /// The hash in the line.
        written: Hash,
        /// The hash of the line.
        computed: Hash,
    },
    /// The hash is right, and what it covers cannot be read.
    #[error("the hash is right, but the record cannot be read: {problem}")]
    Unreadable {
        /// What the parser said.
        problem: String,
    },
    /// Another record than the next one.
    #[error("this is record {found}, and record {expected} belongs here")]
    Sequence {
        /// The number that belongs here.
        expected: u64,
        /// The number in the line.
        found: u64,
    },
    /// A record that continues from another one than the one before it.
    #[error("the record continues from {found}, and the one before it is {expected}")]
    Link {
        /// The hash of the record before.
        expected: Hash,
        /// The hash that this one names.
        found: String,
    },
    /// Damage that no record describes.
    #[error("bytes that are no record, and no recovery record behind them that describes them")]
    Undescribed,
    /// A recovery record that does not fit what it describes.
    #[error("the recovery record does not describe what stands before it")]
    Misdescribed,
    /// A record that claims too much of what is on disk.
    #[error("the record says that {durable:?} was the last one on disk, which cannot have been so")]
    Durable {
        /// The number in the line.
        durable: Option<u64>,
    },
    /// A record of ours behind one of a newer version.
    #[error("a record of format {v} stands behind one of format {newer}, which no older version continues")]
    Version {
        /// Its version.
        v: u64,
        /// The newer one before it.
        newer: u64,
    },
    /// A record before there is a key.
    #[error("no record before it names the key that signs, and every log begins with that")]
    NoKey,
    /// A record that excuses the loss of more than it could know.
    #[error("it says that {have} records were there when it was written, and that cannot have been so")]
    Lost {
        /// The number in the line.
        have: u64,
    },
    /// A record in a file that an earlier one closed.
    #[error("the file was closed by the record before this one")]
    Closed,
    /// A file that ends without being closed, and is not the last.
    #[error("the file before this one was never closed, so the log does not go on here")]
    NotClosed,
    /// A file of hashes that is not whole hashes.
    #[error("the file of hashes that pruned records left behind is not what was written")]
    Hashes,
    /// A checkpoint that is not of this log.
    #[error("the checkpoint does not fit the log: {problem}")]
    Checkpoint {
        /// Why.
        problem: &'static str,
    },
    /// A key that may not follow.
    #[error("from here on another key signs, and the key before it does not vouch for it: {vkey}")]
    Key {
        /// The key as it stands there.
        vkey: String,
    },
    /// A file whose name says that it begins elsewhere.
    #[error("the file is named after record {found}, and record {expected} belongs here: a file is missing")]
    File {
        /// The number that belongs here.
        expected: u64,
        /// The number in the name.
        found: u64,
    },
}

/// What is needed of a record in order to check it. Nothing here is read more strictly than that: a grammar that
/// changes in a later release must not make an old log look tampered with.
#[derive(Debug, Default, Deserialize)]
struct Glance<'a> {
    v: u64,
    seq: u64,
    #[serde(borrow)]
    ts: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow)]
    prev: Cow<'a, str>,
    mono: Option<u64>,
    #[serde(borrow)]
    boot: Option<Text<'a>>,
    durable: Option<u64>,
    #[serde(borrow)]
    req: Option<Text<'a>>,
    parent: Option<u64>,
    #[serde(borrow)]
    tool: Option<Text<'a>>,
    #[serde(borrow)]
    nas: Option<Text<'a>>,
    #[serde(borrow)]
    target: Option<Text<'a>>,
    #[serde(borrow)]
    result: Option<GlanceResult<'a>>,
    install: Option<String>,
    offset: Option<u64>,
    len: Option<u64>,
    sha256: Option<Hash>,
    last_good_seq: Option<u64>,
    note: Option<String>,
    vkey: Option<String>,
    voucher: Option<String>,
    have: Option<u64>,
    size: Option<u64>,
    root: Option<Hash>,
    sink: Option<String>,
    job: Option<NasJob>,
}

impl<'a> Glance<'a> {
    /// The place and the type of a record whose inside says nothing about the log, which is most of them, without
    /// reading that: three quarters of the time that a check took went there. `None` is for every record that
    /// is of another type, or that is not exactly as [`Chain::seal`] writes it; serde has the last word on those.
    ///
    /// That there is JSON inside is not looked at: the hash holds that it is what the daemon wrote.
    fn outside(text: &'a [u8]) -> Option<Self> {
        let (seq, rest) = number(text.strip_prefix(br#"{"v":1,"seq":"#)?)?;
        let (ts, rest) = quoted(rest.strip_prefix(br#","ts":"#)?)?;
        let (mono, rest) = number(rest.strip_prefix(br#","mono":"#)?)?;
        let (boot, rest) = quoted(rest.strip_prefix(br#","boot":"#)?)?;
        let (r#type, rest) = quoted(rest.strip_prefix(br#","type":"#)?)?;
        if !matches!(r#type, "intent" | "read" | "denied" | "auth_fail" | "person") {
            return None;
        }
        let (body, _) = rest.split_at_checked(rest.len().checked_sub(SEAL)?)?;
        let (body, prev) = body.strip_suffix(b"\"")?.split_at_checked(body.len().checked_sub(65)?)?;
        let body = body.strip_suffix(br#","prev":""#)?;
        // Inside of text its quotes would be escaped, and inside of an object there would be a brace behind it.
        let comma = body.iter().rposition(|&byte| byte == b',')?;
        let (durable, []) = number(body.get(comma..)?.strip_prefix(br#","durable":"#)?)? else { return None };
        Some(Self {
            v: VERSION,
            seq,
            ts: Cow::Borrowed(ts),
            r#type: Cow::Borrowed(r#type),
            prev: Cow::Borrowed(std::str::from_utf8(prev).ok()?),
            mono: Some(mono),
            boot: Some(Text(Cow::Borrowed(boot))),
            durable: Some(durable),
            ..Self::default()
        })
    }
}

/// The number that `text` begins with, as JSON spells it, and what follows.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at_checked(digits)?;
    if digits.len() > 1 && digits.starts_with(b"0") {
        return None;
    }
    Some((std::str::from_utf8(digits).ok()?.parse().ok()?, rest))
}

/// The text in quotes that `text` begins with, if nothing in it is escaped, and what follows.
fn quoted(text: &[u8]) -> Option<(&str, &[u8])> {
    let text = text.strip_prefix(b"\"")?;
    let (inside, rest) = text.split_at_checked(text.iter().position(|&byte| byte == b'"')?)?;
    let plain = inside.iter().all(|&byte| byte.is_ascii_graphic() && byte != b'\\');
    Some((std::str::from_utf8(inside).ok().filter(|_| plain)?, rest.get(1..)?))
}

/// Text that is borrowed where it stands as it is meant. (Serde borrows a `Cow` only when it is a field itself.)
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

#[derive(Debug, Deserialize)]
struct GlanceResult<'a> {
    #[serde(borrow)]
    status: Cow<'a, str>,
}

/// What every version of a record has: its place in the chain.
#[derive(Deserialize)]
struct Place<'a> {
    v: u64,
    seq: u64,
    #[serde(borrow)]
    prev: Cow<'a, str>,
}

/// A run of bytes that are no records, as far as it has been read.
#[derive(Clone, Debug)]
struct Damage {
    line: u64,
    offset: u64,
    bytes: Vec<u8>,
    flaw: Flaw,
    /// The highest number of an intact record within.
    highest: u64,
}

/// Reads lines one after the other.
#[derive(Clone, Debug)]
pub(super) struct Scanner {
    pub survey: Survey,
    file: String,
    line: u64,
    damage: Option<Damage>,
    wanted: Wanted,
}

/// What somebody wants to compare with something outside the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// The root at these sizes.
    pub sizes: BTreeSet<u64>,
    /// The hashes of these records.
    pub records: BTreeSet<u64>,
}

/// One line, or as much of an overlong one as is worth holding.
#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    offset: u64,
    /// With its newline, where it has one.
    bytes: &'a [u8],
    /// Whether this begins where a line begins.
    begins: bool,
}

/// Reads a whole log, and takes from it what is `wanted`.
pub(super) fn survey(files: &dyn Files, wanted: Wanted) -> io::Result<Survey> {
    let mut scanner = Scanner::wanting(wanted);
    let names = files.list()?;
    for name in files.pruned()? {
        // Where both are there, the pruning did not come to its end, and the records count.
        if first_hash_of(&name) < names.first().and_then(|name| first_of(name)) {
            let (mut reader, _) = files.read(&name)?;
            let mut hashes = Vec::new();
            reader.read_to_end(&mut hashes)?;
            scanner.hashes(&name, &hashes);
        }
    }
    for name in names {
        if scanner.survey.broken.is_some() {
            break;
        }
        scanner.begin_file(&name);
        let (reader, length) = files.read(&name)?;
        // No further than the file was long when it was opened, or a busy log would never end.
        let length = scanner.lines(BufReader::with_capacity(256 * 1024, reader.take(length)), 0)?;
        scanner.end_file(length);
    }
    Ok(scanner.survey)
}

impl Scanner {
    pub fn wanting(wanted: Wanted) -> Self {
        let survey = Survey {
            chain: Chain::EMPTY,
            tree: Tree::default(),
            files: 0,
            live: None,
            install: None,
            first: None,
            last: None,
            recoveries: Vec::new(),
            intents: 0,
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
            unknown: Vec::new(),
            stray: Vec::new(),
            keys: Vec::new(),
            checkpoints: 0,
            newest: None,
            lost: Vec::new(),
            lost_at: Vec::new(),
            quiet_since: 0,
            pruned: 0,
            closed: false,
            newer: None,
            first_signed: None,
            stopped: false,
            signed_for_long: false,
            spoke: None,
            silences: Vec::new(),
            roots: BTreeMap::new(),
            hashes: BTreeMap::new(),
            tail: Tail::Whole,
            broken: None,
            durable: None,
        };
        let mut scanner = Self { survey, file: String::new(), line: 0, damage: None, wanted };
        scanner.take_root();
        scanner
    }

    pub fn begin_file(&mut self, name: &str) {
        name.clone_into(&mut self.file);
        self.line = 0;
        self.survey.files += 1;
        if self.survey.tail != Tail::Whole {
            // Only the file that is written to can be torn.
            self.break_at(1, 0, Flaw::Undescribed, Some("it is at the end of the file before this one"));
        }
        let (expected, found) = (self.survey.chain.next, first_of(name).unwrap_or(u64::MAX));
        if expected != found {
            self.break_at(1, 0, Flaw::File { expected, found }, None);
        }
        if self.survey.files > 1 && !self.survey.closed && self.survey.newer.is_none() {
            self.break_at(1, 0, Flaw::NotClosed, None);
        }
        self.survey.closed = false;
    }

    /// Takes the hashes of records that are there no more.
    pub fn hashes(&mut self, name: &str, bytes: &[u8]) {
        name.clone_into(&mut self.file);
        let (hashes, rest) = bytes.as_chunks::<32>();
        if first_hash_of(name) != Some(self.survey.chain.next) || !rest.is_empty() {
            return self.break_at(0, 0, Flaw::Hashes, None);
        }
        for &hash in hashes {
            self.take(Hash::from_bytes(hash));
        }
        self.survey.pruned = self.survey.chain.next;
    }

    /// The record with this hash is the next one.
    fn take(&mut self, hash: Hash) {
        if self.wanted.records.contains(&self.survey.chain.next) {
            self.survey.hashes.insert(self.survey.chain.next, hash);
        }
        self.survey.chain.advance(hash);
        self.survey.tree.push(hash);
        self.take_root();
    }

    /// Takes lines, the first of which begins at `offset`, until they end or the log is broken. Says where.
    pub fn lines(&mut self, mut reader: impl BufRead, mut offset: u64) -> io::Result<u64> {
        let mut bytes = Vec::new();
        let mut begins = true;
        while self.survey.broken.is_none() {
            bytes.clear();
            if reader.by_ref().take(LONGEST as u64).read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            self.line(Line { offset, bytes: &bytes, begins });
            offset += bytes.len() as u64;
            begins = bytes.ends_with(b"\n");
        }
        Ok(offset)
    }

    /// Takes the next line. Once the log is broken, nothing further is looked at.
    fn line(&mut self, line: Line<'_>) {
        if self.survey.broken.is_some() {
            return;
        }
        if line.begins {
            self.line += 1;
        }
        let ended = line.bytes.ends_with(b"\n");
        let text = line.bytes.strip_suffix(b"\n").unwrap_or(line.bytes);
        match look(text, line.begins) {
            Ok((glance, hash)) => match self.misplaced(glance.seq, &glance.prev) {
                None => self.next(line, &glance, hash, ended),
                Some(flaw) => self.sound_but_misplaced(line, &glance, flaw),
            },
            Err(Problem::Newer(place, hash)) if self.damage.is_none() => {
                match self.misplaced(place.seq, &place.prev) {
                    None => self.newer(place.v, hash, ended),
                    Some(flaw) => self.break_here(line, flaw, None),
                }
            }
            Err(Problem::Newer(..)) => self.damaged(line, Flaw::NoRecord),
            Err(Problem::Flaw(flaw)) => self.damaged(line, flaw),
        }
    }

    /// The next record, in a version whose words we do not know.
    fn newer(&mut self, v: u64, hash: Hash, ended: bool) {
        self.survey.newer = self.survey.newer.max(Some(v));
        self.take(hash);
        if !ended {
            self.survey.tail = Tail::NoNewline;
        }
    }

    pub fn end_file(&mut self, length: u64) {
        self.survey.live = Some((self.file.clone(), length));
        if self.survey.broken.is_some() {
            return;
        }
        if let Some(damage) = self.damage.take() {
            if let Some(why) = self.no_crash(&damage) {
                return self.break_at(damage.line, damage.offset, damage.flaw, Some(&why));
            }
            self.survey.tail = Tail::Torn(Torn {
                file: self.file.clone(),
                offset: damage.offset,
                len: damage.bytes.len() as u64,
                sha256: Hash::of(&damage.bytes),
                ends_in_newline: damage.bytes.ends_with(b"\n"),
            });
        }
    }

    /// Why an intact record is not the next one.
    fn misplaced(&self, seq: u64, prev: &str) -> Option<Flaw> {
        let expected = &self.survey.chain;
        if seq != expected.next {
            return Some(Flaw::Sequence { expected: expected.next, found: seq });
        }
        (prev.as_bytes() != expected.prev.digits())
            .then(|| Flaw::Link { expected: expected.prev, found: foreign(prev, 64) })
    }

    /// Why a damage is none that a crash leaves. What a newer version left, we cannot tell.
    fn no_crash(&self, damage: &Damage) -> Option<String> {
        match self.survey.newer {
            Some(_) => None,
            None => not_a_crash(&damage.bytes, damage.offset, self.survey.chain.next),
        }
    }

    /// The next record of the chain.
    fn next(&mut self, line: Line<'_>, glance: &Glance<'_>, hash: Hash, ended: bool) {
        let recovery = (glance.r#type == "recovery").then(|| self.describes(line, glance));
        match (self.damage.take(), recovery) {
            (None, Some(true) | None) => {}
            (Some(damage), Some(true)) => {
                if let Some(why) = self.no_crash(&damage) {
                    return self.break_at(damage.line, damage.offset, damage.flaw, Some(&why));
                }
            }
            (_, Some(false)) => return self.break_here(line, Flaw::Misdescribed, None),
            (Some(damage), None) => {
                let because = format!("record {}, which belongs there, stands whole behind it", glance.seq);
                return self.break_at(damage.line, damage.offset, damage.flaw, Some(&because));
            }
        }
        if let Some(newer) = self.survey.newer {
            return self.break_here(line, Flaw::Version { v: glance.v, newer }, None);
        }
        if glance.durable < self.survey.durable || glance.durable.is_some_and(|durable| durable >= glance.seq)
        {
            return self.break_here(line, Flaw::Durable { durable: glance.durable }, None);
        }
        if let Err(flaw) = self.survey.signatures(glance) {
            return self.break_here(line, flaw, None);
        }
        // What a crash did to the record that closes a file is described behind it, and the file is open again.
        if self.survey.closed && glance.r#type != "recovery" {
            return self.break_here(line, Flaw::Closed, None);
        }
        self.survey.closed = glance.r#type == "rotate";
        self.survey.durable = glance.durable;
        self.take(hash);
        if !ended {
            self.survey.tail = Tail::NoNewline;
        }
        self.survey.note(glance, line.bytes, &self.file);
    }

    fn take_root(&mut self) {
        let size = self.survey.tree.size();
        if self.wanted.sizes.contains(&size) {
            self.survey.roots.insert(size, self.survey.tree.root());
        }
    }

    /// Whether a recovery record describes, to the byte, what stands before it.
    fn describes(&self, line: Line<'_>, glance: &Glance<'_>) -> bool {
        let expected_last = self.survey.chain.next.checked_sub(1);
        let (Some(offset), Some(len), Some(sha256)) = (glance.offset, glance.len, glance.sha256) else {
            return false;
        };
        if glance.last_good_seq != expected_last {
            return false;
        }
        let Some(damage) = &self.damage else {
            return len == 0 && offset == line.offset && sha256 == Hash::of(b"");
        };
        if offset != damage.offset {
            return false;
        }
        // Where the damage did not end in a newline, one was put behind it.
        let found = match damage.bytes.strip_suffix(b"\n") {
            Some(without) if without.len() as u64 == len && !without.ends_with(b"\n") => without,
            _ => &damage.bytes,
        };
        found.len() as u64 == len && sha256 == Hash::of(found)
    }

    /// Bytes that are no record.
    fn damaged(&mut self, line: Line<'_>, flaw: Flaw) {
        let damage = self.damage.get_or_insert_with(|| Damage {
            line: self.line,
            offset: line.offset,
            bytes: Vec::new(),
            flaw,
            highest: self.survey.chain.next,
        });
        damage.bytes.extend_from_slice(line.bytes);
        if damage.bytes.len() > LONGEST_DAMAGE {
            let (line, offset, flaw) = (damage.line, damage.offset, damage.flaw.clone());
            self.break_at(line, offset, flaw, Some("the damage is longer than anything a crash leaves"));
        }
    }

    /// An intact record, but not the next one.
    fn sound_but_misplaced(&mut self, line: Line<'_>, glance: &Glance<'_>, flaw: Flaw) {
        let next = self.survey.chain.next;
        let Some(damage) = &mut self.damage else {
            // No crash puts a whole record where another one belongs.
            return self.break_here(line, flaw, None);
        };
        let because = if glance.durable.is_some_and(|durable| durable >= next) {
            format!("record {} behind it says that record {next} was on disk", glance.seq)
        } else if glance.seq <= damage.highest {
            format!("record {} stands behind it, which no crash can put there", glance.seq)
        } else {
            damage.highest = glance.seq;
            return self.damaged(line, flaw);
        };
        let (line, offset, flaw) = (damage.line, damage.offset, damage.flaw.clone());
        self.break_at(line, offset, flaw, Some(&because));
    }

    fn break_here(&mut self, line: Line<'_>, what: Flaw, because: Option<&str>) {
        self.break_at(self.line, line.offset, what, because);
    }

    fn break_at(&mut self, line: u64, offset: u64, what: Flaw, because: Option<&str>) {
        if self.survey.broken.is_none() {
            self.survey.broken = Some(Break {
                file: self.file.clone(),
                line,
                offset,
                seq: self.survey.chain.next,
                what,
                because: because.map(str::to_owned),
            });
        }
    }
}

impl Survey {
    /// How many records there are.
    pub const fn records(&self) -> u64 {
        self.chain.next
    }

    /// The last record.
    pub fn head(&self) -> Option<Receipt> {
        self.chain.next.checked_sub(1).map(|seq| Receipt { seq, hash: self.chain.prev })
    }

    /// Whether this key signed the newest checkpoint; `None` where there is none.
    pub fn newest_is_signed(&self) -> Option<bool> {
        let (note, (_, key)) = (self.newest.as_ref()?, self.keys.last()?);
        Some(key.signed(note))
    }

    /// The newest checkpoint, as what is wrong with a log whose newest checkpoint nobody signed.
    pub fn unsigned(&self) -> Break {
        let seq = self.newest.as_ref().map_or(0, |note| note.checkpoint().size);
        let what = Flaw::Checkpoint { problem: "the key of the log did not sign it" };
        // Where in which file it is, is not kept; its number is its size.
        let file = self.live.as_ref().map(|(file, _)| file.clone()).unwrap_or_default();
        Break { file, line: 0, offset: 0, seq, what, because: None }
    }

    /// Takes in what a record says about signatures, before it counts as one of those that are there.
    fn signatures(&mut self, glance: &Glance<'_>) -> Result<(), Flaw> {
        match &*glance.r#type {
            "checkpoint" => {
                let wrong = |problem| Flaw::Checkpoint { problem };
                let note =
                    glance.note.as_deref().and_then(Note::exactly).ok_or(wrong("it is no signed note"))?;
                let here = Checkpoint { size: self.tree.size(), root: self.tree.root() };
                if note.checkpoint() != here {
                    return Err(wrong("its size or its root is another one"));
                }
                if self.keys.is_empty() {
                    return Err(wrong("no record before it names a key"));
                }
                self.checkpoints += 1;
                self.newest = Some(note);
            }
            "key" => {
                let vkey = glance.vkey.as_deref().unwrap_or_default();
                let bad = || Flaw::Key { vkey: foreign(vkey, 200) };
                let next: PublicKey = vkey.parse().map_err(|_| bad())?;
                if self.keys.last().is_some_and(|(_, before)| *before == next) {
                    return Ok(());
                }
                if let Some((_, before)) = self.keys.last()
                    && !glance.voucher.as_deref().is_some_and(|voucher| before.vouches(&next, voucher))
                {
                    return Err(bad());
                }
                if self.newest_is_signed() == Some(false) {
                    return Err(Flaw::Checkpoint { problem: "the last one before it has no good signature" });
                }
                self.keys.push((glance.seq, next));
                self.newest = None;
            }
            "genesis" | "recovery" => {}
            _ if self.keys.is_empty() => return Err(Flaw::NoKey),
            // A start writes it before anything else, so it can excuse nothing but what was missing then.
            "lost" => {
                let have = glance.have.unwrap_or_default();
                if have < self.quiet_since || have > glance.seq {
                    return Err(Flaw::Lost { have });
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// What starts found to be missing, as far as it is beyond doubt that they did: a checkpoint covers the record, or
    /// nothing was written behind it. What a stranger puts behind the last checkpoint excuses nothing.
    pub fn told(&self) -> impl Iterator<Item = &Lost> {
        let covered = self.newest.as_ref().map_or(0, |note| note.checkpoint().size);
        let last_word = self.quiet_since;
        let beyond_doubt = move |&(at, _): &(&u64, &Lost)| *at < covered || *at >= last_word;
        self.lost_at.iter().zip(&self.lost).filter(beyond_doubt).map(|(_, lost)| lost)
    }

    /// Whether a checkpoint was made so long ago, or before an end in order, that it must have reached the file beside
    /// the log.
    fn note_age(&mut self, glance: &Glance<'_>) {
        let (Some(boot), Some(mono)) = (glance.boot.as_deref(), glance.mono) else { return };
        let at = self.first_signed.as_ref().filter(|(first, _)| first == boot).map(|(_, at)| *at);
        match (&*glance.r#type, at) {
            ("stop", _) => {
                self.stopped = true;
                self.signed_for_long |= at.is_some();
            }
            ("start", _) => {
                self.signed_for_long |= self.stopped && self.first_signed.is_some();
                self.stopped = false;
            }
            ("checkpoint", None) => self.first_signed = Some((boot.to_owned(), mono)),
            (_, Some(at)) => self.signed_for_long |= mono.saturating_sub(at) > LONG_AGO,
            (_, None) => {}
        }
    }

    fn note_silence(&mut self, glance: &Glance<'_>) {
        let (Some(boot), Some(mono)) = (glance.boot.as_deref(), glance.mono) else { return };
        match &mut self.spoke {
            Some((run, at)) if run.as_str() == boot => {
                let silent = mono.saturating_sub(*at);
                *at = mono;
                if silent > LONGEST_SILENCE {
                    let seconds = silent / 1_000_000_000;
                    self.silences.push(Silence { after: glance.seq.saturating_sub(1), seconds });
                }
            }
            _ => self.spoke = Some((boot.to_owned(), mono)),
        }
    }

    fn note(&mut self, glance: &Glance<'_>, record: &[u8], file: &str) {
        self.first.get_or_insert_with(|| glance.ts.clone().into_owned());
        let last = self.last.get_or_insert_default();
        last.clear();
        last.push_str(&glance.ts);
        if !matches!(&*glance.r#type, "genesis" | "recovery" | "key" | "checkpoint" | "lost") {
            self.quiet_since = glance.seq + 1;
        }
        self.note_age(glance);
        self.note_silence(glance);
        match &*glance.r#type {
            "genesis" if self.install.is_none() => self.install.clone_from(&glance.install),
            "intent" => {
                self.intents += 1;
                self.open.insert(glance.seq, Open { record: record.into(), job: None });
            }
            "accepted" => match glance.parent.map(|parent| (parent, self.open.get_mut(&parent))) {
                Some((_, Some(open))) => open.job.clone_from(&glance.job),
                Some((parent, None)) if parent < self.pruned => {}
                _ => self.stray.push(glance.seq),
            },
            "outcome" => {
                let status = glance.result.as_ref().and_then(|result| as_typed(&result.status));
                // A word we do not know says nothing about how it went.
                let status = status.unwrap_or(Status::Unknown);
                match glance.parent.and_then(|parent| Some((parent, self.open.remove(&parent)?))) {
                    Some((parent, _)) => {
                        *self.ended.entry(status).or_default() += 1;
                        if status == Status::Unknown {
                            self.unknown.push(parent);
                        }
                    }
                    // Its intent was pruned.
                    None if glance.parent.is_some_and(|parent| parent < self.pruned) => {}
                    None => self.stray.push(glance.seq),
                }
            }
            "lost" => {
                self.lost_at.push(glance.seq);
                self.lost.push(Lost {
                    have: glance.have.unwrap_or_default(),
                    size: glance.size.unwrap_or_default(),
                    root: glance.root.unwrap_or(Hash::ZERO),
                    sink: foreign(glance.sink.as_deref().unwrap_or_default(), 200),
                });
            }
            "recovery" => self.recoveries.push(Recovered {
                seq: glance.seq,
                file: file.to_owned(),
                offset: glance.offset.unwrap_or_default(),
                len: glance.len.unwrap_or_default(),
                sha256: glance.sha256.unwrap_or(Hash::ZERO),
            }),
            _ => {}
        }
    }
}

/// What a text of the log means to this version.
fn as_typed<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    T::deserialize(serde::de::value::BorrowedStrDeserializer::<serde::de::value::Error>::new(text)).ok()
}

enum Problem<'a> {
    Flaw(Flaw),
    /// A record of a newer version, its place and its hash.
    Newer(Place<'a>, Hash),
}

/// Looks at a line by itself: is it an intact record?
fn look(text: &[u8], begins: bool) -> Result<(Glance<'_>, Hash), Problem<'_>> {
    let seal = seal_of(text).filter(|_| begins).ok_or(Problem::Flaw(Flaw::NoRecord))?;
    if seal.written != seal.computed {
        return Err(Problem::Flaw(Flaw::Altered { written: seal.written, computed: seal.computed }));
    }
    if let Some(glance) = Glance::outside(text) {
        return Ok((glance, seal.written));
    }
    let problem = match serde_json::from_slice::<Glance<'_>>(text) {
        Ok(glance) if glance.v == VERSION => return Ok((glance, seal.written)),
        Ok(glance) => format!("version {}", glance.v),
        Err(error) => error.to_string(),
    };
    match serde_json::from_slice::<Place<'_>>(text) {
        Ok(place) if place.v > VERSION => Err(Problem::Newer(place, seal.written)),
        _ => Err(Problem::Flaw(Flaw::Unreadable { problem: foreign(&problem, 200) })),
    }
}
