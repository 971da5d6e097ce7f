//! The journal as the rest of the daemon meets it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicI64;

use super::super::queue::{Ack, Queue};
use super::super::tail::{self, Entry};
use super::super::verify::{Against, CannotCheck, Report, Verdict};
use super::model::{Fault, Model, Op};
use super::*;

fn verify(dir: &Path) -> Result<Report, CannotCheck> {
    verify::verify(dir, &Against::default())
}

fn open(dir: &Path) -> (Journal, Opened) {
    Journal::open(settings(dir), clock(), heartbeat()).unwrap()
}

fn on(model: &Model) -> Journal {
    Journal::start(
        (Box::new(model.clone()), u64::MAX),
        (Hasher::new(&key()), Arc::new(signer())),
        (&[], Arc::default()),
        clock(),
        heartbeat(),
    )
    .ok()
    .unwrap()
    .0
}

fn events(dir: &Path) -> Vec<Event> {
    let (entries, _) = tail::last(dir, 10_000).unwrap();
    let event = |entry| match entry {
        Entry::Record(record) => record.event,
        Entry::Other(text) => panic!("{text}"),
    };
    entries.into_iter().map(event).collect()
}

fn types(dir: &Path) -> Vec<String> {
    let name = |event: &Event| serde_json::to_value(event).unwrap()["type"].as_str().unwrap().to_owned();
    events(dir).iter().map(name).collect()
}

fn report(model: &Model) -> Report {
    Report::of(model.survey(), false, &Against::default())
}

#[tokio::test]
async fn a_change_is_on_disk_before_its_warrant_and_its_outcome_before_its_receipt() {
    let model = Model::default();
    let journal = on(&model);
    let warrant = journal.intent(terms("storage_snapshot_create")).await.unwrap();
    assert!(matches!(model.ops().last(), Some(Op::Sync(_))));
    assert_eq!(model.survey().open.len(), 1);
    assert_eq!(warrant.terms().tool, "storage_snapshot_create");
    let receipt = warrant.close(Outcome::ok()).await.unwrap();
    assert!(matches!(model.ops().last(), Some(Op::Sync(_))));
    let survey = model.survey();
    assert!(survey.open.is_empty());
    assert_eq!(survey.head(), Some(receipt));
    assert_eq!(journal.health(), Health { seq: Some(4), durable: Some(4), suspended: None, dead: None });
    journal.close().await.unwrap();
    assert!(report(&model).is_clean());
}

#[tokio::test]
async fn a_read_is_one_record_before_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, opened) = open(&dir.path().join("log"));
    assert_eq!(opened, Opened { records: 0, recovered: None, open: vec![], lost: vec![] });
    let warrant = journal.look(terms("storage_pools")).unwrap();
    assert_eq!(types(&dir.path().join("log")), ["genesis", "key", "start"]);
    let up = vec![Upstream { method: "pool.query".into(), ms: 3, job_id: None, from_memory: false }];
    warrant.close(Outcome { up, items: Some(2), ..Outcome::ok() }).await.unwrap();
    let system = journal.system("sampler");
    assert_eq!(system.terms().rule, "system");
    drop(system);
    journal.close().await.unwrap();
    let events = events(&dir.path().join("log"));
    assert!(matches!(&events[3], Event::Read(look) if look.end.up[0].method == "pool.query"));
    assert!(
        matches!(&events[4], Event::Stop(stop) if stop.system == BTreeMap::from([("sampler".into(), 1)]))
    );
    assert!(matches!(&events[5], Event::Checkpoint(_)));
    assert_eq!(events.len(), 6);
}

#[tokio::test]
async fn a_warrant_that_is_dropped_is_closed_as_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    drop(journal.intent(terms("a")).await.unwrap());
    drop(journal.look(terms("b")).unwrap());
    journal.close().await.unwrap();
    let events = events(dir.path());
    assert!(matches!(&events[4], Event::Outcome(closing)
        if closing.parent == 3 && closing.end.result.status == Status::Unknown));
    assert!(matches!(&events[5], Event::Read(look) if look.end.result.status == Status::Unknown));
    assert_eq!(verify(dir.path()).unwrap().intents.unknown, [3]);
}

#[tokio::test]
async fn a_caller_who_stops_waiting_leaves_no_intent_open() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for _ in 0..20 {
        let mut change = Box::pin(journal.intent(terms("a")));
        // Asked once, so that the intent is on its way, and never again.
        let waiting = std::future::poll_fn(|cx| std::task::Poll::Ready(change.as_mut().poll(cx))).await;
        drop(waiting);
        drop(change);
    }
    journal.close().await.unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!((report.intents.total, report.intents.open.len()), (20, 0), "{report}");
}

