//! The commands, as a person at a terminal has them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on says so by a panic")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn tailnas(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(args)
        .env_remove("CREDENTIALS_DIRECTORY")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn config(dir: &Path, change: impl Fn(String) -> String) -> String {
    let dir_text = dir.display();
    for key in ["reader.key", "hmac.key", "signing.key"] {
        let path = dir.join(key);
        if !path.exists() {
            fs::write(&path, format!("a secret of the test, {key}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
    let text = change(format!(
        r#"[server]
url = "https://nas-mcp.tail1234.ts.net/mcp"
listen = ["unix:{dir_text}/tailnas.sock"]

[provider]
issuer = "https://idp.tail1234.ts.net"

[[nas]]
name = "home"
url = "wss://192.0.2.10"
pins = ["sha256:{pin}"]
reader = {{ username = "tailnas-reader", key = "file:{dir_text}/reader.key" }}

[audit]
dir = "{dir_text}/audit"
hmac_key = "file:{dir_text}/hmac.key"
signing_key = "file:{dir_text}/signing.key"

[state]
dir = "{dir_text}/state"
"#,
        pin = "0".repeat(64)
    ));
    let path = dir.join("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_good_configuration_has_no_problems() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), |text| text);
    let output = tailnas(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn thirteen_mistakes_are_thirteen_problems_in_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let bad = r#"
[server]
url = "http://nas-mcp.tail1234.ts.net/mcp/"
listen = ["0.0.0.0:8443", "192.168.1.5:8443"]
lissten = []

[provider]
issuer = "idp.tail1234.ts.net"

[[nas]]
name = "ho/me"
url = "ws://nas.local"
pins = ["sha1:abc"]
reader = { username = "r", key = "hunter2" }

[audit]
dir = "audit"

[[grant]]
login = "alice@example.com"
scopes = ["storage:reed"]
"#;
    let file = config(dir.path(), |_| bad.to_owned());
    for command in ["check", "serve"] {
        let output = tailnas(&[command, "--config", &file]);
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        let said = text(&output);
        for key in [
            "server.url",
            "server.listen[0]",
            "server.listen[1]",
            "server.lissten",
            "provider.issuer",
            "nas[0].name",
            "nas[0].url",
            "nas[0].pins[0]",
            "nas[0].reader.key",
            "audit.dir",
            "audit.hmac_key",
            "audit.signing_key",
            "grant[0].scopes[0]",
        ] {
            assert!(said.contains(key), "{key} is not told in:\n{said}");
        }
        assert!(said.contains("13 problems"), "{said}");
        assert!(!said.contains("hunter2"), "the secret is told:\n{said}");
    }
}

#[test]
fn what_others_may_touch_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), |text| text);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let output = tailnas(&["serve", "--config", &file]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output).contains("chmod"), "{}", text(&output));

    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(dir.path().join("reader.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = tailnas(&["serve", "--config", &file]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("reader.key"), "{}", text(&output));

    fs::remove_file(dir.path().join("reader.key")).unwrap();
    let output = tailnas(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("hint: write it into"), "{}", text(&output));

    fs::remove_file(&file).unwrap();
    for command in ["check", "serve", "doctor"] {
        let output = tailnas(&[command, "--config", &file]);
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        for part in [&*file, "cannot be read: No such file", "hint: `sudo tailnas setup`"] {
            assert!(text(&output).contains(part), "{part:?} is not told in:\n{}", text(&output));
        }
    }
}

#[test]
fn what_is_wrong_with_the_text_does_not_hide_what_is_wrong_with_the_world() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), |text| {
        text.replace("wss://192.0.2.10", "http://nas.local") + "[log]\nfiltre = 1\n"
    });
    fs::remove_file(dir.path().join("reader.key")).unwrap();
    fs::set_permissions(dir.path().join("hmac.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    for command in ["check", "serve"] {
        let output = tailnas(&[command, "--config", &file]);
        assert_eq!(output.status.code(), Some(78), "{}", text(&output));
        let said = text(&output);
        for part in [
            "may be written by everybody",
            "nas[0].url",
            "log.filtre",
            "nas[0].reader.key",
            "No such file",
            "audit.hmac_key",
            "may be read by others",
            "5 problems",
        ] {
            assert!(said.contains(part), "{part:?} is not told in:\n{said}");
        }
        let line =
            fs::read_to_string(&file).unwrap().lines().position(|line| line.starts_with("reader")).unwrap();
        assert!(said.contains(&format!("config.toml:{}:", line + 1)), "where the key is named:\n{said}");
    }
}

#[test]
fn a_start_that_fails_after_the_log_was_opened_ends_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = config(dir.path(), |text| format!("{text}\n[metrics]\nlisten = \"{address}\"\n"));
    fs::remove_file(dir.path().join("signing.key")).unwrap();
    tailnas(&["audit", "keygen", dir.path().join("signing.key").to_str().unwrap()]);
    let output = tailnas(&["serve", "--config", &file]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output));
    let log = dir.path().join("audit");
    let records = text(&tailnas(&["audit", "export", "--json", "--dir", log.to_str().unwrap()]));
    assert!(records.contains(r#""type":"stop""#), "{records}");
    let output = tailnas(&["audit", "verify", "--dir", log.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
}

#[test]
fn a_credential_that_systemd_did_not_pass_is_told_as_such() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), |text| {
        text.replace(&format!("file:{}/reader.key", dir.path().display()), "credential:reader-key")
    });
    let output = tailnas(&["serve", "--config", &file]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output));
    assert!(text(&output).contains("LoadCredential"), "{}", text(&output));
    let output = tailnas(&["check", "--config", &file]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "by hand there are none, and that is no problem: {}",
        text(&output)
    );
    assert!(text(&output).contains("/etc/credstore/tailnas.reader-key"), "{}", text(&output));
}

