//! What the NAS answered a moment ago, and when it is asked again.

use std::sync::{Arc, Mutex};

use tokio::sync::mpsc;

use super::*;
use crate::clock::{Clock, Tell};
use crate::nas::memory::{Memory, OLDEST, Use};
use crate::nas::methods::alert;
use crate::nas::methods::query::Query;

/// A clock that stands until it is turned.
#[derive(Clone, Default)]
struct Hand(Arc<Mutex<Duration>>);

impl Tell for Hand {
    fn now(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + self.mono()
    }

    fn mono(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// A NAS that answers `alert.list` with as many alerts as it was asked for it.
struct Played {
    stage: Stage,
    hand: Hand,
    memory: Memory,
    heard: Arc<Mutex<Vec<String>>>,
    say: mpsc::UnboundedSender<Value>,
    players: JoinSet<()>,
}

impl Played {
    async fn new(agrees: bool) -> Self {
        let (stage, nas) = Stage::new(GOLDEYE).await;
        let hand = Hand::default();
        let memory = Memory::new(Clock::from_tell(hand.clone()));
        let heard = Arc::default();
        let mut players = JoinSet::new();
        let say = play(&mut players, nas, Arc::clone(&heard), agrees);
        Self { stage, hand, memory, heard, say, players }
    }

    fn session<A: Access>(&self, uses: Use) -> Session<'static, A> {
        Session::with(Some(self.stage.line.clone()), (self.memory.clone(), uses))
    }

    /// How many alerts a look finds, which is how often the NAS was asked, and whether it was asked for this.
    async fn look(&self) -> (usize, bool) {
        let session = self.session::<Read>(Use::Recalls);
        let alerts = session.call(alert::Alerts, []).await.unwrap().len();
        let trips = session.trips();
        assert_eq!(trips.len(), 1, "{trips:?}");
        (alerts, !trips[0].recalled)
    }

    fn asked(&self, method: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|heard| *heard == method).count()
    }

    /// Has the NAS say something, and waits until it was heard.
    async fn say(&self, message: Value) {
        let connection = self.stage.line.live(Instant::now() + AGREE).await.unwrap().connection;
        let before = connection.heard();
        self.say.send(message).unwrap();
        while connection.heard() == before {
            tokio::task::yield_now().await;
        }
    }
}

fn play(
    players: &mut JoinSet<()>,
    mut nas: OtherEnd,
    heard: Arc<Mutex<Vec<String>>>,
    agrees: bool,
) -> mpsc::UnboundedSender<Value> {
    let (say, mut said) = mpsc::unbounded_channel();
    players.spawn(async move {
        loop {
            let call = tokio::select! {
                Some(message) = said.recv() => {
                    nas.say(message).await;
                    continue;
                }
                call = nas.listen() => call,
            };
            let Some(call) = call else { return };
            let method = call["method"].as_str().unwrap().to_owned();
            let result = match method.as_str() {
                "core.subscribe" if !agrees => {
                    let error = call_error(13, "EACCES", "[EACCES] Not authorized");
                    nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "error": error})).await;
                    heard.lock().unwrap().push(method);
                    continue;
                }
                "core.subscribe" => json!(UUID),
                "alert.list" => {
                    let before = heard.lock().unwrap().iter().filter(|heard| **heard == method).count();
                    vec![json!({"uuid": "u", "klass": "k", "level": "INFO"}); before + 1].into()
                }
                "alert.dismiss" => Value::Null,
                other => panic!("{other}"),
            };
            heard.lock().unwrap().push(method);
            nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": result})).await;
        }
    });
    say
}

fn changed(collection: &str) -> Value {
    json!({"jsonrpc": "2.0", "method": "collection_update",
        "params": {"msg": "removed", "collection": collection, "id": "u"}})
}

