//! A soak: fifty callers at a call a second each, while the provider is restarted, the NAS dropped, the daemon's clock set
//! and every hundredth request to tailscaled, provider and NAS goes wrong. Afterwards memory is where it was, nothing has
//! panicked, the log verifies, and what callers were told, what the log says and what the NAS saw agree ([`history`]).
//!
//! Twenty seconds, in which each of these happens twice; `TAILNAS_SOAK_SECONDS=3600` is the hour in which the provider is
//! restarted each 10 minutes and the NAS dropped each 7, with a release by `TAILNAS_TEST_RELEASE`. The clock that is set
//! is the one that the demo hands the daemon: a test cannot set the machine's.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs neither lifecycle nor configuration"
)]

#[path = "../common/mod.rs"]
mod common;

mod callers;
mod gauge;
mod history;
mod tail;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::process::Command;
use std::time::Duration;

use common::{Bench, loudly};
use serde_json::json;
use tailnas::nas::methods::catalogue;
use tailnas::nas::version::{Candidate, Version};
use tailnas_sim::fault::{Fault, Faults};
use tailnas_sim::nas::Generation;
use tailnas_sim::world::{ALICE, World};
use tokio::time::Instant;

use callers::{CALLERS, Caller};
use gauge::{Sample, growth};
use history::{Call, MARK, Record, Told, Violation, Word, marks, violations};
use tail::Tail;

/// How long the short run takes, in seconds.
const SHORT: u64 = 20;

/// How many snapshots of the callers are left when somebody tidies up.
const KEPT: usize = 100;

/// One request in so many goes wrong.
const FAULTY: u64 = 100;

/// By how many seconds the daemon's clock is set. A token of a provider that is further ahead is not good.
const AHEAD: i64 = 40;

/// What happens to a daemon in the course of a soak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    ProviderStops,
    ProviderStarts,
    NasStops,
    NasStarts,
    /// The wall clock is set, to so many seconds before or after what it is.
    ClockIsOff(i64),
    Looked,
}

