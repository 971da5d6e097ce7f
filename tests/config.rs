//! What a person sees who got the configuration wrong, and which files are not even read.

#![expect(clippy::unwrap_used, reason = "what helpers of tests unwrap is what the test is about")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tailnas::config::{
    ClientMethod, Config, Credentials, Grantee, Listen, LoginClaim, Problems, ProviderKind, Trust, load,
    parse,
};
use tailnas::domain::scope::Scope;

const KEY: &str = "1-aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3hJ5kL7nP9rS1tU3wX5zA7cD9fG1hJ3k";

const GOOD: &str = r#"
[server]
url = "https://tailnas.example.ts.net/mcp"
listen = ["unix:/run/tailnas/tailnas.sock", "100.64.0.1:443", "systemd"]
[provider]
issuer = "https://idp.example.ts.net"
clients = ["one", "two"]
[[nas]]
name = "nas"
url = "wss://nas.example.ts.net:8443"
pins = ["sha256:00000000000000000000000000000000000000000000000000000000000000ff"]
reader = { username = "r", key = "credential:reader" }
writer = { username = "w", key = "file:/etc/tailnas/writer" }
[audit]
dir = "/var/log/tailnas"
hmac_key = "credential:hmac"
signing_key = "credential:signing"
[state]
dir = "/var/lib/tailnas"
[policy]
file = "/etc/tailnas/policy.toml"
[[grant]]
login = "alice@example.com"
scopes = ["storage:read", "apps:logs"]
nas = ["nas"]
[log]
filter = "debug"
"#;

const BAD: &str = r#"[server]
url = "https://tailnas.example.ts.net/mcp/"
lisen = ["systemd"]
listen = ["0.0.0.0:443", "systemd", "systemd", 443]

[provider]
issuer = 17

[tailnet]
socket = "tailscaled.sock"
issuer = "https://idp.example.ts.net"

[[nas]]
name = "nas"
name = "again"
url = "ws://nas.local"
reader = { username = "r", key = "API-KEY" }
writer = { key = "hunter2" }

[[nas]]
name = "spare"
url = "wss://spare.local"
reader = { username = "r", key = "credential:k" }
writer = { username = "w", key = "credential:k" }
ca_file = "/ca.pem"
pins = ["sha256:12"]

[[nas]]
name = "spare"
url = "wss://spare.local:443"
reader = { username = "r", key = "credential:k" }

[[grant]]
login = "alice@example.com"
scopes = ["storage:raed", "storage:everything"]
nas = ["nas", "spare", "tank"]

[[grant]]
scopes = []

[policy]
file = "/etc/tailnas/policy.toml"

[log]
filter = "inof"
"#;

fn read(text: &str) -> Result<Config, Problems> {
    parse(Path::new("config.toml"), text, |_| Ok(String::new()))
}