#[tokio::test]
async fn what_a_crash_leaves_open_is_handed_on_until_somebody_closes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let warrants = [journal.intent(terms("a")).await.unwrap(), journal.intent(terms("b")).await.unwrap()];
    let done = journal.intent(terms("c")).await.unwrap();
    done.close(Outcome::ok()).await.unwrap();
    drop(journal);
    // As if the process had ended: nobody closes these.
    warrants.into_iter().for_each(std::mem::forget);

    let (journal, opened) = open(dir.path());
    assert_eq!(opened, Opened { records: 7, recovered: None, open: vec![3, 4], lost: vec![] });
    let mut pending = journal.pending();
    assert!(journal.pending().is_empty(), "each is given once");
    assert_eq!(pending.iter().map(Pending::seq).collect::<Vec<_>>(), [3, 4]);
    pending.remove(0).close(Outcome::lost_in_a_crash("nobody knows")).await.unwrap();
    // The other one is dropped, and so left to the next start.
    drop(pending);
    journal.close().await.unwrap();

    let (journal, opened) = open(dir.path());
    assert_eq!(opened.open, [4]);
    journal.pending().remove(0).close(Outcome::ok()).await.unwrap();
    journal.close().await.unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean() && report.intents.open.is_empty(), "{report}");
    assert_eq!(report.intents.unknown, [3]);
    let crash =
        |event: &&Event| matches!(event, Event::Outcome(c) if c.end.result.code.as_deref() == Some("crash"));
    assert_eq!(events(dir.path()).iter().filter(crash).count(), 1);
    assert!(open(dir.path()).1.open.is_empty());
}

#[tokio::test]
async fn what_the_nas_goes_on_with_is_accepted_first_and_has_one_outcome_when_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let job = |id| NasJob { id, method: "pool.scrub.scrub".into() };
    let done = journal.intent(terms("a")).await.unwrap();
    let (receipt, pending) = done.accepted(job(101), clock().now()).await.unwrap();
    assert_eq!((receipt.seq, pending.seq(), pending.job()), (4, 3, Some(&job(101))));
    assert_eq!(pending.nas().map(ToString::to_string).as_deref(), Some("home"));
    assert_eq!(verify(dir.path()).unwrap().intents.open, [3], "accepted is not ended");
    pending.close(Outcome::ok()).await.unwrap();

    let under_way = journal.intent(terms("b")).await.unwrap();
    let (_, pending) = under_way.accepted(job(102), clock().now()).await.unwrap();
    let (since, request) = (pending.since(), pending.request());
    drop(journal);
    std::mem::forget(pending);
    let (journal, opened) = open(dir.path());
    assert_eq!(opened.open, [6]);
    let pending = journal.pending().remove(0);
    assert_eq!((pending.job(), pending.since(), pending.request()), (Some(&job(102)), since, request));
    pending.close(Outcome::because(Status::Error, "job_failed", "it broke")).await.unwrap();
    journal.close().await.unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean() && report.intents.open.is_empty(), "{report}");
    assert_eq!(report.intents.ended, BTreeMap::from([(Status::Ok, 1), (Status::Error, 1)]));
    let (entries, _) = tail::last(dir.path(), 100).unwrap();
    let shown: Vec<String> = entries.iter().map(ToString::to_string).collect();
    let accepted = "accepted  #3 a: the NAS goes on with it as job 101 (pool.scrub.scrub)";
    assert!(shown.iter().any(|line| line.ends_with(accepted)), "{shown:#?}");
}

#[tokio::test]
async fn the_first_error_of_the_disk_is_the_end() {
    for fault in [Fault::Append(0), Fault::Append(300), Fault::Sync] {
        let model = Model::default();
        let journal = on(&model);
        let warrant = journal.intent(terms("a")).await.unwrap();
        model.break_at(fault);
        let error = warrant.close(Outcome::ok()).await.unwrap_err();
        assert!(matches!(&error, NotRecorded::Dead(why) if why.contains("audit-0")), "{fault:?}: {error}");
        assert!(journal.died().await.contains("could not be"));
        let ops = model.ops();
        // Also when the disk recovers, nothing more is written: what it has is not known.
        model.0.lock().unwrap().fault = None;
        assert_eq!(journal.intent(terms("b")).await.unwrap_err(), error);
        assert_eq!(journal.look(terms("b")).unwrap_err(), error);
        assert_eq!(journal.health().dead.map(Into::into).map(NotRecorded::Dead), Some(error.clone()));
        assert_eq!(journal.close().await, Err(error));
        assert_eq!(model.ops(), ops);

        let next = on(&model);
        assert_eq!(next.close().await, Ok(()));
        assert!(report(&model).is_clean());
    }
}

