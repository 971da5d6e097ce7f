//! `tailnas setup`, unattended and against the simulated neighbourhood: from nothing to an answered call, and every
//! leg broken once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    clippy::format_push_string,
    reason = "a test that cannot go on says so by a panic, and has no Config"
)]

mod common;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use tailnas::dispatch::Catalogue;
use tailnas::nas::By;
use tailnas_sim::daemon::Daemon;
use tailnas_sim::fault::Fault;
use tailnas_sim::localapi::{self, SelfNode};
use tailnas_sim::nas::{Generation, Group, Privilege, User};
use tailnas_sim::tls::Identity;
use tailnas_sim::tsidp::TokenSpec;
use tailnas_sim::world::{CAPABILITY, World};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;

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
        Self::beside(Generation::V25_10).await
    }

    /// A machine whose NAS has no accounts for tailnas, and an administrator who can make them.
    async fn without_accounts(generation: Generation) -> Self {
        let machine = Self::beside(generation).await;
        machine.write("admin.password", machine.world.nas.admin_password());
        let text = fs::read_to_string(machine.path("answers")).unwrap();
        let others = text.lines().filter(|line| !line.starts_with("reader") && !line.starts_with("writer"));
        machine.answers(&format!(
            "{}\nreader = nas-looks\nwriter = nas-changes\nmaintenance = nas-restarts\nadmin = truenas_admin\nadmin-password-file = {}\n",
            others.collect::<Vec<_>>().join("\n"),
            machine.path("admin.password").display(),
        ));
        machine
    }

    async fn beside(generation: Generation) -> Self {
        let dir = tempfile::Builder::new().prefix("tailnas-setup-").tempdir().unwrap();
        let world = World::start(dir.path(), 0, generation).await.unwrap();
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

    /// A file that only its owner can read.
    fn write(&self, name: &str, text: &str) {
        self.world.write(name, text).unwrap();
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
            .args(["--units".as_ref(), self.path("etc/units").as_os_str()])
            .args(["--tailscaled-defaults".as_ref(), self.path("etc/default/tailscaled").as_os_str()])
            .env("PATH", self.search_path())
            .output()
            .await
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        Ran { code: output.status.code(), text: String::from_utf8(said).unwrap() }
    }

    /// Tells tailscaled to give certificates to the user of the service.
    fn permits(&self) {
        fs::create_dir_all(self.path("etc/default")).unwrap();
        let defaults = "PORT=\"41641\"\nTS_PERMIT_CERT_UID=\"tailnas\"\n";
        fs::write(self.path("etc/default/tailscaled"), defaults).unwrap();
    }

    fn config(&self) -> String {
        fs::read_to_string(self.path("etc/tailnas/config.toml")).unwrap_or_default()
    }

    /// Nothing secret was said, nor written where everybody can read.
    fn keeps_its_secrets(&self, ran: &Ran) {
        let made = ["nas-reader-key", "nas-writer-key"]
            .map(|name| self.path("etc/credstore/tailnas.").display().to_string() + name);
        let made = made.iter().filter_map(|file| Some(fs::read_to_string(file).ok()?.trim().to_owned()));
        let nas = &self.world.nas;
        let given = [nas.reader_key().key, nas.writer_key().key, nas.admin_password().to_owned()];
        for key in given.into_iter().chain(made) {
            assert!(
                !ran.text.contains(&key) && !self.config().contains(&key) && !self.calls().contains(&key)
            );
        }
        let Ok(keys) = fs::read_dir(self.path("etc/credstore")) else { return };
        for key in keys {
            let permissions = key.unwrap().metadata().unwrap().permissions();
            assert_eq!(permissions.mode() & 0o777, 0o600);
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
        "systemctl show -P NeedDaemonReload tailnas.socket\n\
         systemctl show --timestamp=unix -P ActiveEnterTimestamp tailnas.socket\n\
         systemctl daemon-reload\nsystemctl enable --now tailnas.socket\nsystemctl enable tailnas.service\n\
         systemctl restart tailnas.service\n\
         tailscale serve status --json\ntailscale serve --bg --yes unix:/run/tailnas/tailnas.sock\n"
    );

    // The daemon runs as another user, and must be able to read it.
    let (file, folder) = (machine.path("etc/tailnas/config.toml"), machine.path("etc/tailnas"));
    for (path, mode) in [(file, 0o644), (folder, 0o755)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
    }

    let (daemon, socket) = machine.daemon().await;
    answers_calls(&machine, &socket).await;
    drop(daemon);
}

impl Machine {
    /// The daemon, with what setup has written, in places that a test has.
    async fn daemon(&self) -> (Daemon, PathBuf) {
        let (dir, socket) = (self.dir.path(), self.path("tailnas.sock"));
        let mut config = self
            .config()
            .replace("\"systemd\"", &format!("\"unix:{}\"", socket.display()))
            .replace("/var/log/tailnas", &self.path("log").to_string_lossy())
            .replace("credential:", &format!("file:{}/etc/credstore/tailnas.", dir.display()));
        config.push_str(&format!("\n[state]\ndir = \"{}/state\"\n", dir.display()));
        self.write("installed.toml", &config);
        let beside = self.path("beside");
        fs::create_dir(&beside).unwrap();
        let args = ["serve".into(), "--config".into(), self.path("installed.toml")];
        (Daemon::start(Path::new(PROGRAM), args, &beside).await.unwrap(), socket)
    }
}

/// Looks at the NAS and changes something on it.
async fn answers_calls(machine: &Machine, socket: &Path) {
    if !rustix::process::geteuid().is_root() {
        common::did_not_run("not as root, so no call was made: the socket is for tailscaled alone");
        return;
    }
    let phone: IpAddr = "100.64.0.7".parse().unwrap();
    machine.world.tailnet.add_user_node(
        phone,
        "phone",
        localapi::User::new(456, "alice@example.com", "Alice Doe"),
    );
    let scopes = ["system:read", "storage:write"];
    machine.world.tailnet.grant(phone, CAPABILITY, vec![json!({ "scopes": scopes, "nas": ["*"] })]);
    let token = machine.world.tsidp.mint(TokenSpec::new("alice@example.com", URL));
    let is_good = |answer: &str| {
        answer.contains("200 OK")
            && answer.contains("structuredContent")
            && !answer.contains("\"isError\":true")
    };
    common::eventually("the NAS answers a call", async || {
        is_good(&call(socket, &token, "system_info", json!({})).await)
    })
    .await;
    let snapshot = json!({ "dataset": "tank/photos", "name": "first" });
    let answer = call(socket, &token, "snapshot_create", snapshot).await;
    assert!(is_good(&answer), "{answer}");
}

/// Calls a tool as `tailscale serve` passes it on.
async fn call(socket: &Path, token: &str, tool: &str, arguments: serde_json::Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
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

/// As `systemd-creds encrypt` leaves them: setup can try none of these, and makes none anew.
#[tokio::test(flavor = "multi_thread")]
async fn keys_that_lie_encrypted_are_there() {
    let machine = Machine::new().await;
    assert_eq!(machine.setup().await.code, Some(0));
    let (clear, sealed) = (machine.path("etc/credstore"), machine.path("etc/credstore.encrypted"));
    fs::create_dir(&sealed).unwrap();
    for key in ["nas-reader-key", "audit-signing-key", "audit-hmac-key"] {
        let name = format!("tailnas.{key}");
        fs::rename(clear.join(&name), sealed.join(&name)).unwrap();
    }
    machine.answers("");
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(ran.text.contains("The key of tailnas-reader lies encrypted"), "{}", ran.text);
    assert!(!ran.text.contains("shred"), "{}", ran.text);
    let left: Vec<_> = fs::read_dir(&clear).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left, ["tailnas.nas-writer-key"]);
    // What lies in clear as well is not hidden by that.
    fs::write(clear.join("tailnas.nas-reader-key"), "in clear").unwrap();
    let ran = machine.setup().await;
    assert!(
        ran.text.contains("shred -u") && ran.text.contains("credstore/tailnas.nas-reader-key"),
        "{}",
        ran.text
    );
}

/// Breaks one thing, and wants the ✗ to name it, with the fix; then mends it, and wants setup to come to its end.
async fn broken(what: &str, fix: &str, break_it: impl Fn(&Machine), mend_it: impl Fn(&Machine)) {
    broken_on(Machine::new().await, what, fix, break_it, mend_it).await;
}

async fn broken_on(
    machine: Machine,
    what: &str,
    fix: &str,
    break_it: impl Fn(&Machine),
    mend_it: impl Fn(&Machine),
) {
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
    let nameless = |machine: &Machine| {
        let status =
            br#"{"BackendState":"Running","TailscaleIPs":["100.64.0.1"],"Self":{"ID":"n1","DNSName":""}}"#;
        let answer = Fault::Body("application/json".to_owned(), status.to_vec());
        machine.world.local_api.faults().once(answer);
    };
    broken("has no name on the tailnet", "Enable MagicDNS", nameless, nothing).await;
    let own = |addresses: &'static [[u8; 4]]| {
        move |machine: &Machine| {
            machine.world.tailnet.set_self(SelfNode {
                host: "nas-mcp".to_owned(),
                addresses: addresses.iter().map(|address| IpAddr::from(*address)).collect(),
                tags: vec!["tag:tailnas".to_owned()],
                user: 1,
            });
        }
    };
    let direct = Machine::new().await;
    direct.answer("listen", "tailnet");
    direct.permits();
    broken_on(direct, "no address there", "tailscale up", own(&[]), own(&[[127, 0, 0, 100]])).await;
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
    // Nobody is asked for what these need, so it is said where it can be written.
    let refuses =
        |machine: &Machine| machine.world.tsidp.faults().always(Fault::Status(403, "no".to_owned()));
    let accepts = |machine: &Machine| machine.world.tsidp.faults().clear();
    broken("provider:", "config.toml by hand", &refuses, accepts).await;
    broken("403", "provider.client", refuses, accepts).await;
    let of_an_unknown_ca = |machine: &Machine| {
        machine.answer("provider", &format!("https://{}", machine.world.nas.address()));
    };
    broken("certificate", "update-ca-certificates", of_an_unknown_ca, nothing).await;
    let otherwise_spelled = |machine: &Machine| {
        machine.answer("provider", &machine.world.tsidp.issuer().replace("127.0.0.1", "localhost"));
    };
    broken("another issuer", "spelled as the provider spells itself", otherwise_spelled, nothing).await;
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
    let unsigned = |machine: &Machine| machine.answer("nas-pin", "system");
    broken("is not accepted", "pin", unsigned, nothing).await;
    let other = Identity::generate().unwrap();
    let old = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let web = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
    for (answer, what) in [(old, "/api/versions is not there"), (web, "/api/versions")] {
        let address = no_nas(&other, answer).await;
        let instead = |machine: &Machine| {
            machine.answer("nas", &address.to_string());
            machine.answer("nas-pin", other.pin());
        };
        broken(what, "a TrueNAS, 25.04 or newer", instead, nothing).await;
    }
}

