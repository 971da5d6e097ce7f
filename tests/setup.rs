//! `tailnas setup`, unattended and against the simulated neighbourhood: from nothing to an answered call, and every
//! leg broken once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::format_push_string,
    clippy::print_stderr,
    reason = "a test that cannot go on says so by a panic, and has no Config"
)]

mod common;

use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tailnas_sim::daemon::Daemon;
use tailnas_sim::localapi::User;
use tailnas_sim::nas::Generation;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{CAPABILITY, World};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tailnas");

/// What LocalAPI calls this machine, as a URL.
const URL: &str = "https://nas-mcp.tail1234.ts.net/mcp";

/// A machine that tailnas was just installed on.
struct Machine {
    world: World,
    dir: TempDir,
}

/// What a run of setup came to.
struct Ran {
    code: Option<i32>,
    text: String,
}

impl Machine {
    async fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tailnas-setup-").tempdir().unwrap();
        let world = World::start(dir.path(), 0, Generation::V25_10).await.unwrap();
        fs::create_dir(dir.path().join("bin")).unwrap();
        let machine = Self { world, dir };
        machine.fake("systemctl", "exit 0");
        machine.fake("tailscale", "exit 0");
        machine.fake("journalctl", "exit 0");
        let pin = machine.pin().await;
        machine.answers(&machine.right(&pin));
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program on PATH that notes how it was called.
    fn fake(&self, name: &str, does: &str) {
        let (path, calls) = (self.path("bin").join(name), self.path("calls"));
        fs::write(&path, format!("#!/bin/sh\necho \"{name} $*\" >>'{}'\n{does}\n", calls.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }

    async fn pin(&self) -> String {
        let config = self.world.config();
        let asked = Command::new(PROGRAM).args(["doctor", "--pin", "--config"]).arg(config).output();
        String::from_utf8(asked.await.unwrap().stdout).unwrap().trim().to_owned()
    }

    /// Answers with which everything goes well.
    fn right(&self, pin: &str) -> String {
        let reader = self.world.nas.reader_key().username;
        let writer = self.world.nas.writer_key().username;
        format!(
            "# this machine\ntailscaled = {}\nprovider = {}\nnas = {}\nnas-name = home\nnas-pin = {pin}\n\
             reader = {reader}\nreader-key-file = {}\nwriter = {writer}\nwriter-key-file = {}\n",
            self.path("tailscaled.sock").display(),
            self.world.tsidp.issuer(),
            self.world.nas.url().trim_end_matches("/api/current"),
            self.path("reader.key").display(),
            self.path("writer.key").display(),
        )
    }

    fn answers(&self, text: &str) {
        fs::write(self.path("answers"), text).unwrap();
    }

    /// Answers the question `name` otherwise.
    fn answer(&self, name: &str, value: &str) {
        let text = fs::read_to_string(self.path("answers")).unwrap();
        let others = text.lines().filter(|line| !line.starts_with(&format!("{name} =")));
        self.answers(&format!("{}\n{name} = {value}\n", others.collect::<Vec<_>>().join("\n")));
    }

    fn search_path(&self) -> String {
        format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap())
    }

    /// Under the umask of a careful root, which must keep nothing from the daemon.
    async fn setup(&self) -> Ran {
        let output = Command::new("sh")
            .args(["-c", "umask 077; exec \"$@\"", "sh", PROGRAM, "setup"])
            .args(["--answers".as_ref(), self.path("answers").as_os_str()])
            .args(["--config".as_ref(), self.path("etc/tailnas/config.toml").as_os_str()])
            .args(["--credstore".as_ref(), self.path("etc/credstore").as_os_str()])
            .env("PATH", self.search_path())
            .output()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        Ran { code: output.status.code(), text: String::from_utf8(said).unwrap() }
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("etc/tailnas/config.toml")).unwrap_or_default()
    }

