//! What the log can do on a disk, beside what the disk itself can do: the same run, the same folder, records of the
//! same length.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::verify::{Against, verify};
use super::{Journal, Outcome, Settings, Signer};
use crate::clock::Clock;
use crate::domain::id::RequestId;
use crate::domain::risk::Risk;
use crate::domain::scope::Scope;
use crate::domain::who::{AuthNote, McpNote, PeerNote, Who};
use crate::lifecycle::{Heartbeat, Lifecycle};
use crate::policy::permit::{Approval, Terms};
use crate::secret::Secret;

/// How long each part takes.
const LONG: Duration = Duration::from_secs(3);

/// How many records are written to be verified.
const VERIFIED: usize = 200_000;

/// How fast records became durable.
#[derive(Clone, Debug, Serialize)]
pub struct Rate {
    /// Who wrote them.
    pub who: String,
    /// How many a second.
    pub per_second: f64,
    /// The median time until one was on disk, in microseconds.
    pub p50_us: f64,
    /// The time that 99 of 100 did not exceed, in microseconds.
    pub p99_us: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Raw append and fdatasync first, then the log with growing numbers of writers, raw once more.
    pub written: Vec<Rate>,
    /// How many records a second a check of the log takes in, on one core.
    pub verified_per_second: f64,
    /// How many bytes those had on average.
    pub bytes_per_record: u64,
}

/// Measures in a new folder below `dir`, which it takes away again.
///
/// # Errors
///
/// When the disk does not do as it should.
pub fn measure(dir: &Path, clock: &Clock, lifecycle: &Lifecycle) -> io::Result<Measured> {
    let place = dir.join(format!("tailnas-bench-{}", std::process::id()));
    fs::create_dir(&place)?;
    let measured = measure_in(&place, clock, lifecycle);
    fs::remove_dir_all(&place)?;
    measured
}

fn measure_in(place: &Path, clock: &Clock, lifecycle: &Lifecycle) -> io::Result<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // First, for how long a record is.
    let dir = place.join("to-verify");
    runtime.block_on(fill(open(&dir, clock, lifecycle)?, lifecycle))?;
    let began = clock.mono();
    let report = verify(&dir, &Against::default()).map_err(io::Error::other)?;
    let took = clock.mono().saturating_sub(began);
    let bytes: u64 =
        fs::read_dir(&dir)?.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let verified_per_second = report.records as f64 / took.as_secs_f64();
    let bytes_per_record = bytes / report.records.max(1);

    let mut written = vec![raw(&place.join("raw"), bytes_per_record, clock)?];
    for writers in [1, 16, 64, 256] {
        let journal = open(&place.join(format!("{writers}-writers")), clock, lifecycle)?;
        written.push(runtime.block_on(log(journal, writers, clock, lifecycle))?);
    }
    written.push(raw(&place.join("raw-again"), bytes_per_record, clock)?);
    Ok(Measured { written, verified_per_second, bytes_per_record })
}

/// One record after the other, each synced by itself.
fn raw(path: &Path, length: u64, clock: &Clock) -> io::Result<Rate> {
    let mut file = File::options().append(true).create_new(true).open(path)?;
    let record = vec![b'x'; usize::try_from(length).unwrap_or_default()];
    let (began, mut times) = (clock.mono(), Vec::new());
    while clock.mono().saturating_sub(began) < LONG {
        let before = clock.mono();
        file.write_all(&record)?;
        file.sync_data()?;
        times.push(clock.mono().saturating_sub(before));
    }
    Ok(Rate::of("raw append and fdatasync".to_owned(), times, clock.mono().saturating_sub(began)))
}

