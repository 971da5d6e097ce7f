//! Sends the rows of a section, and looks at what came of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};
use tailnas_sim::client::MODERN;
use tailnas_sim::fault::Fault;
use tailnas_sim::localapi::User;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{ALICE, BOB, CAPABILITY};

use crate::common::Bench;
use crate::row::{self, Row, Try, fill, fill_text};
use crate::wire::{Heard, say};

/// How many tries one daemon takes. Its log tells only so many peers apart, and each try is a peer of its own.
const TRIES: usize = 50;

/// Why HTTP refuses a request whose sender is admitted.
const BEHIND: [&str; 4] = ["body_too_large", "body_broken", "body_slow", "mcp"];

/// An argument that no log may show.
const SECRET: &str = "hunter2-in-an-argument";

/// Sends the tries of a section, and panics with a table where one was not answered as it must be.
pub async fn section(letter: char) {
    let rows = row::all();
    let tries: Vec<_> = rows
        .iter()
        .filter(|(id, _)| id.starts_with(letter))
        .flat_map(|(id, row)| {
            row.tries.iter().enumerate().map(move |(index, attempt)| (id, row, index, attempt))
        })
        .collect();
    let mut verdicts = Vec::new();
    let mut refusals = BTreeSet::new();
    for tries in tries.chunks(TRIES) {
        let mut round = Round::start().await;
        for (id, row, index, attempt) in tries {
            let verdict = round.attempt(row, attempt).await;
            let because = row.because.as_ref().map_or_else(String::new, |because| format!(" ({because})"));
            verdicts.push((format!("{id}/{}", index + 1), format!("{}{because}", row.what), verdict));
        }
        verdicts.extend(round.finish(&mut refusals).await);
    }
    if refusals.len() > 1 {
        verdicts.push((
            "all".to_owned(),
            "one answer for all causes".to_owned(),
            Err(format!("{refusals:?}")),
        ));
    }
    let failed = verdicts.iter().filter(|(_, _, verdict)| verdict.is_err()).count();
    let mut table = String::new();
    for (id, what, verdict) in &verdicts {
        let _ = match verdict {
            Ok(()) => writeln!(table, "{id:8} ok      {what}"),
            Err(why) => writeln!(table, "{id:8} FAILED  {what}: {why}"),
        };
    }
    assert!(failed == 0, "{failed} of {} were not answered as they must be:\n{table}", verdicts.len());
    assert!(verdicts.len() > 10, "a section without rows");
}

/// One daemon, and what was done to it.
struct Round {
    bench: Bench,
    tokens: Vec<String>,
    /// The address of each try, and the record there must be of it.
    expected: BTreeMap<Ipv4Addr, Option<(&'static str, String)>>,
    /// The addresses of those for which the NAS was not asked, though they were let in.
    recalled: Vec<Ipv4Addr>,
    heard: Vec<u8>,
    refusals: BTreeSet<String>,
}

impl Round {
    async fn start() -> Self {
        let bench = Bench::complete().await;
        let tokens = vec![];
        Self {
            bench,
            tokens,
            expected: BTreeMap::new(),
            recalled: Vec::new(),
            heard: Vec::new(),
            refusals: BTreeSet::new(),
        }
    }

