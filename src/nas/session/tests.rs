//! Calls under a warrant, with the NAS played by the test.

use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;
use crate::domain::access::{Read, Write};
use crate::nas::Status;
use crate::nas::connection::State;
use crate::nas::methods::{app, pool, snapshot, system, update};
use crate::nas::rpc::other_end::{OtherEnd, connect};
use crate::nas::version::Version;

mod recall;

const NOW: &str = "Goldeye";

/// A session on a connection whose other end is played by the test.
struct Stage {
    tasks: JoinSet<Lost>,
    state: watch::Sender<State>,
    line: Line,
}

impl Stage {
    async fn new(generation: Version) -> (Self, OtherEnd) {
        let mut tasks = JoinSet::new();
        let (connection, nas) = connect(&mut tasks).await;
        let live = Live { connection, generation, version: NOW.into() };
        let up = Status::Up { since: DateTime::<Utc>::UNIX_EPOCH, version: NOW.into(), generation };
        let (state, seen) = watch::channel(State::up(up, live));
        (Self { tasks, state, line: Line::new("someone".into(), seen) }, nas)
    }

    async fn reconnect(&mut self) -> OtherEnd {
        let (connection, nas) = connect(&mut self.tasks).await;
        let Status::Up { generation, .. } = self.state.borrow().status else { panic!("not up") };
        let live = Live { connection, generation, version: NOW.into() };
        let status = self.state.borrow().status.clone();
        self.state.send_replace(State::up(status, live));
        nas
    }

    fn session<A: Access>(&self) -> Session<'static, A> {
        Session::on(Some(self.line.clone()))
    }
}

const GOLDEYE: Version = Version::new(25, 10, 0);

