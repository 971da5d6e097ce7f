//! `--once`: the main job from end to end, each step checked against what it claims.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tailnas::audit::verify::{self, Against};
use tailnas::dispatch::Catalogue;
use tailnas::tools::Spec;
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::daemon::Daemon;
use tailnas_sim::world::{ALICE, BOB, Person, TAGGED, World};

/// Keeps count of the steps that did not do what they said.
struct Tour {
    step: u32,
    failed: u32,
}

impl Tour {
    fn step(&mut self, title: &str) {
        self.step += 1;
        println!("\n{}. {title}", self.step);
    }

    fn show(text: &str) {
        for line in text.trim_end().lines() {
            println!("     {line}");
        }
    }

    fn check(&mut self, claim: &str, holds: bool) {
        println!("   {} {claim}", if holds { "ok  " } else { "FAIL" });
        self.failed += u32::from(!holds);
    }
}

/// Walks the tour, once all is ready, so long after the demo began. Says whether every step did what it said.
pub async fn walk(world: &World, daemon: &Daemon, ready_after: Duration) -> io::Result<bool> {
    let mut tour = Tour { step: 0, failed: 0 };
    let (all, own) = (ready_after.as_millis(), daemon.ready_after.as_millis());
    println!("tailnas, ready after {all} ms, {own} of them the daemon's own, at {}", world.mcp_url());
    println!("Tailnet, provider and NAS are simulated; the daemon is the real one.");
    let alice = world.client(ALICE);
    let bob = world.client(BOB);

    tour.step("alice asks which tools she may use");
    let listed = alice.modern("tools/list", json!({})).await?;
    let tools = names(&listed);
    Tour::show(&tools.join(", "));
    let catalogue = Catalogue::new();
    let given_to = |person: Person| -> Vec<_> {
        let given = |spec: &Spec| spec.scope.is_none_or(|scope| person.scopes.contains(&scope.as_str()));
        catalogue.for_whoever(given).map(|item| item.spec().name).collect()
    };
    let hers = given_to(ALICE);
    tour.check(&format!("she sees the {} that her grant gives", hers.len()), tools == hers);
    tour.check("the list is hers alone to keep", listed.json()["result"]["cacheScope"] == "private");

    tour.step("alice looks at the pools");
    let pools = call_when_up(&alice, "pools_list", json!({})).await?;
    Tour::show(&pools.text());
    tour.check("the NAS answered", !pools.is_error());
    tour.check("as data too", pools.json()["result"]["structuredContent"]["pools"].is_array());

    tour.step("bob, who reads storage and nothing else, does the same and then asks for more");
    let tools = names(&bob.modern("tools/list", json!({})).await?);
    Tour::show(&format!("bob sees: {}", tools.join(", ")));
    tour.check("he sees storage reads and whoami", tools == given_to(BOB));
    let before = world.nas.transcript().len();
    let refused = bob.call("snapshot_create", json!({ "dataset": "tank/photos", "name": "bob" })).await?;
    Tour::show(&refused.text());
    tour.check("he is refused, and told which grant is missing", refused.text().contains("storage:write"));
    tour.check("nothing reached the NAS", world.nas.transcript().len() == before);

    tour.step("somebody takes alice's token to bob's machine");
    let thief = Client { from: bob.from, ..alice.clone() };
    let stolen = thief.call("pools_list", json!({})).await?;
    Tour::show(&format!("HTTP {}", stolen.status));
    tour.check("it is refused there", stolen.status == 401);

    tour.step("a tagged node comes with alice's token");
    let tagged = Client { from: TAGGED.address.into(), ..alice.clone() };
    let nobody = tagged.call("pools_list", json!({})).await?;
    Tour::show(&format!("HTTP {}", nobody.status));
    tour.check("it is nobody, and is not let in", nobody.status == 403);

    tour.step("alice asks for a snapshot, and agrees to the plan that her client shows her");
    let plan = alice
        .modern(
            "tools/call",
            json!({ "name": "snapshot_create", "arguments": {
            "dataset": "tank/photos", "name": "before-upgrade", "reason": "the app is about to be upgraded",
        } }),
        )
        .await?;
    Tour::show(&plan.text());
    let made_yet = world.nas.transcript().iter().any(|call| call.method.ends_with("snapshot.create"));
    tour.check("it is a plan, and not made yet", !plan.is_error() && !made_yet);
    let made =
        alice.call("snapshot_create", json!({ "dataset": "tank/photos", "name": "before-upgrade" })).await?;
    Tour::show(&made.text());
    let there = world.nas.transcript().iter().any(|call| call.method.ends_with("snapshot.create"));
    tour.check("it is made", !made.is_error() && there);
    let receipt = made.json()["result"]["_meta"]["tailnas.dev/audit"].clone();
    tour.check("the answer carries a receipt of the audit log", receipt["seq"].is_u64());

    tour.step("what the audit log has to say");
    let records = records(world)?;
    let mut shown = false;
    for record in &records {
        let kind = record["type"].as_str().unwrap_or_default();
        if ["intent", "outcome", "read", "denied", "auth_fail"].contains(&kind) {
            shown = true;
            Tour::show(&format!(
                "{:>4}  {kind:<9} {:<18} {:<16} {}",
                record["seq"],
                record["peer"]["user"].as_str().or(record["peer"]["node_name"].as_str()).unwrap_or("-"),
                record["tool"].as_str().unwrap_or("-"),
                summary(record),
            ));
        }
    }
    tour.check("it says anything at all", shown);
    tour.check("the theft is in it, by its reason", records.iter().any(|r| r["result"]["code"] == "binding"));
    let intent = records.iter().find(|record| record["type"] == "intent");
    let outcome = intent.and_then(|intent| records.iter().find(|record| record["parent"] == intent["seq"]));
    tour.check("the snapshot's intent has its outcome", outcome.is_some());
    tour.check(
        "no token is in it",
        alice.token.as_ref().is_some_and(|token| !format!("{records:?}").contains(token.as_str())),
    );

    tour.step("verify: has anybody changed it?");
    let report = verify::verify(&world.audit_dir(), &Against::default()).map_err(io::Error::other)?;
    Tour::show(&report.to_string());
    tour.check("nobody has", report.is_clean());

    println!();
    match tour.failed {
        0 => println!("All of it was so."),
        failed => println!("{failed} of these claims did not hold."),
    }
    Ok(tour.failed == 0)
}

/// The daemon is ready before its NAS is; a person would ask again too.
async fn call_when_up(client: &Client, tool: &str, arguments: Value) -> io::Result<Answer> {
    let mut answer = client.call(tool, arguments.clone()).await?;
    for _ in 0..50 {
        if !answer.is_error() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        answer = client.call(tool, arguments.clone()).await?;
    }
    Ok(answer)
}

fn names(answer: &Answer) -> Vec<String> {
    let json = answer.json();
    let tools = json["result"]["tools"].as_array().cloned().unwrap_or_default();
    tools.iter().filter_map(|tool| tool["name"].as_str().map(str::to_owned)).collect()
}

fn records(world: &World) -> io::Result<Vec<Value>> {
    let mut files: Vec<_> =
        std::fs::read_dir(world.audit_dir())?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    let mut records = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file)?;
        records.extend(text.lines().filter_map(|line| serde_json::from_str(line).ok()));
    }
    Ok(records)
}

fn summary(record: &Value) -> String {
    let part = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    [part(&record["target"]), part(&record["result"]["status"]), part(&record["result"]["code"])]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}