/// Somebody who speaks TLS and is no NAS, with one answer to everything.
async fn no_nas(identity: &Identity, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, tls) = (listener.local_addr().unwrap(), TlsAcceptor::from(identity.server_config()));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                // Some only come to see the certificate.
                let Ok(mut stream) = tls.accept(stream).await else { return };
                if stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {
                    let _ = stream.write_all(answer.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

/// As `sha256sum` prints it, which is what setup says to compare with.
#[tokio::test(flavor = "multi_thread")]
async fn a_pin_is_taken_as_the_nas_prints_it() {
    let machine = Machine::new().await;
    let pin = machine.pin().await;
    let ran = machine.setup().await;
    let port = machine.world.nas.address().port();
    assert!(ran.text.contains(&format!("-connect localhost:{port} ")), "{}", ran.text);
    fs::remove_file(machine.path("etc/tailnas/config.toml")).unwrap();
    machine.answer("nas-pin", &format!("{}  -", pin.strip_prefix("sha256:").unwrap()));
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(machine.config().contains(&pin), "{}", machine.config());
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
    let reader = "tailnas-reader: it refused the login";
    broken(reader, "made for the user tailnas-reader", wrong, nothing).await;
    broken(reader, "(Credentials > Users > API Keys), give that one.", wrong, nothing).await;
    let writer = |machine: &Machine| {
        machine.write("wrong.key", &format!("2-{}", "x".repeat(64)));
        machine.answer("writer-key-file", machine.path("wrong.key").to_str().unwrap());
    };
    let what = "tailnas-writer: it refused the login";
    broken(what, "made for the user tailnas-writer", writer, nothing).await;
    let maintenance = |machine: &Machine| {
        let username = machine.world.nas.maintenance_key().username;
        machine.write("wrong.key", &format!("3-{}", "x".repeat(64)));
        machine.answer("maintenance", &username);
        machine.answer("maintenance-key-file", machine.path("wrong.key").to_str().unwrap());
    };
    let right = |machine: &Machine| {
        machine.answer("maintenance-key-file", machine.path("maintenance.key").to_str().unwrap());
        machine.write("maintenance.key", &machine.world.nas.maintenance_key().key);
    };
    let username = "tailnas-maintenance";
    broken(&format!("{username}: it refused the login"), username, maintenance, right).await;
    let exposed = |machine: &Machine| put(machine, &machine.world.nas.reader_key().key, 0o644);
    broken("may be read by others", "reader-key-file", exposed, nothing).await;
    let missing = |machine: &Machine| machine.answer("reader-key-file", "/nowhere/key");
    broken("/nowhere/key cannot be read", "reader-key-file", missing, nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_makes_the_accounts() {
    for generation in [Generation::V25_04, Generation::V25_10, Generation::V26] {
        let machine = Machine::without_accounts(generation).await;
        let ran = machine.setup().await;
        assert_eq!(ran.code, Some(0), "{generation:?}: {}", ran.text);
        machine.keeps_its_secrets(&ran);
        assert!(!ran.text.contains('✗') && !ran.text.contains("does not have all roles"), "{}", ran.text);
        for said in ["truenas_admin is logged in", "nas-looks is there", "nas-changes is let in"] {
            assert!(ran.text.contains(said), "{said}: {}", ran.text);
        }
        common::hold_against_schemas(&machine.world.nas, generation.version());
        let (catalogue, version) = (Catalogue::new(), generation.version().parse().unwrap());
        machine.world.nas.state(|state| {
            for (name, roles) in [
                ("nas-looks", catalogue.roles_of_looks()),
                ("nas-changes", catalogue.roles_of_changes(By::Writer, version)),
                ("nas-restarts", catalogue.roles_of_changes(By::Maintenance, version)),
            ] {
                let privilege = state.privileges.iter().find(|privilege| privilege.name == name).unwrap();
                assert_eq!(privilege.roles, roles.into_iter().collect::<Vec<_>>());
                let user = state.users.iter().find(|user| user.username == name).unwrap();
                assert!(user.password_disabled && !user.smb && user.shell == "/usr/sbin/nologin");
            }
        });
        let (daemon, socket) = machine.daemon().await;
        answers_calls(&machine, &socket).await;
        drop(daemon);
        // A second run has nothing to make, and asks for no administrator.
        let again = machine.setup().await;
        assert_eq!(again.code, Some(0), "{}", again.text);
        assert!(!again.text.contains("truenas_admin"), "{}", again.text);
        assert_eq!(machine.made("group.create"), 3);
        assert_eq!(machine.made("api_key.create"), 3);
    }
}

impl Machine {
    /// How often the NAS did this.
    fn made(&self, method: &str) -> usize {
        let done = self.world.nas.transcript();
        done.iter().filter(|call| call.method == method && matches!(call.outcome, Some(Ok(_)))).count()
    }
}

/// Breaks the making of the accounts at one place.
async fn unmade(what: &str, fix: &str, break_it: impl Fn(&Machine), mend_it: impl Fn(&Machine)) {
    broken_on(Machine::without_accounts(Generation::V25_10).await, what, fix, break_it, mend_it).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_administrators_leg() {
    let nothing = |_: &Machine| {};
    let wrong = |machine: &Machine| machine.write("admin.password", "wrong");
    let right = |machine: &Machine| machine.write("admin.password", machine.world.nas.admin_password());
    unmade("know a truenas_admin with this password", "its web interface", wrong, right).await;
    let unsaid = |machine: &Machine| machine.answer("admin-password-file", "/nowhere/password");
    unmade("/nowhere/password cannot be read", "admin-password-file", unsaid, nothing).await;
    // Somebody who may look, and not make accounts.
    let humble = |machine: &Machine| {
        machine.world.nas.state(|state| state.accounts[0].password = Some("humble".to_owned()));
        machine.answer("admin", "tailnas-reader");
        machine.write("admin.password", "humble");
    };
    unmade("may not do group.create", "a full administrator", humble, right).await;
    let second_factor = |machine: &Machine| {
        machine.world.nas.state(|state| state.accounts[2].second_factor = Some("123456".to_owned()));
    };
    let without = |machine: &Machine| machine.world.nas.state(|state| state.accounts[2].second_factor = None);
    unmade("does not say admin-code-file", "admin-code-file = VALUE", second_factor, without).await;
    let wrong_code = |machine: &Machine| {
        second_factor(machine);
        machine.write("code", "654321");
        machine.answer("admin-code-file", machine.path("code").to_str().unwrap());
    };
    unmade("does not take the second factor of truenas_admin", "half minute", wrong_code, without).await;
    let away = |machine: &Machine| machine.world.nas.faults_of("auth.login_ex").once(Fault::Drop);
    unmade("during auth.login_ex", "Run this again", away, nothing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_accounts_leg() {
    let nothing = |_: &Machine| {};
    // Every step is lost once before it is done, and once after; the next run goes on from there.
    for method in ["user.query", "group.create", "privilege.create", "user.create", "api_key.create"] {
        for fault in [Fault::Drop, Fault::HalfFrame] {
            let lost = |machine: &Machine| machine.world.nas.faults_of(method).once(fault.clone());
            unmade(&format!("during {method}"), "Run this again", lost, nothing).await;
        }
    }
    let lost = |machine: &Machine| machine.world.nas.faults_of("api_key.create").once(Fault::HalfFrame);
    unmade("during api_key.create", "an API key nas-looks-", lost, nothing).await;
    let name = |machine: &Machine| machine.answer("reader", "EXAMPLE\\looks");
    let of_nobody = "no local user can be called EXAMPLE\\looks";
    let begin_anew = |machine: &Machine| fs::remove_file(machine.path("etc/tailnas/config.toml")).unwrap();
    unmade(of_nobody, "letters, digits", name, begin_anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_somebody_elses_on_the_nas_is_left_alone() {
    let group = |users: &[i64], builtin: bool| {
        let users = users.to_vec();
        move |machine: &Machine| {
            machine.world.nas.state(|state| {
                let name = "nas-looks".to_owned();
                state.groups.push(Group {
                    id: 200,
                    gid: 3200,
                    name,
                    builtin,
                    smb: false,
                    users: users.clone(),
                });
            });
        }
    };
    let no_group =
        |machine: &Machine| machine.world.nas.state(|state| state.groups.retain(|group| group.id != 200));
    unmade("a group nas-looks that has members", "another name", group(&[71], false), no_group).await;
    unmade("a group nas-looks that came with the system", "another name", group(&[], true), no_group).await;
    let rights = |roles: &[&str]| {
        let roles: Vec<_> = roles.iter().map(|role| (*role).to_owned()).collect();
        move |machine: &Machine| {
            group(&[], false)(machine);
            machine.world.nas.state(|state| {
                let name = if roles.len() > 1 { "nas-looks" } else { "other" }.to_owned();
                let (roles, groups) = (roles.clone(), vec![3200]);
                state.privileges.push(Privilege {
                    id: 9,
                    name,
                    builtin: None,
                    groups,
                    roles,
                    web_shell: false,
                });
            });
        }
    };
    let no_rights = |machine: &Machine| {
        no_group(machine);
        machine.world.nas.state(|state| state.privileges.retain(|privilege| privilege.id != 9));
    };
    unmade("a group nas-looks that gives rights already", "another name", rights(&["FULL_ADMIN"]), no_rights)
        .await;
    let more = rights(&["READONLY_ADMIN", "FULL_ADMIN"]);
    unmade("a privilege nas-looks that is not the one", "the roles READONLY_ADMIN and no", more, no_rights)
        .await;
    let user = |machine: &Machine| {
        machine.world.nas.state(|state| {
            let like = state.users[2].clone();
            state.users.push(User { id: 300, username: "nas-looks".to_owned(), ..like });
        });
    };
    let no_user =
        |machine: &Machine| machine.world.nas.state(|state| state.users.retain(|user| user.id != 300));
    unmade("a user nas-looks that is in other groups", "another name", user, no_user).await;
    // Somebody's own, with a group of its own, as the NAS makes them: no rights for whoever knows its password.
    let somebody = |machine: &Machine| {
        group(&[], false)(machine);
        machine.world.nas.state(|state| {
            let like = state.users[2].clone();
            let username = "nas-looks".to_owned();
            state.users.push(User { id: 300, username, group: Some(200), password_disabled: false, ..like });
        });
    };
    let nobody = |machine: &Machine| {
        let given =
            machine.world.nas.state(|state| state.privileges.iter().any(|one| one.name == "nas-looks"));
        assert!(!given, "its group got rights");
        no_user(machine);
        no_group(machine);
    };
    unmade("a user nas-looks that has a password", "another name", somebody, nobody).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_fewer_roles_than_the_tools_need_is_told() {
    let machine = Machine::new().await;
    let few = machine.world.nas.state(|state| state.add_account("few", &["SNAPSHOT_WRITE"]));
    machine.write("few.key", &few.key);
    machine.answer("writer", "few");
    machine.answer("writer-key-file", machine.path("few.key").to_str().unwrap());
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let lacks = ran.text.split_once("few does not have all roles").unwrap().1;
    assert!(lacks.contains("DATASET_WRITE") && !lacks.contains("SNAPSHOT_WRITE"), "{lacks}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_come_in_as_somebody_chose() {
    let machine = Machine::new().await;
    machine.fake("systemctl", "case $1 in show) echo yes ;; esac");
    machine.answer("listen", "tailnet");
    machine.permits();
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    let drop_in = machine.path("etc/units/tailnas.socket.d/listen.conf");
    let written = fs::read_to_string(&drop_in).unwrap();
    assert!(written.contains("\nListenStream=\nListenStream=127.0.0.100:443\nFreeBind=yes\n"), "{written}");
    assert!(
        machine.calls().contains("systemctl stop tailnas.service tailnas.socket\n"),
        "{}",
        machine.calls()
    );
    assert!(!machine.calls().contains("tailscale serve"), "{}", machine.calls());
    assert!(ran.text.contains("is told to listen on 127.0.0.100, port 443"), "{}", ran.text);
    // Nobody answers there, and that is not passed over.
    assert!(ran.text.contains("did not answer from this machine"), "{}", ran.text);
    // A second run leaves it so, and one that begins anew can take it back.
    assert_eq!(machine.setup().await.code, Some(0));
    assert_eq!(fs::read_to_string(&drop_in).unwrap(), written);
    fs::remove_file(machine.path("etc/tailnas/config.toml")).unwrap();
    machine.answer("listen", "serve");
    assert_eq!(machine.setup().await.code, Some(0));
    assert!(!drop_in.exists() && machine.calls().ends_with("unix:/run/tailnas/tailnas.sock\n"));
    // What somebody else has said to the socket stays.
    fs::remove_file(machine.path("etc/tailnas/config.toml")).unwrap();
    let theirs = machine.path("etc/units/tailnas.socket.d/override.conf");
    fs::write(&theirs, "[Socket]\nListenStream=100.64.0.1:443\n").unwrap();
    machine.answer("listen", "systemd");
    fs::remove_file(machine.path("calls")).unwrap();
    assert_eq!(machine.setup().await.code, Some(0));
    assert!(theirs.exists() && !drop_in.exists() && !machine.calls().contains("tailscale serve"));
    let lan = |machine: &Machine| machine.answer("listen", "lan");
    broken("lan is no way to listen", "serve, tailnet or systemd", lan, |_| {}).await;
}

/// Whatever has read the units since, and however often.
#[tokio::test(flavor = "multi_thread")]
async fn a_socket_that_still_listens_where_it_did_is_stopped_first() {
    let machine = Machine::new().await;
    machine.answer("listen", "tailnet");
    machine.permits();
    for (since, stopped) in [("@1", true), ("@99999999999", false), ("", false)] {
        let _ = fs::remove_file(machine.path("calls"));
        machine.fake("systemctl", &format!("case \"$*\" in *ActiveEnterTimestamp*) echo {since} ;; esac"));
        let ran = machine.setup().await;
        assert_eq!(ran.code, Some(0), "{}", ran.text);
        let calls = machine.calls();
        assert_eq!(
            calls.contains("systemctl stop tailnas.service tailnas.socket"),
            stopped,
            "{since}: {calls}"
        );
    }
}

/// Said before the service is started, which would not get up without the certificate.
#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_leg() {
    let no_service = |machine: &Machine| {
        machine.fake("systemctl", "case $1 in restart) echo 'Job failed.' >&2; exit 1 ;; esac");
    };
    let direct = async || {
        let machine = Machine::new().await;
        machine.answer("listen", "tailnet");
        machine
    };
    let permit = |machine: &Machine| {
        machine.permits();
        machine.fake("systemctl", "exit 0");
    };
    let unpermitted = "does not give the certificate of this machine to the user of the service";
    let line = "echo TS_PERMIT_CERT_UID=tailnas >>";
    broken_on(direct().await, unpermitted, line, no_service, permit).await;
    let commented = |machine: &Machine| {
        no_service(machine);
        machine.permits();
        let file = machine.path("etc/default/tailscaled");
        let text = fs::read_to_string(&file).unwrap().replace("TS_PERMIT", "#TS_PERMIT");
        fs::write(file, text).unwrap();
    };
    broken_on(direct().await, unpermitted, "systemctl restart tailscaled", commented, permit).await;
    let in_the_unit = |machine: &Machine| {
        machine
            .fake("systemctl", "case \"$*\" in *Environment*) echo A=1 TS_PERMIT_CERT_UID=tailnas ;; esac");
    };
    broken_on(direct().await, unpermitted, line, no_service, in_the_unit).await;
    let denied = |denied: bool| {
        move |machine: &Machine| {
            machine.permits();
            machine.world.local_api.deny_certificates(denied);
        }
    };
    broken_on(direct().await, unpermitted, line, denied(true), denied(false)).await;
    let fault = Fault::Status(500, "acme: too many certificates already issued".to_owned());
    let none = |machine: &Machine| {
        machine.permits();
        // The two questions before it, about this machine and the others, are answered.
        let right = Fault::Slow(Duration::ZERO);
        for answer in [&right, &right, &fault] {
            machine.world.local_api.faults().once(answer.clone());
        }
    };
    broken_on(direct().await, "too many certificates", "tailscale cert nas-mcp", none, permit).await;
}

/// A midclt that remembers what it has made, and gives the groups of reader, writer and maintenance account these numbers.
fn fake_midclt(machine: &Machine, [reader, writer, maintenance]: [(i64, i64); 3]) {
    let does = format!(
        r#"printf '%s %s\n' "$2" "$3" >>'{sent}'
        there() {{ echo '{dir}/there-'"${{1%.*}}-$(printf '%s\n' "$2" | jq -r "$3")"; }}
        made() {{ printf '%s\n' "$2" | jq -c "$3" >"$(there "$1" "$2" .name+.username)"; }}
        case "$2" in
        *.query) cat "$(there "$2" "$3" '.[0][2]')" 2>/dev/null | jq -sc . ;;
        group.create)
            case "$3" in
            *reader*) id={} gid={} ;;
            *writer*) id={} gid={} ;;
            *) id={} gid={} ;;
            esac
            made "$2" "$3" '. + {{"id": '$id', "gid": '$gid', "builtin": false, "users": []}}'
            echo $id ;;
        privilege.create) made "$2" "$3" '. + {{"local_groups": [.local_groups[] | {{"gid": .}}], "ds_groups": []}}' ;;
        user.create)
            made "$2" "$3" '. + {{"id": 7, "group": {{"id": .group}}, "groups": [], "builtin": false,
                "sudo_commands": [], "sudo_commands_nopasswd": []}}' ;;
        system.version) echo TrueNAS-25.10.5 ;;
        api_key.create)
            made "$2" "$(printf '%s\n' "$3" | jq -c '{{"name"}}')" .
            echo '{{"key":"7-x"}}' ;;
        esac"#,
        reader.0,
        reader.1,
        writer.0,
        writer.1,
        maintenance.0,
        maintenance.1,
        sent = machine.path("sent").display(),
        dir = machine.dir.path().display(),
    );
    machine.fake("midclt", &does);
}

