//! Calls and answers on one connection.

use serde_json::json;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::other_end::{OtherEnd, connect};
use super::*;

const NOTHING: [(); 0] = [];

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test]
async fn answers_find_their_calls_in_any_order() {
    let mut tasks = JoinSet::new();
    let (connection, mut nas) = connect(&mut tasks).await;
    let call = |method| connection.call(method, &NOTHING, soon());
    let serve = async {
        let (first, second) = (nas.hear().await, nas.hear().await);
        assert_eq!(first["jsonrpc"], "2.0");
        assert_eq!(first["params"], json!([]));
        nas.say(json!({"jsonrpc": "2.0", "method": "collection_update", "params": {"msg": "added"}})).await;
        nas.say(json!({"jsonrpc": "2.0", "result": "nobody's", "id": 999})).await;
        nas.say(json!({"jsonrpc": "2.0", "result": "nobody's", "id": "c-1"})).await;
        nas.say(json!({"jsonrpc": "2.0", "error": {"code": -32700, "message": "?"}, "id": null})).await;
        nas.say(json!({"jsonrpc": "2.0", "result": [second["method"], "é"], "id": second["id"]})).await;
        nas.say(json!({"jsonrpc": "2.0", "result": null, "id": first["id"]})).await;
    };
    let (first, second, ()) = tokio::join!(call("a"), call("b"), serve);
    assert_eq!(first.unwrap().json(), "null");
    assert_eq!(second.unwrap().json(), r#"["b","é"]"#);
    assert!(connection.calls.table().is_empty());
    assert_eq!(connection.slots.available_permits(), SLOTS);
}

#[tokio::test]
async fn what_is_not_json_rpc_ends_the_connection_and_every_call_on_it() {
    for garbage in ["", "{", "nonsense", "[]", r#"[0, "result"]"#, r#"{"id":1,"result":"#] {
        let mut tasks = JoinSet::new();
        let (connection, mut nas) = connect(&mut tasks).await;
        let serve = async {
            nas.hear().await;
            nas.say(garbage).await;
        };
        let (call, ()) = tokio::join!(connection.call("a", &NOTHING, soon()), serve);
        assert!(matches!(call, Err(Failure::Lost { lost: Lost::Garbage, written: true })), "{garbage}");
        assert!(matches!(tasks.join_next().await, Some(Ok(Lost::Garbage))));
        let late = connection.call("b", &NOTHING, soon()).await;
        assert!(matches!(late, Err(Failure::Lost { lost: Lost::Garbage, written: false })), "{late:?}");
    }
}

#[tokio::test]
async fn a_frame_that_is_not_text_ends_the_connection() {
    let mut tasks = JoinSet::new();
    let (_connection, mut nas) = connect(&mut tasks).await;
    nas.say_bytes(b"{}").await;
    assert!(matches!(tasks.join_next().await, Some(Ok(Lost::Garbage))));
}

#[tokio::test]
async fn the_parting_words_of_the_nas_are_passed_on() {
    let mut tasks = JoinSet::new();
    let (_connection, nas) = connect(&mut tasks).await;
    nas.close(1008, "You are not allowed to access this resource").await;
    let lost = tasks.join_next().await.unwrap().unwrap().to_string();
    assert!(lost.contains("not allowed to access") && lost.contains("Allowed IP Addresses"), "{lost}");
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_leaves_nothing_behind() {
    let mut tasks = JoinSet::new();
    let (connection, mut nas) = connect(&mut tasks).await;
    tokio::select! {
        _ = connection.call("a", &NOTHING, soon()) => panic!("nobody answered"),
        _ = nas.hear() => {}
    }
    assert!(connection.calls.table().is_empty());
    assert_eq!(connection.slots.available_permits(), SLOTS);
}

#[tokio::test]
async fn the_twenty_first_call_is_not_sent() {
    let mut tasks = JoinSet::new();
    let (connection, mut nas) = connect(&mut tasks).await;
    let mut calls = JoinSet::new();
    for _ in 0..SLOTS {
        let connection = connection.clone();
        calls.spawn(async move { connection.call("a", &NOTHING, soon()).await.map(drop) });
        nas.hear().await;
    }
    let late = connection.call("b", &NOTHING, Instant::now() + Duration::from_millis(20)).await;
    assert!(matches!(late, Err(Failure::Deadline { written: false })), "{late:?}");
    assert_eq!(connection.calls.table().len(), SLOTS);
}

#[tokio::test]
async fn a_call_that_is_too_long_is_not_sent() {
    let mut tasks = JoinSet::new();
    let (connection, mut nas) = connect(&mut tasks).await;
    let long = connection.call("a", &("é".repeat(LONGEST_CALL),), soon()).await;
    assert!(matches!(long, Err(Failure::TooLong)), "{long:?}");
    // The limit is one of characters.
    let fits = ("é".repeat(LONGEST_CALL - 100),);
    let serve = async {
        let id = nas.hear().await["id"].clone();
        nas.say(json!({"id": id, "result": 1})).await;
    };
    let (fits, ()) = tokio::join!(connection.call("a", &fits, soon()), serve);
    assert_eq!(fits.unwrap().json(), "1");
}

#[tokio::test]
async fn hanging_up_ends_the_task() {
    let mut tasks = JoinSet::new();
    let (connection, _nas) = connect(&mut tasks).await;
    connection.hang_up("enough");
    assert_eq!(tasks.join_next().await.unwrap().unwrap(), Lost::Closed("enough".into()));
    assert!(connection.is_lost());
}

#[tokio::test]
async fn what_is_not_read_is_no_sign_of_life() {
    let (here, there) = tokio::io::duplex(1 << 20);
    let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
    let budget = Budget::new();
    let (connection, run) = serve(socket, budget.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(run);
    let mut nas = OtherEnd::on(there).await;
    nas.say("{}").await;
    let heard = async |count| {
        while connection.heard() < count {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), heard(1)).await.unwrap();
    // Somebody holds all the room there is for answers: the loop stands still, and so does its pulse.
    let held = budget.take(BUDGET).await;
    nas.say("{}").await;
    assert!(tokio::time::timeout(Duration::from_millis(300), heard(2)).await.is_err());
    drop(held);
    tokio::time::timeout(Duration::from_secs(10), heard(2)).await.unwrap();
}

#[tokio::test]
async fn while_a_large_answer_is_dealt_with_no_other_is_read() {
    let (here, there) = tokio::io::duplex(1 << 20);
    let socket = WebSocketStream::from_raw_socket(here, Role::Client, None).await;
    let (connection, run) = serve(socket, Budget::new());
    let mut tasks = JoinSet::new();
    tasks.spawn(run);
    let mut nas = OtherEnd::on(there).await;
    let mut say = async |bytes: usize| {
        let call = connection.call("large", &NOTHING, soon());
        let answer = async {
            let call = nas.hear().await;
            nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": "x".repeat(bytes)})).await;
        };
        tokio::join!(call, answer).0.unwrap()
    };
    // Each fits into a frame of this test's socket, and the three together are more than may lie about.
    let held = [say(UNREAD / 3).await, say(UNREAD / 3).await, say(UNREAD / 3).await];
    let mut next = std::pin::pin!(say(1));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut next).await.is_err(), "it was read");
    let [first, ..] = held;
    drop(first);
    assert_eq!(tokio::time::timeout(Duration::from_secs(10), next).await.unwrap().json(), r#""x""#);
}