/// `writers` at a time, each waiting for its record before the next.
async fn log(journal: Journal, writers: usize, clock: &Clock, lifecycle: &Lifecycle) -> io::Result<Rate> {
    let began = clock.mono();
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (journal, clock) = (journal.clone(), clock.clone());
            lifecycle.deed(async move {
                let mut times = Vec::new();
                while clock.mono().saturating_sub(began) < LONG {
                    let before = clock.mono();
                    let warrant = journal.intent(terms()).await.map_err(io::Error::other)?;
                    let between = clock.mono();
                    warrant.close(Outcome::ok()).await.map_err(io::Error::other)?;
                    times.push(between.saturating_sub(before));
                    times.push(clock.mono().saturating_sub(between));
                }
                io::Result::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.map_err(io::Error::other)??);
    }
    let took = clock.mono().saturating_sub(began);
    journal.close().await.map_err(io::Error::other)?;
    Ok(Rate::of(format!("the log, {writers} writers"), times, took))
}

async fn fill(journal: Journal, lifecycle: &Lifecycle) -> io::Result<()> {
    let tasks: Vec<_> = (0..512)
        .map(|_| {
            let journal = journal.clone();
            lifecycle.deed(async move {
                for _ in 0..VERIFIED / 2 / 512 {
                    let warrant = journal.intent(terms()).await.map_err(io::Error::other)?;
                    warrant.close(Outcome::ok()).await.map_err(io::Error::other)?;
                }
                io::Result::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await.map_err(io::Error::other)??;
    }
    journal.close().await.map_err(io::Error::other)
}

fn open(dir: &Path, clock: &Clock, lifecycle: &Lifecycle) -> io::Result<Journal> {
    let (key, _) = Signer::generate("tailnas/bench")?;
    let settings = Settings {
        dir: dir.to_owned(),
        hasher_key: Secret::new("of a benchmark".to_owned()),
        signer: Signer::parse(&key).map_err(io::Error::other)?,
        copy: None,
        rotate_at: 64 << 20,
        reads_go_on: false,
    };
    let heartbeat: Heartbeat = lifecycle.heartbeat("audit writer", LONG);
    Journal::open(settings, clock.clone(), heartbeat).map(|(journal, _)| journal).map_err(io::Error::other)
}

/// As a change in a home looks.
fn terms() -> Terms {
    let who = Who {
        peer: Some(PeerNote {
            ip: [100, 64, 0, 7].into(),
            port: 0,
            node_id: "nSRVBN3CNTRL".to_owned(),
            node_name: "laptop.tail1234.ts.net".to_owned(),
            user: Some("alice@example.com".to_owned()),
            tags: Vec::new(),
        }),
        auth: Some(AuthNote {
            iss: "https://idp.tail1234.ts.net".to_owned(),
            sub: "userid:1234567890".to_owned(),
            username: Some("alice".to_owned()),
            client_id: Some("8c1f0d3a5e7b".to_owned()),
            scope: "openid email profile".to_owned(),
            jti: None,
            exp: 1_800_000_000,
            tok: "ab".repeat(32),
            age_ms: 0,
        }),
        mcp: Some(McpNote { method: "tools/call".to_owned(), ..McpNote::default() }),
        ..Who::default()
    };
    Terms {
        request: RequestId::at(chrono::DateTime::UNIX_EPOCH),
        who,
        tool: "snapshot_create",
        risk: Risk::Reversible,
        scope: Some(Scope::StorageWrite),
        nas: "homenas".parse().ok(),
        target: Some("tank/photos@before-the-change".to_owned()),
        args: serde_json::json!({ "dataset": "tank/photos", "name": "before-the-change" }),
        args_h: "cd".repeat(32),
        rule: "tailnet".to_owned(),
        approval: Approval::ClientAsserted,
        plan: None,
    }
}

impl Rate {
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn of(who: String, mut times: Vec<Duration>, took: Duration) -> Self {
        times.sort_unstable();
        let at = |hundredths: usize| {
            let index = (times.len() * hundredths / 100).min(times.len().saturating_sub(1));
            times.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e6)
        };
        Self { who, per_second: times.len() as f64 / took.as_secs_f64(), p50_us: at(50), p99_us: at(99) }
    }
}