/// Runs what `deploy` has. Says whether it came to its end, what it printed and what it told.
async fn run_by_hand(machine: &Machine, arguments: &[&str]) -> (bool, String, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/truenas-accounts.sh");
    let mut sh = Command::new("sh");
    let ran = sh.arg(script).args(arguments).env("PATH", machine.search_path()).output().await.unwrap();
    let [printed, told] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    (ran.status.success(), printed, told)
}

/// What makes the accounts by hand is what setup sends, and what `deploy` has.
#[tokio::test(flavor = "multi_thread")]
async fn by_hand_the_same_is_made() {
    let asked = Command::new(PROGRAM).args(["setup", "--by-hand"]).output().await.unwrap();
    let script = String::from_utf8(asked.stdout).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/truenas-accounts.sh");
    if std::env::var_os("TAILNAS_WRITE_DOCS").is_some() {
        fs::write(&path, &script).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == script,
        "deploy/truenas-accounts.sh is not what the tools need; TAILNAS_WRITE_DOCS=1 cargo test --test setup writes it"
    );
    if !common::there_is("jq") {
        return;
    }

    let machine = Machine::without_accounts(Generation::V25_10).await;
    machine.answer("reader", "by-hand-reader");
    machine.answer("writer", "by-hand-writer");
    machine.answer("maintenance", "by-hand-maintenance");
    assert_eq!(machine.setup().await.code, Some(0));
    let of_setup: Vec<_> = machine
        .world
        .nas
        .transcript()
        .into_iter()
        .filter(|call| call.method.ends_with(".create"))
        .map(|call| (call.method, call.params[0].to_string().replace("by-hand-", "tailnas-")))
        .collect();
    // The numbers that midclt is told are those that the simulator gave.
    let groups = machine.world.nas.state(|state| state.groups.clone());
    let number = |name: &str| {
        groups.iter().find(|group| group.name == name).map(|group| (group.id, group.gid)).unwrap()
    };
    let numbers = ["by-hand-reader", "by-hand-writer", "by-hand-maintenance"].map(number);
    fake_midclt(&machine, numbers);
    let (well, printed, told) = run_by_hand(&machine, &[]).await;
    assert!(well && printed == "7-x\n7-x\n", "no full administrator unless asked for: {printed}{told}");
    let (well, printed, told) = run_by_hand(&machine, &["maintenance"]).await;
    assert!(well && printed == "7-x\n", "{printed}{told}");
    let sent = fs::read_to_string(machine.path("sent")).unwrap();
    let by_hand: Vec<_> = sent
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(method, _)| method.ends_with(".create"))
        .map(|(method, params)| (method.to_owned(), params.to_owned()))
        .collect();
    assert_eq!(by_hand.len(), 12, "{sent}");
    let same = |(method, params): &(String, String)| {
        let mut params: serde_json::Value = serde_json::from_str(params).unwrap();
        // The names of keys differ, so that a second one can be made.
        if method == "api_key.create" {
            params["name"] = params["username"].clone();
        }
        (method.clone(), params)
    };
    assert_eq!(by_hand.iter().map(same).collect::<Vec<_>>(), of_setup.iter().map(same).collect::<Vec<_>>());
}