async fn refuse(nas: &mut OtherEnd, error: &Value) {
    let id = nas.hear().await["id"].clone();
    nas.say(json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
}

async fn answer(nas: &mut OtherEnd, result: &Value) {
    let id = nas.hear().await["id"].clone();
    nas.say(json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
}

fn call_error(errno: i64, errname: &str, reason: &str) -> Value {
    json!({"code": -32001, "message": "Method call error", "data": {
        "error": errno, "errname": errname, "reason": reason, "extra": null,
        "trace": {"class": "CallError", "frames": [{"locals": {"password": "hunter2"}}], "formatted": "hunter2"}}})
}

fn invalid(extra: &Value) -> Value {
    json!({"code": -32602, "message": "Invalid params", "data": {
        "error": 22, "errname": "EINVAL", "reason": "[EINVAL] …", "extra": extra, "trace": {"formatted": "hunter2"}}})
}

fn too_many() -> Value {
    json!({"code": -32000, "message": "Maximum number of concurrent calls (20) has exceeded"})
}

#[tokio::test]
async fn every_refusal_becomes_something_to_act_on() {
    let rows = [
        (
            call_error(13, "EACCES", "[EACCES] Not authorized"),
            "the account someone may not call pool.snapshot.create on the NAS",
            "Nothing was changed.",
        ),
        (
            call_error(2, "ENOENT", "[ENOENT] no pool"),
            "the NAS does not have it: no pool",
            "Nothing was changed.",
        ),
        (
            call_error(17, "EEXIST", "[EEXIST] is there"),
            "the NAS has it already: is there",
            "Nothing was changed.",
        ),
        (call_error(16, "EBUSY", "[EBUSY] at it"), "the NAS is busy: at it", "Nothing was changed."),
        (
            call_error(14, "EFAULT", "[EFAULT] disk\nfell off"),
            "the NAS refused with EFAULT: disk fell off",
            "The NAS reports a failure. What it had begun before that may remain.",
        ),
        (
            call_error(201, "ENOMETHOD", "[ENOMETHOD] none"),
            "TrueNAS Goldeye has no pool.snapshot.create",
            "Nothing was changed.",
        ),
        (
            json!({"code": -32601, "message": "Method does not exist"}),
            "TrueNAS Goldeye has no pool.snapshot.create",
            "Nothing was changed.",
        ),
        (
            too_many(),
            "the NAS is busy: Maximum number of concurrent calls (20) has exceeded",
            "Nothing was changed.",
        ),
        (
            invalid(&json!([["data.name", "too odd", 22], ["data.x", "Extra inputs", 22]])),
            "the NAS does not accept the arguments: data.name: too odd; data.x: Extra inputs",
            "Nothing was changed.",
        ),
        (
            invalid(&json!([[null, "Pool 99 does not exist", 2]])),
            "the NAS does not have it: Pool 99 does not exist",
            "Nothing was changed.",
        ),
        (
            json!({}),
            "the NAS refused with JSON-RPC 0: ",
            "The NAS reports a failure. What it had begun before that may remain.",
        ),
    ];
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    for (refusal, says, meaning) in rows {
        let session = stage.session::<Write>();
        let call = session.call(snapshot::Create, snapshot::Create::example());
        let (error, ()) = tokio::join!(call, refuse(&mut nas, &refusal));
        let error = error.unwrap_err();
        assert_eq!((error.to_string().as_str(), error.meaning()), (says, meaning));
        assert!(!error.next_step().is_empty());
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        assert!(matches!(&*session.trips(), [Trip { method: "pool.snapshot.create", ok: false, .. }]));
    }
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_unknown_and_not_sent_again() {
    let (mut stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Write>();
    let lose = async {
        nas.hear().await;
        nas.close(1001, "going away").await;
        stage.reconnect().await
    };
    let (error, mut nas) = tokio::join!(session.call(snapshot::Create, snapshot::Create::example()), lose);
    let error = error.unwrap_err();
    assert!(matches!(error, NasError::Unknown { method: "pool.snapshot.create", .. }), "{error:?}");
    assert!(error.meaning().starts_with("It is not known whether it was done."));
    // The first thing the new connection hears is the next call, not the same one again.
    let look = stage.session::<Read>();
    let (ready, ()) = tokio::join!(look.call(system::Ready, []), answer(&mut nas, &json!(true)));
    assert_eq!(ready, Ok(true));
}

#[tokio::test]
async fn a_look_whose_answer_is_lost_is_sent_once_more() {
    let (mut stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let lose = async {
        nas.hear().await;
        nas.close(1001, "going away").await;
        let mut nas = stage.reconnect().await;
        answer(&mut nas, &json!("TrueNAS-25.10.1")).await;
        nas
    };
    let (version, _nas) = tokio::join!(session.call(system::FullVersion, []), lose);
    assert_eq!(version.unwrap(), "TrueNAS-25.10.1");
    assert_eq!(session.trips().iter().map(|trip| trip.ok).collect::<Vec<_>>(), [false, true]);
}

#[tokio::test]
async fn a_look_is_sent_again_when_there_were_too_many_calls_or_the_login_had_run_out() {
    let (mut stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let play = async {
        refuse(&mut nas, &too_many()).await;
        refuse(&mut nas, &too_many()).await;
        refuse(&mut nas, &call_error(13, "EACCES", "[EACCES] Session is expired")).await;
        let mut nas = stage.reconnect().await;
        answer(&mut nas, &json!(true)).await;
        nas
    };
    let (ready, _nas) = tokio::join!(session.call(system::Ready, []), play);
    assert_eq!(ready, Ok(true));
}

#[tokio::test]
async fn a_look_that_is_always_turned_away_ends_as_busy() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let play = async {
        for _ in 0..=TURNED_AWAY {
            refuse(&mut nas, &too_many()).await;
        }
    };
    let (busy, ()) = tokio::join!(session.call(system::Ready, []), play);
    assert!(matches!(busy, Err(NasError::Busy { .. })), "{busy:?}");
}

#[tokio::test]
async fn an_answer_of_another_shape_is_told_by_its_path_and_without_its_values() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let odd = json!([{"id": 1, "name": "tank", "status": "ONLINE", "size": "hunter2"}]);
    let (error, ()) = tokio::join!(session.call(pool::Pools, pool::all()), answer(&mut nas, &odd));
    assert_eq!(
        error.unwrap_err(),
        NasError::Unexpected {
            method: "pool.query",
            path: "[0].size".into(),
            problem: "expected u64".into(),
            changed: false
        }
    );
}

#[tokio::test]
async fn what_a_generation_lacks_is_not_sent() {
    let (stage, _nas) = Stage::new(Version::new(25, 4, 2)).await;
    let session = stage.session::<Read>();
    assert_eq!(
        session.call(update::Versions, []).await.unwrap_err(),
        NasError::NoSuchMethod { method: "update.available_versions", version: NOW.into() }
    );
    assert_eq!(session.trips(), []);
}

const OF_STATS: &str = r#"app.stats:{"interval":2}"#;
const UUID: &str = "11111111-2222-4333-8444-555555555555";

fn event(collection: &str, fields: &Value) -> Value {
    json!({"jsonrpc": "2.0", "method": "collection_update",
        "params": {"msg": "added", "collection": collection, "fields": fields}})
}

fn used(app: &str) -> Value {
    json!([{"app_name": app, "cpu_usage": 1, "memory": 2, "networks": []}])
}

const FEW: Bounds = Bounds { items: 2, bytes: 1 << 20, time: Duration::from_secs(20) };

/// Hears what takes a subscription back.
async fn taken_back(nas: &mut OtherEnd) {
    let call = nas.hear().await;
    assert_eq!((&call["method"], &call["params"]), (&json!("core.unsubscribe"), &json!([UUID])));
    nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": null})).await;
}

#[tokio::test]
async fn an_event_source_is_followed_as_far_as_was_asked_and_no_longer() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let play = async {
        let call = nas.hear().await;
        assert_eq!((&call["method"], &call["params"]), (&json!("core.subscribe"), &json!([OF_STATS])));
        // An event may overtake the answer, and others' events are none of ours.
        nas.say(event(OF_STATS, &used("one"))).await;
        nas.say(event("app.stats:{}", &used("other"))).await;
        nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
        for app in ["two", "three"] {
            nas.say(event(OF_STATS, &used(app))).await;
        }
    };
    let (told, ()) = tokio::join!(session.follow(app::Stats, app::Every { interval: 2 }, FEW), play);
    let told = told.unwrap();
    let apps: Vec<_> = told.items.iter().map(|sample| sample[0].app_name.as_str()).collect();
    assert_eq!((apps, told.end, told.missed), (vec!["one", "two"], End::Items, false));
    taken_back(&mut nas).await;
    assert!(matches!(&*session.trips(), [Trip { method: "app.stats", ok: true, .. }]));
}

#[tokio::test]
async fn a_subscription_that_nobody_waits_for_is_taken_back() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let call = tokio::select! {
        _ = session.follow(app::Stats, app::Every { interval: 2 }, FEW) => panic!("nobody answered"),
        call = nas.hear() => call,
    };
    nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
    taken_back(&mut nas).await;
    // The same while events are awaited.
    tokio::select! {
        _ = session.follow(app::Stats, app::Every { interval: 2 }, FEW) => panic!("there was one event only"),
        () = async {
            let call = nas.hear().await;
            nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
            nas.say(event(OF_STATS, &used("one"))).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        } => {}
    }
    taken_back(&mut nas).await;
}

#[tokio::test]
async fn bounds_in_bytes_and_time_and_the_end_of_the_source_are_kept() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    for (bounds, say, end, items) in [
        (Bounds { bytes: 10, ..FEW }, Some(event(OF_STATS, &used("one"))), End::Bytes, 1),
        (Bounds { time: Duration::from_millis(20), ..FEW }, None, End::Time, 0),
        (
            FEW,
            Some(json!({"jsonrpc": "2.0", "method": "notify_unsubscribed",
            "params": {"collection": OF_STATS, "error": null}})),
            End::Source,
            0,
        ),
    ] {
        let session = stage.session::<Read>();
        let play = async {
            let call = nas.hear().await;
            nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
            if let Some(say) = say {
                nas.say(say).await;
            }
            taken_back(&mut nas).await;
        };
        let (told, ()) = tokio::join!(session.follow(app::Stats, app::Every { interval: 2 }, bounds), play);
        let told = told.unwrap();
        assert_eq!((told.end, told.items.len()), (end, items));
    }
}

#[tokio::test]
async fn events_that_wait_to_be_taken_are_bounded_in_bytes_and_those_that_are_missed_are_told_of() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let large = used(&"x".repeat(600 << 10));
    let play = async {
        let call = nas.hear().await;
        // All of them before the answer without which nobody takes any.
        for _ in 0..5 {
            nas.say(event(OF_STATS, &large)).await;
        }
        nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
        taken_back(&mut nas).await;
    };
    let bounds = Bounds { items: 5, bytes: usize::MAX, time: Duration::from_millis(200) };
    let (told, ()) = tokio::join!(session.follow(app::Stats, app::Every { interval: 2 }, bounds), play);
    let told = told.unwrap();
    assert_eq!((told.items.len(), told.end, told.missed), (3, End::Time, true));
}

