//! Apps, changed through the daemon: what is refused, what the plan says, and what the NAS then has.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a test may panic, and a table is long"
)]

mod common;

use common::{Bench, eventually};
use serde_json::{Value, json};
use tailnas_sim::client::{Answer, Client};
use tailnas_sim::nas::{App, AppState, File};
use tailnas_sim::world::{ALICE, CAPABILITY};

async fn bench() -> Bench {
    let bench = Bench::start_with(|world| {
        let scopes = json!(["apps:read", "apps:write", "apps:destroy"]);
        world.tailnet.grant(
            ALICE.address.into(),
            CAPABILITY,
            vec![json!({ "scopes": scopes, "nas": ["*"] })],
        );
    })
    .await;
    let alice = bench.client(ALICE);
    eventually("the NAS answers", async || !alice.call("apps_list", json!({})).await.unwrap().is_error())
        .await;
    bench
}

async fn call(client: &Client, tool: &str, arguments: &Value) -> Answer {
    client.modern("tools/call", json!({ "name": tool, "arguments": arguments })).await.unwrap()
}

fn effect(answer: &Answer) -> Value {
    assert!(!answer.is_error(), "{}", answer.text());
    answer.json()["result"]["structuredContent"]["effect"].clone()
}

fn compose(volume: &str) -> Value {
    let file = format!("services:\n  web:\n    image: nginx:1.29\n    volumes: ['{volume}']\n");
    json!({ "app": "web", "compose": file })
}