/// Waits for a state of the log, not for a moment.
async fn until(so: impl Fn() -> bool) {
    while !so() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn without_room_nothing_new_is_let_in_and_what_is_under_way_ends() {
    for reads_go_on in [false, true] {
        let model = Model::default();
        let journal = on(&model);
        if reads_go_on {
            journal.0.queue.let_reads_go_on();
        }
        let (change, look) = (journal.intent(terms("a")).await.unwrap(), journal.look(terms("b")).unwrap());
        model.0.lock().unwrap().free = Some((64 << 20) - 1);
        until(|| journal.health().suspended.is_some()).await;
        let error = journal.intent(terms("c")).await.unwrap_err();
        assert!(matches!(error, NotRecorded::Suspended(_)), "{error}");
        assert!(error.to_string().contains("63 MiB are free"), "{error}");
        assert_eq!(journal.look(terms("d")).is_ok(), reads_go_on);
        change.close(Outcome::ok()).await.unwrap();
        look.close(Outcome::ok()).await.unwrap();

        // Not at the first byte, or it would come and go.
        model.0.lock().unwrap().free = Some(64 << 20);
        journal.refused(Refusal {
            request: RequestId::at(DateTime::UNIX_EPOCH),
            who: Who::default(),
            from: None,
            reason: "no_bearer",
            detail: None,
            what: Refused::Entry,
        });
        until(|| model.survey().records() > journal.health().durable.unwrap_or(0)).await;
        assert!(journal.health().suspended.is_some());
        model.0.lock().unwrap().free = Some(80 << 20);
        until(|| journal.health().suspended.is_none()).await;
        journal.intent(terms("e")).await.unwrap().close(Outcome::ok()).await.unwrap();
        journal.close().await.unwrap();
        let text = String::from_utf8(model.bytes()).unwrap();
        for word in ["suspended", "resumed"] {
            assert_eq!(text.matches(&format!("\"type\":\"{word}\"")).count(), 1, "{word}");
        }
        assert!(report(&model).is_clean());
    }
}

#[tokio::test]
async fn while_the_room_cannot_be_told_nothing_new_is_let_in() {
    let model = Model::default();
    let journal = on(&model);
    let change = journal.intent(terms("a")).await.unwrap();
    let suspended_as = |why: &str| journal.health().suspended.is_some_and(|told| told.contains(why));
    model.break_at(Fault::Free);
    until(|| suspended_as("cannot be told")).await;
    let error = journal.intent(terms("b")).await.unwrap_err();
    assert!(matches!(&error, NotRecorded::Suspended(why) if why.contains("cannot be told")), "{error}");
    change.close(Outcome::ok()).await.unwrap();

    // It can be told, and is too little: another reason, and no other record.
    model.0.lock().unwrap().free = Some(70 << 20);
    model.0.lock().unwrap().fault = None;
    until(|| suspended_as("70 MiB are free")).await;
    model.0.lock().unwrap().free = Some(80 << 20);
    until(|| journal.health().suspended.is_none()).await;
    journal.intent(terms("c")).await.unwrap().close(Outcome::ok()).await.unwrap();
    journal.close().await.unwrap();
    let text = String::from_utf8(model.bytes()).unwrap();
    for record in ["\"type\":\"suspended\",\"durable\"", "\"type\":\"resumed\",\"free\":83886080"] {
        assert_eq!(text.matches(record).count(), 1, "{record}: {text}");
    }
    assert_eq!(text.matches("\"type\":\"suspended\"").count(), 1, "{text}");
    assert!(report(&model).is_clean());
}

#[tokio::test]
async fn refusals_leave_the_last_room_to_what_is_under_way_and_are_told_when_there_is_more() {
    let model = Model::default();
    let journal = on(&model);
    let change = journal.intent(terms("a")).await.unwrap();
    model.0.lock().unwrap().free = Some((64 << 20) - 1);
    until(|| journal.health().suspended.is_some()).await;
    for reason in ["no_bearer", "inactive", "binding"] {
        for _ in 0..5 {
            journal.refused(Refusal {
                request: RequestId::at(DateTime::UNIX_EPOCH),
                who: Who::default(),
                from: Some([100, 64, 0, 9].into()),
                reason,
                detail: None,
                what: Refused::Entry,
            });
        }
    }
    assert_eq!(journal.0.queue.refused(), 15);
    let text = || String::from_utf8(model.bytes()).unwrap();
    // Queued behind them, and on disk.
    change.close(Outcome::ok()).await.unwrap();
    assert!(!text().contains("auth_fail"), "{}", text());
    model.0.lock().unwrap().free = Some(80 << 20);
    until(|| text().matches("\"type\":\"auth_fail\"").count() == 3).await;
    journal.close().await.unwrap();
    assert!(text().find("\"type\":\"resumed\"") < text().find("\"type\":\"auth_fail\""), "{}", text());
    assert_eq!(text().matches("\"count\":4").count(), 3, "none is lost: {}", text());
    assert!(report(&model).is_clean());
}

#[test]
fn an_intent_that_is_not_on_disk_when_the_room_ends_is_turned_away() {
    let queue = Arc::new(Queue::new(Clock::system()));
    let brief = Brief { req: RequestId::at(DateTime::UNIX_EPOCH), tool: "t".into(), nas: None, target: None };
    let (to, mut told) = oneshot::channel();
    queue.admit(Some(Job { event: b"{}".to_vec(), ack: Ack::Intent(to, brief) })).unwrap();
    queue.admit(None).unwrap();
    queue.close(&Event::Heartbeat {}, Ack::Nobody).unwrap();
    queue.suspend(Some("no room".to_owned()));
    assert!(matches!(told.try_recv(), Ok(Err(NotRecorded::Suspended(_)))));
    assert_eq!(queue.take(Duration::ZERO).jobs.len(), 1, "what closes something is written");
    queue.suspend(None);
    let admitted = (0..5000).take_while(|_| queue.admit(None).is_ok()).count();
    assert_eq!(admitted, 4096, "it has given its room back");
}

/// A clock whose wall can be set, besides being turned.
#[derive(Clone, Default)]
struct Settable {
    turned: Turned,
    ahead_ms: Arc<AtomicI64>,
}

impl Tell for Settable {
    fn now(&self) -> DateTime<Utc> {
        self.turned.now() + chrono::TimeDelta::milliseconds(self.ahead_ms.load(Ordering::Relaxed))
    }

    fn mono(&self) -> Duration {
        self.turned.mono()
    }
}

#[tokio::test]
async fn a_wall_clock_that_is_set_is_on_record_and_a_log_whose_times_go_back_is_sound() {
    let (model, hand) = (Model::default(), Settable::default());
    let journal = Journal::start(
        (Box::new(model.clone()), u64::MAX),
        (Hasher::new(&key()), Arc::new(signer())),
        (&[], Arc::default()),
        Clock::from_tell(hand.clone()),
        heartbeat(),
    )
    .ok()
    .unwrap()
    .0;
    let steps = || {
        let text = String::from_utf8(model.bytes()).unwrap();
        let records = text.lines().filter_map(|line| serde_json::from_str::<record::Record>(line).ok());
        let step = |record: record::Record| match record.event {
            Event::ClockStep(step) => Some(step.by_ms),
            _ => None,
        };
        records.filter_map(step).collect::<Vec<i64>>()
    };
    // Two records later, whatever the first one met: the writer has looked.
    let look = async || journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    hand.ahead_ms.store(2000, Ordering::Relaxed);
    look().await;
    look().await;
    assert!(steps().is_empty(), "so far apart they may drift");
    hand.ahead_ms.store(2001, Ordering::Relaxed);
    until(|| steps() == [2001]).await;
    hand.ahead_ms.store(-3_600_000, Ordering::Relaxed);
    until(|| steps() == [2001, -3_602_001]).await;
    look().await;
    journal.close().await.unwrap();
    assert_eq!(steps().len(), 2);

    // Between two runs, too.
    for (ahead_ms, expected) in [(-3_602_000, None), (-3_604_001, Some(-2001)), (0, None)] {
        let before = steps().len();
        hand.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        let clock = Clock::from_tell(hand.clone());
        drop(recovery::take_up(Box::new(model.clone()), clock, &Arc::new(signer()), &[]).ok().unwrap());
        assert_eq!(steps()[before..], expected.into_iter().collect::<Vec<i64>>(), "{ahead_ms}");
    }
    assert!(report(&model).is_clean(), "{}", report(&model));
}

#[tokio::test]
async fn everybody_who_waits_hears_of_the_error() {
    let model = Model::default();
    let journal = on(&model);
    model.break_at(Fault::Sync);
    let all = futures_util::future::join_all((0..100).map(|_| journal.intent(terms("a")))).await;
    assert!(all.iter().all(|result| matches!(result, Err(NotRecorded::Dead(_)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_writers_make_one_sound_log() {
    const WRITERS: u64 = 64;
    const CHANGES: u64 = 10;
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let tasks = (0..WRITERS).map(|_| {
        let journal = journal.clone();
        #[expect(clippy::disallowed_methods, reason = "a test waits for its own tasks")]
        tokio::spawn(async move {
            let mut last = 0;
            for _ in 0..CHANGES {
                let warrant = journal.intent(terms("a")).await.unwrap();
                let receipt = warrant.close(Outcome::ok()).await.unwrap();
                assert!(receipt.seq > last, "acknowledged in the order of the file");
                last = receipt.seq;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    // Works on a live file.
    let live = verify(dir.path()).unwrap();
    assert!(live.is_clean() && live.live, "{live}");
    journal.close().await.unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean() && !report.live, "{report}");
    let checkpoints = report.signed.checkpoints;
    assert_eq!(report.records, 4 + 2 * WRITERS * CHANGES + checkpoints);
    assert!(checkpoints > 2 * WRITERS * CHANGES / 512 && report.signed.uncovered == 0, "{report}");
    assert_eq!(report.intents.ended, BTreeMap::from([(Status::Ok, WRITERS * CHANGES)]));
}

#[tokio::test]
async fn two_daemons_cannot_share_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let error = Journal::open(settings(dir.path()), clock(), heartbeat()).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    journal.close().await.unwrap();
    open(dir.path());
}

#[tokio::test]
async fn a_log_that_is_replaced_under_the_daemon_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let file = dir.path().join("audit-00000000000000000000.jsonl");
    std::fs::rename(&file, dir.path().join("away")).unwrap();
    std::fs::copy(dir.path().join("away"), &file).unwrap();
    let error = journal.intent(terms("a")).await.unwrap_err();
    assert!(error.to_string().contains("replaced"), "{error}");
}

/// Whatever is written behind that stands where no record belongs, so nobody is told that it is on record.
#[tokio::test]
async fn a_log_that_is_cut_off_or_added_to_in_place_is_noticed_by_the_next_record() {
    for by in [-100i64, 100] {
        let dir = tempfile::tempdir().unwrap();
        let (journal, _) = open(dir.path());
        journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
        let path = dir.path().join("audit-00000000000000000000.jsonl");
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len().checked_add_signed(by).unwrap()).unwrap();
        let error = journal.intent(terms("b")).await.unwrap_err();
        assert!(matches!(&error, NotRecorded::Dead(why) if why.contains("cut off or added to")), "{error}");
        assert_eq!(journal.close().await, Err(error));
    }
}

/// Also while nothing is written.
#[tokio::test]
async fn a_log_that_is_unlinked_under_the_daemon_is_noticed_at_rest() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    std::fs::remove_file(dir.path().join("audit-00000000000000000000.jsonl")).unwrap();
    let why = tokio::time::timeout(Duration::from_secs(20), journal.died()).await.unwrap();
    assert!(why.contains("taken away"), "{why}");
    assert!(matches!(journal.intent(terms("b")).await, Err(NotRecorded::Dead(_))));
}

#[tokio::test]
async fn the_folder_and_the_file_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let (_journal, _) = open(&log);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&log), 0o700);
    assert_eq!(mode(&log.join("audit-00000000000000000000.jsonl")), 0o600);
}

#[tokio::test]
async fn a_flood_of_refusals_is_a_few_records_and_holds_up_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for number in 0..10_000u32 {
        journal.refused(Refusal {
            request: RequestId::at(DateTime::UNIX_EPOCH),
            who: Who::default(),
            from: Some([100, 64, 0, u8::try_from(number % 3).unwrap()].into()),
            reason: "invalid_token",
            detail: Some("it is not active".into()),
            what: Refused::Entry,
        });
    }
    journal.refused(Refusal {
        request: RequestId::at(DateTime::UNIX_EPOCH),
        who: terms("x").who,
        from: None,
        reason: "missing_scope",
        detail: None,
        what: Refused::Tool { tool: "x", nas: None, missing: Some(Scope::StorageWrite) },
    });
    journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    journal.close().await.unwrap();
    let events = events(dir.path());
    let counted: u64 = events
        .iter()
        .filter_map(|event| match event {
            Event::AuthFail(turned) => Some(turned.count.unwrap_or(1)),
            _ => None,
        })
        .sum();
    assert_eq!(counted, 10_000);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::AuthFail(_))).count(), 6);
    assert!(events.iter().any(|event| matches!(event, Event::Denied(turned)
        if turned.decision.missing == Some(Scope::StorageWrite) && turned.count.is_none())));
    assert!(verify(dir.path()).unwrap().is_clean());
}

