//! Whether what callers were told, what the log says and what the NAS saw can all be true of one history.
//!
//! This reads the log by itself, by what `docs/AUDIT-LOG.md` says of it: nothing here is the daemon's own idea of its
//! records. "Before" is by `CLOCK_BOOTTIME`, which nobody sets: the log has it as `mono`, the simulator beside each call.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use tailnas_sim::nas::Exchange;

/// What the names begin with that callers make up: `soak-WHO-NUMBER`, each for one thing alone.
pub const MARK: &str = "soak-";

/// One answer that a caller got.
#[derive(Clone, Debug)]
pub struct Told {
    /// The name that the daemon gave the request.
    pub request: String,
    /// Who asked.
    pub who: Who,
    /// When it was sent, and when the answer was there, on one clock.
    pub sent: Duration,
    pub got: Duration,
    /// What the answer comes to.
    pub word: Word,
    /// A name that no request before it has told anybody.
    pub mark: Option<String>,
    /// Whom the answer says that it is for: login and address.
    pub greets: Option<(String, String)>,
    /// Whose changes are in an answer that tells of one's own.
    pub tells_of: BTreeSet<String>,
}

/// Who somebody is, as those around them know.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    pub name: &'static str,
    /// None for a tagged node.
    pub login: Option<&'static str>,
    pub address: Ipv4Addr,
}

/// What an answer comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Not done, and nothing sent to the NAS for it.
    Refused,
    /// A look, or a plan; the answer names its record.
    Looked(Named),
    /// A change was made, or taken on as a job; the answer names its record.
    Made(Named),
    /// A change was tried and did not end well; the answer names its record.
    NotMade(Named),
    /// Anything else that failed, with no record named.
    Failed,
}

/// A record that an answer names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub seq: u64,
    pub hash: String,
}

impl Word {
    fn named(&self) -> Option<&Named> {
        match self {
            Self::Looked(named) | Self::Made(named) | Self::NotMade(named) => Some(named),
            Self::Refused | Self::Failed => None,
        }
    }
}

