//! Checks a log from its first byte to its last, also while it is being written.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

pub use super::scan::{Break, Flaw, Recovered, Silence, Torn};

use super::chain::{Hash, Receipt};
use super::note::{Checkpoint, Given, Note, PublicKey};
use super::record::{Lost, Status, VERSION};
use super::scan::{Survey, Tail, Wanted, survey};
use super::sinks::{self, BESIDE};
use super::storage::{Files as _, Folder};
use crate::domain::text::foreign;

/// What a log is held against, besides itself.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// The key that must have signed it, or must have vouched for the one that did.
    pub vkey: Option<PublicKey>,
    /// Checkpoints from outside, each with where it comes from.
    pub outside: Vec<(String, Vec<Note>)>,
    /// Those in the file beside the log, which [`verify`](verify()) reads by itself.
    pub beside: Option<Vec<Note>>,
    /// Receipts that clients have.
    pub receipts: Option<Vec<Given>>,
}

/// Why a log cannot be checked at all.
#[derive(Debug, thiserror::Error)]
pub enum CannotCheck {
    /// There is none.
    #[error("there is no audit log in {}", .0.display())]
    NoLog(PathBuf),
    /// There is nothing in it that could be checked.
    #[error(
        "the audit log in {} has no signed record yet: there is nothing to check. So it looks when it has just begun, \
         and when somebody emptied it; only a checkpoint or a receipt from outside can tell",
        .0.display()
    )]
    Nothing(PathBuf),
    /// A newer version wrote it.
    #[error(
        "the audit log was written by a newer tailnas (format {0}; this one knows {VERSION}): check it with that one"
    )]
    Newer(u64),
    /// It cannot be read.
    #[error("the audit log in {} cannot be read", dir.display())]
    Unreadable {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a check has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All of it in one word.
    pub verdict: Verdict,
    /// How many files were read.
    pub files: u64,
    /// How many records are in order.
    pub records: u64,
    /// How many of them, the first ones, are there as hashes only.
    pub pruned: u64,
    /// Time of the first of them.
    pub first: Option<String>,
    /// Time of the last of them.
    pub last: Option<String>,
    /// The random name of the log, from its first record.
    pub install: Option<String>,
    /// The last record that is in order.
    pub head: Option<Receipt>,
    /// Root of the tree over all records that are in order (RFC 6962). Two logs with the same root are the same.
    pub root: Hash,
    /// The first place where the log is not what was written. Nothing behind it was looked at.
    pub broken: Option<Break>,
    /// The signatures in the log.
    pub signed: Signed,
    /// What was compared with it.
    pub compared: Vec<Compared>,
    /// What starts found to be missing.
    pub lost: Vec<Lost>,
    /// Bytes at the end that are not records.
    pub torn: Option<Torn>,
    /// Whether somebody, such as a daemon, had it locked during the check.
    pub live: bool,
    /// Damage from crashes that a later start has described.
    pub recoveries: Vec<Recovered>,
    /// Where the daemon ran and said nothing for longer than it ever does. No proof of anything: it may have hung, or the
    /// machine slept.
    pub silences: Vec<Silence>,
    /// Changes and what became of them.
    pub intents: Intents,
    /// What was not checked, in so many words.
    pub not_checked: Vec<String>,
}

/// The signatures in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Signed {
    /// The keys, each vouched for by the one before, with the record that names it.
    pub keys: Vec<(u64, PublicKey)>,
    /// How many checkpoints there are. The root of each is right, and the newest of each key is signed by it.
    pub checkpoints: u64,
    /// How many records the newest covers.
    pub covered: Option<u64>,
    /// How many records are newer than that.
    pub uncovered: u64,
    /// What is wrong.
    pub problem: Option<String>,
}

/// Something from outside the log, held against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// What it is.
    pub what: String,
    /// How many agree with the log.
    pub agree: u64,
    /// The most records that one of them vouches for.
    pub reach: Option<u64>,
    /// How many are of other logs, and were not looked at.
    pub foreign: u64,
    /// Those that do not agree, and why.
    pub problems: Vec<String>,
}