#[test]
fn a_full_queue_refuses_the_new_and_keeps_room_for_what_closes_the_old() {
    let queue = Arc::new(Queue::new(Clock::system()));
    let job = || Job { event: b"{}".to_vec(), ack: Ack::Nobody };
    let mut admitted = 0;
    while queue.admit(Some(job())).is_ok() {
        admitted += 1;
    }
    assert_eq!(admitted, 4096);
    assert_eq!(queue.admit(None), Err(NotRecorded::Busy));
    for _ in 0..admitted {
        assert_eq!(queue.close(&Event::Heartbeat {}, Ack::Nobody), Ok(()));
    }
    queue.end(&NotRecorded::Stopped);
    assert_eq!(queue.close(&Event::Heartbeat {}, Ack::Nobody), Err(NotRecorded::Stopped));
}

#[test]
fn nobody_is_waited_for_long_whatever_the_clock_says() {
    let queue = Queue::new(clock());
    assert_eq!(queue.gather(8), 0, "nobody came");
    queue.tell(Job { event: b"{}".to_vec(), ack: Ack::Nobody });
    assert_eq!(queue.gather(8), 0, "who was there before did not come");
    queue.stop();
    assert_eq!(queue.gather(usize::MAX), 0);
    assert_eq!(queue.take(Duration::ZERO).jobs.len(), 1);
}