#[test]
fn the_table_of_tools_is_sound() {
    let output = tailnas(&["tools", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let tools = json["tools"].as_array().unwrap();
    assert!(tools.len() >= 8);
    let names: Vec<_> = tools.iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert!(tool["description"].as_str().unwrap().len() <= 400, "{name}: its description is too long");
        // What acts on no NAS takes no grant.
        let is_ours = ["changes_list", "undo", "whoami"].contains(&name) || name.starts_with("plan");
        assert!(is_ours || tool["scope"].is_string(), "{name}");
        // What may answer with a plan instead has no schema of its answer, and tells clients none.
        let schemas = [&tool["input_schema"], &tool["output_schema"]];
        for schema in schemas.into_iter().filter(|schema| **schema != serde_json::json!({})) {
            assert_eq!(schema["type"], "object", "{name}: {schema}");
            no_bare_booleans(name, schema);
        }
        assert_eq!(tool["input_schema"]["additionalProperties"], false, "{name} takes what it does not know");
    }
    insta::assert_json_snapshot!("tools", json);
}

#[test]
fn the_roles_that_the_readme_asks_for_are_those_that_the_tools_need() {
    let output = tailnas(&["tools", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // A restart is a third account's.
    let changes = json["tools"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|tool| tool["risk"] != "read" && tool["name"] != "reboot");
    let needs = changes.flat_map(|tool| tool["nas"].as_array().unwrap().clone());
    let roles: std::collections::BTreeSet<_> =
        needs.filter_map(|need| Some(need["role"].as_str()?.to_owned())).collect();
    assert!(!roles.is_empty(), "changes need roles");
    let readme = include_str!("../README.md");
    let asked = readme.split("a second user with the role").nth(1).unwrap();
    let asked = asked.split("if changes are").next().unwrap();
    let named: std::collections::BTreeSet<_> =
        asked.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(named, roles);
}

/// Some clients drop a whole list of tools for one schema that is `true` instead of an object.
fn no_bare_booleans(tool: &str, schema: &serde_json::Value) {
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            assert!(property.is_object(), "{tool}.{name} is {property}");
            no_bare_booleans(tool, property);
        }
    }
    if schema.get("items").is_some() {
        assert!(schema["items"].is_object(), "{tool}: {schema}");
        no_bare_booleans(tool, &schema["items"]);
    }
}

/// Whoever goes by the exit status takes no slip of the fingers for a torn log.
#[test]
fn a_command_line_that_is_wrong_has_a_status_of_its_own() {
    for args in [
        &["verfy"][..],
        &[],
        &["audit"],
        &["audit", "verify", "--bogus"],
        &["audit", "verify", "--vkey", "garbage"],
        &["audit", "show", "x"],
    ] {
        let output = tailnas(args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", text(&output));
    }
    for args in [&["--help"][..], &["audit", "verify", "--help"]] {
        let output = tailnas(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output));
        assert!(text(&output).contains("Usage: tailnas"), "{args:?}");
    }
}

#[test]
fn a_bug_of_ours_has_a_status_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let file = config(dir.path(), |text| text);
    // The runtime panics where this is no number, on the main thread and before anything is served.
    let output = Command::new(env!("CARGO_BIN_EXE_tailnas"))
        .args(["serve", "--config", &file])
        .env("TOKIO_WORKER_THREADS", "two")
        .output()
        .unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(70), "{said}");
    assert!(said.contains("panicked at") && said.contains("a bug of tailnas"), "{said}");
}

