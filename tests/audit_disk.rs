//! Disks that are full or cannot be written, for real: a small file system is mounted under the log of the real daemon,
//! or the kernel answers its calls with an error. That takes root or strace; without them this says that it did not run,
//! and with `TAILNAS_RUN_ALL` it fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use common::{Bench, did_not_run, eventually};
use http::Method;
use serde_json::{Value, json};
use tailnas::audit::verify::{Against, verify};
use tailnas::audit::{Journal, Settings, Signer};
use tailnas::clock::Clock;
use tailnas::lifecycle::Lifecycle;
use tailnas::policy::freeze::{Freeze, Frozen};
use tailnas::secret::Secret;
use tailnas_sim::client::Client;
use tailnas_sim::world::{ALICE, BOB};

/// Signs the log of a test.
const KEY: &str = "PRIVATE+KEY+tailnas/test+97c30981+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB";

/// A small file system of its own, gone when this is.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: &Path, mib: u64) -> Self {
        fs::create_dir(path).unwrap();
        run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "tailnas-test", path.to_str().unwrap()],
        );
        Self(path.to_owned())
    }

    fn remount(&self, how: &str) {
        run("mount", &["-o", &format!("remount,{how}"), self.0.to_str().unwrap()]);
    }

    /// Leaves about this much room, and says what to remove to have the rest again.
    fn leave(&self, mib: u64) -> PathBuf {
        let file = self.0.join("filler");
        let mut filler = File::create(&file).unwrap();
        let block = vec![1; 64 << 10];
        while free(&self.0) > mib << 20 {
            if filler.write_all(&block).is_err() {
                break;
            }
        }
        file
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn free(path: &Path) -> u64 {
    let disk = rustix::fs::statvfs(path).unwrap();
    disk.f_bavail * disk.f_frsize
}

fn run(program: &str, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        did_not_run("mounting a small file system takes root");
    }
    root
}

/// What a change is answered, where it fails.
async fn change(bench: &Bench, name: &str) -> Option<String> {
    let arguments = json!({ "dataset": "tank/photos", "name": name });
    let answer = bench.client(ALICE).call("snapshot_create", arguments).await.unwrap();
    answer.is_error().then(|| answer.text())
}