/// As much of a record as this looks at.
#[derive(Clone, Debug, Deserialize)]
pub struct Record {
    pub seq: u64,
    pub mono: u64,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub durable: Option<u64>,
    pub hash: String,
    #[serde(default)]
    pub req: Option<String>,
    #[serde(default)]
    pub parent: Option<u64>,
    #[serde(default)]
    pub tool: Option<String>,
    #[serde(default)]
    pub target: Option<String>,
    #[serde(default)]
    pub peer: Option<Peer>,
    #[serde(default)]
    pub auth: Option<Auth>,
    #[serde(default)]
    pub up: Vec<Up>,
    #[serde(default)]
    pub result: Option<Ending>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    pub ip: Ipv4Addr,
    #[serde(default)]
    pub user: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Auth {
    #[serde(default)]
    pub username: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Up {
    #[serde(default)]
    pub from_memory: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Ending {
    pub status: String,
}

impl Record {
    fn status(&self) -> &str {
        self.result.as_ref().map_or("", |result| &result.status)
    }

    fn is(&self, kinds: &[&str]) -> bool {
        kinds.contains(&self.kind.as_str())
    }

    /// Whether something was sent to the NAS, or may be from here on.
    fn reaches_the_nas(&self) -> bool {
        self.kind == "intent" || self.up.iter().any(|call| !call.from_memory)
    }
}

/// A call that reached the NAS.
#[derive(Clone, Debug)]
pub struct Call {
    pub at: Duration,
    /// The request that it is for, where it names one.
    pub request: Option<String>,
    pub method: String,
    /// Its arguments, as JSON.
    pub params: String,
    /// Whether it changes something.
    pub changes: bool,
    /// Whether the NAS did it.
    pub done: bool,
}

impl Call {
    /// What the simulator saw; `changing` are the methods that change something.
    pub fn of(exchange: Exchange, changing: &BTreeSet<&str>) -> Self {
        // The request, a dot, and the number of the call.
        let request = exchange.id.as_ref().and_then(Value::as_str).and_then(|id| id.rsplit_once('.'));
        Self {
            at: exchange.boottime,
            request: request.map(|(request, _)| request.to_owned()),
            changes: changing.contains(exchange.method.as_str()),
            done: matches!(exchange.outcome, Some(Ok(_))),
            params: exchange.params.to_string(),
            method: exchange.method,
        }
    }
}

/// What cannot be. The numbers are those of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The NAS was asked for a change that no request is named for.
    Unnamed(String),
    /// … for which the log has no intent.
    NoIntent(String),
    /// … before its intent was written.
    BeforeIntent(String),
    /// … after its outcome, good or bad, was written.
    AfterOutcome(String),
    /// … of something else than its intent says.
    NotAsIntended(String),
    /// … once more.
    Twice(String),
    /// An intent with so many outcomes.
    Outcomes(u64, usize),
    /// An outcome, or a job that was accepted, of no intent, or not of the same request and tool.
    OfNoIntent(u64),
    /// An outcome that was written before its intent was known to be on disk.
    NotDurable(u64),
    /// An answer names a record that is not there, or is another one.
    NoRecord(String),
    /// An answer says something else than its record.
    Otherwise(String),
    /// A change was acknowledged that the NAS has not made.
    NeverMade(String),
    /// A request that was refused reached the NAS.
    Refused(String),
    /// An answer, or a record of it, is about somebody else.
    SomebodyElse(String),
    /// An answer was there before this request was sent, and names a later record.
    OutOfOrder(String),
}

/// Everything about a history that cannot be.
pub fn violations(told: &[Told], records: &[Record], calls: &[Call]) -> Vec<Violation> {
    let mut found = Vec::new();
    let log = Log::of(records);
    log.intents_have_one_outcome(&mut found);
    log.changes_were_intended(calls, &mut found);
    let mut made: BTreeSet<&str> = BTreeSet::new();
    let mut named: BTreeSet<&str> = BTreeSet::new();
    let mut marked: BTreeSet<&str> = BTreeSet::new();
    for call in calls {
        named.extend(call.request.as_deref());
        marked.extend(marks(&call.params));
        if call.changes && call.done {
            made.extend(call.request.as_deref());
        }
    }
    for answer in told {
        log.answer_is_on_record(answer, &made, &mut found);
        log.answer_is_for_its_caller(answer, &mut found);
        let sent = named.contains(answer.request.as_str())
            || answer.mark.as_deref().is_some_and(|mark| marked.contains(mark))
            || log.of_request(&answer.request).any(Record::reaches_the_nas);
        if answer.word == Word::Refused && sent {
            found.push(Violation::Refused(answer.request.clone()));
        }
    }
    answers_are_in_order(told, &mut found);
    found
}

/// The log, by number and by request.
struct Log<'a> {
    records: BTreeMap<u64, &'a Record>,
    requests: HashMap<&'a str, Vec<&'a Record>>,
    outcomes: HashMap<u64, Vec<&'a Record>>,
}

impl<'a> Log<'a> {
    fn of(records: &'a [Record]) -> Self {
        let mut log = Self { records: BTreeMap::new(), requests: HashMap::new(), outcomes: HashMap::new() };
        for record in records {
            log.records.insert(record.seq, record);
            if let Some(request) = &record.req {
                log.requests.entry(request).or_default().push(record);
            }
            if let Some(parent) = record.parent.filter(|_| record.kind == "outcome") {
                log.outcomes.entry(parent).or_default().push(record);
            }
        }
        log
    }

    fn of_request(&self, request: &str) -> impl Iterator<Item = &'a Record> {
        self.requests.get(request).into_iter().flatten().copied()
    }

    fn outcomes_of(&self, intent: u64) -> &[&'a Record] {
        self.outcomes.get(&intent).map_or(&[], Vec::as_slice)
    }