    /// Sends one try from a node of its own, and says what was wrong with what came of it.
    async fn attempt(&mut self, row: &Row, attempt: &Try) -> Result<(), String> {
        let number = u8::try_from(self.expected.len() + 1).unwrap();
        let from = Ipv4Addr::new(127, 1, 0, number);
        let wanted = attempt.answer.as_ref().or(row.answer.as_ref()).unwrap().as_str();
        let code = attempt.audit.as_ref().or(row.audit.as_ref()).filter(|code| !code.is_empty());
        // An exception to a refusal is admitted, and leaves no record of a refusal.
        let code = code.filter(|_| wanted != "accepted");
        let says = attempt.says.as_ref().unwrap_or(&row.says);
        // Of whom we know, or of whoever it is.
        let known = wanted == "isError"
            || wanted.starts_with('-')
            || code.is_some_and(|code| BEHIND.contains(&code.as_str()));
        let kind = if known { "denied" } else { "auth_fail" };
        self.expected.insert(from, code.map(|code| (kind, code.clone())));

        let words = self.prepare(from, attempt);
        let request = request(attempt, &words);
        let before = (self.bench.nas_calls().len(), self.bench.world.tsidp.introspections());
        let heard = say(from, self.bench.world.address(), &request).await;
        self.bench.world.tsidp.faults().clear();
        let after = (self.bench.nas_calls().len(), self.bench.world.tsidp.introspections());
        self.heard.extend(&heard.bytes);
        if heard.status == 503 {
            // Or else the breaker would answer the rows to come.
            self.provider_is_well().await;
        }

        let mut wrong = Vec::new();
        if let Err(why) = self.judge(wanted, &heard) {
            wrong.push(why);
        }
        let text = String::from_utf8_lossy(&heard.bytes).into_owned();
        let read = format!("{text}\n{}", heard.text());
        for word in says {
            let word = fill_text(word, &words);
            if !read.to_ascii_lowercase().contains(&word.to_ascii_lowercase()) {
                wrong.push(format!("it does not say {word:?}"));
            }
        }
        for word in &attempt.hides {
            if read.contains(word.as_str()) {
                wrong.push(format!("it says {word:?}"));
            }
        }
        if heard.answers() > 1 {
            wrong.push(format!("{} answers to one request", heard.answers()));
        }
        match (wanted == "accepted" || attempt.reaches_nas, after.0 - before.0) {
            // What the NAS said a moment ago may be given again, and then the log says so.
            (true, 0) => self.recalled.push(from),
            (false, calls @ 1..) => wrong.push(format!("the NAS was asked {calls} times")),
            _ => {}
        }
        if attempt.asked.is_some_and(|asked| asked != after.1 - before.1) {
            wrong.push(format!("the provider was asked {} times", after.1 - before.1));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("{}; it was {}", wrong.join("; "), text.chars().take(700).collect::<String>()))
    }

    /// Lets the provider give one good answer.
    async fn provider_is_well(&self) {
        let answer = self.bench.client(ALICE).call("whoami", json!({})).await.unwrap();
        assert_eq!(answer.status, 200);
    }