/// How `/readyz` answers, and what of it all is missing, with a reason.
async fn missing(bench: &Bench) -> (u16, Value) {
    let at = bench.world.metrics_address();
    let monitor = Client { server: at, host: at.to_string(), token: None, ..bench.client(ALICE) };
    let answer = monitor.send(Method::GET, "/readyz", &[], "").await.unwrap();
    let report = answer.json();
    let parts = [
        ("tailscaled", &report["tailscaled"]),
        ("provider", &report["provider"]),
        ("homenas", &report["nas"]["homenas"]),
        ("audit", &report["audit"]),
    ];
    let gone = parts.into_iter().filter(|(_, part)| part["ok"] != true && part["why"].is_string());
    (answer.status.as_u16(), gone.map(|(name, _)| json!(name)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_stops_changes_and_a_disk_with_room_again_lets_them_go_on() {
    if !is_root() {
        return;
    }
    let mut disk = None;
    let mut bench = Bench::start_with(|world| disk = Some(Mounted::at(&world.audit_dir(), 100))).await;
    let disk = disk.unwrap();
    bench.nas_is_up().await;
    assert_eq!(change(&bench, "before").await, None);

    let filler = disk.leave(50);
    let before = bench.nas_calls().len();
    eventually("changes are refused", async || {
        change(&bench, &format!("r{}", free(&disk.0) >> 10)).await.is_some()
    })
    .await;
    let refused = change(&bench, "refused").await.unwrap();
    assert!(refused.contains("takes in nothing new") && refused.contains("MiB are free"), "{refused}");
    assert!(refused.contains("Nothing was changed"), "{refused}");
    let silent = "calls were refused, because they could not be recorded";
    assert!(bench.log().contains(silent), "what has no record is in the journal: {}", bench.log());
    let read = bench.client(ALICE).call("system_info", json!({})).await.unwrap();
    assert!(read.is_error(), "reads stop too, unless the configuration says otherwise");
    let refused_at = bench.nas_calls().len();
    assert_eq!(change(&bench, "refused").await.map(|_| bench.nas_calls().len()), Some(refused_at));
    assert!(refused_at >= before);
    let audit = json!(["audit"]);
    eventually("the log is missed", async || missing(&bench).await == (503, audit.clone())).await;

    fs::remove_file(&filler).unwrap();
    eventually("changes are made again", async || change(&bench, "after").await.is_none()).await;
    eventually("nothing is missed", async || missing(&bench).await == (200, json!([]))).await;
    for kind in ["suspended", "resumed"] {
        bench.record(kind, |record| record["type"] == kind).await;
    }

    // Reading goes on where the configuration says so, and changes do not.
    bench.daemon.stop().await.unwrap();
    let config = fs::read_to_string(bench.world.config()).unwrap();
    let config = config.replace("[audit]\n", "[audit]\nreads_when_suspended = \"yes\"\n");
    bench.world.write("config.toml", &config).unwrap();
    bench.start_again().await;
    bench.nas_is_up().await;
    let filler = disk.leave(50);
    eventually("changes are refused", async || {
        change(&bench, &format!("s{}", free(&disk.0) >> 10)).await.is_some()
    })
    .await;
    let read = bench.client(ALICE).call("system_info", json!({})).await.unwrap();
    assert!(!read.is_error(), "{}", read.text());
    // Refusals wait: what anybody can cause takes none of the last room.
    bench.client(BOB).call("alerts_list", json!({})).await.unwrap();
    bench.client(ALICE).call("system_info", json!({})).await.unwrap();
    let held = |record: &Value| record["type"] == "denied" && record["tool"] == "alerts_list";
    assert!(!bench.records().iter().any(held));
    fs::remove_file(&filler).unwrap();
    bench.record("the refusal", held).await;

    // To the last byte: what is written now meets ENOSPC, and nothing is written after that.
    let filler = disk.leave(0);
    // The last page of the log may have room for a few more records.
    eventually("the daemon ends", async || bench.client(ALICE).call("system_info", json!({})).await.is_err())
        .await;
    assert_eq!(bench.daemon.stop().await.unwrap().code(), Some(74), "{}", bench.log());
    assert!(bench.log().contains("No space left on device"), "{}", bench.log());

    fs::remove_file(&filler).unwrap();
    bench.start_again().await;
    bench.nas_is_up().await;
    assert_eq!(change(&bench, "at-last").await, None);
    let report = || verify(&disk.0, &Against::default()).unwrap();
    eventually("no change is open", async || report().intents.open.is_empty()).await;
    bench.daemon.stop().await.unwrap();
    assert!(report().is_clean(), "{}", report());

    // A disk that can only be read: the daemon does not start, and says why.
    disk.remount("ro");
    bench.try_again().await.unwrap_err();
    assert!(bench.log().contains("Read-only file system"), "{}", bench.log());
    disk.remount("rw");
    bench.start_again().await;
    bench.daemon.stop().await.unwrap();
}

/// Calls of the daemon about the file of its log that fail as `how` says, for as long as this is there. strace makes
/// the kernel answer so; it writes down each time it did.
struct Failing {
    strace: Child,
    said: PathBuf,
}

impl Failing {
    /// `None` where there is no strace.
    async fn calls(bench: &Bench, call: &str, how: &str) -> Option<Self> {
        let said = bench.dir.path().join("strace");
        let pid = bench.daemon.pid().unwrap().to_string();
        let file = bench.world.audit_dir().join("audit-00000000000000000000.jsonl");
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-p", &pid, "-o", said.to_str().unwrap(), "-P", file.to_str().unwrap()])
            .args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{how}")])
            .spawn();
        let Ok(strace) = strace else {
            did_not_run("it takes strace");
            return None;
        };
        eventually("strace has hold of every thread", async || {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
            let status =
                |thread: fs::DirEntry| fs::read_to_string(thread.path().join("status")).unwrap_or_default();
            threads.map(status).all(|status| !status.contains("TracerPid:\t0\n"))
        })
        .await;
        Some(Self { strace, said })
    }

    fn fired(&self) -> bool {
        fs::read_to_string(&self.said).unwrap_or_default().contains("(INJECTED)")
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_disk_answers_nothing_is_changed_and_the_daemon_ends_and_comes_back() {
    for (call, how, words) in [
        ("fdatasync", "error=EIO", "Input/output error"),
        ("write", "error=EIO", "Input/output error"),
        ("write", "error=EROFS", "Read-only file system"),
        ("write", "error=EDQUOT", "quota exceeded"),
        ("write", "error=ENOSPC", "No space left on device"),
    ] {
        let mut bench = Bench::complete().await;
        assert_eq!(change(&bench, "before").await, None);
        let Some(failing) = Failing::calls(&bench, call, how).await else { return };
        let made = || bench.nas_calls().iter().filter(|method| *method == "pool.snapshot.create").count();
        assert_eq!(made(), 1);
        let refused = change(&bench, "refused").await.unwrap();
        assert!(failing.fired(), "{call} {how}");
        assert!(refused.contains("It could not be recorded, so it was not done"), "{refused}");
        assert!(refused.contains(words), "{refused}");
        let line = "calls were refused, because they could not be recorded";
        assert!(bench.log().contains(line), "what has no record is in the journal: {}", bench.log());
        assert_eq!(made(), 1, "{call} {how}: the NAS heard of it");
        assert_eq!(bench.daemon.stop().await.unwrap().code(), Some(74), "{}", bench.log());
        drop(failing);

        bench.start_again().await;
        bench.nas_is_up().await;
        assert_eq!(change(&bench, "after").await, None, "{call} {how}");
        let report = || verify(&bench.world.audit_dir(), &Against::default()).unwrap();
        eventually("no change is open", async || report().intents.open.is_empty()).await;
        bench.daemon.stop().await.unwrap();
        assert!(report().is_clean(), "{call} {how}: {}", report());
    }
}

/// The owner of each file in a folder.
fn owners(folder: &Path) -> Vec<(String, u32)> {
    let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
    files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().uid())).collect()
}

/// As root, in folders of a daemon that is not: its start, and the commands that write there.
#[tokio::test(flavor = "multi_thread")]
async fn what_root_makes_in_the_folders_of_the_daemon_belongs_to_the_daemon() {
    const DAEMON: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        did_not_run("giving files to another user takes root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (log, elsewhere) = (dir.path().join("log"), dir.path().join("elsewhere"));
    for folder in [&log, &elsewhere] {
        fs::create_dir(folder).unwrap();
        chown(folder, Some(DAEMON), Some(DAEMON)).unwrap();
    }
    let settings = Settings {
        dir: log.clone(),
        hasher_key: Secret::new("0123456789abcdef0123456789abcdef".into()),
        signer: Signer::parse(&Secret::new(KEY.into())).unwrap(),
        copy: Some(elsewhere.join("copy")),
        // Whenever it looks, it is time for another file.
        rotate_at: 1,
        reads_go_on: false,
    };
    let clock = Clock::system();
    let heartbeat = Lifecycle::new(clock.clone()).0.heartbeat("audit", Duration::from_secs(5));
    let (journal, _) = Journal::open(settings, clock, heartbeat).unwrap();
    let there = |ending: &str| {
        let all = [owners(&log), owners(&elsewhere)].concat();
        all.iter().filter(|(name, _)| name.ends_with(ending)).count()
    };
    eventually("it goes on in other files, and signs", async || {
        there(".jsonl") > 2 && there("checkpoints") == 1 && there("copy") == 1
    })
    .await;
    journal.close().await.unwrap();
    let pruned = Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(["audit", "prune", "--before", &u64::MAX.to_string(), "--dir", log.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(pruned.status.success(), "{}", String::from_utf8_lossy(&pruned.stderr));
    let frozen = Frozen { by: "root".to_owned(), at: String::new(), reason: String::new() };
    Freeze::new(&log).freeze(&frozen).unwrap();

    let all = [owners(&log), owners(&elsewhere)].concat();
    assert!(there(".hashes") > 1 && there("frozen") == 1, "{all:?}");
    assert!(all.iter().all(|(_, owner)| *owner == DAEMON), "{all:?}");
}