/// What is said about `GOOD` after one change.
fn after(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    read(&GOOD.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn good_values_arrive_as_what_they_mean() {
    let policy = "[[grant]]\ngroup = \"group:admins\"\nscopes = [\"storage:write\"]\n";
    let config = parse(Path::new("config.toml"), GOOD, |path| {
        assert_eq!(path, Path::new("/etc/tailnas/policy.toml"));
        Ok(policy.to_owned())
    })
    .unwrap();
    assert_eq!(config.server.url.as_str(), "https://tailnas.example.ts.net/mcp");
    assert_eq!(
        config.server.listen,
        [
            Listen::Unix("/run/tailnas/tailnas.sock".into()),
            Listen::Tailnet("100.64.0.1:443".parse().unwrap()),
            Listen::Systemd,
        ]
    );
    assert_eq!(config.tailnet.socket, Path::new("/run/tailscale/tailscaled.sock"));
    assert_eq!(config.tailnet.capability, "tailnas.dev/cap/mcp");
    assert_eq!(config.provider.issuer, "https://idp.example.ts.net");
    assert_eq!(config.provider.clients.unwrap().len(), 2);
    assert_eq!(config.nas[0].url.port(), Some(8443));
    assert!(matches!(&config.nas[0].trust, Trust::Pinned(pins) if pins[0].0[31] == 0xff));
    assert_eq!(config.nas[0].reader.key.to_string(), "credential:reader");
    assert_eq!(config.nas[0].writer.as_ref().unwrap().key.to_string(), "file:/etc/tailnas/writer");
    assert_eq!(config.log, tracing::Level::DEBUG);
    let [alice, admins] = config.grants.as_slice() else { panic!("{:?}", config.grants) };
    assert_eq!(alice.to, Grantee::Login("alice@example.com".to_owned()));
    assert!(alice.scopes.contains(Scope::AppsLogs) && !alice.scopes.contains(Scope::StorageWrite));
    assert_eq!(alice.nas.as_ref().map(std::collections::BTreeSet::len), Some(1));
    assert_eq!(admins.to, Grantee::Group("group:admins".to_owned()));
    assert_eq!(admins.nas, None);
}

#[test]
fn every_mistake_is_found_in_one_run() {
    let text = BAD.replace("API-KEY", KEY);
    let policy = "[server]\n[[grant]]\ngroup = \"admins\"\nscopes = [\"*\"]\n";
    let problems = parse(Path::new("config.toml"), &text, |_| Ok(policy.to_owned())).unwrap_err();
    let shown = problems.to_string();
    assert!(!shown.contains("hunter2") && !shown.contains(&KEY[2..12]), "{shown}");
    insta::assert_snapshot!(shown, @r#"
      1. config.toml  audit
         is missing
         hint: add: [audit]
      2. config.toml:2:7  server.url
         should not end with a slash
         hint: write "https://tailnas.example.ts.net/mcp"
      3. config.toml:3:1  server.lisen
         is not a setting of tailnas
         hint: did you mean listen?
      4. config.toml:4:11  server.listen[0]
         would listen on every network of this machine, not on the tailnet alone
         hint: listen on this machine's tailnet address (tailscale ip -4), or on a unix socket behind tailscale serve
      5. config.toml:4:37  server.listen[2]
         is written twice
         hint: take one of the two away
      6. config.toml:4:48  server.listen[3]
         should be text in quotes and is a whole number
         hint: for example: listen = ["unix:/run/tailnas/tailnas.sock"]
      7. config.toml:7:10  provider.issuer
         should be text in quotes and is a whole number
         hint: for example: issuer = "https://idp.example.ts.net"
      8. config.toml:10:10  tailnet.socket
         should be an absolute path
         hint: for example: socket = "/run/tailscale/tailscaled.sock"
      9. config.toml:11:1  tailnet.issuer
         is not a setting of tailnas
         hint: issuer belongs in [provider]
     10. config.toml:15:1  name
         is written twice
         hint: take one of the two away
     11. config.toml:16:7  nas[0].url
         is a plain connection: TrueNAS revokes every API key that it sees on one
         hint: write "wss://nas.local"
     12. config.toml:17:34  nas[0].reader.key
         this looks like an API key, and secrets do not belong in this file
         hint: keep the key in a file that only its owner may read and write "credential:NAME" or "file:/absolute/path" here; then replace the key on the NAS, because this one was exposed
     13. config.toml:18:10  nas[0].writer.username
         is missing
         hint: add: username = "tailnas-writer"
     14. config.toml:18:18  nas[0].writer.key
         should say where the secret is kept, not what it is
         hint: write "credential:NAME" or "file:/absolute/path"
     15. config.toml:24:34  nas[1].writer.key
         is the key of the reader: looking around would be done with the right to change
         hint: make a second account on the NAS with a key of its own, or leave the writer out
     16. config.toml:26:8  nas[1].pins
         there is a ca_file as well, and only one of the two can decide
         hint: keep ca_file if a CA issued the NAS's certificate, pins if it signed it itself
     17. config.toml:26:9  nas[1].pins[0]
         should be "sha256:" and 64 hexadecimal digits, without colons between them
         hint: tailnas doctor --pin shows it
     18. config.toml:29:8  nas[2].name
         is the name of another [[nas]]
         hint: grants and callers tell them apart by name: give each its own
     19. config.toml:30:7  nas[2].url
         is the address of another [[nas]]
         hint: take one of the two away
     20. config.toml:35:11  grant[0].scopes[0]
         "storage:raed" is not a scope of tailnas
         hint: did you mean "storage:read"?
     21. config.toml:35:27  grant[0].scopes[1]
         "storage:everything" is not a scope of tailnas
         hint: there are: storage:read, storage:write, storage:destroy
     22. config.toml:36:24  grant[0].nas[2]
         there is no NAS "tank"
         hint: there is: nas, spare
     23. config.toml:38:1  grant[1]
         does not say whom it is for
         hint: add: login = "alice@example.com", or: group = "group:admins"
     24. config.toml:39:10  grant[1].scopes
         is an empty array
         hint: for example: scopes = ["system:read", "storage:read"]
     25. config.toml:45:10  log.filter
         "inof" is not a level
         hint: did you mean "info"?
     26. /etc/tailnas/policy.toml:1:2  server
         is not a setting of tailnas
         hint: known here: grant
     27. /etc/tailnas/policy.toml:3:9  grant[0].group
         should be "group:" and the name of a tailnet group
         hint: for example: group = "group:admins"
     28. /etc/tailnas/policy.toml:4:11  grant[0].scopes[0]
         "*" is not a scope of tailnas
         hint: docs/CONFIG.md lists the scopes
    28 problems
    "#);
}

#[test]
fn an_empty_file_lacks_what_has_no_default() {
    insta::assert_snapshot!(read("").unwrap_err(), @r#"
      1. config.toml  server
         is missing
         hint: add: [server]
      2. config.toml  provider
         is missing
         hint: add: [provider]
      3. config.toml  nas
         is missing
         hint: add: [[nas]]
      4. config.toml  audit
         is missing
         hint: add: [audit]
    4 problems
    "#);
}

#[test]
fn a_syntax_error_is_one_problem_and_does_not_show_its_line() {
    let shown = read(&format!("[server]\nurl = {KEY}\nlisen = 1\n")).unwrap_err().to_string();
    assert!(!shown.contains(&KEY[2..12]), "{shown}");
    insta::assert_snapshot!(shown, @r#"
      1. config.toml:2:7
         this is not TOML: invalid date, expected month
         hint: the rest of the file is looked at once this is mended
    1 problem
    "#);
}

#[test]
fn a_secret_is_told_apart_wherever_it_was_pasted_and_never_shown() {
    for from in [
        "\"r\"",
        "\"one\"",
        "\"nas\"\nurl",
        "\"credential:reader\"",
        "\"alice@example.com\"",
        "\"apps:logs\"",
        "\"debug\"",
        "\"systemd\"",
    ] {
        let shown = after(from, &format!("\"{KEY}\"{}", if from.ends_with("url") { "\nurl" } else { "" }));
        assert!(shown.contains("looks like an API key") && !shown.contains(&KEY[2..12]), "{from}: {shown}");
    }
    for to in [format!("\"credential:{KEY}\""), format!("\"file:/{KEY}\""), format!("\"x{KEY}\"")] {
        let shown = after("\"credential:reader\"", &to);
        assert!(!shown.contains(&KEY[2..12]), "{shown}");
    }
    let shown = after("[log]", &format!("[log]\n{KEY} = 1"));
    assert!(shown.contains("looks like an API key") && !shown.contains(&KEY[2..12]), "{shown}");
}

#[test]
fn the_wrong_kind_of_brackets_is_told() {
    let shown = after("[[nas]]", "[nas]");
    assert!(shown.contains("should be an array of tables and is a table"), "{shown}");
    assert!(shown.contains("[[nas]]"), "{shown}");
    assert!(shown.ends_with("\n1 problem"), "a grant must not be blamed for it: {shown}");
    let shown = after("[audit]", "[[audit]]");
    assert!(shown.contains("should be a table and is an array"), "{shown}");
}

#[test]
fn reader_and_writer_may_not_share_a_key() {
    let shown = after("file:/etc/tailnas/writer", "credential:reader");
    assert!(shown.contains("config.toml:13:") && shown.contains("nas[0].writer.key"), "{shown}");
    assert!(shown.contains("is the key of the reader") && shown.ends_with("\n1 problem"), "{shown}");
}

#[test]
fn a_third_pin_is_refused() {
    let pins: Vec<String> =
        (1..=3).map(|digit| format!("\"sha256:{}\"", digit.to_string().repeat(64))).collect();
    let one = "\"sha256:00000000000000000000000000000000000000000000000000000000000000ff\"";
    assert!(read(&GOOD.replace(one, &pins[..2].join(", "))).is_ok());
    assert!(after(one, &pins.join(", ")).contains("has more than two pins"));
}

#[test]
fn columns_count_characters_and_lines_may_end_in_crlf() {
    let text = GOOD.replace("\"one\"", "\"äöü\", 5").replace('\n', "\r\n");
    let problems = read(&text).unwrap_err();
    let place: Vec<_> = problems.iter().map(|problem| problem.at.map(|at| (at.line, at.column))).collect();
    assert_eq!(place, [Some((7, 19))]);
}

/// A file named `config.toml` of this mode, in a folder of its own.
fn written(text: &[u8], mode: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

fn refusal(path: &Path) -> String {
    load(path).unwrap_err().to_string()
}

#[test]
fn a_file_that_others_may_write_is_refused() {
    let text = GOOD.replace("[policy]\nfile = \"/etc/tailnas/policy.toml\"\n", "");
    for mode in [0o400, 0o600, 0o640, 0o644] {
        let (_dir, path) = written(text.as_bytes(), mode);
        assert!(load(&path).is_ok(), "{mode:o}");
    }
    for (mode, who) in
        [(0o666, "everybody"), (0o602, "everybody"), (0o660, "its group"), (0o620, "its group")]
    {
        let (_dir, path) = written(text.as_bytes(), mode);
        let shown = refusal(&path);
        assert!(shown.contains(&format!("may be written by {who} (mode {mode:o})")), "{shown}");
        assert!(shown.contains(&format!("run: chmod go-w {}", path.display())), "{shown}");
    }
    let (_dir, path) = written(text.as_bytes(), 0o600);
    // Only root can give a file away, and to root alone it stays readable.
    if std::os::unix::fs::chown(&path, Some(65_534), None).is_ok() {
        assert!(refusal(&path).contains("belongs to the user 65534, who could then decide"));
    }
}

#[test]
fn what_is_no_regular_text_file_is_refused_without_waiting() {
    let dir = tempfile::tempdir().unwrap();
    assert!(refusal(dir.path()).contains("is not a regular file"));

    let fifo = dir.path().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert!(refusal(&fifo).contains("is not a regular file"));

    assert!(refusal(&dir.path().join("nothing")).contains("cannot be read"));

    let (_dir, latin) = written(b"[server]\n# gr\xfc\xdfe\n", 0o600);
    assert!(refusal(&latin).contains("is not UTF-8 text (line 2)"));

    let (_dir, large) = written(&vec![b'#'; 1024 * 1024 + 1], 0o600);
    assert!(refusal(&large).contains("is larger than 1048576 bytes"));
}

#[test]
fn the_policy_file_is_held_to_the_same_rules() {
    let (_policy_dir, policy) = written(b"[[grant]]\nlogin = 1\n", 0o666);
    let text = GOOD.replace("/etc/tailnas/policy.toml", &policy.display().to_string());
    let (_dir, path) = written(text.as_bytes(), 0o600);
    let problems = load(&path).unwrap_err();
    let shown = problems.to_string();
    assert!(shown.contains("policy.file") && shown.contains("may be written by everybody"), "{shown}");
    assert_eq!(problems.len(), 1, "{shown}");

    fs::set_permissions(&policy, Permissions::from_mode(0o644)).unwrap();
    let problems = load(&path).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems}");
    assert!(problems.iter().all(|problem| problem.file.as_deref() == Some(policy.as_path())), "{problems}");
}

/// `GOOD`, with every file of it below `dir`.
fn in_world(dir: &Path) -> Config {
    let dir = dir.display();
    let text = GOOD
        .replace(
            "pins = [\"sha256:00000000000000000000000000000000000000000000000000000000000000ff\"]",
            &format!("ca_file = \"{dir}/ca.pem\""),
        )
        .replace("file:/etc/tailnas/writer", &format!("file:{dir}/writer"))
        .replace("/var/log/tailnas", &format!("{dir}/log/tailnas"))
        .replace("/var/lib/tailnas", &format!("{dir}/lib/tailnas"));
    read(&text).unwrap()
}

#[test]
fn the_check_of_the_world_names_everything_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let config = in_world(dir.path());
    let keys = |problems: &Problems| problems.iter().map(|problem| problem.key.clone()).collect::<Vec<_>>();

    // Under cargo test there are no credentials, as when somebody checks by hand.
    let by_hand = config.check_files(Credentials::MayBeAbsent);
    assert_eq!(keys(&by_hand.problems), ["nas[0].ca_file", "nas[0].writer.key", "audit.dir", "state.dir"]);
    let noted: Vec<&str> = by_hand.notes.iter().map(|note| note.key.as_str()).collect();
    assert_eq!(noted, ["nas[0].reader.key", "audit.hmac_key", "audit.signing_key"]);

    let as_service = config.check_files(Credentials::MustBeThere);
    assert_eq!(
        keys(&as_service.problems),
        [
            "nas[0].ca_file",
            "nas[0].reader.key",
            "nas[0].writer.key",
            "audit.dir",
            "audit.hmac_key",
            "audit.signing_key",
            "state.dir"
        ]
    );
    assert!(as_service.notes.is_empty());
    assert!(as_service.problems.to_string().contains("No such file"), "{}", as_service.problems);
}

#[test]
fn the_check_of_the_world_is_content_with_a_world_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::create_dir(dir.path().join("lib")).unwrap();
    let writer = dir.path().join("writer");
    fs::write(&writer, "secret\n").unwrap();
    fs::set_permissions(&writer, Permissions::from_mode(0o600)).unwrap();
    let ca = dir.path().join("ca.pem");
    let config = in_world(dir.path());
    let shown = || config.check_files(Credentials::MayBeAbsent).problems.to_string();

    fs::write(&ca, CERTIFICATE).unwrap();
    assert!(config.check_files(Credentials::MayBeAbsent).problems.is_empty(), "{}", shown());

    fs::write(&ca, "").unwrap();
    assert!(shown().contains("ca.pem holds no certificate"), "{}", shown());
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    assert!(shown().contains("ca.pem holds something that is not a certificate"), "{}", shown());
    fs::write(&ca, "-----BEGIN CERTIFICATE-----\n").unwrap();
    assert!(shown().contains("ca.pem is not PEM"), "{}", shown());
    fs::set_permissions(&ca, Permissions::from_mode(0o666)).unwrap();
    assert!(shown().contains("ca.pem may be written by everybody"), "{}", shown());
    fs::write(dir.path().join("log/tailnas"), "").unwrap();
    assert!(shown().contains("log/tailnas is not a folder"), "{}", shown());
}

/// A CA nobody has the key of.
const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBiTCCAS+gAwIBAgIUA9RPPhur028LlRd+743Zm8J264swCgYIKoZIzj0EAwIw\n\
GTEXMBUGA1UEAwwOYSBDQSBmb3IgdGVzdHMwIBcNMjYxMTIwMjIyODIyWhgPMjEy\n\
NjEwMjcyMjI4MjJaMBkxFzAVBgNVBAMMDmEgQ0EgZm9yIHRlc3RzMFkwEwYHKoZI\n\
zj0CAQYIKoZIzj0DAQcDQgAEP43YicjUYJaD6zw7nMFAcPlnyE7qlIaes/8rjuv1\n\
ffYiKfnnZplpq5R4+OrxWw6s6MnxL9iAX8bvTuSYLeOvAaNTMFEwHQYDVR0OBBYE\n\
FCBZAT295oZxk648wC97cQBxU3yvMB8GA1UdIwQYMBaAFCBZAT295oZxk648wC97\n\
cQBxU3yvMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgJPtHP5fw\n\
9dbI4RxOiDmGEGaUaJIjq4gYLsCf0ih0xd0CIQCEBGuuaCw6KFGpuL/whrAabkvG\n\
3FZ56lacCryRO3v1eg==\n\
-----END CERTIFICATE-----\n\
";

#[test]
fn another_provider_a_relay_and_an_agent_arrive_as_what_they_mean() {
    let more = r#"
[[relay]]
tag = "tag:gateway"

[[agent]]
tag = "tag:ci"
scopes = ["system:read"]
nas = ["nas"]

[[agent]]
tag = "tag:monitor"
"#;
    let generic = "[provider]\nkind = \"generic\"\nlogin_claim = \"email\"\n\
                   client = { id = \"tailnas\", secret = \"file:/secret\", method = \"post\" }";
    let config = read(&(GOOD.replacen("[provider]", generic, 1) + more)).unwrap();
    let scopes = ["openid", "email", "profile"].map(str::to_owned).to_vec();
    assert_eq!(config.provider.kind, ProviderKind::Generic { login_claim: LoginClaim::Email, scopes });
    let client = config.provider.client.unwrap();
    assert_eq!((&*client.id, client.secret.to_string().as_str()), ("tailnas", "file:/secret"));
    assert_eq!(client.method, ClientMethod::Post);
    assert_eq!(config.relays[0].tag, "tag:gateway");
    let [ci, monitor] = config.agents.as_slice() else { panic!("{:?}", config.agents) };
    assert!(ci.scopes.unwrap().contains(Scope::SystemRead) && ci.nas.as_ref().unwrap().len() == 1);
    assert_eq!((monitor.scopes, &monitor.nas), (None, &None));

    let plain = read(GOOD).unwrap();
    assert_eq!((plain.provider.kind, plain.provider.client), (ProviderKind::Tsidp, None));
    assert!(plain.relays.is_empty() && plain.agents.is_empty(), "off unless they are written down");
}

#[test]
fn what_other_ways_in_cannot_be_is_said_with_its_reason() {
    for (more, said) in [
        ("kind = \"keycloak\"", "is none of tsidp, generic"),
        ("kind = \"generic\"", "provider.login_claim"),
        ("kind = \"generic\"\nlogin_claim = \"sub\"", "is none of email, preferred_username, username"),
        ("login_claim = \"email\"", "whose subject is the tailnet's user"),
        ("scopes = [\"openid\"]", "refuses every login that asks for other scopes"),
        ("kind = \"generic\"\nlogin_claim = \"email\"\nscopes = [\"a b\"]", "is not one scope"),
        ("kind = \"generic\"\nlogin_claim = \"email\"\nscopes = [\"a\\\"\"]", "is not one scope"),
        ("client = { id = \"x\" }", "provider.client.secret"),
        ("client = { id = \"x\", secret = \"hunter2\" }", "where the secret is kept"),
        ("client = { id = \"x\", secret = \"file:/s\", method = \"jwt\" }", "is none of basic, post"),
    ] {
        let shown = after("[provider]", &format!("[provider]\n{more}"));
        assert!(shown.contains(said) && !shown.contains("hunter2"), "{more}: {shown}");
    }
    for (more, said) in [
        ("[[relay]]", "relay[0].tag"),
        ("[[relay]]\ntag = \"gateway\"", "and the name of a tag"),
        ("[[relay]]\ntag = \"tag:*\"", "and the name of a tag"),
        ("[[relay]]\ntag = \"tag:a\"\n[[relay]]\ntag = \"tag:a\"", "is there twice"),
        ("[[relay]]\ntag = \"tag:a\"\nscopes = [\"system:read\"]", "is not a setting of tailnas"),
        ("[[agent]]\ntag = \"tag:a\"\nscopes = [\"change:approve\"]", "no agent can destroy or approve"),
        ("[[agent]]\ntag = \"tag:a\"\nscopes = [\"vms:destroy\"]", "no agent can destroy or approve"),
        ("[[agent]]\ntag = \"tag:a\"\nscopes = []", "is an empty array"),
        ("[[agent]]\ntag = \"tag:a\"\nnas = [\"nas\"]", "no scopes say what"),
        ("[[agent]]\ntag = \"tag:a\"\nscopes = [\"jobs:read\"]\nnas = [\"attic\"]", "there is no NAS"),
    ] {
        let shown = read(&format!("{GOOD}\n{more}\n")).unwrap_err().to_string();
        assert!(shown.contains(said), "{more}: {shown}");
    }
}
