//! What jobs do to apps.

use serde_json::{Map, Value, json};

use super::state::{App, AppState, State};
use super::wire::{EEXIST, EFAULT, EINVAL, ENOENT};

/// A job's work on an app, with the options it was asked for.
#[derive(Clone, Debug)]
pub(crate) enum AppWork {
    Create(Value),
    Update(String, Value),
    Upgrade(String, Value),
    Rollback(String, Value),
    PullImages(String, Value),
    Delete(String, Value),
}

type Done = Result<Value, (i32, String)>;

impl State {
    /// Does the work of a job on an app.
    pub(crate) fn work_on_app(&mut self, work: AppWork) -> Done {
        match work {
            AppWork::Create(options) => self.create_app(&options),
            AppWork::Update(name, options) => self.app(&name)?.update(&options),
            AppWork::Upgrade(name, options) => self.upgrade_app(&name, &options),
            AppWork::Rollback(name, options) => self.roll_app_back(&name, &options),
            AppWork::PullImages(name, options) => {
                let app = self.app(&name)?;
                app.newer_image = false;
                if options["redeploy"] != false {
                    app.state = AppState::Running;
                }
                Ok(Value::Null)
            }
            AppWork::Delete(name, options) => {
                self.app(&name)?;
                self.apps.retain(|app| app.name != name);
                if options["remove_ix_volumes"] == true {
                    self.ix_volumes.retain(|(app, _)| *app != name);
                }
                Ok(json!(true))
            }
        }
    }

    fn app(&mut self, name: &str) -> Result<&mut App, (i32, String)> {
        let app = self.apps.iter_mut().find(|app| app.name == name);
        app.ok_or_else(|| (ENOENT, format!("App {name} does not exist")))
    }

    fn create_app(&mut self, options: &Value) -> Done {
        let name = options["app_name"].as_str().unwrap_or_default();
        if self.apps.iter().any(|app| app.name == name) {
            return Err((EEXIST, format!("Application with name {name} already exists")));
        }
        let custom = options["custom_app"] == true;
        self.txg += 7;
        let from = if custom { "custom-app" } else { options["catalog_app"].as_str().unwrap_or_default() };
        if from.is_empty() {
            return Err((EINVAL, "[EINVAL] app_create.catalog_app: This field is required".to_owned()));
        }
        let mut app = App {
            name: name.to_owned(),
            title: from.to_owned(),
            state: AppState::Running,
            version: "1.2.0".to_owned(),
            app_version: "10.1".to_owned(),
            latest: None,
            newer_image: false,
            image: format!("{from}:10.1"),
            port: None,
            mount: None,
            config: json!({}),
            log: vec!["started".to_owned()],
            custom,
            earlier: Vec::new(),
            makers_mounts: Vec::new(),
            made: self.txg,
        };
        app.update(options)?;
        if !custom {
            self.ix_volumes.push((name.to_owned(), "config".to_owned()));
        }
        self.apps.push(app);
        Ok(Value::Null)
    }

    fn upgrade_app(&mut self, name: &str, options: &Value) -> Done {
        let app = self.app(name)?;
        let Some(latest) = app.latest.clone() else {
            return Err((EFAULT, format!("No upgrade available for {name:?}")));
        };
        let wanted = options["app_version"].as_str().unwrap_or("latest");
        if wanted != "latest" && wanted != latest {
            return Err((EFAULT, format!("App version {wanted} is not available")));
        }
        let before = std::mem::replace(&mut app.version, latest);
        app.latest = None;
        app.state = AppState::Running;
        app.earlier.push(before.clone());
        let mounted = app.mount.as_ref().and_then(|(path, _)| path.strip_prefix("/mnt/")).map(str::to_owned);
        if options["snapshot_hostpaths"] == true
            && let Some(path) = mounted
            && self.datasets.iter().any(|dataset| dataset.name == path)
        {
            self.add_snapshot(&path, &format!("ix-app-{name}-{before}"));
        }
        Ok(Value::Null)
    }

    fn roll_app_back(&mut self, name: &str, options: &Value) -> Done {
        let app = self.app(name)?;
        let wanted = options["app_version"].as_str().unwrap_or_default();
        if !app.earlier.iter().any(|version| version == wanted) {
            return Err((
                EINVAL,
                "[EINVAL] options.app_version: Specified version does not exist".to_owned(),
            ));
        }
        app.earlier.retain(|version| version != wanted);
        app.latest = Some(std::mem::replace(&mut app.version, wanted.to_owned()));
        app.state = AppState::Running;
        Ok(Value::Null)
    }
}

impl App {
    /// Takes new values over, those of a key as a whole; of a custom app, the whole file.
    fn update(&mut self, options: &Value) -> Done {
        let empty = Map::new();
        if self.custom {
            let file = options["custom_compose_config"].as_object().filter(|file| !file.is_empty());
            let Some(file) = file else {
                return Err((
                    EINVAL,
                    "[EINVAL] app_update.custom_compose_config: This field is required".to_owned(),
                ));
            };
            self.config = Value::Object(file.clone());
            let service = file.get("services").and_then(Value::as_object).and_then(|all| all.values().next());
            let service = service.and_then(Value::as_object).unwrap_or(&empty);
            let first = |key: &str| service.get(key).and_then(|all| all[0].as_str());
            self.image = service.get("image").and_then(Value::as_str).unwrap_or_default().to_owned();
            self.port = first("ports").and_then(|ports| {
                let (outside, inside) = ports.split_once(':')?;
                Some((inside.parse().ok()?, outside.parse().ok()?))
            });
            self.mount = first("volumes").filter(|one| one.starts_with('/')).and_then(|volume| {
                let mut parts = volume.split(':');
                Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
            });
        } else {
            let values = options["values"].as_object().unwrap_or(&empty);
            for (key, value) in values {
                self.config[key] = value.clone();
            }
            let port = self.config.pointer("/network/web_port/port_number").and_then(Value::as_u64);
            if let Some(port) = port.and_then(|port| u16::try_from(port).ok()) {
                self.port = Some((self.port.map_or(port, |ports| ports.0), port));
            }
        }
        self.state = AppState::Running;
        Ok(Value::Null)
    }
}