#[test]
fn an_end_that_cannot_be_written_gives_its_room_back() {
    let queue = Arc::new(Queue::new(clock()));
    let brief = Brief { req: RequestId::default(), tool: "t".repeat(20_000), nas: None, target: None };
    queue.admit(None).unwrap();
    let closed = queue.close(&brief.outcome(0, Outcome::ok()), Ack::Nobody);
    assert!(matches!(closed, Err(NotRecorded::TooLarge(20_000..))), "{closed:?}");
    assert!(queue.take(Duration::ZERO).jobs.is_empty(), "and it is not in the log");
    let admitted = (0..5000).take_while(|_| queue.admit(None).is_ok()).count();
    assert_eq!(admitted, 4096);
}

#[test]
fn nothing_new_is_let_in_behind_a_disk_that_does_not_come_to_an_end() {
    let hand = Turned::default();
    let queue = Arc::new(Queue::new(Clock::from_tell(hand.clone())));
    let job = || Job { event: b"{}".to_vec(), ack: Ack::Nobody };
    queue.admit(Some(job())).unwrap();
    assert_eq!(queue.take(Duration::ZERO).jobs.len(), 1);
    hand.turn(10);
    assert_eq!(queue.admit(Some(job())), Ok(()), "slow, and no more than that");
    hand.turn(1);
    assert_eq!(queue.admit(Some(job())), Err(NotRecorded::Stalled(11)));
    assert_eq!(queue.admit(None), Err(NotRecorded::Stalled(11)), "nor can a read be recorded");
    assert!(queue.health().suspended.is_some_and(|why| why.contains("11 s")));
    assert_eq!(queue.close(&Event::Heartbeat {}, Ack::Nobody), Ok(()), "what was let in before has its room");
    queue.take(Duration::ZERO);
    assert_eq!(queue.admit(None), Ok(()), "the disk is back");
    assert_eq!(queue.health().suspended, None);
}