#[tokio::test]
async fn arguments_that_the_source_refuses_and_a_lost_connection_are_errors() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let session = stage.session::<Read>();
    let play = async {
        let call = nas.hear().await;
        let error = json!({"error": 22, "errname": "EINVAL", "reason": "[EINVAL] no", "trace": {"x": "hunter2"},
            "extra": [["container_id", "Container not found", 22]]});
        nas.say(json!({"jsonrpc": "2.0", "method": "notify_unsubscribed",
            "params": {"collection": OF_STATS, "error": error}}))
            .await;
        nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
        taken_back(&mut nas).await;
    };
    let (told, ()) = tokio::join!(session.follow(app::Stats, app::Every { interval: 2 }, FEW), play);
    assert_eq!(
        told.unwrap_err().to_string(),
        "the NAS does not accept the arguments: container_id: Container not found"
    );
    let refusal = call_error(13, "EACCES", "[EACCES] Not authorized");
    let call = session.follow(app::Stats, app::Every { interval: 2 }, FEW);
    let (told, ()) = tokio::join!(call, refuse(&mut nas, &refusal));
    assert!(matches!(told, Err(NasError::NotAuthorized { method: "app.stats", .. })), "{told:?}");
    let lose = async {
        let call = nas.hear().await;
        nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
        nas.close(1001, "going away").await;
    };
    let (told, ()) = tokio::join!(session.follow(app::Stats, app::Every { interval: 2 }, FEW), lose);
    assert!(matches!(told, Err(NasError::Away { .. })), "{told:?}");
}