    /// Nothing secret was said, nor written where everybody can read.
    fn keeps_its_secrets(&self, ran: &Ran) {
        for key in [self.world.nas.reader_key().key, self.world.nas.writer_key().key] {
            assert!(
                !ran.text.contains(&key) && !self.config().contains(&key) && !self.calls().contains(&key)
            );
        }
        let Ok(keys) = fs::read_dir(self.path("etc/credstore")) else { return };
        for key in keys {
            let mode = key.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_an_answered_call() {
    let machine = Machine::new().await;
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    machine.keeps_its_secrets(&ran);
    for said in
        ["this machine is nas-mcp.tail1234.ts.net", URL, "claude mcp add", CAPABILITY, "tailnas/nas-mcp"]
    {
        assert!(ran.text.contains(said), "{said}: {}", ran.text);
    }
    assert!(!ran.text.contains('✗'), "{}", ran.text);
    assert_eq!(
        machine.calls(),
        "systemctl enable --now tailnas.socket\nsystemctl enable tailnas.service\n\
         systemctl restart tailnas.service\ntailscale serve --bg --yes unix:/run/tailnas/tailnas.sock\n"
    );

    // The daemon runs as another user, and must be able to read it.
    let (file, folder) = (machine.path("etc/tailnas/config.toml"), machine.path("etc/tailnas"));
    for (path, mode) in [(file, 0o644), (folder, 0o755)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }

    // The daemon, with what was written, in places that a test has.
    let (dir, socket) = (machine.dir.path(), machine.path("tailnas.sock"));
    let mut config = machine
        .config()
        .replace("\"systemd\"", &format!("\"unix:{}\"", socket.display()))
        .replace("/var/log/tailnas", &machine.path("log").to_string_lossy())
        .replace("credential:", &format!("file:{}/etc/credstore/tailnas.", dir.display()));
    config.push_str(&format!("\n[state]\ndir = \"{}/state\"\n", dir.display()));
    machine.world.write("installed.toml", &config).unwrap();
    let beside = machine.path("beside");
    fs::create_dir(&beside).unwrap();
    let args = ["serve".into(), "--config".into(), machine.path("installed.toml")];
    let _daemon = Daemon::start(Path::new(PROGRAM), args, &beside).await.unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run as root, so no call was made: the socket is for tailscaled alone");
        return;
    }
    let phone: IpAddr = "100.64.0.7".parse().unwrap();
    machine.world.tailnet.add_user_node(phone, "phone", User::new(456, "alice@example.com", "Alice Doe"));
    machine.world.tailnet.grant(phone, CAPABILITY, vec![json!({ "scopes": ["system:read"], "nas": ["*"] })]);
    let token = machine.world.tsidp.mint(TokenSpec::new("alice@example.com", URL));
    common::eventually("the NAS answers a call", async || {
        let answer = call(&socket, &token, "system_info").await;
        answer.contains("200 OK")
            && answer.contains("structuredContent")
            && !answer.contains("\"isError\":true")
    })
    .await;
}

/// Calls a tool as `tailscale serve` passes it on.
async fn call(socket: &Path, token: &str, tool: &str) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": {} } });
    let body = body.to_string();
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-Host: nas-mcp.tail1234.ts.net\r\n\
         X-Forwarded-For: 100.64.0.7\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Accept: application/json, text/event-stream\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_asks_nothing_and_keeps_what_is_there() {
    let machine = Machine::new().await;
    assert_eq!(machine.setup().await.code, Some(0));
    let key = machine.path("etc/credstore/tailnas.audit-signing-key");
    let (config, signing) = (machine.config(), fs::read(&key).unwrap());
    machine.answers(&format!("tailscaled = {}\n", machine.path("tailscaled.sock").display()));
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(ran.text.contains("is kept as it is"), "{}", ran.text);
    assert_eq!((machine.config(), fs::read(&key).unwrap()), (config, signing));
}

/// Breaks one thing, and wants the ✗ to name it, with the fix; then mends it, and wants setup to come to its end.
async fn broken(what: &str, fix: &str, break_it: impl Fn(&Machine), mend_it: impl Fn(&Machine)) {
    let machine = Machine::new().await;
    let right = fs::read_to_string(machine.path("answers")).unwrap();
    break_it(&machine);
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(1), "{what}: {}", ran.text);
    machine.keeps_its_secrets(&ran);
    let (cross, arrow) = ran.text.split_once('✗').unwrap().1.split_once('→').unwrap();
    assert!(cross.contains(what), "the cause is not {what:?}: {cross}");
    assert!(arrow.contains(fix), "the fix is not {fix:?}: {arrow}");
    machine.answers(&right);
    mend_it(&machine);
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{what}, once mended: {}", ran.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tailnet_leg() {
    let nothing = |_: &Machine| {};
    let nowhere = |machine: &Machine| machine.answer("tailscaled", "/nowhere/tailscaled.sock");
    broken("tailscaled:", "systemctl start tailscaled", nowhere, nothing).await;
    let state = |state: &'static str| move |machine: &Machine| machine.world.tailnet.set_backend_state(state);
    broken("\"NeedsLogin\"", "tailscale up", state("NeedsLogin"), state("Running")).await;
    let https = |on: bool| move |machine: &Machine| machine.world.tailnet.set_https(on);
    broken("no certificate for nas-mcp.tail1234.ts.net", "Enable HTTPS", https(false), https(true)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_leg() {
    let nothing = |_: &Machine| {};
    let closed = |machine: &Machine| machine.answer("provider", "http://127.0.0.1:9");
    broken("provider:", "/.well-known/openid-configuration", closed, nothing).await;
    let plain = |machine: &Machine| machine.answer("provider", "http://idp.example");
    broken("provider.issuer", "Give other answers", plain, nothing).await;
    let unsaid = |machine: &Machine| {
        let text = fs::read_to_string(machine.path("answers")).unwrap();
        machine.answers(
            &text
                .lines()
                .filter(|line| !line.starts_with("provider"))
                .fold(String::new(), |text, line| text + line + "\n"),
        );
    };
    broken("does not say provider", "provider = VALUE", unsaid, nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nas_leg() {
    let nothing = |_: &Machine| {};
    let closed = |machine: &Machine| machine.answer("nas", "127.0.0.1:9");
    broken("NAS:", "Is wss://127.0.0.1:9", closed, nothing).await;
    let plain = |machine: &Machine| machine.answer("nas", "ws://127.0.0.1:9");
    broken("nas[0].url", "Give other answers", plain, nothing).await;
    let other = |machine: &Machine| machine.answer("nas-pin", &format!("sha256:{}", "0".repeat(64)));
    broken("nobody said that this is the right one", "somebody stands between", other, nothing).await;
    let yes = |machine: &Machine| machine.answer("nas-pin", "yes");
    broken("nobody said that this is the right one", "Compare it", yes, nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_leg() {
    let nothing = |_: &Machine| {};
    let put = |machine: &Machine, text: &str, mode: u32| {
        let path = machine.path("given.key");
        let _ = fs::remove_file(&path);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        machine.answer("reader-key-file", path.to_str().unwrap());
    };
    let wrong = |machine: &Machine| put(machine, &format!("1-{}", "x".repeat(64)), 0o600);
    broken("it refused", "key", wrong, nothing).await;
    let exposed = |machine: &Machine| put(machine, &machine.world.nas.reader_key().key, 0o644);
    broken("may be read by others", "reader-key-file", exposed, nothing).await;
    let missing = |machine: &Machine| machine.answer("reader-key-file", "/nowhere/key");
    broken("/nowhere/key cannot be read", "reader-key-file", missing, nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_leg() {
    let key = |machine: &Machine| machine.path("etc/credstore/tailnas.audit-signing-key");
    let log_without_key = |machine: &Machine| {
        // As after a restore of everything but the keys.
        fs::create_dir_all(machine.path("log")).unwrap();
        fs::write(machine.path("log/audit.jsonl"), "").unwrap();
        fs::create_dir_all(machine.path("etc/tailnas")).unwrap();
        let config = fs::read_to_string(machine.world.config()).unwrap();
        let dir = machine.dir.path().display().to_string();
        let config = config
            .replace(&format!("{dir}/audit\""), &format!("{dir}/log\""))
            .replace(&format!("file:{dir}/audit-signing.key"), "credential:audit-signing-key");
        fs::write(machine.path("etc/tailnas/config.toml"), config).unwrap();
        fs::set_permissions(machine.path("etc/tailnas/config.toml"), fs::Permissions::from_mode(0o600))
            .unwrap();
    };
    let put_back = |machine: &Machine| {
        fs::create_dir_all(machine.path("etc/credstore")).unwrap();
        fs::copy(machine.path("audit-signing.key"), key(machine)).unwrap();
    };
    broken("its key", "Put the key back from your backup", log_without_key, put_back).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_leg() {
    let well = |machine: &Machine| {
        machine.fake("systemctl", "exit 0");
        machine.fake("tailscale", "exit 0");
    };
    let fails = |machine: &Machine| {
        machine.fake("journalctl", "printf 'the NAS was \\033[31mred'");
        machine.fake("systemctl", "case $1 in restart) echo 'Job failed.' >&2; exit 1 ;; esac");
    };
    broken("systemctl restart tailnas.service: Job failed.", "journalctl -u tailnas", &fails, well).await;
    broken("It said: the NAS was [31mred", "journalctl -u tailnas", fails, well).await;
    let refuses = |machine: &Machine| {
        machine.fake("tailscale", "printf 'Serve is not enabled on your tailnet.\\033[31m' >&2; exit 1");
    };
    broken("Serve is not enabled on your tailnet. [31m", "Run it by hand", refuses, well).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_answers_themselves() {
    let typo = |machine: &Machine| machine.answer("naspin", "system");
    broken("naspin = system is no answer", "tailnas setup --help", typo, |_| {}).await;
    let broken_config = |machine: &Machine| {
        fs::create_dir_all(machine.path("etc/tailnas")).unwrap();
        fs::write(machine.path("etc/tailnas/config.toml"), "[server]\nurl = 1\n").unwrap();
        fs::set_permissions(machine.path("etc/tailnas/config.toml"), fs::Permissions::from_mode(0o600))
            .unwrap();
    };
    let moved_away = |machine: &Machine| fs::remove_file(machine.path("etc/tailnas/config.toml")).unwrap();
    broken("is not a configuration", "move the file away", broken_config, moved_away).await;
}

/// A terminal with somebody at it who waits for each question.
struct Terminal {
    shell: tokio::process::Child,
    shown: String,
}

impl Terminal {
    fn start(machine: &Machine) -> Self {
        let dir = machine.dir.path().display();
        let command =
            format!("{PROGRAM} setup --config {dir}/etc/tailnas/config.toml --credstore {dir}/etc/credstore");
        let shell = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env("PATH", machine.search_path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self { shell, shown: String::new() }
    }

    /// Waits until `question` is on the screen below what was answered before, and types `answer`.
    async fn answer(&mut self, question: &str, answer: &str) {
        let from = self.shown.len();
        self.wait_for(from, question).await;
        let keyboard = self.shell.stdin.as_mut().unwrap();
        keyboard.write_all(format!("{answer}\n").as_bytes()).await.unwrap();
    }

    async fn wait_for(&mut self, from: usize, words: &str) {
        let screen = self.shell.stdout.as_mut().unwrap();
        let mut buffer = vec![0; 4096];
        while !self.shown[from..].contains(words) {
            let read = tokio::time::timeout(Duration::from_secs(20), screen.read(&mut buffer)).await;
            let Ok(Ok(length @ 1..)) = read else { panic!("{words:?} was not shown: {}", self.shown) };
            self.shown.push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_is_asked_and_the_key_is_not_shown() {
    let machine = Machine::new().await;
    let reader = machine.world.nas.reader_key();
    let mut terminal = Terminal::start(&machine);
    if !Path::new("/run/tailscale/tailscaled.sock").exists() {
        terminal.answer("tailscaled's socket", &machine.path("tailscaled.sock").to_string_lossy()).await;
    }
    terminal.answer("The OAuth provider", &machine.world.tsidp.issuer()).await;
    terminal.answer("The NAS, by name", machine.world.nas.url().trim_end_matches("/api/current")).await;
    terminal.answer("What to call it [nas]", "").await;
    terminal.answer("Is that its certificate?", "yes").await;
    terminal.answer("that looks [tailnas-reader]", &reader.username).await;
    terminal.answer("changes things", "").await;
    terminal.answer("Its API key (not shown)", &reader.key).await;
    terminal.wait_for(0, "claude mcp add").await;
    assert!(terminal.shown.contains("midclt call api_key.create"), "{}", terminal.shown);
    assert!(!terminal.shown.contains(&reader.key), "the key was shown: {}", terminal.shown);
    assert!(terminal.shell.wait().await.unwrap().success());
    let kept = fs::read_to_string(machine.path("etc/credstore/tailnas.nas-reader-key")).unwrap();
    assert_eq!(kept.trim(), reader.key);
    assert!(!machine.config().contains("[nas.writer]"));
}
