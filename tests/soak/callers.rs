//! Fifty callers: most look, some change something, and some ask for what they may not have.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use serde_json::{Value, json};
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::localapi::User;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY, Person, TAGGED, World};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::history::{MARK, Named, Told, Who, Word, maker, marks};

pub const CALLERS: u8 = 50;

/// How many calls the hasty one makes at once, and how often in a row: no more connections than a node may have, and more
/// calls than the burst of forty that a caller has.
const RUSH: usize = 30;
const RUSHES: usize = 3;

const LOOKS: &[&str] = &["system:read", "storage:read", "jobs:read"];
const CHANGES: &[&str] = &["system:read", "storage:read", "storage:write", "jobs:read"];

/// Changes to one dataset are made one after the other. None of them has a quota: a snapshot that counts in one takes a person.
const DATASETS: [&str; 4] = ["tank/photos", "tank/media", "tank", "tank2/scratch"];

/// What a caller does besides looking.
#[derive(Clone, Copy)]
pub enum Part {
    Looks,
    /// Takes snapshots of one of the datasets.
    Changes(&'static str),
    /// Has a pool read through, which the NAS goes on with as a job.
    Scrubs,
    /// Asks for too much at once, now and then.
    Hasty,
    /// May look at the system and at nothing else; or has no token.
    Outside,
    /// Shows a token of this person's.
    Thief(Person),
}

/// Puts those into the tailnet that are not there yet, and says who does what.
pub fn invite(world: &World) -> Vec<(Person, Part)> {
    let mut all = vec![(ALICE, Part::Changes(DATASETS[0])), (BOB, Part::Hasty), (TAGGED, Part::Outside)];
    for number in 3..CALLERS {
        let part = match number % 10 {
            _ if number == CALLERS - 1 => Part::Scrubs,
            0 | 5 => Part::Changes(DATASETS[usize::from(number / 5) % DATASETS.len()]),
            1 => Part::Outside,
            2 => Part::Thief(all[usize::from(number) - 1].0),
            _ => Part::Looks,
        };
        let name: &'static str = format!("p{number}").leak();
        let login: &'static str = format!("{name}@example.com").leak();
        let person = Person {
            name,
            address: Ipv4Addr::new(127, 0, 3, number),
            login: Some(login),
            scopes: match part {
                Part::Changes(_) | Part::Scrubs => CHANGES,
                Part::Outside => &LOOKS[..1],
                Part::Looks | Part::Hasty | Part::Thief(_) => LOOKS,
            },
        };
        let user = User::new(1000 + u64::from(number), login, name);
        world.tailnet.add_user_node(person.address.into(), name, user);
        let grant = json!({ "scopes": person.scopes, "nas": ["*"] });
        world.tailnet.grant(person.address.into(), CAPABILITY, vec![grant]);
        all.push((person, part));
    }
    all
}

/// A caller at work, and all that they were told.
pub struct Caller<'w> {
    world: &'w World,
    who: Who,
    part: Part,
    client: Client,
    /// Whose token they show.
    shows: Person,
    began: Instant,
    /// Longest time that they wait for an answer.
    patience: Duration,
    asked: u64,
    pub told: Vec<Told>,
    /// Calls that were not answered, or not in time.
    pub unanswered: usize,
    /// Answers that say that the daemon itself failed.
    pub broken: Vec<String>,
}

impl<'w> Caller<'w> {
    pub fn new(world: &'w World, (person, part): (Person, Part), began: Instant, patience: Duration) -> Self {
        let Person { name, login, address, .. } = person;
        let shows = if let Part::Thief(other) = part { other } else { person };
        let mut caller = Self {
            world,
            who: Who { name, login, address },
            part,
            client: world.client(person),
            shows,
            began,
            patience,
            asked: 0,
            told: Vec::new(),
            unanswered: 0,
            broken: Vec::new(),
        };
        caller.log_in();
        caller
    }

    /// As a client does whose token is not good any more.
    fn log_in(&mut self) {
        self.client.token = self.world.token(self.shows, Duration::from_mins(5));
    }

    /// Calls once a second until `end`, the first time after `wait`.
    pub async fn work(mut self, wait: Duration, end: Instant) -> Self {
        let mut ticks = interval_at(self.began + wait, Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let at = ticks.tick().await;
            if at >= end || Instant::now() >= end {
                return self;
            }
            let second = at.duration_since(self.began).as_secs();
            // Neighbours are not in step.
            let turn = second + u64::from(self.who.address.octets()[3]);
            match (self.part, second) {
                // It reads much of the log.
                (Part::Changes(_) | Part::Looks, _) if turn % 60 == 10 => {
                    self.ask("changes_list", json!({}), None).await;
                }
                (Part::Changes(dataset), second) if second.is_multiple_of(3) => {
                    self.take_snapshot(dataset).await;
                }
                (Part::Scrubs, second) if second.is_multiple_of(5) => self.scrub().await,
                (Part::Hasty, second) if second % 10 == 5 => self.rush().await,
                _ => self.look().await,
            }
        }
    }

    /// A name that nobody has made up before.
    fn mark(&self) -> String {
        format!("{MARK}{}-{}", self.who.name, self.asked)
    }

    async fn look(&mut self) {
        let (tool, arguments, mark) = match self.asked % 4 {
            0 => ("whoami", json!({}), None),
            // There is no such dataset, and only the NAS knows.
            1 => {
                let mark = self.mark();
                ("snapshots_list", json!({ "within": format!("tank/photos/{mark}") }), Some(mark))
            }
            2 => ("pools_list", json!({}), None),
            _ => ("datasets_list", json!({}), None),
        };
        self.ask(tool, arguments, mark).await;
    }

