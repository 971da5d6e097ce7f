//! Compose files, and the rules for them.
#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tailnas::compose::{Bounds, judge, read, yaml};
use tailnas::domain::name::DatasetPath;

static DATASETS: LazyLock<Vec<DatasetPath>> =
    LazyLock::new(|| vec!["tank/apps".parse().expect("a dataset"), "tank/media".parse().expect("a dataset")]);
static DEVICES: LazyLock<Vec<String>> = LazyLock::new(|| vec!["/dev/dri".to_owned()]);

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let steps = match yaml::parse(text) {
        Ok(tree) => tree.steps,
        Err(fault) => fault.steps,
    };
    assert!(steps <= 3 * yaml::MOST_NODES + 8, "{steps}");
    let used_ports = BTreeSet::from([32400]);
    let bounds = Bounds { datasets: &DATASETS, devices: &DEVICES, used_ports: &used_ports };
    let Ok(file) = read(text) else { return };
    let Ok(stack) = judge(file, &bounds) else { return };
    for bind in &stack.reach.binds {
        let path = bind.source.as_str();
        assert!(path.starts_with("/mnt/tank/apps") || path.starts_with("/mnt/tank/media"), "{path}");
        assert!(!path.contains("/../") && !path.ends_with("/.."), "{path}");
    }
    assert!(stack.reach.ports.iter().all(|port| port.range.0 >= 1024));
    for service in stack.file["services"].as_object().expect("services").values() {
        assert!(service.get("privileged").is_none_or(|value| *value == Value::Bool(false)), "{service}");
        for key in ["build", "env_file", "extends", "volumes_from", "runtime"] {
            assert!(service.get(key).is_none(), "{service}");
        }
    }
    assert!(!stack.images.is_empty());
    // As it is sent, it is judged the same.
    assert_eq!(judge(stack.file.clone(), &bounds).as_ref(), Ok(&stack));
});
