//! Arguments of tools, through the table of tools: what stands before the first brace chooses the tool, by its name or
//! anyhow; the rest is JSON.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tailnas::audit::Hasher;
use tailnas::dispatch::{Catalogue, Item, fuzzing::redacted};
use tailnas::domain::name::{AppName, DatasetPath, FilePath, ShareName, SnapshotLabel};
use tailnas::domain::text::is_harmless;
use tailnas::secret::Secret;
use tailnas::tools::{BadArguments, Kind, Log};

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(Catalogue::new);
static HASHER: LazyLock<Hasher> =
    LazyLock::new(|| Hasher::new(&Secret::new("a key for the fuzzer".to_owned())));

fuzz_target!(|data: &[u8]| {
    let brace = data.iter().position(|byte| *byte == b'{').unwrap_or(data.len());
    let (which, text) = data.split_at(brace);
    let Ok(raw) = serde_json::from_slice::<Map<String, Value>>(text) else { return };
    let specs: Vec<_> = CATALOGUE.specs().collect();
    let anyhow = which.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let named = specs.iter().find(|spec| spec.name.as_bytes() == which);
    let spec = named.unwrap_or(&specs[anyhow % specs.len()]);
    let Some(Item::Nas(entry)) = CATALOGUE.find(spec.name) else { return };
    let target = match &entry.kind {
        Kind::Read(tool) => tool.parse(raw.clone()).map(|ready| ready.target()),
        // What is planned is looked up on the NAS first, by the very word that the caller used.
        Kind::Change(tool) => tool
            .parse(raw.clone())
            .map(|ready| Some(ready.target()).filter(|target| !raw.values().any(|word| word == target))),
    };
    match target {
        // What the log names as the target is a name by its grammar.
        Ok(Some(target)) => assert!(is_name(&target), "{}: {target:?}", spec.name),
        Ok(None) => {}
        Err(BadArguments { path, what }) => assert!(!path.is_empty() && !what.is_empty()),
    }
    // What may not be written down as it is, is not: neither a value nor a name that the tool does not know.
    let (shown, hash) = redacted(&raw, spec.log, &HASHER);
    assert_eq!(hash.len(), 64);
    for (name, value) in shown.as_object().expect("an object") {
        match spec.log.iter().find(|(known, _)| known == name) {
            Some((_, Log::Plain)) => assert_eq!(raw.get(name), Some(value)),
            Some((_, Log::Len)) => assert!(value["len"].is_u64()),
            Some((_, Log::Drop)) => panic!("{name} was to be left out"),
            Some((_, Log::Hmac)) | None => assert_eq!(value["hmac"].as_str().map(str::len), Some(64)),
        }
    }
});

fn is_name(target: &str) -> bool {
    let app = target.strip_prefix("app ").is_some_and(|name| name.parse::<AppName>().is_ok());
    let smb = target.strip_prefix("SMB ").is_some_and(|name| name.parse::<ShareName>().is_ok());
    let nfs = target.strip_prefix("NFS ").is_some_and(|path| path.parse::<FilePath>().is_ok());
    app || smb || nfs
        || CLEANED.iter().any(|(kind, longest)| {
            target.strip_prefix(kind).is_some_and(|words| is_one_harmless_line(words, *longest))
        })
        // One that is to be made is put together from its parts, and may be longer than ZFS allows for both.
        || target.split_once('@').is_some_and(|(dataset, label)| {
            dataset.parse::<DatasetPath>().is_ok() && label.parse::<SnapshotLabel>().is_ok()
        })
        || target.parse::<DatasetPath>().is_ok()
        || target.parse::<FilePath>().is_ok()
}

/// What the NAS names as it likes: no grammar of ours holds, so the log has it cleaned and cut to so many characters.
const CLEANED: [(&str, usize); 3] = [("update ", 60), ("container ", 100), ("boot environment ", 200)];

/// Cut, it ends with one character more: an ellipsis.
fn is_one_harmless_line(words: &str, longest: usize) -> bool {
    words.chars().count() <= longest + 1 && words.chars().all(is_harmless)
}