    /// Once more, when nothing goes wrong any longer: a change, and what is told to nobody else.
    pub async fn conclude(&mut self) {
        self.log_in();
        if let Part::Changes(dataset) = self.part {
            self.take_snapshot(dataset).await;
        }
        for tool in ["whoami", "changes_list"] {
            self.ask(tool, json!({}), None).await;
        }
    }

    async fn take_snapshot(&mut self, dataset: &str) {
        let mark = self.mark();
        self.change("snapshot_create", json!({ "dataset": dataset, "name": mark }), Some(mark)).await;
    }

    async fn scrub(&mut self) {
        self.change("scrub_start", json!({ "pool": "tank2" }), None).await;
    }

    /// Plans a change, and agrees to it.
    async fn change(&mut self, tool: &'static str, mut arguments: Value, mark: Option<String>) {
        let Some(planned) = self.ask(tool, arguments.clone(), mark).await else { return };
        let plan = planned.json()["result"]["structuredContent"]["plan"].take();
        if plan.is_string() {
            arguments["plan"] = plan;
            // What was looked at for the plan has the mark in it, whatever becomes of this one.
            self.ask(tool, arguments, None).await;
        }
    }

    async fn rush(&mut self) {
        for _ in 0..RUSHES {
            let send = |_| send(&self.client, "pools_list", json!({}), self.began, self.patience);
            let answers = futures_util::future::join_all((0..RUSH).map(send)).await;
            for answer in answers {
                self.hear("pools_list", answer, None);
            }
        }
    }

    async fn ask(&mut self, tool: &'static str, arguments: Value, mark: Option<String>) -> Option<Answer> {
        self.asked += 1;
        let heard = send(&self.client, tool, arguments, self.began, self.patience).await;
        let answer = heard.as_ref().map(|heard| heard.answer.clone());
        self.hear(tool, heard, mark);
        if answer.as_ref().is_some_and(|answer| answer.status == 401) {
            self.log_in();
        }
        answer
    }

    fn hear(&mut self, tool: &str, heard: Option<Heard>, mark: Option<String>) {
        let Some(Heard { sent, got, answer }) = heard else {
            self.unanswered += 1;
            return;
        };
        let word = match word(&answer) {
            Ok(word) => word,
            Err(broken) => {
                self.broken.push(format!("{}: {tool}: {broken}", self.who.name));
                return;
            }
        };
        let result = answer.json()["result"].take();
        let looked = matches!(word, Word::Looked(_));
        let greets = (tool == "whoami" && looked).then(|| {
            let said = |what: &str| result["structuredContent"][what].as_str().unwrap_or("nobody").to_owned();
            (said("login"), said("address"))
        });
        let tells_of = if tool == "changes_list" && looked {
            let text = answer.text();
            marks(&text).filter_map(maker).map(str::to_owned).collect()
        } else {
            BTreeSet::new()
        };
        let request = answer.headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let request = request.unwrap_or_else(|| panic!("an answer without a name: {answer:?}")).to_owned();
        self.told.push(Told { request, who: self.who, sent, got, word, mark, greets, tells_of });
    }
}

/// An answer, when it was asked for and when it came.
struct Heard {
    sent: Duration,
    got: Duration,
    answer: Answer,
}

async fn send(
    client: &Client,
    tool: &str,
    arguments: Value,
    began: Instant,
    patience: Duration,
) -> Option<Heard> {
    let sent = began.elapsed();
    let call = client.modern("tools/call", json!({ "name": tool, "arguments": arguments }));
    let answer = timeout(patience, call).await.ok()?.ok()?;
    Some(Heard { sent, got: began.elapsed(), answer })
}

/// What an answer comes to, as a client can tell.
///
/// # Errors
///
/// Where it says that the daemon broke, or nothing that a client would understand.
fn word(answer: &Answer) -> Result<Word, String> {
    let status = answer.status.as_u16();
    let body = || format!("{status}: {}", String::from_utf8_lossy(&answer.body));
    match status {
        401 | 403 | 429 | 503 => return Ok(Word::Refused),
        // It took too long, and the log says what became of it.
        504 => return Ok(Word::Failed),
        200 => {}
        _ => return Err(body()),
    }
    let result = answer.json()["result"].take();
    let audit = &result["_meta"]["tailnas.dev/audit"];
    if result["isError"] == json!(true) {
        let text = answer.text();
        if text.contains("The daemon failed") {
            return Err(text);
        }
        if text.to_ascii_lowercase().contains("nothing was sent to the nas") {
            return Ok(Word::Refused);
        }
        return Ok(audit["receipt"]
            .as_str()
            .map_or(Word::Failed, |receipt| Word::NotMade(in_receipt(receipt))));
    }
    let (Some(seq), Some(hash)) = (audit["seq"].as_u64(), audit["hash"].as_str()) else { return Err(body()) };
    let named = Named { seq, hash: hash.to_owned() };
    let state = &result["structuredContent"]["state"];
    let made = (*state == "done" || *state == "running") && audit["receipt"].is_string();
    Ok(if made { Word::Made(named) } else { Word::Looked(named) })
}

/// The record that a receipt is for: `tailnas-receipt:NAME:SEQ:HASH:SIGNATURE`.
fn in_receipt(receipt: &str) -> Named {
    let [_, hash, seq] = receipt.rsplitn(4, ':').take(3).collect::<Vec<_>>()[..] else {
        panic!("no receipt: {receipt}");
    };
    Named { seq: seq.parse().unwrap(), hash: hash.to_owned() }
}
