//! How the tests call each tool that changes something, and what can happen to its target while a plan waits.
//!
//! A tool without an entry here fails `tests/plans.rs`. An entry is an arm of [`example`]: arguments with which the tool
//! can be planned in the simulated world, and at least one way in which its target becomes another meanwhile.

use serde_json::{Value, json};
use tailnas_sim::nas::{JobState, State};

/// How a change is called in the tests.
pub struct Example {
    /// Arguments with which it can be planned.
    pub arguments: Value,
    /// What can happen meanwhile. Each time the change must not be made: the target is gone, is another under the same
    /// name, or has become something else than what was agreed to.
    pub meanwhile: Vec<(&'static str, Happens)>,
    /// Why its target cannot be another under the same name, if none of these is that.
    pub never_another: Option<&'static str>,
}

const MADE_AGAIN: &str = "it was destroyed and made again under its name";
const GIVES_ANOTHER: &str = "what it gives was destroyed and made again under its name";
const LIES_IN_ANOTHER: &str = "what it would lie in is another";
const ANOTHER_POOL: &str = "it is another pool of that name";
const ANOTHER_JOB: &str = "the number is another job's";

impl Example {
    /// Whether the target becomes another under the same name in one of the ways that are tried.
    pub fn tries_another(&self) -> bool {
        let another = [MADE_AGAIN, GIVES_ANOTHER, LIES_IN_ANOTHER, ANOTHER_POOL, ANOTHER_JOB];
        self.meanwhile.iter().any(|(what, _)| another.contains(what))
    }
}

type Happens = fn(&mut State);

fn example_of(arguments: Value) -> Example {
    Example { arguments, meanwhile: Vec::new(), never_another: None }
}

impl Example {
    fn unless(mut self, what: &'static str, happens: Happens) -> Self {
        self.meanwhile.push((what, happens));
        self
    }