/// A second time nothing is made; half of it is made whole; and what is somebody else's is left alone.
#[tokio::test(flavor = "multi_thread")]
async fn by_hand_it_can_be_made_again() {
    if !common::there_is("jq") {
        return;
    }
    let machine = Machine::new().await;
    fake_midclt(&machine, [(71, 3071), (72, 3072), (73, 3073)]);
    let made = |of: &str| {
        let sent = fs::read_to_string(machine.path("sent")).unwrap();
        fs::remove_file(machine.path("sent")).unwrap();
        sent.lines().filter(|line| line.contains(of)).count()
    };
    assert!(run_by_hand(&machine, &[]).await.0);
    assert_eq!(made(".create"), 8);
    let (well, printed, told) = run_by_hand(&machine, &[]).await;
    assert!(
        well && printed.is_empty() && told.contains("which the NAS does not show again"),
        "{printed}{told}"
    );
    assert_eq!(made(".create"), 0);
    for missing in ["privilege", "user", "api_key"] {
        fs::remove_file(machine.path(&format!("there-{missing}-tailnas-reader"))).unwrap();
    }
    let (well, printed, told) = run_by_hand(&machine, &[]).await;
    assert!(well && printed == "7-x\n", "{printed}{told}");
    assert_eq!(made(".create"), 3);
    for (what, somebody_elses) in [
        ("group", r#"{"id":1,"gid":2,"builtin":false,"users":[99]}"#),
        (
            "privilege",
            r#"{"local_groups":[{"gid":2}],"ds_groups":[],"roles":["FULL_ADMIN"],"web_shell":false}"#,
        ),
        (
            "user",
            r#"{"id":7,"group":{"id":1},"groups":[],"builtin":false,"password_disabled":false,"sudo_commands":[],"sudo_commands_nopasswd":[]}"#,
        ),
    ] {
        let file = machine.path(&format!("there-{what}-tailnas-reader"));
        let ours = fs::read_to_string(&file).unwrap();
        fs::write(&file, somebody_elses).unwrap();
        let (well, printed, told) = run_by_hand(&machine, &[]).await;
        assert!(
            !well && printed.is_empty() && told.contains(&format!("There is a {what} tailnas-reader")),
            "{told}"
        );
        assert_eq!(made(".create"), 0, "{what}");
        fs::write(&file, ours).unwrap();
    }
    assert!(run_by_hand(&machine, &[]).await.0);
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
    broken("its key", "Put the key back from your backup", &log_without_key, put_back).await;
    // An empty partition is no log.
    let machine = Machine::new().await;
    log_without_key(&machine);
    fs::remove_file(machine.path("log/audit.jsonl")).unwrap();
    fs::create_dir(machine.path("log/lost+found")).unwrap();
    let ran = machine.setup().await;
    assert_eq!(ran.code, Some(0), "{}", ran.text);
    assert!(key(&machine).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_leg() {
    let well = |machine: &Machine| {
        machine.fake("systemctl", "exit 0");
        machine.fake("tailscale", "exit 0");
    };
    let fails = |machine: &Machine| {
        let sandbox = "SANDBOX  WHAT\\n✓ enforced (it is)  x\\n✗ NOT enforced  y\\n2 enforced, 1 not enforced, 0 unknown\\n";
        let said = format!("printf 'a\\nb\\nc\\n{sandbox}the NAS was \\033[31mred\\n{sandbox}{sandbox}'");
        machine.fake("journalctl", &said);
        machine.fake("systemctl", "case $1 in restart) echo 'Job failed.' >&2; exit 1 ;; esac");
    };
    broken("systemctl restart tailnas.service: Job failed.", "journalctl -u tailnas", &fails, well).await;
    broken("It said: a b c the NAS was [31mred", "journalctl -u tailnas", fails, well).await;
    let refuses = |machine: &Machine| {
        machine.fake("tailscale", "printf 'Serve is not enabled on your tailnet.\\033[31m' >&2; exit 1");
    };
    broken("Serve is not enabled on your tailnet. [31m", "Run it by hand", refuses, well).await;
    let serves = |status: &'static str| {
        move |machine: &Machine| {
            machine.fake("tailscale", &format!("case \"$*\" in *status*) echo '{status}' ;; esac"));
        }
    };
    let site =
        r#"{"Web":{"nas-mcp.tail1234.ts.net:443":{"Handlers":{"/":{"Proxy":"http://127.0.0.1:3000"}}}}}"#;
    let forward = r#"{"TCP":{"443":{"TCPForward":"127.0.0.1:8443"}}}"#;
    let ours = r#"{"Web":{"nas-mcp.tail1234.ts.net:443":{"Handlers":{
        "/":{"Proxy":"unix:/run/tailnas/tailnas.sock"},"/x":{"Proxy":"http://127.0.0.1:3000"}}}}}"#;
    for (theirs, named) in [(site, "127.0.0.1:3000"), (forward, "127.0.0.1:8443")] {
        let machine = Machine::new().await;
        broken_on(machine, named, "tailscale serve --https=443 off", serves(theirs), serves(ours)).await;
    }
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
    /// In front of setup.
    fn start(machine: &Machine) -> Self {
        Self::run(machine, &Self::setup(machine))
    }

    fn setup(machine: &Machine) -> String {
        let dir = machine.dir.path().display();
        format!(
            "{PROGRAM} setup --config {dir}/etc/tailnas/config.toml --credstore {dir}/etc/credstore --units {dir}/etc/units"
        )
    }

    fn run(machine: &Machine, command: &str) -> Self {
        let shell = Command::new("script")
            .args(["-qefc", command, "/dev/null"])
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

/// Answers everything up to the accounts.
async fn up_to_the_accounts(terminal: &mut Terminal, machine: &Machine, reader: &str) {
    if !Path::new("/run/tailscale/tailscaled.sock").exists() {
        terminal.answer("tailscaled's socket", &machine.path("tailscaled.sock").to_string_lossy()).await;
    }
    terminal.answer("The OAuth provider", &machine.world.tsidp.issuer()).await;
    terminal.answer("The NAS, by name", machine.world.nas.url().trim_end_matches("/api/current")).await;
    terminal.answer("What to call it [nas]", "").await;
    terminal.answer("Is that its certificate?", "yes").await;
    terminal.answer("that looks [tailnas-reader]", reader).await;
    terminal.answer("changes things", "").await;
    terminal.answer("may restart it", "").await;
    terminal.answer("How clients come in", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_at_a_terminal_is_asked_and_the_key_is_not_shown() {
    if !common::there_is("script") {
        return;
    }
    let machine = Machine::new().await;
    let reader = machine.world.nas.reader_key();
    let mut terminal = Terminal::start(&machine);
    up_to_the_accounts(&mut terminal, &machine, &reader.username).await;
    terminal.answer("An administrator of the NAS", "").await;
    terminal.answer("Its API key (not shown)", &reader.key).await;
    terminal.wait_for(0, "claude mcp add").await;
    assert!(terminal.shown.contains("midclt call api_key.create"), "{}", terminal.shown);
    assert!(!terminal.shown.contains(&reader.key), "the key was shown: {}", terminal.shown);
    assert!(terminal.shell.wait().await.unwrap().success());
    let kept = fs::read_to_string(machine.path("etc/credstore/tailnas.nas-reader-key")).unwrap();
    assert_eq!(kept.trim(), reader.key);
    assert!(!machine.config().contains("[nas.writer]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_at_a_terminal_types_a_password_once_and_it_is_not_shown() {
    if !common::there_is("script") {
        return;
    }
    let machine = Machine::new().await;
    machine.world.nas.state(|state| state.accounts[2].second_factor = Some("123456".to_owned()));
    let password = machine.world.nas.admin_password();
    let mut terminal = Terminal::start(&machine);
    up_to_the_accounts(&mut terminal, &machine, "nas-looks").await;
    terminal.answer("An administrator of the NAS", "truenas_admin").await;
    terminal.answer("Their password (not shown, not kept)", password).await;
    terminal.answer("The code of their second factor", "123456").await;
    terminal.wait_for(0, "claude mcp add").await;
    assert!(terminal.shell.wait().await.unwrap().success());
    let kept = fs::read_to_string(machine.path("etc/credstore/tailnas.nas-reader-key")).unwrap();
    for secret in [password, kept.trim()] {
        assert!(!terminal.shown.contains(secret), "a secret was shown: {}", terminal.shown);
    }
    // It is in no file, and nobody is left logged in.
    let found =
        Command::new("grep").args(["-rlF", password]).arg(machine.path("etc")).output().await.unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
    assert_eq!(machine.made("auth.logout"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_breaks_off_at_a_secret_sees_again_what_they_type() {
    if !common::there_is("script") {
        return;
    }
    let machine = Machine::new().await;
    let setup = Terminal::setup(&machine);
    let mut terminal = Terminal::run(&machine, &format!("trap : INT; {setup}; echo ended with $?; stty -a"));
    up_to_the_accounts(&mut terminal, &machine, "nas-looks").await;
    terminal.answer("An administrator of the NAS", "truenas_admin").await;
    let from = terminal.shown.len();
    terminal.wait_for(from, "Their password (not shown, not kept)").await;
    terminal.shell.stdin.as_mut().unwrap().write_all(b"hunter2\x03").await.unwrap();
    terminal.wait_for(from, "echoctl").await;
    let after = terminal.shown[from..].split_once("ended with 130").expect("it ended so").1;
    assert!(after.split_whitespace().any(|mode| mode == "echo"), "{after}");
    assert!(!terminal.shown.contains("hunter2"), "{}", terminal.shown);
}
