//! The table of files and verdicts, and what holds of every file.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::time::Instant;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::json;
use tailnas::compose::{Bounds, Refusal, Rule, SetUp, Stack, judge, judge_values, read, survey, yaml};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    text: String,
    refused: Option<String>,
    #[serde(default)]
    at: String,
    #[serde(default)]
    binds: Vec<String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    writes: bool,
}

fn cases() -> Vec<Case> {
    toml::from_str::<Table>(include_str!("cases.toml")).unwrap().case
}

fn with_bounds<T>(judge: impl FnOnce(&Bounds<'_>) -> T) -> T {
    let datasets = ["tank/apps", "tank/media"].map(|path| path.parse().unwrap());
    let (devices, used_ports) = (["/dev/dri".to_owned()], BTreeSet::from([32400]));
    judge(&Bounds { datasets: &datasets, devices: &devices, used_ports: &used_ports })
}

fn verdict(text: &str) -> Result<Stack, Vec<Refusal>> {
    let file = read(text).map_err(|refusal| vec![refusal])?;
    with_bounds(|bounds| judge(file, bounds))
}

#[test]
fn each_file_gets_the_verdict_of_the_table() {
    let cases = cases();
    let hostile = cases.iter().filter(|case| case.refused.is_some()).count();
    assert!(cases.len() >= 60 && hostile * 3 >= cases.len() * 2, "{hostile} of {}", cases.len());
    let mut wrong = Vec::new();
    for Case { name, text, refused, at, binds, ports, writes } in &cases {
        let said = match verdict(text) {
            Ok(Stack { reach, images, .. }) => {
                assert!(!images.is_empty(), "{name}");
                let seen: Vec<_> = reach.binds.iter().map(|bind| bind.source.to_string()).collect();
                let reached: Vec<_> = reach.ports.iter().map(ToString::to_string).collect();
                let right =
                    refused.is_none() && *binds == seen && *ports == reached && *writes == reach.writes();
                if right {
                    continue;
                }
                format!("passes: {reach:?}")
            }
            Err(refusals) => {
                let wanted = |one: &Refusal| Some(one.rule.id()) == refused.as_deref() && one.at == at.trim();
                for refusal in &refusals {
                    let in_service = refusal.service.as_ref().map(|service| format!("services.{service}."));
                    assert!(in_service.is_none_or(|of| refusal.at.starts_with(&of)), "{name}: {refusal}");
                }
                if refusals.iter().any(wanted) {
                    continue;
                }
                format!("{refusals:?}")
            }
        };
        wrong.push(format!("{name}: {said}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_has_a_case() {
    let with_cases: BTreeSet<_> = cases().into_iter().filter_map(|case| case.refused).collect();
    // These two are of values and of single entries, which have tables of their own.
    let elsewhere = [Rule::NetworkMount, Rule::Port];
    let without: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| !elsewhere.contains(rule) && !with_cases.contains(rule.id()))
        .collect();
    assert!(without.is_empty(), "{without:?}");
}

/// What holds it are steps and bytes, which no machine makes more of; the time is told for whoever wants it.
#[test]
#[expect(clippy::print_stdout, reason = "nothing depends on it")]
fn no_file_makes_more_work_than_the_bounds_allow() {
    let texts = [
        (
            "as many nodes as there may be",
            format!("a: &a [{}]\nb: [{}]\n", "x, ".repeat(100), "*a, ".repeat(180)),
        ),
        ("as many bytes as there may be", format!("a: &a {}\nb: [*a, *a, *a]\n", "x".repeat(24_000))),
        ("as long as there may be", "- x\n".repeat(yaml::LONGEST / 4)),
        (
            "as many copies of much as fit",
            format!("a: &a {}\nb: [{}]\n", "x".repeat(20_000), "*a, ".repeat(6000)),
        ),
        ("many equal keys", "x: 1\n".repeat(8000)),
    ];
    let table = cases().into_iter().map(|case| (case.name, case.text));
    let mut times = Vec::new();
    for (name, text) in texts.map(|(name, text)| (name.to_owned(), text)).into_iter().chain(table) {
        let began = Instant::now();
        drop(verdict(&text));
        times.push((began.elapsed(), name.clone()));
        let steps = match yaml::parse(&text) {
            Ok(tree) => tree.steps,
            Err(fault) => fault.steps,
        };
        assert!(steps <= 3 * yaml::MOST_NODES + 8, "{name}: {steps}");
    }
    times.sort();
    for (time, name) in times.iter().rev().take(6) {
        println!("{time:?}: {name}");
    }
}

#[test]
fn values_of_the_catalogue_are_held_to_the_same_rules() {
    let mount = |path: &str, read_only: bool| {
        json!({ "storage": { "data": {
            "type": "host_path", "mount_path": "/data", "read_only": read_only,
            "host_path_config": { "acl_enable": false, "path": path },
        } } })
    };
    let there = json!({
        "storage": mount("/mnt/tank/private", true)["storage"], "db": { "pass": "********" },
        "capabilities": { "add": ["SYS_NICE"] },
    });
    let port = |more: serde_json::Value| json!({ "ports": [{ "target": 22, "published": more, "protocol": "tcp" }] });
    for (values, refused) in [
        (mount("/mnt/tank/apps/x", false), None),
        (mount("/mnt/tank/private/x", true), Some(("host-path", "storage.data.host_path_config"))),
        (mount("/mnt/tank/private", false), Some(("host-path", "storage.data.host_path_config"))),
        // As it is there already.
        (mount("/mnt/tank/private", true), None),
        (mount("/var/run/docker.sock", true), Some(("docker-socket", "storage.data.host_path_config"))),
        (json!({ "host_path_config": { "path": "/etc" } }), Some(("host-path", "host_path_config"))),
        (
            json!({ "x": [{ "host_path_config": { "acl": { "path": "/etc" } } }] }),
            Some(("host-path", "x[0].host_path_config")),
        ),
        (json!({ "host_path": "/etc" }), Some(("host-path", "host_path"))),
        (json!({ "anything": "/mnt/tank/private" }), Some(("host-path", "anything"))),
        (json!({ "privileged": true }), Some(("privileged", "privileged"))),
        (json!({ "network": { "host_network": true } }), Some(("host-namespace", "network.host_network"))),
        (json!({ "network": { "host_network": false } }), None),
        (
            json!({ "network": { "web_port": { "port_number": 80 } } }),
            Some(("low-port", "network.web_port.port_number")),
        ),
        (
            json!({ "network": { "web_port": { "port_number": 32400 } } }),
            Some(("port-used", "network.web_port.port_number")),
        ),
        (json!({ "network": { "web_port": { "port_number": 30080, "bind_mode": "published" } } }), None),
        (json!({ "network": { "web_port": { "port_number": 80, "bind_mode": "exposed" } } }), None),
        (port(json!(445)), Some(("low-port", "ports[0].published"))),
        (port(json!(32400)), Some(("port-used", "ports[0].published"))),
        (port(json!("8445")), Some(("port", "ports[0].published"))),
        (port(json!(8445)), None),
        (
            json!({ "ports": [port(json!(8445))["ports"][0], port(json!(8445))["ports"][0]] }),
            Some(("port-twice", "ports[1].published")),
        ),
        (json!({ "capabilities": { "add": ["SYS_ADMIN"] } }), Some(("capability", "capabilities.add[0]"))),
        (
            json!({ "run": { "capabilities": { "add": ["CHOWN", "CAP_SYS_MODULE"] } } }),
            Some(("capability", "run.capabilities.add[1]")),
        ),
        (json!({ "cap_add": ["SYS_PTRACE"] }), Some(("capability", "cap_add[0]"))),
        (json!({ "caps": ["chown"], "media": { "add": ["anything"] } }), None),
        // As it is there already.
        (json!({ "capabilities": { "add": ["SYS_NICE"] } }), None),
        (
            json!({ "image": { "repository": "evil:1\n    privileged: true", "tag": "" } }),
            Some(("image", "image")),
        ),
        (json!({ "image": { "repository": "nginx", "tag": "1.29" } }), None),
        (json!({ "backup": { "repository": "rclone:far away" } }), None),
        (json!({ "devices": [{ "host_device": "/dev/sda" }] }), Some(("device", "devices[0].host_device"))),
        (json!({ "devices": [{ "host_device": "/dev/dri/card0" }] }), None),
        (json!({ "resources": { "gpus": { "use_all_gpus": true } } }), None),
        (
            json!({ "resources": { "gpus": { "nvidia_gpu_selection": { "0000:01": { "use_gpu": true, "uuid": "x" } } } } }),
            Some(("device", "resources.gpus.nvidia_gpu_selection")),
        ),
        (
            json!({ "s": { "nfs_config": { "server": "127.0.0.1", "path": "/mnt/tank" } } }),
            Some(("network-mount", "s.nfs_config")),
        ),
        (json!({ "s": { "nfs_config": { "server": "", "path": "" } } }), None),
        (json!({ "db": { "pass": "********" } }), Some(("hidden-value", "db.pass"))),
        (json!({ "mount_path": "/mnt/media", "n": 5, "t": true }), None),
    ] {
        let verdict =
            with_bounds(|bounds| judge_values(values.as_object().unwrap(), there.as_object(), bounds));
        let said = verdict.as_ref().err().map(|all| (all[0].rule.id(), all[0].at.as_str()));
        assert_eq!(said, refused, "{values}");
    }
    let seen = |read_only| {
        with_bounds(|bounds| {
            judge_values(mount("/mnt/tank/apps/x", read_only).as_object().unwrap(), None, bounds)
        })
    };
    assert!(seen(false).unwrap().writes() && !seen(true).unwrap().writes());
}

#[test]
fn what_an_app_that_is_there_was_given_by_its_values_is_told() {
    let config =
        json!({ "capabilities": { "add": ["SYS_ADMIN"] }, "ports": [{ "target": 80, "published": 8080 }] });
    let set_up = SetUp { config: config.as_object().unwrap(), custom: false, mounts: &[], capabilities: &[] };
    let (reach, refusals) = with_bounds(|bounds| survey(&set_up, bounds));
    assert_eq!(reach.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["8080/tcp"]);
    assert!(refusals.iter().any(|refusal| refusal.rule == Rule::Capability), "{refusals:?}");
}

/// Pieces that files are made of, the bad ones more often than chance would give.
fn pieces() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "services:\n",
        "  web:\n",
        "    image: a:1\n",
        "    privileged: true\n",
        "    volumes: ['/:/x']\n",
        "    volumes: ['/mnt/tank/apps:/x']\n",
        "    <<: *a\n",
        "&a ",
        "*a",
        "{",
        "}",
        "[",
        "]",
        ": ",
        ", ",
        "- ",
        "    environment: {A: $X}\n",
        "    ports: ['8080:80']\n",
        "!x ",
        "\"",
        "'",
        "\n",
        "  ",
        "x-a: &a {pid: host}\n",
    ]);
    prop_oneof![4 => known.prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from)]
}

proptest! {
    #[test]
    fn what_passes_passes_again_as_it_is_sent_and_holds_its_promises(
        text in prop::collection::vec(pieces(), 0..40).prop_map(|pieces| pieces.concat()),
    ) {
        if let Ok(stack) = verdict(&text) {
            let sent = serde_json::to_string(&stack.file).unwrap();
            for service in stack.file["services"].as_object().unwrap().values() {
                prop_assert!(service.get("privileged").is_none() && service.get("pid").is_none(), "{sent}");
            }
            for bind in &stack.reach.binds {
                prop_assert!(bind.source.as_str().starts_with("/mnt/tank/"), "{sent}");
            }
            prop_assert_eq!(verdict(&sent), Ok(stack));
        }
    }
}