    fn never_another(self, why: &'static str) -> Self {
        Self { never_another: Some(why), ..self }
    }
}

/// The job that somebody may break off.
const JOB: i64 = 4;
/// The version that is offered.
const UPDATE: &str = "25.10.8";

/// Makes the simulated world one in which every example can be planned.
pub fn prepare(state: &mut State) {
    state.add_dataset("tank/gone.quarantine");
    state.add_dataset("tank/gone.quarantine/below");
    state.add_dataset("tank/media/old");
    state.hold("tank2/scratch@keep", "truenas");
    state.begin_scrub("tank2");
    let job = state.begin_job("cloudsync.sync", "tailnas-writer");
    assert_eq!(job, JOB, "the number of the job that can be broken off");
    state.update = Some(UPDATE.to_owned());
    state.directory = Some("home.example.com".to_owned());
    // Scrubs end while somebody waits for them.
    (state.pace.scrub_step, state.pace.scrub_percent) = (std::time::Duration::from_millis(10), 50.0);
}

/// How this tool is called.
#[expect(clippy::too_many_lines, reason = "a table")]
pub fn example(tool: &str) -> Example {
    const BELOW_MADE_AGAIN: &str = "what lies below it was destroyed and made again under its name";
    const GONE: &str = "it is gone";
    const REACHES_MORE: &str = "somebody gave it more of the NAS";
    match tool {
        "snapshot_create" => example_of(json!({ "dataset": "tank/photos", "name": "planned" }))
            .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank/photos"))
            .unless(GONE, |nas| nas.destroy_dataset("tank/photos"))
            .unless("there is one of that name", |nas| nas.add_snapshot("tank/photos", "planned")),
        "snapshot_delete" => example_of(json!({ "snapshot": "tank/media@before-upgrade" }))
            .unless(MADE_AGAIN, |nas| nas.make_snapshot_again("tank/media@before-upgrade"))
            .unless(GONE, |nas| nas.snapshots.retain(|one| one.dataset != "tank/media")),
        "snapshot_hold" => example_of(json!({ "snapshot": "tank/media@before-upgrade" }))
            .unless(MADE_AGAIN, |nas| nas.make_snapshot_again("tank/media@before-upgrade"))
            .unless(GONE, |nas| nas.snapshots.retain(|one| one.dataset != "tank/media")),
        "snapshot_release" => example_of(json!({ "snapshot": "tank2/scratch@keep" }))
            .unless(MADE_AGAIN, |nas| nas.make_snapshot_again("tank2/scratch@keep"))
            .unless(GONE, |nas| nas.snapshots.retain(|one| one.dataset != "tank2/scratch")),
        "snapshot_rollback" => example_of(json!({ "snapshot": "tank/media@before-upgrade" }))
            .unless(MADE_AGAIN, |nas| nas.make_snapshot_again("tank/media@before-upgrade"))
            .unless("there is a newer snapshot", |nas| nas.add_snapshot("tank/media", "newer")),
        "snapshot_clone" => {
            example_of(json!({ "snapshot": "tank/media@before-upgrade", "dataset": "tank/old-media" }))
                .unless(MADE_AGAIN, |nas| nas.make_snapshot_again("tank/media@before-upgrade"))
                .unless("there is one of that name", |nas| nas.add_dataset("tank/old-media"))
        }
        "dataset_update" => example_of(json!({ "dataset": "tank/photos", "compression": "zstd" }))
            .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank/photos"))
            .unless(GONE, |nas| nas.destroy_dataset("tank/photos")),
        "smb_share_create" => {
            let hosts = json!(["192.168.1.0/24"]);
            example_of(json!({ "name": "scratch", "dataset": "tank2/scratch", "hosts": hosts }))
                .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank2/scratch"))
                .unless("there is one of that name", |nas| "scratch".clone_into(&mut nas.smb_shares[0].name))
        }
        "smb_share_update" => {
            example_of(json!({ "share": "photos", "read_only": true, "hosts": ["192.168.1.7"] }))
                .unless(GONE, |nas| nas.smb_shares.retain(|one| one.name != "photos"))
                .unless(GIVES_ANOTHER, |nas| nas.make_dataset_again("tank/photos"))
                .unless("it leads elsewhere", |nas| "/mnt/tank/apps".clone_into(&mut nas.smb_shares[1].path))
        }
        "smb_share_delete" => example_of(json!({ "share": "photos" }))
            .unless(GONE, |nas| nas.smb_shares.retain(|one| one.name != "photos"))
            .unless(GIVES_ANOTHER, |nas| nas.make_dataset_again("tank/photos"))
            .unless("it leads elsewhere", |nas| "/mnt/tank/apps".clone_into(&mut nas.smb_shares[1].path)),
        "nfs_share_create" => {
            example_of(json!({ "dataset": "tank/photos", "hosts": ["192.168.1.0/24", "192.168.1.7"] }))
                .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank/photos"))
                .unless(BELOW_MADE_AGAIN, |nas| nas.make_dataset_again("tank/photos/2024"))
        }
        "nfs_share_update" => {
            example_of(json!({ "path": "/mnt/tank/media", "read_only": false, "hosts": ["192.168.1.7"] }))
                .unless("root of a client is root here", |nas| {
                    nas.nfs_shares[0].maproot = Some("root".to_owned());
                })
                .unless(GONE, |nas| nas.nfs_shares.clear())
                .unless(GIVES_ANOTHER, |nas| nas.make_dataset_again("tank/media"))
                .unless("more may use it", |nas| nas.nfs_shares[0].networks.push("10.0.0.0/8".to_owned()))
        }
        "nfs_share_delete" => example_of(json!({ "path": "/mnt/tank/media" }))
            .unless(GONE, |nas| nas.nfs_shares.clear())
            .unless(GIVES_ANOTHER, |nas| nas.make_dataset_again("tank/media"))
            .unless("more may use it", |nas| nas.nfs_shares[0].networks.push("10.0.0.0/8".to_owned())),
        "scrub_start" => example_of(json!({ "pool": "backup" }))
            .unless(ANOTHER_POOL, |nas| "1".clone_into(&mut nas.pools[1].guid)),
        "scrub_stop" => example_of(json!({ "pool": "tank2" }))
            .unless("it has ended", |nas| nas.pools.iter_mut().for_each(|pool| pool.scan = None))
            .unless(ANOTHER_POOL, |nas| nas.pools.iter_mut().for_each(|pool| "1".clone_into(&mut pool.guid))),
        "scrub_schedule" => example_of(json!({ "pool": "tank", "cron": "0 3 1 * *", "threshold_days": 20 }))
            .unless(ANOTHER_POOL, |nas| "1".clone_into(&mut nas.pools[0].guid))
            .unless("somebody else changed it", |nas| nas.scrub_tasks[0].threshold = 7),
        "job_abort" => example_of(json!({ "id": JOB }))
            .unless("it has ended", |nas| nas.end_job(JOB, JobState::Success(Value::Null)))
            .unless(ANOTHER_JOB, |nas| {
                let job = nas.jobs.iter_mut().find(|job| job.id == JOB).unwrap();
                job.started += chrono::TimeDelta::hours(1);
            }),
        "update_download" => example_of(json!({ "version": UPDATE }))
            .unless("it is offered no more", |nas| nas.update = None)
            .never_another("a version is what its number says"),
        "directory_refresh" => example_of(json!({}))
            .unless("the NAS has left it", |nas| nas.directory = None)
            .never_another("it is whichever the NAS is in"),
        "reboot" => example_of(json!({}))
            .unless("it was restarted", |nas| nas.booted += chrono::TimeDelta::hours(1))
            .unless("a machine was stopped", |nas| nas.machines[0].running = false)
            .unless("a scrub began", |nas| nas.begin_scrub("backup"))
            .never_another("it is the NAS itself"),
        "container_control" => example_of(json!({ "container": "debian", "action": "stop" }))
            .unless(GONE, |nas| nas.containers.clear())
            .unless(MADE_AGAIN, State::make_machines_again)
            .unless("it was stopped", |nas| nas.containers[0].running = false),
        "vm_control" => example_of(json!({ "id": 1, "action": "stop" }))
            .unless(GONE, |nas| nas.machines.clear())
            .unless(MADE_AGAIN, State::make_machines_again)
            .unless("it was stopped", |nas| nas.machines[0].running = false),
        "dataset_create" => example_of(json!({ "dataset": "tank/new" }))
            .unless(LIES_IN_ANOTHER, |nas| nas.make_dataset_again("tank"))
            .unless("there is one of that name", |nas| nas.add_dataset("tank/new")),
        "dataset_delete" => example_of(json!({ "dataset": "tank/media" }))
            .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank/media"))
            .unless(GONE, |nas| nas.destroy_dataset("tank/media"))
            .unless(BELOW_MADE_AGAIN, |nas| nas.make_dataset_again("tank/media/old"))
            .unless("something more lies below it", |nas| nas.add_dataset("tank/media/new"))
            .unless("one more share uses it", |nas| {
                let share = nas.nfs_shares[0].clone();
                nas.nfs_shares.push(share);
            }),
        "dataset_purge" => example_of(json!({ "dataset": "tank/gone.quarantine" }))
            .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank/gone.quarantine"))
            .unless(GONE, |nas| nas.destroy_dataset("tank/gone.quarantine"))
            .unless(BELOW_MADE_AGAIN, |nas| nas.make_dataset_again("tank/gone.quarantine/below"))
            .unless("it has one more snapshot", |nas| nas.add_snapshot("tank/gone.quarantine", "late")),
        "dataset_restore" => example_of(json!({ "dataset": "tank/gone.quarantine" }))
            .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank/gone.quarantine"))
            .unless(BELOW_MADE_AGAIN, |nas| nas.make_dataset_again("tank/gone.quarantine/below"))
            .unless("its old name is taken", |nas| nas.add_dataset("tank/gone")),
        "service_control" => example_of(json!({ "service": "ssh", "action": "start" }))
            .unless("it runs already", |nas| nas.services.iter_mut().for_each(|one| one.running = true))
            .never_another("services are parts of the NAS"),
        "app_control" => example_of(json!({ "app": "nextcloud", "action": "start" }))
            .unless(GONE, |nas| nas.apps.retain(|app| app.name != "nextcloud"))
            .unless("somebody set it up otherwise", |nas| {
                nas.apps[1].config["nextcloud"]["storage"] = json!({ "host_path": "/mnt/tank/apps/x" });
            })
            .never_another("nothing tells one that is stopped from one that is set up alike"),
        "app_install" => example_of(json!({ "app": "syncthing" }))
            .unless("there is one of that name", |nas| {
                "syncthing".clone_into(&mut nas.apps[0].name);
            })
            .never_another("there is none before it is made"),
        "app_deploy" => {
            let compose = "services:\n  web: {image: 'nginx:1.29', ports: ['8080:80']}\n";
            example_of(json!({ "app": "web", "compose": compose }))
                .unless("there is one of that name", |nas| "web".clone_into(&mut nas.apps[0].name))
                .unless("another app has the port", |nas| nas.apps[0].port = Some((80, 8080)))
                .never_another("there is none before it is made")
        }
        "app_update" => {
            example_of(json!({ "app": "plex", "values": { "resources": { "limits": { "cpus": 4 } } } }))
                .unless(GONE, |nas| nas.apps.retain(|app| app.name != "plex"))
                .unless(MADE_AGAIN, |nas| nas.make_app_again("plex"))
                .unless("somebody else changed it", |nas| {
                    nas.apps[0].config["resources"]["limits"]["cpus"] = json!(3);
                })
        }
        "app_upgrade" => example_of(json!({ "app": "plex" }))
            .unless(GONE, |nas| nas.apps.retain(|app| app.name != "plex"))
            .unless(MADE_AGAIN, |nas| nas.make_app_again("plex"))
            .unless("there is a newer one yet", |nas| nas.apps[0].latest = Some("1.3.0".to_owned()))
            .unless(REACHES_MORE, |nas| nas.apps[0].config["x"] = json!({ "host_path": "/mnt/tank/media" })),
        "app_rollback" => example_of(json!({ "app": "plex", "version": "1.1.19" }))
            .unless(GONE, |nas| nas.apps.retain(|app| app.name != "plex"))
            .unless(MADE_AGAIN, |nas| nas.make_app_again("plex"))
            .unless("it was upgraded", |nas| "1.2.0".clone_into(&mut nas.apps[0].version))
            .unless(REACHES_MORE, |nas| nas.apps[0].config["x"] = json!({ "host_path": "/mnt/tank/media" })),
        "app_pull_images" => example_of(json!({ "app": "plex" }))
            .unless(GONE, |nas| nas.apps.retain(|app| app.name != "plex"))
            .unless(MADE_AGAIN, |nas| nas.make_app_again("plex"))
            .unless("it was upgraded", |nas| "1.2.0".clone_into(&mut nas.apps[0].version))
            .unless(REACHES_MORE, |nas| nas.apps[0].config["x"] = json!({ "host_path": "/mnt/tank/media" })),
        "app_delete" => example_of(json!({ "app": "plex" }))
            .unless(GONE, |nas| nas.apps.retain(|app| app.name != "plex"))
            .unless(MADE_AGAIN, |nas| nas.make_app_again("plex"))
            .unless("it was upgraded", |nas| "1.2.0".clone_into(&mut nas.apps[0].version))
            .unless("it is set up otherwise", |nas| nas.apps[0].config["x"] = json!(1))
            .unless("it has a volume of Docker", |nas| {
                let volume = "/mnt/.ix-apps/docker/volumes/ix-plex_data/_data".to_owned();
                nas.apps[0].mount = Some((volume, "/data".to_owned()));
            })
            .unless("the NAS keeps one more volume for it", |nas| {
                nas.ix_volumes.push(("plex".to_owned(), "data".to_owned()));
            }),
        "boot_env_delete" => example_of(json!({ "id": "24.10.2.4" }))
            .unless(GONE, |nas| nas.old_systems.clear())
            .unless(MADE_AGAIN, |nas| nas.days_of_old_systems = 1),
        "backup_run" => example_of(json!({ "kind": "snapshots", "id": 1 }))
            .unless("it names them otherwise", |nas| {
                nas.tasks_set_to = json!({ "naming_schema": "other-%Y-%m-%d_%H-%M" });
            })
            .unless(MADE_AGAIN, |nas| nas.make_dataset_again("tank/photos"))
            .unless(BELOW_MADE_AGAIN, |nas| nas.make_dataset_again("tank/photos/2024")),
        "alert_dismiss" => example_of(json!({ "uuid": "b8a0c9d4-7c41-4a43-8d0e-7f7c0f1d9e02" }))
            .unless(GONE, |nas| nas.alerts.clear())
            .unless("somebody was first", |nas| nas.alerts.iter_mut().for_each(|one| one.dismissed = true))
            .never_another("no two alerts have one number"),
        "alert_restore" => example_of(json!({ "uuid": "5d2f7f3e-30a8-4c57-9bb0-2a1f1c8f6e01" }))
            .unless(GONE, |nas| nas.alerts.clear())
            .never_another("no two alerts have one number"),
        other => panic!("{other} changes something: say in tests/common/changes.rs how it is called"),
    }
}