#[test]
fn a_log_that_is_not_there_cannot_be_checked() {
    let dir = tempfile::tempdir().unwrap();
    let output = tailnas(&["audit", "verify", "--dir", dir.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
}

#[test]
fn the_version_is_that_of_the_package_however_it_is_asked_for() {
    for way in ["version", "--version", "-V"] {
        let output = tailnas(&[way]);
        assert_eq!(output.status.code(), Some(0), "{way}");
        assert_eq!(text(&output), format!("tailnas {}\n", env!("CARGO_PKG_VERSION")), "{way}");
    }
}

#[test]
fn the_sandbox_is_tried_and_not_believed() {
    let output = tailnas(&["doctor", "--sandbox"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let shell = text.lines().find(|line| line.contains("run /bin/sh")).unwrap_or_else(|| panic!("{text}"));
    assert!(shell.starts_with("✗ NOT enforced"), "{shell}");
    assert!(text.contains("This was tried as you and not as the service"), "{text}");
}

/// As an ordinary user, in no sandbox at all: what the rights of that user forbid is none.
#[test]
fn what_a_user_may_not_do_anyway_is_not_taken_for_the_sandbox() {
    let dir = tempfile::tempdir().unwrap();
    // Where that user can run it.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = dir.path().join("tailnas");
    fs::copy(env!("CARGO_BIN_EXE_tailnas"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["doctor", "--sandbox"]);
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let text = text(&command.output().unwrap());
    for setting in [
        "ProtectSystem",
        "ProtectHome",
        "NoExecPaths",
        "PrivateDevices",
        "SystemCallFilter",
        "RestrictNamespaces",
        "RestrictSUIDSGID",
        "RestrictAddressFamilies",
        "CapabilityBoundingSet",
    ] {
        let rows: Vec<_> = text.lines().filter(|line| line.trim_end().ends_with(setting)).collect();
        assert!(
            !rows.is_empty() && rows.iter().all(|row| row.starts_with("✗ NOT enforced")),
            "{setting}: {text}"
        );
    }
}

/// The names that a help lists under `Commands:`.
fn commands(help: &str) -> Vec<String> {
    let listed =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // What a line is gone on with stands further to the right.
    let names = listed.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn the_manual_names_each_command() {
    let manual = include_str!("../packaging/man/tailnas.8");
    let bold: Vec<_> = manual
        .lines()
        .filter(|line| line.starts_with(".B"))
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '\\'))
        .map(|word| word.replace('\\', ""))
        .collect();
    let help = tailnas(&["--help"]);
    let top = commands(&text(&help));
    assert!(top.len() > 10, "{top:?}");
    for command in top.iter().filter(|command| *command != "help") {
        assert!(bold.contains(command), "packaging/man/tailnas.8 has no {command}");
    }
}