#[tokio::test]
async fn who_wants_the_same_waits_for_his_turn() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let (one, other) = (stage.session::<Read>(), stage.session::<Read>());
    let bounds = Bounds { items: 1, ..FEW };
    let play = async {
        for app in ["first", "second"] {
            let call = nas.hear().await;
            assert_eq!(call["method"], "core.subscribe");
            nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
            nas.say(event(OF_STATS, &used(app))).await;
            taken_back(&mut nas).await;
        }
    };
    let (first, second, ()) = tokio::join!(
        one.follow(app::Stats, app::Every { interval: 2 }, bounds),
        other.follow(app::Stats, app::Every { interval: 2 }, bounds),
        play
    );
    assert_eq!(first.unwrap().items[0][0].app_name, "first");
    assert_eq!(second.unwrap().items[0][0].app_name, "second");
}

#[tokio::test]
async fn without_a_writer_there_are_no_changes() {
    let session: Session<'_, Write> = Session::on(None);
    let error = session.call(snapshot::Create, snapshot::Create::example()).await;
    assert_eq!(error.unwrap_err(), NasError::NoWriter);
}

#[test]
fn a_call_can_be_made_on_any_thread() {
    fn sent<T: Send>(_: T) {}
    fn check(session: &Session<'_, Write>) {
        sent(session.call(snapshot::Create, snapshot::Create::example()));
        sent(session.call(pool::Pools, pool::all()));
    }
    let _ = check;
}