fn sent(bench: &Bench) -> usize {
    let writes = ["app.create", "app.update", "app.upgrade", "app.rollback", "app.pull_images", "app.delete"];
    bench.nas_calls().iter().filter(|method| writes.contains(&method.as_str())).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_may_not_have_is_told_with_service_key_rule_and_what_would_pass() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    for (arguments, told) in [
        (
            compose("/var/run/docker.sock:/s"),
            "services.web.volumes[0] (/var/run/docker.sock) breaks the rule docker-socket",
        ),
        (compose("/mnt/tank/photos:/data:ro"), "breaks the rule host-path"),
        (compose("/mnt/tank/apps/nothing:/data:ro"), "There is no /mnt/tank/apps/nothing"),
        (
            json!({ "app": "plex", "compose": "services: {web: {image: 'nginx:1.29'}}" }),
            "There is an app plex already",
        ),
        (json!({ "app": "web", "compose": "a: 1\na: 2\n" }), "breaks the rule duplicate-key"),
    ] {
        let answer = call(&alice, "app_deploy", &arguments).await;
        assert!(answer.is_error() && answer.text().contains(told), "{arguments}: {}", answer.text());
        assert!(answer.text().contains("Nothing was changed"), "{arguments}: {}", answer.text());
    }
    let values = json!({ "storage": { "host_path_config": { "path": "/mnt/tank/photos" } } });
    let refused = call(&alice, "app_install", &json!({ "app": "syncthing", "values": values })).await;
    assert!(refused.is_error() && refused.text().contains("breaks the rule host-path"), "{}", refused.text());
    let refused = call(&alice, "app_install", &json!({ "app": "mine", "catalog_app": "ix-app" })).await;
    assert!(refused.is_error() && refused.text().contains("app_deploy makes an app"), "{}", refused.text());
    assert_eq!(sent(&bench), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_a_container_left_behind_is_no_way_out() {
    let bench = bench().await;
    bench.world.nas.state(|state| {
        let mut link: File = state.files[0].clone();
        (link.dataset, link.path, link.snapshot) = ("tank/apps".to_owned(), "out".to_owned(), None);
        link.link = Some("/mnt/tank/photos".to_owned());
        state.files.push(link);
    });
    let answer = call(&bench.client(ALICE), "app_deploy", &compose("/mnt/tank/apps/out:/data:ro")).await;
    assert!(answer.is_error() && answer.text().contains("a link can lead anywhere"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_risk_is_what_the_file_can_do_and_the_plan_says_how_it_could_do_less() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let reads = effect(&call(&alice, "app_deploy", &compose("/mnt/tank/media:/data:ro")).await);
    assert_eq!(reads["risk"], "disruptive");
    let writes = effect(&call(&alice, "app_deploy", &compose("/mnt/tank/media:/data")).await);
    assert_eq!(writes["risk"], "destructive");
    assert!(writes["warnings"].to_string().contains("make the mount read only"), "{writes}");
    let file = "services:\n  web: {image: 'nginx:1.29', ports: ['127.0.0.1::80', 81]}\n";
    let chosen = effect(&call(&alice, "app_deploy", &json!({ "app": "web", "compose": file })).await);
    for told in ["at 127.0.0.1 (inside it is 80/tcp)", "at every address (inside it is 81/tcp)"] {
        let told = format!("web is reached at a port that Docker chooses, another at each start, {told}.");
        assert!(chosen["warnings"].to_string().contains(&told), "{chosen}");
    }
    let delete = effect(&call(&alice, "app_delete", &json!({ "app": "plex" })).await);
    assert_eq!(delete["risk"], "destructive");
    let said = delete.to_string();
    assert!(
        said.contains("the ix volumes config")
            && said.contains("/mnt/tank/media")
            && said.contains("no undo"),
        "{said}"
    );
    let upgrade = effect(&call(&alice, "app_upgrade", &json!({ "app": "plex" })).await);
    let said = upgrade.to_string();
    assert!(said.contains("1.1.20") && said.contains("1.2.0") && said.contains("More fixes."), "{said}");
    assert!(said.contains("call app_rollback with"), "{said}");
    for (with_volumes, risk) in [(false, "disruptive"), (true, "destructive")] {
        let arguments = json!({ "app": "plex", "version": "1.1.19", "with_volumes": with_volumes });
        assert_eq!(effect(&call(&alice, "app_rollback", &arguments).await)["risk"], risk);
    }
    assert_eq!(sent(&bench), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_left_out_stays_what_it_is_and_no_secret_is_in_a_plan() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let update = |values: Value| json!({ "app": "plex", "values": values });
    let kept = json!({ "plex": { "claim_token": "********", "additional_envs": [{ "name": "LANG", "value": "de" }] } });
    let said = effect(&call(&alice, "app_update", &update(kept)).await).to_string();
    assert!(!said.contains("SECRET") && !said.contains("hunter2"), "{said}");
    assert!(said.contains("plex.additional_envs[0].value") && !said.contains("claim_token"), "{said}");
    let limit = json!({ "resources": { "limits": { "cpus": 4 } } });
    let said = effect(&call(&alice, "app_update", &update(limit)).await);
    assert_eq!(said["changes"], json!([{ "what": "resources.limits.cpus", "before": "2", "after": "4" }]));
    assert!(said["undo"].as_str().unwrap().contains("call app_update with"), "{said}");
    for (arguments, told) in [
        (
            update(json!({ "network": { "web_port": { "port_number": 32400 } } })),
            "Nothing of plex would be another",
        ),
        (update(json!({ "new": "********" })), "breaks the rule hidden-value"),
        (
            json!({ "app": "nextcloud", "values": { "nextcloud": { "admin_user": "x" } } }),
            "breaks the rule hidden-value",
        ),
        (json!({ "app": "plex", "compose": "services: {}" }), "is from the catalogue"),
        (json!({ "app": "plex" }), "one of the two"),
    ] {
        let answer = call(&alice, "app_update", &arguments).await;
        assert!(answer.is_error() && answer.text().contains(told), "{arguments}: {}", answer.text());
    }
    assert_eq!(sent(&bench), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_is_installed_by_a_person_and_a_job_is_followed_to_the_end() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    // Some apps of the catalogue have Docker's socket: none is installed on a client's word.
    let install = call(&alice, "app_install", &json!({ "app": "sync", "catalog_app": "syncthing" })).await;
    assert_eq!(effect(&install)["risk"], "disruptive");
    assert!(install.text().contains("has Docker's socket"), "{}", install.text());
    assert_eq!(sent(&bench), 0);

    let mut arguments = json!({ "app": "nextcloud", "action": "start" });
    let planned = call(&alice, "app_control", &arguments).await;
    let plan = planned.json()["result"]["structuredContent"]["plan"].clone();
    arguments["plan"] = plan.clone();
    let begun = call(&alice, "app_control", &arguments).await;
    assert!(!begun.is_error() && begun.text().contains("as job"), "{}", begun.text());
    let ended = call(&alice, "plan_wait", &json!({ "plan": plan, "seconds": 30 })).await;
    assert!(ended.text().contains("done"), "{}", ended.text());
    let runs = |app: &App| app.name == "nextcloud" && app.state == AppState::Running;
    assert!(bench.world.nas.state(|state| state.apps.iter().any(runs)));
    bench.hold_against_schemas("25.10.5");
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_an_app_is_as_dangerous_as_what_it_then_reaches() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let service = |more: Value| {
        let mut web = json!({ "image": "nginx" });
        web.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "services": { "web": web } })
    };
    let values = |path: &str, read_only: bool| {
        json!({ "storage": { "data": { "read_only": read_only, "host_path_config": { "path": path } } },
            "ix_volumes": { "config": "/mnt/.ix-apps/app_mounts/nextcloud/config" } })
    };
    let none: &[&str] = &[];
    for (custom, config, makers, risk, told) in [
        // How it is written reaches nowhere.
        (true, service(json!({ "ports": ["443:443"] })), none, "reversible", ""),
        (
            true,
            service(json!({ "ports": ["80/udp"] })),
            none,
            "reversible",
            "at every address (inside it is 80/udp)",
        ),
        (
            true,
            service(json!({ "volumes": ["/mnt/tank/media:/m:ro"] })),
            none,
            "disruptive",
            "could read everything in /mnt/tank/media",
        ),
        (
            true,
            service(json!({ "volumes": ["/mnt/tank/media:/m"] })),
            none,
            "destructive",
            "could change and delete everything in /mnt/tank/media",
        ),
        (
            true,
            service(json!({ "volumes": ["/var/run/docker.sock:/s:ro"] })),
            none,
            "destructive",
            "services.web.volumes[0] (/var/run/docker.sock): who has the socket of Docker has the NAS.",
        ),
        (
            true,
            service(json!({ "privileged": true })),
            none,
            "destructive",
            "it gives the container the whole machine",
        ),
        (
            true,
            service(json!({ "volumes": ["/mnt/tank/photos:/p:ro"] })),
            none,
            "destructive",
            "(/mnt/tank/photos): it is a place of the NAS",
        ),
        (
            true,
            service(json!({ "unheard_of": 1 })),
            none,
            "destructive",
            "what is not known is not let through",
        ),
        (
            true,
            service(json!({ "volumes": ["/mnt/tank/apps/out:/o:ro"] })),
            none,
            "destructive",
            "There is no /mnt/tank/apps/out",
        ),
        (false, values("", true), none, "reversible", ""),
        (
            false,
            values("/mnt/tank/media", true),
            none,
            "disruptive",
            "could read everything in /mnt/tank/media",
        ),
        (false, values("/mnt/tank/media", false), none, "destructive", "could change and delete"),
        (
            false,
            json!({ "network": { "host_network": true } }),
            none,
            "destructive",
            "into a namespace of the NAS",
        ),
        (
            false,
            json!({}),
            &["/proc", "/var/run/docker.sock"][..],
            "destructive",
            "what its makers give it (/var/run/docker.sock): who has the socket of Docker has the NAS.",
        ),
    ] {
        bench.world.nas.state(|nas| {
            let app = nas.apps.iter_mut().find(|app| app.name == "nextcloud").unwrap();
            (app.custom, app.config) = (custom, config.clone());
            app.makers_mounts = makers.iter().map(|&path| path.to_owned()).collect();
        });
        let planned = call(&alice, "app_control", &json!({ "app": "nextcloud", "action": "start" })).await;
        let effect = effect(&planned);
        assert_eq!(effect["risk"], risk, "{config}: {effect}");
        assert!(effect["warnings"].to_string().contains(told), "{config}: {effect}");
        assert_eq!(effect.get("warnings").is_none(), told.is_empty(), "{config}: {effect}");
    }
    // To stop one is an outage and no more, whatever it reaches.
    let planned = call(&alice, "app_control", &json!({ "app": "plex", "action": "stop" })).await;
    assert_eq!(effect(&planned)["risk"], "disruptive");
}

#[tokio::test(flavor = "multi_thread")]
async fn starting_an_app_of_which_something_may_run_takes_a_person() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    // The NAS makes every container of it anew.
    for (state, risk) in [
        (AppState::Stopped, "reversible"),
        (AppState::Crashed, "disruptive"),
        (AppState::Deploying, "disruptive"),
    ] {
        bench.world.nas.state(|nas| {
            let app = nas.apps.iter_mut().find(|app| app.name == "nextcloud").unwrap();
            (app.state, app.config, app.makers_mounts) = (state, json!({}), Vec::new());
        });
        let planned = call(&alice, "app_control", &json!({ "app": "nextcloud", "action": "start" })).await;
        let effect = effect(&planned);
        assert_eq!(effect["risk"], risk, "{state:?}: {effect}");
        assert_eq!(effect.to_string().contains("is cut off and made anew"), risk == "disruptive", "{effect}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_in_an_app_is_as_dangerous_as_what_the_app_reaches() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let mount = |read_only: bool| {
        let path = json!({ "path": "/mnt/tank/media" });
        json!({
            "network": { "web_port": { "port_number": 32400 } },
            "storage": { "data": { "read_only": read_only, "host_path_config": path } },
        })
    };
    let none: &[&str] = &[];
    // As many plans as may wait, and no more.
    for (config, makers, risk, told) in [
        (
            mount(true),
            none,
            "disruptive",
            &["is reached at 32400/tcp of the NAS", "could read everything in /mnt/tank/media"][..],
        ),
        (mount(false), none, "destructive", &["could change and delete everything in /mnt/tank/media"][..]),
        (
            json!({ "network": { "host_network": true }, "run": { "privileged": true } }),
            none,
            "destructive",
            &["into a namespace of the NAS", "it gives the container the whole machine"][..],
        ),
        (
            json!({}),
            &["/var/run/docker.sock"][..],
            "destructive",
            &["what its makers give it (/var/run/docker.sock): who has the socket of Docker has the NAS."][..],
        ),
    ] {
        bench.world.nas.state(|nas| {
            let app = nas.apps.iter_mut().find(|app| app.name == "plex").unwrap();
            app.config = config.clone();
            app.makers_mounts = makers.iter().map(|&path| path.to_owned()).collect();
        });
        for (tool, arguments, chart) in [
            ("app_upgrade", json!({ "app": "plex" }), Some("1.2.0")),
            ("app_rollback", json!({ "app": "plex", "version": "1.1.19" }), Some("1.1.19")),
            ("app_pull_images", json!({ "app": "plex" }), None),
            // Whoever restarts it later lets the new program run, and is told nothing then.
            ("app_pull_images", json!({ "app": "plex", "redeploy": false }), None),
        ] {
            let effect = effect(&call(&alice, tool, &arguments).await);
            assert_eq!(effect["risk"], risk, "{tool} with {config}: {effect}");
            for told in told {
                assert!(effect["warnings"].to_string().contains(told), "{tool} with {config}: {effect}");
            }
            match chart {
                Some(chart) => {
                    let unseen = format!("what the makers of {chart} give it");
                    assert!(effect["unseen"].to_string().contains(&unseen), "{tool}: {effect}");
                }
                None => assert!(effect.get("unseen").is_none(), "{tool}: {effect}"),
            }
        }
    }
    assert_eq!(sent(&bench), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_deletes_an_app_is_told_which_volumes_of_docker_go_with_it() {
    let bench = bench().await;
    let alice = bench.client(ALICE);
    let deleted = async |app: &str| effect(&call(&alice, "app_delete", &json!({ "app": app })).await);
    bench.world.nas.state(|nas| {
        nas.apps[0].mount =
            Some(("/mnt/.ix-apps/docker/volumes/ix-plex_data/_data".to_owned(), "/data".to_owned()));
        let stopped = &mut nas.apps[1];
        stopped.custom = true;
        stopped.config = json!({
            "services": { "db": { "image": "postgres:18", "volumes": ["db:/var/lib/postgresql"] } },
            "volumes": { "db": null, "own": { "name": "own-name" }, "theirs": { "external": true } },
        });
    });
    let running = deleted("plex").await;
    assert_eq!(
        running["summary"],
        "Delete the app plex, with its settings and the Docker volume ix-plex_data with all that is in it."
    );
    assert!(running.get("dependents").is_none(), "{running}");
    let stopped = deleted("nextcloud").await;
    assert_eq!(
        stopped["summary"],
        "Delete the app nextcloud, with its settings and 2 Docker volumes with all that is in them: ix-nextcloud_db, \
         own-name."
    );
    let gone =
        |change: &Value| change["what"] == "Docker volume ix-nextcloud_db" && change.get("after").is_none();
    assert!(stopped["changes"].as_array().unwrap().iter().any(gone), "{stopped}");
    assert!(!stopped.to_string().contains("theirs"), "{stopped}");
    for told in ["cannot be set aside", "how much is in its Docker volumes"] {
        assert!(stopped.to_string().contains(told), "{told}: {stopped}");
    }
}