/// The outcome of a check in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything that was checked holds.
    Clean,
    /// The log is not what was written.
    Tampered,
    /// Only its end is damaged, as a crash may leave it. The next start describes that.
    Torn,
    /// Nothing is wrong with it by itself, and something that it was held against has no word about it: it may be
    /// another log than the one that belongs here.
    Unchecked,
}

/// Changes and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Intents {
    /// How many there are.
    pub total: u64,
    /// How many ended in which way.
    pub ended: BTreeMap<Status, u64>,
    /// The intents of which nobody knows how they went.
    pub unknown: Vec<u64>,
    /// The intents without an outcome: under way, or to be closed by the next start.
    pub open: Vec<u64>,
    /// Outcomes without an open intent. There are none, unless the daemon that wrote them has a fault.
    pub stray: Vec<u64>,
}

/// How often a running log is read again whose end looks torn.
const LOOKS: u32 = 8;

/// How long between two such looks. A write that takes longer is one that does not come to its end.
const BETWEEN: Duration = Duration::from_millis(300);

/// Checks the log in `dir`.
///
/// # Errors
///
/// When it cannot be read to its end; that says nothing about whether it is sound.
pub fn verify(dir: &Path, against: &Against) -> Result<Report, CannotCheck> {
    let mut report = look(dir, against)?;
    // A batch that is being written at this moment looks torn, and a moment later its end is elsewhere. That somebody
    // holds the lock is no proof of that: anybody who may read the folder can.
    for _ in 0..LOOKS {
        let may_mend = matches!(report.verdict, Verdict::Torn | Verdict::Unchecked);
        if !may_mend || !report.live {
            break;
        }
        std::thread::sleep(BETWEEN);
        let again = look(dir, against)?;
        let stands = again.torn == report.torn && again.head == report.head;
        report = again;
        if stands {
            break;
        }
    }
    Ok(report)
}

fn look(dir: &Path, against: &Against) -> Result<Report, CannotCheck> {
    let unreadable = |source| CannotCheck::Unreadable { dir: dir.to_owned(), source };
    let folder = Folder::new(dir);
    if folder.list().map_err(unreadable)?.is_empty() {
        return Err(CannotCheck::NoLog(dir.to_owned()));
    }
    let live = folder.is_being_written().map_err(unreadable)?;
    // Read before the log is: what is signed of a running log is in it by the time it is read.
    let mut against = against.clone();
    against.beside = Some(sinks::beside(&folder).map_err(unreadable)?);
    let found = survey(&folder, against.wanted()).map_err(unreadable)?;
    let newer = found.newer;
    let report = Report::of(found, live, &against);
    match newer {
        _ if report.verdict == Verdict::Tampered => Ok(report),
        Some(version) => Err(CannotCheck::Newer(version)),
        None if matches!(report.verdict, Verdict::Clean | Verdict::Unchecked)
            && report.signed.keys.is_empty() =>
        {
            Err(CannotCheck::Nothing(dir.to_owned()))
        }
        None => Ok(report),
    }
}

