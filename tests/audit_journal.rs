//! The journal as a witness: the shipped daemon writes its checkpoints to a socket that stands where journald's does, and
//! what arrives there is held against the log. It takes a mount namespace, and so root; without it this says that it did
//! not run, and with `TAILNAS_RUN_ALL` it fails.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test may panic, and needs no lifecycle"
)]

mod common;

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use common::{Bench, did_not_run};
use serde_json::json;
use tailnas_sim::daemon::Daemon;
use tailnas_sim::world::ALICE;

/// Puts the socket in the place of journald's, in a mount namespace of its own, and becomes the daemon, whose stderr
/// systemd would have connected to the journal.
const IN_A_NAMESPACE: &str = r#"
mount -t tmpfs tailnas-test /run
mkdir -p /run/systemd/journal
touch /run/systemd/journal/socket
mount --bind "$1" /run/systemd/journal/socket
shift
export JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2)
exec "$@"
"#;

/// Everything that journald would have by now: each entry's TARGET and MESSAGE.
fn entries(socket: &UnixDatagram) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length) = socket.recv(&mut buffer) {
        let field = |name| field(&buffer[..length], name).unwrap_or_default();
        entries.push((field("TARGET"), field("MESSAGE")));
    }
    entries
}

/// A field of an entry in the native protocol: `NAME=value`, or the name, the length of the value and the value.
fn field(mut entry: &[u8], wanted: &str) -> Option<String> {
    while !entry.is_empty() {
        let end = entry.iter().position(|&byte| byte == b'\n')?;
        let (line, rest) = (&entry[..end], &entry[end + 1..]);
        let (name, value);
        if let Some(at) = line.iter().position(|&byte| byte == b'=') {
            (name, value, entry) = (&line[..at], &line[at + 1..], rest);
        } else {
            let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
            (name, value, entry) = (line, &rest[8..8 + length], &rest[8 + length + 1..]);
        }
        if name == wanted.as_bytes() {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    None
}

fn verify(dir: &Path, journal: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(["audit", "verify", "--journal", "-", "--dir", dir.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(journal.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_journal_was_told_finds_an_older_copy_of_the_log() {
    if !rustix::process::geteuid().is_root() {
        did_not_run("a mount namespace takes root");
        return;
    }
    let mut bench = Bench::start().await;
    bench.daemon.stop().await.unwrap();
    let dir = bench.world.audit_dir();
    let old = fs::read(dir.join("audit-00000000000000000000.jsonl")).unwrap();

    let path = bench.dir.path().join("journal.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (program, config, address) =
        (common::program(), bench.world.config(), bench.world.address().to_string());
    let args =
        ["--mount", "--propagation", "private", "sh", "-euc", IN_A_NAMESPACE, "sh", path.to_str().unwrap()];
    let daemon = [program.to_str().unwrap(), "daemon", config.to_str().unwrap(), &address];
    let args = args.iter().chain(&daemon);
    bench.daemon = Daemon::start(Path::new("unshare"), args, bench.dir.path()).await.unwrap();
    bench.nas_is_up().await;
    for name in ["one", "two"] {
        let arguments = json!({ "dataset": "tank/photos", "name": name });
        let answer = bench.client(ALICE).call("snapshot_create", arguments).await.unwrap();
        assert!(!answer.is_error(), "{}", answer.text());
    }
    bench.daemon.stop().await.unwrap();

    let entries = entries(&socket);
    let checkpoints = entries.iter().filter(|(target, _)| target == tailnas::audit::JOURNALED);
    assert!(checkpoints.count() > 0, "{entries:#?}");
    // As `journalctl -o cat` prints it.
    let journal: String = entries.into_iter().map(|(_, message)| message + "\n").collect();
    assert!(journal.contains("ready"), "everything else is there too: {journal}");
    let sound = verify(&dir, &journal);
    let said = String::from_utf8_lossy(&sound.stdout).into_owned();
    assert_eq!(sound.status.code(), Some(0), "{said}");
    assert!(said.contains("compared   -: "), "{said}");

    fs::write(dir.join("audit-00000000000000000000.jsonl"), old).unwrap();
    fs::remove_file(dir.join("checkpoints")).unwrap();
    let found = verify(&dir, &journal);
    let said = String::from_utf8_lossy(&found.stdout).into_owned();
    assert_eq!(found.status.code(), Some(1), "{said}");
    assert!(said.contains("an older copy was put back"), "{said}");
}