    /// Makes the world as the try needs it.
    fn prepare(&mut self, from: Ipv4Addr, attempt: &Try) -> BTreeMap<&'static str, String> {
        let world = &self.bench.world;
        let token = world.tsidp.mint(TokenSpec::new(ALICE.login.unwrap(), &world.mcp_url()));
        let other = world.tsidp.mint(TokenSpec::new(BOB.login.unwrap(), &world.mcp_url()));
        self.tokens.extend([token.clone(), other.clone()]);
        let call = json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "pools_list", "arguments": {} },
        })
        .to_string();
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
        });
        let good = good_claims(&world.tsidp.issuer(), &world.mcp_url());
        let words = BTreeMap::from([
            ("token", token.clone()),
            ("other", other),
            ("host", world.address().to_string()),
            ("url", world.mcp_url()),
            ("issuer", world.tsidp.issuer()),
            ("length", format!("{:x}", call.len())),
            ("call", call),
            ("meta", meta.to_string()),
            ("good", good.to_string()),
            ("secret", SECRET.to_owned()),
        ]);

        let address = IpAddr::V4(from);
        let grants: Vec<Value> = match &attempt.grants {
            Some(grants) => serde_json::from_str(&fill_text(grants, &words)).unwrap(),
            None => vec![json!({ "scopes": ALICE.scopes, "nas": ["*"] })],
        };
        if !attempt.whois.is_empty() {
            let mut answer = whois(&grants);
            for (pointer, value) in &attempt.whois {
                replace(&mut answer, pointer, parsed(value));
            }
            world.tailnet.raw_whois(address, answer);
        } else if !attempt.nobody {
            world.tailnet.add_user_node(address, "laptop", User::new(456, "alice@example.com", "Alice Doe"));
            world.tailnet.grant(address, CAPABILITY, grants);
        }

        if attempt.claims.is_some() || !attempt.lacks.is_empty() {
            let mut claims = good;
            let changed = attempt.claims.as_deref().unwrap_or("{}");
            let changed: Value = serde_json::from_str(&fill_text(changed, &words)).unwrap();
            for (name, value) in changed.as_object().unwrap() {
                claims[name] = value.clone();
            }
            for name in &attempt.lacks {
                claims.as_object_mut().unwrap().remove(name).unwrap();
            }
            world.tsidp.set_claims(&token, claims);
        }
        if let Some(body) = &attempt.introspection {
            world.tsidp.faults().once(Fault::Body("application/json".to_owned(), fill(body, &words)));
        }
        if let Some(answer) = &attempt.provider {
            world.tsidp.faults().once(Fault::Wire(fill(&answer.replace('\n', "\r\n"), &words)));
        }
        words
    }

    /// Whether this is the answer that is wanted.
    fn judge(&mut self, wanted: &str, heard: &Heard) -> Result<(), String> {
        let challenge = heard.field("www-authenticate").unwrap_or_default().to_owned();
        let json = heard.json();
        let (status, so) = match wanted {
            "accepted" => (200, json["result"]["isError"] != true && json["result"]["content"].is_array()),
            "isError" => (
                200,
                json["result"]["isError"] == true && heard.text().contains("Nothing was sent to the NAS"),
            ),
            "list" => (200, json["result"]["tools"].is_array()),
            "C401" => {
                let no_error = !challenge.contains("error=") && json["error"] == "unauthorized";
                (401, challenge.contains("resource_metadata=") && no_error)
            }
            "R401" => {
                // To the byte the same, but for the port, which is each daemon's own, and the name of the request.
                let said = format!("{challenge} {}", String::from_utf8_lossy(&heard.body));
                let said = said.replace(json["request"].as_str().unwrap_or("no request is named"), "REQUEST");
                self.refusals.insert(said.replace(&self.bench.world.address().to_string(), "HOST"));
                (
                    401,
                    challenge.contains(r#"error="invalid_token""#)
                        && challenge.contains("resource_metadata="),
                )
            }
            "B400" => (400, challenge.contains(r#"error="invalid_request""#)),
            "S503" => {
                let wait = heard.field("retry-after").and_then(|wait| wait.parse::<u64>().ok());
                (503, challenge.is_empty() && wait.is_some_and(|wait| wait > 0))
            }
            code if code.starts_with('-') => {
                // JSON-RPC says it; HTTP only joins in.
                let (code, status) = match code.split_once(" in ") {
                    Some((code, status)) => (code, status.parse().unwrap()),
                    None if code == "-32602" => (code, 200),
                    None if code == "-32601" => (code, 404),
                    None => (code, 400),
                };
                (status, json["error"]["code"].as_i64() == code.parse().ok() && json["jsonrpc"] == "2.0")
            }
            status => (status.parse().unwrap(), challenge.is_empty()),
        };
        if heard.status != status {
            return Err(format!("it is {} and not {wanted}", heard.status));
        }
        if so { Ok(()) } else { Err(format!("it is not {wanted}")) }
    }

    /// Stops the daemon and looks at all that it has written.
    async fn finish(mut self, refusals: &mut BTreeSet<String>) -> Vec<(String, String, Result<(), String>)> {
        refusals.append(&mut self.refusals);
        let metrics = self.bench.world.metrics_address();
        let asked = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\n\r\n");
        let metrics = say(Ipv4Addr::LOCALHOST, metrics, asked.as_bytes()).await;
        assert!(contains(&metrics.body, b"tailnas_requests_total"), "{metrics:?}");
        assert!(self.bench.daemon.stop().await.unwrap().success(), "{}", self.bench.log());
        let mut verdicts = Vec::new();
        let mut found: BTreeMap<Ipv4Addr, Vec<(String, String)>> = BTreeMap::new();
        let records = self.bench.records();
        for address in &self.recalled {
            let address = address.to_string();
            let is_from_memory = |record: &Value| {
                let mut up = record["up"].as_array().into_iter().flatten();
                record["peer"]["ip"] == address && up.any(|up| up["from_memory"] == true)
            };
            if !records.iter().any(is_from_memory) {
                let why = "the NAS was not asked, and nothing that it said was given again".to_owned();
                verdicts.push((address, "what is accepted reaches the NAS".to_owned(), Err(why)));
            }
        }
        for record in records {
            let kind = record["type"].as_str().unwrap();
            if !matches!(kind, "auth_fail" | "denied") {
                continue;
            }
            let address = record["peer"]["ip"].as_str().or_else(|| record["from"].as_str());
            let address = address.unwrap_or_else(|| panic!("nobody knows whose this is: {record}"));
            let code = record["result"]["code"].as_str().unwrap();
            found.entry(address.parse().unwrap()).or_default().push((kind.to_owned(), code.to_owned()));
        }
        for (address, wanted) in &self.expected {
            let wanted: Vec<_> =
                wanted.iter().map(|(kind, code)| ((*kind).to_owned(), code.clone())).collect();
            let found = found.remove(address).unwrap_or_default();
            if found != wanted {
                let why = format!("there must be {wanted:?} and is {found:?}");
                verdicts.push((address.to_string(), "the audit log".to_owned(), Err(why)));
            }
        }
        if !found.is_empty() {
            verdicts.push(("others".to_owned(), "the audit log".to_owned(), Err(format!("{found:?}"))));
        }
        let audit: Vec<u8> = std::fs::read_dir(self.bench.world.audit_dir())
            .unwrap()
            .flat_map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect();
        let world = &self.bench.world;
        let secrets = self.tokens.iter().cloned().chain([
            world.nas.reader_key().key.clone(),
            world.nas.writer_key().key.clone(),
            world.nas.maintenance_key().key.clone(),
            SECRET.to_owned(),
        ]);
        let places = [
            ("answers", &self.heard),
            ("audit log", &audit),
            ("log", &self.bench.log().into_bytes()),
            ("metrics", &metrics.body),
        ];
        for secret in secrets {
            for (place, written) in places {
                if contains(written, secret.as_bytes()) {
                    let why = format!("a secret is in the {place}");
                    verdicts.push(("secrets".to_owned(), "no secret anywhere".to_owned(), Err(why)));
                }
            }
        }
        if let Some(byte) = self.bench.log().bytes().find(|byte| byte.is_ascii_control() && *byte != b'\n') {
            let why = format!("a control character {byte:#x} is in the log");
            verdicts.push((
                "log".to_owned(),
                "nothing that does something to a terminal".to_owned(),
                Err(why),
            ));
        }
        verdicts
    }
}

/// What TSIDP says about a good token of the reader's.
fn good_claims(issuer: &str, url: &str) -> Value {
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    json!({
        "active": true, "aud": ["6e52117d3075041c33c9bdceddbcfef1", url], "iss": issuer, "sub": "456",
        "client_id": "6e52117d3075041c33c9bdceddbcfef1", "exp": now + 300, "iat": now, "nbf": now - 300,
        "scope": "openid email profile", "token_type": "Bearer", "username": "alice@example.com",
    })
}

fn whois(grants: &[Value]) -> Value {
    json!({
        "Node": { "ID": 77, "StableID": "nHOSTILE", "Name": "laptop.tail1234.ts.net.", "User": 456 },
        "UserProfile": { "ID": 456, "LoginName": "alice@example.com", "DisplayName": "Alice Doe" },
        "CapMap": { CAPABILITY: grants },
    })
}

fn parsed(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap() }
}

fn replace(answer: &mut Value, pointer: &str, value: Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    answer.pointer_mut(parent).unwrap()[key] = value;
}

/// The bytes of a try's request.
fn request(attempt: &Try, words: &BTreeMap<&str, String>) -> Vec<u8> {
    if let Some(raw) = &attempt.raw {
        return fill(&raw.replace('\n', "\r\n"), words);
    }
    let body = match (&attempt.body, &attempt.tool, &attempt.args) {
        (Some(body), _, _) => fill(body, words),
        (None, tool, args) => {
            let name = fill_text(tool.as_deref().unwrap_or("pools_list"), words);
            let arguments: Value =
                serde_json::from_str(&fill_text(args.as_deref().unwrap_or("{}"), words)).unwrap();
            let mut call = json!({
                "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name, "arguments": arguments },
            });
            if attempt.modern {
                call["params"]["_meta"] = serde_json::from_str(&words["meta"]).unwrap();
            }
            call.to_string().into_bytes()
        }
    };
    let mut fields = vec![
        ("host", format!("Host: {}", words["host"])),
        ("content-type", "Content-Type: application/json".to_owned()),
        ("accept", "Accept: application/json, text/event-stream".to_owned()),
        ("content-length", format!("Content-Length: {}", body.len())),
    ];
    if attempt.modern {
        fields.extend([
            ("mcp-protocol-version", format!("MCP-Protocol-Version: {MODERN}")),
            ("mcp-method", "Mcp-Method: tools/call".to_owned()),
            ("mcp-name", "Mcp-Name: pools_list".to_owned()),
        ]);
    }
    let known: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    for name in &attempt.without {
        assert!(known.contains(&name.as_str()), "there is no {name} to leave out");
    }
    let line = attempt.line.as_deref().unwrap_or("POST /mcp HTTP/1.1");
    let mut bytes = [fill(line, words), b"\r\n".to_vec()].concat();
    let mut add = |field: &[u8]| bytes.extend([field, b"\r\n"].concat());
    for (name, field) in &fields {
        if !attempt.without.iter().any(|left_out| left_out == name) {
            add(field.as_bytes());
        }
    }
    let auth = attempt.auth.clone().unwrap_or_else(|| vec!["Bearer ⟨token⟩".to_owned()]);
    for value in auth {
        add(&[b"Authorization: ".to_vec(), fill(&value, words)].concat());
    }
    for field in &attempt.with {
        add(&fill(field, words));
    }
    [bytes, b"\r\n".to_vec(), body].concat()
}

/// Whether `needle` is somewhere in `hay`.
pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|piece| piece == needle)
}