impl Against {
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            sizes: self
                .checkpoints()
                .flat_map(|(_, notes)| notes)
                .map(|note| note.checkpoint().size)
                .collect(),
            records: self.receipts.iter().flatten().map(|given| given.receipt.seq).collect(),
        }
    }

    /// What there is of checkpoints, each with where it comes from.
    fn checkpoints(&self) -> impl Iterator<Item = (&str, &Vec<Note>)> {
        let beside = self.beside.iter().map(|notes| (BESIDE, notes));
        beside.chain(self.outside.iter().map(|(what, notes)| (what.as_str(), notes)))
    }

    /// Holds checkpoints and receipts against what the reading of the log took down for them.
    fn compare(&self, found: &Survey) -> Vec<Compared> {
        let keys: Vec<&PublicKey> = found.keys.iter().map(|(_, key)| key).chain(&self.vkey).collect();
        let mut all: Vec<Compared> = Vec::new();
        for (what, notes) in self.checkpoints() {
            let mut compared = Compared::new(what);
            for note in notes {
                let checkpoint = note.checkpoint();
                let Checkpoint { size, root } = checkpoint;
                let result = match found.roots.get(&size) {
                    _ if !keys.iter().any(|key| key.signed(note)) => Err("its signature is not good"),
                    Some(here) if *here == root => Ok(()),
                    Some(_) => Err("the records it was made over were others"),
                    None => {
                        Err("the log has fewer records: its end was cut off, or an older copy was put back")
                    }
                };
                let ours = keys.iter().any(|key| key.name() == note.name());
                compared.add(ours, &format!("checkpoint over {size} records"), size, result);
            }
            if self.beside.is_some() && all.is_empty() {
                compared.look_beside(found, notes);
            }
            all.push(compared);
        }
        if let Some(receipts) = &self.receipts {
            let mut compared = Compared::new("receipts");
            for given in receipts {
                let Receipt { seq, hash } = given.receipt;
                let result = match found.hashes.get(&seq) {
                    _ if !keys.iter().any(|key| key.gave(given)) => Err("its signature is not good"),
                    Some(here) if *here == hash => Ok(()),
                    Some(_) => Err("the record is another one now"),
                    None => Err("the record is not there any more"),
                };
                let ours = keys.iter().any(|key| key.name() == given.name());
                compared.add(ours, &format!("receipt for record {seq}"), seq + 1, result);
            }
            all.push(compared);
        }
        all
    }
}

impl Compared {
    fn new(what: &str) -> Self {
        Self { what: what.to_owned(), agree: 0, reach: None, foreign: 0, problems: Vec::new() }
    }

    /// Whether it has nothing to say about this log: all of it is of others. So it is with a log that somebody put in
    /// the place of the one that signed what is kept outside.
    const fn is_silent(&self) -> bool {
        self.agree == 0 && self.problems.is_empty()
    }

    /// What the file beside the log must have, and must not.
    fn look_beside(&mut self, found: &Survey, notes: &[Note]) {
        let problem = match (found.keys.is_empty(), self.agree == 0 && self.problems.is_empty()) {
            (true, _) if !notes.is_empty() => {
                "it has checkpoints, and the log has no key that could have signed them"
            }
            (false, true) if found.signed_for_long => {
                "it has none of the checkpoints that the log has: it was emptied or taken away, or never could be \
                 written, and then the journal says so"
            }
            _ => return,
        };
        self.problems.push(problem.to_owned());
    }

    fn add(&mut self, ours: bool, what: &str, reach: u64, result: Result<(), &str>) {
        match result {
            _ if !ours => self.foreign += 1,
            Ok(()) => {
                self.agree += 1;
                self.reach = self.reach.max(Some(reach));
            }
            Err(problem) => self.problems.push(format!("{what}: {problem}")),
        }
    }
}

impl Signed {
    fn of(found: &Survey, vkey: Option<&PublicKey>) -> Self {
        let covered = found.newest.as_ref().map(|note| note.checkpoint().size);
        let problem = match (found.newest_is_signed(), vkey) {
            (Some(false), _) => {
                Some("the newest checkpoint is not signed with the key of the log".to_owned())
            }
            (_, Some(vkey)) if !found.keys.is_empty() && found.keys.iter().all(|(_, key)| key != vkey) => {
                Some(format!("another key than the one that should have signed it: {vkey}"))
            }
            _ => None,
        };
        Self {
            keys: found.keys.clone(),
            checkpoints: found.checkpoints,
            covered,
            // The record of the checkpoint itself is none that could be missed.
            uncovered: found.records().saturating_sub(covered.map_or(0, |size| size + 1)),
            problem,
        }
    }
}