/// What happens when, in order.
fn schedule(long: Duration) -> Vec<(Duration, Event)> {
    let mut all = Vec::new();
    let mut again = |every: Duration, events: &[(Duration, Event)]| {
        let end = long.mul_f64(0.95);
        let times = (1..).map(|time| every * time).take_while(|at| *at < end);
        all.extend(times.flat_map(|at| events.iter().map(move |(later, event)| (at + *later, *event))));
    };
    let down = (long / 40).min(Duration::from_secs(15));
    let provider = Duration::from_mins(10).min(long.mul_f64(0.4));
    again(provider, &[(Duration::ZERO, Event::ProviderStops), (down, Event::ProviderStarts)]);
    let nas = Duration::from_mins(7).min(long.mul_f64(0.3));
    again(nas, &[(Duration::ZERO, Event::NasStops), (down, Event::NasStarts)]);
    again((long / 100).min(Duration::from_secs(10)), &[(Duration::ZERO, Event::Looked)]);
    all.push((long / 3, Event::ClockIsOff(AHEAD)));
    all.push((long * 2 / 3, Event::ClockIsOff(-AHEAD)));
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_leaks_breaks_or_contradicts_itself() {
    let seconds = std::env::var("TAILNAS_SOAK_SECONDS").map_or(SHORT, |text| text.parse().unwrap());
    let seconds = seconds.max(SHORT);
    let long = Duration::from_secs(seconds);
    let mut cast = Vec::new();
    let mut bench = Bench::start_with(|world| {
        cast = callers::invite(world);
        world.nas.state(|state| {
            state.pace.scrub_step = Duration::from_millis(30);
            // Whoever logs in more than twenty times a minute is made to wait for one by the NAS.
            state.pace.anonymous_calls = u32::MAX;
        });
        set_clock(world, 0);
    })
    .await;
    bench.nas_is_up().await;
    let idle = Sample::of(&bench.daemon, Duration::ZERO);
    let mut tail = Tail::of(bench.world.audit_dir());
    go_wrong(&bench.world);

    let began = Instant::now();
    let patience = Duration::from_secs(15).min(long / 4);
    let work = cast.into_iter().zip(0..).map(|(who, number)| {
        let wait = Duration::from_secs(1) / u32::from(CALLERS) * number;
        Caller::new(&bench.world, who, began, patience).work(wait, began + long)
    });
    let (mut callers, samples) =
        tokio::join!(futures_util::future::join_all(work), go_by(&bench, &mut tail, began, long));
    let faults = [bench.world.local_api.faults(), bench.world.tsidp.faults(), bench.world.nas.faults()];
    let shown = faults.map(Faults::shown);
    for faults in faults {
        faults.clear();
    }

    // What the NAS was still at is unknown from here on, and all works again.
    bench.world.nas.stop().await;
    come_back("the NAS", || bench.world.nas.restart()).await;
    works_again(&bench).await;
    for caller in &mut callers {
        caller.conclude().await;
    }
    all_ends_are_recorded(&mut tail).await;
    let at_rest = Sample::of(&bench.daemon, began.elapsed());
    assert!(bench.daemon.stop().await.unwrap().success());
    tail.catch_up();

    nothing_broke(&bench, &callers);

    let unanswered: usize = callers.iter().map(|caller| caller.unanswered).sum();
    let told: Vec<_> = callers.into_iter().flat_map(|caller| caller.told).collect();
    let calls = seen_by_the_nas(&bench.world);
    let found = violations(&told, &tail.records, &calls);
    // The first quarter is for whatever is there once and stays.
    let settled: Vec<_> = samples.into_iter().filter(|sample| sample.at >= long / 4).collect();
    let grown = growth(&settled);
    let held = |sample: Option<&Sample>| sample.map_or(0, |sample| sample.resident);
    let (restarts, drops) = times(long);
    let mut words = BTreeMap::new();
    for answer in &told {
        *words.entry(kind(&answer.word)).or_insert(0) += 1;
    }
    loudly(&format!(
        "{seconds} s, {CALLERS} callers: {} answers {words:?}, {unanswered} calls without one; {} records, {} calls \
         of the NAS, {} of them changes; provider restarted {restarts} times, NAS dropped {drops} times, clock set twice, \
         {} faults of tailscaled, {} of the provider, {} of the NAS; RSS {} KiB idle, {} KiB after a quarter, {} KiB at \
         the end, {} KiB at rest, {grown:+.0} KiB along the line after the first quarter ({:+.0} KiB/h); {} files open \
         idle, {} at rest; {} violations",
        told.len(),
        tail.records.len(),
        calls.len(),
        calls.iter().filter(|call| call.changes).count(),
        shown[0],
        shown[1],
        shown[2],
        idle.resident,
        held(settled.first()),
        held(settled.last()),
        at_rest.resident,
        grown / long.mul_f64(0.75).as_secs_f64() * 3600.0,
        idle.files,
        at_rest.files,
        found.len(),
    ));
    let first: Vec<_> =
        found.iter().take(20).map(|violation| story(violation, &told, &tail.records)).collect();
    assert!(found.is_empty(), "{} violations, the first of them:\n{}", found.len(), first.join("\n"));
    something_happened(&told, &tail, &calls, shown.iter().sum());
    // A short run ends while the allocator still takes its first pages.
    let most = if long >= Duration::from_mins(10) { 4096.0 } else { 16_384.0 };
    assert!(grown < most, "RSS grew by {grown:.0} KiB");
    assert!(at_rest.files <= idle.files + 64, "{} files open became {}", idle.files, at_rest.files);
}

/// No task of the daemon has panicked, no answer says that it failed, and the log verifies.
fn nothing_broke(bench: &Bench, callers: &[Caller<'_>]) {
    let log = bench.log();
    let panics: Vec<_> = log.lines().filter(|line| line.contains("panicked at")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
    let broken: Vec<_> = callers.iter().flat_map(|caller| &caller.broken).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let mut verify = Command::new(common::shipped());
    let verified = verify.args(["audit", "verify", "--config"]).arg(bench.world.config()).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

/// A soak in which nothing happened would show nothing.
fn something_happened(told: &[Told], tail: &Tail, calls: &[Call], shown: u64) {
    let answers = |is: fn(&Word) -> bool| told.iter().filter(|answer| is(&answer.word)).count();
    assert!(answers(|word| matches!(word, Word::Made(_))) >= 5, "hardly a change was made");
    assert!(answers(|word| matches!(word, Word::Looked(_))) >= 50, "hardly anybody saw anything");
    assert!(answers(|word| *word == Word::Refused) >= 20, "hardly anybody was refused anything");
    assert!(shown >= 5, "hardly anything went wrong: {shown}");
    let steps = tail.records.iter().filter(|record| record.kind == "clock_step").count();
    assert!(steps >= 2, "the daemon has not seen its clock set: {steps}");
    // By which a refusal that got through would be seen.
    let seen: BTreeSet<_> =
        calls.iter().filter(|call| !call.changes).flat_map(|call| marks(&call.params)).collect();
    let looked = |answer: &&Told| answer.mark.as_deref().is_some_and(|mark| seen.contains(mark));
    assert!(told.iter().filter(looked).count() >= 5, "the NAS does not hear what callers look for");
    assert!(told.iter().any(|answer| answer.greets.is_some()), "nobody was told who they are");
    assert!(told.iter().any(|answer| !answer.tells_of.is_empty()), "nobody was told what they changed");
}

const fn kind(word: &Word) -> &'static str {
    match word {
        Word::Refused => "refused",
        Word::Looked(_) => "looked",
        Word::Made(_) => "made",
        Word::NotMade(_) => "not made",
        Word::Failed => "failed",
    }
}

/// How often the provider is restarted and the NAS dropped.
fn times(long: Duration) -> (usize, usize) {
    let all = schedule(long);
    let count = |wanted| all.iter().filter(|(_, event)| *event == wanted).count();
    (count(Event::ProviderStops), count(Event::NasStops))
}

/// From here on every so many requests one goes wrong.
fn go_wrong(world: &World) {
    let slow = Fault::Slow(Duration::from_millis(300));
    let any = [Fault::Drop, slow, Fault::Garbage, Fault::HalfFrame, Fault::Hang];
    world.local_api.faults().every(FAULTY, any.clone());
    world.nas.faults().every(FAULTY, any.clone());
    let status = Fault::Status(500, "internal error".to_owned());
    world.tsidp.faults().every(FAULTY, any.into_iter().chain([status]));
}

/// Lets happen what is due, and looks at the daemon meanwhile.
async fn go_by(bench: &Bench, tail: &mut Tail, began: Instant, long: Duration) -> Vec<Sample> {
    let world = &bench.world;
    let mut samples = Vec::new();
    for (at, event) in schedule(long) {
        tokio::time::sleep_until(began + at).await;
        match event {
            Event::ProviderStops => world.tsidp.stop().await,
            Event::ProviderStarts => come_back("the provider", || world.tsidp.restart()).await,
            Event::NasStops => world.nas.stop().await,
            Event::NasStarts => come_back("the NAS", || world.nas.restart()).await,
            Event::ClockIsOff(by) => set_clock(world, by),
            Event::Looked => {
                samples.push(Sample::of(&bench.daemon, began.elapsed()));
                tail.catch_up();
                tidy_up(world);
            }
        }
    }
    samples
}

/// Sets the wall clock of the daemon, in one step.
fn set_clock(world: &World, by: i64) {
    world.write("clock.new", &by.to_string()).unwrap();
    let clock = world.config().with_file_name("clock");
    std::fs::rename(clock.with_file_name("clock.new"), clock).unwrap();
}

/// Starts what has stopped. A connection of somebody else's may go out from its port for a moment.
async fn come_back<F: Future<Output = io::Result<()>>>(what: &str, start: impl Fn() -> F) {
    let began = Instant::now();
    while let Err(error) = start().await {
        assert!(began.elapsed() < Duration::from_mins(1), "{what} does not come back: {error}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Takes away what would make the simulator larger and slower for as long as this goes on.
fn tidy_up(world: &World) {
    world.nas.forget_results();
    world.nas.state(|state| {
        let ours = state.snapshots.iter().filter(|one| one.name.starts_with(MARK)).count();
        let mut over = ours.saturating_sub(KEPT);
        state.snapshots.retain(|one| {
            let goes = over > 0 && one.name.starts_with(MARK);
            over -= usize::from(goes);
            !goes
        });
    });
}

/// Whatever went wrong, the daemon gets over it by itself.
async fn works_again(bench: &Bench) {
    let began = Instant::now();
    let alice = bench.client(ALICE);
    loop {
        let answer = alice.call("system_info", json!({})).await.unwrap();
        if answer.status == 200 && !answer.is_error() {
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "it does not work again: {answer:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until it is on record how every change ended: what the NAS cannot be asked about is given up after two minutes.
async fn all_ends_are_recorded(tail: &mut Tail) {
    let began = Instant::now();
    loop {
        tail.catch_up();
        if tail.open() == 0 {
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(4), "{} changes have no outcome", tail.open());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn seen_by_the_nas(world: &World) -> Vec<Call> {
    let version: Version = Generation::V25_10.version().parse().unwrap();
    let changing = catalogue().into_iter().filter(|method| method.changes);
    let changing: BTreeSet<_> =
        changing.filter_map(|method| Candidate::choose(method.candidates, version)).collect();
    assert!(changing.contains("pool.snapshot.create"), "{changing:?}");
    world.nas.transcript().into_iter().map(|exchange| Call::of(exchange, &changing)).collect()
}

#[test]
fn in_any_run_each_thing_happens_twice_and_in_an_hour_as_often_as_it_should() {
    assert_eq!(times(Duration::from_hours(1)), (5, 8));
    for seconds in [SHORT, 60, 600] {
        let (restarts, drops) = times(Duration::from_secs(seconds));
        assert!(restarts >= 2 && drops >= 2, "{seconds} s: {restarts}, {drops}");
        let all = schedule(Duration::from_secs(seconds));
        let clocks = all.iter().filter(|(_, event)| matches!(event, Event::ClockIsOff(_))).count();
        assert_eq!(clocks, 2);
        assert!(all.iter().all(|(at, _)| *at < Duration::from_secs(seconds)), "{all:?}");
    }
}

/// A violation, with the answers and the records of its request.
fn story(violation: &Violation, told: &[Told], records: &[Record]) -> String {
    let named = format!("{violation:?}");
    let answers = told.iter().filter(|answer| named.contains(&answer.request));
    let records =
        records.iter().filter(|record| record.req.as_ref().is_some_and(|request| named.contains(request)));
    let said: Vec<_> = answers.map(|answer| format!("  {answer:?}")).collect();
    let written: Vec<_> = records.map(|record| format!("  {record:?}")).collect();
    [vec![named.clone()], said, written].concat().join("\n")
}