/// An outcome must never be refused for its size, whatever its parts are made of.
#[test]
fn the_largest_record_is_a_record() {
    for filling in ["x", "\"", "\u{1}", "€", "\u{1f600}"] {
        let big = filling.repeat(100_000);
        let note = || big.clone();
        let mut terms = terms("a");
        let peer = terms.who.peer.as_mut().unwrap();
        (peer.node_id, peer.node_name, peer.user) = (note(), note(), Some(note()));
        peer.tags = vec![note(); 100];
        let auth = terms.who.auth.as_mut().unwrap();
        (auth.iss, auth.sub, auth.username) = (note(), note(), Some(note()));
        (auth.client_id, auth.scope, auth.jti, auth.tok) = (Some(note()), note(), Some(note()), note());
        let mcp = terms.who.mcp.as_mut().unwrap();
        (mcp.method, mcp.protocol, mcp.rpc_id, mcp.client) =
            (note(), Some(note()), Some(note()), Some(note()));
        (terms.target, terms.rule) = (Some(note()), note());
        terms.nas = Some("n".repeat(255).parse().unwrap());
        terms.args_h = note();
        terms.args = filling.repeat(4000 / serde_json::to_string(filling).unwrap().len()).into();
        let up =
            vec![
                Upstream { method: note().into(), ms: u64::MAX, job_id: Some(i64::MIN), from_memory: true };
                100
            ];
        let outcome = Outcome {
            status: Status::Cancelled,
            code: Some(note()),
            reason: Some(note()),
            up,
            bytes: Some(u64::MAX),
            items: Some(u64::MAX),
        };
        let look = record::Look { act: Act::new(&terms, false), end: record::End::new(outcome.clone()) };
        assert!(look.act.args.is_some());
        // What a change may write after its intent has the room of one record.
        let (req, nas, target) = (terms.request, terms.nas.clone(), look.act.target.clone());
        let tool = terms.tool.to_owned();
        let job = NasJob { id: i64::MIN, method: "m".repeat(64).into() };
        let accepted = record::Accepted {
            req,
            parent: u64::MAX,
            tool: tool.clone(),
            nas: nas.clone(),
            target: target.clone(),
            job,
        };
        let accepted = render(&Event::Accepted(Box::new(accepted))).unwrap();
        let closed = render(&Brief { req, tool, nas, target }.outcome(u64::MAX, outcome)).unwrap();
        let both = accepted.len() + closed.len() + 2 * record::AROUND;
        assert!(both <= record::LONGEST, "{both}");
        render(&Event::Read(Box::new(look))).unwrap();
        terms.args = note().into();
        let act = Act::new(&terms, false);
        assert_eq!((act.args, act.args_cut.is_some()), (None, true));
    }
}