impl Report {
    pub(super) fn of(found: Survey, live: bool, against: &Against) -> Self {
        let signed = Signed::of(&found, against.vkey.as_ref());
        let compared = against.compare(&found);
        let outside = &compared[usize::from(against.beside.is_some()).min(compared.len())..];
        let not_checked = not_checked(against, &signed, outside);
        // The file beside a log that has just begun may be empty; what was given from outside has something in it.
        let silent = compared.iter().any(|one| one.is_silent() && one.foreign > 0)
            || outside.iter().any(Compared::is_silent);
        let (records, head, root) = (found.records(), found.head(), found.tree.root());
        let no_newline = found.tail == Tail::NoNewline;
        let torn = match found.tail {
            Tail::Torn(torn) if found.broken.is_none() => Some(torn),
            _ => None,
        };
        let contradicted = signed.problem.is_some() || compared.iter().any(|one| !one.problems.is_empty());
        let verdict = if found.broken.is_some() || !found.stray.is_empty() || contradicted {
            Verdict::Tampered
        } else if silent {
            Verdict::Unchecked
        } else if torn.is_some() || no_newline {
            Verdict::Torn
        } else {
            Verdict::Clean
        };
        Self {
            verdict,
            files: found.files,
            records,
            pruned: found.pruned,
            first: found.first.map(|time| foreign(&time, 40)),
            last: found.last.map(|time| foreign(&time, 40)),
            install: found.install.map(|name| foreign(&name, 64)),
            head,
            root,
            broken: found.broken,
            torn,
            live,
            recoveries: found.recoveries,
            silences: found.silences,
            intents: Intents {
                total: found.intents,
                ended: found.ended,
                unknown: found.unknown,
                open: found.open.into_keys().collect(),
                stray: found.stray,
            },
            signed,
            compared,
            lost: found.lost,
            not_checked,
        }
    }

    /// Whether everything that was checked holds.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict == Verdict::Clean
    }
}