#[tokio::test]
async fn an_answer_is_given_again_until_it_may_have_changed() {
    let mut nas = Played::new(true).await;
    assert_eq!(nas.look().await, (1, true));
    assert_eq!(nas.look().await, (1, false), "nothing has happened");
    assert_eq!(nas.asked("core.subscribe"), 1);

    nas.say(changed("pool.query")).await;
    assert_eq!(nas.look().await, (1, false), "something else has changed");
    nas.say(changed("alert.list")).await;
    assert_eq!(nas.look().await, (2, true), "the NAS told of a change");
    assert_eq!(nas.look().await, (2, false));

    *nas.hand.0.lock().unwrap() += OLDEST;
    assert_eq!(nas.look().await, (2, false), "just not too old");
    *nas.hand.0.lock().unwrap() += Duration::from_millis(1);
    assert_eq!(nas.look().await, (3, true), "too old");

    let dismiss = nas.session::<Write>(Use::Unsettles);
    dismiss.call(alert::Dismiss, ("u".to_owned(),)).await.unwrap();
    assert_eq!(nas.look().await, (4, true), "we changed something");
    let after = nas.session::<Read>(Use::Unsettles);
    after.call(alert::Alerts, []).await.unwrap();
    assert_eq!(nas.look().await, (6, true), "a job of ours is under way");
    assert_eq!(nas.look().await, (6, false));

    let deciding = nas.session::<Read>(Use::Nothing);
    assert_eq!(deciding.call(alert::Alerts, []).await.unwrap().len(), 7, "something is decided by it");
    assert_eq!(nas.look().await, (6, false));

    let other_end = nas.stage.reconnect().await;
    nas.say = play(&mut nas.players, other_end, Arc::clone(&nas.heard), true);
    assert_eq!(nas.look().await, (8, true), "it is another connection");
    assert_eq!(nas.look().await, (8, false));
    assert_eq!(nas.asked("core.subscribe"), 2, "once a connection");

    nas.say(json!({"jsonrpc": "2.0", "method": "notify_unsubscribed",
        "params": {"collection": "alert.list", "error": null}}))
        .await;
    assert_eq!((nas.look().await, nas.look().await), ((9, true), (10, true)), "the NAS tells no more");

    let connection = nas.stage.line.live(Instant::now() + AGREE).await.unwrap().connection;
    let away = Status::Away { since: DateTime::UNIX_EPOCH, reason: "gone".into() };
    connection.hang_up("gone");
    nas.stage.state.send_modify(|state| state.status = away);
    let session = nas.session::<Read>(Use::Recalls);
    assert!(matches!(session.call(alert::Alerts, []).await, Err(NasError::Away { .. })));
}

#[tokio::test]
async fn what_is_listened_for_is_called_as_the_method_is_in_this_generation() {
    for (generation, name) in
        [(Version::new(25, 4, 2), "zfs.snapshot.query"), (GOLDEYE, "pool.snapshot.query")]
    {
        let (stage, mut nas) = Stage::new(generation).await;
        let memory = Memory::new(Clock::from_tell(Hand::default()));
        let count = || async {
            let session: Session<'_, Read> =
                Session::with(Some(stage.line.clone()), (memory.clone(), Use::Recalls));
            session.call(snapshot::Count, Query::all()).await.unwrap()
        };
        let play = async {
            let call = nas.hear().await;
            assert_eq!((&call["method"], &call["params"]), (&json!("core.subscribe"), &json!([name])));
            nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": UUID})).await;
            let call = nas.hear().await;
            assert_eq!(call["method"], name);
            nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": 7})).await;
        };
        assert_eq!(tokio::join!(count(), play).0, 7);
        assert_eq!(count().await, 7, "nobody answers any more");
    }
}

#[tokio::test]
async fn where_the_nas_does_not_tell_of_changes_it_is_asked_each_time() {
    let nas = Played::new(false).await;
    for asked in 1..4 {
        assert_eq!(nas.look().await, (asked, true));
    }
    assert_eq!(nas.asked("core.subscribe"), 1, "it has said no");
}

#[tokio::test]
async fn of_many_who_ask_the_same_one_asks_the_nas() {
    let nas = Played::new(true).await;
    let looks = (0..10).map(|_| nas.look());
    let found = futures_util::future::join_all(looks).await;
    assert!(found.iter().all(|(alerts, _)| *alerts == 1), "{found:?}");
    assert_eq!(found.iter().filter(|(_, asked)| *asked).count(), 1);
    assert_eq!(nas.asked("alert.list"), 1);
}

#[tokio::test]
async fn what_changes_while_it_is_asked_for_is_not_kept_and_nobody_waits_for_who_went_away() {
    let (stage, mut nas) = Stage::new(GOLDEYE).await;
    let memory = Memory::new(Clock::from_tell(Hand::default()));
    let look = || async {
        let session: Session<'_, Read> =
            Session::with(Some(stage.line.clone()), (memory.clone(), Use::Recalls));
        session.call(alert::Alerts, []).await.unwrap().len()
    };
    // Who asks first goes away before there is an answer; who waits behind him asks for himself.
    tokio::select! {
        _ = look() => panic!("nobody answered"),
        () = async {
            answer(&mut nas, &json!(UUID)).await;
            assert_eq!(nas.hear().await["method"], "alert.list");
        } => {}
    }
    let play = async {
        let call = nas.hear().await;
        assert_eq!(call["method"], "alert.list");
        nas.say(changed("alert.list")).await;
        nas.say(json!({"jsonrpc": "2.0", "id": call["id"], "result": []})).await;
        // What came after the change is asked for by the one who waits, and by nobody after him.
        answer(&mut nas, &json!([{"uuid": "u", "klass": "k", "level": "INFO"}])).await;
    };
    let (first, second, ()) = tokio::join!(look(), look(), play);
    let mut found = [first, second];
    found.sort_unstable();
    assert_eq!((found, look().await), ([0, 1], 1));
}