#[tokio::test]
async fn neither_the_key_nor_what_is_hashed_is_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let token = "canary-8c1f-token";
    let hashed = journal.hasher().hash(token.as_bytes());
    let mut terms = terms("a");
    terms.who.auth.as_mut().unwrap().tok.clone_from(&hashed);
    let shown = format!("{journal:?} {:?}", journal.hasher());
    journal.intent(terms).await.unwrap().close(Outcome::ok()).await.unwrap();
    journal.close().await.unwrap();
    let text = std::fs::read_to_string(dir.path().join("audit-00000000000000000000.jsonl")).unwrap();
    assert!(text.contains(&hashed));
    for secret in [token, key().expose()] {
        assert!(!text.contains(secret) && !shown.contains(secret));
    }
}

#[tokio::test]
async fn the_heart_beats_while_nothing_happens() {
    let turned = Turned::default();
    let clock = Clock::from_tell(turned.clone());
    let (lifecycle, _deaths) = Lifecycle::new(clock.clone());
    let heartbeat = lifecycle.heartbeat("audit", Duration::from_secs(5));
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(settings(dir.path()), clock, heartbeat).unwrap();
    turned.turn(60);
    assert_eq!(lifecycle.silent(), Some("audit"));
    while lifecycle.silent().is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    journal.close().await.unwrap();
}

#[tokio::test]
async fn the_tail_shows_the_last_and_then_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for _ in 0..20 {
        journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    }
    let (entries, mut tail) = tail::last(dir.path(), 3).unwrap();
    let seqs = |entries: &[Entry]| -> Vec<u64> {
        let seq = |entry: &Entry| match entry {
            Entry::Record(record) => record.seq,
            Entry::Other(text) => panic!("{text}"),
        };
        entries.iter().map(seq).collect()
    };
    assert_eq!(seqs(&entries), [40, 41, 42]);
    assert!(tail.more().unwrap().is_empty());
    let mut evil = terms("a");
    evil.target = Some("tank/\u{1b}[2J\u{202e}x".into());
    let warrant = journal.intent(evil).await.unwrap();
    let more = tail.more().unwrap();
    assert_eq!(seqs(&more), [43]);
    let line = more[0].to_string();
    assert!(line.contains("intent    alice@example.com a tank/") && line.contains("[reversible]"), "{line}");
    assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line:?}");
    drop(warrant);
    journal.close().await.unwrap();
    assert_eq!(seqs(&tail.more().unwrap()), [44, 45, 46]);
    assert_eq!(tail::last(dir.path(), 1000).unwrap().0.len(), 47);
}

/// What `show`, `export` and `tail` go by.
#[tokio::test]
async fn whoever_looks_at_an_altered_log_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    for _ in 0..5 {
        journal.intent(terms("a")).await.unwrap().close(Outcome::ok()).await.unwrap();
    }
    journal.close().await.unwrap();
    let file = dir.path().join("audit-00000000000000000000.jsonl");
    let whole = std::fs::read_to_string(&file).unwrap();
    let flaws = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let exported = tail::each_from(dir.path(), 0, |_, _| true).unwrap();
        let shown = tail::last(dir.path(), 1000).unwrap().1;
        assert_eq!(exported.as_deref(), shown.flaw());
        exported
    };
    let lines: Vec<&str> = whole.split_inclusive('\n').collect();
    let without = |at: usize| [&lines[..at], &lines[at + 1..]].concat().concat();
    assert_eq!(flaws(&whole), None);
    assert_eq!(flaws(&without(0)), None, "the first may be in a file that was pruned");
    assert_eq!(flaws(&without(5)).unwrap(), "record 6 does not continue from the one before it");
    assert_eq!(flaws(&whole.replacen("\"seq\":4", "\"seq\":7", 1)).unwrap(), "record 7 was altered");
    let last = lines.len() - 1;
    let altered = format!("{}{}", lines[..last].concat(), lines[last].replace("1970", "1971"));
    assert_eq!(flaws(&altered).unwrap(), format!("record {last} was altered"));
    let put_in = format!("{}no record\n{}", lines[..4].concat(), lines[4..].concat());
    assert!(flaws(&put_in).unwrap().starts_with("before record 4 stands something"));

    // What a crash leaves, and what the next start says of it, are no such thing.
    assert_eq!(flaws(&format!("{whole}{{\"v\":1,\"se")), None);
    open(dir.path()).0.close().await.unwrap();
    let mended = std::fs::read_to_string(&file).unwrap();
    assert!(mended.contains("\"type\":\"recovery\""));
    assert_eq!(flaws(&mended), None);
    assert_eq!(tail::each_from(dir.path(), 9, |_, _| false).unwrap(), None);
}