    fn intents_have_one_outcome(&self, found: &mut Vec<Violation>) {
        for (&seq, record) in &self.records {
            if record.kind == "intent" && self.outcomes_of(seq).len() != 1 {
                found.push(Violation::Outcomes(seq, self.outcomes_of(seq).len()));
            }
            if !record.is(&["outcome", "accepted"]) {
                continue;
            }
            let intent = record.parent.and_then(|parent| self.records.get(&parent));
            let theirs = |intent: &&&Record| {
                intent.kind == "intent" && (&intent.req, &intent.tool) == (&record.req, &record.tool)
            };
            match intent.filter(theirs) {
                None => found.push(Violation::OfNoIntent(seq)),
                Some(intent) if record.durable < Some(intent.seq) => found.push(Violation::NotDurable(seq)),
                Some(_) => {}
            }
        }
    }

    fn changes_were_intended(&self, calls: &[Call], found: &mut Vec<Violation>) {
        let mut sent = BTreeSet::new();
        for call in calls.iter().filter(|call| call.changes) {
            let Some(request) = &call.request else {
                found.push(Violation::Unnamed(call.method.clone()));
                continue;
            };
            let what = format!("{} for {request}", call.method);
            let Some(intent) = self.of_request(request).find(|record| record.kind == "intent") else {
                found.push(Violation::NoIntent(what));
                continue;
            };
            if Duration::from_nanos(intent.mono) >= call.at {
                found.push(Violation::BeforeIntent(what.clone()));
            }
            // A call whose answer was lost may come late; one that was answered has come.
            let answered = |outcome: &&Record| ["ok", "error"].contains(&outcome.status());
            let outcomes = self.outcomes_of(intent.seq).iter().copied();
            if outcomes.filter(answered).any(|outcome| Duration::from_nanos(outcome.mono) <= call.at) {
                found.push(Violation::AfterOutcome(what.clone()));
            }
            let target: BTreeSet<_> = marks(intent.target.as_deref().unwrap_or_default()).collect();
            if marks(&call.params).any(|mark| !target.contains(mark)) {
                found.push(Violation::NotAsIntended(what.clone()));
            }
            if !sent.insert((request, &call.method, &call.params)) {
                found.push(Violation::Twice(what));
            }
        }
    }

    fn answer_is_on_record(&self, answer: &Told, made: &BTreeSet<&str>, found: &mut Vec<Violation>) {
        let Some(Named { seq, hash }) = answer.word.named() else { return };
        let record = self.records.get(seq).filter(|record| record.hash == *hash);
        let Some(record) = record.filter(|record| record.req.as_deref() == Some(answer.request.as_str()))
        else {
            found.push(Violation::NoRecord(answer.request.clone()));
            return;
        };
        let agrees = match (&answer.word, record.kind.as_str()) {
            (Word::Looked(_), "read") | (Word::Made(_), "outcome") => record.status() == "ok",
            (Word::Made(_), "accepted") => true,
            (Word::NotMade(_), "outcome") => record.status() != "ok",
            _ => false,
        };
        if !agrees {
            found.push(Violation::Otherwise(answer.request.clone()));
        }
        if matches!(answer.word, Word::Made(_)) && !made.contains(answer.request.as_str()) {
            found.push(Violation::NeverMade(answer.request.clone()));
        }
    }

    fn answer_is_for_its_caller(&self, answer: &Told, found: &mut Vec<Violation>) {
        let Told { request, who, .. } = answer;
        let greeted = answer.greets.as_ref().is_none_or(|(login, address)| {
            Some(login.as_str()) == who.login && *address == who.address.to_string()
        });
        let theirs = answer.tells_of.iter().all(|name| name == who.name);
        let recorded = self.of_request(request).all(|record| {
            let node = record
                .peer
                .as_ref()
                .is_none_or(|peer| peer.ip == who.address && peer.user.as_deref() == who.login);
            // Who comes with somebody else's token is refused, and it is on record whose it was.
            let token = match &record.auth {
                Some(auth) if !record.is(&["denied", "auth_fail"]) => auth.username.as_deref() == who.login,
                Some(_) => true,
                // What ends a change says who asked in its intent.
                None => !record.is(&["intent", "read"]),
            };
            node && token
        });
        if !(greeted && theirs && recorded) {
            found.push(Violation::SomebodyElse(request.clone()));
        }
    }
}