/// What a reading could not show, in so many words.
fn not_checked(against: &Against, signed: &Signed, outside: &[Compared]) -> Vec<String> {
    let mut list = Vec::new();
    if signed.keys.is_empty() {
        list.push("who wrote it: there is no signature in it".to_owned());
    } else if against.vkey.is_none() {
        list.push("whether the key that signed it is yours: it was taken from the log (--vkey)".to_owned());
    }
    for one in outside.iter().filter(|one| one.is_silent()) {
        list.push(format!(
            "whether this is the log that belongs here: {} has nothing that a key of this log signed",
            one.what
        ));
    }
    match outside.iter().filter_map(|one| one.reach).max() {
        Some(reach) => list.push(format!(
            "whether records were cut off at its end behind record {reach}: nothing from outside reaches further"
        )),
        None => list.push(
            "whether records were cut off at its end, or an older copy of the whole folder was put back: that \
             takes something from outside (--checkpoint, --journal, --receipts)"
                .to_owned(),
        ),
    }
    if signed.covered.is_some() && signed.uncovered > 0 {
        let uncovered = signed.uncovered;
        list.push(format!(
            "who wrote the last {uncovered} records: they are newer than the newest checkpoint"
        ));
    }
    list
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(problem) = &self.problem {
            return write!(f, "BAD  {problem}");
        }
        let Some((_, key)) = self.keys.last() else { return write!(f, "no") };
        write!(f, "{} checkpoints by {} ({} keys)", self.checkpoints, key.name(), self.keys.len())?;
        match self.covered {
            Some(size) => write!(f, ", the newest over {size} records"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, agree, reach, foreign, problems } = self;
        let total = *agree + problems.len() as u64;
        write!(f, "{what}: {agree} of {total} agree")?;
        if let Some(reach) = reach {
            write!(f, ", they reach to record {reach}")?;
        }
        if *foreign > 0 {
            write!(f, "; {foreign} of other logs")?;
        }
        for problem in problems.iter().take(20) {
            write!(f, "\n           BAD  {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, offset, seq, what, because } = self;
        match line {
            0 => write!(f, "record {seq}: {what}")?,
            _ => write!(f, "{file}, line {line} (byte {offset}), where record {seq} belongs: {what}")?,
        }
        match because {
            Some(because) => write!(f, "; {because}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let times = match (&self.first, &self.last) {
            (Some(first), Some(last)) => format!("   {first} .. {last}"),
            _ => String::new(),
        };
        writeln!(f, "files      {}   records {}{times}", self.files, self.records)?;
        match (&self.broken, self.records.checked_sub(1)) {
            (Some(broken), _) => {
                writeln!(f, "chain      BROKEN at {broken}")?;
                writeln!(f, "           nothing behind this was looked at")?;
            }
            (None, Some(last)) => writeln!(
                f,
                "chain      OK   seq 0..{last}, no gap{}",
                match self.recoveries.len() {
                    0 => String::new(),
                    1 => ", 1 recovery".to_owned(),
                    n => format!(", {n} recoveries"),
                }
            )?,
            (None, None) => writeln!(f, "chain      no records")?,
        }
        for recovered in &self.recoveries {
            let Recovered { seq, file, offset, len, sha256 } = recovered;
            writeln!(f, "recovery   seq {seq}: {len} bytes from byte {offset} of {file}, sha256 {sha256}")?;
        }
        if let Some(Torn { file, offset, len, .. }) = &self.torn {
            let meaning = if self.live {
                "somebody has the log open, and it stays as it is: no daemon is writing it to its end"
            } else {
                "as a crash leaves it; the next start describes it"
            };
            writeln!(f, "torn end   {len} bytes from byte {offset} of {file}: {meaning}")?;
        }
        if self.pruned > 0 {
            writeln!(
                f,
                "pruned     seq 0..{}: their hashes are there, what they said is not",
                self.pruned - 1
            )?;
        }
        writeln!(f, "root       {}   tree size {}", self.root, self.records)?;
        writeln!(f, "signed     {}", self.signed)?;
        for compared in &self.compared {
            writeln!(f, "compared   {compared}")?;
        }
        for Lost { have, size, sink, .. } in &self.lost {
            writeln!(
                f,
                "LOST       a start found {have} records where {sink} had a checkpoint over {size}: an older copy \
                 was put back, or the log was moved away"
            )?;
        }
        for Silence { after, seconds } in self.silences.iter().take(20) {
            let minutes = seconds / 60;
            writeln!(
                f,
                "SILENCE    {minutes} min behind record {after}: a daemon that runs says something each 15. It hung, the \
                 machine slept, or records are missing"
            )?;
        }
        if let Some(more) = self.silences.len().checked_sub(20).filter(|more| *more > 0) {
            writeln!(f, "SILENCE    and {more} more")?;
        }
        writeln!(f, "intents    {}", self.intents)?;
        for what in &self.not_checked {
            writeln!(f, "unchecked  {what}")?;
        }
        write!(
            f,
            "verdict    {}",
            match self.verdict {
                Verdict::Clean => "clean",
                Verdict::Tampered => "TAMPERED",
                Verdict::Torn => "torn end only",
                Verdict::Unchecked =>
                    "NOT CHECKED: what it was held against is about other logs, so it may be another one than yours",
            }
        )
    }
}

impl fmt::Display for Intents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { total, ended, unknown, open, stray } = self;
        write!(f, "{total}")?;
        let mut sign = " =";
        for (status, times) in ended {
            write!(f, "{sign} {times} {status}")?;
            if *status == Status::Unknown {
                write!(f, " (seq {})", Some20(unknown))?;
            }
            sign = " +";
        }
        if !open.is_empty() {
            write!(f, "{sign} {} open (seq {})", open.len(), Some20(open))?;
        }
        if !stray.is_empty() {
            write!(f, "; FAULT: outcomes without an intent (seq {})", Some20(stray))?;
        }
        Ok(())
    }
}

/// The first twenty of many numbers.
struct Some20<'a>(&'a [u64]);

impl fmt::Display for Some20<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, number) in self.0.iter().take(20).enumerate() {
            write!(f, "{}{number}", if index == 0 { "" } else { ", " })?;
        }
        if self.0.len() > 20 { write!(f, ", …") } else { Ok(()) }
    }
}