/// A file of a gigabyte that has no line in it, and a number of lines that nobody has.
#[tokio::test]
async fn the_tail_takes_no_more_memory_than_it_shows() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    let (all, mut tail) = tail::last(dir.path(), usize::MAX).unwrap();
    assert_eq!(all.len(), 3);
    journal.close().await.unwrap();
    let file = dir.path().join("audit-00000000000000000000.jsonl");
    let length = std::fs::metadata(&file).unwrap().len();
    std::fs::File::options().write(true).open(&file).unwrap().set_len(length + (1 << 30)).unwrap();
    let (lines, mut behind) = tail::last(dir.path(), 2).unwrap();
    let size: usize = lines.iter().map(|line| line.to_string().len()).sum();
    assert!(lines.len() <= 2 && size < 16 * 1024, "{} lines, {size} bytes", lines.len());
    assert!(behind.more().unwrap().is_empty());
    // What a follower is given of it comes in pieces of which none is larger than a record.
    std::fs::File::options().write(true).open(&file).unwrap().set_len(length + (1 << 20)).unwrap();
    let more = tail.more().unwrap();
    assert!(more.len() > 60, "{}", more.len());
    let long = |entry: &Entry| matches!(entry, Entry::Other(text) if text.len() > 16 * 1024);
    assert!(!more.iter().any(long));
}

#[test]
fn where_there_is_no_log_nothing_is_claimed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(verify(dir.path()), Err(CannotCheck::NoLog(_))));
    assert!(matches!(verify(&dir.path().join("x")), Err(CannotCheck::Unreadable { .. })));
    assert!(tail::last(dir.path(), 1).is_err());
}

/// Whoever may read the folder may hold its lock.
#[tokio::test]
async fn a_torn_end_stays_a_torn_end_while_somebody_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.close().await.unwrap();
    let file = dir.path().join("audit-00000000000000000000.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend_from_slice(b"{\"v\":1,\"seq\":5,");
    std::fs::write(&file, &bytes).unwrap();
    let lock = std::fs::File::open(dir.path()).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!((report.verdict, report.live), (Verdict::Torn, true), "{report}");
    assert!(report.to_string().contains("somebody has the log open"), "{report}");
}

#[tokio::test]
async fn an_emptied_log_is_not_clean() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.close().await.unwrap();
    std::fs::write(dir.path().join("audit-00000000000000000000.jsonl"), b"").unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.verdict, Verdict::Tampered, "the checkpoints beside it are still there: {report}");
    std::fs::remove_file(dir.path().join("checkpoints")).unwrap();
    assert!(matches!(verify(dir.path()), Err(CannotCheck::Nothing(_))));
    let vkey = Some(signer().public().clone());
    let known = verify::verify(dir.path(), &Against { vkey, ..Against::default() });
    assert!(matches!(known, Err(CannotCheck::Nothing(_))), "{known:?}");
}

#[tokio::test]
async fn a_file_of_checkpoints_that_was_emptied_or_taken_away_is_told() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        open(dir.path()).0.close().await.unwrap();
        assert!(verify(dir.path()).unwrap().is_clean());
    }
    let log = dir.path().join("audit-00000000000000000000.jsonl");
    let whole = std::fs::read(&log).unwrap();
    std::fs::write(dir.path().join("checkpoints"), b"").unwrap();
    // A torn end, which alone would be a crash, does not hide it.
    for cut in [0, 20] {
        std::fs::write(&log, &whole[..whole.len() - cut]).unwrap();
        let report = verify(dir.path()).unwrap();
        assert_eq!(report.verdict, Verdict::Tampered, "{report}");
        assert!(report.to_string().contains("it was emptied or taken away"), "{report}");
        let _ = std::fs::remove_file(dir.path().join("checkpoints"));
    }
}

#[tokio::test]
async fn a_torn_end_is_told_until_the_next_start_describes_it() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).0.close().await.unwrap();
    let file = dir.path().join("audit-00000000000000000000.jsonl");
    let mut bytes = std::fs::read(&file).unwrap();
    let whole = bytes.len();
    bytes.extend_from_slice(b"{\"v\":1,\"seq\":5,");
    std::fs::write(&file, &bytes).unwrap();
    let report = verify(dir.path()).unwrap();
    assert_eq!(report.verdict, Verdict::Torn);
    assert!(report.to_string().contains(&format!("15 bytes from byte {whole}")), "{report}");

    let (journal, opened) = open(dir.path());
    assert_eq!(opened.recovered, Some(Mended { seq: 5, offset: whole as u64, len: 15 }));
    journal.close().await.unwrap();
    let report = verify(dir.path()).unwrap();
    assert!(report.is_clean() && report.recoveries.len() == 1);
    assert!(report.to_string().contains("no gap, 1 recovery"), "{report}");
    assert!(std::fs::read(&file).unwrap().starts_with(&bytes));
}