/// What was acknowledged before a request was sent comes before it in the log.
fn answers_are_in_order(told: &[Told], found: &mut Vec<Violation>) {
    let mut by_sent: Vec<_> = told.iter().filter(|answer| answer.word.named().is_some()).collect();
    let mut by_got = by_sent.clone();
    by_sent.sort_by_key(|answer| answer.sent);
    by_got.sort_by_key(|answer| answer.got);
    let mut before = by_got.into_iter().peekable();
    let mut highest = None;
    for answer in by_sent {
        while let Some(earlier) = before.next_if(|earlier| earlier.got < answer.sent) {
            highest = highest.max(earlier.word.named().map(|named| named.seq));
        }
        if answer.word.named().map(|named| named.seq) <= highest {
            found.push(Violation::OutOfOrder(answer.request.clone()));
        }
    }
}

/// The names in a text that callers made up.
pub fn marks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(MARK).map(move |(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Who made a name up.
pub fn maker(mark: &str) -> Option<&str> {
    mark.strip_prefix(MARK)?.split('-').next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ALICE: Who = Who { name: "alice", login: Some("alice@example.com"), address: Ipv4Addr::LOCALHOST };
    const BOB: Who = Who { name: "bob", login: Some("bob@github"), address: Ipv4Addr::new(127, 0, 0, 2) };

    /// A history in which all is well: alice takes a snapshot, bob looks, and is refused something.
    #[derive(Clone)]
    struct History {
        told: Vec<Told>,
        records: Vec<Record>,
        calls: Vec<Call>,
    }

    fn record(who: Who, extra: Value) -> Record {
        let Value::Object(extra) = extra else { panic!("no record: {extra}") };
        let mut record = json!({
            "mono": 1000,
            "hash": format!("hash-{}", extra["seq"]),
            "peer": { "ip": who.address, "user": who.login },
            "auth": { "username": who.login },
        });
        record.as_object_mut().unwrap().extend(extra);
        serde_json::from_value(record).unwrap()
    }

    fn told(request: &str, who: Who, at: u64, word: Word) -> Told {
        Told {
            request: request.to_owned(),
            who,
            sent: Duration::from_nanos(at),
            got: Duration::from_nanos(at + 500),
            word,
            mark: None,
            greets: None,
            tells_of: BTreeSet::new(),
        }
    }

    fn named(seq: u64) -> Named {
        Named { seq, hash: format!("hash-{seq}") }
    }

    fn sound() -> History {
        let intent = json!({
            "seq": 1, "mono": 1000, "type": "intent", "req": "A", "tool": "snapshot_create",
            "target": "tank/photos@soak-alice-1",
        });
        let mut outcome = record(
            ALICE,
            json!({
                "seq": 2, "mono": 1200, "durable": 1, "type": "outcome", "req": "A", "parent": 1,
                "tool": "snapshot_create", "up": [{ "method": "pool.snapshot.create", "ms": 1 }],
                "result": { "status": "ok" },
            }),
        );
        (outcome.peer, outcome.auth) = (None, None);
        let read = json!({
            "seq": 3, "mono": 2100, "type": "read", "req": "B", "tool": "whoami", "result": { "status": "ok" },
        });
        let denied = json!({
            "seq": 4, "mono": 3100, "type": "denied", "req": "C", "tool": "snapshots_list",
            "result": { "status": "denied" },
        });
        let greets = Some(("bob@github".to_owned(), "127.0.0.2".to_owned()));
        let create = Call {
            at: Duration::from_nanos(1100),
            request: Some("A".to_owned()),
            method: "pool.snapshot.create".to_owned(),
            params: r#"[{"dataset":"tank/photos","name":"soak-alice-1"}]"#.to_owned(),
            changes: true,
            done: true,
        };
        let look = Call {
            at: Duration::from_nanos(900),
            request: None,
            method: "pool.query".to_owned(),
            params: "[]".to_owned(),
            changes: false,
            done: true,
        };
        History {
            told: vec![
                told("A", ALICE, 900, Word::Made(named(2))),
                Told { greets, ..told("B", BOB, 2000, Word::Looked(named(3))) },
                Told { mark: Some("soak-bob-1".to_owned()), ..told("C", BOB, 3000, Word::Refused) },
            ],
            records: vec![record(ALICE, intent), outcome, record(BOB, read), record(BOB, denied)],
            calls: vec![look, create],
        }
    }

    /// What is found once `change` is planted in a sound history.
    fn found(change: impl FnOnce(&mut History)) -> Vec<Violation> {
        let mut history = sound();
        change(&mut history);
        violations(&history.told, &history.records, &history.calls)
    }

    const SOUND: [Violation; 0] = [];

    #[test]
    fn in_a_sound_history_there_is_no_violation() {
        assert_eq!(found(|_| {}), SOUND);
        assert_eq!(
            marks(r#"["tank/photos@soak-a-1", "soak-b-22"]"#).collect::<Vec<_>>(),
            ["soak-a-1", "soak-b-22"]
        );
        assert_eq!(maker("soak-alice-7"), Some("alice"));
    }

    #[test]
    fn a_change_that_was_not_intended_or_not_so_is_found() {
        let what = || "pool.snapshot.create for A".to_owned();
        let unnamed = found(|history| history.calls[1].request = None);
        assert!(unnamed.contains(&Violation::Unnamed("pool.snapshot.create".to_owned())), "{unnamed:?}");
        let foreign = found(|history| {
            let other = Call { request: Some("Z".to_owned()), ..history.calls[1].clone() };
            history.calls.push(other);
        });
        assert_eq!(foreign, [Violation::NoIntent("pool.snapshot.create for Z".to_owned())]);
        let early = found(|history| history.calls[1].at = Duration::from_nanos(999));
        assert_eq!(early, [Violation::BeforeIntent(what())]);
        let late = found(|history| history.calls[1].at = Duration::from_nanos(1300));
        assert_eq!(late, [Violation::AfterOutcome(what())]);
        let other = found(|history| history.calls[1].params = r#"["soak-alice-2"]"#.to_owned());
        assert_eq!(other, [Violation::NotAsIntended(what())]);
        let twice = found(|history| history.calls.push(history.calls[1].clone()));
        assert_eq!(twice, [Violation::Twice(what())]);
    }

    #[test]
    fn an_intent_without_its_one_outcome_is_found() {
        let open = found(|history| {
            history.records.remove(1);
            history.told.remove(0);
        });
        assert_eq!(open, [Violation::Outcomes(1, 0)]);
        let two = found(|history| {
            let another = Record { seq: 5, ..history.records[1].clone() };
            history.records.push(another);
        });
        assert_eq!(two, [Violation::Outcomes(1, 2)]);
        let foreign = found(|history| history.records[1].tool = Some("snapshot_hold".to_owned()));
        assert_eq!(foreign, [Violation::OfNoIntent(2)]);
        let orphan = found(|history| {
            let record = Record { seq: 5, parent: Some(3), ..history.records[1].clone() };
            history.records.push(Record { kind: "accepted".to_owned(), ..record });
        });
        assert_eq!(orphan, [Violation::OfNoIntent(5)]);
        assert_eq!(found(|history| history.records[1].durable = Some(0)), [Violation::NotDurable(2)]);
        assert_eq!(found(|history| history.records[1].durable = None), [Violation::NotDurable(2)]);
    }

    #[test]
    fn an_answer_that_is_not_on_record_or_not_so_is_found() {
        let a = || "A".to_owned();
        let hash = found(|history| history.records[1].hash = "another".to_owned());
        assert_eq!(hash, [Violation::NoRecord(a())]);
        let gone = found(|history| history.told[0].word = Word::Made(named(77)));
        assert!(gone.contains(&Violation::NoRecord(a())), "{gone:?}");
        let other = found(|history| history.told[1].word = Word::Looked(named(2)));
        assert!(other.contains(&Violation::NoRecord("B".to_owned())), "{other:?}");
        let failed = found(|history| {
            history.records[1].result = Some(Ending { status: "error".to_owned() });
        });
        assert_eq!(failed, [Violation::Otherwise(a())]);
        let well = found(|history| history.told[0].word = Word::NotMade(named(2)));
        assert_eq!(well, [Violation::Otherwise(a())]);
        let look = found(|history| history.told[0].word = Word::Looked(named(2)));
        assert_eq!(look, [Violation::Otherwise(a())]);
        assert_eq!(found(|history| history.calls[1].done = false), [Violation::NeverMade(a())]);
        // The NAS takes a job on, which is what the answer names; its outcome follows.
        let job = found(|history| {
            let outcome = Record { seq: 5, ..history.records[1].clone() };
            history.records.push(outcome);
            history.records[1].kind = "accepted".to_owned();
        });
        assert_eq!(job, SOUND);
    }

    #[test]
    fn a_refusal_that_reached_the_nas_is_found() {
        let refused = || vec![Violation::Refused("C".to_owned())];
        let looked =
            found(|history| history.calls[0].params = r#"[["id","=","tank/soak-bob-1"]]"#.to_owned());
        assert_eq!(looked, refused());
        let called = found(|history| history.calls[0].request = Some("C".to_owned()));
        assert_eq!(called, refused());
        let recorded = found(|history| history.records[3].up = vec![Up { from_memory: false }]);
        assert_eq!(recorded, refused());
        assert_eq!(found(|history| history.records[3].up = vec![Up { from_memory: true }]), SOUND);
        let intended = found(|history| {
            let intent = json!({ "seq": 5, "type": "intent", "req": "C", "tool": "snapshot_create" });
            let outcome = json!({
                "seq": 6, "type": "outcome", "req": "C", "tool": "snapshot_create", "parent": 5, "durable": 5,
                "result": { "status": "cancelled" },
            });
            history.records.extend([record(BOB, intent), record(BOB, outcome)]);
        });
        assert_eq!(intended, refused());
    }

    #[test]
    fn an_answer_to_one_that_is_anothers_is_found() {
        let b = || vec![Violation::SomebodyElse("B".to_owned())];
        let greeted = found(|history| {
            history.told[1].greets = Some(("alice@example.com".to_owned(), "127.0.0.2".to_owned()));
        });
        assert_eq!(greeted, b());
        let elsewhere = found(|history| {
            history.told[1].greets = Some(("bob@github".to_owned(), "127.0.0.1".to_owned()));
        });
        assert_eq!(elsewhere, b());
        let token = found(|history| history.records[2].auth = history.records[0].auth.clone());
        assert_eq!(token, b());
        assert_eq!(found(|history| history.records[2].auth = None), b());
        let node = found(|history| history.records[2].peer = history.records[0].peer.clone());
        assert_eq!(node, b());
        let told = found(|history| history.told[1].tells_of.extend(["alice".to_owned()]));
        assert_eq!(told, b());
        let own = found(|history| history.told[1].tells_of.extend(["bob".to_owned()]));
        assert_eq!(own, SOUND);
        // Bob with alice's token is refused, and the log says so.
        assert_eq!(found(|history| history.records[3].auth = history.records[0].auth.clone()), SOUND);
    }

    #[test]
    fn answers_that_are_not_in_the_order_of_the_log_are_found() {
        let swapped = found(|history| {
            (history.told[0].sent, history.told[0].got) =
                (Duration::from_micros(4), Duration::from_nanos(4500));
        });
        assert_eq!(swapped, [Violation::OutOfOrder("A".to_owned())]);
        let beside = found(|history| history.told[0].got = Duration::from_nanos(2200));
        assert_eq!(beside, SOUND, "what overlaps may come in any order");
    }
}
